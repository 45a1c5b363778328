//! Is what a receiver gives back what was sent? OTLP in JSON has one freedom: a field that has its
//! default value may be there or not
//! (<https://protobuf.dev/programming-guides/json/#presence-and-default-values>), and receivers
//! differ. So both sides are compared without defaults.

use anyhow::{Result, bail};
use serde_json::{Map, Number, Value};

/// Errors with the path of the first difference between two OTLP documents, when more than defaults
/// differ.
pub fn equal_after_defaults(sent: &Value, returned: &Value) -> Result<()> {
    let [sent, returned] = [sent, returned].map(|document| normal("", document));
    match difference("", &sent, &returned) {
        None => Ok(()),
        Some(what) => bail!("sent and returned differ {what}"),
    }
}

/// Fields whose presence means something though their value is zero or empty: members of a `oneof`
/// and those that the protocol marks `optional`
/// (<https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>).
const PRESENT: [&str; 12] = [
    "stringValue",
    "boolValue",
    "intValue",
    "doubleValue",
    "arrayValue",
    "kvlistValue",
    "bytesValue",
    "asInt",
    "asDouble",
    "sum",
    "min",
    "max",
];

/// 64-bit integers, which JSON has as strings; a number is allowed, too.
pub(super) const LONG: [&str; 8] = [
    "timeUnixNano",
    "startTimeUnixNano",
    "endTimeUnixNano",
    "observedTimeUnixNano",
    "intValue",
    "asInt",
    "count",
    "zeroCount",
];
pub(super) const LONG_LISTS: [&str; 1] = ["bucketCounts"];

/// Without defaults, numbers in one form. `name` is the field that holds the value.
fn normal(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name, normal(name, value)));
            let kept = fields.filter(|(name, value)| {
                let present = PRESENT.contains(&name.as_str());
                !value.is_null() && (present || !is_default(name, value))
            });
            Value::Object(
                kept.map(|(name, value)| (name.clone(), value))
                    .collect::<Map<_, _>>(),
            )
        }
        // Every entry of a list counts, even an empty one.
        Value::Array(entries) => {
            let inner = if LONG_LISTS.contains(&name) {
                "count"
            } else {
                ""
            };
            Value::Array(entries.iter().map(|entry| normal(inner, entry)).collect())
        }
        Value::Number(number) if LONG.contains(&name) => Value::String(number.to_string()),
        Value::Number(number) => plain(number),
        other => other.clone(),
    }
}

/// `1.0` and `1` are the same number.
fn plain(number: &Number) -> Value {
    let float = number.as_f64().and_then(Number::from_f64);
    float.map_or_else(|| Value::Number(number.clone()), Value::Number)
}

fn is_default(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || (text == "0" && LONG.contains(&name)),
        Value::Array(entries) => entries.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn difference(path: &str, sent: &Value, returned: &Value) -> Option<String> {
    match (sent, returned) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            names.into_iter().find_map(|name| {
                let path = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => difference(&path, a, b),
                    (Some(a), None) => Some(format!("at {path}: {a} was lost")),
                    (None, Some(b)) => Some(format!("at {path}: {b} was never sent")),
                    (None, None) => None,
                }
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return Some(format!(
                    "at {path}: {} entries were sent, {} came back",
                    a.len(),
                    b.len()
                ));
            }
            let pairs = a.iter().zip(b).enumerate();
            pairs
                .into_iter()
                .find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("at {path}: {a} was sent, {b} came back")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_do_not_count() {
        for (sent, returned) in [
            (json!({"a": 1, "flags": 0}), json!({"a": 1.0})),
            (json!({"a": {"b": []}}), json!({})),
            (json!({"count": 5}), json!({"count": "5"})),
            (
                json!({"bucketCounts": ["0", 2]}),
                json!({"bucketCounts": [0, "2"]}),
            ),
            (json!({"status": {"code": 0}}), json!({"status": {}})),
            (json!({"min": null}), json!({})),
            (json!({"zeroThreshold": 0.0}), json!({})),
        ] {
            equal_after_defaults(&sent, &returned).unwrap();
            equal_after_defaults(&returned, &sent).unwrap();
        }
    }

    #[test]
    fn everything_else_does() {
        for (sent, returned, expected) in [
            (
                json!({"a": [{"b": 1}]}),
                json!({"a": [{}]}),
                "at .a[0].b: 1.0 was lost",
            ),
            (json!({}), json!({"x": "y"}), r#"at .x: "y" was never sent"#),
            (
                json!({"a": [1]}),
                json!({"a": [1, 2]}),
                "at .a: 1 entries were sent, 2 came back",
            ),
            (json!({"name": "0"}), json!({}), r#"at .name: "0" was lost"#),
            (
                json!({"a": "1"}),
                json!({"a": "2"}),
                r#"at .a: "1" was sent, "2" came back"#,
            ),
            // A value that is zero is a value.
            (
                json!({"asInt": "0"}),
                json!({}),
                r#"at .asInt: "0" was lost"#,
            ),
            (json!({"sum": 0}), json!({}), "at .sum: 0.0 was lost"),
            (
                json!({"value": {"stringValue": ""}}),
                json!({"value": {}}),
                r#"at .value: {"stringValue":""} was lost"#,
            ),
            (
                json!({"count": "18446744073709551615"}),
                json!({"count": "18446744073709551614"}),
                r#"at .count: "18446744073709551615" was sent, "18446744073709551614" came back"#,
            ),
            (
                json!({"bucketCounts": ["0", "1"]}),
                json!({"bucketCounts": ["1"]}),
                "at .bucketCounts: 2 entries were sent, 1 came back",
            ),
        ] {
            let error = equal_after_defaults(&sent, &returned)
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("sent and returned differ {expected}"));
        }
    }
}
