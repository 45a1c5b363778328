//! The rules of OTLP's JSON, which are not quite those of Protobuf: names in lower camel case, 64-bit
//! numbers as strings, enums as numbers, ids in hexadecimal; nothing is null and no default is written.

use std::fmt::Display;

use bytes::Bytes;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::deliver::{Payload, Signal};
use crate::export::attributes::{Attributes, Value};
use crate::export::resource::{SCHEMA_URL, SCOPE, VERSION};

/// A value that is written as a string: a 64-bit number, an id.
#[derive(Clone, Copy)]
pub(super) struct Quoted<T>(pub(super) T);

impl<T: Display> Serialize for Quoted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A list of `KeyValue`.
pub(super) struct Pairs<'a>(pub(super) &'a Attributes);

impl Pairs<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().next().is_none()
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(key, value)| Pair {
            key,
            value: AnyValue(value),
        }))
    }
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

struct AnyValue<'a>(&'a Value);

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut one = serializer.serialize_map(Some(1))?;
        match self.0 {
            Value::Text(text) => one.serialize_entry("stringValue", text)?,
            Value::Int(number) => one.serialize_entry("intValue", &Quoted(number))?,
            Value::Bool(value) => one.serialize_entry("boolValue", value)?,
            Value::Texts(texts) => one.serialize_entry("arrayValue", &Texts::of(texts))?,
        }
        one.end()
    }
}

#[derive(Serialize)]
struct Texts<'a> {
    values: Vec<Text<'a>>,
}

impl<'a> Texts<'a> {
    fn of(texts: &'a [String]) -> Self {
        let text = |text: &'a String| Text { string_value: text };
        Self {
            values: texts.iter().map(text).collect(),
        }
    }
}

/// An `AnyValue` that is text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Text<'a> {
    pub(super) string_value: &'a str,
}

/// The names of a signal's envelope.
pub(super) struct Names {
    pub(super) resources: &'static str,
    pub(super) scopes: &'static str,
    pub(super) items: &'static str,
}

/// A whole document: for each resource its items.
pub(super) struct Envelope<'a, T> {
    pub(super) names: &'static Names,
    pub(super) resources: &'a [(Attributes, Vec<T>)],
}

impl<T: Serialize> Serialize for Envelope<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = |(resource, items)| ResourceItems {
            names: self.names,
            resource,
            items,
        };
        let mut document = serializer.serialize_map(Some(1))?;
        let resources: Vec<_> = self.resources.iter().map(|(r, i)| of((r, i))).collect();
        document.serialize_entry(self.names.resources, &resources)?;
        document.end()
    }
}

struct ResourceItems<'a, T> {
    names: &'static Names,
    resource: &'a Attributes,
    items: &'a [T],
}

impl<T: Serialize> Serialize for ResourceItems<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_map(Some(3))?;
        let attributes = Pairs(self.resource);
        entry.serialize_entry("resource", &Resource { attributes })?;
        let scope = ScopeItems {
            names: self.names,
            items: self.items,
        };
        entry.serialize_entry(self.names.scopes, &[scope])?;
        entry.serialize_entry("schemaUrl", SCHEMA_URL)?;
        entry.end()
    }
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Pairs<'a>,
}

struct ScopeItems<'a, T> {
    names: &'static Names,
    items: &'a [T],
}

impl<T: Serialize> Serialize for ScopeItems<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_map(Some(3))?;
        entry.serialize_entry("scope", &SCOPE_ITSELF)?;
        entry.serialize_entry(self.names.items, self.items)?;
        entry.serialize_entry("schemaUrl", SCHEMA_URL)?;
        entry.end()
    }
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

const SCOPE_ITSELF: Scope = Scope {
    name: SCOPE,
    version: VERSION,
};

/// The document as it is sent; `None` without items, which no receiver wants.
pub(super) fn payload<T: Serialize>(
    signal: Signal,
    names: &'static Names,
    resources: &[(Attributes, Vec<T>)],
    items: u64,
) -> Option<Payload> {
    if items == 0 {
        return None;
    }
    // Writing to memory cannot fail, and all keys are text.
    let body = serde_json::to_vec(&Envelope { names, resources }).ok()?;
    Some(Payload {
        signal,
        body: Bytes::from(body),
        items,
    })
}
