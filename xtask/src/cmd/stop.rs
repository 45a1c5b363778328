//! Ctrl-C, where something has to be put away first.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// Waits for Ctrl-C or SIGTERM in a thread of its own.
pub(crate) fn watch(who: &'static str, told: &'static AtomicBool) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for Ctrl-C")?;
    // From here on the signals do not end the process.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
        eprintln!("\n{who}: stopping");
    });
    Ok(())
}
