//! All codes and messages whose meaning is known.

use super::entry::System;
use super::meaning::Meaning;
use super::{
    apache, aws, azure, big_ip, caddy, combined, envoy, gcp, go_error, haproxy, nginx, traefik,
};

/// The meanings of one parser.
type Table = &'static [&'static Meaning];

/// Each parser's table, and who writes what stands in it.
fn tables() -> impl Iterator<Item = (System, Table)> {
    let single = [
        (System::Nginx, nginx::error::MEANINGS),
        (System::Nginx, nginx::json::MEANINGS),
        (System::Combined, combined::MEANINGS),
        (System::Envoy, envoy::MEANINGS),
        (System::Apache, apache::MEANINGS),
        (System::Caddy, caddy::MEANINGS),
        (System::Caddy, go_error::MEANINGS),
        (System::Traefik, traefik::text::MEANINGS),
        (System::AwsAlb, aws::alb::MEANINGS),
        (System::AwsAlb, aws::alb_connection::MEANINGS),
        (System::AwsNlb, aws::nlb::MEANINGS),
        (System::AzureAppGateway, azure::app_gateway::MEANINGS),
        (System::AzureFrontDoor, azure::front_door::MEANINGS),
        (System::Gcp, gcp::MEANINGS),
    ];
    let of = |system| move |table: &Table| (system, *table);
    single
        .into_iter()
        .chain(haproxy::MEANINGS.iter().map(of(System::Haproxy)))
        .chain(big_ip::MEANINGS.iter().map(of(System::BigIp)))
}

/// All meanings, and who writes their code.
pub fn codes() -> impl Iterator<Item = (System, &'static Meaning)> {
    tables().flat_map(|(system, table)| table.iter().map(move |meaning| (system, *meaning)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::diagnose::rule;

    #[test]
    fn classes_are_rules() {
        for (system, meaning) in codes() {
            for class in meaning.classes {
                let at = (system.name(), meaning.code);
                assert!(rule(class).is_some(), "{at:?}: there is no rule {class}");
            }
            let once: HashSet<_> = meaning.classes.iter().collect();
            assert_eq!(once.len(), meaning.classes.len(), "{}", meaning.code);
        }
    }

    #[test]
    fn codes_are_told_apart() {
        for (system, table) in tables() {
            let mut seen = HashSet::new();
            for meaning in table {
                let at = (system.name(), meaning.code);
                assert!(
                    !meaning.code.is_empty() && seen.insert(meaning.code),
                    "{at:?}"
                );
                let ends = meaning.text.trim_end_matches(')').ends_with('.');
                assert!(ends && !meaning.text.contains("  "), "{at:?}");
            }
        }
    }
}
