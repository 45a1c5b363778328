//! What a directive that a remedy names is set to now.

use super::in_force::InForce;
use crate::config::Directive;
use crate::event::ProxyKind;

/// `(now 60s, /etc/nginx/nginx.conf:41)` for a change that names one directive with a known value;
/// with their names for several. `None` if none is known.
pub fn now(
    target: &str,
    change: &str,
    proxy: &ProxyKind,
    in_force: &InForce<'_>,
) -> Option<String> {
    if target != proxy.name() || !in_force.is_certain() {
        return None;
    }
    let known: Vec<(Directive, String)> = Directive::ALL
        .iter()
        .filter(|directive| directive.proxy() == *proxy && names(change, directive.name()))
        .filter_map(|directive| {
            let setting = in_force.only(*directive)?;
            Some((*directive, format!("{}, {}", setting.value, setting.source)))
        })
        .collect();
    match &known[..] {
        [] => None,
        [(_, text)] => Some(format!("(now {text})")),
        several => {
            let texts: Vec<String> = several
                .iter()
                .map(|(directive, text)| format!("{} {text}", directive.name()))
                .collect();
            Some(format!("(now {})", texts.join("; ")))
        }
    }
}

/// Does the text hold the name as words of its own?
fn names(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_words() {
        for (text, name, want) in [
            (
                "upstream { … keepalive_timeout 4s; }",
                "keepalive_timeout",
                true,
            ),
            ("upstream { … keepalive_timeout 4s; }", "keepalive", false),
            ("proxy_read_timeout;", "proxy_read_timeout", true),
            ("timeout server 120s", "timeout server", true),
            ("timeout server-fin 1s", "timeout server", false),
            ("pool-max-conn, maxconn", "maxconn", true),
        ] {
            assert_eq!(names(text, name), want, "{text} {name}");
        }
    }
}
