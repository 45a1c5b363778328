//! Tells the form of a line by a look at it.

use super::{
    Format, apache, aws, azure, big_ip, caddy, combined, envoy, gcp, haproxy, nginx, traefik,
};

type Look = fn(&[u8]) -> bool;

/// Forms and how to know them. The first that says yes is taken, so a form that others contain comes
/// last.
const LOOKS: &[(Format, Look)] = &[
    (Format::AwsAlb, aws::alb::looks_like),
    (Format::AwsNlb, aws::nlb::looks_like),
    (Format::AwsAlbConnection, aws::alb_connection::looks_like),
    (Format::NginxError, nginx::error::looks_like),
    (Format::ApacheError, apache::looks_like),
    (Format::EnvoyText, envoy::text::looks_like),
    (Format::BigIp, big_ip::looks_like),
    (Format::Haproxy, haproxy::looks_like),
    (Format::AzureAppGateway, azure::app_gateway::looks_like),
    (Format::AzureFrontDoor, azure::front_door::looks_like),
    (Format::Gcp, gcp::looks_like),
    (Format::Caddy, caddy::looks_like),
    (Format::TraefikJson, traefik::json::looks_like),
    (Format::NginxJson, nginx::json::looks_like),
    (Format::EnvoyJson, envoy::json::looks_like),
    (Format::TraefikText, traefik::text::looks_like),
    (Format::Combined, combined::looks_like),
];

/// The form of a line, as far as a look at it tells. Reading it may still fail.
pub fn detect(line: &[u8]) -> Option<Format> {
    let (format, _) = LOOKS.iter().find(|(_, look)| look(line))?;
    Some(format.clone())
}
