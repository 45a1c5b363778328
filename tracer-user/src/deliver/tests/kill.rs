//! The process is killed in the middle.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::server::{Reply, Server};
use super::*;

const FOLDER: &str = "WHY502_TEST_KILL_FOLDER";
const URL: &str = "WHY502_TEST_KILL_URL";

/// Runs in a process of its own, which [`nothing_in_the_spool_is_lost`] starts and kills.
#[test]
fn child() {
    let (Some(folder), Ok(url)) = (std::env::var_os(FOLDER), std::env::var(URL)) else {
        return;
    };
    let (sender, _) = start(destination(&url), limits(), Some(Path::new(&folder)));
    for number in 0.. {
        sender.offer(document(number));
        while sender.counters().spooled.items <= number {
            std::thread::yield_now();
        }
        println!("spooled {number}");
    }
}

#[test]
fn nothing_in_the_spool_is_lost() {
    const TAKEN: usize = 40;
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        // The 41st is never answered: it is in flight when the process dies.
        let server = Server::start(|number, _| match number {
            0..TAKEN => Reply::ok(),
            _ => Reply::Never,
        });
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--exact", "deliver::tests::kill::child", "--nocapture"])
            .env(FOLDER, dir.path())
            .env(URL, server.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut last = 0;
        // Held until the end: a child that cannot print would end by itself, before all that was asked for came.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref() {
            let line = line.unwrap();
            let number = line.split("spooled ").nth(1);
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                last = number;
            }
            if last >= 150 {
                break;
            }
        }
        server.wait_for(TAKEN + 1);
        // SIGKILL, to our own child.
        child.kill().unwrap();
        child.wait().unwrap();
        drop(lines);
        assert!(last >= 150);
        assert_eq!(server.bodies(), documents(0..TAKEN as u64 + 1));

        let server = Server::start(|_, _| Reply::ok());
        let (sender, _) = start(destination(&server.url()), limits(), Some(dir.path()));
        assert!(sender.flush(LONG));
        let counters = sender.finish(LONG);
        adds_up(&counters);
        let got = server.bodies();
        // From the one in flight on, the same bytes; perhaps the one before it, if it was killed between
        // the answer and the note of it; and all that were known to be spooled.
        let from = got[..].first() == Some(&document(TAKEN as u64).body.to_vec());
        let from = TAKEN as u64 - u64::from(!from);
        assert_eq!(got, documents(from..from + got.len() as u64));
        assert!(from + got.len() as u64 > last, "{} of {last}", got.len());
        assert!(counters.torn_documents <= 1);
    }
}
