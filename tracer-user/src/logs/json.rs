//! What the forms in JSON share.

use serde_json::Value;

use super::scan::{ParseError, seconds_as_us};

/// The object of a line.
///
/// # Errors
/// The line is no JSON, or no object.
pub(super) fn object(line: &[u8]) -> Result<Value, ParseError> {
    match serde_json::from_slice(line) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ParseError {
            offset: 0,
            expected: "a JSON object",
        }),
        Err(error) => Err(ParseError {
            // Columns count bytes from 1, and a line holds no line end.
            offset: error.column().saturating_sub(1).min(line.len()),
            expected: "valid JSON",
        }),
    }
}

/// A member's text; a number's digits. `None` if there is none, or it says that there is none.
pub(super) fn text(object: &Value, key: &str) -> Option<String> {
    match object.get(key)? {
        Value::String(text) if !matches!(text.as_str(), "" | "-") => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A member that is a whole number, or text that is one.
pub(super) fn number(object: &Value, key: &str) -> Option<u64> {
    match object.get(key)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A status that was sent: `None` for `0`, `"-"` and the like.
pub(super) fn status(object: &Value, key: &str) -> Option<u16> {
    let status = u16::try_from(number(object, key)?).ok()?;
    (1..=999).contains(&status).then_some(status)
}

/// A member that is seconds with a fraction, or such text (an `s` behind it is taken), as µs.
pub(super) fn seconds_us(object: &Value, key: &str) -> Option<u64> {
    match object.get(key)? {
        Value::Number(number) => {
            let us = number.as_f64()? * 1e6;
            (us.is_finite() && us >= 0.0).then_some(us.round() as u64)
        }
        Value::String(text) => seconds_as_us(text.trim().trim_end_matches('s').as_bytes()),
        _ => None,
    }
}

/// Does the line begin an object, and are all these members' names in it? Cheaper than reading it.
pub(super) fn names(line: &[u8], keys: &[&str]) -> bool {
    line.trim_ascii_start().starts_with(b"{")
        && keys.iter().all(|key| {
            let quoted = format!("\"{key}\"");
            memchr::memmem::find(line, quoted.as_bytes()).is_some()
        })
}
