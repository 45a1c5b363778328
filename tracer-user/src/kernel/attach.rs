//! Programs brought to their places, and what the verifier said of them.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::programs::{
    BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint,
};
use aya::{Btf, Ebpf};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::hooks::{Hook, Kind, STANDBY, Site};
use super::loader::LoadError;

/// What the iterator walks: TCP sockets.
pub(super) const ITERATED: &str = "tcp";

/// A program at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The hook that it serves.
    pub hook: &'static Hook,
    /// The place.
    pub site: &'static Site,
}

/// A program that the kernel took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its name in the object.
    pub program: String,
    /// Where it is attached: kind and name; empty for the iterator.
    pub attached_to: Vec<(Kind, &'static str)>,
    /// Instructions that the verifier went through; `None` where it does not tell.
    pub verified_insns: Option<u32>,
    /// Maps that it uses, by the kernel's number.
    pub map_ids: Vec<u32>,
}

/// What is attached. Dropping it detaches.
#[derive(Default)]
pub(super) struct Programs {
    attached: Vec<Attached>,
    /// Programs that are attached now or were before.
    used: BTreeSet<&'static str>,
    /// One each of `attached`. A program for the return of a function is loaded anew for each function,
    /// so its links are kept apart from it.
    links: Vec<Box<dyn Any + Send + Sync>>,
    /// The kernel's types, parsed when they are first needed: some 20 MB.
    btf: Option<Btf>,
}

impl Programs {
    /// What is attached, in order.
    pub(super) fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Attaches to the places of one way; to none of them if one that is needed is refused.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        hook: &'static Hook,
        sites: &[&'static Site],
    ) -> Result<(), LoadError> {
        let before = self.links.len();
        for &site in sites {
            match self.link(ebpf, site) {
                Ok(link) => {
                    self.links.push(link);
                    self.attached.push(Attached { hook, site });
                    self.used.insert(site.program);
                }
                Err(_) if site.optional => {}
                Err(error) => {
                    // Nobody asks for it again if its place is the reason.
                    if let Some(program) = ebpf.program_mut(site.program)
                        && matches!(site.kind, Kind::FEntry | Kind::FExit)
                    {
                        let _ = unload(program);
                    }
                    self.links.truncate(before);
                    self.attached.truncate(before);
                    return Err(LoadError::Program {
                        name: site.program,
                        error,
                    });
                }
            }
        }
        Ok(())
    }

    /// Detaches what serves this hook; the programs stay loaded.
    pub(super) fn detach(&mut self, hook: &'static Hook) {
        let serves: Vec<bool> = self.attached.iter().map(|one| one.hook == hook).collect();
        let mut nth = serves.iter();
        self.links.retain(|_| !nth.next().copied().unwrap_or(false));
        self.attached.retain(|one| one.hook != hook);
    }

    /// Loads the program of a place, and does not attach it.
    pub(super) fn load(&mut self, ebpf: &mut Ebpf, site: &Site) -> Result<(), ProgramError> {
        let program = ebpf
            .program_mut(site.program)
            .ok_or(ProgramError::NotLoaded)?;
        if program.fd().is_ok() {
            return Ok(());
        }
        load(program, site.target, &mut self.btf)
    }

    fn link(
        &mut self,
        ebpf: &mut Ebpf,
        site: &Site,
    ) -> Result<Box<dyn Any + Send + Sync>, ProgramError> {
        let program = ebpf
            .program_mut(site.program)
            .ok_or(ProgramError::NotLoaded)?;
        // A trampoline's program is verified for one function; any other is for all its places.
        if matches!(site.kind, Kind::FEntry | Kind::FExit) {
            unload(program)?;
        }
        if program.fd().is_err() {
            load(program, site.target, &mut self.btf)?;
        }
        Ok(match program {
            Program::RawTracePoint(program) => {
                let link = program.attach(site.target)?;
                Box::new(program.take_link(link)?)
            }
            Program::BtfTracePoint(program) => {
                let link = program.attach()?;
                Box::new(program.take_link(link)?)
            }
            Program::FEntry(program) => {
                let link = program.attach()?;
                Box::new(program.take_link(link)?)
            }
            Program::FExit(program) => {
                let link = program.attach()?;
                Box::new(program.take_link(link)?)
            }
            Program::KProbe(program) => {
                let link = program.attach(site.target, 0)?;
                Box::new(program.take_link(link)?)
            }
            _ => return Err(ProgramError::UnexpectedProgramType),
        })
    }

    /// The program of that name that walks the kernel's TCP sockets, loaded.
    pub(super) fn iterator<'a>(
        &mut self,
        ebpf: &'a mut Ebpf,
        name: &str,
    ) -> Result<&'a mut Iter, ProgramError> {
        let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
        if program.fd().is_err() {
            load(program, ITERATED, &mut self.btf)?;
        }
        program.try_into()
    }

    /// Lets go of the kernel's types. Whoever needs them again parses them again.
    pub(super) fn forget_types(&mut self) {
        self.btf = None;
    }

    /// Calls that the kernel left out because the program was at work on that processor already: a thread
    /// was preempted in it, or an interrupt came in between (`recursion_misses`, from 5.12 on).
    pub(super) fn skipped(&self, ebpf: &Ebpf) -> u64 {
        let of_one = |name: &&'static str| {
            let fd = ebpf.program(name)?.fd().ok()?;
            let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
            recursion_misses(&fs::read_to_string(path).ok()?)
        };
        self.used.iter().filter_map(of_one).sum()
    }

    /// Every program that is loaded now. One that is loaded for several functions counts once.
    pub(super) fn loaded(&mut self, ebpf: &mut Ebpf) -> Result<Vec<Loaded>, LoadError> {
        let mut places: BTreeMap<&str, Vec<&'static Site>> = BTreeMap::new();
        for attached in &self.attached {
            places
                .entry(attached.site.program)
                .or_default()
                .push(attached.site);
        }
        let mut loaded = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Ok(info) = program.info() else { continue };
            let sites = places.get(name).map(Vec::as_slice).unwrap_or_default();
            // One that is loaded for a time when it is attached counts, too.
            let by_itself = matches!(program, Program::Iter(_) | Program::BtfTracePoint(_));
            if sites.is_empty() && !by_itself {
                continue;
            }
            let mut verified_insns = info.verified_instruction_count();
            if verified_insns.is_none() {
                let alone = match program {
                    Program::BtfTracePoint(_) => STANDBY.ways[0][0].target,
                    _ => ITERATED,
                };
                let target = sites.last().map_or(alone, |site| site.target);
                verified_insns = verified_again(program, target, &mut self.btf);
            }
            loaded.push(Loaded {
                program: name.to_owned(),
                attached_to: sites.iter().map(|site| (site.kind, site.target)).collect(),
                verified_insns,
                map_ids: info.map_ids().ok().flatten().unwrap_or_default(),
            });
        }
        loaded.sort_by(|a, b| a.program.cmp(&b.program));
        Ok(loaded)
    }
}

/// `target`: the function, of a program whose loading depends on it, or what the iterator walks.
fn load(program: &mut Program, target: &str, btf: &mut Option<Btf>) -> Result<(), ProgramError> {
    if btf.is_none()
        && matches!(
            program,
            Program::BtfTracePoint(_) | Program::FEntry(_) | Program::FExit(_) | Program::Iter(_)
        )
    {
        *btf = Some(Btf::from_sys_fs()?);
    }
    let types = btf.as_ref().ok_or(ProgramError::NotLoaded);
    match program {
        Program::RawTracePoint(program) => program.load(),
        Program::KProbe(program) => program.load(),
        Program::BtfTracePoint(program) => program.load(target, types?),
        Program::FEntry(program) => program.load(target, types?),
        Program::FExit(program) => program.load(target, types?),
        Program::Iter(program) => program.load(target, types?),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// One that is not loaded is no error. Links that were taken stay.
fn unload(program: &mut Program) -> Result<(), ProgramError> {
    let result = match program {
        Program::RawTracePoint(program) => RawTracePoint::unload(program),
        Program::KProbe(program) => KProbe::unload(program),
        Program::BtfTracePoint(program) => BtfTracePoint::unload(program),
        Program::FEntry(program) => FEntry::unload(program),
        Program::FExit(program) => FExit::unload(program),
        Program::Iter(program) => Iter::unload(program),
        _ => return Err(ProgramError::UnexpectedProgramType),
    };
    match result {
        Err(ProgramError::NotLoaded) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Asks the verifier about a program again, for kernels that keep no figures (before 5.16). It writes
/// them to its log, which is at hand only if the load fails; so the load is made to fail at its very
/// end, where the program gets its descriptor, for want of descriptors:
/// <https://github.com/torvalds/linux/blob/v5.10/kernel/bpf/syscall.c>, `bpf_prog_load`.
fn verified_again(program: &mut Program, target: &str, btf: &mut Option<Btf>) -> Option<u32> {
    unload(program).ok()?;
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..before
    };
    let refused = setrlimit(Resource::Nofile, none)
        .is_ok()
        .then(|| load(program, target, btf));
    // It was so a moment ago, and going back up to the hard limit is always allowed.
    let _ = setrlimit(Resource::Nofile, before);
    let insns = match refused {
        Some(Err(ProgramError::LoadError { verifier_log, .. })) => {
            processed(&verifier_log.to_string())
        }
        _ => None,
    };
    // What is attached stays loaded by its link; this is for the next who asks.
    let _ = load(program, target, btf);
    insns
}

/// The figure of the last line `processed 1234 insns (limit 1000000) …`.
fn processed(log: &str) -> Option<u32> {
    log.lines()
        .rev()
        .find_map(|line| line.strip_prefix("processed ")?.split_once(" insns"))
        .and_then(|(figure, _)| figure.parse().ok())
}

/// See `bpf_prog_show_fdinfo` in <https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/syscall.c>.
fn recursion_misses(fdinfo: &str) -> Option<u64> {
    let line = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_of_a_log() {
        let log = "func#0 @0\nverification time 20 usec\nstack depth 8+0\n\
                   processed 1234 insns (limit 1000000) max_states_per_insn 4 total_states 56\n";
        assert_eq!(processed(log), Some(1234));
        assert_eq!(processed("processed many insns"), None);
        assert_eq!(processed(""), None);
    }

    #[test]
    fn what_the_kernel_left_out() {
        let fdinfo = "pos:\t0\nrun_cnt:\t5\nrecursion_misses:\t7\nverified_insns:\t8\n";
        assert_eq!(recursion_misses(fdinfo), Some(7));
        assert_eq!(recursion_misses("pos:\t0\n"), None);
    }
}
