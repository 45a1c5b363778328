//! Are the log lines in a case those of its own request, and are they there?

use serde_json::Value;

use crate::lab::log::RequestLog;
use crate::lab::proxy::Kind;

/// What the lines of one trial's cases come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Joins {
    /// Cases of requests about which there is a line.
    pub(super) expected: u64,
    /// Of those, cases that have a line.
    pub(super) joined: u64,
    /// Lines of other requests.
    pub(super) wrong: u64,
    /// Cases whose line says the same.
    pub(super) agree: u64,
    /// Cases whose line says something else.
    pub(super) disagree: u64,
}

impl Joins {
    /// Is every line where it belongs?
    pub(super) fn is_good(&self) -> bool {
        self.joined == self.expected && self.wrong == 0
    }
}

/// Compares the lines in the cases of one request with those that its proxy wrote about it.
pub(super) fn compare(kind: Kind, cases: &[&Value], log: &RequestLog) -> Joins {
    // The lab's access log of Apache has a form of its own and is not followed.
    let access = log.access.iter().filter(|_| kind != Kind::Apache);
    let own: Vec<String> = log
        .errors
        .iter()
        .chain(access)
        .map(|line| without_queries(line))
        .collect();
    let mut joins = Joins::default();
    for case in cases {
        let more = case["log_more"].as_array();
        let first = Some(&case["log"]).filter(|log| !log.is_null());
        let lines = first.into_iter().chain(more.into_iter().flatten());
        let wrong = lines.filter(|line| {
            let line = without_queries(line["line"].as_str().unwrap_or(""));
            !own.contains(&line)
        });
        joins.wrong += wrong.count() as u64;
        // An answer like 400 is a failure to the lab alone, which watches for it.
        let failed = case["outcome"] != "error-response"
            || case["status"].as_u64().is_none_or(|status| status >= 500);
        let expected = failed && !own.is_empty();
        joins.expected += u64::from(expected);
        joins.joined += u64::from(expected && first.is_some());
        match case["verdict"]["agrees_with_log"].as_bool() {
            Some(true) => joins.agree += 1,
            Some(false) => joins.disagree += 1,
            None => {}
        }
    }
    joins
}

/// What stands behind a `?` is not in a case.
fn without_queries(line: &str) -> String {
    let mut parts = line.split('?');
    let mut text = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let end = part.find([' ', '"']).unwrap_or(part.len());
        text.push_str(&part[end..]);
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_belong_to_their_request() {
        let log = RequestLog {
            errors: vec!["error \"GET /a?x=1 HTTP/1.1\"".into()],
            access: Some("access \"GET /a?x=1 HTTP/1.1\" 502".into()),
        };
        let case = |line: &str, agrees: bool| {
            json!({
                "log": {"line": line},
                "log_more": [{"line": "access \"GET /a?… HTTP/1.1\" 502"}],
                "verdict": {"agrees_with_log": agrees},
                "outcome": "error-response", "status": 502,
            })
        };
        let right = case("error \"GET /a?… HTTP/1.1\"", true);
        let joins = compare(Kind::Nginx, &[&right], &log);
        assert!(joins.is_good());
        assert_eq!((joins.expected, joins.joined, joins.agree), (1, 1, 1));

        let other = case("error \"GET /b?… HTTP/1.1\"", false);
        let joins = compare(Kind::Nginx, &[&other], &log);
        assert!(!joins.is_good());
        assert_eq!((joins.wrong, joins.disagree), (1, 1));

        let none = json!({"verdict": {}});
        let passed_on = json!({"verdict": {}, "outcome": "error-response", "status": 400});
        assert!(compare(Kind::Nginx, &[&passed_on], &log).is_good());
        assert!(!compare(Kind::Nginx, &[&none], &log).is_good());
        assert!(compare(Kind::Nginx, &[&none], &RequestLog::default()).is_good());
    }
}
