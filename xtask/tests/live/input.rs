//! Bad input: each is answered in words, with the right exit code, and without a panic.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::capture::{self, Capture};
use xtask::lab::client::Request;
use xtask::lab::proxy::{Kind, Options, Route};
use xtask::lab::stand::Stand;

use crate::{turn, why502};

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let said = Self {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        };
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        said
    }

    fn run(args: &[&str]) -> Self {
        let output = Command::new(why502())
            .args(args)
            .stdin(Stdio::null())
            .output();
        Self::of(output.unwrap())
    }

    /// Refused with words that name the thing.
    #[track_caller]
    fn refused(&self, names: &str) {
        let Self {
            code,
            stdout,
            stderr,
        } = self;
        assert_eq!(*code, Some(2), "{stdout}\n{stderr}");
        assert!(stderr.contains(names), "does not name {names}: {stderr}");
        assert!(stdout.is_empty(), "{stdout}");
    }
}

/// A recording with a few cases in it.
fn recording(dir: &Path) -> PathBuf {
    let stand = Stand::start(Kind::Nginx, Options::default()).unwrap();
    let file = dir.join("good.w502");
    let pid = stand.proxy.pid().to_string();
    let args = ["--pid", &pid, "-w", file.to_str().unwrap()];
    let capture = Capture::start(&why502(), &args, capture::Output::Collect).unwrap();
    for number in 0..5 {
        let path = format!("/fin/{number}");
        stand.ask(Route::Fresh, &Request::get(&path)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(capture.stop().unwrap().code, 0);
    file
}

fn cases(said: &Said) -> u64 {
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    document["totals"]["cases"].as_u64().unwrap()
}

#[test]
fn recordings() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let good = recording(dir.path());
    let mode = fs::metadata(&good).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let bytes = fs::read(&good).unwrap();
    let report = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        Said::run(&["report", path.to_str().unwrap(), "--format", "json"])
    };

    assert_eq!(cases(&report("whole", &bytes)), 5);
    report("empty", b"").refused("empty");
    report("not-ours", b"\xd4\xc3\xb2\xa1 this is something else").refused("not-ours");
    let mut newer = bytes.clone();
    newer[8] = 99;
    report("newer", &newer).refused("newer");
    Said::run(&["report", "/nonexistent/file"]).refused("/nonexistent/file");
    Said::run(&["report", dir.path().to_str().unwrap()]).refused(dir.path().to_str().unwrap());

    // Torn: what was there is reported, and that it is not all.
    for at in [bytes.len() / 2, bytes.len() - 3] {
        let torn = report("torn", &bytes[..at]);
        assert_eq!(torn.code, Some(0), "{}", torn.stderr);
        assert!(cases(&torn) <= 5);
        let said = torn.stdout.clone() + &torn.stderr;
        assert!(said.contains("torn") || said.contains("cut"), "{said}");
    }
    // Every form of the report.
    for format in ["text", "ndjson"] {
        let said = Said::run(&["report", good.to_str().unwrap(), "--format", format]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(
            said.stdout.contains("fin-before-response"),
            "{}",
            said.stdout
        );
    }
    // Whoever reads the report may stop reading.
    let mut child = Command::new(why502())
        .args(["report", good.to_str().unwrap(), "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

#[test]
fn what_cannot_be_captured() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let own = std::process::id().to_string();

    // Found before the capture starts, so at once.
    let started = Instant::now();
    for path in ["/nonexistent/dir/out.w502", dir.path().to_str().unwrap()] {
        Said::run(&["capture", "--pid", &own, "--duration", "30s", "-w", path]).refused(path);
    }
    assert!(started.elapsed() < Duration::from_secs(5));

    // A process that is gone.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let pid = gone.id().to_string();
    Said::run(&["capture", "--pid", &pid, "--duration", "1s"]).refused(&pid);

    for args in [
        &["capture", "--status", "bad"][..],
        &["capture", "--duration", "-3"],
        &["capture", "--no-such-option"],
        &["no-such-command"],
    ] {
        Said::run(args).refused(args.last().unwrap());
    }
}

#[test]
fn without_rights() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    // A copy that anybody may read and run: the build directory may be closed to others.
    let dir = tempfile::Builder::new()
        .permissions(everybody())
        .tempdir()
        .unwrap();
    let copy = dir.path().join("why502");
    fs::copy(why502(), &copy).unwrap();
    fs::set_permissions(&copy, everybody()).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(&copy);
        command
            .args(args)
            .current_dir("/")
            .uid(65534)
            .gid(65534)
            .stdin(Stdio::null());
        Said::of(command.output().unwrap())
    };
    as_nobody(&["capture", "--duration", "1s"]).refused("CAP_BPF");

    for said in [as_nobody(&["doctor"]), Said::run(&["doctor"])] {
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(said.stdout.contains("Kernel"), "{}", said.stdout);
    }
    let said = as_nobody(&["doctor", "--format", "json"]);
    serde_json::from_str::<Value>(&said.stdout).unwrap();
}

fn everybody() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
