//! What a session has to know before its first record: who is traced, what is configured, what was lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::config::ProxyConfig;
use crate::event::{
    Input, KernelEvent, LocalBackend, Losses, MonoNs, ProcessEvent, ProxyProcess, Standby,
};

/// Records of a process may come behind its end.
const LINGER_NS: MonoNs = 130_000_000_000;
/// Most processes that are known; as many as a session knows.
const PROCESSES_MAX: usize = 65_536;

/// The inputs that set something, folded.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    proxies: BTreeMap<u32, ProxyProcess>,
    locals: BTreeMap<SocketAddr, BTreeSet<u32>>,
    config: Option<Vec<ProxyConfig>>,
    losses: Losses,
    /// Since when tracing stands by.
    stands_by: Option<MonoNs>,
    /// Processes that have ended, and when.
    leaving: VecDeque<(MonoNs, u32)>,
}

impl State {
    /// Does this input set something?
    pub(crate) fn is_set_by(input: &Input) -> bool {
        matches!(
            input,
            Input::Proxy(_)
                | Input::LocalBackend(_)
                | Input::Config(_)
                | Input::Losses(_)
                | Input::Standby(_)
                | Input::Kernel(KernelEvent::Process(ProcessEvent::Exit { .. }))
        )
    }

    /// Takes an input that came at `now`.
    pub(crate) fn apply(&mut self, input: &Input, now: MonoNs) {
        match input {
            Input::Proxy(process) => {
                self.stays(process.pid);
                if self.proxies.len() < PROCESSES_MAX || self.proxies.contains_key(&process.pid) {
                    self.proxies.insert(process.pid, process.clone());
                }
            }
            Input::LocalBackend(backend) => {
                for pid in &backend.pids {
                    self.stays(*pid);
                }
                self.locals
                    .entry(backend.addr)
                    .or_default()
                    .extend(&backend.pids);
            }
            Input::Config(configs) => self.config = Some(configs.clone()),
            Input::Losses(losses) => self.losses.clone_from(losses),
            Input::Standby(standby) => {
                self.stands_by = standby.woken_by.is_none().then_some(standby.time_ns);
            }
            Input::Kernel(KernelEvent::Process(ProcessEvent::Exit { pid, .. })) => {
                self.leaving.push_back((now, *pid));
            }
            _ => {}
        }
        self.forget(now);
    }

    /// A number that was used before is used again.
    fn stays(&mut self, pid: u32) {
        self.leaving.retain(|(_, leaving)| *leaving != pid);
    }

    fn forget(&mut self, now: MonoNs) {
        while let Some((_, pid)) = self
            .leaving
            .pop_front_if(|(at, _)| at.saturating_add(LINGER_NS) <= now)
        {
            self.proxies.remove(&pid);
            for pids in self.locals.values_mut() {
                pids.remove(&pid);
            }
        }
    }

    /// Inputs that bring a new session here.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let proxies = self.proxies.values().cloned().map(Input::Proxy);
        let mut inputs: Vec<Input> = proxies.collect();
        inputs.extend(self.config.clone().map(Input::Config));
        for (addr, pids) in &self.locals {
            // Without processes, too: the backend lives on this host, whatever became of it.
            inputs.push(Input::LocalBackend(LocalBackend {
                addr: *addr,
                pids: pids.iter().copied().collect(),
            }));
        }
        inputs.extend(self.stands_by.map(|time_ns| {
            Input::Standby(Standby {
                time_ns,
                woken_by: None,
            })
        }));
        if !self.losses.is_empty() {
            inputs.push(Input::Losses(self.losses.clone()));
        }
        inputs
    }

    /// Losses are counted anew from here.
    pub(crate) fn no_losses(&mut self) {
        self.losses.clear();
    }

    /// Processes that are traced as proxies, those that have just ended left out.
    pub(crate) fn traced(&self) -> usize {
        let leaving = |pid: &&u32| self.leaving.iter().any(|(_, leaving)| leaving == *pid);
        self.proxies.keys().filter(|pid| !leaving(pid)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProxyKind;

    const S: MonoNs = 1_000_000_000;

    fn proxy(pid: u32) -> Input {
        Input::Proxy(ProxyProcess {
            instance: Some(7),
            pid,
            kind: ProxyKind::Nginx,
        })
    }

    fn exit(pid: u32) -> Input {
        Input::Kernel(KernelEvent::Process(ProcessEvent::Exit {
            pid,
            code: Some(0),
            signal: None,
            at_ns: 0,
        }))
    }

    fn local(pids: &[u32]) -> Input {
        Input::LocalBackend(LocalBackend {
            addr: ([127, 0, 0, 1], 80).into(),
            pids: pids.to_vec(),
        })
    }

    #[test]
    fn the_state_is_kept_current() {
        let losses = |count| Input::Losses(vec![("ring_upstream".into(), count)]);
        type Story = Vec<(MonoNs, Input)>;
        let table: Vec<(Story, Vec<Input>)> = vec![
            (vec![(1, proxy(8)), (2, proxy(8))], vec![proxy(8)]),
            (vec![(0, proxy(8)), (1, exit(8))], vec![proxy(8)]),
            (
                vec![(0, proxy(8)), (1, exit(8)), (132 * S, proxy(9))],
                vec![proxy(9)],
            ),
            // A new process of that number.
            (
                vec![
                    (0, proxy(8)),
                    (1, exit(8)),
                    (2, proxy(8)),
                    (300 * S, losses(1)),
                ],
                vec![proxy(8), losses(1)],
            ),
            (vec![(0, losses(1)), (1, losses(2))], vec![losses(2)]),
            (
                vec![(0, Input::Config(Vec::new())), (1, proxy(8))],
                vec![proxy(8), Input::Config(Vec::new())],
            ),
            (
                vec![
                    (0, local(&[1])),
                    (1, local(&[2])),
                    (2, exit(1)),
                    (200 * S, losses(0)),
                ],
                vec![local(&[2]), losses(0)],
            ),
        ];
        for (inputs, expected) in table {
            let mut state = State::default();
            for (at, input) in &inputs {
                assert!(State::is_set_by(input));
                state.apply(input, *at);
            }
            assert_eq!(state.inputs(), expected, "{inputs:?}");
        }
    }

    #[test]
    fn who_has_ended_is_not_traced() {
        let mut state = State::default();
        state.apply(&proxy(8), 0);
        state.apply(&proxy(9), 0);
        assert_eq!(state.traced(), 2);
        state.apply(&exit(8), 1);
        assert_eq!(state.traced(), 1);
    }
}
