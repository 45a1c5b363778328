//! The built program: output, exit codes, streams.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail like the test"
)]

mod program;

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use program::{Ran, WHY502};

const NOBODY: u32 = 65534;

fn why502(arguments: &str) -> Command {
    program::command(arguments.split_whitespace())
}

fn run(arguments: &str) -> Ran {
    why502(arguments).output().unwrap().into()
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// The program in a place that everybody can reach; removed when dropped.
struct Copy(PathBuf);

impl Copy {
    fn new(test: &str) -> Self {
        let name = format!("why502-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::copy(WHY502, &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    /// Without any right: as nobody if we are root, else as we are.
    fn run_without_root(&self, arguments: &str) -> Ran {
        let mut command = Command::new(&self.0);
        command.args(arguments.split_whitespace());
        if is_root() {
            // A change of user drops every capability (capabilities(7)).
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        for _ in 0..100 {
            match command.output() {
                // Another test forked while the copy was being written, and its child has not yet
                // replaced its program: for that moment it holds the file open.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                ran => return ran.unwrap().into(),
            }
        }
        panic!("{} stays busy", self.0.display());
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn help_and_version_are_results() {
    for (arguments, word) in [
        ("--version", "why502 0."),
        ("--help", "Exit code: 0 it worked"),
        ("capture --help", "Examples:"),
        ("help doctor", "works without root"),
        ("report --help", "without root"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments}");
        assert!(ran.out.contains(word), "{arguments}: {}", ran.out);
        assert_eq!(ran.err, "", "{arguments}");
    }
}

#[test]
fn the_help_lists_what_this_version_can_do_and_nothing_else() {
    let help = run("--help").out;
    let listed: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        listed,
        [
            "capture",
            "agent",
            "snapshot",
            "report",
            "export",
            "logs",
            "explain",
            "doctor",
            "completions",
            "man",
            "help"
        ]
    );
    let ran = run("live");
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("unrecognized subcommand"), "{}", ran.err);
}

#[test]
fn wrong_usage_is_2_and_says_what_is_wrong() {
    for (arguments, word) in [
        ("", "Usage: why502 <COMMAND>"),
        ("capture --bogus", "unexpected argument '--bogus'"),
        ("capture --status 50x", "50x"),
        ("capture --duration never", "30s, 5m"),
        (
            "capture --role backend --remote-view",
            "hint: leave out --role backend",
        ),
        ("capture --fail-on no-such-rule", "why502 explain"),
        ("explain no-such-rule", "hint: the rules are"),
        ("man live", "hint: there are manual pages for"),
        ("doctor --format html", "possible values: text, json"),
        ("report", "<FILE>"),
        ("logs", "<FILE|-"),
        ("report /nonexistent.w502", "/nonexistent.w502"),
        ("completions tcsh", "bash"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments}: {}", ran.err);
        assert!(ran.err.contains(word), "{arguments}: {}", ran.err);
        assert!(
            arguments.is_empty() || ran.err.starts_with("why502: error: "),
            "{arguments}: {}",
            ran.err
        );
        assert_eq!(ran.out, "", "{arguments}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_success() {
    for arguments in [
        "--help",
        "doctor",
        "completions bash",
        "man capture",
        "explain",
    ] {
        let mut child = why502(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closed before the program can have written: it meets the closed pipe at its first write.
        drop(child.stdout.take());
        let mut err = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments}");
        assert_eq!(err, "", "{arguments}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    for arguments in ["--help", "doctor", "completions bash", "man", "explain"] {
        let ran: Ran = why502(arguments)
            .stdout(full.try_clone().unwrap())
            .stderr(Stdio::piped())
            .output()
            .unwrap()
            .into();
        assert_eq!(ran.code, Some(2), "{arguments}");
        assert!(
            ran.err.contains("No space left"),
            "{arguments}: {}",
            ran.err
        );
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&format!("completions {shell}"));
        assert_eq!(ran.code, Some(0), "{shell}");
        assert!(ran.out.contains("duration"), "{shell}");
    }
}

#[test]
fn manual_pages() {
    let ran = run("man");
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains(".TH why502 1"), "{}", ran.out);
    let capture = run("man capture").out;
    assert!(capture.contains(".TH why502-capture 1"), "{capture}");
    assert!(capture.contains("\\-\\-duration"), "{capture}");
    assert!(!capture.contains("ring\\-bytes"), "hidden: {capture}");
}

#[test]
fn rules_are_explained() {
    let list = run("explain");
    assert_eq!(list.code, Some(0));
    assert!(list.out.contains("keepalive-race"));
    let rule = run("explain keepalive-race");
    assert_eq!(rule.code, Some(0));
    assert!(rule.out.contains("Evidence it needs"), "{}", rule.out);
}

#[test]
fn lines_are_explained() {
    let line = include_str!("../src/logs/samples/azure-app-gateway.log")
        .lines()
        .next()
        .unwrap();
    let given: Ran = why502("explain --line").arg(line).output().unwrap().into();
    assert_eq!(given.code, Some(0), "{}", given.err);
    assert!(
        given.out.starts_with("Azure Application Gateway"),
        "{}",
        given.out
    );
    assert!(given.out.contains("\n  keepalive-race "), "{}", given.out);

    let mut child = why502("explain --line - --format azure-app-gateway")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = format!("{line}\n{line}\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let read: Ran = child.wait_with_output().unwrap().into();
    let expected = given.out + "\nOnly the first line was looked at.\n";
    assert_eq!(read.out, expected);

    let code = run("explain --line backend_timeout");
    assert!(code.out.starts_with("Google Cloud"), "{}", code.out);
    for (arguments, word) in [
        ("explain --line hello", "hint: the forms are nginx-error, "),
        (
            "explain --line ----- --format gcp",
            "----- is no line of the form gcp",
        ),
        (
            "explain --line x --format nope",
            "there is no log format nope",
        ),
        ("explain --format gcp", "--line"),
        ("explain keepalive-race --line x", "cannot be used with"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments}");
        assert!(ran.err.contains(word), "{arguments}: {}", ran.err);
    }
}

#[test]
fn doctor_works_here() {
    let text = run("doctor");
    assert_eq!(text.code, Some(0), "{}", text.err);
    assert!(text.out.starts_with("A capture will "), "{}", text.out);
    let json = run("doctor --format json");
    assert_eq!(json.code, Some(0), "{}", json.err);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["schema"], "why502-doctor/1");
}

#[test]
fn doctor_without_root_has_clear_words() {
    let ran = Copy::new("doctor").run_without_root("doctor");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.err, "");
    for words in [
        "A capture will not work:",
        "CAP_BPF and CAP_PERFMON missing",
        "do: run with sudo",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
}

#[test]
fn capture_without_root_names_the_missing_right() {
    let ran = Copy::new("capture").run_without_root("capture --duration 1s");
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    for words in [
        "why502: error: no right to load kernel programs: CAP_BPF and CAP_PERFMON missing",
        "hint: run with sudo",
    ] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert_eq!(ran.out, "");
}

/// On a pseudo-terminal, which `script` of util-linux makes.
#[test]
fn no_color_is_honoured_on_a_terminal() {
    let on_terminal = |no_color: Option<&str>| -> Option<String> {
        let mut script = Command::new("script");
        script
            .args(["-qec", &format!("{WHY502} --help"), "/dev/null"])
            .stdin(Stdio::null())
            .env("TERM", "xterm-256color")
            .env_remove("CLICOLOR")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("NO_COLOR");
        if let Some(value) = no_color {
            script.env("NO_COLOR", value);
        }
        let output = script.output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(coloured) = on_terminal(None) else {
        eprintln!("skipped: no `script` here");
        return;
    };
    assert!(coloured.contains("\u{1b}["), "a terminal gets colours");
    let plain = on_terminal(Some("1")).unwrap();
    assert!(plain.contains("Usage"), "{plain}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(!run("--help").out.contains('\u{1b}'), "a pipe gets none");
}
