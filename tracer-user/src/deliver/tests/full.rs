//! The disk is full: a small file system of our own, which nobody else sees.

use std::path::PathBuf;
use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::server::{Reply, Server, free_address, pause};
use super::*;

/// Runs in a thread, and those it starts, that see a file system of 64 KiB at a path.
fn with_small_disk(test: impl FnOnce(PathBuf) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a full disk needs root, to mount a small file system");
        return;
    }
    let run = std::thread::spawn(move || {
        let dir = tempfile::tempdir().unwrap();
        // SAFETY: only the view of mounts is unshared, of this thread and those that it starts.
        let alone = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        let mounted = alone
            .and_then(|()| mount_change("/", private))
            .and_then(|()| {
                let options = c"size=64k";
                mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), options)
            });
        if let Err(error) = mounted {
            eprintln!("SKIPPED: a small file system cannot be mounted here: {error}");
            return;
        }
        test(dir.path().to_owned());
    });
    run.join().unwrap();
}

#[test]
fn documents_stay_in_memory_and_arrive_in_order() {
    with_small_disk(|dir| {
        let address = free_address();
        let to = destination(&format!("http://{address}"));
        // The spool may have a MiB, the disk has 64 KiB.
        let (sender, heard) = start(to, limits(), Some(&dir));
        let mut number = 0;
        while sender.counters().spool_failures == 0 {
            for _ in 0..100 {
                sender.offer(document(number));
                number += 1;
            }
            pause();
            assert!(number < 2000, "{:?}", sender.counters());
        }
        for _ in 0..300 {
            sender.offer(document(number));
            number += 1;
        }
        pause();
        let counters = sender.counters();
        adds_up(&counters);
        assert_eq!(counters.waiting.items, number);
        assert!(
            counters.queue_bytes > 0 && counters.spool_bytes > 0,
            "{counters:?}"
        );
        assert!(
            heard.text().contains("Make room on that disk"),
            "{}",
            heard.text()
        );
        let server = Server::at(address, |_, _| Reply::ok());
        assert!(sender.flush(LONG));
        assert_eq!(server.bodies(), documents(0..number));
        let counters = sender.finish(LONG);
        assert_eq!(
            (counters.sent.items, counters.losses(Signal::Traces)),
            (number, vec![])
        );
        adds_up(&counters);
    });
}

#[test]
fn what_is_only_in_memory_at_the_end_is_counted() {
    with_small_disk(|dir| {
        let to = destination(&format!("http://{}", free_address()));
        let (sender, _) = start(to, limits(), Some(&dir));
        // Somebody else takes all the room.
        let full = std::fs::write(dir.join("hog"), vec![0; 1 << 20]);
        assert!(full.is_err());
        for number in 0..20 {
            sender.offer(document(number));
        }
        let counters = sender.finish(Duration::from_millis(300));
        adds_up(&counters);
        assert_eq!(counters.dropped(Reason::Stopped).items, 20, "{counters:?}");
    });
}
