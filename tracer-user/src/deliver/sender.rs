//! Brings the documents of one destination there, in order, from a thread of its own.
//!
//! [`Sender::offer`] puts a document into a bounded queue and never waits for a disk or a network.
//! Without a spool, the sending thread takes it from there. With one, a second thread writes it to the
//! spool at once, also while the first one waits for the receiver, and only what is on disk is sent: so
//! what a kill can cost is what has been in the queue for the time of one write. When the disk is full, the
//! documents stay in the queue and are sent from it, behind those on disk.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::backoff::Backoff;
use super::counters::{Counters, Reason, Tally};
use super::destination::Destination;
use super::env::Env;
use super::http::{Client, TlsError};
use super::notice::{Notice, What};
use super::outcome::{Asked, Outcome, classify};
use super::payload::{Payload, Signal};
use super::queue::Queue;
use super::split;
use super::spool::{AppendError, Recovered, SYNC_EVERY, Spool, SpoolError, SpoolOptions};

/// A spool that failed is tried again after this.
const SPOOL_RETRY: Duration = Duration::from_secs(5);
/// What a thread that was told to stop may take beyond its deadline.
const GRACE: Duration = Duration::from_millis(300);

/// Bounds of one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Items in memory.
    pub queue_items: u64,
    /// Bytes in memory, the document that is being sent not counted.
    pub queue_bytes: u64,
    /// Wait after the first failure.
    pub first_wait: Duration,
    /// The longest wait between attempts, unless the receiver asks for more.
    pub longest_wait: Duration,
    /// A document that the receiver answers with "later" for this long is given up, so that a single one
    /// cannot hold up the others for ever. While nothing answers, none is given up.
    pub patience: Duration,
}

impl Limits {
    /// The defaults, with what the environment says of the queue.
    pub fn of(env: &Env) -> Self {
        let default = Self::default();
        Self {
            queue_items: env.queue_items.unwrap_or(default.queue_items),
            ..default
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_items: 2048,
            queue_bytes: 8 << 20,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            patience: Duration::from_secs(24 * 3600),
        }
    }
}

/// A sender cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Who is told what happens; called from the sender's threads, and must not wait.
pub type Listener = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Delivers to one destination. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    signal: Signal,
    recovered: Recovered,
    threads: Vec<JoinHandle<()>>,
}

impl Sender {
    /// Reads certificates, opens the spool, and starts. `seed` differs between hosts.
    ///
    /// Threads keep the capabilities they start with: drop those first.
    pub fn start(
        to: Destination,
        limits: Limits,
        spool: Option<&SpoolOptions>,
        seed: u64,
        listener: Listener,
    ) -> Result<Self, StartError> {
        let signal = to.signal;
        let url = to.url.to_string();
        let client = Client::new(to)?;
        let (spool, recovered) = match spool.map(Spool::open).transpose()? {
            Some((spool, recovered)) => (Some(spool), recovered),
            None => (None, Recovered::default()),
        };
        let counters = Counters {
            recovered: recovered.waiting,
            torn_documents: recovered.torn,
            ..Counters::default()
        };
        let with_spool = spool.is_some();
        let mut state = State {
            queue: Queue::new(limits.queue_items, limits.queue_bytes),
            moving: None,
            in_hand: Tally::default(),
            in_hand_of_spool: false,
            leased: Tally::default(),
            direct: !with_spool,
            appended: 0,
            spool_waiting: Tally::default(),
            counters,
            stop: None,
            writing: with_spool,
            sending: true,
            abandoned: false,
        };
        if let Some(spool) = &spool {
            state.seen(spool);
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            spool: spool.map(Mutex::new),
            listener,
            signal,
            url,
        });
        let mut sender = Self {
            shared,
            signal,
            recovered,
            threads: Vec::new(),
        };
        let shared = Arc::clone(&sender.shared);
        let backoff = Backoff::new(limits.first_wait, limits.longest_wait, seed);
        sender.spawn("send", move || {
            Sending {
                shared: &shared,
                client,
                backoff,
                patience: limits.patience,
                down: false,
                last: None,
            }
            .run();
            shared.state().sending = false;
            shared.changed.notify_all();
        })?;
        if with_spool {
            let shared = Arc::clone(&sender.shared);
            sender.spawn("spool", move || {
                write_to_spool(&shared);
                shared.state().writing = false;
                shared.changed.notify_all();
            })?;
        }
        Ok(sender)
    }

    fn spawn(&mut self, what: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        // At most 15 bytes are kept.
        let name = format!("{what}-{}", self.signal.name());
        let thread = thread::Builder::new().name(name).spawn(run);
        self.threads.push(thread.map_err(StartError::Thread)?);
        Ok(())
    }

    /// What it takes.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// What an earlier process left in the spool.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Takes a document. Never waits for disk or network; what does not fit is counted.
    pub fn offer(&self, payload: Payload) {
        let mut state = self.shared.state();
        let one = Tally::one(payload.items);
        state.counters.offered += one;
        if state.stop.is_some() {
            state.counters.drop(Reason::Stopped, one);
            return;
        }
        let gone = state.queue.push(payload);
        state.counters.drop(Reason::QueueFull, gone);
        drop(state);
        self.shared.changed.notify_all();
        if gone.documents > 0 {
            self.shared.tell(What::Dropped {
                items: gone.items,
                full: "queue",
            });
        }
    }

    /// What became of everything so far.
    pub fn counters(&self) -> Counters {
        self.shared.state().now()
    }

    /// Waits until everything that was offered has been taken or given up; false: not within `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (state, in_time) = self
            .shared
            .wait_until(self.shared.state(), deadline, |state| {
                state.waiting().documents == 0 || !state.sending
            });
        in_time && state.waiting().documents == 0
    }

    /// Takes nothing more, and gives what waits until `limit` to get out. See [`Sender::finish`].
    pub fn stop(&self, limit: Duration) {
        let mut state = self.shared.state();
        let deadline = Instant::now() + limit;
        state.stop = Some(state.stop.map_or(deadline, |earlier| earlier.min(deadline)));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Stops, waits for the end, and says what became of everything. What is still in memory then is
    /// dropped and counted; what is in the spool stays there for the next start.
    pub fn finish(mut self, limit: Duration) -> Counters {
        self.stop(limit);
        let state = self.shared.state();
        let deadline = state.stop.unwrap_or_else(Instant::now) + GRACE;
        let (mut state, ended) = self
            .shared
            .wait_until(state, deadline, |state| !state.sending && !state.writing);
        // A thread that hangs in the system must not count later what is counted now.
        state.abandoned = true;
        let left = std::mem::take(&mut state.in_hand);
        match state.in_hand_of_spool {
            // Whole again, from the next start on.
            true => state.in_hand_of_spool = false,
            false => state.counters.drop(Reason::Stopped, left),
        }
        while let Some(payload) = state.moving.take().or_else(|| state.queue.pop()) {
            let left = Tally::one(payload.items);
            state.counters.drop(Reason::Stopped, left);
        }
        let counters = state.now();
        drop(state);
        if ended {
            for thread in self.threads.drain(..) {
                // A panic has been written to standard error, and there is nothing to add.
                let _panicked = thread.join();
            }
        }
        counters
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

struct Shared {
    /// Taken for moments only. May be taken while holding `spool`, never the other way round.
    state: Mutex<State>,
    changed: Condvar,
    /// Held while the disk works.
    spool: Option<Mutex<Spool>>,
    listener: Listener,
    signal: Signal,
    url: String,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sender of {} to {}", self.signal.name(), self.url)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spool(&self) -> Option<MutexGuard<'_, Spool>> {
        let spool = self.spool.as_ref()?;
        Some(spool.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, what: What) {
        (self.listener)(&Notice {
            signal: self.signal,
            url: self.url.clone(),
            what,
        });
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match limit {
            None => self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.changed.wait_timeout(state, limit);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn wait_until<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        deadline: Instant,
        done: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        loop {
            if done(&state) {
                return (state, true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return (state, false);
            }
            state = self.wait(state, Some(left));
        }
    }
}

struct State {
    queue: Queue,
    /// On its way from the queue to the disk.
    moving: Option<Payload>,
    /// With the sending thread, and not yet settled.
    in_hand: Tally,
    /// It is in the spool, too, and this is what the spool counts for it.
    in_hand_of_spool: bool,
    leased: Tally,
    /// There is no spool, or it cannot be written to: the queue is sent from.
    direct: bool,
    /// Counts up with every document that reaches the spool.
    appended: u64,
    spool_waiting: Tally,
    counters: Counters,
    /// When to be gone.
    stop: Option<Instant>,
    writing: bool,
    sending: bool,
    /// Nobody is interested in what the threads still do.
    abandoned: bool,
}

impl State {
    /// Everything that is not settled.
    fn waiting(&self) -> Tally {
        let moving = self
            .moving
            .as_ref()
            .map(|payload| Tally::one(payload.items));
        let in_memory = self.queue.held() + moving.unwrap_or_default();
        let in_spool = match self.in_hand_of_spool {
            true => self.spool_waiting - self.leased,
            false => self.spool_waiting,
        };
        in_memory + self.in_hand + in_spool
    }

    fn now(&self) -> Counters {
        Counters {
            waiting: self.waiting(),
            queue_bytes: self.queue.bytes(),
            ..self.counters
        }
    }

    /// Copies the spool's numbers, while it is held.
    fn seen(&mut self, spool: &Spool) {
        self.spool_waiting = spool.waiting();
        self.counters.spool_bytes = spool.bytes();
        // If its segment had to go, it is in memory alone.
        self.in_hand_of_spool &= spool.holds_first();
    }

    /// The settling of something that is in hand.
    fn settle(&mut self, items: Tally, count: impl FnOnce(&mut Counters)) {
        if !self.abandoned {
            self.in_hand -= items;
            count(&mut self.counters);
        }
    }
}

/// The thread that moves documents from the queue to the disk.
fn write_to_spool(shared: &Shared) {
    let mut synced = Instant::now();
    let mut retry_at: Option<Instant> = None;
    loop {
        let mut state = shared.state();
        let payload = loop {
            let now = Instant::now();
            let stopping = state.stop.is_some();
            // At the end, one more try: then the queue is the sender's.
            let due = retry_at.is_none_or(|at| at <= now || stopping);
            if due && let Some(payload) = state.queue.pop() {
                break Some(payload);
            }
            if stopping {
                break None;
            }
            let until_due = retry_at.map(|at| at.saturating_duration_since(now));
            drop(state);
            let dirty = shared.spool().is_some_and(|spool| spool.is_dirty());
            if dirty && synced.elapsed() >= SYNC_EVERY {
                synced = Instant::now();
                // Written it is, and the next write tells of a broken disk.
                let _later = shared.spool().map(|mut spool| spool.sync());
            }
            let until_sync = dirty.then(|| SYNC_EVERY.saturating_sub(synced.elapsed()));
            state = shared.state();
            let more = !state.queue.is_empty() && until_due.is_none_or(|left| left.is_zero());
            if !more && state.stop.is_none() {
                let limit = until_due.into_iter().chain(until_sync).min();
                state = shared.wait(state, limit);
            }
        };
        let Some(payload) = payload else {
            drop(state);
            let _nothing_to_do = shared.spool().map(|mut spool| spool.sync());
            return;
        };
        state.moving = Some(payload.clone());
        drop(state);
        let again = append(shared, &payload);
        let was_down = retry_at.is_some();
        retry_at = again.then(|| Instant::now() + SPOOL_RETRY);
        if was_down && !again {
            shared.tell(What::SpoolUp);
        }
        if again && shared.state().stop.is_some() {
            return;
        }
    }
}

/// Writes the document that is moving; true: the disk does not take it now.
fn append(shared: &Shared, payload: &Payload) -> bool {
    let Some(mut spool) = shared.spool() else {
        return true;
    };
    let result = spool.append(payload);
    let (full, torn) = spool.take_losses();
    let mut state = shared.state();
    state.seen(&spool);
    drop(spool);
    let Some(payload) = state.moving.take() else {
        // Too late: it was counted when the program ended. It will be sent at the next start.
        return false;
    };
    let one = Tally::one(payload.items);
    state.counters.drop(Reason::SpoolFull, full);
    state.counters.torn_documents += torn;
    let mut told = Vec::new();
    if full.documents > 0 {
        let (items, full) = (full.items, "spool");
        told.push(What::Dropped { items, full });
    }
    match result {
        Ok(()) => {
            state.counters.spooled += one;
            state.appended += 1;
            state.direct = false;
        }
        Err(AppendError::TooLarge) => state.counters.drop(Reason::TooLarge, one),
        Err(AppendError::Io(error)) => {
            let gone = state.queue.put_back(payload);
            state.counters.drop(Reason::QueueFull, gone);
            state.counters.spool_failures += 1;
            if !std::mem::replace(&mut state.direct, true) {
                told.push(What::SpoolDown(error.to_string()));
            }
        }
    }
    let failed = state.direct;
    drop(state);
    shared.changed.notify_all();
    for what in told {
        shared.tell(what);
    }
    failed
}

/// Where a document in hand came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Spool,
    Memory,
}

/// What became of an attempt to deliver a document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Taken or given up: do not come back to it.
    Settled,
    /// The program ends first.
    Stopped,
}

/// The thread that sends.
struct Sending<'a> {
    shared: &'a Shared,
    client: Client,
    backoff: Backoff,
    patience: Duration,
    down: bool,
    /// What was said last, so that it is not said twice.
    last: Option<What>,
}

impl Sending<'_> {
    fn run(mut self) {
        while let Some((payload, from)) = self.next() {
            let end = self.deliver(payload);
            let spool = self.shared.spool().filter(|_| from == From::Spool);
            let mut torn = 0;
            let mut taken = Ok(());
            let mut state = match spool {
                None => self.shared.state(),
                Some(mut spool) => {
                    let mut state = self.shared.state();
                    state.seen(&spool);
                    drop(state);
                    if end == End::Settled {
                        taken = spool.taken();
                    }
                    state = self.shared.state();
                    state.spool_waiting = spool.waiting();
                    state.counters.spool_bytes = spool.bytes();
                    let (_, damaged) = spool.take_losses();
                    torn = damaged;
                    state
                }
            };
            state.counters.torn_documents += torn;
            if end == End::Stopped && !state.in_hand_of_spool && !state.abandoned {
                let left = state.in_hand;
                state.counters.drop(Reason::Stopped, left);
            }
            state.in_hand = Tally::default();
            state.in_hand_of_spool = false;
            drop(state);
            self.shared.changed.notify_all();
            if let Err(error) = taken {
                self.say(What::SpoolDown(error.to_string()));
            }
            if end == End::Stopped {
                return;
            }
        }
    }

    /// The next document, when there is one; `None`: the end.
    fn next(&mut self) -> Option<(Payload, From)> {
        loop {
            let appended = self.shared.state().appended;
            if let Some(mut spool) = self.shared.spool()
                && let Some(payload) = spool.first()
            {
                let mut state = self.shared.state();
                state.seen(&spool);
                if state
                    .stop
                    .is_some_and(|deadline| deadline <= Instant::now())
                {
                    return None;
                }
                state.in_hand = Tally::one(payload.items);
                state.leased = state.in_hand;
                state.in_hand_of_spool = true;
                return Some((payload, From::Spool));
            }
            let mut state = self.shared.state();
            let now = Instant::now();
            if state.stop.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            if state.appended != appended {
                continue;
            }
            let direct = state.direct && state.moving.is_none();
            if direct && let Some(payload) = state.queue.pop() {
                state.in_hand = Tally::one(payload.items);
                return Some((payload, From::Memory));
            }
            let nothing = state.queue.is_empty() && state.moving.is_none();
            if let Some(deadline) = state.stop {
                if nothing && (state.direct || !state.writing) {
                    return None;
                }
                let left = deadline.saturating_duration_since(now);
                drop(self.shared.wait(state, Some(left)));
            } else {
                drop(self.shared.wait(state, None));
            }
        }
    }

    fn deliver(&mut self, payload: Payload) -> End {
        let to = self.client.destination();
        let asked = Asked {
            signal: to.signal,
            compression: to.compression,
        };
        let mut parts = VecDeque::from([payload]);
        let mut answered_later: Option<Instant> = None;
        let mut repeated = false;
        while let Some(part) = parts.front() {
            let now = Instant::now();
            let stop = self.shared.state().stop;
            let limit = stop.map_or(Duration::MAX, |stop| stop.saturating_duration_since(now));
            if limit.is_zero() {
                return End::Stopped;
            }
            if repeated {
                self.shared.state().counters.retried += 1;
            }
            let answer = self.client.send(&part.body, limit);
            let spoke = matches!(answer, super::outcome::Answer::Http(_));
            let outcome = classify(&answer, asked, SystemTime::now());
            drop(answer);
            let (items, bytes) = (Tally::one(part.items), part.body.len() as u64);
            repeated = false;
            match outcome {
                Outcome::Delivered { rejected, message } => {
                    let rejected = rejected.min(part.items);
                    self.shared.state().settle(items, |counters| {
                        counters.sent += items;
                        counters.sent_bytes += bytes;
                        counters.rejected_items += rejected;
                    });
                    self.backoff.reset();
                    answered_later = None;
                    if std::mem::take(&mut self.down) {
                        self.say(What::Up);
                    }
                    self.partial(rejected, message);
                    parts.pop_front();
                }
                Outcome::Retry { after, reason } => {
                    if spoke {
                        let since = *answered_later.get_or_insert(now);
                        if since.elapsed() >= self.patience {
                            self.give_up(items, Reason::Expired, What::Expired(reason));
                            parts.pop_front();
                            answered_later = None;
                            continue;
                        }
                    } else {
                        answered_later = None;
                    }
                    self.down = true;
                    self.say(What::Down(reason));
                    repeated = true;
                    let wait = self.backoff.next(after);
                    if self.pause(wait, after.is_some()) == End::Stopped {
                        return End::Stopped;
                    }
                }
                Outcome::TooLarge { reason } => match split::halve(part) {
                    Some([first, second]) => {
                        let mut state = self.shared.state();
                        state.in_hand -= items;
                        state.in_hand += Tally::one(first.items);
                        state.in_hand += Tally::one(second.items);
                        drop(state);
                        parts.pop_front();
                        parts.push_front(second);
                        parts.push_front(first);
                    }
                    None => {
                        self.give_up(items, Reason::TooLarge, What::Refused(reason));
                        parts.pop_front();
                    }
                },
                Outcome::Refused { reason } => {
                    self.backoff.reset();
                    self.give_up(items, Reason::Refused, What::Refused(reason));
                    parts.pop_front();
                }
            }
        }
        End::Settled
    }

    fn partial(&mut self, rejected: u64, message: Option<String>) {
        match (rejected, message) {
            (0, None) => {}
            (0, Some(message)) => self.say(What::Warned(message)),
            (items, message) => {
                let message = message.unwrap_or_else(|| "it does not say why".to_owned());
                self.say(What::Rejected { items, message });
            }
        }
    }

    fn give_up(&mut self, items: Tally, reason: Reason, what: What) {
        let mut state = self.shared.state();
        state.settle(items, |counters| counters.drop(reason, items));
        drop(state);
        self.say(what);
    }

    /// Waits before the next attempt. At the end of the program, an own wait is cut short, one that the
    /// receiver asked for is not: if it is too long, that was the last attempt.
    fn pause(&self, wait: Duration, asked: bool) -> End {
        let due = Instant::now() + wait;
        let mut state = self.shared.state();
        let stopping_before = state.stop.is_some();
        loop {
            let now = Instant::now();
            if let Some(deadline) = state.stop {
                if deadline <= now || (asked || stopping_before) && due >= deadline {
                    return End::Stopped;
                }
                if !asked && !stopping_before {
                    return End::Settled;
                }
            }
            let left = due.saturating_duration_since(now);
            if left.is_zero() {
                return End::Settled;
            }
            state = self.shared.wait(state, Some(left));
        }
    }

    fn say(&mut self, what: What) {
        if self.last.as_ref() != Some(&what) {
            self.shared.tell(what.clone());
            self.last = Some(what);
        }
    }
}
