//! Which of the places that programs can attach to are there? Told by the kernel's types, which name
//! every tracepoint and function.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::btf::{Type, TypeKind};
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
    /// From all types of a BTF file, in its order. `typed`: the kernel knows its types itself.
    pub fn of(types: &[Type<'_>], typed: bool) -> Self {
        let wanted: HashMap<&[u8], &'static str> = HOOKS
            .iter()
            .flat_map(|hook| hook.ways)
            .copied()
            .flatten()
            .map(|site| (site.target.as_bytes(), site.target))
            .collect();
        let mut found = Self {
            typed,
            kprobes: KPROBES.iter().any(|path| Path::new(path).exists()),
            ..Self::default()
        };
        for ty in types {
            match ty.kind {
                // The kernel defines such a type for every tracepoint (include/trace/bpf_probe.h).
                TypeKind::Typedef => {
                    let name = ty.name.strip_prefix(b"btf_trace_");
                    found
                        .tracepoints
                        .extend(name.and_then(|name| wanted.get(name)));
                }
                TypeKind::Func => {
                    if let Some(target) = wanted.get(ty.name)
                        // Type ids begin with 1.
                        && let Some(at) = (ty.size_or_type as usize).checked_sub(1)
                        && let Some(prototype) = types.get(at)
                    {
                        let names = prototype.parameters().map(String::from_utf8_lossy);
                        found
                            .functions
                            .insert(target, names.map(Cow::into_owned).collect());
                    }
                }
                TypeKind::Enum | TypeKind::Other => {}
            }
        }
        found
    }

    /// Does the kernel know its types itself?
    pub fn has_types(&self) -> bool {
        self.typed
    }

    /// Is it there, and can a program be attached to it in this way?
    pub fn has(&self, site: &Site) -> bool {
        let possible = match site.kind {
            Kind::RawTracepoint => return self.tracepoints.contains(site.target),
            Kind::BtfTracepoint => return self.typed && self.tracepoints.contains(site.target),
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
