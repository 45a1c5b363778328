//! The trace that a request already belongs to: W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>).

use super::ids::{SpanId, TraceId};
use crate::http::is_traceparent;

/// Bit of the flags that says that the caller records its spans.
const SAMPLED: u8 = 1;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// The trace.
    pub(super) trace: TraceId,
    /// The caller's span.
    pub(super) parent: SpanId,
    /// Its flags.
    pub(super) flags: u8,
}

impl Context {
    /// Reads a `traceparent`. Of a version that is newer than 00 only the first four fields count, and
    /// of its flags only the bit "sampled".
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !is_traceparent(text.as_bytes()) {
            return None;
        }
        let mut fields = text.split('-');
        let version = fields.next()?;
        let trace = TraceId::from_hex(fields.next()?)?;
        let parent = SpanId::from_hex(fields.next()?)?;
        let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
        let known = if version == "00" { u8::MAX } else { SAMPLED };
        Some(Self {
            trace,
            parent,
            flags: flags & known,
        })
    }

    /// Does the caller record its spans? If not, a span of ours below them would hang in the air.
    pub(super) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_headers_say() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (text, flags) in [
            (format!("00-{trace}-{parent}-01"), Some(1)),
            (format!("00-{trace}-{parent}-03"), Some(3)),
            (format!("00-{trace}-{parent}-00"), Some(0)),
            (format!("01-{trace}-{parent}-ff"), Some(1)),
            (
                format!("cc-{trace}-{parent}-01-what-the-future-brings"),
                Some(1),
            ),
            (format!("00-{trace}-{parent}-01-more"), None),
            (format!("ff-{trace}-{parent}-01"), None),
            (format!("00-{}-{parent}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{parent}-01", trace.to_uppercase()), None),
            (format!("00-{trace}-{parent}"), None),
            ("…".into(), None),
            (String::new(), None),
        ] {
            let context = Context::parse(&text);
            assert_eq!(context.map(|c| c.flags), flags, "{text}");
            if let Some(context) = context {
                assert_eq!(context.trace.to_string(), trace);
                assert_eq!(context.parent.to_string(), parent);
                assert_eq!(context.is_sampled(), context.flags & 1 == 1);
            }
        }
    }
}
