//! Documents in memory, first in, first out, bounded in items and bytes.

use std::collections::VecDeque;

use super::counters::Tally;
use super::payload::Payload;

/// What a document costs beside its body.
const OVERHEAD: u64 = 64;

#[derive(Debug)]
pub(super) struct Queue {
    documents: VecDeque<Payload>,
    held: Tally,
    bytes: u64,
    max_items: u64,
    max_bytes: u64,
}

impl Queue {
    pub(super) fn new(max_items: u64, max_bytes: u64) -> Self {
        Self {
            documents: VecDeque::new(),
            held: Tally::default(),
            bytes: 0,
            max_items,
            max_bytes,
        }
    }

    /// Adds at the end; what had to go from the front is given back, as a count. A document that is larger
    /// than the queue goes itself.
    pub(super) fn push(&mut self, payload: Payload) -> Tally {
        if payload.items > self.max_items || cost(&payload) > self.max_bytes {
            return Tally::one(payload.items);
        }
        self.add(&payload);
        self.documents.push_back(payload);
        self.bound()
    }

    /// Puts back what was popped last.
    pub(super) fn put_back(&mut self, payload: Payload) -> Tally {
        self.add(&payload);
        self.documents.push_front(payload);
        self.bound()
    }

    pub(super) fn pop(&mut self) -> Option<Payload> {
        let payload = self.documents.pop_front()?;
        self.held -= Tally::one(payload.items);
        self.bytes -= cost(&payload);
        Some(payload)
    }

    fn add(&mut self, payload: &Payload) {
        self.held += Tally::one(payload.items);
        self.bytes += cost(payload);
    }

    fn bound(&mut self) -> Tally {
        let mut gone = Tally::default();
        while self.held.items > self.max_items || self.bytes > self.max_bytes {
            match self.pop() {
                Some(payload) => gone += Tally::one(payload.items),
                None => break,
            }
        }
        gone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    pub(super) fn held(&self) -> Tally {
        self.held
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn cost(payload: &Payload) -> u64 {
    payload.body.len() as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::Signal;

    fn document(items: u64, bytes: usize) -> Payload {
        Payload {
            signal: Signal::Logs,
            body: vec![b'x'; bytes].into(),
            items,
        }
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut queue = Queue::new(10, 10_000);
        for items in [4, 3, 3] {
            assert_eq!(queue.push(document(items, 10)), Tally::default());
        }
        let gone = queue.push(document(5, 10));
        assert_eq!(
            gone,
            Tally {
                documents: 2,
                items: 7
            }
        );
        let left: Vec<u64> = std::iter::from_fn(|| queue.pop())
            .map(|p| p.items)
            .collect();
        assert_eq!(left, [3, 5]);
        assert_eq!((queue.held(), queue.bytes()), (Tally::default(), 0));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut queue = Queue::new(1000, 1000);
        assert_eq!(queue.push(document(1, 1000)), Tally::one(1));
        for at in 0..100_u64 {
            let gone = queue.push(document(1, 200));
            assert_eq!(gone.documents, u64::from(at >= 3));
            assert!(queue.bytes() <= 1000);
        }
    }

    #[test]
    fn what_is_put_back_is_the_oldest_again() {
        let mut queue = Queue::new(10, 10_000);
        queue.push(document(6, 1));
        queue.push(document(2, 1));
        let first = queue.pop().unwrap();
        queue.push(document(4, 1));
        assert_eq!(queue.put_back(first), Tally::one(6));
        assert_eq!(queue.pop().unwrap().items, 2);
    }
}
