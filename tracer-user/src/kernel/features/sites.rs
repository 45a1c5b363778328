//! Which of the places that programs can attach to are there? Told by the kernel's types, which name
//! every tracepoint and function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::btf::{BtfError, KIND_FUNC_PROTO, TypeKind, walk};
use crate::kernel::hooks::{HOOKS, Hook, Kind, Site};

/// Either exists where the kernel can set breakpoints in itself (CONFIG_KPROBES).
const KPROBES: [&str; 2] = [
    "/sys/bus/event_source/devices/kprobe/type",
    "/sys/kernel/tracing/kprobe_events",
];

/// The places of [`HOOKS`] that the kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    tracepoints: BTreeSet<&'static str>,
    /// With the names of their parameters.
    functions: BTreeMap<&'static str, Vec<String>>,
    typed: bool,
    kprobes: bool,
}

impl Sites {
    /// From the bytes of a BTF file. `typed`: the kernel knows its types itself.
    pub fn look(btf: &[u8], typed: bool) -> Result<Self, BtfError> {
        let wanted = || HOOKS.iter().flat_map(|hook| hook.ways).copied().flatten();
        let mut found = Self {
            typed,
            kprobes: KPROBES.iter().any(|path| Path::new(path).exists()),
            ..Self::default()
        };
        // Type id of the parameters of each function that is wanted.
        let mut prototypes: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
        walk(btf, |ty| match ty.kind {
            // The kernel defines such a type for every tracepoint (include/trace/bpf_probe.h).
            TypeKind::Typedef => {
                if let Some(name) = ty.name.strip_prefix(b"btf_trace_")
                    && let Some(site) = wanted().find(|site| site.target.as_bytes() == name)
                {
                    found.tracepoints.insert(site.target);
                }
            }
            TypeKind::Func => {
                if let Some(site) = wanted().find(|site| {
                    site.kind != Kind::RawTracepoint && site.target.as_bytes() == ty.name
                }) {
                    prototypes
                        .entry(ty.size_or_type)
                        .or_default()
                        .push(site.target);
                }
            }
            TypeKind::Enum | TypeKind::Other => {}
        })?;
        let mut id = 0;
        walk(btf, |ty| {
            // Type ids begin with 1.
            id += 1;
            if ty.raw_kind != KIND_FUNC_PROTO {
                return;
            }
            for function in prototypes.get(&id).into_iter().flatten() {
                let parameters = ty
                    .parameters()
                    .map(|name| String::from_utf8_lossy(name).into_owned())
                    .collect();
                found.functions.insert(function, parameters);
            }
        })?;
        Ok(found)
    }

    /// Does the kernel know its types itself?
    pub fn has_types(&self) -> bool {
        self.typed
    }

    /// Is it there, and can a program be attached to it in this way?
    pub fn has(&self, site: &Site) -> bool {
        let possible = match site.kind {
            Kind::RawTracepoint => return self.tracepoints.contains(site.target),
            Kind::FEntry | Kind::FExit => self.typed,
            Kind::KProbe | Kind::KRetProbe => self.kprobes,
        };
        possible
            && self
                .functions
                .get(site.target)
                .is_some_and(|found| found == site.parameters)
    }

    /// The places of a way that are there; `None` where one that it needs is not.
    pub fn of_way(&self, way: &'static [Site]) -> Option<Vec<&'static Site>> {
        let complete = way.iter().all(|site| site.optional || self.has(site));
        complete.then(|| way.iter().filter(|site| self.has(site)).collect())
    }

    /// The ways of a hook that are open, the best first.
    pub fn ways(&self, hook: &Hook) -> impl Iterator<Item = (usize, Vec<&'static Site>)> {
        hook.ways
            .iter()
            .enumerate()
            .filter_map(|(index, way)| Some((index, self.of_way(way)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(tracepoint: bool, functions: &[&str], typed: bool, kprobes: bool) -> Sites {
        let parameters = |name: &str| {
            let site = HOOKS
                .iter()
                .flat_map(|hook| hook.ways)
                .copied()
                .flatten()
                .find(|site| site.target == name)
                .unwrap();
            let names = site.parameters.iter().map(ToString::to_string).collect();
            (site.target, names)
        };
        Sites {
            tracepoints: tracepoint
                .then_some("sock_send_length")
                .into_iter()
                .collect(),
            functions: functions.iter().map(|name| parameters(name)).collect(),
            typed,
            kprobes,
        }
    }

    fn best(sites: &Sites) -> Option<(usize, usize)> {
        sites
            .ways(&HOOKS[0])
            .next()
            .map(|(way, sites)| (way, sites.len()))
    }

    #[test]
    fn the_best_way_that_is_open() {
        const ALL: &[&str] = &["inet_sendmsg", "inet6_sendmsg", "inet_sendpage"];
        // (sites, way and number of its places)
        let table = [
            (sites(true, &ALL[..2], true, true), Some((0, 1))),
            (sites(true, ALL, true, true), Some((0, 2))),
            (sites(false, ALL, true, true), Some((1, 3))),
            // Without IPv6 in the kernel.
            (sites(false, &ALL[..1], true, true), Some((1, 1))),
            (sites(false, ALL, false, true), Some((2, 6))),
            (sites(false, ALL, false, false), None),
            (sites(false, &ALL[1..], true, true), None),
        ];
        for (sites, expected) in table {
            assert_eq!(best(&sites), expected, "{sites:?}");
        }
    }

    #[test]
    fn a_function_that_takes_other_arguments_is_another() {
        let mut sites = sites(false, &["inet_sendmsg"], true, false);
        sites
            .functions
            .get_mut("inet_sendmsg")
            .unwrap()
            .push("x".into());
        assert_eq!(best(&sites), None);
    }
}
