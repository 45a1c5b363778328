//! The network of the lab: proxies and clients in one namespace, backends in another, and a router
//! between them that can lose, refuse and reset what it forwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

use super::BACKEND_COMMAND;
use super::door::{self, Behind, DOORS, Keys};
use super::plan::{Place, Way};
use crate::lab::backend::Backend;
use crate::lab::client::{Client, Request};
use crate::lab::dns::UnknownNames;
use crate::lab::netns::Namespace;
use crate::lab::process::{Running, bound, wait_for};
use crate::lab::proxy::{Kind, Lane, Logs, Options, Proxy, Speak, Special};

/// The proxies' side: 198.18.0.0/15 is for benchmarks (RFC 2544), so nothing real is there.
const PROXY_NET: &str = "198.18.1";
/// The backends' side.
const BACKEND_NET: &str = "198.18.2";
/// The side of the proxies that have few ports.
const NARROW_NET: &str = "198.18.3";
/// Their ports for connections to a backend, first and last.
pub(super) const NARROW_PORTS: (u16, u16) = (40_000, 40_007);
/// Backends that answer, over a path without tricks.
const BACKEND: u8 = 1;
/// SYNs to it vanish.
const BLACK_HOLE: u8 = 2;
/// The router says that it cannot be reached.
const UNREACHABLE: u8 = 3;
/// Large packets to it vanish.
const MTU_REQUEST: u8 = 5;
/// Large packets from it vanish.
const MTU_RESPONSE: u8 = 6;
/// Large packets to it and from it are refused with a word.
const MTU_TOLD: u8 = 7;
/// Most packets with a request are lost.
const LOSSY_REQUEST: u8 = 8;
/// Most packets with a response are lost.
const LOSSY_RESPONSE: u8 = 10;
/// Requests are answered with a reset.
const RESET: u8 = 9;
/// The last of them.
const LAST: u8 = 10;
/// Nobody in the proxies' own network.
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 99);
/// The port of the backend that all share.
const SHARED_PORT: u16 = 8000;
/// The backend of the traffic in which nothing fails.
const HEALTHY_PORT: u16 = 8002;
/// A listener whose queue is full.
const QUEUE_PORT: u16 = 8001;
/// First port of those that one trial has for itself.
const OWN_PORTS: u16 = 8100;
/// The name server.
pub(super) const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 2, BACKEND));
/// The port of name servers.
const DNS_PORT: u16 = 53;
/// A port where nothing listens, nor on the one before it.
const REFUSED_PORT: u16 = 7999;

/// Time that proxies get to connect, ms: long enough for a second SYN.
const CONNECT_MS: u64 = 1500;
/// Time that proxies give a response, ms: long enough for three retransmissions.
const RESPONSE_MS: u64 = 2000;
/// Time for which a proxy keeps a connection where it does so shortly, ms.
pub(super) const KEEP_MS: u64 = 150;
/// Time that proxies let a request wait for a connection, ms.
const QUEUE_MS: u64 = 300;
/// Size of the largest packet that a narrow path takes, bytes.
const NARROW_MTU: u32 = 1200;

/// The router's filter. Elements are `address . port` of the proxy's end of a connection. `refused`
/// and `lost` are asked for packets of a connection that stands.
fn filter() -> String {
    format!(
        "\
table inet lab {{
  set lost_fin {{ type ipv4_addr . inet_service; }}
  set lost {{ type ipv4_addr . inet_service; }}
  set refused {{ type ipv4_addr . inet_service; }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    ip daddr . tcp dport @lost_fin tcp flags & (fin | rst) == fin drop
    ip saddr . tcp sport @lost drop
    ip daddr . tcp dport @lost drop
    ip saddr . tcp sport @refused reject with tcp reset
    ip daddr {BACKEND_NET}.{BLACK_HOLE} drop
    ip daddr {BACKEND_NET}.{UNREACHABLE} reject with icmp type host-unreachable
    ip daddr {BACKEND_NET}.{LOSSY_REQUEST} tcp flags & (syn | rst) == 0 numgen random mod 100 < 95 drop
    ip saddr {BACKEND_NET}.{LOSSY_RESPONSE} tcp flags & (syn | rst) == 0 numgen random mod 100 < 95 drop
    ip daddr {BACKEND_NET}.{RESET} tcp flags & (syn | fin | rst) == 0 meta length > 100 reject with tcp reset
  }}
  chain output {{
    type filter hook output priority 0; policy accept;
    ip daddr {{ {PROXY_NET}.{MTU_REQUEST}, {BACKEND_NET}.{MTU_RESPONSE} }} icmp type destination-unreachable drop
  }}
}}
"
    )
}

/// What the router does to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trick {
    /// Loses the FINs of the backend.
    LostFin,
    /// Loses everything.
    Lost,
    /// Answers whatever the proxy sends with a reset.
    Reset,
}

impl Trick {
    const fn set(self) -> &'static str {
        match self {
            Self::LostFin => "lost_fin",
            Self::Lost => "lost",
            Self::Reset => "refused",
        }
    }
}

/// Everything that runs. The proxies go first when dropped, the namespaces last.
pub(super) struct World {
    proxies: BTreeMap<(Kind, Place), Proxy>,
    /// By kind of proxy and name of the lane.
    own: BTreeMap<(Kind, String), Backend>,
    mortal: BTreeMap<(Kind, String), Mortal>,
    shared: Backend,
    /// With their addresses.
    _doors: BTreeMap<&'static str, (SocketAddr, Behind)>,
    _healthy: Backend,
    _queue: FullQueue,
    _names: UnknownNames,
    busy: Mutex<BTreeSet<(Kind, String)>>,
    freed: Condvar,
    router: Namespace,
    backends: Namespace,
    near: Namespace,
    narrow: Namespace,
}

impl World {
    /// Starts these proxies, their files below `directory`.
    pub(super) fn start(kinds: &[Kind], directory: &Path) -> Result<Self> {
        let near = Namespace::new("proxies")?;
        let narrow = Namespace::new("narrow")?;
        let router = Namespace::new("router")?;
        let backends = Namespace::new("backends")?;
        connect(&near, &narrow, &router, &backends)?;
        router.nft(&filter())?;

        let keys = Keys::new(directory)?;
        let at = |host: u8, port: u16| SocketAddr::from(([198, 18, 2, host], port));
        let bind = |addr: SocketAddr| backends.run(move || Backend::bind(addr));
        let shared = bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, SHARED_PORT)))?;
        let healthy = SocketAddr::from((Ipv4Addr::UNSPECIFIED, HEALTHY_PORT));
        let healthy = backends.run(move || Backend::bind_forgetful(healthy))?;
        let names = backends.run(move || UnknownNames::start(at(BACKEND, DNS_PORT)))?;
        let queue = backends.run(move || FullQueue::new(at(BACKEND, QUEUE_PORT)))?;
        let mut own = BTreeMap::new();
        let mut mortal = BTreeMap::new();
        let mut lanes: BTreeMap<(Kind, Place), Vec<Lane>> = BTreeMap::new();
        let mut doors: BTreeMap<&'static str, (SocketAddr, Behind)> = BTreeMap::new();
        let mut port = OWN_PORTS;
        for door in DOORS.iter().filter(|door| !door.pooled) {
            port += 1;
            let addr = at(BACKEND, port);
            doors.insert(door.name, (addr, keys.open(door, addr, &backends)?));
        }
        let kinds = kinds.iter().copied();
        for (kind, way) in kinds.flat_map(|kind| Way::all().map(move |way| (kind, way))) {
            for copy in 0..way.copies() {
                let name = way.lane(copy);
                let to = match way {
                    Way::Fresh => at(BACKEND, SHARED_PORT),
                    Way::Pooled | Way::Crowded | Way::Narrow => {
                        port += 1;
                        own.insert((kind, name.clone()), bind(at(BACKEND, port))?);
                        at(BACKEND, port)
                    }
                    Way::Down => at(BACKEND, REFUSED_PORT),
                    Way::Unnamed => at(BACKEND, SHARED_PORT),
                    Way::Mortal => {
                        port += 1;
                        mortal.insert((kind, name.clone()), Mortal::new(at(BACKEND, port)));
                        at(BACKEND, port)
                    }
                    Way::Refused => at(BACKEND, REFUSED_PORT),
                    Way::BlackHole => at(BLACK_HOLE, SHARED_PORT),
                    Way::Unreachable => at(UNREACHABLE, SHARED_PORT),
                    Way::Nobody => SocketAddr::from((NOBODY, SHARED_PORT)),
                    Way::Queue => at(BACKEND, QUEUE_PORT),
                    Way::MtuRequest => at(MTU_REQUEST, SHARED_PORT),
                    Way::MtuResponse => at(MTU_RESPONSE, SHARED_PORT),
                    Way::MtuTold => at(MTU_TOLD, SHARED_PORT),
                    Way::LossyRequest => at(LOSSY_REQUEST, SHARED_PORT),
                    Way::LossyResponse => at(LOSSY_RESPONSE, SHARED_PORT),
                    Way::Reset => at(RESET, SHARED_PORT),
                    Way::Kept | Way::Unkept | Way::KeptShortly | Way::Checked | Way::Upgrade => {
                        at(BACKEND, HEALTHY_PORT)
                    }
                    Way::Door(door) => match (doors.get(door), door::door(door)) {
                        (Some((addr, _)), _) => *addr,
                        (None, Some(door)) => {
                            port += 1;
                            let addr = at(BACKEND, port);
                            if let Behind::Backend(backend) = keys.open(door, addr, &backends)? {
                                own.insert((kind, name.clone()), backend);
                            }
                            addr
                        }
                        (None, None) => bail!("there is no door {door}"),
                    },
                };
                let door = match way {
                    Way::Door(name) => door::door(name),
                    _ => None,
                };
                let pooled = matches!(
                    way,
                    Way::Pooled | Way::Kept | Way::KeptShortly | Way::Checked
                ) || door.is_some_and(|door| door.pooled);
                lanes.entry((kind, way.place())).or_default().push(Lane {
                    name,
                    to,
                    pooled,
                    connect_ms: CONNECT_MS,
                    response_ms: RESPONSE_MS,
                    keep_ms: (way == Way::KeptShortly).then_some(KEEP_MS),
                    checked: way == Way::Checked,
                    upgrade: way == Way::Upgrade,
                    special: match way {
                        Way::Crowded => Special::One { queue_ms: QUEUE_MS },
                        Way::Down => Special::MarkedDown {
                            second: at(BACKEND, REFUSED_PORT - 1),
                        },
                        Way::Unnamed => Special::Named {
                            resolver: at(BACKEND, DNS_PORT),
                        },
                        _ => Special::Nothing,
                    },
                    speak: door.map_or(Speak::Http1, |door| keys.speak(door)),
                });
            }
        }
        let mut proxies = BTreeMap::new();
        for ((kind, place), lanes) in lanes {
            let (namespace, workers) = match place {
                Place::Main => (&near, 2),
                // With one worker it is known which process takes the next request.
                Place::Narrow => (&narrow, 1),
                Place::Aside => (&near, 1),
            };
            let options = Options {
                workers,
                connect_ms: CONNECT_MS,
                response_ms: RESPONSE_MS,
                ..Options::default()
            };
            let directory = directory.to_path_buf();
            let proxy =
                namespace.run(move || Proxy::start_lanes(kind, lanes, options, &directory))?;
            proxies.insert((kind, place), proxy);
        }
        let (first, last) = NARROW_PORTS;
        narrow.sysctl("ipv4/ip_local_port_range", &format!("{first} {last}"))?;
        for process in mortal.values() {
            process.ensure(&backends)?;
        }
        Ok(Self {
            proxies,
            own,
            mortal,
            shared,
            _doors: doors,
            _healthy: healthy,
            _queue: queue,
            _names: names,
            narrow,
            busy: Mutex::default(),
            freed: Condvar::new(),
            router,
            backends,
            near,
        })
    }

    /// Moves the calling thread to where the clients are.
    pub(super) fn enter(&self) -> Result<()> {
        self.near.enter()
    }

    /// Sends a request through every way, whatever becomes of it, so that the tracer has met each
    /// backend before anything is judged: on a real host that is long ago.
    pub(super) fn introduce(&self) -> Result<()> {
        let wide = self.proxies.iter();
        let wide = wide.filter(|((_, place), _)| *place != Place::Narrow);
        let fronts = wide.flat_map(|(_, proxy)| proxy.lane_fronts());
        std::thread::scope(|scope| {
            let clients = fronts.map(|front| {
                scope.spawn(move || {
                    self.enter()?;
                    let mut client = Client::connect(front)?;
                    client.send(&Request::get("/ok/H-introduction"))?;
                    Ok(())
                })
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().try_for_each(|client| {
                client
                    .join()
                    .unwrap_or_else(|_| bail!("a client of the lab panicked"))
            })
        })
    }

    /// Moves the calling thread to where the clients of the proxies with few ports are.
    pub(super) fn enter_narrow(&self) -> Result<()> {
        self.narrow.enter()
    }

    /// That proxy.
    pub(super) fn proxy(&self, kind: Kind, place: Place) -> Result<&Proxy> {
        let proxy = self.proxies.get(&(kind, place));
        proxy.with_context(|| format!("{} does not run", kind.name()))
    }

    /// All proxies.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.values()
    }

    /// What the proxies have logged about trials so far.
    pub(super) fn logs(&self) -> BTreeMap<(Kind, Place), Logs> {
        let read = |proxy: &Proxy| proxy.logs(|line| line.contains("/E"));
        let all = self.proxies.iter();
        all.map(|(key, proxy)| (*key, read(proxy))).collect()
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
        let mine = self.world.proxies.iter();
        let mut mine = mine.filter(|((kind, _), _)| *kind == self.kind);
        let front = mine.find_map(|(_, proxy)| proxy.lane(&self.lane));
        front.with_context(|| format!("no lane {}", self.lane))
    }

    /// The backend behind it, if it is one of this process.
    pub(super) fn backend(&self) -> &Backend {
        let key = (self.kind, self.lane.clone());
        self.world.own.get(&key).unwrap_or(&self.world.shared)
    }

    /// Waits until the process of the backend behind it has ended, if it is one that dies, and
    /// starts it again, as whoever looks after it would.
    pub(super) fn await_end(&self) -> Result<()> {
        let mortal = self.world.mortal.get(&(self.kind, self.lane.clone()));
        let Some(mortal) = mortal else {
            return Ok(());
        };
        mortal.await_end()?;
        mortal.ensure(&self.world.backends)?;
        Ok(())
    }

    /// The process of the backend behind it, if it is one of its own; started if it does not run.
    pub(super) fn process(&self) -> Result<Option<u32>> {
        let mortal = self.world.mortal.get(&(self.kind, self.lane.clone()));
        mortal
            .map(|mortal| mortal.ensure(&self.world.backends))
            .transpose()
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

/// A backend that is a process of its own.
struct Mortal {
    addr: SocketAddr,
    running: Mutex<Option<Running>>,
}

impl Mortal {
    const fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            running: Mutex::new(None),
        }
    }

    /// Its process id; starts it if it does not run.
    fn ensure(&self, backends: &Namespace) -> Result<u32> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = running.as_mut()
            && process.exited()?.is_none()
        {
            return Ok(process.pid());
        }
        let addr = self.addr;
        let process = backends.run(move || {
            let program = std::env::current_exe()?;
            let process = Running::start(
                bound(&program)
                    .args([BACKEND_COMMAND, &addr.to_string()])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null()),
            )?;
            let up = wait_for(Duration::from_secs(5), || {
                Ok(TcpStream::connect(addr).is_ok().then_some(()))
            })?;
            up.context("the backend's process does not listen")?;
            Ok(process)
        })?;
        let pid = process.pid();
        *running = Some(process);
        Ok(pid)
    }
}

impl Mortal {
    fn await_end(&self) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut process) = running.take() {
            process.wait(Duration::from_secs(2))?;
        }
        Ok(())
    }
}

/// A listener that nobody serves and whose queue is full, so that the kernel drops further SYNs.
struct FullQueue {
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl FullQueue {
    fn new(addr: SocketAddr) -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&addr.into())?;
        listener.listen(1)?;
        let patience = Duration::from_millis(200);
        let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&addr, patience).ok());
        let waiting: Vec<_> = waiting.take(16).collect();
        ensure!(waiting.len() < 16, "the queue of a listener does not fill");
        Ok(Self {
            _listener: listener,
            _waiting: waiting,
        })
    }
}

fn connect(
    near: &Namespace,
    narrow: &Namespace,
    router: &Namespace,
    backends: &Namespace,
) -> Result<()> {
    router.ip(&format!(
        "link add near0 type veth peer name up0 netns {near}\n\
         link add narrow0 type veth peer name up0 netns {narrow}\n\
         link add far0 type veth peer name up0 netns {far}\n\
         addr add {PROXY_NET}.254/24 dev near0\n\
         addr add {NARROW_NET}.254/24 dev narrow0\n\
         addr add {BACKEND_NET}.254/24 dev far0\n\
         link set narrow0 up\nlink set near0 up\nlink set far0 up\n",
        near = near.path(),
        narrow = narrow.path(),
        far = backends.path(),
    ))?;
    router.sysctl("ipv4/ip_forward", "1")?;
    // Each packet that cannot go on is answered, not one a second.
    router.sysctl("ipv4/icmp_ratelimit", "0")?;
    // Older kernels have it for the whole host only, where 1000 a second is the rule.
    let _ = router.sysctl("ipv4/icmp_msgs_per_sec", "100000");
    for (namespace, net) in [
        (near, PROXY_NET),
        (narrow, NARROW_NET),
        (backends, BACKEND_NET),
    ] {
        namespace.ip(&format!(
            "addr add {net}.1/24 dev up0\nlink set up0 up\nroute add default via {net}.254\n"
        ))?;
        // What was learnt of a path is forgotten soon, so that it is learnt again; older kernels have
        // this for the whole host only.
        let _ = namespace.sysctl("ipv4/route/mtu_expires", "2");
    }
    // Nobody answers for 198.18.1.99: known after 0.3 s instead of 3.
    near.sysctl("ipv4/neigh/up0/retrans_time_ms", "100")?;
    let others =
        (BACKEND + 1..=LAST).map(|host| format!("addr add {BACKEND_NET}.{host}/24 dev up0\n"));
    backends.ip(&others.collect::<String>())?;
    // Proxies have an address of their own for each narrow path: so both directions of a path have
    // a route of their own at the router, and routes have the limits.
    for host in [MTU_REQUEST, MTU_RESPONSE, MTU_TOLD] {
        near.ip(&format!(
            "addr add {PROXY_NET}.{host}/24 dev up0\n\
             route add {BACKEND_NET}.{host}/32 via {PROXY_NET}.254 src {PROXY_NET}.{host}\n"
        ))?;
        if host != MTU_RESPONSE {
            router.ip(&format!(
                "route add {BACKEND_NET}.{host}/32 dev far0 mtu {NARROW_MTU}\n"
            ))?;
        }
        if host != MTU_REQUEST {
            router.ip(&format!(
                "route add {PROXY_NET}.{host}/32 dev near0 mtu {NARROW_MTU}\n"
            ))?;
        }
    }
    Ok(())
}
