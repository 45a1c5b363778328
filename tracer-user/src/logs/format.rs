//! The forms of lines that are known.

use std::str::FromStr;
use std::sync::Arc;

use super::entry::{Entry, Skim, System};
use super::nginx::LogFormat;
use super::scan::ParseError;
use super::stamp::Assume;
use super::{apache, aws, azure, big_ip, caddy, combined, envoy, gcp, haproxy, nginx, traefik};
use crate::printable::printable;

/// A form of line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Error log of NGINX.
    NginxError,
    /// Access log of NGINX in JSON, keys named after its variables.
    NginxJson,
    /// Access log of NGINX by a `log_format` of the user's own.
    NginxCustom(Arc<LogFormat>),
    /// "Combined" access log. NGINX and Apache write the same, and the line does not tell which.
    Combined,
    /// "Combined" access log, known to be of NGINX.
    NginxAccess,
    /// "Combined" access log, known to be of Apache httpd.
    ApacheAccess,
    /// Error log of Apache httpd.
    ApacheError,
    /// Everything that HAProxy logs: requests, sessions, errors, health of servers.
    Haproxy,
    /// Access log of Envoy in its default text form.
    EnvoyText,
    /// Access log of Envoy in JSON, whatever the keys.
    EnvoyJson,
    /// Caddy's JSON, access and error.
    Caddy,
    /// Access log of Traefik in its text form.
    TraefikText,
    /// Access log and application log of Traefik in JSON.
    TraefikJson,
    /// Access log of an AWS Application Load Balancer.
    AwsAlb,
    /// Connection log of an AWS Application Load Balancer.
    AwsAlbConnection,
    /// Access log of the TLS listeners of an AWS Network Load Balancer.
    AwsNlb,
    /// Access log of an Azure Application Gateway, v1 or v2.
    AzureAppGateway,
    /// Access log of Azure Front Door.
    AzureFrontDoor,
    /// Log entries of a Google Cloud Application Load Balancer.
    Gcp,
    /// BIG-IP's `ltm` log and request logging.
    BigIp,
}

/// Forms that have a name and need no more than it, and their names.
const NAMED: &[(&str, Format)] = &[
    ("nginx-error", Format::NginxError),
    ("nginx-json", Format::NginxJson),
    ("nginx-access", Format::NginxAccess),
    ("apache-error", Format::ApacheError),
    ("apache-access", Format::ApacheAccess),
    ("combined", Format::Combined),
    ("haproxy", Format::Haproxy),
    ("envoy", Format::EnvoyText),
    ("envoy-json", Format::EnvoyJson),
    ("caddy", Format::Caddy),
    ("traefik", Format::TraefikText),
    ("traefik-json", Format::TraefikJson),
    ("aws-alb", Format::AwsAlb),
    ("aws-alb-connection", Format::AwsAlbConnection),
    ("aws-nlb", Format::AwsNlb),
    ("azure-app-gateway", Format::AzureAppGateway),
    ("azure-front-door", Format::AzureFrontDoor),
    ("gcp", Format::Gcp),
    ("big-ip", Format::BigIp),
];

/// The name of forms that are given as NGINX's `log_format` string.
const CUSTOM: &str = "nginx-custom";

/// Text that names no form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no log format {0}")]
pub struct UnknownFormat(String);

impl Format {
    /// Names that [`FromStr`] takes; a string with a `$` is a `log_format` of NGINX.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// All forms but those of the user's own.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        NAMED.iter().map(|(_, format)| format)
    }

    /// Does it take lines of other forms, too, because they begin the same and go on? Then a look at each
    /// line must tell.
    pub fn is_loose(&self) -> bool {
        matches!(self, Self::Combined)
    }

    /// The name in JSON and on the command line.
    pub fn name(&self) -> &'static str {
        let named = NAMED.iter().find(|(_, format)| format == self);
        named.map_or(CUSTOM, |(name, _)| name)
    }

    /// Text from which [`FromStr`] makes this form again.
    pub fn spec(&self) -> &str {
        match self {
            Self::NginxCustom(format) => format.text(),
            named => named.name(),
        }
    }

    /// The short way for healthy lines, which are nearly all of an access log: what is counted of one,
    /// without its texts. `None` says only that the line has to be [parsed](Self::parse).
    pub(super) fn skim(&self, line: &[u8]) -> Option<Skim> {
        match self {
            Self::AwsAlb => aws::alb::skim(line),
            _ => None,
        }
    }

    /// Reads one line, without its line end.
    ///
    /// # Errors
    /// The line does not have this form.
    pub fn parse<'a>(&self, line: &'a [u8], assume: &Assume) -> Result<Entry<'a>, ParseError> {
        match self {
            Self::NginxError => nginx::error::parse(line, assume),
            Self::NginxJson => nginx::json::parse(line, assume),
            Self::NginxCustom(format) => format.parse(line, assume),
            Self::Combined => combined::parse(line, System::Combined),
            Self::NginxAccess => combined::parse(line, System::Nginx),
            Self::ApacheAccess => combined::parse(line, System::Apache),
            Self::ApacheError => apache::parse(line, assume),
            Self::Haproxy => haproxy::parse(line, assume),
            Self::EnvoyText => envoy::text::parse(line),
            Self::EnvoyJson => envoy::json::parse(line),
            Self::Caddy => caddy::parse(line),
            Self::TraefikText => traefik::text::parse(line),
            Self::TraefikJson => traefik::json::parse(line),
            Self::AwsAlb => aws::alb::parse(line),
            Self::AwsAlbConnection => aws::alb_connection::parse(line),
            Self::AwsNlb => aws::nlb::parse(line),
            Self::AzureAppGateway => azure::app_gateway::parse(line),
            Self::AzureFrontDoor => azure::front_door::parse(line),
            Self::Gcp => gcp::parse(line),
            Self::BigIp => big_ip::parse(line, assume),
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, format)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(format.clone());
        }
        if text.contains('$') {
            return Ok(Self::NginxCustom(Arc::new(LogFormat::new(text))));
        }
        Err(UnknownFormat(printable(text, 60).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_comes_back_from_its_name() {
        for format in Format::all() {
            assert_eq!(format.spec().parse().as_ref(), Ok(format));
        }
        let custom = "$remote_addr [$time_local] $status";
        let format: Format = custom.parse().unwrap();
        assert_eq!((format.spec(), format.name()), (custom, CUSTOM));
        assert!(
            "nginx\u{1b}"
                .parse::<Format>()
                .unwrap_err()
                .to_string()
                .ends_with("nginx\\x1b")
        );
    }
}
