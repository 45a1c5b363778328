//! What each kind of answer leads to.

use std::io::Read as _;
use std::time::{Duration, Instant, SystemTime};

use super::server::{Reply, Server};
use super::*;

/// Sends these documents, and waits until they are settled.
fn settle(to: Destination, documents: Vec<Payload>) -> (Counters, Heard) {
    let (sender, heard) = start(to, limits(), None);
    for document in documents {
        sender.offer(document);
    }
    assert!(sender.flush(LONG), "{}", heard.text());
    let counters = sender.finish(LONG);
    adds_up(&counters);
    (counters, heard)
}

#[test]
fn what_is_sent() {
    let server = Server::start(|_, _| Reply::ok());
    let mut to = destination(&server.url());
    to.headers = Headers::from_lines("Authorization: Bearer s3cr3t").unwrap();
    let (counters, heard) = settle(to.clone(), vec![document(1), document(2)]);
    assert_eq!(counters.sent.items, 2);
    assert_eq!(heard.text(), "");
    to.compression = Compression::Gzip;
    settle(to, vec![document(3)]);
    let requests = server.requests();
    for request in &requests {
        assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("authorization"), Some("Bearer s3cr3t"));
        let agent = concat!("why502/", env!("CARGO_PKG_VERSION"));
        assert_eq!(header("user-agent"), Some(agent));
    }
    assert_eq!(server.bodies()[..2], documents([1, 2]));
    assert!(!requests[0].headers.contains_key("content-encoding"));
    assert_eq!(requests[2].headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&requests[2].body[..]);
    decoder.read_to_end(&mut plain).unwrap();
    assert_eq!(plain, document(3).body);
}

#[test]
fn refusals_are_counted_and_not_repeated() {
    let page = b"<html><body>It works!</body></html>";
    for (reply, words) in [
        (
            Reply::Http(
                400,
                &[],
                b"{\"code\":3,\"message\":\"bad s3cr3t\"}".to_vec(),
            ),
            "bad […]",
        ),
        (
            Reply::Http(
                415,
                &[],
                b"Unsupported content type: application/json".to_vec(),
            ),
            "protobuf only",
        ),
        (Reply::status(404), "no pipeline"),
        (Reply::status(500), "500"),
        (
            Reply::Http(200, &["Content-Type: text/html"], page.to_vec()),
            "not an OTLP endpoint",
        ),
        (
            Reply::Http(301, &["Location: https://elsewhere/?t=s3cr3t"], Vec::new()),
            "https://elsewhere/?t=[…]",
        ),
        (Reply::Endless, "4 MiB"),
    ] {
        let reply = Mutex::new(Some(reply));
        let server = Server::start(move |number, _| match number {
            0 => reply.lock().unwrap().take().unwrap(),
            _ => Reply::ok(),
        });
        let mut to = destination(&server.url());
        to.headers = Headers::from_lines("Authorization: Bearer s3cr3t").unwrap();
        let (counters, heard) = settle(to, vec![document(1), document(2)]);
        assert_eq!(counters.dropped(Reason::Refused), Tally::one(1), "{words}");
        assert_eq!((counters.sent, counters.retried), (Tally::one(1), 0));
        assert_eq!(server.bodies(), documents([1, 2]), "{words}");
        assert!(heard.text().contains(words), "{words}: {}", heard.text());
        assert!(!heard.text().contains("s3cr3t"), "{}", heard.text());
        assert_eq!(
            counters.losses(Signal::Traces),
            [("export_traces_refused".to_owned(), 1)]
        );
    }
}

#[test]
fn what_passes_is_sent_again() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"partial".to_vec();
    let half_head = b"HTTP/1.1 200 OK\r\nConte".to_vec();
    for (reply, words) in [
        (Reply::status(429), "429"),
        (Reply::status(502), "502"),
        (
            Reply::Http(
                503,
                &[],
                b"{\"code\":14,\"message\":\"data refused due to high memory usage\"}".to_vec(),
            ),
            "high memory usage",
        ),
        (Reply::status(504), "504"),
        (Reply::Close, "without a whole answer"),
        (Reply::Raw(half), "without a whole answer"),
        (Reply::Raw(half_head), "answer"),
        (
            Reply::Raw(b"\0\x01\x02 SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
            "HTTP/1.1",
        ),
        (Reply::Never, "did not answer within 300ms"),
    ] {
        let reply = Mutex::new(Some(reply));
        let server = Server::start(move |number, _| match number {
            0 => reply.lock().unwrap().take().unwrap(),
            _ => Reply::ok(),
        });
        let mut to = destination(&server.url());
        to.timeout = Duration::from_millis(300);
        let (counters, heard) = settle(to, vec![document(1), document(2)]);
        assert_eq!((counters.sent.items, counters.retried), (2, 1), "{words}");
        assert_eq!(server.bodies(), documents([1, 1, 2]), "{words}");
        let text = heard.text();
        assert!(
            text.contains(words) && text.contains("again"),
            "{words}: {text}"
        );
    }
}

#[test]
fn retry_after_is_kept() {
    let in_three_seconds = || {
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
        &*Box::leak(
            vec![&*Box::leak(format!("Retry-After: {date}").into_boxed_str())].into_boxed_slice(),
        )
    };
    for (header, least) in [
        (&["Retry-After: 1"][..], 1000),
        // Dates have no fractions, and making one takes a moment.
        (in_three_seconds(), 900),
    ] {
        let times = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&times);
        let server = Server::start(move |number, _| {
            seen.lock().unwrap().push(Instant::now());
            match number {
                0 => Reply::Http(429, header, Vec::new()),
                _ => Reply::ok(),
            }
        });
        let (counters, _) = settle(destination(&server.url()), vec![document(1)]);
        assert_eq!(counters.sent.items, 1);
        let times = times.lock().unwrap();
        let waited = times[1].duration_since(times[0]).as_millis();
        assert!(waited >= least, "{waited} ms");
    }
}

#[test]
fn partial_success_is_told_and_not_repeated() {
    let body = br#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}"#;
    let server = Server::start(|_, _| Reply::Http(200, &[], body.to_vec()));
    let (counters, heard) = settle(destination(&server.url()), vec![document(1)]);
    assert_eq!((counters.sent, counters.rejected_items), (Tally::one(1), 1));
    assert_eq!(server.bodies().len(), 1);
    assert!(
        heard.text().contains("left 1 of them out: too old"),
        "{}",
        heard.text()
    );
}

#[test]
fn what_is_too_large_is_sent_in_parts() {
    let spans: Vec<_> = (0..64)
        .map(|id| format!("{{\"spanId\":\"{id:016x}\"}}"))
        .collect();
    let body = format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}]}}]}}]}}",
        spans.join(",")
    );
    let whole = Payload {
        body: body.into(),
        items: 64,
        ..document(0)
    };
    for status in [413, 400] {
        let server = Server::start(move |_, request| match request.body.len() > 600 {
            true => Reply::Http(status, &[], b"http: request body too large".to_vec()),
            false => Reply::ok(),
        });
        let (counters, _) = settle(
            destination(&server.url()),
            vec![whole.clone(), document(99)],
        );
        assert_eq!(counters.sent.items, 65);
        assert_eq!(counters.retried, 0);
        let taken: Vec<_> = server
            .bodies()
            .into_iter()
            .filter(|body| body.len() <= 600)
            .collect();
        let text = String::from_utf8(taken.concat()).unwrap();
        let ids: Vec<_> = text
            .match_indices("\"spanId\":\"")
            .map(|(at, key)| u64::from_str_radix(&text[at + key.len()..][..16], 16).unwrap())
            .collect();
        assert_eq!(ids, (0..64).chain([99]).collect::<Vec<_>>());
    }
    let server = Server::start(|_, _| Reply::status(413));
    let (counters, heard) = settle(destination(&server.url()), vec![document(1)]);
    assert_eq!(counters.dropped(Reason::TooLarge), Tally::one(1));
    assert!(heard.text().contains("413"));
}

#[test]
fn a_document_that_is_always_answered_with_later_does_not_hold_up_the_others() {
    let poison = document(1).body.to_vec();
    let server = Server::start(move |_, request| match request.body == poison {
        true => Reply::status(503),
        false => Reply::ok(),
    });
    let limits = Limits {
        patience: Duration::from_millis(200),
        ..limits()
    };
    let (sender, heard) = start(destination(&server.url()), limits, None);
    sender.offer(document(1));
    sender.offer(document(2));
    assert!(sender.flush(LONG));
    let counters = sender.finish(LONG);
    assert_eq!(counters.dropped(Reason::Expired), Tally::one(1));
    assert_eq!(counters.sent.items, 1);
    assert!(heard.text().contains("given up"));
}

#[test]
fn the_end_is_in_time_whatever_the_receiver_does() {
    for reply in [
        || Reply::Never,
        || Reply::status(503),
        || Reply::Http(429, &["Retry-After: 3000"], Vec::new()),
    ] {
        let server = Server::start(move |_, _| reply());
        let (sender, _) = start(destination(&server.url()), limits(), None);
        for number in 0..10 {
            sender.offer(document(number));
        }
        server.wait_for(1);
        let began = Instant::now();
        let counters = sender.finish(Duration::from_millis(400));
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(counters.dropped(Reason::Stopped).items, 10);
        adds_up(&counters);
    }
}
