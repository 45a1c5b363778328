//! Which configured values hold for a backend.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::config::{Directive, ProxyConfig, Setting, Target, UpstreamConfig, Value};
use crate::event::ProxyKind;

/// All configurations, found quickly by address.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    configs: Vec<ProxyConfig>,
    by_address: HashMap<SocketAddr, Vec<(usize, usize)>>,
    /// Those with targets that are no plain address.
    open: Vec<(usize, usize)>,
}

impl Settings {
    /// Takes the configurations of all proxies.
    pub fn new(configs: Vec<ProxyConfig>) -> Self {
        let mut by_address: HashMap<SocketAddr, Vec<(usize, usize)>> = HashMap::new();
        let mut open = Vec::new();
        for (c, config) in configs.iter().enumerate() {
            for (u, upstream) in config.upstreams.iter().enumerate() {
                let mut is_open = false;
                for target in &upstream.targets {
                    match target {
                        Target::Address(address) => {
                            let places = by_address.entry(*address).or_default();
                            if places.last() != Some(&(c, u)) {
                                places.push((c, u));
                            }
                        }
                        Target::Ip(_) | Target::Port(_) | Target::Any => is_open = true,
                    }
                }
                if is_open {
                    open.push((c, u));
                }
            }
        }
        Self {
            configs,
            by_address,
            open,
        }
    }

    /// The configurations.
    pub fn configs(&self) -> &[ProxyConfig] {
        &self.configs
    }

    /// What holds for a backend at proxies of this kind. Names are not looked up: where no upstream
    /// names the address itself, those count that may stand for it.
    pub fn of(&self, proxy: &ProxyKind, upstream: SocketAddr) -> InForce<'_> {
        let at = |(c, u): &(usize, usize)| {
            let config = self.configs.get(*c)?;
            (config.proxy == *proxy).then(|| config.upstreams.get(*u))?
        };
        let named: Vec<&UpstreamConfig> = self
            .by_address
            .get(&upstream)
            .into_iter()
            .flatten()
            .filter_map(at)
            .collect();
        let certain = !named.is_empty();
        let open = self.open.iter().filter_map(at).filter(|candidate| {
            candidate.targets.iter().any(|target| match target {
                Target::Address(_) => false,
                Target::Ip(ip) => *ip == upstream.ip(),
                // Beside an upstream with the very address, a host name is another server.
                Target::Port(port) => !certain && *port == upstream.port(),
                Target::Any => true,
            })
        });
        let mut upstreams = named.clone();
        upstreams
            .extend(open.filter(|candidate| !named.iter().any(|n| std::ptr::eq(*n, *candidate))));
        InForce { upstreams, certain }
    }
}

/// The places in configurations that hold for one backend.
#[derive(Clone, Debug, Default)]
pub struct InForce<'a> {
    upstreams: Vec<&'a UpstreamConfig>,
    certain: bool,
}

impl<'a> InForce<'a> {
    /// Does some upstream name this backend by its address?
    pub fn is_certain(&self) -> bool {
        self.certain
    }

    /// The values of a directive, different ones only; none if some place may have another value
    /// that could not be read.
    pub fn values(&self, directive: Directive) -> Vec<&'a Setting> {
        let mut values: Vec<&Setting> = Vec::new();
        for upstream in &self.upstreams {
            let setting = upstream
                .settings
                .iter()
                .find(|setting| setting.directive == directive);
            match setting {
                Some(setting) if values.iter().any(|known| known.value == setting.value) => {}
                Some(setting) => values.push(setting),
                // A `proxy_pass` without a group keeps no connections.
                None if is_of_group(directive) && !is_group(upstream) => {}
                None => return Vec::new(),
            }
        }
        values
    }

    /// The one value in force, if there is just one.
    pub fn only(&self, directive: Directive) -> Option<&'a Setting> {
        match self.values(directive)[..] {
            [setting] => Some(setting),
            _ => None,
        }
    }

    /// `proxy_read_timeout is 60s (/etc/nginx/nginx.conf:41)`; all values if there are several;
    /// `None` if none is known.
    pub fn sentence(&self, directive: Directive) -> Option<String> {
        let values = self.values(directive);
        let several = values.len();
        let mut texts: Vec<String> = values.into_iter().take(3).map(value_and_place).collect();
        if several > 3 {
            texts.push(format!("{} other values", several - 3));
        }
        if texts.is_empty() {
            return None;
        }
        let name = directive.name();
        Some(format!("{name} is {}{}", texts.join(" or "), self.doubt()))
    }

    /// What to add where the file does not name the address.
    pub fn doubt(&self) -> String {
        match self.upstreams.first() {
            Some(upstream) if !self.certain => format!(
                ", if this backend belongs to {} (the file has a name or variable, no address)",
                upstream.group
            ),
            _ => String::new(),
        }
    }
}

/// `60s (default)`.
fn value_and_place(setting: &Setting) -> String {
    format!("{} ({})", setting.value, setting.source)
}

fn is_group(upstream: &UpstreamConfig) -> bool {
    !upstream.group.starts_with("proxy_pass ")
}

/// Directives of an `upstream` block.
fn is_of_group(directive: Directive) -> bool {
    matches!(
        directive,
        Directive::Keepalive
            | Directive::KeepaliveTimeout
            | Directive::KeepaliveRequests
            | Directive::MaxFails
            | Directive::FailTimeout
    )
}

/// A duration, µs; no limit is the longest.
pub(super) fn micros(value: &Value) -> Option<u64> {
    match value {
        Value::Millis(ms) => Some(ms.saturating_mul(1000)),
        Value::Unlimited => Some(u64::MAX),
        Value::Bytes(_) | Value::Count(_) | Value::Buffers(..) | Value::Words(_) => None,
    }
}

/// A size, bytes.
pub(super) fn bytes(value: &Value) -> Option<u64> {
    match value {
        Value::Bytes(bytes) => Some(*bytes),
        _ => None,
    }
}
