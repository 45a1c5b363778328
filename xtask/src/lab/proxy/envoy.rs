//! Envoy.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::lane::{Lane, NAME, Open, Speak, Special};
use super::{Options, RequestLog, Route, Spec, lines_with};
use crate::lab::tls::SITE;

pub(super) fn config(spec: &Spec<'_>) -> String {
    let up = spec.upstreams;
    let mut clusters = Vec::new();
    let mut listeners = Vec::new();
    for (route, front) in spec.fronts {
        let tiers = match route {
            Route::Fresh | Route::Pooled | Route::Shared => vec![up.main],
            Route::Retry => vec![up.main, up.second],
            Route::RetryRefused => vec![up.refused, up.second],
            Route::Refused => vec![up.refused],
            Route::BlackHole => vec![up.black_hole],
            Route::Nobody => vec![],
        };
        let pooled = matches!(route, Route::Pooled | Route::Shared);
        let Options {
            connect_ms,
            response_ms,
            ..
        } = spec.options;
        clusters.push(cluster(route.name(), connect_ms, pooled, &tiers));
        let action = action(*route, response_ms);
        listeners.push(listener(spec, route.name(), *front, &action));
    }
    for Open { lane, front } in spec.lanes {
        clusters.push(lane_cluster(lane));
        let mut action = json!({"cluster": lane.name, "timeout": millis(lane.response_ms)});
        if lane.upgrade {
            action["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
        }
        listeners.push(listener(spec, &lane.name, *front, &action));
    }
    json!({
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "layered_runtime": {"layers": [{"name": "lab", "static_layer": {
            // Without it, Envoy warns that the number of client connections is not limited.
            "overload": {"global_downstream_max_connections": 50000}
        }}]},
    })
    .to_string()
}

fn lane_cluster(lane: &Lane) -> Value {
    let mut cluster = cluster(&lane.name, lane.connect_ms, lane.pooled, &[lane.to]);
    if let Some(keep_ms) = lane.keep_ms {
        let options = &mut cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        options["common_http_protocol_options"] = json!({"idle_timeout": millis(keep_ms)});
    }
    match lane.special {
        Special::Nothing => {}
        Special::One { .. } => {
            let one = json!({"max_connections": 1, "max_pending_requests": 1});
            cluster["circuit_breakers"] = json!({"thresholds": [one]});
        }
        Special::MarkedDown { .. } => {
            // Without it, Envoy goes on with all backends when all are down.
            cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        }
        Special::Named { resolver } => {
            cluster["type"] = "STRICT_DNS".into();
            cluster["dns_lookup_family"] = "V4_ONLY".into();
            cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": NAME, "port_value": lane.to.port()}},
            }}]}]);
            cluster["typed_dns_resolver_config"] = json!({
                "name": "envoy.network.dns_resolver.cares",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                    "resolvers": [address(resolver)],
                },
            });
        }
    }
    match &lane.speak {
        Speak::Http1 => {}
        Speak::Http2 => {
            let options = &mut cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
            options["explicit_http_config"] = json!({"http2_protocol_options": {}});
        }
        Speak::Tls { trusted } => cluster["transport_socket"] = tls(trusted.as_deref()),
    }
    if lane.checked || matches!(lane.special, Special::MarkedDown { .. }) {
        cluster["health_checks"] = json!([{
            "timeout": "1s",
            "interval": "0.1s",
            "unhealthy_threshold": 3,
            "healthy_threshold": 1,
            "http_health_check": {"path": "/ok/check"},
        }]);
    }
    cluster
}

fn tls(trusted: Option<&Path>) -> Value {
    let mut common = json!({
        // By default a client offers no more than 1.2.
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
    });
    if let Some(file) = trusted {
        common["validation_context"] = json!({
            "trusted_ca": {"filename": file},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": SITE}}],
        });
    }
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": SITE,
            "common_tls_context": common,
        },
    })
}

fn address(addr: SocketAddr) -> Value {
    json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}})
}

fn millis(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1000, ms % 1000)
}

/// One priority per tier: a retry goes from the first to the next.
fn cluster(name: &str, connect_ms: u64, pooled: bool, tiers: &[SocketAddr]) -> Value {
    let endpoints: Vec<_> = tiers
        .iter()
        .enumerate()
        .map(|(priority, addr)| {
            json!({
                "priority": priority,
                "lb_endpoints": [{"endpoint": {"address": address(*addr)}}],
            })
        })
        .collect();
    let mut options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
    });
    if !pooled {
        options["common_http_protocol_options"] = json!({"max_requests_per_connection": 1});
    }
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": millis(connect_ms),
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
        },
    })
}

fn action(route: Route, response_ms: u64) -> Value {
    let mut action = json!({
        "cluster": route.name(),
        "timeout": millis(response_ms),
    });
    if matches!(route, Route::Retry | Route::RetryRefused) {
        action["retry_policy"] = json!({
            "retry_on": "5xx,reset,connect-failure",
            "num_retries": 1,
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                    "update_frequency": 1,
                },
            },
        });
    }
    action
}

fn listener(spec: &Spec<'_>, name: &str, front: SocketAddr, action: &Value) -> Value {
    json!({
        "name": name,
        "address": address(front),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "preserve_external_request_id": true,
                "generate_request_id": false,
                "max_request_headers_kb": 96,
                "proxy_100_continue": true,
                "route_config": {"virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": action}],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                        "suppress_envoy_headers": true,
                    },
                }],
                "access_log": [{
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                        "path": spec.path("access.log"),
                        "log_format": {"json_format": log_fields()},
                    },
                }],
            },
        }]}],
    })
}

fn log_fields() -> Value {
    json!({
        "start_time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "response_code_details": "%RESPONSE_CODE_DETAILS%",
        "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
        "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "upstream_host": "%UPSTREAM_HOST%",
        "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
        "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "upstream_wire_bytes_sent": "%UPSTREAM_WIRE_BYTES_SENT%",
        "upstream_wire_bytes_received": "%UPSTREAM_WIRE_BYTES_RECEIVED%",
        "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "bytes_sent": "%BYTES_SENT%",
        "duration": "%DURATION%",
    })
}

pub(super) fn log_of(access: &str, path: &str) -> RequestLog {
    RequestLog {
        errors: Vec::new(),
        access: lines_with(access, path).next().map(str::to_owned),
    }
}
