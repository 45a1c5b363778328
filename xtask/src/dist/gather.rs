//! Everything that packages are made of: read from the repository, asked of cargo and of the program.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::inventory::{self, FORMAT, Inventory};
use super::payload::Parts;
use crate::paths;

/// The shells that have a place for completions in the packages.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];
/// Documents that are about this repository and of no use without it.
const NOT_SHIPPED: [&str; 1] = ["lab.md"];

/// The time that all files of a package get: `SOURCE_DATE_EPOCH`, or the time of the last commit, in
/// seconds since 1970.
///
/// # Errors
///
/// Where there is neither.
pub fn epoch() -> Result<u64> {
    if let Ok(text) = env::var("SOURCE_DATE_EPOCH") {
        return text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH={text} is no number of seconds"));
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]);
    let text = stdout(&mut git).context(
        "the time of the last commit is not known; set SOURCE_DATE_EPOCH to seconds since 1970",
    )?;
    text.trim().parse().context("git printed no time")
}

/// The release of the compiler: `1.95.0`.
pub(super) fn rustc() -> Result<String> {
    let text = stdout(Command::new("rustc").arg("-vV"))?;
    let release = text.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(release
        .context("rustc does not tell its release")?
        .to_owned())
}

/// What is linked into the program, the kernel programs included.
pub(super) fn inventory(triple: &str) -> Result<Inventory> {
    let tree = stdout(cargo().args([
        "tree",
        "--locked",
        "--package=tracer-user",
        "--package=tracer-ebpf",
        "--features=tracer-ebpf/programs",
        "--edges=normal,no-proc-macro",
        "--prefix=depth",
        "--target",
        triple,
        "--format",
        FORMAT,
    ]))?;
    let metadata = stdout(cargo().args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--features=tracer-ebpf/programs",
        "--filter-platform",
        triple,
    ]))?;
    let lock = read(&paths::root().join("Cargo.lock"))?;
    inventory::inventory(&tree, &metadata, &lock)
}

/// The parts of a package. `speaker` is a why502 that runs on this machine.
pub(super) fn parts(program: Vec<u8>, speaker: &Path, notices: String) -> Result<Parts> {
    let root = paths::root();
    let scripts = root.join("scripts");
    let mut licences = Vec::new();
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        licences.push((name.to_owned(), read(&root.join(name))?));
    }
    Ok(Parts {
        program,
        unit: read(&scripts.join("agent/why502.service"))?,
        config: read(&scripts.join("agent/why502.toml"))?,
        manuals: manuals(speaker)?,
        completions: SHELLS
            .iter()
            .map(|shell| {
                Ok((
                    (*shell).to_owned(),
                    speak(speaker, &["completions", shell])?,
                ))
            })
            .collect::<Result<_>>()?,
        documents: below(&root.join("docs"))?
            .into_iter()
            .filter(|(path, _)| !NOT_SHIPPED.contains(&path.as_str()))
            .collect(),
        examples: below(&scripts.join("fleet"))?,
        licences,
        notices,
        std_notices: std_notices()?,
    })
}

/// What rustup's toolchains have beside their documents.
fn std_notices() -> Result<Option<String>> {
    let sysroot = stdout(Command::new("rustc").args(["--print", "sysroot"]))?;
    let path = Path::new(sysroot.trim()).join("share/doc/rust/COPYRIGHT-library.html");
    match path.exists() {
        true => read(&path).map(Some),
        false => Ok(None),
    }
}

/// The program's page, and those of all commands that it names.
fn manuals(speaker: &Path) -> Result<Vec<(String, String)>> {
    let program = speak(speaker, &["man"])?;
    let commands = commands(&program);
    ensure!(
        !commands.is_empty(),
        "the manual page of the program names no command"
    );
    let mut pages = vec![("why502".to_owned(), program)];
    for command in commands {
        let page = speak(speaker, &["man", &command])?;
        pages.push((format!("why502-{command}"), page));
    }
    Ok(pages)
}

/// The commands that a manual page refers to: `why502\-capture(1)`.
fn commands(page: &str) -> Vec<String> {
    let named = page
        .lines()
        .filter_map(|line| line.strip_prefix("why502\\-")?.strip_suffix("(1)"));
    named
        .filter(|name| *name != "help")
        .map(|name| name.replace("\\-", "-"))
        .collect()
}

fn speak(speaker: &Path, words: &[&str]) -> Result<String> {
    stdout(Command::new(speaker).args(words))
}

/// The files of a directory and those below, by their path in it, in order.
fn below(top: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(top)?.to_string_lossy().into_owned();
            files.push((name, bytes));
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The cargo that runs us.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn stdout(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_that_the_page_names() {
        let page = ".TP\nwhy502\\-capture(1)\nTrace, see why502\\-report(1)\n.TP\n\
                    why502\\-two\\-words(1)\n.TP\nwhy502\\-help(1)\n";
        assert_eq!(commands(page), ["capture", "two-words"]);
        assert!(commands("").is_empty());
    }

    #[test]
    fn directories_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["c", "b/a", "a"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let files = below(dir.path()).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b/a", "c"]);
    }
}
