//! The checkup for programs: one JSON object, described in `docs/doctor-json.md`. Fields are only
//! ever added; what is unknown is absent.

use std::io::{self, Write};

use serde::Serialize;
use tracer_ebpf::Tracked;

use super::{Checkup, Weight};
use crate::capture::options::{MAX_CONNECTIONS, RING_BYTES};
use crate::config::{Log, Tie};
use crate::discover::container_id;
use crate::kernel::attach::Loaded;
use crate::kernel::features::{Btf, Found};
use crate::kernel::offsets::Registers;
use crate::kernel::preflight::Programs;
use crate::kernel::rights::Capability;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    host: &'a str,
    outlook: &'static str,
    problems: Vec<ProblemRow>,
    kernel: Kernel<'a>,
    programs: Part<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial_load: Option<Part<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<LoadRow<'a>>,
    hooks: Vec<HookRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_pt_regs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registers: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_iterator: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    standby: Option<bool>,
    reset_reasons: Vec<&'a str>,
    verdicts: Vec<VerdictRow>,
    sizes: Sizes,
    rights: Rights,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_container: Option<&'a str>,
    proxies: Vec<ProxyRow<'a>>,
}

#[derive(Serialize)]
struct ProblemRow {
    severity: &'static str,
    what: String,
    remedy: String,
}

#[derive(Serialize)]
struct Kernel<'a> {
    release: &'a str,
    machine: &'a str,
    btf: Part<'a>,
}

/// Something that is all right, or why not.
#[derive(Serialize)]
struct Part<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl<'a> Part<'a> {
    const OK: Self = Self {
        ok: true,
        why: None,
    };

    fn not(why: &'a str) -> Self {
        Self {
            ok: false,
            why: Some(why),
        }
    }
}

/// The programs of a capture, loaded.
#[derive(Serialize)]
struct LoadRow<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    programs: Option<Vec<ProgramRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_hooks: Option<&'a [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maps: Option<Vec<MapJson<'a>>>,
}

#[derive(Serialize)]
struct ProgramRow<'a> {
    name: &'a str,
    attached_to: Vec<PlaceRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_insns: Option<u32>,
}

#[derive(Serialize)]
struct PlaceRow {
    kind: &'static str,
    target: &'static str,
}

#[derive(Serialize)]
struct MapJson<'a> {
    name: &'a str,
    max_entries: u32,
    entry_bytes: u32,
}

fn load_row(weight: &Result<Weight, String>) -> LoadRow<'_> {
    let weight = match weight {
        Ok(weight) => weight,
        Err(why) => {
            return LoadRow {
                ok: false,
                why: Some(why),
                took_ms: None,
                programs: None,
                refused_hooks: None,
                maps: None,
            };
        }
    };
    LoadRow {
        ok: true,
        why: None,
        took_ms: Some(weight.took.as_millis() as u64),
        programs: Some(weight.programs.iter().map(program_row).collect()),
        refused_hooks: Some(&weight.refused),
        maps: Some(
            weight
                .maps
                .iter()
                .map(|map| MapJson {
                    name: &map.name,
                    max_entries: map.max_entries,
                    entry_bytes: map.entry_bytes,
                })
                .collect(),
        ),
    }
}

fn program_row(loaded: &Loaded) -> ProgramRow<'_> {
    ProgramRow {
        name: &loaded.program,
        attached_to: loaded
            .attached_to
            .iter()
            .map(|&(kind, target)| PlaceRow {
                kind: kind.name(),
                target,
            })
            .collect(),
        verified_insns: loaded.verified_insns,
    }
}

#[derive(Serialize)]
struct HookRow<'a> {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<&'a str>,
    required: bool,
    without: &'static str,
}

#[derive(Serialize)]
struct VerdictRow {
    rule: &'static str,
    standing: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

/// Where the command line says nothing else.
#[derive(Serialize)]
struct Sizes {
    ring_bytes: u32,
    max_connections: u32,
    connection_bytes: u32,
}

#[derive(Serialize)]
struct TlsRow<'a> {
    library: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Serialize)]
struct Rights {
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<CapabilityRow>>,
    lockdown: &'static str,
    seccomp_filter: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unprivileged_bpf_disabled: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_user_namespace: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_pid_namespace: Option<bool>,
}

#[derive(Serialize)]
struct CapabilityRow {
    name: &'static str,
    held: bool,
    purpose: &'static str,
}

#[derive(Serialize)]
struct ProxyRow<'a> {
    kind: &'a str,
    master: u32,
    workers: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_namespace: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_network_namespace: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listening: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Vec<LogRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_notes: Option<&'a [String]>,
}

#[derive(Serialize)]
struct LogRow<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tie: Option<&'static str>,
    source: String,
}

fn log_row(log: &Log) -> LogRow<'_> {
    LogRow {
        kind: log.kind.name(),
        to: log.to.as_deref(),
        format: &log.format,
        tie: log.tie.map(Tie::name),
        source: log.source.to_string(),
    }
}

/// Writes the object and a line feed.
pub fn write(checkup: &Checkup, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &document(checkup))?;
    writeln!(out)
}

fn document(checkup: &Checkup) -> Document<'_> {
    let features = &checkup.preflight.features;
    Document {
        schema: "why502-doctor/1",
        version: env!("CARGO_PKG_VERSION"),
        host: &checkup.host,
        outlook: checkup.outlook().name(),
        problems: checkup
            .problems()
            .into_iter()
            .map(|problem| ProblemRow {
                severity: problem.severity.name(),
                what: problem.what,
                remedy: problem.remedy,
            })
            .collect(),
        kernel: Kernel {
            release: &features.release,
            machine: &features.machine,
            btf: match &features.btf {
                Btf::Present => Part::OK,
                Btf::Absent => Part::not("this kernel was built without it"),
                Btf::Unreadable(why) => Part::not(why),
            },
        },
        programs: match &checkup.preflight.programs {
            Programs::Built => Part::OK,
            Programs::LeftOut(why) => Part::not(why),
        },
        trial_load: checkup.trial.as_ref().map(|trial| match trial {
            Ok(()) => Part::OK,
            Err(why) => Part::not(why),
        }),
        load: checkup.weight.as_ref().map(load_row),
        hooks: features
            .hooks
            .iter()
            .map(|(hook, found)| HookRow {
                name: hook.name,
                found: match found {
                    Found::By { way, .. } => Some(*way == 0),
                    Found::Nowhere => Some(false),
                    Found::Unknown => None,
                },
                replaced_by: match found {
                    Found::By { way: 1.., places } => Some(places),
                    _ => None,
                },
                required: hook.required,
                without: hook.without,
            })
            .collect(),
        task_pt_regs: features.registers.map(|way| way == Registers::Helper),
        registers: features.registers.map(Registers::name),
        tcp_iterator: features.tcp_iterator,
        standby: features.standby,
        reset_reasons: features
            .reset_reasons
            .iter()
            .map(|(_, name)| name.as_str())
            .collect(),
        verdicts: checkup
            .verdicts()
            .into_iter()
            .map(|verdict| VerdictRow {
                rule: verdict.rule,
                standing: verdict.standing.name(),
                why: verdict.why,
            })
            .collect(),
        sizes: Sizes {
            ring_bytes: RING_BYTES,
            max_connections: MAX_CONNECTIONS,
            connection_bytes: size_of::<Tracked>() as u32,
        },
        rights: rights(checkup),
        own_cgroup: checkup.own_cgroup.as_deref(),
        own_container: checkup.own_cgroup.as_deref().and_then(container_id),
        proxies: checkup
            .proxies
            .iter()
            .map(|proxy| ProxyRow {
                kind: proxy.kind.name(),
                master: proxy.master,
                workers: &proxy.workers,
                executable: proxy
                    .executable
                    .as_ref()
                    .map(|path| path.to_string_lossy().into_owned()),
                network_namespace: proxy.netns,
                own_network_namespace: proxy
                    .netns
                    .zip(checkup.own_netns)
                    .map(|(theirs, ours)| theirs == ours),
                listening: (proxy.sockets_seen || !proxy.listening.is_empty())
                    .then(|| proxy.listening.iter().map(ToString::to_string).collect()),
                cgroup: proxy.cgroup.as_deref(),
                container: proxy.cgroup.as_deref().and_then(container_id),
                tls: proxy.tls.as_ref().map(|tls| TlsRow {
                    library: tls.name,
                    version: tls.version.as_deref(),
                    path: tls
                        .path
                        .as_ref()
                        .map(|path| path.to_string_lossy().into_owned()),
                }),
                config: proxy.logging.as_ref().map(|logging| logging.file.as_str()),
                logs: proxy
                    .logging
                    .as_ref()
                    .map(|logging| logging.logs.iter().map(log_row).collect()),
                config_notes: proxy
                    .logging
                    .as_ref()
                    .map(|logging| logging.notes.as_slice())
                    .filter(|notes| !notes.is_empty()),
            })
            .collect(),
    }
}

fn rights(checkup: &Checkup) -> Rights {
    let rights = &checkup.preflight.rights;
    Rights {
        capabilities: rights.effective.map(|_| {
            Capability::ALL
                .into_iter()
                .map(|capability| CapabilityRow {
                    name: capability.name(),
                    held: rights.has(capability),
                    purpose: capability.purpose(),
                })
                .collect()
        }),
        lockdown: rights.lockdown.name(),
        seccomp_filter: rights.seccomp_filter,
        unprivileged_bpf_disabled: rights.unprivileged_bpf_disabled,
        host_user_namespace: rights.host_users,
        host_pid_namespace: rights.host_pids,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::fixture;
    use super::*;

    fn json(checkup: &Checkup) -> Value {
        let mut out = Vec::new();
        write(checkup, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn values() {
        let value = json(&fixture::healthy());
        assert_eq!(value["outlook"], "works");
        assert_eq!(value["kernel"]["btf"]["ok"], true);
        assert_eq!(value["proxies"][0]["workers"][1], 12);
        assert_eq!(value["proxies"][0]["listening"][1], "[::]:80");
        assert_eq!(value["proxies"][0]["logs"][0]["tie"], "time");
        assert_eq!(value["proxies"][0]["logs"][1]["source"], "default");
        assert!(value["proxies"][1].get("logs").is_none());
        assert_eq!(value["proxies"][1]["own_network_namespace"], false);
        assert_eq!(value["proxies"][1]["listening"], serde_json::json!([]));
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let value = json(&fixture::without_root());
        assert_eq!(value["outlook"], "impossible");
        assert_eq!(value["problems"][0]["severity"], "blocks");
        assert!(value.get("trial_load").is_none());
        for key in ["executable", "network_namespace", "listening", "logs"] {
            assert!(value["proxies"][0].get(key).is_none(), "{key}");
        }
    }

    /// Every field is described in the document, by its path.
    #[test]
    fn fields_are_documented() {
        fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(map) => {
                    for (key, value) in map {
                        let path = if at.is_empty() {
                            key.clone()
                        } else {
                            format!("{at}.{key}")
                        };
                        found.insert(path.clone());
                        paths(value, &path, found);
                    }
                }
                Value::Array(items) => {
                    for item in items {
                        paths(item, &format!("{at}[]"), found);
                    }
                }
                _ => {}
            }
        }
        let document = include_str!("../../../docs/doctor-json.md");
        let mut refused = fixture::healthy();
        refused.trial = Some(Err("no".into()));
        refused.weight = Some(Err("no".into()));
        refused.own_cgroup = refused.proxies[1].cgroup.clone();
        let mut found = BTreeSet::new();
        for checkup in [refused, fixture::older_kernel()] {
            paths(&json(&checkup), "", &mut found);
        }
        let described: BTreeSet<String> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(str::to_owned)
            .collect();
        let missing: Vec<_> = found.difference(&described).collect();
        assert!(
            missing.is_empty(),
            "not in docs/doctor-json.md: {missing:?}"
        );
    }
}
