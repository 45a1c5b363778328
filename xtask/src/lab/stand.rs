//! One proxy with everything behind it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::backend::Backend;
use super::client::{Client, Reply, Request};
use super::log::RequestLog;
use super::net::{self, BlackHole, Filter, RefusedPort};
use super::process::wait_for;
use super::proxy::{Kind, Options, Proxy, Route, Upstreams};

/// Time for connections to settle.
const PATIENCE: Duration = Duration::from_secs(3);

/// The addresses that routes lead to.
pub struct Behind {
    /// Fails as told.
    pub main: Backend,
    /// Where retries go.
    pub second: Backend,
    /// Refuses.
    pub refused: RefusedPort,
    /// Makes the black hole one. Without it, its address refuses.
    _black_hole: Option<BlackHole>,
}

impl Behind {
    /// Starts both backends and sets up the two bad addresses. Needs root and `nft`.
    pub fn start() -> Result<Self> {
        Ok(Self {
            _black_hole: Some(BlackHole::new()?),
            ..Self::without_filter()?
        })
    }

    /// The same without the black hole: leaves the packet filter alone.
    pub fn without_filter() -> Result<Self> {
        Ok(Self {
            main: Backend::start()?,
            second: Backend::start_good()?,
            refused: RefusedPort::new()?,
            _black_hole: None,
        })
    }

    /// Their addresses.
    pub fn upstreams(&self) -> Upstreams {
        Upstreams {
            main: self.main.addr(),
            second: self.second.addr(),
            refused: self.refused.addr(),
            black_hole: net::BLACK_HOLE,
        }
    }
}

/// A proxy and what is behind it. The proxy goes first when dropped.
pub struct Stand {
    /// The proxy.
    pub proxy: Proxy,
    /// Its backends.
    pub behind: Behind,
}

/// What a request met, and where the client's end was.
#[derive(Clone, Debug)]
pub struct Met {
    /// What came back.
    pub reply: Reply,
    /// The client's address.
    pub client: std::net::SocketAddr,
}

impl Stand {
    /// Starts everything.
    pub fn start(kind: Kind, options: Options) -> Result<Self> {
        Self::with(kind, options, Behind::start()?)
    }

    /// Starts a proxy in front of that.
    pub fn with(kind: Kind, options: Options, behind: Behind) -> Result<Self> {
        let proxy = Proxy::start(kind, behind.upstreams(), options)?;
        Ok(Self { proxy, behind })
    }

    /// Sends one request on a connection of its own.
    pub fn ask(&self, route: Route, request: &Request<'_>) -> Result<Met> {
        let mut client = Client::connect(self.proxy.front(route))?;
        let reply = client.send(request)?;
        Ok(Met {
            reply,
            client: client.local(),
        })
    }

    /// Makes the proxy reuse a connection that the backend has just closed: the FIN is lost on its
    /// way, so the proxy cannot know, and the request is answered with a reset.
    ///
    /// `warm_up` opens the upstream connection and is on the same client connection, because some
    /// proxies reuse a connection only for a client that has been heard before.
    pub fn race_lost_fin(
        &self,
        route: Route,
        warm_up: &Request<'_>,
        request: &Request<'_>,
    ) -> Result<Met> {
        let mut client = Client::connect(self.proxy.front(route))?;
        let warm = client.send(warm_up)?;
        anyhow::ensure!(warm.complete, "the warm-up failed: {warm:?}");
        self.race_lost_fin_on(client, request)
    }

    /// The same with a client connection that is at hand.
    pub fn race_lost_fin_on(&self, mut client: Client, request: &Request<'_>) -> Result<Met> {
        let lost = Filter::lose_fins_from(self.behind.main.addr())?;
        self.behind.main.close_idle();
        let reply = client.send(request)?;
        drop(lost);
        Ok(Met {
            reply,
            client: client.local(),
        })
    }

    /// The same race with nothing lost: the proxy's workers stand still while the request arrives
    /// and the backend then closes, and they find both when they go on, the request first.
    pub fn race_paused(
        &self,
        route: Route,
        warm_up: &Request<'_>,
        request: &Request<'_>,
    ) -> Result<Met> {
        self.race_paused_after(Duration::ZERO, route, warm_up, request)
    }

    /// The same after the connection was idle for that long.
    pub fn race_paused_after(
        &self,
        idle: Duration,
        route: Route,
        warm_up: &Request<'_>,
        request: &Request<'_>,
    ) -> Result<Met> {
        let mut client = Client::connect(self.proxy.front(route))?;
        let warm = client.send(warm_up)?;
        anyhow::ensure!(warm.complete, "the warm-up failed: {warm:?}");
        std::thread::sleep(idle);
        let paused = self.proxy.pause()?;
        client.write(request)?;
        std::thread::sleep(Duration::from_millis(20));
        self.behind.main.close_idle();
        drop(paused);
        Ok(Met {
            reply: client.read(request.method == "HEAD"),
            client: client.local(),
        })
    }

    /// Ends all kept connections to the main backend and waits until the proxy has closed its ends
    /// too, so that the next request begins a connection of its own.
    pub fn drain(&self) -> Result<()> {
        const ESTABLISHED: &str = "01";
        const CLOSE_WAIT: &str = "08";
        let open: &[&str] = match self.proxy.kind() {
            // Looks at a kept connection only when it is about to use it.
            Kind::Apache => &[ESTABLISHED],
            Kind::Nginx | Kind::Haproxy | Kind::Envoy => &[ESTABLISHED, CLOSE_WAIT],
        };
        self.behind.main.close_idle();
        let port = self.behind.main.addr().port();
        wait_for(PATIENCE, || Ok((!connected_to(port, open)?).then_some(())))?
            .context("the proxy keeps a connection to the backend open")
    }

    /// The proxy's own lines about a request.
    pub fn log_of(&self, path: &str, met: &Met) -> Result<RequestLog> {
        // No line at all is an answer too (the silent drop), so do not wait long for one.
        self.proxy
            .log_of(path, met.client, Duration::from_millis(500))
    }
}

/// Is there a TCP connection to that port of this host in one of these states (hexadecimal)?
fn connected_to(port: u16, states: &[&str]) -> Result<bool> {
    let table = std::fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
    let port = format!(":{port:04X}");
    Ok(table.lines().skip(1).any(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        words.get(2).is_some_and(|remote| remote.ends_with(&port))
            && words.get(3).is_some_and(|state| states.contains(state))
    }))
}
