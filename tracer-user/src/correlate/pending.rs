//! Backend exchanges that wait for the client's outcome.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use super::intake::Kind;
use crate::diagnose::AttemptFacts;
use crate::event::{ConnId, MonoNs};

/// Orders entries by arrival.
pub(super) type Seq = u64;

/// A backend exchange that failed, or that was answered with a watched status.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) facts: AttemptFacts,
    pub(super) kind: Kind,
    deadline: MonoNs,
}

/// All of them, bounded, with the indexes that matching needs. Iteration is by arrival only, so the
/// same input gives the same order.
#[derive(Debug)]
pub(super) struct Store {
    limit: usize,
    next: Seq,
    entries: BTreeMap<Seq, Pending>,
    deadlines: BTreeSet<(MonoNs, Seq)>,
    by_link: HashMap<(ConnId, u32), Vec<Seq>>,
    by_conn: HashMap<ConnId, Vec<Seq>>,
    by_pid: HashMap<u32, BTreeSet<Seq>>,
}

impl Store {
    /// A store that keeps at most `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            next: 0,
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            by_link: HashMap::new(),
            by_conn: HashMap::new(),
            by_pid: HashMap::new(),
        }
    }

    /// Keeps an entry until its deadline. A later record of the same exchange takes the place of an
    /// earlier one, but an answer stays an answer: its end is not what the client got. Gives back the
    /// oldest entry if there was no room.
    pub(super) fn insert(
        &mut self,
        facts: AttemptFacts,
        mut kind: Kind,
        mut deadline: MonoNs,
    ) -> Option<Pending> {
        let x = &facts.exchange;
        let older = self
            .on_conn(x.conn)
            .find(|(_, other)| other.facts.exchange.exchange == x.exchange)
            .map(|(seq, _)| seq);
        if let Some(older) = older.and_then(|seq| self.remove(seq))
            && older.kind == Kind::Answered
        {
            kind = Kind::Answered;
            deadline = deadline.max(older.deadline);
        }
        let evicted = if self.entries.len() >= self.limit {
            let oldest = self.entries.first_key_value().map(|(seq, _)| *seq);
            oldest.and_then(|seq| self.remove(seq))
        } else {
            None
        };
        let seq = self.next;
        self.next += 1;
        if let Some(link) = x.link {
            self.by_link
                .entry((link.conn, link.exchange))
                .or_default()
                .push(seq);
        }
        self.by_conn.entry(x.conn).or_default().push(seq);
        self.by_pid.entry(x.pid).or_default().insert(seq);
        self.deadlines.insert((deadline, seq));
        self.entries.insert(
            seq,
            Pending {
                facts,
                kind,
                deadline,
            },
        );
        evicted
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<Pending> {
        let entry = self.entries.remove(&seq)?;
        self.deadlines.remove(&(entry.deadline, seq));
        let x = &entry.facts.exchange;
        if let Some(link) = x.link {
            forget(&mut self.by_link, (link.conn, link.exchange), seq);
        }
        forget(&mut self.by_conn, x.conn, seq);
        if let Some(seqs) = self.by_pid.get_mut(&x.pid) {
            seqs.remove(&seq);
            if seqs.is_empty() {
                self.by_pid.remove(&x.pid);
            }
        }
        Some(entry)
    }

    /// Takes out what is due, earliest deadline first.
    pub(super) fn expire(&mut self, now: MonoNs) -> Vec<Pending> {
        let mut due = Vec::new();
        while let Some((deadline, seq)) = self.deadlines.first().copied()
            && deadline <= now
        {
            due.extend(self.remove(seq));
        }
        due
    }

    /// The entry of that number.
    pub(super) fn get(&self, seq: Seq) -> Option<&Pending> {
        self.entries.get(&seq)
    }

    /// All of them, newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = (Seq, &Pending)> {
        self.entries.iter().rev().map(|(seq, entry)| (*seq, entry))
    }

    /// Entries linked to this exchange of this client connection, or to the connection without
    /// knowing the exchange.
    pub(super) fn linked_to(
        &self,
        client: ConnId,
        exchange: u32,
    ) -> impl Iterator<Item = (Seq, &Pending)> {
        let unknown = (exchange != 0).then_some((client, 0));
        [Some((client, exchange)), unknown]
            .into_iter()
            .flatten()
            .filter_map(|key| self.by_link.get(&key))
            .flatten()
            .filter_map(|seq| Some((*seq, self.entries.get(seq)?)))
    }

    /// Entries of this backend connection.
    pub(super) fn on_conn(&self, conn: ConnId) -> impl Iterator<Item = (Seq, &Pending)> {
        self.by_conn
            .get(&conn)
            .into_iter()
            .flatten()
            .filter_map(|seq| Some((*seq, self.entries.get(seq)?)))
    }

    /// Entries of this process, newest first.
    pub(super) fn of_process(&self, pid: u32) -> impl Iterator<Item = (Seq, &Pending)> {
        self.by_pid
            .get(&pid)
            .into_iter()
            .flat_map(|seqs| seqs.iter().rev())
            .filter_map(|seq| Some((*seq, self.entries.get(seq)?)))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn forget<K: Eq + Hash>(index: &mut HashMap<K, Vec<Seq>>, key: K, seq: Seq) {
    if let Some(seqs) = index.get_mut(&key) {
        seqs.retain(|other| *other != seq);
        if seqs.is_empty() {
            index.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::LinkHow;

    use super::*;
    use crate::diagnose::testing::AttemptBuilder;

    fn failed(conn: u64, client: u64) -> AttemptFacts {
        AttemptBuilder::sent()
            .fin(1)
            .with(|x| x.conn = ConnId(conn))
            .linked(client, 1, LinkHow::SameTarget)
            .build()
    }

    #[test]
    fn indexes_follow_the_entries() {
        let mut store = Store::new(10);
        store.insert(failed(1, 50), Kind::Failed, 100);
        store.insert(failed(2, 50), Kind::Failed, 90);
        store.insert(failed(3, 60), Kind::Failed, 200);
        assert_eq!(store.linked_to(ConnId(50), 1).count(), 2);
        assert_eq!(store.linked_to(ConnId(50), 2).count(), 0);
        let newest: Vec<u64> = store
            .of_process(100)
            .map(|(_, p)| p.facts.exchange.conn.0)
            .collect();
        assert_eq!(newest, [3, 2, 1]);
        let due: Vec<u64> = store
            .expire(150)
            .iter()
            .map(|p| p.facts.exchange.conn.0)
            .collect();
        assert_eq!(due, [2, 1]);
        assert_eq!(store.linked_to(ConnId(50), 1).count(), 0);
        assert_eq!(store.on_conn(ConnId(3)).count(), 1);
        assert_eq!(store.expire(u64::MAX).len(), 1);
        assert!(store.by_link.is_empty() && store.by_conn.is_empty() && store.by_pid.is_empty());
    }

    #[test]
    fn a_second_record_of_an_exchange_replaces_the_first() {
        for (first, second, want) in [
            (Kind::Unclear, Kind::Failed, Kind::Failed),
            (Kind::Answered, Kind::Complete, Kind::Answered),
        ] {
            let mut store = Store::new(10);
            store.insert(failed(1, 50), first, 100);
            store.insert(failed(1, 50), second, 90);
            assert_eq!(store.len(), 1);
            let (_, entry) = store.on_conn(ConnId(1)).next().unwrap();
            assert_eq!(entry.kind, want);
        }
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut store = Store::new(2);
        assert!(store.insert(failed(1, 50), Kind::Failed, 100).is_none());
        assert!(store.insert(failed(2, 50), Kind::Failed, 100).is_none());
        let evicted = store.insert(failed(3, 50), Kind::Failed, 100).unwrap();
        assert_eq!(evicted.facts.exchange.conn, ConnId(1));
        assert_eq!(store.len(), 2);
    }
}
