//! The receiver is not there for a while.

use super::server::{Reply, Server, free_address, pause};
use super::*;

#[test]
fn everything_arrives_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for spool in [None, Some(dir.path())] {
        let address = free_address();
        let (sender, heard) = start(destination(&format!("http://{address}")), limits(), spool);
        for number in 0..200 {
            sender.offer(document(number));
        }
        pause();
        let before = sender.counters();
        assert_eq!((before.sent.items, before.waiting.items), (0, 200));
        assert!(before.retried > 0);
        let server = Server::at(address, |_, _| Reply::ok());
        for number in 200..250 {
            sender.offer(document(number));
        }
        while sender.counters().sent.items < 250 {
            adds_up(&sender.counters());
        }
        assert!(sender.flush(LONG));
        assert_eq!(server.bodies(), documents(0..250));
        let counters = sender.finish(LONG);
        assert_eq!(counters.sent.items, 250);
        assert_eq!(
            counters.spooled.items,
            if spool.is_some() { 250 } else { 0 }
        );
        adds_up(&counters);
        let text = heard.text();
        assert!(
            text.contains("nothing listens at") && text.contains("delivered to"),
            "{text}"
        );
        // A minute of attempts is one line, not a hundred.
        assert!(text.lines().count() <= 3, "{text}");
    }
}

#[test]
fn memory_is_bounded_and_the_oldest_go() {
    let limits = Limits {
        queue_items: 50,
        queue_bytes: 1 << 20,
        ..limits()
    };
    let address = free_address();
    let (sender, _) = start(destination(&format!("http://{address}")), limits, None);
    sender.offer(document(0));
    pause();
    for number in 1..10_000 {
        sender.offer(document(number));
        assert!(sender.counters().queue_bytes <= 1 << 20);
    }
    let counters = sender.counters();
    // The first one is in hand.
    assert_eq!(counters.dropped(Reason::QueueFull).items, 10_000 - 51);
    let server = Server::at(address, |_, _| Reply::ok());
    assert!(sender.flush(LONG));
    assert_eq!(
        server.bodies(),
        documents(std::iter::once(0).chain(9950..10_000))
    );
    adds_up(&sender.finish(LONG));
}

#[test]
fn a_spool_that_is_full_drops_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let options = SpoolOptions {
        folder: dir.path().join("spool"),
        max_bytes: 10_000,
    };
    let heard = Heard::default();
    let to = destination(&format!("http://{address}"));
    let sender = Sender::start(to, limits(), Some(&options), 7, heard.listener()).unwrap();
    for number in 0..2000 {
        sender.offer(document(number));
    }
    pause();
    while sender.counters().spooled.items < 2000 {
        pause();
    }
    let counters = sender.counters();
    adds_up(&counters);
    assert!(counters.spool_bytes <= 10_000);
    let dropped = counters.dropped(Reason::SpoolFull).items;
    assert!(dropped > 1800, "{dropped}");
    let server = Server::at(address, |_, _| Reply::ok());
    assert!(sender.flush(LONG));
    let counters = sender.finish(LONG);
    adds_up(&counters);
    assert_eq!(counters.sent.items + dropped, 2000);
    // What was in hand when its segment went, and the newest.
    let got = server.bodies();
    assert_eq!(got[1..], documents(2000 - got.len() as u64 + 1..2000));
    assert!(
        heard.text().contains("oldest were dropped"),
        "{}",
        heard.text()
    );
}

#[test]
fn what_was_not_sent_waits_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let to = destination(&format!("http://{address}"));
    let (sender, _) = start(to.clone(), limits(), Some(dir.path()));
    for number in 0..30 {
        sender.offer(document(number));
    }
    let counters = sender.finish(Duration::from_millis(300));
    adds_up(&counters);
    assert_eq!(
        (counters.waiting.items, counters.losses(Signal::Traces)),
        (30, vec![])
    );
    let server = Server::at(address, |_, _| Reply::ok());
    let (sender, _) = start(to, limits(), Some(dir.path()));
    assert_eq!(sender.recovered().waiting.items, 30);
    sender.offer(document(30));
    assert!(sender.flush(LONG));
    assert_eq!(server.bodies(), documents(0..31));
    adds_up(&sender.finish(LONG));
}

#[test]
fn offering_never_waits_for_the_receiver() {
    let server = Server::start(|_, _| Reply::Never);
    let (sender, _) = start(destination(&server.url()), limits(), None);
    let began = std::time::Instant::now();
    for number in 0..10_000 {
        sender.offer(document(number));
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}
