//! `sched:sched_process_fork`, `_exec`, `_exit`, `oom:mark_victim`: processes come and go.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_ebpf::{ABSENT, process};

use crate::programs::{conn, emit, globals::offset, maps::PROCESSES, sock};

#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    let (parent, child): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let Some(parent_tgid) = sock::read::<u32>(parent, offset!(task_tgid)) else {
        return 0;
    };
    let Some(kind) = conn::kind(u64::from(parent_tgid) << 32) else {
        return 0;
    };
    let Some(tgid) = sock::read::<u32>(child, offset!(task_tgid)) else {
        return 0;
    };
    if tgid == parent_tgid {
        return 0; // a thread
    }
    conn::trace(tgid, kind);
    emit::process(process::FORK, tgid, parent_tgid, 0, 0);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(_ctx: RawTracePointContext) -> i32 {
    emit::process(
        process::EXEC,
        (bpf_get_current_pid_tgid() >> 32) as u32,
        0,
        0,
        0,
    );
    0
}

/// The table entry stays until user space removes it: the sockets close after this.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn sched_process_exit(_ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if PROCESSES.get_ptr(&tgid).is_none() {
        return 0;
    }
    // SAFETY: no arguments; gives the running thread.
    let task = unsafe { bpf_get_current_task() };
    // The thread has left the count of living ones already.
    let living = sock::read::<u64>(task, offset!(task_signal))
        .and_then(|signal| sock::read::<i32>(signal, offset!(signal_live)));
    let last = match living {
        Some(count) => count == 0,
        None => pid_tgid as u32 == tgid,
    };
    if last {
        let status = sock::read::<u32>(task, offset!(task_exit_code)).unwrap_or(0);
        emit::process(process::EXIT, tgid, 0, 0, status);
    }
    0
}

#[raw_tracepoint(tracepoint = "mark_victim")]
fn mark_victim(ctx: RawTracePointContext) -> i32 {
    // A task from 6.8 on, a process id before.
    let tgid = if offset!(oom_task_arg) == ABSENT {
        ctx.arg::<u32>(0)
    } else {
        match sock::read::<u32>(ctx.arg(0), offset!(task_tgid)) {
            Some(tgid) => tgid,
            None => return 0,
        }
    };
    if PROCESSES.get_ptr(&tgid).is_some() {
        emit::process(process::OOM_VICTIM, tgid, 0, 0, 0);
    }
    0
}
