//! The kernel programs, loaded and attached, and the maps behind them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{Iter, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;
use tracer_ebpf::{
    BackendKey, BackendStats, Config, Conn, HEAD_MAX, HEAD_USUAL, Offsets, Role, Tracked,
    TrackedLong, TrackedWith, bucket_of_us, flags,
    load::{
        PROCESS_BACKEND, PROCESS_BATCHES, PROCESS_CONNECTS_AT_ONCE, PROCESS_FILTER_LEN,
        PROCESS_MIGRATES, PROCESS_QUEUES, Standby, process_filter_bit,
    },
    loss,
};

use super::attach::{Attached, Loaded, Programs};
use super::features::sites::Sites;
use super::hooks::{HOOKS, Hook, PAYLOAD, STANDBY};
use super::in_use::{self, InUse};
use super::offsets::{Layout, OffsetsError, offsets};
use super::types::TypeSource;
use crate::event::{BackendSnapshot, HOOK_SKIPPED, HostRole, Losses, MonoNs, ProxyKind, canonical};

/// The object that the build script made; empty if this machine could not build it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer.o"));

/// The program that walks the sockets which are open at the start.
const ITERATOR: &str = "adopt_open";

/// Globals of the programs that change: [`Standby`].
const STANDBY_SECTION: &str = ".bss";

const LOSS_NAMES: [&str; loss::COUNT as usize] = [
    "unused",
    "ring_upstream",
    "ring_downstream",
    "ring_process",
    "conn_table",
    "unused",
    "backend_table",
    "user_read",
    "process_table",
];

/// What the programs are told before they are loaded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of each head to keep; rounded up to a multiple of 8, at most [`HEAD_MAX`].
    pub snaplen: u32,
    /// Report every n-th healthy exchange; 0 none.
    pub sample_every: u32,
    /// Stand by at first: look at payload only after [`Tracer::wake`]. Until then, a sign of a failure is looked
    /// for where processes of this role answer.
    pub standby: Option<HostRole>,
    /// Let the programs log.
    pub verbose: bool,
    /// Statuses to report.
    pub statuses: Vec<u16>,
    /// Size of the ring buffer, bytes; a power of two of at least a page.
    pub ring_bytes: Option<u32>,
    /// Connections that can be tracked at once.
    pub max_connections: Option<u32>,
    /// Where the kernel's types are described.
    pub types: TypeSource,
    /// Is [`Tracer::loaded`] to be asked? Then a program that is refused is refused with few words.
    pub verifier_figures: bool,
}

/// Why the programs could not be started.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The build had no BPF tools.
    #[error("this build has no kernel programs: {0}")]
    NoPrograms(&'static str),
    /// No BTF, or an unknown kernel.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// BTF file not readable.
    #[error("cannot read the kernel's type information ({}): {error}", path.display())]
    Btf {
        /// Path.
        path: std::path::PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel refused the object or its maps.
    #[error("the kernel refused the programs: {0}")]
    Ebpf(#[from] EbpfError),
    /// The kernel refused a program.
    #[error("the kernel refused the program {name}: {error}")]
    Program {
        /// Program.
        name: &'static str,
        /// Why.
        error: ProgramError,
    },
    /// A hook that a capture cannot do without is not there, nor anything in its place.
    #[error("this kernel has no tracepoint {0}, and nothing that can stand in for it")]
    NoHook(&'static str),
    /// A kernel without what standing by needs.
    #[error(
        "this kernel has no tracepoint sock:sock_send_length (Linux 6.3) with types of its own: tracing cannot \
         stand by on it. Leave that out, and everything is traced all the time"
    )]
    NoStandby,
    /// A map is missing or has another type than the programs' source says.
    #[error("map {name}: {error}")]
    Map {
        /// Map.
        name: &'static str,
        /// Why.
        error: MapError,
    },
    /// The object does not hold what this program expects.
    #[error("the kernel programs of this build lack {0}; rebuild with `cargo xtask build`")]
    Missing(&'static str),
}

/// A plain value that the loader may copy into a map or a global.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T: Copy>(T);

// SAFETY: the ABI types are `repr(C)`, hold only integers and byte arrays, and name their padding.
unsafe impl aya::Pod for Plain<Config> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Offsets> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<BackendKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<BackendStats> {}
// SAFETY: as above.
unsafe impl<const ROOM: usize> aya::Pod for Plain<TrackedWith<ROOM>> {}

/// The table of connections.
enum Conns {
    Usual(HashMap<MapData, u64, Plain<Tracked>>),
    Long(HashMap<MapData, u64, Plain<TrackedLong>>),
}

impl Conns {
    const USUAL: &str = "CONNS";
    const LONG: &str = "CONNS_LONG";

    /// The table that is used, and the one that is not, where heads of that length are kept.
    const fn names(snaplen: u32) -> (&'static str, &'static str) {
        if snaplen > HEAD_USUAL as u32 {
            (Self::LONG, Self::USUAL)
        } else {
            (Self::USUAL, Self::LONG)
        }
    }

    fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, LoadError> {
        Ok(if name == Self::LONG {
            Self::Long(take(ebpf, name)?)
        } else {
            Self::Usual(take(ebpf, name)?)
        })
    }

    /// All connections, by the address of their socket, without their heads. One that cannot be read, because
    /// it has just gone, is left out; so is one whose payload may have gone unseen.
    fn iter(&self, epoch: u32) -> Box<dyn Iterator<Item = (u64, Conn)> + '_> {
        Box::new(self.all().filter(move |(_, conn)| conn.epoch == epoch))
    }

    fn all(&self) -> Box<dyn Iterator<Item = (u64, Conn)> + '_> {
        match self {
            Self::Usual(map) => {
                Box::new(map.iter().flatten().map(|(sk, Plain(one))| (sk, one.conn)))
            }
            Self::Long(map) => {
                Box::new(map.iter().flatten().map(|(sk, Plain(one))| (sk, one.conn)))
            }
        }
    }
}

/// The running programs. Dropping it detaches everything: nothing is pinned.
pub struct Tracer {
    ebpf: Ebpf,
    sites: Sites,
    programs: Programs,
    processes: HashMap<MapData, u32, u32>,
    process_filter: Array<MapData, u8>,
    listen_ports: Array<MapData, u64>,
    backend_ports: Array<MapData, u64>,
    adopt_inodes: HashMap<MapData, u64, u32>,
    backends: HashMap<MapData, Plain<BackendKey>, Plain<BackendStats>>,
    conns: Conns,
    losses: PerCpuArray<MapData, u64>,
    standby: Array<MapData, [u32; Standby::LEN]>,
    ring: Option<RingBuf<MapData>>,
    /// Hooks that this kernel does not have.
    refused: Vec<&'static str>,
}

impl Tracer {
    /// Loads the programs; nothing is attached yet.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        raise_memlock_limit();
        if OBJECT.is_empty() {
            return Err(LoadError::NoPrograms(env!("WHY502_BPF_STATE")));
        }
        let types = &settings.types;
        let btf = types.read().map_err(|error| LoadError::Btf {
            path: types.path().to_owned(),
            error,
        })?;
        let typed = types.is_kernels();
        let layout = Layout::read(&btf).map_err(OffsetsError::from)?;
        let offsets = Plain(offsets(&layout, typed)?);
        let sites = Sites::of(layout.types(), typed);
        drop(layout);
        if settings.standby.is_some() && sites.ways(&STANDBY).next().is_none() {
            return Err(LoadError::NoStandby);
        }
        let config = Plain(config(settings));
        let (conns, unused) = Conns::names(config.0.snaplen);
        // Levels of aya-log count up from error; 0 is none.
        let log_level = if settings.verbose {
            aya_log::Level::Debug as u8
        } else {
            0
        };
        // aya asks for the BTF only to relocate; our object has no relocations against the kernel.
        let mut loader = EbpfLoader::new();
        loader
            .btf(None)
            .override_global("OFFSETS", &offsets, true)
            .override_global("CONFIG", &config, true)
            .override_global(aya_log::LEVEL, &log_level, true);
        if settings.verifier_figures {
            loader.verifier_log_level(VerifierLogLevel::STATS);
        }
        if let Some(bytes) = settings.ring_bytes {
            loader.map_max_entries("RECORDS", bytes);
        }
        loader.map_max_entries(unused, 1);
        if let Some(connections) = settings.max_connections {
            for map in [conns, "ADOPT_INODES"] {
                loader.map_max_entries(map, connections);
            }
        }
        let mut ebpf = loader.load(OBJECT)?;
        let mut tracer = Self {
            processes: take(&mut ebpf, "PROCESSES")?,
            process_filter: take(&mut ebpf, "PROCESS_FILTER")?,
            listen_ports: take(&mut ebpf, "LISTEN_PORTS")?,
            backend_ports: take(&mut ebpf, "BACKEND_PORTS")?,
            adopt_inodes: take(&mut ebpf, "ADOPT_INODES")?,
            backends: take(&mut ebpf, "BACKENDS")?,
            conns: Conns::take(&mut ebpf, conns)?,
            losses: take(&mut ebpf, "LOSSES")?,
            standby: take(&mut ebpf, STANDBY_SECTION)?,
            ring: Some(take(&mut ebpf, "RECORDS")?),
            refused: Vec::new(),
            sites,
            programs: Programs::default(),
            ebpf,
        };
        if settings.standby.is_some() {
            // What is attached first is everything.
            tracer.next_epoch(true)?;
        }
        Ok(tracer)
    }

    /// Attaches to the hooks that this kernel has, each in the first way that it takes.
    pub fn attach(&mut self) -> Result<(), LoadError> {
        for hook in HOOKS {
            self.attach_one(hook)?;
        }
        Ok(())
    }

    fn attach_one(&mut self, hook: &'static Hook) -> Result<(), LoadError> {
        let mut refusal = None;
        for (_, sites) in self.sites.ways(hook) {
            match self.programs.attach(&mut self.ebpf, hook, &sites) {
                Ok(()) => return Ok(()),
                // The first way is the one that most is known of.
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        match refusal {
            // A program that is refused as such is a fault of ours, a place that is not one of the
            // kernel's.
            Some(error) if hook.required || !is_of_the_place(&error) => Err(error),
            Some(_) => {
                self.refused.push(hook.name);
                Ok(())
            }
            None if hook.required => Err(LoadError::NoHook(hook.name)),
            // Looking tells, too: `Features::problems`.
            None => Ok(()),
        }
    }

    /// Looks at no payload from now on, but for the first sign of a failure.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn stand_by(&mut self) -> Result<(), LoadError> {
        self.set_standby(Standby::SignSent, |_| 0)?;
        self.have(&STANDBY)?;
        for hook in payload() {
            self.programs.detach(hook);
        }
        self.next_epoch(false)
    }

    /// Looks at everything from when this returns; [`Self::end_standby`] is to follow. What was known of the messages
    /// of connections is forgotten after the last moment in which one could go unseen.
    pub fn wake(&mut self) -> Result<(), LoadError> {
        for hook in payload() {
            self.have(hook)?;
        }
        self.next_epoch(true)
    }

    /// Takes away what looked for the first sign. Apart from [`Self::wake`], because the kernel takes some ten
    /// milliseconds for it.
    pub fn end_standby(&mut self) {
        self.programs.detach(&STANDBY);
    }

    /// Attaches what is not.
    fn have(&mut self, hook: &'static Hook) -> Result<(), LoadError> {
        if self.attached().iter().any(|one| one.hook == hook) {
            return Ok(());
        }
        self.attach_one(hook)
    }

    /// The period of now; see [`Standby::Epoch`].
    fn epoch(&self) -> u32 {
        let places = self.standby.get(&0, 0).unwrap_or_default();
        places[Standby::Epoch as usize]
    }

    /// Begins the next period, in which payload is seen or not.
    fn next_epoch(&mut self, seen: bool) -> Result<(), LoadError> {
        self.set_standby(Standby::Epoch, |epoch| {
            let step = if (epoch & 1 == 0) == seen { 1 } else { 2 };
            epoch.wrapping_add(step)
        })
    }

    fn set_standby(
        &mut self,
        place: Standby,
        value: impl FnOnce(u32) -> u32,
    ) -> Result<(), LoadError> {
        let set = || {
            let mut places = self.standby.get(&0, 0)?;
            places[place as usize] = value(places[place as usize]);
            self.standby.set(0, places, 0)
        };
        set().map_err(|error| LoadError::Map {
            name: STANDBY_SECTION,
            error,
        })
    }

    /// What is attached, and where.
    pub fn attached(&self) -> &[Attached] {
        self.programs.attached()
    }

    /// Every program that was loaded, and what the verifier made of it. Asks the verifier once more
    /// where the kernel does not keep its figures, and loads the iterator.
    pub fn loaded(&mut self) -> Result<Vec<Loaded>, LoadError> {
        if self.sites.has_types() {
            self.iterator()?;
        }
        for (_, sites) in self.sites.ways(&STANDBY) {
            for site in sites {
                let loaded = self.programs.load(&mut self.ebpf, site);
                loaded.map_err(|error| LoadError::Program {
                    name: site.program,
                    error,
                })?;
            }
        }
        self.programs.loaded(&mut self.ebpf)
    }

    /// Optional hooks that this kernel has, and did not let us attach to.
    pub fn refused_hooks(&self) -> &[&'static str] {
        &self.refused
    }

    /// Traces a process from now on, as a proxy or as a backend.
    pub fn trace(&mut self, pid: u32, kind: &ProxyKind, role: HostRole) -> Result<(), LoadError> {
        let value = match (role, kind) {
            (HostRole::Backend, _) => PROCESS_BACKEND,
            (HostRole::Proxy, ProxyKind::Nginx | ProxyKind::Apache) => PROCESS_CONNECTS_AT_ONCE,
            (HostRole::Proxy, ProxyKind::Envoy) => PROCESS_QUEUES,
            (HostRole::Proxy, ProxyKind::Haproxy) => PROCESS_BATCHES,
            // Nothing is known of it; looking further than its thread does no harm.
            (HostRole::Proxy, ProxyKind::Other(_)) => PROCESS_MIGRATES,
        };
        self.processes
            .insert(pid, value, 0)
            .map_err(|error| LoadError::Map {
                name: "PROCESSES",
                error,
            })?;
        let place = pid % PROCESS_FILTER_LEN;
        let known = self.process_filter.get(&place, 0).unwrap_or_default();
        self.process_filter
            .set(place, known | process_filter_bit(value), 0)
            .map_err(|error| LoadError::Map {
                name: "PROCESS_FILTER",
                error,
            })
    }

    /// Stops to trace a process. One that is not traced is no error.
    pub fn untrace(&mut self, pid: u32) {
        let _ = self.processes.remove(&pid);
    }

    /// Sockets bound to this port accept from clients of a proxy, or of a backend.
    pub fn listens_on(&mut self, port: u16, role: HostRole) -> Result<(), LoadError> {
        if role == HostRole::Backend {
            set_bit(&mut self.backend_ports, port).map_err(|error| LoadError::Map {
                name: "BACKEND_PORTS",
                error,
            })?;
        }
        set_bit(&mut self.listen_ports, port).map_err(|error| LoadError::Map {
            name: "LISTEN_PORTS",
            error,
        })
    }

    /// What connections to backends were doing at that moment, a short while ago, for a process and for the
    /// clients of a port. At most `most` connections are looked at.
    pub fn upstreams_in_use(&self, pid: u32, port: u16, at: MonoNs, most: usize) -> InUse {
        in_use::count(self.conns.iter(self.epoch()).take(most), pid, port, at)
    }

    /// Puts the connections that processes hold already into the table. `sockets`: inode number and
    /// process; `namespaces`: a file of each network namespace they are in.
    pub fn adopt(&mut self, sockets: &[(u64, u32)], namespaces: &[File]) -> Result<(), LoadError> {
        for (inode, pid) in sockets {
            // A full table is no reason to fail: what is not adopted now is adopted at first use.
            let _ = self.adopt_inodes.insert(inode, pid, 0);
        }
        if !self.sites.has_types() {
            return Ok(());
        }
        let program = self.iterator()?;
        let walked = namespaces.iter().try_for_each(|namespace| {
            // The iterator walks the namespace of the thread that opens it.
            std::thread::scope(|scope| {
                scope
                    .spawn(|| walk(program, namespace))
                    .join()
                    .unwrap_or(Ok(()))
            })
        });
        // All that needs them is loaded.
        self.programs.forget_types();
        walked.map_err(of_iterator)
    }

    fn iterator(&mut self) -> Result<&mut Iter, LoadError> {
        let program = self.programs.iterator(&mut self.ebpf, ITERATOR);
        program.map_err(of_iterator)
    }

    /// May this thread still look into the maps? Older kernels ask for a right at every call, newer ones
    /// only where a map or program is made.
    pub fn can_use_maps(&self) -> bool {
        self.listen_ports.get(&0, 0).is_ok() && self.losses.get(&1, 0).is_ok()
    }

    /// The ring buffer, once.
    pub fn take_ring(&mut self) -> Option<RingBuf<MapData>> {
        self.ring.take()
    }

    /// For aya-log.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Counters and latencies of every upstream address, by address.
    pub fn backends(&self) -> Vec<BackendSnapshot> {
        snapshots(self.stats())
    }

    /// As [`Tracer::backends`], at the end of a capture: the kernel counts a whole response when the
    /// next request or the end of the connection shows that it is over. Those of connections that
    /// are still open are added here.
    pub fn backends_at_end(&self) -> Vec<BackendSnapshot> {
        let mut stats = self.stats();
        for (_, conn) in self.conns.iter(self.epoch()) {
            let answered = conn.role == Role::Connecting as u8
                && conn.response_start_ns != 0
                && conn.flags & (flags::OVER | flags::REPORTED | flags::TUNNEL) == 0;
            if let Some(stats) = stats.get_mut(&in_use::key_of(&conn))
                && answered
            {
                let us = conn.response_last_ns.saturating_sub(conn.request_start_ns) / 1000;
                stats.total[bucket_of_us(u32::try_from(us).unwrap_or(u32::MAX))] += 1;
            }
        }
        snapshots(stats)
    }

    fn stats(&self) -> BTreeMap<BackendKey, BackendStats> {
        self.backends
            .iter()
            .flatten()
            .map(|(Plain(key), Plain(stats))| (key, stats))
            .collect()
    }

    /// Loss counters that are not zero.
    pub fn losses(&self) -> Losses {
        let counted = (1..loss::COUNT).filter_map(|index| {
            let per_cpu = self.losses.get(&index, 0).ok()?;
            Some((LOSS_NAMES[index as usize], per_cpu.iter().sum()))
        });
        counted
            .chain([(HOOK_SKIPPED, self.programs.skipped(&self.ebpf))])
            .filter(|(_, sum)| *sum > 0)
            .map(|(name, sum)| (name.to_owned(), sum))
            .collect()
    }
}

/// The hooks of payload.
fn payload() -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(|hook| PAYLOAD.contains(&hook.name))
}

/// Was the place refused, and not the program?
fn is_of_the_place(error: &LoadError) -> bool {
    !matches!(
        error,
        LoadError::Program {
            error: ProgramError::LoadError { .. },
            ..
        }
    )
}

/// Before 5.11 BPF memory counts against this limit. Failing is no error: newer kernels do not ask,
/// and on older ones the map that does not fit will say so.
fn raise_memlock_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, unlimited);
}

fn set_bit(ports: &mut Array<MapData, u64>, port: u16) -> Result<(), MapError> {
    let (word, bit) = (u32::from(port >> 6), port & 63);
    let bits = ports.get(&word, 0)?;
    ports.set(word, bits | 1 << bit, 0)
}

fn of_iterator(error: ProgramError) -> LoadError {
    LoadError::Program {
        name: ITERATOR,
        error,
    }
}

fn walk(program: &mut Iter, namespace: &File) -> Result<(), ProgramError> {
    let io_error = |error: io::Error| ProgramError::IOError(error);
    // To move takes a right that an agent has given up; where we are already, nobody has to move.
    if !is_own(namespace) {
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(namespace),
            Some(LinkNameSpaceType::Network),
        )
        .map_err(|error| io_error(error.into()))?;
    }
    let link = program.attach()?;
    let mut file = program
        .take_link(link)?
        .into_file()
        .map_err(|error| io_error(io::Error::other(error)))?;
    let mut sink = Vec::new();
    file.read_to_end(&mut sink).map_err(io_error)?;
    Ok(())
}

/// Is it the network namespace of this thread?
fn is_own(namespace: &File) -> bool {
    let own = std::fs::metadata("/proc/thread-self/ns/net");
    let inode = |metadata: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&metadata);
    own.ok().map(inode) == namespace.metadata().ok().map(inode)
}

fn config(settings: &Settings) -> Config {
    let mut status = [0u64; 10];
    for code in &settings.statuses {
        if let Some(word) = status.get_mut(usize::from(code / 64)) {
            *word |= 1 << (code % 64);
        }
    }
    Config {
        snaplen: settings
            .snaplen
            .clamp(64, HEAD_MAX as u32)
            .next_multiple_of(8),
        sample_every: settings.sample_every,
        standby: settings.standby.map_or(0, |role| match role {
            HostRole::Proxy => u32::from(process_filter_bit(PROCESS_BATCHES)),
            HostRole::Backend => u32::from(process_filter_bit(PROCESS_BACKEND)),
        }),
        pad: 0,
        status,
    }
}

fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, LoadError> {
    ebpf.take_map(name)
        .ok_or(LoadError::Missing(name))?
        .try_into()
        .map_err(|error| LoadError::Map { name, error })
}

fn snapshots(stats: BTreeMap<BackendKey, BackendStats>) -> Vec<BackendSnapshot> {
    let mut snapshots: Vec<BackendSnapshot> = stats
        .iter()
        .filter_map(|(key, stats)| snapshot(*key, stats))
        .collect();
    snapshots.sort_by_key(|snapshot| snapshot.upstream);
    snapshots
}

fn snapshot(key: BackendKey, stats: &BackendStats) -> Option<BackendSnapshot> {
    let [a, b, c, d, ..] = key.addr;
    let ip = match key.family {
        2 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        10 => canonical(IpAddr::V6(Ipv6Addr::from(key.addr))),
        _ => return None,
    };
    Some(BackendSnapshot {
        upstream: SocketAddr::new(ip, key.port),
        connects: stats.connects,
        exchanges: stats.exchanges,
        connect: buckets(&stats.connect),
        ttfb: buckets(&stats.ttfb),
        total: buckets(&stats.total),
        idle_reused_max_us: at_least_one(stats.idle_reused_max_us),
        idle_closed_min_us: at_least_one(stats.idle_closed_min_us),
        idle_closed: u64::from(stats.idle_closed),
    })
}

/// The kernel half writes 0 for what never happened.
fn at_least_one(us: u32) -> Option<u64> {
    (us > 0).then_some(u64::from(us))
}

fn buckets(counts: &[u32]) -> Vec<(u16, u32)> {
    counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(bucket, count)| (bucket as u16, *count))
        .collect()
}
