//! One JSON object a line: `header`, each `case` as soon as it is known, then `group`, `backend`,
//! `loss` and a `footer`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::{BackendDoc, CaseDoc, Document, GroupDoc, Header, LogSourceDoc, Totals, Watched};

/// Any line but a case, which carries its `type` itself.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Header(&'a Header),
    Group(&'a GroupDoc),
    Backend(&'a BackendDoc),
    Loss {
        name: &'a str,
        count: u64,
    },
    Footer {
        #[serde(skip_serializing_if = "Option::is_none")]
        ended: Option<&'a str>,
        notes: &'a [String],
        watched: &'a Watched,
        totals: &'a Totals,
        counters: &'a BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        logs: &'a [LogSourceDoc],
    },
}

pub(super) fn write_header(header: &Header, out: &mut impl Write) -> io::Result<()> {
    line(&Line::Header(header), out)
}

pub(super) fn write_case(case: &CaseDoc, out: &mut impl Write) -> io::Result<()> {
    line(case, out)
}

pub(super) fn write_end(document: &Document, out: &mut impl Write) -> io::Result<()> {
    for group in &document.groups {
        line(&Line::Group(group), out)?;
    }
    for backend in &document.backends {
        line(&Line::Backend(backend), out)?;
    }
    for (name, count) in &document.losses {
        let count = *count;
        line(&Line::Loss { name, count }, out)?;
    }
    line(
        &Line::Footer {
            ended: document.ended.as_deref(),
            notes: &document.notes,
            watched: &document.watched,
            totals: &document.totals,
            counters: &document.counters,
            logs: &document.logs,
        },
        out,
    )
}

fn line(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
