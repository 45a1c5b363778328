//! What an answer means: delivered, again later, or never. A plain function of the answer
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>).

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::destination::Compression;
use super::payload::Signal;
use crate::printable::printable;

/// More of an answer is not read.
pub(super) const ANSWER_MAX: usize = 4 << 20;
/// Characters of a receiver's message that are shown.
const MESSAGE_CHARS: usize = 300;

/// What came back, or why nothing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP response.
    Http(HttpAnswer),
    /// No whole response; the text says what happened instead.
    Failed(String),
}

/// The parts of a response that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// `Retry-After`, as it stands.
    pub retry_after: Option<String>,
    /// `Content-Type`, as it stands.
    pub content_type: Option<String>,
    /// `Location`, as it stands.
    pub location: Option<String>,
    /// At most 4 MiB.
    pub body: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

/// What was asked, as far as it bears on the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What was sent.
    pub signal: Signal,
    /// How it was packed.
    pub compression: Compression,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken; never sent again.
    Delivered {
        /// Items that the receiver took out, of those that were sent.
        rejected: u64,
        /// The receiver's warning, or why it took some out.
        message: Option<String>,
    },
    /// Send it again.
    Retry {
        /// Not sooner than this.
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// Too large for this receiver: send it in parts.
    TooLarge {
        /// What the receiver said.
        reason: String,
    },
    /// It will not be taken; sending it again is forbidden.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// Reads an answer.
pub fn classify(answer: &Answer, asked: Asked, now: SystemTime) -> Outcome {
    let answer = match answer {
        Answer::Http(answer) => answer,
        Answer::Failed(reason) => {
            return Outcome::Retry {
                after: None,
                reason: reason.clone(),
            };
        }
    };
    match answer.status {
        200..=299 => taken(answer, asked.signal),
        429 | 502 | 503 | 504 => Outcome::Retry {
            after: answer
                .retry_after
                .as_deref()
                .and_then(|text| retry_after(text, now)),
            reason: said(answer),
        },
        413 => Outcome::TooLarge {
            reason: said(answer),
        },
        // The collector's words, before the specification said 413.
        400 if says(answer, &["request body too large"]) => Outcome::TooLarge {
            reason: said(answer),
        },
        _ => refused(answer, asked),
    }
}

fn taken(answer: &HttpAnswer, signal: Signal) -> Outcome {
    let delivered = |rejected, message| Outcome::Delivered { rejected, message };
    let nothing = !answer.cut && answer.body.iter().all(u8::is_ascii_whitespace);
    // Some receivers answer in protobuf whatever they were asked in.
    let protobuf = !answer.cut && type_is(answer, "application/x-protobuf");
    if nothing || protobuf || (answer.status == 202 && signal == Signal::Zipkin) {
        return delivered(0, None);
    }
    let foreign = |what: &str| Outcome::Refused {
        reason: format!(
            "the answer was {} with {what}: {}",
            answer.status,
            not_an_endpoint(signal)
        ),
    };
    if is_html(answer) {
        return foreign("a web page");
    }
    if answer.cut {
        return foreign("more than 4 MiB");
    }
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
        return foreign("something that is not JSON");
    };
    let partial = &body["partialSuccess"];
    let rejected = ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"]
        .iter()
        .find_map(|key| number(&partial[*key]))
        .unwrap_or(0);
    let message = partial["errorMessage"]
        .as_str()
        .filter(|text| !text.is_empty());
    delivered(rejected, message.map(bounded))
}

/// 64-bit numbers are strings in protobuf's JSON; not all writers know.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64(),
    }
}

fn refused(answer: &HttpAnswer, asked: Asked) -> Outcome {
    let said = said(answer);
    let protobuf_only = &[
        "json encoding isn't supported",
        "use protobuf",
        "unsupported content type: application/json",
    ];
    let advice = match answer.status {
        300..=399 => {
            let to = answer.location.as_deref().map(bounded);
            match to {
                Some(to) => format!("it is not followed; give the URL it points to: {to}"),
                None => "it points elsewhere without saying where; give the right URL".to_owned(),
            }
        }
        _ if says(answer, protobuf_only) => WANTS_PROTOBUF.to_owned(),
        415 if asked.compression == Compression::Gzip => {
            format!("either it takes no gzip (set compression to none), or: {WANTS_PROTOBUF}")
        }
        415 => WANTS_PROTOBUF.to_owned(),
        401 | 403 | 407 => "the receiver wants other credentials; check the headers that are sent \
                            (OTEL_EXPORTER_OTLP_HEADERS or the headers file)"
            .to_owned(),
        404 | 405 if is_html(answer) => not_an_endpoint(asked.signal),
        404 | 405 => format!(
            "either the path is wrong, or the receiver has no pipeline for {}",
            asked.signal.name()
        ),
        _ if is_html(answer) => not_an_endpoint(asked.signal),
        400 if asked.compression == Compression::Gzip => {
            "if the receiver does not take gzip, set compression to none".to_owned()
        }
        _ => String::new(),
    };
    let reason = match advice.is_empty() {
        true => said,
        false => format!("{said}: {advice}"),
    };
    Outcome::Refused { reason }
}

const WANTS_PROTOBUF: &str = "this endpoint takes protobuf only, why502 sends OTLP as JSON; put an \
                              OpenTelemetry Collector in front of it, which takes both";

fn not_an_endpoint(signal: Signal) -> String {
    match signal {
        Signal::Zipkin => "this is no Zipkin endpoint; a Zipkin server listens on port 9411, path \
                           /api/v2/spans"
            .to_owned(),
        _ => format!(
            "this is not an OTLP endpoint; OTLP over HTTP listens on port 4318, path /{}",
            signal.path()
        ),
    }
}

/// `answered 400 ("message")`
fn said(answer: &HttpAnswer) -> String {
    let status = answer.status;
    match message(answer) {
        Some(message) => format!("the receiver answered {status} (\"{message}\")"),
        None => format!("the receiver answered {status}"),
    }
}

/// The message of `{"message": …}`, else plain text. A web page says nothing to a person.
fn message(answer: &HttpAnswer) -> Option<String> {
    if is_html(answer) {
        return None;
    }
    if let Ok(body) = serde_json::from_slice::<Value>(&answer.body) {
        let error = &body["error"];
        let found = [&body["message"], &error["message"], error, &body["detail"]];
        let text = found.iter().find_map(|value| value.as_str());
        return text.map(bounded).filter(|text| !text.is_empty());
    }
    // Binary, such as a protobuf Status, is not text.
    let text = std::str::from_utf8(&answer.body).ok()?.trim();
    let binary = type_is(answer, "application/x-protobuf") || text.contains('\0');
    (!text.is_empty() && !binary).then(|| bounded(text))
}

fn bounded(text: &str) -> String {
    printable(text, MESSAGE_CHARS)
}

fn says(answer: &HttpAnswer, any: &[&str]) -> bool {
    let start = &answer.body[..answer.body.len().min(4096)];
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    any.iter().any(|words| text.contains(words))
}

fn type_is(answer: &HttpAnswer, wanted: &str) -> bool {
    let given = answer.content_type.as_deref().unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    given.eq_ignore_ascii_case(wanted)
}

fn is_html(answer: &HttpAnswer) -> bool {
    let start = answer.body.trim_ascii_start();
    type_is(answer, "text/html") || start.starts_with(b"<")
}

/// Seconds, or a date (RFC 9110, 10.2.3). A date that has passed is no wait.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTLP: Asked = Asked {
        signal: Signal::Traces,
        compression: Compression::None,
    };
    const GZIP: Asked = Asked {
        signal: Signal::Metrics,
        compression: Compression::Gzip,
    };
    const ZIPKIN: Asked = Asked {
        signal: Signal::Zipkin,
        compression: Compression::None,
    };

    fn http(status: u16, content_type: &str, body: &str) -> HttpAnswer {
        HttpAnswer {
            status,
            content_type: Some(content_type.into()).filter(|text: &String| !text.is_empty()),
            body: body.into(),
            ..HttpAnswer::default()
        }
    }

    fn read(answer: HttpAnswer, asked: Asked) -> Outcome {
        // Sun, 22 Nov 2026 07:31:00 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_332_660);
        classify(&Answer::Http(answer), asked, now)
    }

    #[test]
    fn successes() {
        let json = "application/json";
        for (answer, asked, rejected, message) in [
            (http(200, json, r#"{"partialSuccess":{}}"#), OTLP, 0, None),
            (http(200, json, r#"{"partialSuccess":null}"#), OTLP, 0, None),
            (http(200, json, "{}"), OTLP, 0, None),
            (http(200, json, "null"), OTLP, 0, None),
            (http(200, json, ""), OTLP, 0, None),
            (http(200, "", " \n"), OTLP, 0, None),
            (http(202, "", ""), ZIPKIN, 0, None),
            (http(202, "text/plain", "queued"), ZIPKIN, 0, None),
            (http(204, "", ""), OTLP, 0, None),
            (
                http(200, "application/x-protobuf", "\x0a\x02\x08\x01"),
                OTLP,
                0,
                None,
            ),
            (
                http(
                    200,
                    json,
                    r#"{"accepted_spans":1,"rejected_spans":1,"status":"success"}"#,
                ),
                OTLP,
                0,
                None,
            ),
            (
                http(
                    200,
                    json,
                    r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old\u001b[2J"}}"#,
                ),
                OTLP,
                3,
                Some("too old\\x1b[2J"),
            ),
            (
                http(200, json, r#"{"partialSuccess":{"rejectedDataPoints":4}}"#),
                GZIP,
                4,
                None,
            ),
            (
                http(
                    200,
                    json,
                    r#"{"partialSuccess":{"rejectedLogRecords":"5","new":1}}"#,
                ),
                OTLP,
                5,
                None,
            ),
            (
                http(
                    200,
                    json,
                    r#"{"partialSuccess":{"errorMessage":"slow down"}}"#,
                ),
                OTLP,
                0,
                Some("slow down"),
            ),
            (
                http(200, json, r#"{"partialSuccess":{"rejectedSpans":-1}}"#),
                OTLP,
                0,
                None,
            ),
            (http(200, json, r#"{"partialSuccess":[1]}"#), OTLP, 0, None),
            (http(200, json, "[]"), OTLP, 0, None),
        ] {
            let what = format!("{answer:?}");
            let want = Outcome::Delivered {
                rejected,
                message: message.map(str::to_owned),
            };
            assert_eq!(read(answer, asked), want, "{what}");
        }
    }

    #[test]
    fn only_four_statuses_are_sent_again() {
        for status in 100..=599 {
            let outcome = read(http(status, "", ""), OTLP);
            let again = matches!(outcome, Outcome::Retry { .. });
            assert_eq!(again, [429, 502, 503, 504].contains(&status), "{status}");
            let taken = matches!(outcome, Outcome::Delivered { .. });
            assert_eq!(taken, (200..300).contains(&status), "{status}");
            let large = matches!(outcome, Outcome::TooLarge { .. });
            assert_eq!(large, status == 413, "{status}");
        }
        let failed = Answer::Failed("connection refused".into());
        let outcome = classify(&failed, OTLP, SystemTime::now());
        assert!(matches!(outcome, Outcome::Retry { after: None, .. }));
    }

    #[test]
    fn how_long_to_wait() {
        for (text, want) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 22 Nov 2026 07:32:00 GMT", Some(60)),
            ("Sun, 22 Nov 2026 07:30:00 GMT", Some(0)),
            ("Sunday, 22-Nov-26 07:32:00 GMT", Some(60)),
            ("Sun Nov 22 07:32:00 2026", Some(60)),
            ("-7", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999999999999999", None),
            ("", None),
        ] {
            let answer = HttpAnswer {
                retry_after: Some(text.into()),
                ..http(429, "", "")
            };
            let Outcome::Retry { after, .. } = read(answer, OTLP) else {
                panic!("{text}");
            };
            assert_eq!(after, want.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let json = "application/json";
        for (answer, asked, words) in [
            (
                http(400, json, r#"{"code":3,"message":"bad trace id\n"}"#),
                OTLP,
                "400 (\"bad trace id\\n\")",
            ),
            (
                http(400, "text/plain", "Invalid JSON"),
                GZIP,
                "set compression to none",
            ),
            (http(500, "text/plain", "boom"), OTLP, "500 (\"boom\")"),
            (
                http(404, "text/plain", "404 page not found"),
                GZIP,
                "no pipeline for metrics",
            ),
            (
                http(
                    415,
                    "text/plain",
                    "Unsupported content type: application/json",
                ),
                OTLP,
                "protobuf only",
            ),
            (http(415, "", ""), OTLP, "protobuf only"),
            (http(415, "", ""), GZIP, "set compression to none"),
            (
                http(
                    400,
                    "text/plain",
                    "json encoding isn't supported for opentelemetry format. Use protobuf encoding",
                ),
                OTLP,
                "protobuf only",
            ),
            (
                http(401, json, r#"{"error":"no token"}"#),
                OTLP,
                "credentials",
            ),
            (http(403, "", ""), OTLP, "credentials"),
            (
                http(200, "text/html; charset=utf-8", "<html>Welcome"),
                OTLP,
                "not an OTLP endpoint",
            ),
            (http(200, "", "  <!DOCTYPE html>"), OTLP, "path /v1/traces"),
            (
                http(200, "text/plain", "hello"),
                OTLP,
                "not an OTLP endpoint",
            ),
            (http(200, "text/html", "<p>"), ZIPKIN, "no Zipkin endpoint"),
            (
                http(405, "text/html", "<h1>405 Not Allowed</h1>"),
                OTLP,
                "not an OTLP endpoint",
            ),
            (
                http(501, "text/html", "<h1>Unsupported method ('POST')"),
                OTLP,
                "not an OTLP endpoint",
            ),
            (
                HttpAnswer {
                    location: Some("https://h/v1/traces".into()),
                    ..http(301, "text/html", "<p>")
                },
                OTLP,
                "points to: https://h/v1/traces",
            ),
            (
                HttpAnswer {
                    cut: true,
                    ..http(200, json, "{}")
                },
                OTLP,
                "4 MiB",
            ),
        ] {
            let what = format!("{answer:?}");
            match read(answer, asked) {
                Outcome::Refused { reason } => assert!(reason.contains(words), "{what}: {reason}"),
                other => panic!("{what}: {other:?}"),
            }
        }
    }

    #[test]
    fn too_large() {
        for answer in [
            http(413, "", ""),
            http(413, "text/html", "<h1>413 Request Entity Too Large"),
            http(
                400,
                "application/json",
                r#"{"code":3,"message":"http: request body too large"}"#,
            ),
        ] {
            assert!(matches!(read(answer, OTLP), Outcome::TooLarge { .. }));
        }
    }

    #[test]
    fn messages_are_bounded_and_harmless() {
        let long = "x\u{1b}".repeat(ANSWER_MAX / 2);
        let Outcome::Refused { reason } = read(http(400, "text/plain", &long), OTLP) else {
            panic!();
        };
        assert!(reason.chars().count() < MESSAGE_CHARS + 60);
        assert!(!reason.contains('\u{1b}'));
        let binary = HttpAnswer {
            body: vec![0xff, 0, 1],
            ..http(400, "", "")
        };
        assert_eq!(
            read(binary, OTLP),
            Outcome::Refused {
                reason: "the receiver answered 400".into()
            }
        );
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read(status: u16, body: Vec<u8>, cut: bool, header: String) {
            let answer = HttpAnswer {
                status,
                retry_after: Some(header.clone()),
                content_type: Some(header.clone()),
                location: Some(header),
                body,
                cut,
            };
            let outcome = classify(&Answer::Http(answer), OTLP, SystemTime::UNIX_EPOCH);
            let shown = format!("{outcome:?}");
            proptest::prop_assert!(shown.len() < 8192);
        }
    }
}
