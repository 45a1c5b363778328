//! The guest's first and only file system: our init, the programs under test, real proxies and the
//! libraries that all of them need, copied from this host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use xtask::lab::process::find_program;

use super::cpio::Archive;
use super::modules::Module;
use super::plan::{MODULES, PLAN, Plan};

/// What the tests and the lab start.
pub(super) const NEEDED: [&str; 7] = [
    "nginx", "haproxy", "ip", "nft", "openssl", "setpriv", "bpftool",
];

/// Beside these, for a person who looks around; what the host lacks is left out.
const FOR_A_SHELL: [&str; 40] = [
    "bash", "sh", "ls", "cat", "cp", "mv", "rm", "mkdir", "ln", "echo", "head", "tail", "grep",
    "sed", "awk", "sort", "uniq", "wc", "cut", "tr", "env", "sleep", "kill", "ps", "top", "free",
    "mount", "umount", "dmesg", "uname", "find", "xargs", "less", "stty", "id", "ss", "tc", "curl",
    "strace", "timeout",
];

/// Directories that must be there.
const DIRECTORIES: [&str; 24] = [
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "mnt",
    "srv",
    "media",
    "opt",
    "root",
    "etc",
    "etc/ssl",
    "usr",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "var",
    "var/lib",
    "var/log",
    "var/log/nginx",
    "var/lib/nginx",
    "var/lib/haproxy",
    "modules",
];

/// As Debian links them since `/usr` was merged.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("var/run", "../run"),
];

/// Files of a few lines.
const TEXTS: [(&str, &str); 6] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nhaproxy:x:101:101::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    ),
    (
        "etc/group",
        "root:x:0:\nwww-data:x:33:\nhaproxy:x:101:\nnogroup:x:65534:\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    // The lab covers it with that of its own name server.
    ("etc/resolv.conf", "nameserver 127.0.0.1\n"),
    ("etc/hostname", "guest\n"),
];

/// What all guests have.
#[derive(Default)]
pub(super) struct Base {
    /// Path in the guest to the file on this host.
    files: BTreeMap<String, PathBuf>,
    /// Directories of libraries, as the loader must be told them.
    libraries: BTreeSet<String>,
    /// Programs of the table above that this host lacks.
    missing: Vec<&'static str>,
}

impl Base {
    /// Gathers it; `own` are programs of ours and their paths in the guest.
    pub(super) fn gather(own: &[(&Path, &str)], shell: bool) -> Result<Self> {
        let mut base = Self::default();
        for (program, path) in own {
            base.program(program, path)?;
        }
        for name in NEEDED {
            match find_program(name) {
                Some(program) => base.program(&program, &merged(&program))?,
                None => base.missing.push(name),
            }
        }
        if !base.missing.is_empty() {
            bail!(
                "the guests need {}, copied from this host: `cargo xtask setup --for test` installs them",
                base.missing.join(", ")
            );
        }
        if shell {
            for name in FOR_A_SHELL {
                if let Some(program) = find_program(name) {
                    base.program(&program, &merged(&program))?;
                }
            }
        }
        for optional in ["/etc/ssl/openssl.cnf", "/etc/protocols", "/etc/services"] {
            let path = Path::new(optional);
            if path.is_file() {
                base.file(path, merged(path));
            }
        }
        Ok(base)
    }

    fn file(&mut self, on_host: &Path, in_guest: String) {
        self.files.insert(in_guest, on_host.to_path_buf());
    }

    fn program(&mut self, program: &Path, in_guest: &str) -> Result<()> {
        self.file(program, in_guest.to_owned());
        let output = Command::new("ldd")
            .arg(program)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .context("cannot run ldd, which comes with the C library")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let libraries = libraries(&said)
            .map_err(|missing| anyhow::anyhow!("{} lacks {missing}", program.display()))?;
        for library in libraries {
            let in_guest = merged(&library);
            if let Some((directory, _)) = in_guest.rsplit_once('/') {
                self.libraries.insert(format!("/{directory}"));
            }
            // Before 2.34 the C library loaded these by name, which ldd does not see.
            if in_guest.ends_with("/libc.so.6") {
                for name in ["libnss_files.so.2", "libnss_dns.so.2"] {
                    let path = library.with_file_name(name);
                    if path.is_file() {
                        let in_guest = merged(&path);
                        self.file(&path, in_guest);
                    }
                }
            }
            self.file(&library, in_guest);
        }
        Ok(())
    }

    /// Where the loader of the guest must look.
    pub(super) fn library_path(&self) -> String {
        let all: Vec<&str> = self.libraries.iter().map(String::as_str).collect();
        all.join(":")
    }

    /// Writes the archive for one kernel. It is not compressed: unpacking under emulation takes longer
    /// than reading.
    pub(super) fn write(&self, to: &Path, modules: &[Module], plan: &Plan) -> Result<u64> {
        let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        let mut made: BTreeSet<String> = BTreeSet::new();
        for directory in DIRECTORIES {
            archive.directory(directory)?;
            made.insert(directory.to_owned());
        }
        for (link, target) in LINKS {
            archive.link(link, target)?;
        }
        for (path, text) in TEXTS {
            archive.file(path, 0o644, text.as_bytes())?;
        }
        for (path, source) in &self.files {
            for parent in parents(path) {
                if made.insert(parent.to_owned()) {
                    archive.directory(parent)?;
                }
            }
            let content =
                fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            archive.file(path, 0o755, &content)?;
        }
        let mut order = String::new();
        for module in modules {
            archive.file(
                &format!("modules/{}.ko", module.name),
                0o644,
                &module.content,
            )?;
            order.push_str(&format!("{}\n", module.name));
        }
        archive.file(relative(MODULES), 0o644, order.as_bytes())?;
        archive.file(relative(PLAN), 0o644, &serde_json::to_vec(plan)?)?;
        archive.finish()?.flush()?;
        Ok(fs::metadata(to)?.len())
    }
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// `a/b/c` → `a`, `a/b`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// A path as it is in the guest, where `/bin`, `/sbin` and `/lib*` are links into `/usr`: without the
/// first slash, and without `..`.
fn merged(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => {
                parts.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let first = parts.first().map(String::as_str);
    if matches!(first, Some("bin" | "sbin" | "lib" | "lib64")) {
        parts.insert(0, "usr".to_owned());
    }
    parts.join("/")
}

/// The files in what `ldd` says, or the one that is missing.
fn libraries(said: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for line in said.lines() {
        let line = line.trim();
        if let Some((name, "not found")) = line.split_once(" => ") {
            return Err(name.to_owned());
        }
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split(" (0x").next().unwrap_or_default().trim();
        if path.starts_with('/') && !path.ends_with(':') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

/// A copy without debug information where `strip` is at hand: a quarter of the size.
pub(super) fn stripped(program: &Path, into: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let copy = into.join(name);
    let done = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(program)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !done.is_ok_and(|status| status.success()) {
        fs::copy(program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says() {
        let said = "\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibcrypt.so.1 => /lib/x86_64-linux-gnu/libcrypt.so.1 (0x00007f)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f)
";
        let expected = [
            "/lib/x86_64-linux-gnu/libcrypt.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(said).unwrap(), expected.map(PathBuf::from));
        assert_eq!(
            libraries("\tnot a dynamic executable").unwrap(),
            [""; 0].map(PathBuf::from)
        );
        assert_eq!(libraries("").unwrap(), [""; 0].map(PathBuf::from));
        assert_eq!(
            libraries("\tlibx.so.1 => not found\n").unwrap_err(),
            "libx.so.1"
        );
    }

    #[test]
    fn paths_in_the_guest() {
        for (path, expected) in [
            ("/bin/ip", "usr/bin/ip"),
            ("/usr/sbin/nginx", "usr/sbin/nginx"),
            (
                "/lib64/ld-linux-x86-64.so.2",
                "usr/lib64/ld-linux-x86-64.so.2",
            ),
            ("/opt/x/../y/./z", "opt/y/z"),
            ("/library/x", "library/x"),
        ] {
            assert_eq!(merged(Path::new(path)), expected);
        }
        let parents: Vec<&str> = parents("a/b/c").collect();
        assert_eq!(parents, ["a", "a/b"]);
    }

    #[test]
    fn directories_come_before_what_lies_in_them() {
        for directory in DIRECTORIES {
            for parent in parents(directory) {
                assert!(DIRECTORIES.contains(&parent), "{directory}");
            }
        }
        for (path, _) in LINKS.iter().chain(&TEXTS) {
            for parent in parents(path) {
                assert!(DIRECTORIES.contains(&parent), "{path}");
            }
        }
    }
}
