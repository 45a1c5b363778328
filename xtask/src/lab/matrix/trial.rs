//! Carrying out one trial: making the failure, and noting what the client and the backend saw.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::plan::{Expect, Kill, Make, Method, Trial};
use super::seed::Seed;
use super::world::{Taken, Trick, World};
use crate::lab::backend::Ended;
use crate::lab::client::{Client, Reply, ReplyEnd, Request};
use crate::lab::process::send;

/// How often a race is tried in one trial.
const RACES: u32 = 60;

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

/// How a request went.
struct Asked {
    path: String,
    client: SocketAddr,
    reply: Option<Reply>,
}

/// Makes one request fail.
pub(super) fn perform(world: &World, trial: Trial, seed: &mut Seed) -> Done {
    let path = format!("/{}/{trial}", trial.variant.make.fault().0);
    match attempt(world, &trial, &path, seed) {
        Ok(asked) => Done {
            trial,
            path: asked.path,
            client: Some(asked.client),
            void: did_not_take(&trial, asked.reply.as_ref()),
            met: asked.reply.as_ref().map(met).unwrap_or_default(),
        },
        Err(error) => Done {
            trial,
            path,
            client: None,
            met: String::new(),
            void: Some(format!("{error:#}")),
        },
    }
}

fn met(reply: &Reply) -> String {
    format!(
        "status {}, {} bytes, {:?}{}",
        reply
            .status
            .map_or("none".to_owned(), |status| status.to_string()),
        reply.bytes,
        reply.end,
        if reply.complete { "" } else { ", incomplete" }
    )
}

/// A trial that should have failed, and did not even look like it; or the other way round.
fn did_not_take(trial: &Trial, reply: Option<&Reply>) -> Option<String> {
    let reply = reply?;
    let went_well = reply.status == Some(200) && reply.complete;
    let should_fail = trial.variant.local != Expect::Nothing;
    let may_be_hidden = trial.variant.outcomes.contains(&"masked");
    if should_fail && went_well && !may_be_hidden {
        return Some("the client got a whole 200".to_owned());
    }
    (!should_fail && !went_well).then(|| format!("the client got {}", met(reply)))
}

fn attempt(world: &World, trial: &Trial, path: &str, seed: &mut Seed) -> Result<Asked> {
    let query = trial.variant.make.fault().1;
    let method = match trial.variant.method {
        Method::Either if seed.pick(0..2) == 1 => Method::Post,
        Method::Either => Method::Get,
        method => method,
    };
    let request = |target: &str| match method {
        Method::Get | Method::Either => Request::get(target).to_bytes(),
        Method::Post => Request::post(target, b"item=42").to_bytes(),
        Method::Upload(kib) => Request::post(target, &vec![b'u'; kib << 10]).to_bytes(),
    };
    let delayed = |after: (u64, u64), seed: &mut Seed| {
        format!("{path}?after={}&{query}", seed.pick(after.0..after.1))
    };
    let asked = |client: &mut Client, sent: Result<()>| {
        // A proxy may answer, or go, before it has taken all of a large request.
        let reply = client.read(false);
        if reply.bytes == 0 && reply.end == ReplyEnd::TimedOut {
            sent?;
        }
        Ok(Asked {
            path: path.to_owned(),
            client: client.local(),
            reply: Some(reply),
        })
    };
    let lane = world.take(trial.kind, trial.variant.way);
    let process = lane.process()?;
    if process.is_some() {
        // A backend that was at work for a while, as those in real life.
        let mut client = Client::connect(lane.front()?)?;
        client.send(&Request::get(&format!("/ok/W-{trial}")))?;
        pause(seed, (600, 1200));
    }
    match trial.variant.make {
        Make::Ask { after, .. } => {
            let mut client = Client::connect(lane.front()?)?;
            let sent = client.write_raw(&request(&delayed(after, seed)));
            let asked = asked(&mut client, sent);
            lane.await_end()?;
            asked
        }
        Make::Reused { after, .. } => {
            let (mut client, _) = warm_up(&lane, &trial.to_string())?;
            pause(seed, (0, 30));
            let sent = client.write_raw(&request(&delayed(after, seed)));
            asked(&mut client, sent)
        }
        Make::LostFin { idle } => {
            let (mut client, peer) = warm_up(&lane, &trial.to_string())?;
            let _lost = world.play(Trick::LostFin, peer)?;
            pause(seed, idle);
            let closed = lane.backend().close_peer(peer);
            ensure!(closed == 1, "the backend has no idle connection to {peer}");
            client.write_raw(&request(path))?;
            asked(&mut client, Ok(()))
        }
        Make::IdleReset { idle } => {
            let (mut client, peer) = warm_up(&lane, &trial.to_string())?;
            pause(seed, idle);
            let _reset = world.play(Trick::Reset, peer)?;
            client.write_raw(&request(path))?;
            asked(&mut client, Ok(()))
        }
        Make::IdleLoss { idle } => {
            let (mut client, peer) = warm_up(&lane, &trial.to_string())?;
            pause(seed, idle);
            let _lost = world.play(Trick::Lost, peer)?;
            client.write_raw(&request(path))?;
            asked(&mut client, Ok(()))
        }
        Make::Race => race(&lane, trial, &request, seed),
        Make::ResetInBody => {
            let mut client = Client::connect(lane.front()?)?;
            client.write_raw(&request(path))?;
            let head = client.read_head()?;
            let peer = head
                .header("X-Lab-Peer")
                .and_then(|peer| peer.parse().ok())
                .context("the response names no peer")?;
            let _reset = world.play(Trick::Reset, peer)?;
            asked(&mut client, Ok(()))
        }
        Make::Kill { signal, after } => {
            let process = process.context("this way has no process to end")?;
            let mut client = Client::connect(lane.front()?)?;
            client.write_raw(&request(path))?;
            pause(seed, after);
            let signal = match signal {
                Kill::Kill => Signal::KILL,
                Kill::Term => Signal::TERM,
            };
            send(process, signal)?;
            let asked = asked(&mut client, Ok(()));
            lane.await_end()?;
            asked
        }
        Make::Leave { reset, after } => {
            let mut client = Client::connect(lane.front()?)?;
            client.write_raw(&request(path))?;
            pause(seed, after);
            let local = client.local();
            if reset {
                client.abort();
            } else {
                drop(client);
            }
            Ok(Asked {
                path: path.to_owned(),
                client: local,
                reply: None,
            })
        }
    }
}

/// Lets the backend close and the client ask at the same moment, until they meet on the way. Only
/// the application knows whether they did: it never saw a request that failed.
fn race(
    lane: &Taken<'_>,
    trial: &Trial,
    request: &dyn Fn(&str) -> Vec<u8>,
    seed: &mut Seed,
) -> Result<Asked> {
    for number in 0..RACES {
        let path = format!("/ok/{trial}-{number}");
        let (mut client, peer) = warm_up(lane, &format!("{trial}-{number}"))?;
        pause(seed, (2, 12));
        let ahead = Duration::from_micros(seed.pick(0..250));
        let bytes = request(&path);
        std::thread::scope(|scope| {
            scope.spawn(|| lane.backend().close_peer(peer));
            sleep(ahead);
            client.write_raw(&bytes)
        })?;
        let reply = client.read(false);
        if reply.status == Some(200) {
            continue;
        }
        let mut served = lane.backend().served().into_iter();
        ensure!(
            !served.any(|served| served.path == path),
            "{path} failed, and the application saw it"
        );
        return Ok(Asked {
            path,
            client: client.local(),
            reply: Some(reply),
        });
    }
    bail!("request and FIN did not meet in {RACES} attempts")
}

fn pause(seed: &mut Seed, range: (u64, u64)) {
    sleep(Duration::from_millis(seed.pick(range.0..range.1)));
}

/// Opens a client connection, and with it a backend connection that is kept; gives the proxy's end
/// of that one. What earlier trials left open on this lane is closed first.
fn warm_up(lane: &Taken<'_>, name: &str) -> Result<(Client, SocketAddr)> {
    if lane.backend().close_idle() > 0 {
        // The proxy sees the FINs and lets go.
        sleep(Duration::from_millis(40));
    }
    let mut client = Client::connect(lane.front()?)?;
    let path = format!("/ok/W-{name}");
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
