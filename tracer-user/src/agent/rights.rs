//! Gives up every right that is not needed once the programs are attached.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::kernel::loader::Tracer;

/// A right that stays, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
}

const PTRACE: (CapabilitySet, Kept) = (
    CapabilitySet::SYS_PTRACE,
    Kept {
        name: "CAP_SYS_PTRACE",
        why: "to see programs and sockets of new proxy processes of other users",
    },
);
const READ: (CapabilitySet, Kept) = (
    CapabilitySet::DAC_READ_SEARCH,
    Kept {
        name: "CAP_DAC_READ_SEARCH",
        why: "to read their descriptors, configurations and logs",
    },
);
const BPF: (CapabilitySet, Kept) = (
    CapabilitySet::BPF,
    Kept {
        name: "CAP_BPF",
        why: "this kernel wants it for every look into a map",
    },
);
const PERFMON: (CapabilitySet, Kept) = (
    CapabilitySet::PERFMON,
    Kept {
        name: "CAP_PERFMON",
        why: "to attach programs when something fails while tracing stands by",
    },
);
/// In place of the former before 5.8.
const ADMIN: (CapabilitySet, Kept) = (
    CapabilitySet::SYS_ADMIN,
    Kept {
        name: "CAP_SYS_ADMIN",
        why: "this kernel has no CAP_BPF and wants it for every look into a map",
    },
);

/// What became of the rights.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kept: Vec<Kept>,
    /// Steps that the kernel refused.
    pub(super) refused: Vec<String>,
}

/// Drops them, for this thread and those that it starts from now on. Call it while it is the only one.
///
/// `stands_by`: programs are to be attached later on.
pub(super) fn drop_unneeded(tracer: &mut Tracer, stands_by: bool) -> Outcome {
    let mut refused = Vec::new();
    let before = match capabilities(None) {
        Ok(sets) => sets,
        Err(error) => {
            refused.push(format!("capabilities cannot be read: {error}"));
            return Outcome {
                kept: Vec::new(),
                refused,
            };
        }
    };
    // New kernels ask for a right when a map is made, older ones at every look.
    let bare = [PTRACE, READ];
    let ways = [
        &bare[..],
        &[PTRACE, READ, BPF],
        &[PTRACE, READ, BPF, PERFMON],
        &[PTRACE, READ, BPF, ADMIN],
    ];
    let mut enough =
        |way: &&&[(CapabilitySet, Kept)]| works_with(tracer, stands_by, before, set_of(way));
    let way = ways.iter().find(&mut enough).copied().unwrap_or(ways[3]);
    let keep = set_of(way) & before.permitted;
    // While CAP_SETPCAP is there. A service manager may have emptied the set before us.
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if !keep.intersects(capability) {
            // Fails for numbers that this kernel does not know.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    if let Err(error) = clear_ambient_capability_set() {
        refused.push(format!("ambient capabilities: {error}"));
    }
    if let Err(error) = set_capabilities(None, only(keep)) {
        refused.push(format!("capabilities: {error}"));
    }
    if let Err(error) = set_no_new_privs(true) {
        refused.push(format!("no_new_privs: {error}"));
    }
    let kept = way.iter().filter(|(bit, _)| keep.contains(*bit));
    Outcome {
        kept: kept.map(|(_, kept)| *kept).collect(),
        refused,
    }
}

fn set_of(way: &[(CapabilitySet, Kept)]) -> CapabilitySet {
    way.iter().map(|(bit, _)| *bit).collect()
}

fn only(keep: CapabilitySet) -> CapabilitySets {
    CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    }
}

/// Tries in a thread of its own, whose rights are lost with it.
fn works_with(
    tracer: &mut Tracer,
    stands_by: bool,
    before: CapabilitySets,
    keep: CapabilitySet,
) -> bool {
    std::thread::scope(|scope| {
        let tried = scope.spawn(|| {
            set_capabilities(None, only(keep & before.permitted)).is_ok()
                && tracer.can_use_maps()
                && (!stands_by || can_wake(tracer))
        });
        tried.join().unwrap_or(false)
    })
}

/// Afterwards tracing stands by again.
fn can_wake(tracer: &mut Tracer) -> bool {
    let woke = tracer.wake().is_ok();
    tracer.stand_by().is_ok() && woke
}
