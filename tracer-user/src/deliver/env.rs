//! The `OTEL_*` variables
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). An empty one
//! is not set; a bad one is warned about and left out. Values are never quoted: some are secret, and
//! all can be looked up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::destination::{Compression, Destination, Endpoint, Url};
use super::headers::Headers;
use super::payload::Signal;
use super::settings::{Settings, SettingsError};

const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// Most attributes that the user may add to the resource.
const ATTRIBUTES_MAX: usize = 64;

/// Everything that the environment says about exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// `OTEL_SDK_DISABLED=true`: nothing is exported because of the environment.
    pub sdk_disabled: bool,
    /// For every signal of OTLP.
    pub general: Settings,
    /// Over [`Env::general`].
    pub of_signal: BTreeMap<Signal, Settings>,
    /// `OTEL_{TRACES,METRICS,LOGS}_EXPORTER`, where set.
    pub exporters: BTreeMap<Signal, Exporter>,
    /// `OTEL_SERVICE_NAME`, else `service.name` of the attributes; never empty.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, without `service.name`, decoded.
    pub resource_attributes: Vec<(String, String)>,
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    pub metric_interval: Option<Duration>,
    /// `OTEL_BSP_SCHEDULE_DELAY`.
    pub batch_delay: Option<Duration>,
    /// `OTEL_BSP_MAX_QUEUE_SIZE`, items.
    pub queue_items: Option<u64>,
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, items.
    pub batch_items: Option<u64>,
    /// `OTEL_EXPORTER_PROMETHEUS_HOST`.
    pub prometheus_host: Option<String>,
    /// `OTEL_EXPORTER_PROMETHEUS_PORT`.
    pub prometheus_port: Option<u16>,
}

/// Where a signal goes, by its `OTEL_…_EXPORTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// `otlp`.
    Otlp,
    /// `zipkin`.
    Zipkin,
    /// `prometheus`.
    Prometheus,
    /// `none`: switched off.
    None,
}

/// Something in the environment that is not done, in a sentence.
pub type Warning = String;

impl Env {
    /// Reads this process's environment.
    pub fn of_process() -> (Self, Vec<Warning>) {
        let text = |value: OsString| value.to_string_lossy().into_owned();
        Self::read(std::env::vars_os().map(|(key, value)| (text(key), text(value))))
    }

    /// Only what it says about the resource: who sends nothing is not warned about endpoints.
    pub fn resource_of_process() -> (Self, Vec<Warning>) {
        let vars = [SERVICE_NAME, RESOURCE_ATTRIBUTES].into_iter();
        Self::read(vars.filter_map(|key| Some((key.to_owned(), std::env::var(key).ok()?))))
    }

    /// Reads variables; others than ours are left alone.
    pub fn read(vars: impl IntoIterator<Item = (String, String)>) -> (Self, Vec<Warning>) {
        let vars = vars
            .into_iter()
            .filter(|(key, value)| key.starts_with("OTEL_") && !value.trim().is_empty())
            .map(|(key, value)| (key, value.trim().to_owned()))
            .collect();
        let mut reader = Reader {
            vars,
            warnings: Vec::new(),
        };
        let env = reader.env();
        (env, reader.warnings)
    }

    /// What the environment says of one signal: the signal's own variables over the general ones.
    pub fn settings(&self, signal: Signal) -> Settings {
        let own = self.of_signal.get(&signal).cloned().unwrap_or_default();
        match signal {
            Signal::Zipkin => own,
            _ => own.over(&self.general),
        }
    }

    /// Where a signal goes: what is typed or configured, over the environment.
    ///
    /// # Errors
    ///
    /// Together they give no destination.
    pub fn destination(
        &self,
        signal: Signal,
        given: Settings,
    ) -> Result<Destination, SettingsError> {
        given.over(&self.settings(signal)).destination(signal)
    }

    /// Does the environment itself ask for this signal to be sent somewhere? Only an endpoint does:
    /// nothing leaves the host because of a default.
    pub fn asks_for(&self, signal: Signal) -> bool {
        !self.forbids(signal) && self.settings(signal).endpoint.is_some()
    }

    /// Does `OTEL_…_EXPORTER=none` stand for this very signal? Who types or configures a URL wants
    /// something sent there: only this word is heard against it.
    pub fn is_none(&self, signal: Signal) -> bool {
        self.exporters.get(&signal) == Some(&Exporter::None)
    }

    /// Is this signal switched off? What a command line or configuration asks for is sent all the same.
    pub fn forbids(&self, signal: Signal) -> bool {
        let exporter = match signal {
            Signal::Zipkin => self.exporters.get(&Signal::Traces),
            signal => self.exporters.get(&signal),
        };
        let elsewhere = match exporter {
            None => false,
            Some(Exporter::Otlp) => signal == Signal::Zipkin,
            Some(Exporter::Zipkin) => signal != Signal::Zipkin,
            Some(Exporter::Prometheus | Exporter::None) => true,
        };
        self.sdk_disabled || elsewhere
    }
}

struct Reader {
    vars: BTreeMap<String, String>,
    warnings: Vec<Warning>,
}

impl Reader {
    fn env(&mut self) -> Env {
        let mut env = Env {
            sdk_disabled: self.parsed("OTEL_SDK_DISABLED", "true or false", boolean) == Some(true),
            general: self.settings(None),
            metric_interval: self.milliseconds("OTEL_METRIC_EXPORT_INTERVAL"),
            batch_delay: self.milliseconds("OTEL_BSP_SCHEDULE_DELAY"),
            queue_items: self.count("OTEL_BSP_MAX_QUEUE_SIZE"),
            batch_items: self.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
            prometheus_host: self.text("OTEL_EXPORTER_PROMETHEUS_HOST"),
            prometheus_port: self.parsed("OTEL_EXPORTER_PROMETHEUS_PORT", "a port", |text| {
                text.parse().ok()
            }),
            ..Env::default()
        };
        for signal in Signal::OTLP {
            let own = self.settings(Some(signal));
            env.of_signal.insert(signal, own);
            let key = format!("OTEL_{}_EXPORTER", upper(signal));
            if let Some(exporter) = self.exporter(&key, signal) {
                env.exporters.insert(signal, exporter);
            }
        }
        let zipkin = Settings {
            endpoint: self.endpoint("OTEL_EXPORTER_ZIPKIN_ENDPOINT", Signal::Zipkin, true),
            timeout: self.milliseconds("OTEL_EXPORTER_ZIPKIN_TIMEOUT"),
            ..Settings::default()
        };
        env.of_signal.insert(Signal::Zipkin, zipkin);
        self.resource(&mut env);
        if let (Some(batch), Some(queue)) = (env.batch_items, env.queue_items)
            && batch > queue
        {
            self.warnings.push(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is above OTEL_BSP_MAX_QUEUE_SIZE; the queue's size is \
                 used for both"
                    .to_owned(),
            );
            env.batch_items = Some(queue);
        }
        env
    }

    /// The variables of OTLP, general or of one signal.
    fn settings(&mut self, signal: Option<Signal>) -> Settings {
        let prefix = match signal {
            None => "OTEL_EXPORTER_OTLP".to_owned(),
            Some(signal) => format!("OTEL_EXPORTER_OTLP_{}", upper(signal)),
        };
        let key = |name: &str| format!("{prefix}_{name}");
        let exact = signal.is_some();
        self.protocol(&key("PROTOCOL"));
        Settings {
            endpoint: self.endpoint(&key("ENDPOINT"), signal.unwrap_or(Signal::Traces), exact),
            headers: self.headers(&key("HEADERS")),
            timeout: self.milliseconds(&key("TIMEOUT")),
            compression: self.parsed(&key("COMPRESSION"), "gzip or none", compression),
            ca: self.path(&key("CERTIFICATE")),
            client_certificate: self.path(&key("CLIENT_CERTIFICATE")),
            client_key: self.path(&key("CLIENT_KEY")),
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.vars.get(key).cloned()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = parse(self.vars.get(key)?);
        if value.is_none() {
            self.left_out(key, &format!("give {wanted}"));
        }
        value
    }

    fn left_out(&mut self, key: &str, why: &str) {
        self.warnings.push(format!("{key} is left out: {why}"));
    }

    fn milliseconds(&mut self, key: &str) -> Option<Duration> {
        self.parsed(key, "a number of milliseconds above 0", |text| {
            let ms = text.parse().ok().filter(|ms| *ms > 0)?;
            Some(Duration::from_millis(ms))
        })
    }

    fn count(&mut self, key: &str) -> Option<u64> {
        self.parsed(key, "a number above 0", |text| {
            text.parse().ok().filter(|count| *count > 0)
        })
    }

    fn endpoint(&mut self, key: &str, signal: Signal, exact: bool) -> Option<Endpoint> {
        let text = self.text(key)?;
        let endpoint = match exact {
            true => Endpoint::Exact(text),
            false => Endpoint::Base(text),
        };
        match Url::new(&endpoint, signal) {
            Ok(_) => Some(endpoint),
            Err(error) => {
                self.left_out(key, &error.to_string());
                None
            }
        }
    }

    fn headers(&mut self, key: &str) -> Headers {
        let Some(text) = self.vars.get(key) else {
            return Headers::default();
        };
        match Headers::from_baggage(text) {
            Ok(headers) => headers,
            Err(error) => {
                self.left_out(key, &error.to_string());
                Headers::default()
            }
        }
    }

    fn protocol(&mut self, key: &str) {
        let Some(value) = self.text(key) else {
            return;
        };
        let why = match value.to_ascii_lowercase().as_str() {
            "http/json" => return,
            "grpc" => {
                "it asks for grpc, why502 sends http/json all the same; the endpoint must be the \
                 receiver's HTTP port (4318, not 4317)"
            }
            "http/protobuf" => {
                "it asks for http/protobuf, why502 sends http/json all the same, to the same port and \
                 path; a receiver that takes protobuf only will refuse it"
            }
            _ => "why502 sends http/json",
        };
        self.left_out(key, why);
    }

    fn exporter(&mut self, key: &str, signal: Signal) -> Option<Exporter> {
        let wanted = match signal {
            Signal::Traces => "otlp, zipkin or none",
            Signal::Metrics => "otlp, prometheus or none",
            _ => "otlp or none",
        };
        self.parsed(key, wanted, |text| {
            match (text.to_ascii_lowercase().as_str(), signal) {
                ("otlp", _) => Some(Exporter::Otlp),
                ("none", _) => Some(Exporter::None),
                ("zipkin", Signal::Traces) => Some(Exporter::Zipkin),
                ("prometheus", Signal::Metrics) => Some(Exporter::Prometheus),
                _ => None,
            }
        })
    }

    /// `OTEL_RESOURCE_ATTRIBUTES` is left out as a whole if one is bad, as its specification wants
    /// (<https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>).
    fn resource(&mut self, env: &mut Env) {
        let wanted = "key=value,key2=value2, percent-encoded, not more than 64";
        let attributes = self.parsed(RESOURCE_ATTRIBUTES, wanted, attributes);
        for (key, value) in attributes.unwrap_or_default() {
            match key.as_str() {
                "service.name" if value.is_empty() => {}
                "service.name" => env.service_name = Some(value),
                _ => env.resource_attributes.push((key, value)),
            }
        }
        if let Some(name) = self.text(SERVICE_NAME) {
            env.service_name = Some(name);
        }
    }
}

fn upper(signal: Signal) -> String {
    signal.name().to_ascii_uppercase()
}

fn attributes(list: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| {
        let bytes = super::headers::percent_decode(text.trim())?;
        String::from_utf8(bytes).ok()
    };
    let pairs = list.split(',').filter(|pair| !pair.trim().is_empty());
    let attributes = pairs.map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let key = decode(key).filter(|key| !key.is_empty())?;
        Some((key, decode(value)?))
    });
    let attributes: Vec<_> = attributes.collect::<Option<_>>()?;
    (attributes.len() <= ATTRIBUTES_MAX).then_some(attributes)
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn compression(text: &str) -> Option<Compression> {
    match text.to_ascii_lowercase().as_str() {
        "gzip" => Some(Compression::Gzip),
        "none" => Some(Compression::None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Env, Vec<Warning>) {
        let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        Env::read(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())))
    }

    /// Without warnings.
    fn good(text: &str) -> Env {
        let (env, warnings) = read(text);
        assert_eq!(warnings, Vec::<String>::new(), "{text}");
        env
    }

    fn url(env: &Env, signal: Signal) -> String {
        let to = env.settings(signal).destination(signal).unwrap();
        to.url.to_string()
    }

    #[test]
    fn endpoints() {
        use Signal::{Logs, Metrics, Traces, Zipkin};
        let env = good(
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/base/
             OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://m/own
             OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://z/x
             PATH=/bin",
        );
        for (signal, want) in [
            (Traces, "http://c:4318/base/v1/traces"),
            (Logs, "http://c:4318/base/v1/logs"),
            (Metrics, "https://m/own"),
            (Zipkin, "http://z/x"),
        ] {
            assert_eq!(url(&env, signal), want);
            assert!(env.asks_for(signal));
        }
        let env = good("OTEL_EXPORTER_OTLP_ENDPOINT= \nOTEL_EXPORTER_OTLP_TIMEOUT=");
        assert_eq!(env.settings(Traces), Settings::default());
        assert!(!env.asks_for(Traces));
        assert_eq!(url(&env, Traces), "http://localhost:4318/v1/traces");
        // A command line is nearer than both.
        let env = good(
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c\nOTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://d/l",
        );
        let line = Settings {
            endpoint: Some(Endpoint::Base("http://line".into())),
            ..Settings::default()
        };
        let to = line.over(&env.settings(Logs)).destination(Logs).unwrap();
        assert_eq!(to.url.to_string(), "http://line/v1/logs");
    }

    #[test]
    fn a_signals_own_variables_win() {
        let env = good(
            "OTEL_EXPORTER_OTLP_HEADERS=a=1,b=1
             OTEL_EXPORTER_OTLP_TRACES_HEADERS=b=2
             OTEL_EXPORTER_OTLP_TIMEOUT=5000
             OTEL_EXPORTER_OTLP_LOGS_TIMEOUT=100
             OTEL_EXPORTER_OTLP_COMPRESSION=GZIP
             OTEL_EXPORTER_OTLP_METRICS_COMPRESSION=none
             OTEL_EXPORTER_OTLP_PROTOCOL=HTTP/JSON
             OTEL_EXPORTER_OTLP_CERTIFICATE=/ca
             OTEL_EXPORTER_OTLP_CLIENT_KEY=/k
             OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/c
             OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE=/logs-ca",
        );
        let of = |signal| env.settings(signal).destination(signal).unwrap();
        let (traces, metrics, logs) = (of(Signal::Traces), of(Signal::Metrics), of(Signal::Logs));
        assert_eq!(traces.headers, Headers::from_lines("a: 1\nb: 2").unwrap());
        assert_eq!(logs.headers, Headers::from_lines("a: 1\nb: 1").unwrap());
        let ms = |to: &Destination| to.timeout.as_millis();
        assert_eq!((ms(&traces), ms(&logs)), (5000, 100));
        assert_eq!(traces.compression, Compression::Gzip);
        assert_eq!(metrics.compression, Compression::None);
        assert_eq!(logs.tls.ca, Some("/logs-ca".into()));
        assert_eq!(traces.tls.client.unwrap().certificate, PathBuf::from("/c"));
    }

    #[test]
    fn switches() {
        use Signal::{Logs, Metrics, Traces, Zipkin};
        let all = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c\nOTEL_EXPORTER_ZIPKIN_ENDPOINT=http://z\n";
        for (text, off) in [
            ("", vec![]),
            ("OTEL_SDK_DISABLED=false", vec![]),
            (
                "OTEL_SDK_DISABLED=TRUE",
                vec![Traces, Metrics, Logs, Zipkin],
            ),
            ("OTEL_TRACES_EXPORTER=none", vec![Traces, Zipkin]),
            ("OTEL_TRACES_EXPORTER=zipkin", vec![Traces]),
            ("OTEL_TRACES_EXPORTER=OTLP", vec![Zipkin]),
            ("OTEL_METRICS_EXPORTER=prometheus", vec![Metrics]),
            ("OTEL_LOGS_EXPORTER=None", vec![Logs]),
        ] {
            let env = good(&format!("{all}{text}"));
            for signal in [Traces, Metrics, Logs, Zipkin] {
                assert_eq!(
                    env.asks_for(signal),
                    !off.contains(&signal),
                    "{text} {signal:?}"
                );
            }
        }
    }

    #[test]
    fn the_rest() {
        let env = good(
            "OTEL_SERVICE_NAME=shop
             OTEL_RESOURCE_ATTRIBUTES=service.name=other,deployment.environment.name=a%2Cb, k = v
             OTEL_METRIC_EXPORT_INTERVAL=60000
             OTEL_BSP_SCHEDULE_DELAY=5000
             OTEL_BSP_MAX_QUEUE_SIZE=2048
             OTEL_BSP_MAX_EXPORT_BATCH_SIZE=512
             OTEL_EXPORTER_PROMETHEUS_HOST=localhost
             OTEL_EXPORTER_PROMETHEUS_PORT=9464",
        );
        assert_eq!(env.service_name.as_deref(), Some("shop"));
        let attributes = [("deployment.environment.name", "a,b"), ("k", "v")];
        assert_eq!(
            env.resource_attributes,
            attributes.map(|(k, v)| (k.into(), v.into()))
        );
        assert_eq!(env.metric_interval, Some(Duration::from_secs(60)));
        assert_eq!(env.batch_delay, Some(Duration::from_secs(5)));
        assert_eq!((env.queue_items, env.batch_items), (Some(2048), Some(512)));
        assert_eq!(env.prometheus_host.as_deref(), Some("localhost"));
        assert_eq!(env.prometheus_port, Some(9464));
        let env = good("OTEL_RESOURCE_ATTRIBUTES=service.name=other");
        assert_eq!(env.service_name.as_deref(), Some("other"));
    }

    #[test]
    fn attributes_of_the_resource() {
        assert_eq!(
            attributes(" a=1 , b = x%2Cy%3D ,, c=").unwrap(),
            [("a", "1"), ("b", "x,y="), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        for bad in ["a", "=1", "a=%", "a=%2", "a=%zz", "a=%ff", "ok=1,bad"] {
            assert_eq!(attributes(bad), None, "{bad}");
        }
        let many = format!("OTEL_RESOURCE_ATTRIBUTES={}", "a=1,".repeat(65));
        let (env, warnings) = read(&many);
        assert!(
            env.resource_attributes.is_empty() && warnings[0].contains("64"),
            "{warnings:?}"
        );
    }

    #[test]
    fn bad_values_are_named_left_out_and_not_quoted() {
        for (line, words) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT=hunter2:4318", "http://"),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT=http://u:hunter2@h",
                "headers file",
            ),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT=http://h/v1/traces",
                "give the base",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS=hunter2", "entry 1"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS=a=hunter2%2", "entry 1"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT=10s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT=0", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT=-1", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "gzip or none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "4318, not 4317"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf",
                "http/json all the same",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL=soap", "sends http/json"),
            ("OTEL_SDK_DISABLED=1", "true or false"),
            ("OTEL_TRACES_EXPORTER=jaeger", "otlp, zipkin or none"),
            ("OTEL_LOGS_EXPORTER=prometheus", "otlp or none"),
            ("OTEL_BSP_MAX_QUEUE_SIZE=0", "above 0"),
            ("OTEL_EXPORTER_PROMETHEUS_PORT=70000", "a port"),
            ("OTEL_RESOURCE_ATTRIBUTES=a=1,b", "key=value"),
        ] {
            let (env, warnings) = read(line);
            let [warning] = warnings.as_slice() else {
                panic!("{line}: {warnings:?}");
            };
            let (key, _) = line.split_once('=').unwrap();
            assert!(
                warning.starts_with(key) && warning.contains(words),
                "{warning}"
            );
            assert!(!warning.contains("hunter2"), "{warning}");
            assert_eq!(env, good(""), "{line}");
        }
        let (env, warnings) = read("OTEL_BSP_MAX_QUEUE_SIZE=100");
        assert_eq!((env.queue_items, warnings.len()), (Some(100), 0));
        let (env, warnings) =
            read("OTEL_BSP_MAX_QUEUE_SIZE=100\nOTEL_BSP_MAX_EXPORT_BATCH_SIZE=512");
        assert_eq!((env.batch_items, warnings.len()), (Some(100), 1));
    }
}
