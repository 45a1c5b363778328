//! How often each of many names occurs, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

/// Counts of names. The first so many names have a count of their own, later ones are counted together.
#[derive(Clone, Debug)]
pub struct Top<K> {
    counts: HashMap<K, u64>,
    most: usize,
    other: u64,
    unknown: u64,
}

impl<K: Hash + Eq + Ord + Clone> Top<K> {
    /// At most so many names.
    pub(super) fn new(most: usize) -> Self {
        Self {
            counts: HashMap::new(),
            most,
            other: 0,
            unknown: 0,
        }
    }

    /// Counts a name; `None`: it is not known.
    pub(super) fn add<Q>(&mut self, name: Option<&Q>)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(name) = name else {
            self.unknown += 1;
            return;
        };
        if let Some(count) = self.counts.get_mut(name) {
            *count += 1;
        } else if self.counts.len() < self.most {
            self.counts.insert(name.to_owned(), 1);
        } else {
            self.other += 1;
        }
    }

    /// The most frequent names, and how often all others occurred.
    pub fn largest(&self, most: usize) -> (Vec<(&K, u64)>, u64) {
        let mut all: Vec<(&K, u64)> = self.counts.iter().map(|(name, n)| (name, *n)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let left: u64 = all.iter().skip(most).map(|(_, n)| n).sum();
        all.truncate(most);
        (all, left + self.other)
    }

    /// How often there was no name.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_together() {
        let mut top: Top<String> = Top::new(3);
        for name in ["b", "a", "c", "a", "d", "e", "b", "a"] {
            top.add(Some(name));
        }
        top.add::<str>(None);
        let names = |top: &Top<String>, most| {
            let (named, other) = top.largest(most);
            let named: Vec<_> = named
                .iter()
                .map(|(name, n)| format!("{name} {n}"))
                .collect();
            (named.join(" "), other)
        };
        assert_eq!(names(&top, 9), ("a 3 b 2 c 1".into(), 2));
        assert_eq!(names(&top, 1), ("a 3".into(), 5));
        assert_eq!(top.unknown(), 1);
    }
}
