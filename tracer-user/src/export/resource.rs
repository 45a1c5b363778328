//! Whose telemetry it is: the observed service, on its host. why502 itself is named in the scope and in
//! `telemetry.distro.*`
//! (<https://opentelemetry.io/docs/specs/semconv/resource/>).

use super::attributes::{Attributes, LABEL_MAX, Value};
use crate::deliver::env::Env;
use crate::event::{ProxyKind, SessionStart};
use crate::printable::printable;
use crate::report::Clock;

/// Name of this program in scopes.
pub(super) const SCOPE: &str = "why502";
/// The version that exports.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The names that are used are those of this version of the conventions.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// Name of a service that nobody named (OpenTelemetry's own default).
const UNKNOWN_SERVICE: &str = "unknown_service";

/// What the user said about the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceConfig {
    /// `service.name`; without it the kind of the proxy.
    pub service_name: Option<String>,
    /// Further attributes. They win over what was found out.
    pub attributes: Vec<(String, String)>,
}

impl From<&Env> for ResourceConfig {
    fn from(env: &Env) -> Self {
        Self {
            service_name: env.service_name.clone(),
            attributes: env.resource_attributes.clone(),
        }
    }
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
            clock: Clock::of(start),
            config,
        }
    }

    /// Moment on the wall clock, ns since the epoch; 0 for what lies before it.
    pub(super) fn unix(&self, at: u64) -> u64 {
        self.clock.unix(at).max(0).cast_unsigned()
    }

    /// `service.name` of a proxy of this kind; without a kind, of several of them.
    pub(super) fn service_name(&self, kind: Option<&ProxyKind>) -> String {
        let given = self.config.service_name.as_deref();
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
            let value = Value::Text(printable(value, LABEL_MAX));
            found.replace(&printable(key, LABEL_MAX), value);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn origin(name: Option<&str>, attributes: Option<&str>) -> Origin {
        let vars = [
            ("OTEL_SERVICE_NAME", name),
            ("OTEL_RESOURCE_ATTRIBUTES", attributes),
        ];
        let set = vars.map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
        let (env, warnings) = Env::read(set.into_iter().flatten());
        assert_eq!(warnings, Vec::<String>::new());
        Origin::new(&fixture::start(), ResourceConfig::from(&env))
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
}
