//! The table of rules. One file each; the order here is the order in which they are asked.

mod application_502;
mod backend_process_exit;
mod backend_restart;
mod body_longer_than_declared;
mod body_stalled;
mod body_truncated_fin;
mod body_truncated_rst;
mod chunk_framing_invalid;
mod client_abort;
mod conflicting_framing;
mod connect_refused;
mod connect_timeout;
mod connect_unreachable;
mod fin_before_response;
mod header_too_large;
mod informational_only_response;
mod keepalive_race;
mod listen_queue_overflow;
mod local_fd_exhausted;
mod local_port_exhausted;
mod malformed_response;
mod name_resolution_failed;
mod no_backend_available;
mod partial_header;
mod plaintext_to_tls;
mod protocol_version_mismatch;
mod queue_timeout;
mod request_body_rejected;
mod response_timeout;
mod rst_before_response;
mod tls_alert_from_backend;
mod tls_handshake_timeout;
mod tls_peer_closed;
mod tls_reset;
mod tls_to_plaintext;
mod tls_verify_failed;
pub(super) mod unexplained;
mod upgrade_refused;

mod idle_drop_by_middlebox;
mod mtu_black_hole;
mod packet_loss;
mod path_reset;
use super::Rule;

/// All rules. The first that finds its evidence wins, so what is certain stands before what is
/// inferred: an answer of the backend before any failure, a race before a plain early close.
pub(super) static RULES: &[Rule] = &[
    client_abort::RULE,
    plaintext_to_tls::RULE,
    upgrade_refused::RULE,
    application_502::RULE,
    protocol_version_mismatch::RULE,
    malformed_response::RULE,
    conflicting_framing::RULE,
    chunk_framing_invalid::RULE,
    header_too_large::RULE,
    body_longer_than_declared::RULE,
    local_fd_exhausted::RULE,
    name_resolution_failed::RULE,
    queue_timeout::RULE,
    no_backend_available::RULE,
    local_port_exhausted::RULE,
    listen_queue_overflow::RULE,
    connect_refused::RULE,
    connect_unreachable::RULE,
    connect_timeout::RULE,
    tls_to_plaintext::RULE,
    tls_alert_from_backend::RULE,
    tls_verify_failed::RULE,
    tls_handshake_timeout::RULE,
    tls_peer_closed::RULE,
    tls_reset::RULE,
    keepalive_race::RULE,
    idle_drop_by_middlebox::RULE,
    path_reset::RULE,
    request_body_rejected::RULE,
    fin_before_response::RULE,
    rst_before_response::RULE,
    informational_only_response::RULE,
    partial_header::RULE,
    mtu_black_hole::RULE,
    packet_loss::RULE,
    body_truncated_fin::RULE,
    body_truncated_rst::RULE,
    response_timeout::RULE,
    body_stalled::RULE,
    backend_process_exit::RULE,
    backend_restart::RULE,
    unexplained::RULE,
];
