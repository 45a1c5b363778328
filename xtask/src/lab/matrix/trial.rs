//! Carrying out one trial: making the failure, and noting what the client and the backend saw.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::plan::{Expect, Make, Method, Trial};
use super::seed::Seed;
use super::world::{Taken, Trick, World};
use crate::lab::backend::Ended;
use crate::lab::client::{Client, Reply, Request};

/// How a trial went.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) trial: Trial,
    /// Path of the request.
    pub(super) path: String,
    /// The client's end.
    pub(super) client: Option<SocketAddr>,
    /// What the client got.
    pub(super) met: String,
    /// Why the failure could not be made; then there is nothing to judge.
    pub(super) void: Option<String>,
}

/// Makes one request fail.
pub(super) fn perform(world: &World, trial: Trial, seed: &mut Seed) -> Done {
    let path = format!("/{}/{trial}", trial.variant.make.fault());
    match attempt(world, &trial, &path, seed) {
        Ok((client, reply)) => {
            let void = did_not_take(&trial, &reply);
            Done {
                trial,
                path,
                client: Some(client),
                met: format!(
                    "{:?}, {} bytes, {:?}{}",
                    reply.status,
                    reply.bytes,
                    reply.end,
                    if reply.complete { "" } else { ", incomplete" }
                ),
                void,
            }
        }
        Err(error) => Done {
            trial,
            path,
            client: None,
            met: String::new(),
            void: Some(format!("{error:#}")),
        },
    }
}

/// A trial that should have failed, and did not even look like it.
fn did_not_take(trial: &Trial, reply: &Reply) -> Option<String> {
    let should_fail = trial.variant.local != Expect::Nothing;
    let may_be_hidden = trial.variant.outcomes.contains(&"masked");
    let went_well = reply.status == Some(200) && reply.complete;
    (should_fail && went_well && !may_be_hidden).then(|| "the client got a whole 200".to_owned())
}

fn attempt(
    world: &World,
    trial: &Trial,
    path: &str,
    seed: &mut Seed,
) -> Result<(SocketAddr, Reply)> {
    let post = match trial.variant.method {
        Method::Get => false,
        Method::Post => true,
        Method::Either => seed.pick(0..2) == 1,
    };
    let request = |target: &str| -> Vec<u8> {
        if post {
            Request::post(target, b"item=42").to_bytes()
        } else {
            Request::get(target).to_bytes()
        }
    };
    let lane = world.take(trial.kind, trial.variant.way);
    match trial.variant.make {
        Make::Ask { after, .. } => {
            let mut client = Client::connect(lane.front()?)?;
            client.write_raw(&request(&delayed(path, after, seed)))?;
            Ok((client.local(), client.read(false)))
        }
        Make::Reused { after, .. } => {
            let (mut client, _) = warm_up(&lane, trial)?;
            sleep(Duration::from_millis(seed.pick(0..30)));
            client.write_raw(&request(&delayed(path, after, seed)))?;
            Ok((client.local(), client.read(false)))
        }
        Make::LostFin { idle } => {
            let (mut client, peer) = warm_up(&lane, trial)?;
            let _lost = world.play(Trick::LostFin, peer)?;
            sleep(Duration::from_millis(seed.pick(idle.0..idle.1)));
            let closed = lane.backend().close_peer(peer);
            ensure!(closed == 1, "the backend has no idle connection to {peer}");
            client.write_raw(&request(path))?;
            Ok((client.local(), client.read(false)))
        }
    }
}

fn delayed(path: &str, after: (u64, u64), seed: &mut Seed) -> String {
    format!("{path}?after={}", seed.pick(after.0..after.1))
}

/// Opens a client connection, and with it a backend connection that is kept; gives the proxy's end
/// of that one. What earlier trials left open on this lane is closed first.
fn warm_up(lane: &Taken<'_>, trial: &Trial) -> Result<(Client, SocketAddr)> {
    if lane.backend().close_idle() > 0 {
        // The proxy sees the FINs and lets go.
        sleep(Duration::from_millis(40));
    }
    let mut client = Client::connect(lane.front()?)?;
    let path = format!("/ok/W-{trial}");
    client.write_raw(&Request::get(&path).to_bytes())?;
    let reply = client.read(false);
    ensure!(
        reply.status == Some(200) && reply.complete,
        "the warm-up failed: {reply:?}"
    );
    let served = lane.backend().served_for(&path);
    let served = served.last().context("the backend saw no warm-up")?;
    ensure!(served.ended == Ended::Kept, "the warm-up was not kept");
    Ok((client, served.peer))
}
