//! `why502 logs`, the built program: files in all forms and states, streams, exit codes.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail like the test"
)]

mod program;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

use program::Ran;

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {}", self.err))
    }

    fn summary(&self, pointer: &str) -> Value {
        let document = self.json();
        let found = document["summary"].pointer(pointer);
        found.cloned().unwrap_or_default()
    }
}

/// Files of a test, removed when dropped.
struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn logs(arguments: &[&str]) -> Command {
    let mut command = program::command(["logs"]);
    command.args(arguments).env("TZ", "UTC");
    command
}

fn run(arguments: &[&str], files: &[&Path]) -> Ran {
    logs(arguments).args(files).output().unwrap().into()
}

fn json(files: &[&Path]) -> Ran {
    run(&["--output", "json"], files)
}

/// A line of an Application Load Balancer, so many seconds after 07:00.
fn alb(seconds: u32, statuses: &str, path: &str) -> String {
    let (minute, second) = (seconds / 60, seconds % 60);
    format!(
        "http 2026-11-22T07:{minute:02}:{second:02}.000000Z app/shop/50 203.0.113.5:51544 \
         192.0.2.20:8080 0.001 0.020 0.000 {statuses} 312 277 \"GET \
         http://shop.example.com:80{path} HTTP/1.1\" \"curl/8.5\" - - arn \"Root=1-{seconds}\"\n"
    )
}

/// So many lines, one a second, every tenth a 502.
fn many(lines: u32) -> String {
    (0..lines)
        .map(|n| {
            alb(
                n % 3600,
                if n % 10 == 0 { "502 -" } else { "200 200" },
                "/cart",
            )
        })
        .collect()
}

fn gz(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zst(text: &[u8]) -> Vec<u8> {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    compress_to_vec(text, CompressionLevel::Fastest)
}

#[test]
fn the_form_of_storage_makes_no_difference() {
    let text = many(5_000);
    let (one, two) = text.as_bytes().split_at(text.len() / 3);
    let dir = Dir::new();
    // The names say nothing.
    let plain = dir.write("a.gz", &text);
    let expected = json(&[&plain]).json();
    assert_eq!(expected["summary"]["failures"], 500);
    for stored in [
        gz(text.as_bytes()),
        [gz(one), gz(two)].concat(),
        zst(text.as_bytes()),
    ] {
        dir.write("a.gz", stored);
        let ran = json(&[&plain]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        assert_eq!(ran.json(), expected);
    }
}

#[test]
fn standard_input() {
    for stored in [many(3_000).into_bytes(), gz(many(3_000).as_bytes())] {
        let mut child = logs(&["--output", "json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || input.write_all(&stored));
        let ran = Ran::from(child.wait_with_output().unwrap());
        writer.join().unwrap().unwrap();
        assert_eq!(ran.summary("/failures"), 300);
        assert_eq!(ran.json()["entries"][0]["file"], "-");
    }
}

#[test]
fn what_comes_in_slowly_is_told_at_once() {
    let mut child = logs(&["--output", "ndjson", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 0..3 {
        input.write_all(alb(n, "502 -", "/").as_bytes()).unwrap();
        // Waits for ever if the line is kept back.
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["line_number"], n + 1);
    }
    drop(input);
    assert!(lines.next().unwrap().unwrap().contains("\"summary\""));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_file_that_was_cut_short_is_used_as_far_as_it_goes() {
    let dir = Dir::new();
    let whole = gz(many(20_000).as_bytes());
    let cut = dir.write("cut.log.gz", &whole[..whole.len() / 2]);
    let good = dir.write("good.log", many(10));
    let ran = json(&[&cut, &good]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("warning:") && ran.err.contains("cut.log.gz"),
        "{}",
        ran.err
    );
    let lines = ran.summary("/lines").as_u64().unwrap();
    assert!((5_000..19_000).contains(&lines), "{lines}");
    assert!(
        ran.summary("/problems/0/what")
            .as_str()
            .unwrap()
            .contains("in the middle")
    );
    // The line that was cut is told, and nothing behind it is lost.
    assert_eq!(ran.summary("/unparsed/count"), 1);
    let entries = ran.json()["entries"].clone();
    let last = entries.as_array().unwrap().last().cloned().unwrap();
    assert!(
        last["file"].as_str().unwrap().ends_with("good.log"),
        "{last}"
    );
    assert_eq!(last["line_number"], 1);

    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40].fill(0xff);
    dir.write("cut.log.gz", damaged);
    let ran = json(&[&cut, &good]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err.contains("error:") && ran.err.contains("damaged"),
        "{}",
        ran.err
    );
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_read() {
    let dir = Dir::new();
    let good = dir.write("good.log", many(10));
    let missing = dir.path().join("miss\u{1b}ing");
    let ran = json(&[&missing, &good]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.summary("/failures"), 1);
    assert_eq!(ran.summary("/files"), 1);
    assert!(
        ran.err
            .contains("miss\\x1bing: cannot be read: No such file"),
        "{}",
        ran.err
    );

    // For root nothing is without permission: a file that is there and cannot be read for anybody.
    let ran = json(&[Path::new("/proc/self/mem"), &good]);
    assert_eq!(
        (ran.code, ran.summary("/failures")),
        (Some(2), 1.into()),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("/proc/self/mem: cannot be read"),
        "{}",
        ran.err
    );
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names() {
    let dir = Dir::new();
    dir.write("logs/b.log", alb(2, "502 -", "/b"));
    dir.write("logs/a/2026.log.gz", gz(alb(1, "502 -", "/a").as_bytes()));
    dir.write("logs/c.log", alb(3, "502 -", "/c"));
    dir.write("logs/empty.log", "");
    let ran = json(&[&dir.path().join("logs")]);
    let document = ran.json();
    let paths: Vec<_> = document["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/a", "/b", "/c"]);
    assert_eq!(ran.summary("/files"), 4);
}

#[test]
fn lines_of_all_sorts() {
    let dir = Dir::new();
    let long = "x".repeat(10_000_000);
    let mixed = [
        alb(1, "502 -", "/first").replace('\n', "\r\n"),
        "\n".into(),
        format!("{long}\n"),
        alb(2, "504 -", "/sec\0ond"),
        "no such form\n".into(),
        alb(3, "502 502", "/last").trim_end().into(),
    ]
    .concat();
    let file = dir.write("mixed.log", mixed);
    let ran = json(&[&file]);
    let document = ran.json();
    let numbers: Vec<_> = document["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["line_number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 4, 6]);
    assert!(
        !document["entries"][0]["line"]
            .as_str()
            .unwrap()
            .ends_with('\r')
    );
    for (pointer, expected) in [
        ("/lines", 6),
        ("/blank", 1),
        ("/too_long/count", 1),
        ("/too_long/bytes", 10_000_000),
        ("/too_long/examples/0/line_number", 3),
        ("/unparsed/count", 1),
        ("/unparsed/examples/0/line_number", 5),
    ] {
        assert_eq!(ran.summary(pointer), expected, "{pointer}");
    }
    let text = run(&["--unparsed"], &[&file]);
    assert!(text.out.contains("no such form"), "{}", text.out);
    assert!(!run(&[], &[&file]).out.contains("no such form"));
}

#[test]
fn nothing_acts_on_the_terminal() {
    let dir = Dir::new();
    let hostile = "/\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}";
    let file = dir.write("a\u{1b}[31m.log", alb(1, "502 -", hostile) + "\u{1b}[2J?\n");
    let ran = run(&["--unparsed"], &[&file]);
    for text in [&ran.out, &ran.err] {
        let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
    }
    assert!(ran.out.contains("/\\x1b[2J\\x1b]0;owned"), "{}", ran.out);
}

#[test]
fn only_the_time_and_the_statuses_that_were_asked_for() {
    let dir = Dir::new();
    let file = dir.write("a.log", many(120));
    for (arguments, failures, outside) in [
        (&["--since", "2026-11-22T07:01:00Z"][..], 6, 60),
        (&["--since", "2026-11-22 08:01", "--zone", "+01:00"], 6, 60),
        (&["--until", "2026-11-22 07:00:10"], 1, 110),
        (
            &[
                "--since",
                "2026-11-22 07:00:10",
                "--until",
                "2026-11-22 07:00:31",
            ],
            3,
            99,
        ),
        (&["--since", "2026-11-22"], 12, 0),
        (&["--until", "2000w"], 0, 120),
        (&["--status", "502,504"], 12, 0),
        (&["--status", "504"], 0, 0),
    ] {
        let arguments = [&["--output", "json"], arguments].concat();
        let ran = run(&arguments, &[&file]);
        assert_eq!(
            ran.summary("/failures"),
            failures,
            "{arguments:?} {}",
            ran.err
        );
        assert_eq!(ran.summary("/outside_time"), outside, "{arguments:?}");
    }
    assert_eq!(
        run(&["--status", "504", "--output", "json"], &[&file]).summary("/other_status"),
        12
    );
    for wrong in [
        &["--since", "tomorrow"][..],
        &["--since", "08:00", "--until", "2026-01-01"],
        &["--zone", "Mars/Phobos"],
        &["--format", "nginx-2"],
        &["--status", "5xx"],
        &["--output", "xml"],
    ] {
        let ran = run(wrong, &[&file]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(!ran.err.is_empty());
    }
    assert_eq!(logs(&[]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_form_that_was_named_is_the_only_one() {
    let dir = Dir::new();
    let file = dir.write("a.log", many(100));
    let ran = run(&["--output", "json", "--format", "aws-alb"], &[&file]);
    assert_eq!(ran.summary("/formats/0/lines"), 100);
    let ran = run(&["--output", "json", "--format", "gcp"], &[&file]);
    assert_eq!(ran.summary("/unparsed/count"), 100);
    assert_eq!(
        ran.summary("/unparsed/examples").as_array().map(Vec::len),
        Some(10)
    );
}

#[test]
fn what_is_left_out_is_counted() {
    let dir = Dir::new();
    let file = dir.write("a.log", many(20_000));
    for (arguments, entries, left_out) in [
        (&["--output", "json"][..], 1_000, 1_000),
        (&["--output", "json", "--limit", "3"], 3, 1_997),
    ] {
        let ran = run(arguments, &[&file]);
        assert_eq!(
            ran.json()["entries"].as_array().map(Vec::len),
            Some(entries)
        );
        assert_eq!(ran.summary("/entries_left_out"), left_out);
    }
    let ran = run(&["--output", "ndjson"], &[&file]);
    assert_eq!(ran.out.lines().count(), 2_001);
}

/// Many blocks through several threads, and a folder of more files than there are blocks.
#[test]
fn the_result_does_not_depend_on_chance() {
    let dir = Dir::new();
    for n in 0..40 {
        dir.write(&format!("logs/{n:02}.log"), many(n * 150));
    }
    dir.write("logs/large.log", many(40_000));
    let first = json(&[&dir.path().join("logs")]);
    assert_eq!(first.summary("/lines"), 40_000 + 150 * (39 * 40 / 2));
    for _ in 0..3 {
        assert!(json(&[&dir.path().join("logs")]).out == first.out);
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let dir = Dir::new();
    let file = dir.write("a.log", many(60_000));
    for output in ["text", "json", "ndjson"] {
        let mut child = logs(&["--output", output])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    }
    // Not waited for: what never comes from standard input.
    let mut child = logs(&["--output", "ndjson", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    input.write_all(alb(1, "502 -", "/").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    drop(input);
}

#[test]
fn traefik_lines_among_combined_ones_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let combined =
        r#"203.0.113.5 - - [22/Nov/2026:07:22:27 +0000] "GET /a HTTP/1.1" 502 157 "-" "curl/8.5""#;
    let traefik = r#"203.0.113.5 - - [22/Nov/2026:07:31:02 +0000] "GET /cart HTTP/1.1" 502 11 "-" "-" 41 "shop@docker" "http://192.0.2.20:8080" 2ms"#;
    let path = dir.path().join("mixed.log");
    fs::write(&path, format!("{combined}\n{traefik}\n{combined}\n")).unwrap();
    let ran = run(&["--output", "ndjson"], &[&path]);
    let formats: Vec<String> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "entry")
        .map(|line| line["format"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(formats, ["combined", "traefik", "combined"]);
}
