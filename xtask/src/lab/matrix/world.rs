//! The network of the lab: proxies and clients in one namespace, backends in another, and a router
//! between them that can lose, refuse and reset what it forwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use super::plan::Way;
use crate::lab::backend::Backend;
use crate::lab::netns::Namespace;
use crate::lab::proxy::{Kind, Lane, Options, Proxy};

/// The proxies' side: 198.18.0.0/15 is for benchmarks (RFC 2544), so nothing real is there.
const PROXY_NET: &str = "198.18.1";
/// The backends' side.
const BACKEND_NET: &str = "198.18.2";
/// Backends that answer.
const BACKEND: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 1);
/// The port of the backend that all share.
const SHARED_PORT: u16 = 8000;
/// First port of those that one trial has for itself.
const OWN_PORTS: u16 = 8100;
/// A port where nothing listens.
const NOBODY_PORT: u16 = 7999;

/// Time that proxies get to connect, ms: long enough for a second SYN.
const CONNECT_MS: u64 = 1500;
/// Time that proxies give a response, ms: long enough for three retransmissions.
const RESPONSE_MS: u64 = 2000;

/// The router's filter. Elements are `address . port` of the proxy's end of a connection.
const FILTER: &str = "\
table inet lab {
  set lost_fin { type ipv4_addr . inet_service; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip daddr . tcp dport @lost_fin tcp flags & (fin | rst) == fin drop
  }
}
";

/// What the router does to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trick {
    /// Loses the FINs of the backend.
    LostFin,
}

impl Trick {
    const fn set(self) -> &'static str {
        match self {
            Self::LostFin => "lost_fin",
        }
    }
}

/// Everything that runs. The proxies go first when dropped, the namespaces last.
pub(super) struct World {
    proxies: BTreeMap<Kind, Proxy>,
    /// By kind of proxy and name of the lane.
    own: BTreeMap<(Kind, String), Backend>,
    shared: Backend,
    busy: Mutex<BTreeSet<(Kind, String)>>,
    freed: Condvar,
    router: Namespace,
    _backends: Namespace,
    near: Namespace,
}

impl World {
    /// Starts these proxies, their files below `directory`.
    pub(super) fn start(kinds: &[Kind], directory: &Path) -> Result<Self> {
        let near = Namespace::new("proxies")?;
        let router = Namespace::new("router")?;
        let backends = Namespace::new("backends")?;
        connect(&near, &router, &backends)?;
        router.nft(FILTER)?;

        let bind = |port: u16| {
            let addr = SocketAddr::from((BACKEND, port));
            backends.run(move || Backend::bind(addr))
        };
        let shared = bind(SHARED_PORT)?;
        let mut own = BTreeMap::new();
        let mut lanes: BTreeMap<Kind, Vec<Lane>> = BTreeMap::new();
        let mut port = OWN_PORTS;
        for &kind in kinds {
            for way in Way::ALL {
                for copy in 0..way.copies() {
                    let name = way.lane(copy);
                    let to = match way {
                        Way::Refused => SocketAddr::from((BACKEND, NOBODY_PORT)),
                        _ if way.exclusive() => {
                            port += 1;
                            let backend = bind(port)?;
                            let addr = backend.addr();
                            own.insert((kind, name.clone()), backend);
                            addr
                        }
                        _ => shared.addr(),
                    };
                    lanes.entry(kind).or_default().push(Lane {
                        name,
                        to,
                        pooled: way == Way::Pooled,
                        connect_ms: CONNECT_MS,
                        response_ms: RESPONSE_MS,
                    });
                }
            }
        }
        let mut proxies = BTreeMap::new();
        for (kind, lanes) in lanes {
            let directory = directory.to_path_buf();
            let options = Options {
                workers: 2,
                connect_ms: CONNECT_MS,
                response_ms: RESPONSE_MS,
            };
            let proxy = near.run(move || Proxy::start_lanes(kind, lanes, options, &directory))?;
            proxies.insert(kind, proxy);
        }
        Ok(Self {
            proxies,
            own,
            shared,
            busy: Mutex::default(),
            freed: Condvar::new(),
            router,
            _backends: backends,
            near,
        })
    }

    /// Moves the calling thread to where the clients are.
    pub(super) fn enter(&self) -> Result<()> {
        self.near.enter()
    }

    /// That proxy.
    pub(super) fn proxy(&self, kind: Kind) -> Result<&Proxy> {
        let proxy = self.proxies.get(&kind);
        proxy.with_context(|| format!("{} does not run", kind.name()))
    }

    /// All proxies.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.values()
    }

    /// Takes a way through a proxy, waiting for one that is free if it is not shared.
    pub(super) fn take(&self, kind: Kind, way: Way) -> Taken<'_> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let lanes = (0..way.copies()).map(|copy| (kind, way.lane(copy)));
            let free = lanes.into_iter().find(|lane| !busy.contains(lane));
            if let Some((kind, lane)) = free {
                if way.exclusive() {
                    busy.insert((kind, lane.clone()));
                }
                return Taken {
                    world: self,
                    kind,
                    lane,
                };
            }
            busy = self
                .freed
                .wait(busy)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Plays a trick on the connection whose end at the proxy is `peer`, until the guard is dropped.
    pub(super) fn play(&self, trick: Trick, peer: SocketAddr) -> Result<Played<'_>> {
        let element = format!(
            "element inet lab {} {{ {} . {} }}\n",
            trick.set(),
            peer.ip(),
            peer.port()
        );
        self.router.nft(&format!("add {element}"))?;
        Ok(Played {
            router: &self.router,
            element,
        })
    }
}

/// A trick that is on.
pub(super) struct Played<'w> {
    router: &'w Namespace,
    element: String,
}

impl Drop for Played<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.router.nft(&format!("delete {}", self.element)) {
            eprintln!("lab: a trick of the router stays on: {error:#}");
        }
    }
}

/// A way through a proxy that is ours until this is dropped.
pub(super) struct Taken<'w> {
    world: &'w World,
    kind: Kind,
    lane: String,
}

impl Taken<'_> {
    /// Where the proxy listens.
    pub(super) fn front(&self) -> Result<SocketAddr> {
        let front = self.world.proxy(self.kind)?.lane(&self.lane);
        front.with_context(|| format!("no lane {}", self.lane))
    }

    /// The backend behind it.
    pub(super) fn backend(&self) -> &Backend {
        let key = (self.kind, self.lane.clone());
        self.world.own.get(&key).unwrap_or(&self.world.shared)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut busy = (self.world.busy.lock()).unwrap_or_else(PoisonError::into_inner);
        busy.remove(&(self.kind, self.lane.clone()));
        drop(busy);
        self.world.freed.notify_all();
    }
}

fn connect(near: &Namespace, router: &Namespace, backends: &Namespace) -> Result<()> {
    router.ip(&format!(
        "link add near0 type veth peer name up0 netns {near}\n\
         link add far0 type veth peer name up0 netns {far}\n\
         addr add {PROXY_NET}.254/24 dev near0\n\
         addr add {BACKEND_NET}.254/24 dev far0\n\
         link set near0 up\nlink set far0 up\n",
        near = near.path(),
        far = backends.path(),
    ))?;
    router.sysctl("ipv4/ip_forward", "1")?;
    for (namespace, net) in [(near, PROXY_NET), (backends, BACKEND_NET)] {
        namespace.ip(&format!(
            "addr add {net}.1/24 dev up0\nlink set up0 up\nroute add default via {net}.254\n"
        ))?;
    }
    Ok(())
}
