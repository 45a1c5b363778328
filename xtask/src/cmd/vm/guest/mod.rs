//! The guest's side: the first process of a kernel that was booted, which carries the plan out.

mod machine;
mod steps;

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use super::plan::{Event, PLAN, Plan};

/// Are we the first process of a guest? Then the kernel started us as its `rdinit`.
pub(crate) fn is_guest() -> bool {
    std::process::id() == 1 && std::path::Path::new(PLAN).exists()
}

/// What the host hears: lines on the second serial port.
#[derive(Clone)]
pub(super) struct Host(Arc<Mutex<File>>);

impl Host {
    pub(super) fn tell(&self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else {
            return;
        };
        line.push(b'\n');
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is left to be told that the port fails; the host's time limit ends us.
        let _ = port.write_all(&line);
    }
}

/// Does everything and switches the machine off. When the first process ends, the kernel panics, so
/// that QEMU ends with it and the reason is the last line of the console.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => machine::off(),
        Err(error) => eprintln!("init: {error:#}"),
    }
    ExitCode::FAILURE
}

fn run() -> anyhow::Result<()> {
    machine::mount_all()?;
    let plan: Plan = serde_json::from_slice(&std::fs::read(PLAN)?)?;
    // So that programs find each other and their libraries, whoever starts them.
    machine::set_environment(&plan.environment);
    let host = Host(Arc::new(Mutex::new(machine::results()?)));
    let (release, ms) = machine::release_and_uptime()?;
    host.tell(&Event::Up { release, ms });
    for problem in machine::prepare() {
        eprintln!("init: {problem}");
        host.tell(&Event::Note { text: problem });
    }
    if plan.shell {
        return machine::shell();
    }
    steps::all(&plan, &host);
    host.tell(&Event::Done);
    Ok(())
}
