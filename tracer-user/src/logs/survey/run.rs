//! The threads: one reads, some sift, the caller's folds.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::fold::{Left, Survey};
use super::options::Options;
use super::sift::{Sifted, Sifter};
use super::tally::Tally;
use crate::logs::read::{BLOCK_BYTES, Blocks, Body, Piece, Source};

/// How often the caller hears how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Threads that sift. More than this, and the one that reads is what everybody waits for.
const SIFTERS_MAX: usize = 8;

/// What the caller is told while it works.
pub trait Progress {
    /// What keeps it from going on.
    type Error;

    /// A failure, in the order of the logs.
    ///
    /// # Errors
    /// Ends the run.
    fn failure(&mut self, failure: &Left<'_>) -> Result<(), Self::Error>;

    /// Everything that was read so far has been handed over.
    ///
    /// # Errors
    /// Ends the run.
    fn caught_up(&mut self) -> Result<(), Self::Error>;

    /// So many stored bytes were read.
    fn read(&mut self, bytes: u64);
}

enum Message {
    Sifted(Piece, Sifted),
    Finished(Box<Tally>),
    /// A line brought a sifter down; which is a mistake of ours.
    Died,
}

/// Reads all sources. The survey is complete when all of them were read to their end.
///
/// # Errors
/// Those of `progress`.
pub fn run<P: Progress>(
    sources: Vec<Source>,
    options: Options,
    progress: &mut P,
) -> Result<Survey, P::Error> {
    let mut survey = Survey::new(&sources);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let sifters = cores.clamp(1, SIFTERS_MAX);
    let (give_back, empty) = mpsc::channel();
    for _ in 0..sifters * 2 + 2 {
        // Nobody has hung up yet.
        let _infallible = give_back.send(vec![0; BLOCK_BYTES]);
    }
    let read = Arc::new(AtomicU64::new(0));
    let messages = start(sources, options, sifters, empty, &read);

    let (mut next, mut waiting, mut running) = (0, BTreeMap::new(), sifters);
    while running > 0 {
        let message = match messages.recv_timeout(PROGRESS_EVERY) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                progress.read(read.load(Ordering::Relaxed));
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        match message {
            Message::Finished(tally) => {
                survey.tally.merge(&tally);
                running -= 1;
            }
            Message::Died => panic!("a log line could not be judged"),
            Message::Sifted(piece, sifted) => {
                waiting.insert(piece.number, (piece, sifted));
                while let Some((piece, sifted)) = waiting.remove(&next) {
                    next += 1;
                    fold(&mut survey, piece, &sifted, &give_back, progress)?;
                }
                progress.caught_up()?;
                progress.read(read.load(Ordering::Relaxed));
            }
        }
    }
    Ok(survey)
}

fn fold<P: Progress>(
    survey: &mut Survey,
    piece: Piece,
    sifted: &Sifted,
    give_back: &Sender<Vec<u8>>,
    progress: &mut P,
) -> Result<(), P::Error> {
    match piece.body {
        Body::Lines { block, len } => {
            let lines = block.get(..len).unwrap_or_default();
            survey.block(piece.source, lines, sifted, |left| progress.failure(left))?;
            // The reader may have all that it needs.
            let _not_needed = give_back.send(block);
        }
        Body::TooLong { head, bytes } => survey.too_long(piece.source, &head, bytes),
        Body::Trouble(trouble) => survey.trouble(piece.source, trouble),
    }
    Ok(())
}

/// The threads are not waited for: one may be reading what never comes.
fn start(
    sources: Vec<Source>,
    options: Options,
    sifters: usize,
    empty: Receiver<Vec<u8>>,
    read: &Arc<AtomicU64>,
) -> Receiver<Message> {
    let (out, pieces) = mpsc::sync_channel(sifters);
    let pieces = Arc::new(Mutex::new(pieces));
    let blocks = Blocks::new(empty, out, Arc::clone(read));
    thread::spawn(move || blocks.run(&sources));

    let options = Arc::new(options);
    let (tell, messages) = mpsc::channel();
    for _ in 0..sifters {
        let (options, pieces, tell) = (Arc::clone(&options), Arc::clone(&pieces), tell.clone());
        thread::spawn(move || {
            let sift = AssertUnwindSafe(|| sift(options, &pieces, &tell));
            if catch_unwind(sift).is_err() {
                let _nobody_listens = tell.send(Message::Died);
            }
        });
    }
    messages
}

fn sift(options: Arc<Options>, pieces: &Mutex<Receiver<Piece>>, tell: &Sender<Message>) {
    let mut sifter = Sifter::new(options);
    loop {
        let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(piece) = next else { break };
        let sifted = match &piece.body {
            Body::Lines { block, len } => sifter.block(block.get(..*len).unwrap_or_default()),
            Body::TooLong { .. } | Body::Trouble(_) => Sifted::default(),
        };
        if tell.send(Message::Sifted(piece, sifted)).is_err() {
            return;
        }
    }
    let _nobody_listens = tell.send(Message::Finished(Box::new(sifter.finish())));
}
