//! Holds the JSON that is written, its schema and its document to one another. The strict consumer
//! here fails on anything that is written and not described.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Format, Reporter, Style, fixture};
use crate::event::Input;

const SCHEMA: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/schema/why502-1.json"
));
const DOCUMENT: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/json-schema.md"
));

/// The published schema lets fields be added; here every object with described fields is closed.
fn strict(schema: &str) -> Value {
    fn close(value: &mut Value) {
        match value {
            Value::Object(object) => {
                if object.get("properties").is_some_and(Value::is_object)
                    && object.get("type") == Some(&json!("object"))
                {
                    object.insert("additionalProperties".into(), json!(false));
                }
                object.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema = serde_json::from_str(schema).unwrap();
    close(&mut schema);
    schema
}

/// A strict reader of a schema, or of one of its definitions.
pub(super) fn closed(schema: &str, part: &str) -> Validator {
    let mut schema = strict(schema);
    if !part.is_empty() {
        let defs = schema["$defs"].take();
        schema = json!({
            "$schema": schema["$schema"],
            "$ref": format!("#/$defs/{part}"),
            "$defs": defs,
        });
    }
    jsonschema::validator_for(&schema).unwrap()
}

fn validator(part: &str) -> Validator {
    closed(SCHEMA, part)
}

pub(super) fn check(validator: &Validator, value: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// Names of all fields that a schema describes.
pub(super) fn names(schema: &str) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::Object(properties)) = object.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                object.values().for_each(|value| collect(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut described = Vec::new();
    collect(&strict(schema), &mut described);
    described
}

#[test]
fn documents_are_as_described() {
    let validator = validator("");
    for document in [
        fixture::document(),
        fixture::quiet_document(),
        fixture::empty_document(),
        fixture::hostile_document(),
    ] {
        check(&validator, &serde_json::to_value(document).unwrap());
    }
}

#[test]
fn lines_are_as_described_and_in_order() {
    let reporter = Reporter::new(Format::Ndjson, Style::PLAIN);
    let mut session = crate::session::Session::new();
    let mut out = Vec::new();
    reporter
        .input(&mut session, &Input::Start(fixture::start()), &mut out)
        .unwrap();
    for case in fixture::session().document().cases {
        super::ndjson::write_case(&case, &mut out).unwrap();
    }
    reporter.finish(&fixture::session(), &mut out).unwrap();

    let validator = validator("line");
    let mut kinds = Vec::new();
    for line in out.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let value: Value = serde_json::from_slice(line).unwrap();
        check(&validator, &value);
        kinds.push(value["type"].as_str().unwrap().to_owned());
    }
    kinds.dedup();
    let order = ["header", "case", "group", "backend", "loss", "footer"];
    assert_eq!(kinds, order);
}

/// The consumer is strict indeed: it notices what is not described.
#[test]
fn what_is_not_described_is_noticed() {
    let validator = validator("");
    let good = serde_json::to_value(fixture::document()).unwrap();
    for (pointer, name, value) in [
        ("", "surprise", json!(1)),
        ("/cases/0", "surprise", json!(1)),
        ("/cases/0/attempts/0", "ttfb_us", Value::Null),
        ("/cases/0/attempts/0/events/0", "surprise", json!("")),
        ("/backends/0/ttfb", "p50_us", json!("911")),
        ("/groups/0", "first", json!("2026-11-22 13:54:34")),
        ("/totals/outcomes", "exploded", json!(1)),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()[name] = value;
        assert!(!validator.is_valid(&bad), "{pointer} {name}");
    }
}

/// No field of the schema is there for show, and the document for people has them all.
#[test]
fn every_described_field_is_written_somewhere() {
    let mut lines = Vec::new();
    super::ndjson::write_header(&fixture::session().header(), &mut lines).unwrap();
    super::ndjson::write_end(&fixture::document(), &mut lines).unwrap();
    super::json::write(&fixture::document(), &mut lines).unwrap();
    let written = String::from_utf8(lines).unwrap();
    for name in names(SCHEMA) {
        assert!(written.contains(&format!("\"{name}\":")), "{name} unused");
        assert!(
            DOCUMENT.contains(&format!("`{name}`")),
            "{name} undocumented"
        );
    }
}

#[test]
fn fields_stand_in_the_order_of_the_contract() {
    let text = serde_json::to_string(&fixture::document()).unwrap();
    let contract = [
        "schema", "host", "kernel", "started", "ended", "groups", "cases", "backends", "losses",
        "notes",
    ];
    let places: Vec<_> = contract
        .iter()
        .map(|name| text.find(&format!("\"{name}\":")).unwrap())
        .collect();
    assert!(places.is_sorted());
    assert!(!text.contains("null"));
}
