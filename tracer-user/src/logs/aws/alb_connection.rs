//! Connection log of an AWS Application Load Balancer: the client's side of it, and its TLS.
//!
//! Fields: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-connection-logs.html>.
//! New fields are added at the end, so what follows those read here is left alone.

use std::net::IpAddr;

use crate::logs::entry::{Entry, Kind, Peer, System};
use crate::logs::meaning::{Blame, Meaning};
use crate::logs::scan::{ParseError, Scan, known, number, text};
use crate::logs::stamp::rfc3339;

static CLIENT_CERTIFICATE: Meaning = Meaning {
    code: "Failed:ClientCert",
    text: "The balancer refused the client's certificate; the word behind it says why. The handshake \
           with the client failed, so no request came and no target was asked.",
    classes: &[],
    blame: Blame::Client,
};

static UNMAPPED: Meaning = Meaning {
    code: "Failed:UnmappedConnectionError",
    text: "The handshake between client and balancer failed for a reason that AWS has no name for. No \
           request came, and no target was asked.",
    classes: &[],
    blame: Blame::Client,
};

static FAILED: Meaning = Meaning {
    code: "Failed:",
    text: "The handshake between client and balancer failed, for a reason that is not known here. No \
           request came, and no target was asked.",
    classes: &[],
    blame: Blame::Client,
};

/// For `explain`.
pub(in crate::logs) static MEANINGS: &[&Meaning] = &[&CLIENT_CERTIFICATE, &UNMAPPED, &FAILED];

/// `time client-address client-port listener-port` and nothing in brackets.
pub(in crate::logs) fn looks_like(line: &[u8]) -> bool {
    let mut scan = Scan::new(line);
    read_head(&mut scan).is_ok()
}

pub(in crate::logs) fn parse(line: &[u8]) -> Result<Entry<'_>, ParseError> {
    let mut scan = Scan::new(line);
    let mut entry = read_head(&mut scan)?;
    scan.word("the TLS protocol")?;
    scan.word("the TLS cipher")?;
    scan.word("the handshake's latency")?;
    scan.field("the certificate's subject")?;
    scan.field("the certificate's validity")?;
    scan.word("the certificate's serial number")?;
    let before_status = scan.clone();
    let verified = scan.word("tls_verify_status")?;
    entry.meaning = match verified {
        b"-" | b"Success" => None,
        failed if failed.starts_with(CLIENT_CERTIFICATE.code.as_bytes()) => {
            Some(&CLIENT_CERTIFICATE)
        }
        failed if failed == UNMAPPED.code.as_bytes() => Some(&UNMAPPED),
        failed if failed.starts_with(FAILED.code.as_bytes()) => Some(&FAILED),
        _ => return Err(before_status.error("Success, Failed:… or -")),
    };
    entry.says = entry.meaning.and_then(|_| known(verified));
    Ok(entry)
}

fn read_head<'a>(scan: &mut Scan<'a>) -> Result<Entry<'a>, ParseError> {
    let mut entry = Entry::new(System::AwsAlb, Kind::Connection);
    let before_time = scan.clone();
    entry.time = rfc3339(&text(scan.word("the time")?));
    if entry.time.is_none() {
        return Err(before_time.error("a time in ISO 8601"));
    }
    let before_ip = scan.clone();
    let ip: Option<IpAddr> = number(scan.word("the client's address")?);
    let Some(ip) = ip else {
        return Err(before_ip.error("an address"));
    };
    for place in ["the client's port", "the listener's port"] {
        let before = scan.clone();
        let port = number::<u16>(scan.word(place)?).ok_or_else(|| before.error(place))?;
        entry.client.get_or_insert(Peer {
            ip,
            port: Some(port),
        });
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::{MORNING_NS, any_prefix_is_an_error_or_an_entry};

    const GOOD: &str = r#"2026-11-22T07:31:40.101234Z 203.0.113.5 51610 443 TLSv1.3 TLS_AES_128_GCM_SHA256 0.014 "-" - - Success TID_0b1c2d3e4f5061728394a5b6c7d8e9f0"#;

    #[test]
    fn a_connection() {
        assert!(looks_like(GOOD.as_bytes()));
        let entry = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(entry.kind, Kind::Connection);
        let client = entry.client.unwrap();
        assert_eq!(
            (client.ip.to_string().as_str(), client.port),
            ("203.0.113.5", Some(51610))
        );
        assert_eq!(entry.time.unwrap().unix_ns - MORNING_NS, 27_100_101_234_000);
        assert_eq!(
            (entry.meaning, entry.says, entry.status),
            (None, None, None)
        );
    }

    #[test]
    fn what_failures_mean() {
        for (status, meaning) in [
            ("Failed:ClientCertUntrusted", &CLIENT_CERTIFICATE),
            ("Failed:ClientCertExpired", &CLIENT_CERTIFICATE),
            ("Failed:UnmappedConnectionError", &UNMAPPED),
            ("Failed:SomethingNew", &FAILED),
        ] {
            let line = GOOD.replace("Success", status);
            let entry = parse(line.as_bytes()).unwrap();
            assert_eq!(entry.meaning, Some(meaning), "{status}");
            assert_eq!(entry.says.as_deref(), Some(status));
        }
    }

    #[test]
    fn unpleasant_lines() {
        let certificate = GOOD.replace("203.0.113.5", "2001:db8::5").replace(
            r#""-" - -"#,
            r#""CN=a \" b,O=x" NotBefore=2026-01-01T00:00:00Z;NotAfter=2027-01-01T00:00:00Z 4D2"#,
        );
        assert!(parse(certificate.as_bytes()).is_ok());
        let plain =
            r#"2026-11-22T07:31:41.3Z 203.0.113.8 40001 80 - - - "-" - - - TID_6 more fields"#;
        assert_eq!(parse(plain.as_bytes()).unwrap().meaning, None);
        for (line, offset) in [
            (GOOD.replacen("2026", "next", 1), 0),
            (GOOD.replacen("203.0.113.5", "shop", 1), 28),
            (GOOD.replacen("51610", "99999", 1), 40),
            (GOOD.replacen("Success", "Perhaps", 1), 95),
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err().offset, offset, "{line}");
        }
        any_prefix_is_an_error_or_an_entry(GOOD.as_bytes(), parse);
    }
}
