//! Text that is no log line: a code, a message, or a statement about them.

use crate::logs::{Meaning, Myth, System, codes, myths};

/// Shortest code that is looked for within a longer text: shorter ones stand in many words.
const CODE_MIN: usize = 5;
/// Shortest text that is looked for within codes.
const PART_MIN: usize = 6;
/// Most meanings that are shown.
const SHOWN_MAX: usize = 6;

/// What is known about a text.
pub(super) struct Known {
    pub(super) codes: Vec<(System, &'static Meaning)>,
    pub(super) myths: Vec<&'static Myth>,
}

/// Looks a text up. The codes are those that fit best: the text itself, before one that is in it,
/// before those that it is a part of.
pub(super) fn find(text: &str) -> Known {
    let text = text.trim();
    let fits: [fn(&str, &str) -> bool; 4] = [
        |text, code| bare(text) == bare(code),
        |text, code| bare(text).eq_ignore_ascii_case(bare(code)),
        |text, code| code.len() >= CODE_MIN && stands_in(code, text, "_"),
        |text, code| text.len() >= PART_MIN && stands_in(text, code, ""),
    ];
    let best = |fits: &fn(&str, &str) -> bool| {
        let found: Vec<_> = codes().filter(|(_, m)| fits(text, m.code)).collect();
        (!found.is_empty()).then_some(found)
    };
    let mut codes = fits.iter().find_map(best).unwrap_or_default();
    codes.sort_by_key(|(_, meaning)| std::cmp::Reverse(meaning.code.len()));
    codes.truncate(SHOWN_MAX);
    Known {
        codes,
        myths: myths(text).collect(),
    }
}

/// A termination code of HAProxy without the two characters about cookies, which are mostly `--`.
fn bare(code: &str) -> &str {
    match code.trim_end_matches('-') {
        "" => code,
        bare if code.len() == 4 && bare.len() <= 2 => bare,
        _ => code,
    }
}

/// Does this stand in the text, and not as a part of a longer word? Words are of letters, digits and
/// these.
fn stands_in(part: &str, text: &str, joiners: &str) -> bool {
    let (part, text) = (part.to_ascii_lowercase(), text.to_ascii_lowercase());
    let word = |c: char| c.is_alphanumeric() || joiners.contains(c);
    text.match_indices(&part).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let behind = text[at + found.len()..].chars().next();
        let within =
            |edge: Option<char>, own: Option<char>| edge.is_some_and(word) && own.is_some_and(word);
        !within(before, found.chars().next()) && !within(behind, found.chars().next_back())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_messages() {
        for (text, system, code) in [
            (
                "ERRORINFO_UPSTREAM_NO_LIVE",
                System::AzureAppGateway,
                "ERRORINFO_UPSTREAM_NO_LIVE",
            ),
            ("backend_timeout", System::Gcp, "backend_timeout"),
            ("SC--", System::Haproxy, "SC"),
            ("UF", System::Envoy, "UF"),
            // A status alone is all that some access logs tell.
            ("502", System::Combined, "502"),
            (" OriginTimeout\n", System::AzureFrontDoor, "OriginTimeout"),
            ("origintimeout", System::AzureFrontDoor, "OriginTimeout"),
            (
                "what is failed_to_pick_backend?",
                System::Gcp,
                "failed_to_pick_backend",
            ),
            (
                "\"errorInfo\":\"DNSFailure\"",
                System::AzureFrontDoor,
                "DNSFailure",
            ),
            (
                "UPSTREAM_NO_LIVE",
                System::AzureAppGateway,
                "ERRORINFO_UPSTREAM_NO_LIVE",
            ),
        ] {
            let found = find(text).codes;
            let found: Vec<_> = found.iter().map(|(s, m)| (*s, m.code)).collect();
            assert_eq!(found.first(), Some(&(system, code)), "{text}");
        }
    }

    #[test]
    fn termination_codes_without_the_cookie() {
        for (text, want) in [
            ("SC--", "SC"),
            ("SC", "SC"),
            ("----", "----"),
            ("SCVN", "SCVN"),
            ("502 -", "502 -"),
        ] {
            assert_eq!(bare(text), want);
        }
    }

    #[test]
    fn nothing_is_nothing() {
        for text in ["", "-", "hello", "50", "é", "error"] {
            let known = find(text);
            assert!(known.codes.is_empty() && known.myths.is_empty(), "{text}");
        }
    }

    #[test]
    fn statements() {
        assert_eq!(find("ALB validates target certificates").myths.len(), 1);
    }
}
