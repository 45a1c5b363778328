//! Carrying out one trial: making the failure, and noting what the client and the backend saw.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::plan::{Expect, Kill, Make, Method, Place, Trial};
use super::seed::Seed;
use super::world::{NARROW_PORTS, Taken, Trick, World};
use crate::lab::backend::Ended;
use crate::lab::client::{Client, Reply, ReplyEnd, Request};
use crate::lab::process::send;

/// How often a race is tried in one trial.
const RACES: u32 = 60;

/// What a browser sends for a WebSocket (RFC 6455, 1.3).
const UPGRADE: &str = "GET TARGET HTTP/1.1\r\nHost: lab.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

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

/// Ends the path of a trial that is tried again, before the number of the attempt.
pub(super) const AGAIN: &str = "-again";

/// Makes one request fail. Each attempt has a path of its own.
pub(super) fn perform(world: &World, trial: Trial, number: usize, seed: &mut Seed) -> Done {
    let again = match number {
        0 => String::new(),
        number => format!("{AGAIN}{number}"),
    };
    let path = format!("/{}/{trial}{again}", trial.variant.make.fault().0);
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
        Method::Upgrade => UPGRADE.replace("TARGET", target).into_bytes(),
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
        Make::Crowd => {
            // More than enough: Apache counts for each of its processes.
            let holders = (0..4).map(|number| {
                let mut client = Client::connect(lane.front()?)?;
                let target = format!("/slow/H-{trial}-{number}?ms=900");
                client.write_raw(&Request::get(&target).to_bytes())?;
                sleep(Duration::from_millis(20));
                Ok(client)
            });
            let _holders = holders.collect::<Result<Vec<_>>>()?;
            let mut client = Client::connect(lane.front()?)?;
            client.write_raw(&request(path))?;
            let asked = asked(&mut client, Ok(()));
            // Let them have their answers, so that the next trial finds it empty.
            sleep(Duration::from_millis(1900));
            asked
        }
        Make::Again => {
            let mut client = Client::connect(lane.front()?)?;
            client.send(&Request::get(&format!("/ok/H-{trial}")))?;
            pause(seed, (0, 200));
            let mut client = Client::connect(lane.front()?)?;
            client.write_raw(&request(path))?;
            asked(&mut client, Ok(()))
        }
        Make::PortsTaken => {
            world.enter_narrow()?;
            let ports = u32::from(NARROW_PORTS.1 - NARROW_PORTS.0) + 1;
            let holders = (0..ports).map(|number| {
                let mut client = Client::connect_from(local_address(seed), lane.front()?)?;
                // May fail too: some proxies leave ports in TIME_WAIT.
                let target = format!("/slow/H-{trial}-{number}?ms=1200");
                client.write_raw(&Request::get(&target).to_bytes())?;
                Ok(client)
            });
            let holders = holders.collect::<Result<Vec<_>>>()?;
            pause(seed, (150, 300));
            let mut client = Client::connect_from(local_address(seed), lane.front()?)?;
            client.write_raw(&request(path))?;
            let asked = asked(&mut client, Ok(()));
            for mut holder in holders {
                holder.read(false);
            }
            world.enter()?;
            asked
        }
        Make::DescriptorsTaken => {
            world.enter_narrow()?;
            // Accepted while there is a descriptor for it, and not heard yet: a proxy may keep the
            // backend connection of a client that was.
            let mut client = Client::connect_from(local_address(seed), lane.front()?)?;
            pause(seed, (250, 400));
            let proxy = world.proxy(trial.kind, Place::Narrow)?;
            let worker = *proxy.workers().last().context("no worker")?;
            let limited = Descriptors::none_left(worker)?;
            client.write_raw(&request(path))?;
            let asked = asked(&mut client, Ok(()));
            drop(limited);
            world.enter()?;
            asked
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

/// An address of this host that no other client has. Its port is none of the few: `connect()`
/// would leave out those that others have bound, whatever their address.
fn local_address(seed: &mut Seed) -> SocketAddr {
    let [_, a, b, c, ..] = seed.next().to_le_bytes();
    let port = seed.pick(10_000..30_000) as u16;
    SocketAddr::from(([127, a, b, c.clamp(2, 254)], port))
}

/// A process that cannot open anything more, until this is dropped.
struct Descriptors {
    process: Pid,
    before: Rlimit,
}

impl Descriptors {
    fn none_left(pid: u32) -> Result<Self> {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
        let open: BTreeSet<u64> = open
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // The lowest free number is the next that is given out.
        let free = (0..).find(|number| !open.contains(number)).unwrap_or(0);
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.context("not a process id")?;
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let before = open_files(&limits).context("no limit of open files")?;
        let limit = Rlimit {
            current: Some(free),
            ..before
        };
        prlimit(Some(process), Resource::Nofile, limit)?;
        Ok(Self { process, before })
    }
}

/// `Max open files  1024  4096  files` of `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<Rlimit> {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    let mut words = line.split_ascii_whitespace().skip(3);
    let mut limit = || words.next().map(|word| word.parse().ok());
    Some(Rlimit {
        current: limit()?,
        maximum: limit()?,
    })
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // Fails only if the process is gone.
        let _ = prlimit(Some(self.process), Resource::Nofile, self.before);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text = "Limit  Soft Limit  Hard Limit  Units\n\
                    Max processes  7  8  processes\n\
                    Max open files            1024                 unlimited            files\n";
        let limit = open_files(text).unwrap();
        assert_eq!((limit.current, limit.maximum), (Some(1024), None));
        assert!(open_files("").is_none());
    }
}
