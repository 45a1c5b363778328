//! Holds the JSON of `logs`, its schema and its document to one another, as the tests beside
//! [`crate::report`] do for captures.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Output, View};
use crate::logs::read::{Source, Trouble};
use crate::logs::survey::{Choice, Left, Options, Problem, Progress, run};
use crate::logs::testing::assume;
use crate::report::schema_tests::{check, closed, names};
use crate::report::{Format, Style};

const SCHEMA: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/schema/why502-logs-1.json"
));
const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/logs-json.md"));

const OK: &str = r#"http 2026-11-22T07:31:02.417305Z app/shop/50 203.0.113.5:51544 192.0.2.20:8080 0.001 0.020 0.000 200 200 312 277 "GET http://shop.example.com:80/cart?id=7 HTTP/1.1" "curl/8.5" - - arn "Root=1-69216c66""#;

struct To<W>(Output<W>);

impl<W: std::io::Write> Progress for To<W> {
    type Error = std::io::Error;

    fn failure(&mut self, failure: &Left<'_>) -> std::io::Result<()> {
        self.0.entry(failure)
    }

    fn caught_up(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }

    fn read(&mut self, _bytes: u64) {}
}

fn text() -> Vec<u8> {
    let made = |statuses: &str| OK.replacen("200 200", statuses, 1);
    let mut text = [
        OK.to_owned(),
        made("502 -"),
        made("502 502"),
        made("463 -").replacen("192.0.2.20:8080", "-", 1),
        made("504 -").replacen("/cart", "/\u{1b}[31m\u{202e}", 1),
        "http yesterday app/x".to_owned(),
        String::new(),
    ]
    .join("\n")
    .into_bytes();
    text.extend(b"\xff\xfe\0\n");
    text.extend(vec![b'x'; 1_100_000]);
    text
}

fn written(format: Format, limit: Option<u64>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.log");
    std::fs::write(&file, text()).unwrap();
    let options = Options {
        format: Choice::Auto,
        assume: assume(),
        since: None,
        until: None,
        statuses: Vec::new(),
    };
    let view = View {
        format,
        style: Style::PLAIN,
        limit,
        unparsed: true,
        zone: TimeZone::UTC,
    };
    let mut out = Vec::new();
    let mut to = To(Output::new(view, &mut out));
    let mut survey = run(vec![Source::File(file)], options, &mut to).unwrap();
    survey.problem(Problem {
        file: "b\u{1b}.log".into(),
        trouble: Trouble::CutShort,
    });
    survey.more_problems = 1;
    to.0.finish(&survey).unwrap();
    String::from_utf8(out).unwrap()
}

fn validator(part: &str) -> jsonschema::Validator {
    closed(SCHEMA, part)
}

#[test]
fn documents_are_as_described() {
    let document: Value = serde_json::from_str(&written(Format::Json, None)).unwrap();
    check(&validator(""), &document);
    let summary = &document["summary"];
    assert_eq!(document["entries"].as_array().map(Vec::len), Some(4));
    let sum: u64 = [
        "/healthy",
        "/failures",
        "/context",
        "/blank",
        "/outside_time",
        "/without_time",
        "/other_status",
        "/unparsed/count",
        "/too_long/count",
    ]
    .iter()
    .filter_map(|name| summary.pointer(name)?.as_u64())
    .sum();
    assert_eq!(summary["lines"].as_u64(), Some(sum), "{summary:#}");
    assert_eq!(summary["lines"], 8);

    let few: Value = serde_json::from_str(&written(Format::Json, Some(1))).unwrap();
    assert_eq!(few["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(few["summary"]["entries_left_out"], 3);
}

#[test]
fn lines_are_as_described_and_in_order() {
    let validator = validator("line");
    let mut kinds = Vec::new();
    for line in written(Format::Ndjson, None).lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        check(&validator, &value);
        kinds.push(value["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["entry", "entry", "entry", "entry", "summary"]);
}

#[test]
fn what_is_not_described_is_noticed() {
    let validator = validator("");
    let good: Value = serde_json::from_str(&written(Format::Json, None)).unwrap();
    for (pointer, name, value) in [
        ("", "surprise", json!(1)),
        ("/entries/0", "status", Value::Null),
        ("/entries/0", "time", json!("yesterday")),
        ("/entries/0", "blame", json!("somebody")),
        ("/summary", "surprise", json!(1)),
        ("/summary/by_meaning/0", "surprise", json!(1)),
        ("/summary/unparsed/examples/0", "offset", json!("5")),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()[name] = value;
        assert!(!validator.is_valid(&bad), "{pointer} {name}");
    }
}

#[test]
fn every_described_field_is_written_somewhere() {
    let written = written(Format::Json, None);
    for name in names(SCHEMA) {
        // No form that this test reads logs the time of connecting.
        let written = name == "connect" || written.contains(&format!("\"{name}\":"));
        assert!(written, "{name} unused");
        assert!(
            DOCUMENT.contains(&format!("`{name}`")),
            "{name} undocumented"
        );
    }
    assert!(!written.contains("null"));
}

#[test]
fn text_is_safe_and_within_its_width() {
    let text = written(Format::Text, None);
    for line in text.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.chars().count() <= Style::PLAIN.width, "{line}");
    }
    for part in [
        "4 failures in 8 lines of 1 file",
        "\\x1b[31m\\u{202e}",
        "b\\x1b.log: ends in the middle",
        "at byte 5: expected a time in ISO 8601",
        "1 line too long to be read, 1,100,000 bytes together.",
        "application-502",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}
