//! What a code or message of a log stands for.

/// Where a failure lies, as far as a log line can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blame {
    /// Between the proxy and the backend: what the kernel can explain.
    Backend,
    /// The backend's application answered with the status itself.
    Application,
    /// The client gave up, or sent what nobody could serve.
    Client,
    /// The proxy itself: its configuration, a policy, a limit.
    Proxy,
    /// No request failed: health of a backend, a hint beside another line.
    Context,
}

impl Blame {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backend => "backend-connection",
            Self::Application => "application",
            Self::Client => "client",
            Self::Proxy => "proxy",
            Self::Context => "context",
        }
    }
}

/// What one code or message of a system stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The code or the fixed part of the message, as the system writes it.
    pub code: &'static str,
    /// In plain words: one or two sentences.
    pub text: &'static str,
    /// Rules that can be behind it, the likely ones first; empty where none of them is about it.
    pub classes: &'static [&'static str],
    /// Where the failure lies.
    pub blame: Blame,
}

impl Meaning {
    /// Did a request fail, or nearly (a retry hid it)?
    pub fn is_failure(&self) -> bool {
        self.blame != Blame::Context
    }
}

/// What can be behind a timeout of a balancer that tells neither connecting from waiting, nor an idle
/// connection from a new one.
pub(super) const GAVE_UP: &[&str] = &[
    "response-timeout",
    "connect-timeout",
    "listen-queue-overflow",
    "mtu-black-hole",
    "packet-loss",
    "idle-drop-by-middlebox",
    "body-stalled",
];

/// A table of meanings: for each a name, the blame, the code, the text and the classes. `MEANINGS` lists
/// them, for `explain`.
macro_rules! meanings {
    ($($vis:vis $name:ident $blame:ident $code:literal $text:literal $classes:expr;)*) => {
        $($vis static $name: $crate::logs::Meaning = $crate::logs::Meaning {
            code: $code,
            text: $text,
            classes: &$classes,
            blame: $crate::logs::Blame::$blame,
        };)*
        pub(in crate::logs) static MEANINGS: &[&$crate::logs::Meaning] = &[$(&$name),*];
    };
}
pub(super) use meanings;
