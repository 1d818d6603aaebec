//! A bounded map that forgets what was not used for the longest time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Values by key, at most `max_entries` of them, at most `max_weight` together. The weight of an
/// entry is given when it is put in.
pub struct Cache<K, V> {
    inner: Mutex<Inner<K, V>>,
    max_entries: usize,
    max_weight: usize,
}

struct Inner<K, V> {
    entries: HashMap<K, Entry<V>>,
    weight: usize,
    clock: u64,
}

struct Entry<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// An empty cache.
    pub fn new(max_entries: usize, max_weight: usize) -> Self {
        let inner = Inner { entries: HashMap::new(), weight: 0, clock: 0 };
        Self { inner: Mutex::new(inner), max_entries, max_weight }
    }

    /// The value of `key`, marked as used now.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let clock = inner.clock;
        let entry = inner.entries.get_mut(key)?;
        entry.used = clock;
        Some(entry.value.clone())
    }

    /// Keeps `value`, unless it alone is too heavy. Finding the oldest entry walks all of them:
    /// there are few.
    pub fn put(&self, key: K, value: V, weight: usize) {
        if weight > self.max_weight || self.max_entries == 0 {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let used = inner.clock;
        if let Some(old) = inner.entries.insert(key, Entry { value, weight, used }) {
            inner.weight -= old.weight;
        }
        inner.weight += weight;
        while inner.entries.len() > self.max_entries || inner.weight > self.max_weight {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(removed) = oldest.and_then(|key| inner.entries.remove(&key)) else {
                return;
            };
            inner.weight -= removed.weight;
        }
    }

    /// Entries and their weight.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.entries.len(), inner.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entry_goes_first() {
        let cache = Cache::new(2, 100);
        cache.put("a", 1, 1);
        cache.put("b", 2, 1);
        assert_eq!(cache.get(&"a"), Some(1));
        cache.put("c", 3, 1);
        assert_eq!((cache.get(&"a"), cache.get(&"b"), cache.get(&"c")), (Some(1), None, Some(3)));
    }

    #[test]
    fn weight_is_bounded_and_counted_once() {
        let cache = Cache::new(100, 10);
        for i in 0..1000 {
            cache.put(i % 7, i, 3);
            assert!(cache.size().1 <= 10);
        }
        assert_eq!(cache.size(), (3, 9));
        cache.put(1, 1, 11);
        assert_eq!(cache.size(), (3, 9));
    }
}
