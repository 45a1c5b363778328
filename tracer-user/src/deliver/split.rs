//! One document into two, for a receiver that says it is too large. The items stay as they are, so
//! their ids do too.

use serde_json::Value;

use super::payload::{Payload, Signal};

/// The two halves; `None` where there is only one item, or the document is of no form that is known.
pub fn halve(payload: &Payload) -> Option<[Payload; 2]> {
    let document: Value = serde_json::from_slice(&payload.body).ok()?;
    let levels: &[&str] = match payload.signal {
        Signal::Traces => &["resourceSpans", "scopeSpans", "spans"],
        Signal::Metrics => &["resourceMetrics", "scopeMetrics", "metrics"],
        Signal::Logs => &["resourceLogs", "scopeLogs", "logRecords"],
        Signal::Zipkin => &[],
    };
    let total = count(&document, levels);
    if total < 2 {
        return None;
    }
    let mut first = document.clone();
    let mut second = document;
    let half = total / 2;
    keep(&mut first, levels, &mut (0, 0..half));
    keep(&mut second, levels, &mut (0, half..total));
    // Items of a metric are its points; they are split in the proportion of the metrics.
    let items = |share: usize| (payload.items as u128 * share as u128 / total as u128) as u64;
    let made = |document: &Value, items| {
        Some(Payload {
            signal: payload.signal,
            body: serde_json::to_vec(document).ok()?.into(),
            items,
        })
    };
    let first_items = items(half);
    Some([
        made(&first, first_items)?,
        made(&second, payload.items - first_items)?,
    ])
}

/// Entries of the innermost lists.
fn count(value: &Value, levels: &[&str]) -> usize {
    let (list, below) = match levels {
        [] => (value.as_array(), None),
        [key, below @ ..] => (value[*key].as_array(), Some(below)),
    };
    let list = list.map_or(&[][..], Vec::as_slice);
    match below {
        Some(below) if !below.is_empty() => list.iter().map(|value| count(value, below)).sum(),
        _ => list.len(),
    }
}

/// Leaves only the entries whose place is in the range, and no envelope without any.
fn keep(value: &mut Value, levels: &[&str], at: &mut (usize, std::ops::Range<usize>)) {
    let (list, below) = match levels {
        [] => (value.as_array_mut(), &[][..]),
        [key, below @ ..] => (value.get_mut(*key).and_then(Value::as_array_mut), below),
    };
    let Some(list) = list else {
        return;
    };
    list.retain_mut(|entry| {
        if below.is_empty() {
            at.0 += 1;
            return at.1.contains(&(at.0 - 1));
        }
        keep(entry, below, at);
        count(entry, below) > 0
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(signal: Signal, body: &Value, items: u64) -> Payload {
        Payload {
            signal,
            body: body.to_string().into(),
            items,
        }
    }

    fn both(payload: &Payload) -> [(Value, u64); 2] {
        let halves = halve(payload).unwrap();
        halves.map(|half| (serde_json::from_slice(&half.body).unwrap(), half.items))
    }

    #[test]
    fn spans_keep_their_envelopes() {
        let span = |id: &str| json!({"spanId": id, "startTimeUnixNano": "1795331412770692759"});
        let scope = |spans: Value| json!({"scope": {"name": "why502"}, "spans": spans});
        let resource =
            |name: &str, scopes: Value| json!({"resource": {"n": name}, "scopeSpans": scopes});
        let whole = json!({"resourceSpans": [
            resource("a", json!([scope(json!([span("1"), span("2")])), scope(json!([span("3")]))])),
            resource("b", json!([scope(json!([span("4"), span("5")]))])),
        ]});
        let [first, second] = both(&payload(Signal::Traces, &whole, 5));
        let want = json!({"resourceSpans": [
            resource("a", json!([scope(json!([span("1"), span("2")]))])),
        ]});
        assert_eq!(first, (want, 2));
        let want = json!({"resourceSpans": [
            resource("a", json!([scope(json!([span("3")]))])),
            resource("b", json!([scope(json!([span("4"), span("5")]))])),
        ]});
        assert_eq!(second, (want, 3));
    }

    #[test]
    fn zipkin_and_logs() {
        let [first, second] = both(&payload(Signal::Zipkin, &json!([1, 2, 3]), 3));
        assert_eq!((first, second), ((json!([1]), 1), (json!([2, 3]), 2)));
        let logs =
            |records: Value| json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]});
        let [first, second] = both(&payload(Signal::Logs, &logs(json!([1, 2])), 2));
        assert_eq!(
            (first, second),
            ((logs(json!([1])), 1), (logs(json!([2])), 1))
        );
    }

    #[test]
    fn what_is_in_one_piece_stays() {
        let one = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]});
        for (signal, body) in [
            (Signal::Traces, one.clone()),
            (Signal::Logs, one),
            (Signal::Zipkin, json!([{}])),
            (Signal::Zipkin, json!({})),
            (Signal::Metrics, json!({"resourceMetrics": 7})),
            (Signal::Traces, json!(null)),
        ] {
            assert_eq!(halve(&payload(signal, &body, 9)), None);
        }
        let torn = Payload {
            signal: Signal::Traces,
            body: "{\"resourceSpans\":[".into(),
            items: 3,
        };
        assert_eq!(halve(&torn), None);
    }

    #[test]
    fn halving_to_the_end_loses_nothing() {
        let mut waiting = vec![payload(
            Signal::Zipkin,
            &json!((0..100).collect::<Vec<_>>()),
            100,
        )];
        let mut seen = Vec::new();
        while let Some(payload) = waiting.pop() {
            match halve(&payload) {
                Some([first, second]) => waiting.extend([second, first]),
                None => seen.extend(serde_json::from_slice::<Vec<u64>>(&payload.body).unwrap()),
            }
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
