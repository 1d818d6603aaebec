//! Merging the neighbours of a word, the best pair first, as byte-pair encoding and SentencePiece do.
//!
//! Short words, which nearly all are, look through their pairs each time. Long ones keep a [`Queue`]:
//! ten million letters without a space are one word, and they are merged in about linear time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::FixedState;

/// Looking through this many pairs is faster than a queue.
const SHORT: usize = 32;
/// The rank of neighbours that do not merge, and the place beside the first and the last part.
const NONE: u32 = u32::MAX;

/// Merges neighbours in `parts` until `join` has nothing for any two of them. `join` gives what two
/// parts become and the rank of that: the lowest goes first, the leftmost of equal ones.
pub fn merge<P: Copy>(parts: &mut Vec<P>, join: impl Fn(P, P) -> Option<(u32, P)>) {
    if parts.len() <= SHORT {
        merge_short(parts, join);
    } else {
        Long::new(parts, join).run();
    }
}

fn merge_short<P: Copy>(parts: &mut Vec<P>, join: impl Fn(P, P) -> Option<(u32, P)>) {
    let mut pairs = [None; SHORT];
    for (pair, two) in pairs.iter_mut().zip(parts.windows(2)) {
        *pair = join(two[0], two[1]);
    }
    loop {
        let n = parts.len();
        let ranked = pairs[..n.saturating_sub(1)].iter().enumerate();
        let best = ranked.filter_map(|(at, pair)| pair.map(|(rank, part)| (rank, at, part))).min_by_key(|b| (b.0, b.1));
        let Some((_, at, part)) = best else {
            return;
        };
        parts[at] = part;
        parts.remove(at + 1);
        pairs.copy_within(at + 1..n, at);
        pairs[at] = parts.get(at + 1).and_then(|right| join(part, *right));
        if at > 0 {
            pairs[at - 1] = join(parts[at - 1], part);
        }
    }
}

/// A long word: its parts as a linked list, and for each the merge with the part behind it.
struct Long<'a, P, J> {
    parts: &'a mut Vec<P>,
    join: J,
    next: Vec<u32>,
    prev: Vec<u32>,
    /// The rank of each part's merge, and what it gives.
    ranks: Vec<u32>,
    joined: Vec<P>,
    queue: Queue,
}

impl<'a, P: Copy, J: Fn(P, P) -> Option<(u32, P)>> Long<'a, P, J> {
    fn new(parts: &'a mut Vec<P>, join: J) -> Self {
        let n = u32::try_from(parts.len()).expect("a text is smaller than 4 GiB, which the cap on a body sees to");
        let mut next: Vec<u32> = (1..=n).collect();
        next[n as usize - 1] = NONE;
        let prev = (0..n).map(|i| i.wrapping_sub(1)).collect();
        let joined = parts.clone();
        let mut long = Self { parts, join, next, prev, ranks: vec![NONE; n as usize], joined, queue: Queue::default() };
        (0..n).for_each(|at| long.look(at));
        long
    }

    /// Finds out the merge of the part at `at` with the one behind it.
    fn look(&mut self, at: u32) {
        let i = at as usize;
        self.ranks[i] = NONE;
        if self.next[i] == NONE {
            return;
        }
        if let Some((rank, part)) = (self.join)(self.parts[i], self.parts[self.next[i] as usize]) {
            (self.ranks[i], self.joined[i]) = (rank, part);
            self.queue.push(rank, at);
        }
    }

    fn run(mut self) {
        while let Some((rank, at)) = self.queue.pop() {
            let i = at as usize;
            // One of the two has been merged otherwise since.
            if self.ranks[i] != rank {
                continue;
            }
            let gone = self.next[i] as usize;
            self.parts[i] = self.joined[i];
            self.ranks[gone] = NONE;
            self.next[i] = self.next[gone];
            if self.next[i] != NONE {
                self.prev[self.next[i] as usize] = at;
            }
            self.look(at);
            if self.prev[i] != NONE {
                self.look(self.prev[i]);
            }
        }
        let (mut at, mut kept) = (0, 0);
        while at != NONE {
            self.parts[kept] = self.parts[at as usize];
            kept += 1;
            at = self.next[at as usize];
        }
        self.parts.truncate(kept);
    }
}

/// Places by rank, then by place. A rank has few distinct values and its places mostly come in order,
/// so most of them are pushed and popped at the end of a list instead of in a heap.
#[derive(Default)]
struct Queue {
    /// The ranks that have a bucket.
    ranks: BinaryHeap<Reverse<u32>>,
    buckets: HashMap<u32, Bucket, FixedState>,
}

#[derive(Default)]
struct Bucket {
    /// Places in order; those before `done` have been taken.
    places: Vec<u32>,
    done: usize,
    /// Places that came out of order.
    late: BinaryHeap<Reverse<u32>>,
}

impl Queue {
    fn push(&mut self, rank: u32, place: u32) {
        let ranks = &mut self.ranks;
        let bucket = self.buckets.entry(rank).or_insert_with(|| {
            ranks.push(Reverse(rank));
            Bucket::default()
        });
        if bucket.places.last().is_none_or(|last| *last < place) {
            bucket.places.push(place);
        } else {
            bucket.late.push(Reverse(place));
        }
    }

    fn pop(&mut self) -> Option<(u32, u32)> {
        loop {
            let Reverse(rank) = *self.ranks.peek()?;
            if let Some(place) = self.buckets.get_mut(&rank).and_then(Bucket::pop) {
                return Some((rank, place));
            }
            self.ranks.pop();
            self.buckets.remove(&rank);
        }
    }
}

impl Bucket {
    fn pop(&mut self) -> Option<u32> {
        let first = self.places.get(self.done).copied();
        match self.late.peek() {
            Some(Reverse(late)) if first.is_none_or(|first| *late < first) => self.late.pop().map(|Reverse(late)| late),
            _ => {
                self.done += usize::from(first.is_some());
                first
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obvious way: look at all pairs, merge the best, begin again.
    fn slow(parts: &mut Vec<u32>, join: impl Fn(u32, u32) -> Option<(u32, u32)>) {
        let best = |parts: &[u32]| {
            let pairs = parts.windows(2).enumerate();
            pairs.filter_map(|(at, two)| join(two[0], two[1]).map(|(rank, part)| (rank, at, part))).min()
        };
        while let Some((_, at, part)) = best(parts) {
            parts[at] = part;
            parts.remove(at + 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Tables in which ranks are shared, repeat and fall, as no trained vocabulary has them.
        #[test]
        fn all_ways_merge_alike(
            table in prop::collection::hash_map((0u32..8, 0u32..8), (0u32..12, 0u32..8), 0..40),
            word in prop::collection::vec(0u32..4, 0..200),
        ) {
            let join = |a: u32, b: u32| table.get(&(a, b)).copied();
            let (mut expected, mut fast) = (word.clone(), word.clone());
            slow(&mut expected, join);
            merge(&mut fast, join);
            prop_assert_eq!(&fast, &expected);
            if !word.is_empty() {
                let mut long = word;
                Long::new(&mut long, join).run();
                prop_assert_eq!(&long, &expected);
            }
        }
    }
}
