//! The checkup for people.

use std::io::{self, Write};

use tracer_ebpf::Tracked;

use super::{Checkup, Outlook, ProxyGroup, Standing, Verdict, Weight};
use crate::capture::options::{MAX_CONNECTIONS, RING_BYTES};
use crate::config::{LogKind, Logging, Source, Tie};
use crate::discover::container_id;
use crate::kernel::features::{Btf, Features, Found};
use crate::kernel::offsets::Registers;
use crate::kernel::preflight::Programs;
use crate::kernel::problem::{Problem, Severity};
use crate::kernel::rights::{Capability, Rights};
use crate::printable::printable;

/// Longest text that another program chose (paths, host names), characters.
const FOREIGN_MAX: usize = 200;
/// Longest line of names.
const LINE_MAX: usize = 90;
/// Workers listed by id before the rest is only counted.
const WORKERS_MAX: usize = 12;

/// Writes the whole checkup, the verdict first.
pub fn write(checkup: &Checkup, out: &mut impl Write) -> io::Result<()> {
    let problems = checkup.problems();
    verdict(checkup.outlook(), &problems, out)?;
    writeln!(out)?;
    kernel(checkup, out)?;
    hooks(&checkup.preflight.features, out)?;
    if let Some(Ok(weight)) = &checkup.weight {
        programs(weight, out)?;
    }
    verdicts(&checkup.verdicts(), out)?;
    rights(&checkup.preflight.rights, out)?;
    proxies(checkup, out)
}

fn verdict(outlook: Outlook, problems: &[Problem], out: &mut impl Write) -> io::Result<()> {
    let headline = match outlook {
        Outlook::Works => "A capture will work on this machine.",
        Outlook::Limited => "A capture will work on this machine, with limits:",
        Outlook::Impossible => "A capture will not work:",
    };
    writeln!(out, "{headline}")?;
    for problem in problems {
        // When nothing works, what would merely be less is marked so that the order to act is clear.
        let mark = match (outlook, problem.severity) {
            (Outlook::Impossible, Severity::Limits) => "also, a limit: ",
            _ => "",
        };
        writeln!(out, "  - {mark}{}", problem.what)?;
        writeln!(out, "    do: {}", problem.remedy)?;
    }
    Ok(())
}

fn kernel(checkup: &Checkup, out: &mut impl Write) -> io::Result<()> {
    let features = &checkup.preflight.features;
    writeln!(
        out,
        "Host         {}",
        printable(&checkup.host, FOREIGN_MAX)
    )?;
    writeln!(
        out,
        "Kernel       {} {}",
        printable(&features.release, FOREIGN_MAX),
        printable(&features.machine, FOREIGN_MAX)
    )?;
    let btf = match &features.btf {
        Btf::Present => "found".to_owned(),
        Btf::Absent => "missing".to_owned(),
        Btf::Unreadable(why) => format!("cannot be read: {why}"),
    };
    writeln!(out, "Type info    {btf}")?;
    let programs = match &checkup.preflight.programs {
        Programs::Built => "in this build".to_owned(),
        Programs::LeftOut(why) => format!("not in this build: {why}"),
    };
    writeln!(out, "Programs     {programs}")?;
    let trial = match &checkup.trial {
        Some(Ok(())) => "the kernel took an empty program".to_owned(),
        Some(Err(why)) => format!("refused: {why}"),
        None => "not tried, for lack of rights".to_owned(),
    };
    writeln!(out, "Trial load   {trial}")?;
    writeln!(
        out,
        "Lockdown     {}",
        checkup.preflight.rights.lockdown.name()
    )?;
    if let Some(cgroup) = &checkup.own_cgroup {
        let own = printable(cgroup, FOREIGN_MAX);
        let container = container(cgroup);
        writeln!(out, "Cgroup       {own}{container}")?;
    }
    writeln!(
        out,
        "Memory       ring buffer {} KiB (--ring-bytes), at most {MAX_CONNECTIONS} connections (--max-connections), \
         {:.1} KiB each while they are open",
        RING_BYTES / 1024,
        size_of::<Tracked>() as f64 / 1024.0
    )
}

/// A remark on processes in containers.
fn container(cgroup: &str) -> String {
    // Runtimes show the first twelve characters.
    container_id(cgroup).map_or(String::new(), |id| format!(" (container {})", &id[..12]))
}

/// What the verifier made of each program, and where it is attached.
fn programs(weight: &Weight, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nPrograms loaded and attached in {} ms; instructions verified, of 1000000",
        weight.took.as_millis()
    )?;
    for program in &weight.programs {
        let insns = program
            .verified_insns
            .map_or("?".to_owned(), |insns| insns.to_string());
        let places: Vec<String> = program
            .attached_to
            .iter()
            .map(|(kind, target)| format!("{} {target}", kind.name()))
            .collect();
        let places = match places.as_slice() {
            [] => "iterator tcp".to_owned(),
            places => places.join(", "),
        };
        writeln!(out, "  {insns:>7}  {:<20} {places}", program.program)?;
    }
    for hook in &weight.refused {
        writeln!(out, "  refused  {hook}")?;
    }
    writeln!(out, "\nMaps: entries, bytes of an entry")?;
    for map in &weight.maps {
        let name = printable(&map.name, FOREIGN_MAX);
        writeln!(
            out,
            "  {:>8} {:>6}  {name}",
            map.max_entries, map.entry_bytes
        )?;
    }
    Ok(())
}

/// Those that can be had as they are by name, the others each with what is missing.
fn verdicts(verdicts: &[Verdict], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nVerdicts")?;
    let mut line = String::new();
    let mut head = "available";
    for verdict in verdicts
        .iter()
        .filter(|verdict| verdict.standing == Standing::Available)
    {
        if line.len() + verdict.rule.len() > LINE_MAX {
            writeln!(out, "  {head:<10}{line}")?;
            line.clear();
            head = "";
        }
        let blank = if line.is_empty() { "" } else { " " };
        line.push_str(blank);
        line.push_str(verdict.rule);
    }
    if !line.is_empty() {
        writeln!(out, "  {head:<10}{line}")?;
    }
    // Those that lack the same stand together.
    let mut rest: Vec<&Verdict> = verdicts.iter().filter(|v| v.why.is_some()).collect();
    rest.sort_by_key(|verdict| (verdict.standing, verdict.why));
    for group in rest.chunk_by(|a, b| (a.standing, a.why) == (b.standing, b.why)) {
        let rules: Vec<&str> = group.iter().map(|verdict| verdict.rule).collect();
        let rules = if group.len() == verdicts.len() {
            "all".to_owned()
        } else {
            rules.join(" ")
        };
        let why = group[0].why.unwrap_or_default();
        writeln!(out, "  {:<10}{rules}: {why}", group[0].standing.name())?;
    }
    Ok(())
}

fn hooks(features: &Features, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nHooks")?;
    for (hook, found) in &features.hooks {
        match found {
            Found::By { way: 0, .. } => writeln!(out, "  found    {}", hook.name)?,
            Found::By { places, .. } => {
                writeln!(out, "  replaced {}: by {places}", hook.name)?;
            }
            Found::Nowhere => writeln!(out, "  missing  {}: {}", hook.name, hook.without)?,
            Found::Unknown => writeln!(out, "  unknown  {}", hook.name)?,
        }
    }
    let registers = match features.registers {
        Some(Registers::Helper) => "  found    bpf_task_pt_regs (helper)",
        Some(Registers::Stack { .. }) => {
            "  replaced bpf_task_pt_regs (helper): by the thread's kernel stack, where it lies"
        }
        Some(Registers::Unknown) => {
            "  missing  bpf_task_pt_regs (helper): the first bytes of messages, and so the status, cannot be read"
        }
        None => "  unknown  bpf_task_pt_regs (helper)",
    };
    writeln!(out, "{registers}")?;
    let iterator = match features.tcp_iterator {
        Some(true) => "  found    tcp (iterator)",
        Some(false) => {
            "  missing  tcp (iterator): connections that are open before the start are known from their next use on"
        }
        None => "  unknown  tcp (iterator)",
    };
    writeln!(out, "{iterator}")?;
    let standby = match features.standby {
        Some(true) => "  found    a place to stand by (capture --standby)",
        Some(false) => "  missing  a place to stand by: everything is traced all the time",
        None => "  unknown  a place to stand by",
    };
    writeln!(out, "{standby}")?;
    let reasons = match features.reset_reasons.len() {
        0 => "  none     reasons of resets: this kernel does not name why it sends one; two are concluded from its sockets"
            .to_owned(),
        count => format!("  found    {count} reasons of resets, by name"),
    };
    writeln!(out, "{reasons}")
}

fn rights(rights: &Rights, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nRights")?;
    for capability in Capability::ALL {
        let held = match (rights.effective, rights.has(capability)) {
            (None, _) => "?  ",
            (_, true) => "yes",
            (_, false) => "no ",
        };
        writeln!(
            out,
            "  {held}  {:<20} {}",
            capability.name(),
            capability.purpose()
        )?;
    }
    match rights.unprivileged_bpf_disabled {
        Some(0) => writeln!(
            out,
            "  Unprivileged programs are allowed here; tracing needs the rights above all the same."
        ),
        Some(_) => writeln!(
            out,
            "  Unprivileged programs are off, as they should be; tracing does not use them."
        ),
        None => Ok(()),
    }
}

fn proxies(checkup: &Checkup, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nProxies")?;
    if checkup.proxies.is_empty() {
        return writeln!(
            out,
            "  none found. Known by name: NGINX (OpenResty, Angie, Tengine), HAProxy, Envoy, Apache httpd.\n  Any other: why502 capture --proxy NAME, or --pid PID."
        );
    }
    for proxy in &checkup.proxies {
        proxy_lines(proxy, checkup.own_netns, out)?;
    }
    Ok(())
}

fn proxy_lines(proxy: &ProxyGroup, own: Option<u64>, out: &mut impl Write) -> io::Result<()> {
    let path = proxy
        .executable
        .as_ref()
        .map_or("(path not visible without rights)".into(), |path| {
            printable(&path.to_string_lossy(), FOREIGN_MAX)
        });
    let name = printable(proxy.kind.name(), FOREIGN_MAX);
    writeln!(out, "  {name}  {path}")?;
    writeln!(out, "    processes  {}", processes(proxy))?;
    let listening = match (proxy.listening.as_slice(), proxy.sockets_seen) {
        ([], true) => "on no TCP port".to_owned(),
        ([], false) => "not visible without rights".to_owned(),
        (addresses, _) => addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" "),
    };
    writeln!(out, "    listens    {listening}")?;
    match (proxy.netns, own) {
        (Some(theirs), Some(ours)) if theirs != ours => writeln!(
            out,
            "    network    namespace {theirs}, not ours ({ours}): a container; it is traced all the same"
        )?,
        _ => {}
    }
    if let Some(cgroup) = proxy.cgroup.as_deref() {
        let container = container(cgroup);
        if !container.is_empty() {
            writeln!(
                out,
                "    cgroup     {}{container}",
                printable(cgroup, FOREIGN_MAX)
            )?;
        }
    }
    if let Some(tls) = &proxy.tls {
        let version = tls
            .version
            .as_ref()
            .map_or(String::new(), |v| format!(" {v}"));
        let place = match &tls.path {
            Some(path) => printable(&path.to_string_lossy(), FOREIGN_MAX),
            None => "linked in".to_owned(),
        };
        writeln!(out, "    tls        {}{version} ({place})", tls.name)?;
    }
    match &proxy.logging {
        Some(logging) => log_lines(proxy, logging, out),
        None => Ok(()),
    }
}

/// What it logs, and where its lines do not name the connection.
fn log_lines(proxy: &ProxyGroup, logging: &Logging, out: &mut impl Write) -> io::Result<()> {
    let mut better = false;
    for log in &logging.logs {
        let to = match (&log.to, &log.source) {
            (Some(to), _) => printable(to, FOREIGN_MAX),
            (None, Source::Default) => "a place that was built in".to_owned(),
            (None, Source::File { .. }) => "nowhere".to_owned(),
        };
        let (format, source) = (printable(&log.format, FOREIGN_MAX), &log.source);
        match (log.kind, log.tie) {
            (LogKind::Error, _) => writeln!(out, "    errors     {to}, level {format} ({source})")?,
            (_, Some(Tie::Nothing)) => writeln!(out, "    log        {to}: {format} ({source})")?,
            _ => writeln!(out, "    log        {to}, format {format} ({source})")?,
        }
        let lacks = match log.tie {
            None | Some(Tie::Exact | Tie::Unknown) => continue,
            Some(Tie::Backend) => {
                "its lines name the backend and not the connection: which one it was is told by time"
            }
            Some(Tie::Time) => {
                "its lines name neither the connection nor an id nor the backend: they are tied to failures by time only"
            }
            Some(Tie::Nothing) => "no line can be tied to a failure",
        };
        writeln!(out, "               {lacks}")?;
        better = true;
    }
    for note in &logging.notes {
        writeln!(out, "    log        {}", printable(note, FOREIGN_MAX))?;
    }
    if better {
        let name = proxy.kind.name();
        writeln!(out, "               do: why502 explain log-format {name}")?;
    }
    Ok(())
}

fn processes(proxy: &ProxyGroup) -> String {
    let master = proxy.master;
    if proxy.workers.is_empty() {
        return master.to_string();
    }
    let shown: Vec<String> = proxy
        .workers
        .iter()
        .take(WORKERS_MAX)
        .map(ToString::to_string)
        .collect();
    let more = match proxy.workers.len().saturating_sub(WORKERS_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{master}, workers {}{more}", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn text(checkup: &Checkup) -> String {
        let mut out = Vec::new();
        write(checkup, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_healthy_host() {
        assert_eq!(
            text(&fixture::healthy()),
            "\
A capture will work on this machine.

Host         edge-1
Kernel       6.12.1 x86_64
Type info    found
Programs     in this build
Trial load   the kernel took an empty program
Lockdown     none
Cgroup       /user.slice/session-1.scope
Memory       ring buffer 8192 KiB (--ring-bytes), at most 131072 connections (--max-connections), 1.8 KiB each while they are open

Hooks
  found    sock_send_length
  found    sock_recv_length
  found    inet_sock_set_state
  found    tcp_send_reset
  found    tcp_receive_reset
  found    tcp_retransmit_skb
  found    tcp_destroy_sock
  found    inet_sk_error_report
  found    sched_process_fork
  found    sched_process_exec
  found    sched_process_exit
  found    mark_victim
  found    bpf_task_pt_regs (helper)
  found    tcp (iterator)
  found    a place to stand by (capture --standby)
  found    1 reasons of resets, by name

Verdicts
  available client-abort plaintext-to-tls upgrade-refused application-502 protocol-version-mismatch
            malformed-response conflicting-framing chunk-framing-invalid header-too-large
            body-longer-than-declared local-fd-exhausted name-resolution-failed queue-timeout
            no-backend-available local-port-exhausted listen-queue-overflow connect-refused
            connect-unreachable connect-timeout tls-to-plaintext tls-alert-from-backend
            tls-verify-failed tls-handshake-timeout tls-peer-closed tls-reset keepalive-race
            idle-drop-by-middlebox path-reset request-body-rejected fin-before-response
            rst-before-response informational-only-response partial-header mtu-black-hole packet-loss
            body-truncated-fin body-truncated-rst response-timeout body-stalled backend-process-exit
            backend-restart unexplained

Rights
  yes  CAP_BPF              load the kernel programs
  yes  CAP_PERFMON          attach to tracepoints and read kernel memory
  yes  CAP_SYS_ADMIN        stands in for CAP_BPF and CAP_PERFMON; kernels before 5.8 need it
  yes  CAP_SYS_PTRACE       see the program and the namespaces of other users' processes
  yes  CAP_DAC_READ_SEARCH  list the sockets of other users' processes
  yes  CAP_NET_RAW          see ICMP errors about the traced connections
  Unprivileged programs are off, as they should be; tracing does not use them.

Proxies
  nginx  /usr/sbin/nginx
    processes  10, workers 11 12
    listens    0.0.0.0:80 [::]:80
    tls        OpenSSL 3.0.17 (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
    log        /var/log/nginx/access.log, format combined (/etc/nginx/nginx.conf:41)
               its lines name neither the connection nor an id nor the backend: they are tied to failures by time only
    errors     a place that was built in, level error (default)
    log        /etc/nginx/x.conf was not read: no such file.
               do: why502 explain log-format nginx
  envoy  /opt/e\\x1b[31mvil/envoy
    processes  20
    listens    on no TCP port
    network    namespace 77, not ours (1): a container; it is traced all the same
    cgroup     /system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope (container 0123456789ab)
    tls        BoringSSL (linked in)
"
        );
    }

    #[test]
    fn what_to_do_comes_first() {
        let text = text(&fixture::without_root());
        assert!(
            text.starts_with(
                "A capture will not work:\n  - no right to load kernel programs: CAP_BPF and CAP_PERFMON missing\n    do: run with sudo"
            ),
            "{text}"
        );
        assert!(
            text.contains("  - also, a limit: no right to look into"),
            "{text}"
        );
        assert!(text.contains("not tried, for lack of rights"));
        assert!(text.contains("listens    not visible without rights"));
        assert!(!text.contains("on no TCP port"), "absence is not known");
    }

    #[test]
    fn an_older_kernel() {
        let text = text(&fixture::older_kernel());
        for line in [
            "  replaced sock_send_length: by fexit inet_sendmsg, inet6_sendmsg, inet_sendpage\n",
            "  replaced inet_sk_error_report: by fentry sock_def_error_report\n",
            "  replaced bpf_task_pt_regs (helper): by the thread's kernel stack",
            "\nPrograms loaded and attached in 1500 ms; instructions verified, of 1000000\n   179255  send_exit            fexit inet_sendmsg, fexit inet6_sendmsg\n",
            "\nMaps: entries, bytes of an entry\n    131072    400  CONNS\n",
            "  inferred  keepalive-race: without the reason of a reset",
            "  inferred  path-reset: this kernel does not tell of resets that answer",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn many_workers_are_counted() {
        let mut checkup = fixture::healthy();
        checkup.proxies[0].workers = (100..200).collect();
        let text = text(&checkup);
        assert!(text.contains("110 111 and 88 more\n"), "{text}");
    }

    #[test]
    fn no_proxy_is_explained() {
        let mut checkup = fixture::healthy();
        checkup.proxies.clear();
        assert!(text(&checkup).contains("none found"));
    }
}
