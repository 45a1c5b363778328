//! What there is to try and what must come out: plain values, filled in by [`super::table`].

use std::fmt;

use super::door::DOORS;
use crate::lab::proxy::Kind;

/// One failure of the catalogue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// `E17`.
    pub(super) id: &'static str,
    /// The ways to make it.
    pub(super) variants: &'static [Variant],
}

/// One way to make a failure, and the truth about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    /// Letters and digits only: it is part of the request's path.
    pub(super) name: &'static str,
    /// The proxies that can show it.
    pub(super) proxies: &'static [Kind],
    /// The way through the proxy.
    pub(super) way: Way,
    /// How it is made.
    pub(super) make: Make,
    /// The method of the request.
    pub(super) method: Method,
    /// What a tracer on the proxy's host must say when the backend is on that host too.
    pub(super) local: Expect,
    /// What it must say when it sees the proxy's half only.
    pub(super) remote: Expect,
    /// What the client may get.
    pub(super) outcomes: &'static [&'static str],
    /// What the proxy's own log says.
    pub(super) marks: Marks,
    /// Part of the short run?
    pub(super) short: bool,
}

/// What must be reported about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// One case, with one of these rules. More than one only where nothing on the wire or in a
    /// socket could tell them apart.
    Rule(&'static [&'static str]),
    /// One case with one of these rules, and one of those as its deeper cause (or as the rule
    /// itself).
    Because(&'static [&'static str], &'static [&'static str]),
    /// No case: nothing failed.
    Nothing,
}

/// The view of the tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum View {
    /// Both halves of the backend connections are on this host.
    Local,
    /// The proxy's half only.
    Remote,
    /// As the first, and clients that left are reported too (`--status 499`).
    Left,
}

impl View {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            // Of the same host, with one more status.
            Self::Left => "local",
        }
    }
}

impl Variant {
    pub(super) const fn expect(&self, view: View) -> Expect {
        match view {
            View::Local => self.local,
            View::Remote => self.remote,
            View::Left => match self.make {
                Make::Leave { .. } => Expect::Rule(&["client-abort"]),
                _ => self.local,
            },
        }
    }

    /// Is it judged in that view?
    pub(super) const fn counts_in(&self, view: View) -> bool {
        matches!(view, View::Left) == matches!(self.make, Make::Leave { .. })
    }
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    /// With a small body.
    Post,
    /// One or the other, by chance.
    Either,
    /// A POST with a body of so many KiB.
    Upload(usize),
    /// A GET that asks for a WebSocket (RFC 6455, 4.1).
    Upgrade,
}

/// Which of the proxies of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The one that has nearly all ways.
    Main,
    /// The one in the namespace with few ports.
    Narrow,
    /// One that asks for a name all the time and gets none: beside other failures nobody could say
    /// which of the two it was.
    Aside,
}

/// A way through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// A new backend connection for each request.
    Fresh,
    /// Kept connections. There are several such ways, each with a backend of its own, and a trial
    /// has one for itself.
    Pooled,
    /// To a port where nothing listens.
    Refused,
    /// To an address where SYNs vanish.
    BlackHole,
    /// To an address that the router says cannot be reached.
    Unreachable,
    /// To an address of the proxy's own network that nobody has.
    Nobody,
    /// To a listener whose queue is full.
    Queue,
    /// To a backend that is a process of its own and may die.
    Mortal,
    /// Large packets to the backend vanish.
    MtuRequest,
    /// Large packets from the backend vanish.
    MtuResponse,
    /// Large packets vanish, and ICMP says so: TCP copes.
    MtuTold,
    /// Nearly all packets with a request are lost.
    LossyRequest,
    /// Nearly all packets with a response are lost.
    LossyResponse,
    /// The router resets a connection when the request comes.
    Reset,
    /// To a backend to which only one connection is allowed.
    Crowded,
    /// To backends that are marked down, because nothing listens.
    Down,
    /// To a backend whose name nobody knows.
    Unnamed,
    /// Through a proxy of its own, in a namespace with few ports.
    Narrow,
    /// For traffic in which nothing fails: kept connections that all share.
    Kept,
    /// The same, a new connection for each request.
    Unkept,
    /// The same, kept for a moment only: by the proxy's choice.
    KeptShortly,
    /// The same, with health checks.
    Checked,
    /// The same, for WebSockets.
    Upgrade,
    /// Another language: see [`door`].
    Door(&'static str),
}

impl Way {
    const ALL: [Self; 23] = [
        Self::Fresh,
        Self::Pooled,
        Self::Refused,
        Self::BlackHole,
        Self::Unreachable,
        Self::Nobody,
        Self::Queue,
        Self::Mortal,
        Self::MtuRequest,
        Self::MtuResponse,
        Self::MtuTold,
        Self::LossyRequest,
        Self::LossyResponse,
        Self::Reset,
        Self::Crowded,
        Self::Down,
        Self::Unnamed,
        Self::Narrow,
        Self::Kept,
        Self::Unkept,
        Self::KeptShortly,
        Self::Checked,
        Self::Upgrade,
    ];

    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> + Clone {
        let doors = DOORS.iter().map(|door| Self::Door(door.name));
        Self::ALL.into_iter().chain(doors)
    }

    /// Through which of the proxies it leads.
    pub(super) const fn place(self) -> Place {
        match self {
            Self::Narrow => Place::Narrow,
            Self::Unnamed => Place::Aside,
            _ => Place::Main,
        }
    }

    /// How many of it there are in each proxy.
    pub(super) const fn copies(self) -> usize {
        match self {
            Self::Pooled => 4,
            Self::Door(_) => 2,
            Self::Mortal => 2,
            _ => 1,
        }
    }

    /// Is it for one trial at a time, with a backend of its own?
    pub(super) const fn exclusive(self) -> bool {
        // Doors: when one handshake fails, Envoy fails all requests that wait for that backend.
        matches!(
            self,
            Self::Pooled | Self::Mortal | Self::Crowded | Self::Narrow | Self::Door(_)
        )
    }

    /// The name of a copy.
    pub(super) fn lane(self, copy: usize) -> String {
        let name = match self {
            Self::Fresh => "fresh",
            Self::Pooled => "pooled",
            Self::Refused => "refused",
            Self::BlackHole => "black_hole",
            Self::Unreachable => "unreachable",
            Self::Nobody => "nobody",
            Self::Queue => "queue",
            Self::Mortal => "mortal",
            Self::MtuRequest => "mtu_request",
            Self::MtuResponse => "mtu_response",
            Self::MtuTold => "mtu_told",
            Self::LossyRequest => "lossy_request",
            Self::LossyResponse => "lossy_response",
            Self::Reset => "reset",
            Self::Crowded => "crowded",
            Self::Down => "down",
            Self::Unnamed => "unnamed",
            Self::Narrow => "narrow",
            Self::Kept => "kept",
            Self::Unkept => "unkept",
            Self::KeptShortly => "kept_shortly",
            Self::Checked => "checked",
            Self::Upgrade => "upgrade",
            Self::Door(name) => name,
        };
        format!("{name}_{copy}")
    }
}

/// How a failure is made. `fault` is the first segment of the path, which tells the backend what to
/// do ([`crate::lab::fault`]), and may bring a query along; `after` is the range of its delay in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    /// A request from a client of its own.
    Ask {
        fault: &'static str,
        after: (u64, u64),
    },
    /// A second request on a client connection, so that the backend connection is a kept one.
    Reused {
        fault: &'static str,
        after: (u64, u64),
    },
    /// The backend closes the kept connection, its FIN gets lost, and the request then meets a
    /// closed socket. `idle` is the range of the pause before, ms.
    LostFin { idle: (u64, u64) },
    /// The backend closes the kept connection and the client sends its next request, both as nearly
    /// at the same time as can be, until they cross.
    Race,
    /// After the pause the router answers the next packet of the kept connection with a reset.
    IdleReset { idle: (u64, u64) },
    /// After the pause the router loses everything of the kept connection.
    IdleLoss { idle: (u64, u64) },
    /// The router resets the connection in the middle of a response.
    ResetInBody,
    /// The backend's process gets that signal while the request waits, after that many ms.
    Kill { signal: Kill, after: (u64, u64) },
    /// Others hold the only connections to the backend.
    Crowd,
    /// A request just before finds that the backends refuse.
    Again,
    /// Others hold all ports that the namespace has for connections to the backend.
    PortsTaken,
    /// The proxy has no descriptor left when the request comes.
    DescriptorsTaken,
    /// The client leaves while the request waits, after that many ms.
    Leave { reset: bool, after: (u64, u64) },
}

/// A signal from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    /// `kill -9`.
    Kill,
    /// SIGTERM, as of a restart.
    Term,
}

impl Make {
    /// The first segment of the path, and what is to stand behind it as a query.
    pub(super) fn fault(self) -> (&'static str, &'static str) {
        let fault = match self {
            Self::Ask { fault, .. } | Self::Reused { fault, .. } => fault,
            Self::Crowd | Self::Again | Self::PortsTaken | Self::DescriptorsTaken => "ok",
            Self::LostFin { .. } | Self::Race | Self::IdleReset { .. } | Self::IdleLoss { .. } => {
                "ok"
            }
            Self::ResetInBody => "drip",
            Self::Kill { .. } => "hang",
            Self::Leave { .. } => "hang",
        };
        fault.split_once('?').unwrap_or((fault, ""))
    }
}

/// What the log of each proxy must show for a failure: one of these marks. A mark is parts that
/// follow each other in the request's lines, with `…` between them; `""` stands for "no line"; and
/// an empty list is not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) nginx: &'static [&'static str],
    pub(super) haproxy: &'static [&'static str],
    pub(super) envoy: &'static [&'static str],
    pub(super) apache: &'static [&'static str],
}

impl Marks {
    pub(super) const fn of(&self, kind: Kind) -> &'static [&'static str] {
        match kind {
            Kind::Nginx => self.nginx,
            Kind::Haproxy => self.haproxy,
            Kind::Envoy => self.envoy,
            Kind::Apache => self.apache,
        }
    }
}

/// What a proxy cannot show, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible {
    pub(super) id: &'static str,
    /// Empty: the whole row. It need not be a variant of the table: some cannot be shown by any.
    pub(super) variant: &'static str,
    pub(super) kind: Kind,
    pub(super) reason: &'static str,
}

/// One request to make fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) row: &'static Row,
    pub(super) variant: &'static Variant,
    pub(super) kind: Kind,
    pub(super) number: u32,
}

/// The last segment of its path, by which its case is found.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            row,
            variant,
            kind,
            number,
        } = self;
        write!(f, "{}-{}-{}-{number}", row.id, kind.name(), variant.name)
    }
}

/// Which part of the table is run.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// Only these rows; empty for all.
    pub(super) only: Vec<String>,
    /// Only these proxies; empty for all.
    pub(super) kinds: Vec<Kind>,
    /// The short run?
    pub(super) short: bool,
    /// How often each variant is tried with each proxy.
    pub(super) repeat: u32,
}

impl Choice {
    pub(super) fn wants(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    pub(super) fn wants_row(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one.eq_ignore_ascii_case(id))
    }

    /// Is healthy traffic wanted?
    pub(super) fn wants_controls(&self) -> bool {
        self.wants_row(super::CONTROLS)
    }

    /// The trials, in the order of the table.
    pub(super) fn trials(&self, rows: &'static [&'static [Row]]) -> Vec<Trial> {
        let mut trials = Vec::new();
        let rows = rows.iter().flat_map(|part| part.iter());
        for row in rows.filter(|row| self.wants_row(row.id)) {
            for variant in row.variants {
                if self.short && !variant.short {
                    continue;
                }
                for &kind in variant.proxies.iter().filter(|kind| self.wants(**kind)) {
                    trials.extend((0..self.repeat).map(|number| Trial {
                        row,
                        variant,
                        kind,
                        number,
                    }));
                }
            }
        }
        trials
    }
}
