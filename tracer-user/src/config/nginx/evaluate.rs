//! From the tree of directives to what is in force for each backend.

use std::collections::{BTreeMap, BTreeSet};

use super::include::Loaded;
use super::parse::{Directive as Written, Item};
use crate::config::setting::{Directive, Target, UpstreamConfig, Value};
use crate::config::units::{nginx_bytes, nginx_ms};
use crate::config::{Found, Servers, Upstreams, Values, add_server, address, in_force, note};
use crate::printable::printable;

/// Longest name of a group, in characters.
const NAME_MAX: usize = 64;

/// What one proxy's configuration says, and what could not be read of it. `page_bytes`: the
/// machine's page, which is the size of a buffer
/// (<https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffer_size>).
pub(in crate::config) fn upstreams(
    mut loaded: Loaded,
    page_bytes: u64,
) -> (Vec<UpstreamConfig>, Vec<String>) {
    let items = std::mem::take(&mut loaded.items);
    let mut groups = BTreeMap::new();
    each_block(&items, "http", &mut |http| {
        each_block(&http.block, "upstream", &mut |upstream| {
            if let Some(name) = upstream.words.first() {
                groups.insert(name.to_ascii_lowercase(), group(upstream, &loaded));
            }
        });
    });
    let mut walk = Walk {
        loaded: &loaded,
        groups: &groups,
        defaults: location_defaults(page_bytes),
        upstreams: Upstreams::default(),
        named: BTreeSet::new(),
        by_variable: Vec::new(),
    };
    each_block(&items, "http", &mut |http| {
        let none = Scope {
            values: Values::new(),
            complete: !has_gap(&items),
        };
        walk.block(&http.block, &none);
    });
    walk.groups_behind_variables();
    let Upstreams { list, more, .. } = walk.upstreams;
    let mut notes = loaded.notes;
    if more {
        let text = format!("Only the first {} upstreams were kept.", list.len());
        note(&mut notes, text);
    }
    (list, notes)
}

fn each_block(items: &[Item], name: &str, f: &mut impl FnMut(&Written)) {
    for item in items {
        if let Item::Directive(directive) = item
            && directive.name == name
        {
            f(directive);
        }
    }
}

fn has_gap(items: &[Item]) -> bool {
    items.contains(&Item::Gap)
}

/// What `http`, `server` and `location` say, with what they inherit.
#[derive(Clone)]
struct Scope {
    values: Values,
    /// Nothing here or around it was unreadable: what is absent has its default.
    complete: bool,
}

/// An `upstream` block.
struct Group {
    name: String,
    values: Values,
    complete: bool,
    /// Servers that are treated alike: `max_fails`, `fail_timeout`, and where they are.
    servers: Servers,
}

/// <https://nginx.org/en/docs/http/ngx_http_upstream_module.html>. Whether idle connections are kept
/// at all depends on the version (`keepalive 32` since 1.29.7): that has no default here.
const GROUP_DEFAULTS: [(Directive, Value); 4] = [
    (Directive::KeepaliveTimeout, Value::Millis(60_000)),
    (Directive::KeepaliveRequests, Value::Count(1000)),
    (Directive::MaxFails, Value::Count(1)),
    (Directive::FailTimeout, Value::Millis(10_000)),
];

fn location_defaults(page_bytes: u64) -> Vec<(Directive, Value)> {
    let retry = ["error", "timeout"].map(str::to_owned).to_vec();
    vec![
        (Directive::ProxyConnectTimeout, Value::Millis(60_000)),
        (Directive::ProxyReadTimeout, Value::Millis(60_000)),
        (Directive::ProxySendTimeout, Value::Millis(60_000)),
        (Directive::ProxyBufferSize, Value::Bytes(page_bytes)),
        (Directive::ProxyBuffers, Value::Buffers(8, page_bytes)),
        (Directive::ProxyNextUpstream, Value::Words(retry)),
    ]
}

fn group(upstream: &Written, loaded: &Loaded) -> Group {
    let name = upstream.words.first().map_or("", String::as_str);
    let mut group = Group {
        name: printable(name, NAME_MAX),
        values: Values::new(),
        complete: !has_gap(&upstream.block),
        servers: Vec::new(),
    };
    for item in &upstream.block {
        let Item::Directive(directive) = item else {
            continue;
        };
        let first = directive.words.first().map_or("", String::as_str);
        let (name, value) = match directive.name.as_str() {
            "server" => {
                server(directive, loaded, &mut group.servers);
                continue;
            }
            "keepalive" => (Directive::Keepalive, count(first)),
            "keepalive_timeout" => (
                Directive::KeepaliveTimeout,
                nginx_ms(first).map(Value::Millis),
            ),
            "keepalive_requests" => (Directive::KeepaliveRequests, count(first)),
            _ => continue,
        };
        let found = value.map(|value| (value, loaded.source(directive)));
        group.values.insert(name, found);
    }
    group
}

fn server(directive: &Written, loaded: &Loaded, servers: &mut Servers) {
    let Some((text, parameters)) = directive.words.split_first() else {
        return;
    };
    let Some(target) = address::nginx(text, 80) else {
        return;
    };
    let mut values = Values::new();
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some(("max_fails", n)) => (Directive::MaxFails, count(n)),
            Some(("fail_timeout", time)) => {
                (Directive::FailTimeout, nginx_ms(time).map(Value::Millis))
            }
            _ => continue,
        };
        let found = value.map(|value| (value, loaded.source(directive)));
        values.insert(name, found);
    }
    add_server(servers, values, target);
}

struct Walk<'a> {
    loaded: &'a Loaded,
    groups: &'a BTreeMap<String, Group>,
    defaults: Vec<(Directive, Value)>,
    upstreams: Upstreams,
    /// Groups that some `proxy_pass` names.
    named: BTreeSet<&'a str>,
    /// What is in force where `proxy_pass` has a variable: it may name any group.
    by_variable: Vec<Scope>,
}

impl<'a> Walk<'a> {
    /// Walks `http`, `server`, `location` and what is in them.
    fn block(&mut self, items: &[Item], outer: &Scope) {
        let scope = self.scope(items, outer);
        for item in items {
            let Item::Directive(directive) = item else {
                continue;
            };
            match directive.name.as_str() {
                "proxy_pass" => {
                    let url = directive.words.first().map_or("", String::as_str);
                    self.proxy_pass(url, &scope);
                }
                "server" | "location" | "if" | "limit_except" => {
                    self.block(&directive.block, &scope);
                }
                _ => {}
            }
        }
    }

    fn scope(&self, items: &[Item], outer: &Scope) -> Scope {
        let gap = has_gap(items);
        let mut values = outer.values.clone();
        if gap {
            // It may stand in what could not be read.
            values.values_mut().for_each(|found| *found = None);
        }
        // Headers are inherited only where none is set.
        let sets_headers = items
            .iter()
            .any(|item| matches!(item, Item::Directive(d) if d.name == "proxy_set_header"));
        if sets_headers {
            values.remove(&Directive::ConnectionHeader);
        }
        for item in items {
            if let Item::Directive(directive) = item
                && let Some((name, value)) = location_value(directive)
            {
                let found: Found = value.map(|value| (value, self.loaded.source(directive)));
                values.insert(name, found);
            }
        }
        Scope {
            values,
            complete: outer.complete && !gap,
        }
    }

    fn proxy_pass(&mut self, url: &str, scope: &Scope) {
        let (port, rest) = match url.split_once("://") {
            Some(("http", rest)) => (80, rest),
            Some(("https", rest)) => (443, rest),
            _ if url.contains('$') => (80, "$"),
            _ => return,
        };
        let host = match rest.starts_with("unix:") {
            true => return,
            false => rest.split(['/', '?']).next().unwrap_or_default(),
        };
        if host.contains('$') {
            if !self
                .by_variable
                .iter()
                .any(|known| known.values == scope.values)
            {
                self.by_variable.push(scope.clone());
            }
            return self.alone("proxy_pass with a variable".into(), Target::Any, scope);
        }
        match self.groups.get_key_value(&host.to_ascii_lowercase()) {
            Some((name, group)) => {
                self.named.insert(name);
                self.group(group, scope);
            }
            None => {
                if let Some(target) = address::nginx(host, port) {
                    let name = printable(host, NAME_MAX);
                    self.alone(format!("proxy_pass to {name}"), target, scope);
                }
            }
        }
    }

    /// A `proxy_pass` without a group: one connection per request.
    fn alone(&mut self, group: String, target: Target, scope: &Scope) {
        self.upstreams.add(UpstreamConfig {
            group,
            targets: vec![target],
            settings: in_force(&scope.values, &self.defaults, scope.complete),
        });
    }

    fn group(&mut self, group: &Group, scope: &Scope) {
        for (values, targets) in &group.servers {
            let mut settings = in_force(&scope.values, &self.defaults, scope.complete);
            let mut own = group.values.clone();
            own.extend(values.clone());
            settings.extend(in_force(&own, &GROUP_DEFAULTS, group.complete));
            settings.sort_by_key(|setting| setting.directive);
            self.upstreams.add(UpstreamConfig {
                group: format!("upstream {}", group.name),
                targets: targets.clone(),
                settings,
            });
        }
    }

    /// A group that no `proxy_pass` names is there for those with a variable.
    fn groups_behind_variables(&mut self) {
        let groups = self.groups;
        for scope in std::mem::take(&mut self.by_variable) {
            for (name, group) in groups {
                if !self.named.contains(name.as_str()) {
                    self.group(group, &scope);
                }
            }
        }
    }
}

/// A value that locations have; its inside is `None` if it cannot be understood.
fn location_value(directive: &Written) -> Option<(Directive, Option<Value>)> {
    let first = directive.words.first().map_or("", String::as_str);
    let millis = || nginx_ms(first).map(Value::Millis);
    Some(match directive.name.as_str() {
        "proxy_connect_timeout" => (Directive::ProxyConnectTimeout, millis()),
        "proxy_read_timeout" => (Directive::ProxyReadTimeout, millis()),
        "proxy_send_timeout" => (Directive::ProxySendTimeout, millis()),
        "proxy_buffer_size" => (
            Directive::ProxyBufferSize,
            nginx_bytes(first).map(Value::Bytes),
        ),
        "proxy_buffers" => {
            let size = directive.words.get(1).and_then(|size| nginx_bytes(size));
            let buffers = first.parse().ok().zip(size);
            (
                Directive::ProxyBuffers,
                buffers.map(|(count, size)| Value::Buffers(count, size)),
            )
        }
        "proxy_next_upstream" => (Directive::ProxyNextUpstream, retry_words(&directive.words)),
        "proxy_http_version" => {
            let known = matches!(first, "1.0" | "1.1" | "2").then(|| words(&[first]));
            (Directive::ProxyHttpVersion, known)
        }
        "proxy_set_header" if first.eq_ignore_ascii_case("connection") => {
            let text = directive.words.get(1).map_or("", String::as_str);
            let known = match text.to_ascii_lowercase().as_str() {
                "" => Some("\"\""),
                "close" => Some("close"),
                "keep-alive" => Some("keep-alive"),
                "upgrade" => Some("upgrade"),
                _ => None,
            };
            (
                Directive::ConnectionHeader,
                known.map(|word| words(&[word])),
            )
        }
        _ => return None,
    })
}

/// <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_next_upstream>
fn retry_words(list: &[String]) -> Option<Value> {
    let known = |word: &str| {
        matches!(
            word,
            "error"
                | "timeout"
                | "denied"
                | "invalid_header"
                | "non_idempotent"
                | "off"
                | "updating"
        ) || word
            .strip_prefix("http_")
            .is_some_and(|status| status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()))
    };
    let all_known = !list.is_empty() && list.iter().all(|word| known(word));
    all_known.then(|| Value::Words(list.to_vec()))
}

fn words(list: &[&str]) -> Value {
    Value::Words(list.iter().map(|word| (*word).to_owned()).collect())
}

fn count(text: &str) -> Option<Value> {
    text.parse().ok().map(Value::Count)
}
