//! The byte counts and addresses in the proxies' own access logs.

use serde_json::{Value, json};
use xtask::lab::log::RequestLog;
use xtask::lab::proxy::Kind;

/// What a log says about one attempt; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    upstream: Option<Value>,
    local: Option<Value>,
    sent: Option<Value>,
    received: Option<Value>,
}

impl Numbers {
    /// With the names that our JSON has for them.
    pub(crate) fn fields(&self) -> [(&'static str, &Option<Value>); 4] {
        let Self {
            upstream,
            local,
            sent,
            received,
        } = self;
        [
            ("upstream", upstream),
            ("local", local),
            ("request_bytes", sent),
            ("response_bytes", received),
        ]
    }
}

/// Per attempt, oldest first; HAProxy and Envoy tell about the last attempt only.
pub(crate) fn of(kind: Kind, log: &RequestLog) -> Vec<Numbers> {
    let Some(access) = log.access.as_deref() else {
        return Vec::new();
    };
    match kind {
        Kind::Nginx => nginx(access),
        Kind::Haproxy => vec![haproxy(access)],
        Kind::Envoy => vec![envoy(access)],
        Kind::Apache => Vec::new(),
    }
}

fn nginx(access: &str) -> Vec<Numbers> {
    let line: Value = serde_json::from_str(access).unwrap();
    let list = |key: &str| -> Vec<String> {
        let text = line[key].as_str().unwrap_or("");
        text.split(", ").map(str::to_owned).collect()
    };
    let number = |text: &String| text.parse::<u64>().ok().map(|number| json!(number));
    let (sent, received) = (list("upstream_bytes_sent"), list("upstream_bytes_received"));
    list("upstream_addr")
        .iter()
        .zip(sent.iter().zip(&received))
        // A group's name stands for "no server at all".
        .filter(|(addr, _)| addr.contains(':'))
        .map(|(addr, (sent, received))| Numbers {
            upstream: Some(json!(addr)),
            local: None,
            sent: number(sent),
            received: number(received),
        })
        .collect()
}

fn haproxy(access: &str) -> Numbers {
    let field = |name: &str| {
        let word = access.split(' ').find_map(|word| word.strip_prefix(name))?;
        (!word.starts_with('-')).then(|| json!(word))
    };
    Numbers {
        upstream: field("dst="),
        local: field("src="),
        ..Numbers::default()
    }
}

fn envoy(access: &str) -> Numbers {
    let line: Value = serde_json::from_str(access).unwrap();
    let known = |key: &str| Some(line[key].clone()).filter(|value| !value.is_null());
    // The bytes sent are summed over all tries.
    let once = line["upstream_request_attempt_count"] == 1;
    Numbers {
        upstream: known("upstream_host"),
        local: known("upstream_local_address"),
        sent: known("upstream_wire_bytes_sent").filter(|_| once),
        received: known("upstream_wire_bytes_received"),
    }
}

/// Does the access line tell of more than one attempt?
pub(crate) fn shows_retry(kind: Kind, log: &RequestLog) -> bool {
    let access = log.access.as_deref().unwrap_or("");
    match kind {
        Kind::Nginx => nginx(access).len() > 1,
        // `%rc`, the fifth of the connection counters; `+` marks another server.
        Kind::Haproxy => access
            .split(' ')
            .nth(10)
            .and_then(|counters| counters.split('/').nth(4))
            .is_some_and(|retries| retries != "0"),
        Kind::Envoy => {
            let line: Value = serde_json::from_str(access).unwrap_or_default();
            line["upstream_request_attempt_count"].as_u64() > Some(1)
        }
        Kind::Apache => log.errors.iter().any(|line| line.contains("AH01114")),
    }
}

#[test]
fn the_fields_of_each_log() {
    let log = |access: &str| RequestLog {
        errors: Vec::new(),
        access: Some(access.to_owned()),
    };
    let two = log(
        r#"{"upstream_addr":"127.0.0.1:1, 127.0.0.1:2","upstream_bytes_sent":"0, 80","upstream_bytes_received":"0, 99"}"#,
    );
    let numbers = of(Kind::Nginx, &two);
    assert_eq!(numbers[0].sent, Some(json!(0)));
    assert_eq!(numbers[1].received, Some(json!(99)));
    assert!(shows_retry(Kind::Nginx, &two));
    let one = log(
        r#"127.0.0.1:5 [t] fe be/a 0/0/0/1/1 200 51 - - ---- 1/1/0/0/+1 0/0 "GET / HTTP/1.1" src=127.0.0.1:7 dst=-:-"#,
    );
    assert_eq!(of(Kind::Haproxy, &one)[0].local, Some(json!("127.0.0.1:7")));
    assert_eq!(of(Kind::Haproxy, &one)[0].upstream, None);
    assert!(shows_retry(Kind::Haproxy, &one));
}
