//! Is it the same request on both sides of the proxy, by what it says itself?

use crate::case::RequestSummary;

/// The same `x-request-id`, or the same trace id in `traceparent` (a proxy that traces puts its own
/// span id there).
pub(super) fn same_request(
    client: Option<&RequestSummary>,
    backend: Option<&RequestSummary>,
) -> bool {
    let (Some(client), Some(backend)) = (client, backend) else {
        return false;
    };
    let same = |a: Option<&str>, b: Option<&str>| a.is_some() && a == b;
    same(whole(&client.request_id), whole(&backend.request_id))
        || same(trace_id(client), trace_id(backend))
}

/// A value that was not cut: two cut ones may differ in the part that is gone.
fn whole(value: &Option<String>) -> Option<&str> {
    value
        .as_deref()
        .filter(|value| !value.is_empty() && !value.ends_with('…'))
}

fn trace_id(request: &RequestSummary) -> Option<&str> {
    request.traceparent.as_deref()?.get(3..35)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, trace: &str) -> RequestSummary {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RequestSummary {
            request_id: some(id),
            traceparent: some(trace),
            ..RequestSummary::default()
        }
    }

    #[test]
    fn ids() {
        const A: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        const A_OTHER_SPAN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";
        const B: &str = "00-aaaa2f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (client, backend, want) in [
            (request("r1", ""), request("r1", ""), true),
            (request("r1", ""), request("r2", ""), false),
            (request("r1…", ""), request("r1…", ""), false),
            (request("", ""), request("", ""), false),
            (request("", A), request("", A_OTHER_SPAN), true),
            (request("", A), request("", B), false),
            // The proxy put its own request id in.
            (request("r1", A), request("p9", A), true),
        ] {
            assert_eq!(same_request(Some(&client), Some(&backend)), want);
        }
        assert!(!same_request(None, Some(&request("r1", ""))));
    }
}
