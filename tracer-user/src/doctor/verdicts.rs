//! Which verdicts can be given on this machine, and how well founded they are.

use crate::diagnose::rules;
use crate::kernel::features::{Btf, Features};
use crate::kernel::offsets::Registers;
use crate::kernel::preflight::{Preflight, Programs};
use crate::kernel::rights::Capability;

/// How a verdict comes about here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// From all that it is made of.
    Available,
    /// From less: it is given less often, or is weaker.
    Inferred,
    /// Never.
    Off,
}

impl Standing {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Inferred => "inferred",
            Self::Off => "off",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its id.
    pub rule: &'static str,
    /// How it comes about.
    pub standing: Standing,
    /// What is missing; absent where all is there.
    pub why: Option<&'static str>,
}

/// Something that may be missing, and what of.
struct Lack {
    missing: bool,
    standing: Standing,
    why: &'static str,
    rules: &'static [&'static str],
}

/// Made from the first bytes of messages.
const OF_HEADS: &[&str] = &[
    "plaintext-to-tls",
    "upgrade-refused",
    "application-502",
    "protocol-version-mismatch",
    "malformed-response",
    "conflicting-framing",
    "chunk-framing-invalid",
    "header-too-large",
    "body-longer-than-declared",
    "request-body-rejected",
    "informational-only-response",
    "partial-header",
    "body-truncated-fin",
    "body-truncated-rst",
    "body-stalled",
    "tls-to-plaintext",
    "tls-alert-from-backend",
    "tls-verify-failed",
    "tls-handshake-timeout",
    "tls-peer-closed",
    "tls-reset",
    "name-resolution-failed",
    "no-backend-available",
    "queue-timeout",
];

fn lacks(features: &Features, net_raw: bool) -> [Lack; 12] {
    use Standing::{Inferred, Off};
    let lack = |missing, standing, why, rules| Lack {
        missing,
        standing,
        why,
        rules,
    };
    let no_hook = |name| features.has(name) == Some(false);
    let no_reasons = features.reset_reasons.is_empty();
    [
        lack(
            features.registers == Some(Registers::Unknown),
            Off,
            "the first bytes of messages cannot be read",
            OF_HEADS,
        ),
        lack(
            no_hook("tcp_send_reset"),
            Off,
            "this kernel does not tell of the resets that it sends, so one that no socket sent cannot be told from the others",
            &["path-reset"],
        ),
        lack(
            no_reasons,
            Inferred,
            "this kernel does not tell of resets that answer for a connection which is gone: one that no other socket of this host sent may be such a one",
            &["path-reset"],
        ),
        lack(
            no_reasons,
            Inferred,
            "without the reason of a reset, told by the order of FIN, request and acknowledgements, and by the state of a socket of this host that sends the reset; a request that comes after the backend's socket is gone is not seen by the backend's host",
            &["keepalive-race"],
        ),
        lack(
            no_reasons,
            Inferred,
            "without the reason of a reset, told by what had been read, and who closed",
            &[
                "rst-before-response",
                "body-truncated-rst",
                "request-body-rejected",
                "tls-reset",
            ],
        ),
        lack(
            no_reasons,
            Inferred,
            "this kernel does not tell of resets that answer for a connection which is gone: told by idle times, and by no other socket of this host having sent it",
            &["idle-drop-by-middlebox"],
        ),
        lack(
            no_hook("tcp_receive_reset"),
            Inferred,
            "a peer's reset is told from other errors only by the error code",
            &[
                "rst-before-response",
                "body-truncated-rst",
                "keepalive-race",
                "tls-reset",
            ],
        ),
        lack(
            no_hook("tcp_retransmit_skb"),
            Off,
            "retransmissions are not seen",
            &["packet-loss", "mtu-black-hole"],
        ),
        lack(
            !net_raw,
            Inferred,
            "ICMP errors are not seen (CAP_NET_RAW): told by retransmissions alone",
            &["mtu-black-hole"],
        ),
        lack(
            no_hook("inet_sk_error_report"),
            Inferred,
            "when the kernel gave up is not seen, only that it did",
            &["connect-timeout", "connect-unreachable", "packet-loss"],
        ),
        lack(
            no_hook("sched_process_exit"),
            Off,
            "the end of a process is not seen",
            &["backend-process-exit", "backend-restart"],
        ),
        lack(
            no_hook("mark_victim"),
            Inferred,
            "a process that is killed for want of memory looks like any other that is killed",
            &["backend-process-exit"],
        ),
    ]
}

/// Every rule, in the order in which they are asked.
pub(super) fn verdicts(preflight: &Preflight) -> Vec<Verdict> {
    let features = &preflight.features;
    let blocked = match (&preflight.programs, &features.btf) {
        (Programs::LeftOut(_), _) => Some("this build has no kernel programs"),
        (_, Btf::Absent | Btf::Unreadable(_)) => Some("the kernel's types are not known"),
        _ if features
            .hooks
            .iter()
            .any(|(hook, _)| hook.required && features.has(hook.name) == Some(false)) =>
        {
            Some("a hook that every verdict needs is missing")
        }
        _ => None,
    };
    let lacks = lacks(features, preflight.rights.has(Capability::NetRaw));
    rules()
        .iter()
        .map(|rule| {
            let (standing, why) = match blocked {
                Some(why) => (Standing::Off, Some(why)),
                None => lacks
                    .iter()
                    .filter(|lack| lack.missing && lack.rules.contains(&rule.id))
                    .max_by_key(|lack| lack.standing)
                    .map_or((Standing::Available, None), |lack| {
                        (lack.standing, Some(lack.why))
                    }),
            };
            Verdict {
                rule: rule.id,
                standing,
                why,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::kernel::features::Found;

    fn standing(preflight: &Preflight, rule: &str) -> Standing {
        verdicts(preflight)
            .into_iter()
            .find(|verdict| verdict.rule == rule)
            .unwrap()
            .standing
    }

    #[test]
    fn every_rule_that_is_named_exists() {
        let features = fixture::healthy().preflight.features;
        for lack in lacks(&features, true) {
            for id in lack.rules {
                assert!(rules().iter().any(|rule| rule.id == *id), "{id}");
            }
        }
    }

    #[test]
    fn on_a_complete_kernel_all_are_available() {
        let preflight = fixture::healthy().preflight;
        let all = verdicts(&preflight);
        assert_eq!(all.len(), rules().len());
        assert!(
            all.iter().all(|v| v.standing == Standing::Available),
            "{all:?}"
        );
    }

    #[test]
    fn what_older_kernels_lack() {
        let mut preflight = fixture::healthy().preflight;
        preflight.features.reset_reasons.clear();
        for (rule, expected) in [
            ("path-reset", Standing::Inferred),
            ("keepalive-race", Standing::Inferred),
            ("connect-refused", Standing::Available),
        ] {
            assert_eq!(standing(&preflight, rule), expected, "{rule}");
        }
        preflight.features.registers = Some(Registers::Unknown);
        assert_eq!(standing(&preflight, "application-502"), Standing::Off);
        for (hook, found) in &mut preflight.features.hooks {
            if hook.required {
                *found = Found::Nowhere;
            }
        }
        assert_eq!(standing(&preflight, "connect-refused"), Standing::Off);
    }
}
