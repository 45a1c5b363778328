//! Traffic in which nothing fails, of every kind that looks a little like failure: any case about it
//! is a false alarm. And input that is hostile, which must neither stop the tracer nor make it lie.

mod tls;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::plan::{Place, Way};
use super::seed::Seed;
use super::world::{KEEP_MS, World};
use crate::lab::client::{Client, Reply, ReplyEnd, Request};
use crate::lab::proxy::Kind;

/// One kind of traffic.
pub(super) struct Control {
    /// Letters, digits and `_` only: it is part of the request's path.
    pub(super) name: &'static str,
    pub(super) kinds: &'static [Kind],
    /// Is a case no false alarm, because what the backend sends is no valid response?
    pub(super) hostile: bool,
    run: fn(&Site<'_>) -> Result<()>,
}

const ALL: &[Kind] = &Kind::ALL;
/// NGINX before 1.29 takes an interim response for the final one.
const INTERIM: &[Kind] = &[Kind::Haproxy, Kind::Envoy, Kind::Apache];
/// Those with health checks of their own.
const CHECKING: &[Kind] = &[Kind::Haproxy, Kind::Envoy];
/// Those that load their configuration again while they run in the foreground.
const RELOADING: &[Kind] = &[Kind::Nginx, Kind::Apache];

/// All of them. `reload` and `crowd` come last, since they touch the whole proxy.
pub(super) static CONTROLS: &[Control] = &[
    control("steady", ALL, steady),
    control("fresh", ALL, fresh),
    control("bodiless", ALL, bodiless),
    control("delimited", ALL, delimited),
    control("interim", INTERIM, interim),
    control("slow", ALL, slow),
    control("longpoll", ALL, long_poll),
    control("pipelined", ALL, pipelined),
    control("backendtrims", ALL, backend_trims),
    control("proxytrims", ALL, proxy_trims),
    control("checked", CHECKING, checked),
    control("clientleaves", ALL, client_leaves),
    control("websocket", ALL, web_socket),
    control("tlskept", ALL, tls::kept),
    control("tlsfresh", ALL, tls::fresh),
    control("tlstrims", ALL, tls::backend_trims),
    control("backendstops", ALL, backend_stops),
    hostile("nulbytes", nul_bytes),
    hostile("manyheaders", many_headers),
    hostile("trickle", trickle),
    control("crowd", ALL, crowd),
    control("reload", RELOADING, reload),
];

const fn control(
    name: &'static str,
    kinds: &'static [Kind],
    run: fn(&Site<'_>) -> Result<()>,
) -> Control {
    Control {
        name,
        kinds,
        hostile: false,
        run,
    }
}

const fn hostile(name: &'static str, run: fn(&Site<'_>) -> Result<()>) -> Control {
    Control {
        name,
        kinds: ALL,
        hostile: true,
        run,
    }
}

/// The first letters of the last segment of a path: `C-steady-17`.
pub(super) fn prefix(name: &str) -> String {
    format!("C-{name}-")
}

/// Where a control runs, and how much of it.
pub(super) struct Site<'w> {
    pub(super) world: &'w World,
    pub(super) kind: Kind,
    /// Of about how many exchanges the steady traffic with one proxy consists.
    pub(super) size: u64,
    pub(super) seed: Seed,
    pub(super) told: &'w (dyn Fn() -> bool + Sync),
    name: &'static str,
    exchanges: AtomicU64,
}

impl Control {
    /// Runs it with one proxy. Gives the number of exchanges, also if it did not get on.
    pub(super) fn run<'w>(
        &self,
        world: &'w World,
        kind: Kind,
        size: u64,
        seed: Seed,
        told: &'w (dyn Fn() -> bool + Sync),
    ) -> (u64, Result<()>) {
        let site = Site {
            world,
            kind,
            size,
            seed,
            told,
            name: self.name,
            exchanges: AtomicU64::new(0),
        };
        let result = (self.run)(&site);
        (site.exchanges.into_inner(), result)
    }
}

impl Site<'_> {
    /// `/slow/C-longpoll-12?ms=100` of `slow?ms=100`.
    fn target(&self, fault: &str) -> String {
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed);
        let (fault, query) = fault.split_once('?').unwrap_or((fault, ""));
        format!("/{fault}/{}{number}?{query}", prefix(self.name))
    }

    fn client(&self, way: Way) -> Result<Client> {
        Client::connect(self.world.take(self.kind, way).front()?)
    }

    /// A share of the size, at least one.
    fn share(&self, of: u64) -> u64 {
        (self.size / of).max(1)
    }

    fn counted(&self, range: u64) -> impl Iterator<Item = u64> {
        (0..range).take_while(|_| !(self.told)())
    }

    /// Sends a request that must go well; connects again if the proxy has ended the connection.
    fn well(
        &self,
        client: &mut Client,
        way: Way,
        request: &Request<'_>,
        status: u16,
    ) -> Result<Reply> {
        let reply = client.send(request)?;
        ensure!(
            reply.status == Some(status) && reply.complete,
            "{} {} with {}: {reply:?}",
            request.method,
            request.target,
            self.kind.name()
        );
        let close = reply
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if reply.end != ReplyEnd::Open || close {
            *client = self.client(way)?;
        }
        Ok(reply)
    }

    fn get(&self, client: &mut Client, way: Way, fault: &str, status: u16) -> Result<()> {
        let target = self.target(fault);
        self.well(client, way, &Request::get(&target), status)?;
        Ok(())
    }
}

/// Several clients that ask again and again over kept connections.
fn steady(site: &Site<'_>) -> Result<()> {
    const CLIENTS: u64 = 3;
    std::thread::scope(|scope| {
        let client = |number: u64| -> Result<()> {
            site.world.enter()?;
            let mut seed = site.seed.split(number);
            let mut client = site.client(Way::Kept)?;
            for _ in site.counted(site.size / CLIENTS) {
                match seed.pick(0..20) {
                    0 => site.get(&mut client, Way::Kept, "ok?bytes=70000", 200)?,
                    1 => site.get(&mut client, Way::Kept, "404", 404)?,
                    2 => site.get(&mut client, Way::Kept, "chunked-ok", 200)?,
                    3 => {
                        let target = site.target("ok");
                        let body = vec![b'a'; seed.pick(1..30_000) as usize];
                        let request = Request::post(&target, &body);
                        site.well(&mut client, Way::Kept, &request, 200)?;
                    }
                    _ => site.get(&mut client, Way::Kept, "ok", 200)?,
                }
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        for client in clients {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })
}

/// A client and a backend connection for each request.
fn fresh(site: &Site<'_>) -> Result<()> {
    for _ in site.counted(site.share(20)) {
        let mut client = site.client(Way::Unkept)?;
        site.get(&mut client, Way::Unkept, "ok", 200)?;
    }
    Ok(())
}

/// Responses without a body, whatever their head says.
fn bodiless(site: &Site<'_>) -> Result<()> {
    let mut client = site.client(Way::Kept)?;
    for _ in site.counted(site.share(40)) {
        site.get(&mut client, Way::Kept, "204", 204)?;
        site.get(&mut client, Way::Kept, "304", 304)?;
        let target = site.target("ok?bytes=5000");
        let head = Request {
            method: "HEAD",
            ..Request::get(&target)
        };
        site.well(&mut client, Way::Kept, &head, 200)?;
    }
    Ok(())
}

/// Bodies that end with the connection, also of HTTP/1.0.
fn delimited(site: &Site<'_>) -> Result<()> {
    for _ in site.counted(site.share(60)) {
        for way in [Way::Kept, Way::Unkept] {
            let mut client = site.client(way)?;
            site.get(&mut client, way, "cl-delimited", 200)?;
        }
        if site.kind == Kind::Envoy {
            // It refuses HTTP/1.0 unless told otherwise.
            continue;
        }
        let mut client = site.client(Way::Kept)?;
        let target = site.target("cl-delimited");
        client.write_raw(format!("GET {target} HTTP/1.0\r\nHost: lab.test\r\n\r\n").as_bytes())?;
        let reply = client.read(false);
        ensure!(reply.status == Some(200), "{target}: {reply:?}");
    }
    Ok(())
}

/// Interim responses in front of the final one.
fn interim(site: &Site<'_>) -> Result<()> {
    let mut client = site.client(Way::Kept)?;
    for _ in site.counted(site.share(100)) {
        site.get(&mut client, Way::Kept, "103-hints", 200)?;
        site.get(&mut client, Way::Kept, "100-continue", 200)?;
    }
    Ok(())
}

/// Responses that take their time, in the head or in the body.
fn slow(site: &Site<'_>) -> Result<()> {
    let mut client = site.client(Way::Kept)?;
    for _ in site.counted(site.share(500)) {
        site.get(&mut client, Way::Kept, "slow?ms=120", 200)?;
        site.get(&mut client, Way::Kept, "drip?pause=100", 200)?;
    }
    Ok(())
}

/// A response that comes shortly before the proxy's patience ends.
fn long_poll(site: &Site<'_>) -> Result<()> {
    let mut client = site.client(Way::Kept)?;
    for _ in site.counted(site.share(5000)) {
        site.get(&mut client, Way::Kept, "slow?ms=1500", 200)?;
    }
    Ok(())
}

/// Several requests in one write.
fn pipelined(site: &Site<'_>) -> Result<()> {
    const AHEAD: usize = 5;
    for _ in site.counted(site.share(100)) {
        let mut client = site.client(Way::Kept)?;
        let requests = (0..AHEAD).flat_map(|_| Request::get(&site.target("204")).to_bytes());
        client.write_raw(&requests.collect::<Vec<_>>())?;
        let mut seen = 0;
        let deadline = Instant::now() + Duration::from_secs(5);
        while seen < AHEAD && Instant::now() < deadline {
            // Without bodies the number of heads is the number of replies.
            seen += client.read_some()?.matches("HTTP/1.1 204").count();
        }
        ensure!(
            seen == AHEAD,
            "{seen} of {AHEAD} replies from {}",
            site.kind.name()
        );
    }
    Ok(())
}

/// The backend closes idle connections while nobody uses them.
fn backend_trims(site: &Site<'_>) -> Result<()> {
    let lane = site.world.take(site.kind, Way::Pooled);
    for _ in site.counted(site.share(300)) {
        let mut client = Client::connect(lane.front()?)?;
        for fault in ["ok", "ok", "close-after?ms=15"] {
            let target = site.target(fault);
            let reply = client.send(&Request::get(&target))?;
            ensure!(reply.status == Some(200), "{target}: {reply:?}");
        }
        sleep(Duration::from_millis(50));
        let target = site.target("ok");
        let reply = client.send(&Request::get(&target))?;
        ensure!(reply.status == Some(200), "{target}: {reply:?}");
        lane.backend().close_idle();
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The proxy closes idle connections. It may do so just when the next request comes; then it must
/// take another one, and nothing fails.
fn proxy_trims(site: &Site<'_>) -> Result<()> {
    let mut client = site.client(Way::KeptShortly)?;
    let mut seed = site.seed.clone();
    for _ in site.counted(site.share(800)) {
        site.get(&mut client, Way::KeptShortly, "ok", 200)?;
        sleep(Duration::from_millis(seed.pick(0..2 * KEEP_MS)));
    }
    Ok(())
}

/// Health checks beside requests.
fn checked(site: &Site<'_>) -> Result<()> {
    let mut client = site.client(Way::Checked)?;
    for _ in site.counted(site.share(400)) {
        site.get(&mut client, Way::Checked, "ok", 200)?;
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Clients that go before, during and after their response. Their cases are asked for with
/// `--status 499`, and here nobody asks.
fn client_leaves(site: &Site<'_>) -> Result<()> {
    let mut seed = site.seed.clone();
    for _ in site.counted(site.share(150)) {
        let mut client = site.client(Way::Unkept)?;
        let target = match seed.pick(0..3) {
            0 => site.target("slow?ms=60"),
            1 => site.target("drip?pause=60"),
            _ => site.target("ok?bytes=900000"),
        };
        client.write(&Request::get(&target))?;
        sleep(Duration::from_millis(seed.pick(0..50)));
        if seed.pick(0..2) == 0 {
            client.abort();
        }
        // One that is idle, and one that never said a word.
        let mut idle = site.client(Way::Kept)?;
        site.get(&mut idle, Way::Kept, "ok", 200)?;
        idle.abort();
        drop(site.client(Way::Kept)?);
    }
    Ok(())
}

/// WebSockets, ended by either side.
fn web_socket(site: &Site<'_>) -> Result<()> {
    for round in site.counted(site.share(1000).max(2)) {
        let mut client = site.client(Way::Upgrade)?;
        let target = match round % 2 {
            0 => site.target("ws"),
            _ => site.target("ws?ms=60"),
        };
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: lab.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        client.write_raw(request.as_bytes())?;
        let head = client.read_some()?;
        ensure!(
            head.contains(" 101 "),
            "{target} with {}: {head}",
            site.kind.name()
        );
        for _ in 0..3 {
            client.write_raw(b"\x81\x85\0\0\0\0hello")?;
            let echo = client.read_some()?;
            ensure!(echo.contains("hello"), "{target}: no echo");
        }
        if round % 2 == 1 {
            client.wait_end(Duration::from_secs(3));
        }
    }
    Ok(())
}

/// The process of the backend ends when nothing is under way, and a new one takes its place.
fn backend_stops(site: &Site<'_>) -> Result<()> {
    for _ in site.counted(site.share(7000)) {
        let lane = site.world.take(site.kind, Way::Mortal);
        for _ in 0..2 {
            let process = lane.process()?.context("no process")?;
            let mut client = Client::connect(lane.front()?)?;
            let target = site.target("ok");
            let reply = client.send(&Request::get(&target))?;
            ensure!(reply.status == Some(200), "{target}: {reply:?}");
            sleep(Duration::from_millis(100));
            crate::lab::process::send(process, Signal::TERM)?;
            lane.await_end()?;
        }
    }
    Ok(())
}

/// A head with NUL bytes.
fn nul_bytes(site: &Site<'_>) -> Result<()> {
    for _ in site.counted(site.share(1000)) {
        let mut client = site.client(Way::Unkept)?;
        client.write(&Request::get(&site.target("nul")))?;
        client.read(false);
    }
    Ok(())
}

/// A head of a million lines.
fn many_headers(site: &Site<'_>) -> Result<()> {
    // Apache's time grows with the square of the number.
    let fault = match site.kind {
        Kind::Apache => "many-headers?lines=100000",
        Kind::Nginx | Kind::Haproxy | Kind::Envoy => "many-headers",
    };
    let mut client = site.client(Way::Unkept)?;
    client.write(&Request::get(&site.target(fault)))?;
    client.read(false);
    Ok(())
}

/// A body of half a byte a second; the client gives up.
fn trickle(site: &Site<'_>) -> Result<()> {
    let mut client = site.client(Way::Unkept)?;
    client.write(&Request::get(&site.target("trickle")))?;
    client.wait_end(Duration::from_millis(3500));
    Ok(())
}

/// Many connections that never speak, and requests beside them.
fn crowd(site: &Site<'_>) -> Result<()> {
    let most = match site.kind {
        // With two processes of 25 threads it takes no more.
        Kind::Apache => 60,
        Kind::Nginx | Kind::Haproxy | Kind::Envoy => 2500,
    };
    let silent: Vec<Client> = site
        .counted(site.share(8).min(most))
        .map_while(|_| site.client(Way::Kept).ok())
        .collect();
    let mut client = site.client(Way::Kept)?;
    for _ in 0..20 {
        site.get(&mut client, Way::Kept, "ok", 200)?;
    }
    drop(silent);
    Ok(())
}

/// The proxy loads its configuration again under load, gracefully.
fn reload(site: &Site<'_>) -> Result<()> {
    let proxy = site.world.proxy(site.kind, Place::Main)?;
    let signal = match site.kind {
        Kind::Apache => Signal::USR1,
        Kind::Nginx | Kind::Haproxy | Kind::Envoy => Signal::HUP,
    };
    for _ in site.counted(2) {
        std::thread::scope(|scope| {
            let load = scope.spawn(|| -> Result<()> {
                site.world.enter()?;
                for _ in 0..site.share(150) {
                    let mut client = site.client(Way::Kept)?;
                    site.get(&mut client, Way::Kept, "slow?ms=2", 200)?;
                }
                Ok(())
            });
            sleep(Duration::from_millis(30));
            proxy.signal(signal)?;
            load.join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?
        })?;
        sleep(Duration::from_millis(300));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_can_stand_in_paths_and_differ() {
        let names: BTreeSet<_> = CONTROLS.iter().map(|control| control.name).collect();
        assert_eq!(names.len(), CONTROLS.len());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        }
    }
}
