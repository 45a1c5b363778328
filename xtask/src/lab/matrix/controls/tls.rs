//! Healthy traffic over TLS: handshakes, session tickets and goodbyes are bytes too, and none of
//! them is a failure.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Site;
use crate::lab::client::{Client, Request};
use crate::lab::matrix::plan::Way;

/// Doors with kept connections, of TLS 1.2 and 1.3.
const KEPT: [&str; 2] = ["tls_kept12", "tls_kept13"];
/// Doors with a connection, and a handshake, for each request.
const FRESH: [&str; 3] = ["tls_good12", "tls_good13", "tls_unverified"];

fn ask(site: &Site<'_>, client: &mut Client, fault: &str, body: &[u8]) -> Result<()> {
    let target = site.target(fault);
    let reply = match body {
        [] => client.send(&Request::get(&target))?,
        body => client.send(&Request::post(&target, body))?,
    };
    ensure!(
        reply.status.is_some_and(|status| status < 500) && reply.complete,
        "{target} with {}: {reply:?}",
        site.kind.name()
    );
    Ok(())
}

/// Requests of all sizes over kept connections.
pub(super) fn kept(site: &Site<'_>) -> Result<()> {
    for door in KEPT {
        let lane = site.world.take(site.kind, Way::Door(door));
        let mut seed = site.seed.clone();
        let mut client = Client::connect(lane.front()?)?;
        for _ in site.counted(site.share(12)) {
            match seed.pick(0..10) {
                0 => ask(site, &mut client, "ok?bytes=70000", b"")?,
                1 => ask(site, &mut client, "404", b"")?,
                2 => ask(site, &mut client, "chunked-ok", b"")?,
                3 => {
                    let body = vec![b'a'; seed.pick(1..30_000) as usize];
                    ask(site, &mut client, "ok", &body)?;
                }
                4 => ask(site, &mut client, "slow?ms=20", b"")?,
                _ => ask(site, &mut client, "ok", b"")?,
            }
        }
    }
    Ok(())
}

/// A handshake for each request; some resume a session.
pub(super) fn fresh(site: &Site<'_>) -> Result<()> {
    for _ in site.counted(site.share(60)) {
        for door in FRESH {
            let lane = site.world.take(site.kind, Way::Door(door));
            let mut client = Client::connect(lane.front()?)?;
            ask(site, &mut client, "ok", b"")?;
        }
    }
    Ok(())
}

/// The backend says goodbye on idle connections while nobody uses them.
pub(super) fn backend_trims(site: &Site<'_>) -> Result<()> {
    for _ in site.counted(site.share(300)) {
        for door in KEPT {
            let lane = site.world.take(site.kind, Way::Door(door));
            let mut client = Client::connect(lane.front()?)?;
            for fault in ["ok", "ok", "close-after?ms=15"] {
                ask(site, &mut client, fault, b"")?;
            }
            sleep(Duration::from_millis(50));
            ask(site, &mut client, "ok", b"")?;
            lane.backend().close_idle();
            sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}
