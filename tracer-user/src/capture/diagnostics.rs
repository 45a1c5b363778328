//! The kernel programs' own log lines, on standard error (`-v`).

use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

use crate::kernel::loader::Tracer;

/// Writes each line to standard error.
pub(super) struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        eprintln!("kernel: {}", record.args());
    }

    fn flush(&self) {}
}

/// The reader of the programs' log, if they have one.
pub(super) fn open(tracer: &mut Tracer) -> anyhow::Result<EbpfLogger<Stderr>> {
    Ok(EbpfLogger::init_with_logger(tracer.ebpf_mut(), Stderr)?)
}
