//! The prefix that syslog, journald or a log shipper puts before a line.
//!
//! RFC 3164 (`<134>Nov 22 07:25:36 host tag[pid]: `), RFC 5424, and the same with a time in ISO 8601, as
//! rsyslog and journald write it. Every part may be missing, so reading a prefix cannot fail: what is
//! no prefix belongs to the line.

use super::scan::{Scan, number, text};
use super::stamp::{Assume, Stamp, rfc3339, syslog};

/// `Nov 22 07:25:36`.
const BSD_TIME: usize = 15;
/// Longest tag that is taken for one. RFC 3164 allows 32; systemd units have longer names.
const TAG_MAX: usize = 80;
/// RFC 5424 allows the byte order mark before text in UTF-8.
const BOM: &str = "\u{feff}";

/// Severities by name, the most severe first; BIG-IP writes the name before the tag.
const SEVERITIES: [&[&str]; 8] = [
    &["emerg", "panic"],
    &["alert"],
    &["crit"],
    &["err", "error"],
    &["warning", "warn"],
    &["notice"],
    &["info"],
    &["debug"],
];

/// What stood before a line.
#[derive(Clone, Debug)]
pub(super) struct Prefix<'a> {
    when: When<'a>,
    /// Name of the host, as it is in the line.
    pub(super) host: Option<&'a [u8]>,
    /// Name of the program.
    pub(super) tag: Option<&'a [u8]>,
    /// Its process.
    pub(super) pid: Option<u32>,
    /// 0 (emergency) to 7 (debug).
    pub(super) severity: Option<u8>,
    /// The rest of the line. It counts offsets from the beginning of the whole line.
    pub(super) body: Scan<'a>,
}

#[derive(Clone, Copy, Debug)]
enum When<'a> {
    Unknown,
    Local(&'a [u8]),
    Known(Stamp),
}

impl Prefix<'_> {
    /// When the line was written.
    pub(super) fn time(&self, assume: &Assume) -> Option<Stamp> {
        match self.when {
            When::Unknown => None,
            When::Local(at) => syslog(&text(at), assume),
            When::Known(at) => Some(at),
        }
    }
}

/// Takes the prefix off a line.
pub(super) fn prefix(line: &[u8]) -> Prefix<'_> {
    let mut prefix = Prefix {
        when: When::Unknown,
        host: None,
        tag: None,
        pid: None,
        severity: None,
        body: Scan::new(line),
    };
    let has_priority = take_priority(&mut prefix);
    if has_priority && take_rfc5424(&mut prefix) {
        return prefix;
    }
    if take_bsd_time(&mut prefix) || take_iso_time(&mut prefix) {
        take_names(&mut prefix);
    }
    prefix
}

/// `<134>`.
fn take_priority(prefix: &mut Prefix<'_>) -> bool {
    let mut scan = prefix.body.clone();
    if !scan.take_if("<") {
        return false;
    }
    let Ok(digits) = scan.until(b'>', "the end of the priority") else {
        return false;
    };
    if digits.len() > 3 {
        return false;
    }
    let Some(priority) = number::<u8>(digits) else {
        return false;
    };
    prefix.severity = Some(priority & 7);
    prefix.body = scan;
    true
}

/// `1 TIME HOST APP PROCID MSGID SD `, behind the priority.
fn take_rfc5424(prefix: &mut Prefix<'_>) -> bool {
    let mut scan = prefix.body.clone();
    if !scan.take_if("1 ") {
        return false;
    }
    let mut word = || scan.word("a field of the header").ok();
    let (Some(time), Some(host), Some(app), Some(pid), Some(_id)) =
        (word(), word(), word(), word(), word())
    else {
        return false;
    };
    let when = match time {
        b"-" => When::Unknown,
        time => match rfc3339(&text(time)) {
            Some(at) => When::Known(at),
            None => return false,
        },
    };
    if !skip_structured_data(&mut scan) {
        return false;
    }
    scan.take_if(" ");
    scan.take_if(BOM);
    let known = |field: &'_ [u8]| field != b"-";
    prefix.when = when;
    prefix.host = Some(host).filter(|host| known(host));
    prefix.tag = Some(app).filter(|app| known(app));
    prefix.pid = number(pid);
    prefix.body = scan;
    true
}

/// `-`, or `[id name="value" …]` any number of times.
fn skip_structured_data(scan: &mut Scan<'_>) -> bool {
    if scan.take_if("-") {
        return true;
    }
    let data = scan.rest();
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    for (at, &byte) in data.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if inside => quoted = !quoted,
            b'[' if !inside => inside = true,
            b']' if inside && !quoted => inside = false,
            _ if inside => {}
            _ => {
                scan.skip(at);
                return at > 0;
            }
        }
    }
    scan.skip(data.len());
    !inside && !data.is_empty()
}

fn take_bsd_time(prefix: &mut Prefix<'_>) -> bool {
    let line = prefix.body.rest();
    let Some((time, rest)) = line.split_at_checked(BSD_TIME) else {
        return false;
    };
    let shape = time.iter().enumerate().all(|(at, byte)| match at {
        0..3 => byte.is_ascii_alphabetic(),
        3 | 6 => *byte == b' ',
        9 | 12 => *byte == b':',
        4 => *byte == b' ' || byte.is_ascii_digit(),
        _ => byte.is_ascii_digit(),
    });
    // journald can be told to write a fraction, which goes beyond what the form can hold.
    let fraction = match rest {
        [b'.', digits @ ..] => 1 + digits.iter().take_while(|b| b.is_ascii_digit()).count(),
        _ => 0,
    };
    if !shape || rest.get(fraction) != Some(&b' ') {
        return false;
    }
    prefix.when = When::Local(time);
    prefix.body.skip(BSD_TIME + fraction + 1);
    true
}

fn take_iso_time(prefix: &mut Prefix<'_>) -> bool {
    let mut scan = prefix.body.clone();
    let Ok(word) = scan.word("a time") else {
        return false;
    };
    // No time is as long as this, and a date alone is none.
    if word.len() > 40 || word.get(4) != Some(&b'-') || word.get(10) != Some(&b'T') {
        return false;
    }
    // A comma before the fraction is as good as a point.
    let Some(at) = rfc3339(&text(word).replace(',', ".")) else {
        return false;
    };
    prefix.when = When::Known(at);
    prefix.body = scan;
    true
}

/// `[host] [severity] tag[pid]: `. Without a tag nothing is taken: the words may be the line's own.
fn take_names(prefix: &mut Prefix<'_>) {
    let mut scan = prefix.body.clone();
    let mut words: [&[u8]; 2] = [&[]; 2];
    for place in 0..=words.len() {
        let Ok(word) = scan.word("a name") else {
            return;
        };
        if let Some((tag, pid)) = tag(word) {
            let severity = severity(words[1]).or_else(|| severity(words[0]));
            // Of two words before the tag the second is the severity; that is nothing but BIG-IP's form.
            if place == 2 && self::severity(words[1]).is_none() {
                return;
            }
            let host_stands = place == 2 || (place == 1 && severity.is_none());
            prefix.host = host_stands.then_some(words[0]);
            prefix.severity = prefix.severity.or(severity);
            prefix.tag = Some(tag);
            prefix.pid = pid;
            prefix.body = scan;
            return;
        }
        if let Some(slot) = words.get_mut(place) {
            *slot = word;
        }
    }
}

/// `tag:` or `tag[pid]:`.
fn tag(word: &[u8]) -> Option<(&[u8], Option<u32>)> {
    let word = word.strip_suffix(b":")?;
    let (name, pid) = match word.strip_suffix(b"]") {
        Some(open) => {
            let at = memchr::memrchr(b'[', open)?;
            (open.get(..at)?, Some(number(open.get(at + 1..)?)?))
        }
        None => (word, None),
    };
    let fits = !name.is_empty()
        && name.len() <= TAG_MAX
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./@".contains(byte));
    fits.then_some((name, pid))
}

fn severity(name: &[u8]) -> Option<u8> {
    let is = |names: &&[&str]| names.iter().any(|known| known.as_bytes() == name);
    u8::try_from(SEVERITIES.iter().position(is)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, assume};

    /// 07:25:36 of that morning.
    const AT_NS: i64 = MORNING_NS + 26_736_000_000_000;

    #[derive(Debug, PartialEq)]
    struct Read {
        at_ms: Option<i64>,
        host: Option<String>,
        tag: Option<String>,
        pid: Option<u32>,
        severity: Option<u8>,
        body: String,
    }

    fn read(line: &str) -> Read {
        let prefix = prefix(line.as_bytes());
        let own = |field: Option<&[u8]>| field.map(|field| text(field).into_owned());
        Read {
            at_ms: prefix
                .time(&assume())
                .map(|at| (at.unix_ns - AT_NS) / 1_000_000),
            host: own(prefix.host),
            tag: own(prefix.tag),
            pid: prefix.pid,
            severity: prefix.severity,
            body: text(prefix.body.rest()).into_owned(),
        }
    }

    #[test]
    fn prefixes() {
        for (line, at_ms, host, tag, pid, severity) in [
            (
                "Nov 22 07:25:36 haproxy[8486]: x y",
                Some(0),
                None,
                Some("haproxy"),
                Some(8486),
                None,
            ),
            (
                "<134>Nov 22 07:25:36 lb1 haproxy[8486]: x y",
                Some(0),
                Some("lb1"),
                Some("haproxy"),
                Some(8486),
                Some(6),
            ),
            (
                "Nov 22 07:25:36.123456 lb1 haproxy: x y",
                Some(0),
                Some("lb1"),
                Some("haproxy"),
                None,
                None,
            ),
            (
                "2026-11-22T07:25:36.123+00:00 lb1 haproxy[8486]: x y",
                Some(123),
                Some("lb1"),
                Some("haproxy"),
                Some(8486),
                None,
            ),
            (
                "2026-11-22T08:25:36+0100 lb1 haproxy[8486]: x y",
                Some(0),
                Some("lb1"),
                Some("haproxy"),
                Some(8486),
                None,
            ),
            (
                "<129>1 2026-11-22T07:25:36.771593+00:00 vm haproxy 8045 - - x y",
                Some(771),
                Some("vm"),
                Some("haproxy"),
                Some(8045),
                Some(1),
            ),
            (
                r#"<129>1 - - haproxy - ID47 [a@1 b="] \" "][c] x y"#,
                None,
                None,
                Some("haproxy"),
                None,
                Some(1),
            ),
            (
                "<129>1 - - - - - - \u{feff}x y",
                None,
                None,
                None,
                None,
                Some(1),
            ),
            (
                "Nov 22 07:25:36 bigip-a.example.net err tmm1[11925]: x y",
                Some(0),
                Some("bigip-a.example.net"),
                Some("tmm1"),
                Some(11925),
                Some(3),
            ),
            // HAProxy's forms without names.
            (
                "<1>2026-11-22T07:25:36.771614+00:00 x y",
                Some(771),
                None,
                None,
                None,
                Some(1),
            ),
            ("<129>x y", None, None, None, None, Some(1)),
            ("x y", None, None, None, None, None),
        ] {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let expected = Read {
                at_ms,
                host: own(host),
                tag: own(tag),
                pid,
                severity,
                body: "x y".to_owned(),
            };
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_the_lines_own_stays() {
        for line in [
            "",
            "<",
            "<134",
            "<1345>x",
            "<abc>x",
            "127.0.0.1:5 [22/Nov/2026:07:25:36.000] fe/1: x",
            "2026-11-22 x",
            "Nov 22 07:25:36",
        ] {
            assert_eq!(read(line).body, line);
        }
        let nameless = "Nov 22 07:25:36 127.0.0.1:5 [22/Nov/2026:07:25:36.000] fe/1: x";
        assert_eq!(read(nameless).body, nameless[16..]);
        assert_eq!(read(nameless).tag, None);
        let health = "Nov 22 07:25:36 Server a/b is DOWN, reason: x";
        assert_eq!(read(health).body, health[16..]);
    }

    #[test]
    fn offsets_count_from_the_beginning_of_the_line() {
        let prefix = prefix(b"<134>Nov 22 07:25:36 lb1 haproxy[8486]: x");
        assert_eq!(prefix.body.error("y").offset, 40);
    }

    #[test]
    fn any_prefix_of_a_prefix_is_read() {
        for line in [
            &br#"<129>1 2026-11-22T07:25:36Z vm haproxy 8045 - [a b="] \" "][c] x"#[..],
            b"<134>Nov 22 07:25:36 bigip err tmm1[11925]: x",
        ] {
            for end in 0..=line.len() {
                let read = prefix(&line[..end]);
                assert!(line[..end].ends_with(read.body.rest()));
            }
        }
    }
}
