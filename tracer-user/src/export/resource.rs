//! Whose telemetry it is: the observed service, on its host. why502 itself is named in the scope and in
//! `telemetry.distro.*`
//! (<https://opentelemetry.io/docs/specs/semconv/resource/>).

use super::attributes::{Attributes, LABEL_MAX, Value};
use crate::event::{ProxyKind, SessionStart};
use crate::printable::printable;
use crate::report::Clock;

/// Name of this program in scopes.
pub(super) const SCOPE: &str = "why502";
/// The version that exports.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The names that are used are those of this version of the conventions.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// Most attributes that the user may add to the resource.
const EXTRA_MAX: usize = 64;
/// Name of a service that nobody named (OpenTelemetry's own default).
const UNKNOWN_SERVICE: &str = "unknown_service";

/// What the user said about the resource: configuration, `OTEL_SERVICE_NAME` and
/// `OTEL_RESOURCE_ATTRIBUTES`, as values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceConfig {
    /// `service.name`; without it the one among `attributes`, else the kind of the proxy.
    pub service_name: Option<String>,
    /// Further attributes. They win over what was found out.
    pub attributes: Vec<(String, String)>,
}

impl ResourceConfig {
    /// From the values of the two environment variables. An empty one counts as unset.
    ///
    /// # Errors
    ///
    /// `OTEL_RESOURCE_ATTRIBUTES` that cannot be read, in words. By its specification it is then to be
    /// left out as a whole.
    pub fn from_env(service_name: Option<&str>, attributes: Option<&str>) -> Result<Self, String> {
        let set = |text: Option<&str>| {
            let text = text.map(str::trim).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        Ok(Self {
            service_name: set(service_name),
            attributes: match set(attributes) {
                Some(list) => attributes_of(&list)?,
                None => Vec::new(),
            },
        })
    }
}

/// `key=value,key2=value2`; values are percent-encoded
/// (<https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>).
fn attributes_of(list: &str) -> Result<Vec<(String, String)>, String> {
    let mut attributes = Vec::new();
    for pair in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let shown = || printable(pair, 60);
        let (key, value) = pair
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("`{}` is not KEY=VALUE", shown()))?;
        let value = percent_decoded(value)
            .ok_or_else(|| format!("the value of `{}` is not percent-encoded text", shown()))?;
        attributes.push((key.to_owned(), value));
    }
    if attributes.len() > EXTRA_MAX {
        return Err(format!(
            "{} attributes are too many, {EXTRA_MAX} can be given",
            attributes.len()
        ));
    }
    Ok(attributes)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// Where the cases of a session come from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub(super) host: String,
    pub(super) clock: Clock,
    config: ResourceConfig,
}

impl Origin {
    /// The host and clock of a session.
    pub fn new(start: &SessionStart, config: ResourceConfig) -> Self {
        Self {
            host: start.host.clone(),
            clock: Clock {
                unix_ns: start.started_unix_ns,
                mono_ns: start.started_mono_ns,
            },
            config,
        }
    }

    /// Moment on the wall clock, ns since the epoch; 0 for what lies before it.
    pub(super) fn unix(&self, at: u64) -> u64 {
        self.clock.unix(at).max(0).cast_unsigned()
    }

    /// `service.name` of a proxy of this kind; without a kind, of several of them.
    pub(super) fn service_name(&self, kind: Option<&ProxyKind>) -> String {
        let mut attributes = self.config.attributes.iter();
        let given = self.config.service_name.as_deref().or_else(|| {
            let found = attributes.find(|(key, value)| key == "service.name" && !value.is_empty());
            found.map(|(_, value)| value.as_str())
        });
        let name = given.or_else(|| kind.map(ProxyKind::name)).unwrap_or(SCOPE);
        let name = printable(name, LABEL_MAX);
        if name.is_empty() || name == crate::correlate::UNKNOWN_PROXY && given.is_none() {
            return UNKNOWN_SERVICE.to_owned();
        }
        name
    }

    /// Attributes of the resource: a process of a proxy, or with no pid all of them.
    pub(super) fn resource(&self, kind: Option<&ProxyKind>, pid: Option<u32>) -> Attributes {
        let mut found = Attributes::default();
        found.text("service.name", &self.service_name(kind), LABEL_MAX);
        found.text("host.name", &self.host, LABEL_MAX);
        found.text("os.type", "linux", LABEL_MAX);
        found.int("process.pid", pid.map(u64::from));
        if let (Some(ProxyKind::Other(name)), Some(_)) = (kind, pid) {
            // The other kinds go by several file names.
            found.text("process.executable.name", name, LABEL_MAX);
        }
        found.text("telemetry.distro.name", SCOPE, LABEL_MAX);
        found.text("telemetry.distro.version", VERSION, LABEL_MAX);
        for (key, value) in &self.config.attributes {
            if key != "service.name" {
                let value = Value::Text(printable(value, LABEL_MAX));
                found.replace(&printable(key, LABEL_MAX), value);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn origin(name: Option<&str>, attributes: Option<&str>) -> Origin {
        let config = ResourceConfig::from_env(name, attributes).unwrap();
        Origin::new(&fixture::start(), config)
    }

    #[test]
    fn who_names_the_service() {
        let other = |name: &str| ProxyKind::Other(name.into());
        for (name, attributes, kind, want) in [
            (None, None, Some(ProxyKind::Nginx), "nginx"),
            (None, None, Some(other("my-proxy")), "my-proxy"),
            (None, None, Some(other("unknown")), "unknown_service"),
            (None, None, Some(other("")), "unknown_service"),
            (None, None, None, "why502"),
            (
                Some("edge"),
                Some("service.name=x"),
                Some(ProxyKind::Nginx),
                "edge",
            ),
            (
                None,
                Some("a=b,service.name=x%20y"),
                Some(ProxyKind::Nginx),
                "x y",
            ),
            (
                Some(" "),
                Some("service.name="),
                Some(ProxyKind::Nginx),
                "nginx",
            ),
            (Some("a\u{202e}\n"), None, None, "a\\u{202e}"),
        ] {
            let origin = origin(name, attributes);
            assert_eq!(
                origin.service_name(kind.as_ref()),
                want,
                "{name:?} {attributes:?}"
            );
        }
    }

    #[test]
    fn what_the_user_says_wins() {
        let origin = origin(None, Some("host.name=h2,deployment.environment.name=prod"));
        let found = origin.resource(Some(&ProxyKind::Other("x".into())), Some(7));
        let text = |key: &str| match found.get(key) {
            Some(Value::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(text("host.name"), "h2");
        assert_eq!(text("deployment.environment.name"), "prod");
        assert_eq!(text("process.executable.name"), "x");
        assert_eq!(found.get("process.pid"), Some(&Value::Int(7)));
    }

    #[test]
    fn attributes_of_the_environment() {
        let read = |text: &str| attributes_of(text);
        assert_eq!(
            read(" a=1 , b = x%2Cy%3D ,, c=").unwrap(),
            [("a", "1"), ("b", "x,y="), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        for bad in ["a", "=1", "a=%", "a=%2", "a=%zz", "a=%ff", "ok=1,bad"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&"a=1,".repeat(65)).unwrap_err().contains("64"));
    }
}
