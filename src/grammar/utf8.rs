//! Character sets as automata over UTF-8 bytes.
//!
//! A [`CharSet`] is what one GBNF character or class matches. [`Utf8Table::add`] turns it into a
//! small deterministic automaton: a bitmap for ASCII and a tree of byte ranges for longer
//! sequences. Equal subtrees are stored once, so the thousand copies that a repetition makes of
//! one class share their nodes.

use std::collections::HashMap;

/// The highest Unicode code point.
pub const MAX_CHAR: u32 = 0x10_FFFF;
/// Surrogates are code points but no characters: UTF-8 cannot hold them.
const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);

/// Sorted, disjoint, inclusive ranges of code points.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CharSet {
    ranges: Vec<(u32, u32)>,
}

impl CharSet {
    /// The set of exactly these ranges, which may overlap and come in any order.
    pub fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Self { ranges: merged }
    }

    /// Every code point that is not in this set.
    pub fn negated(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut next = 0;
        for &(low, high) in &self.ranges {
            if next < low {
                ranges.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= MAX_CHAR {
            ranges.push((next, MAX_CHAR));
        }
        Self { ranges }
    }

    /// Whether all of `ranges` is in the set.
    fn covers(&self, ranges: &[(u32, u32)]) -> bool {
        let within = |&(low, high): &(u32, u32)| self.ranges.iter().any(|r| r.0 <= low && high <= r.1);
        ranges.iter().all(within)
    }

    /// Whether `c` is in the set.
    pub fn contains(&self, c: u32) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&c))
    }
}

/// Index of a compiled [`CharSet`].
pub type SetId = u32;
/// A place inside a character: [`START`], or the node that the next continuation byte meets.
pub type NodeId = u32;
/// The place before a character's first byte.
pub const START: NodeId = u32::MAX;

/// What one byte does to a place inside a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteStep {
    /// No character of the set goes on like this.
    Dead,
    /// More continuation bytes are needed.
    Inside(NodeId),
    /// The character is complete.
    Done,
}

/// Where a byte range leads; `None` completes the character.
type Edge = (u8, u8, Option<NodeId>);

struct Compiled {
    ascii: u128,
    leads: Vec<Edge>,
    /// Which of [`PLAIN`] the set contains whole, a bit each.
    covers: u8,
}

/// Characters that most text is made of: all but controls and JSON's specials, letters with the
/// space, small letters. A grammar's place that takes them all needs no walk over the tokens made of them.
pub const PLAIN: [&[(u32, u32)]; 3] = [
    &[(0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, MAX_CHAR)],
    &[(0x20, 0x20), (0x41, 0x5A), (0x61, 0x7A)],
    &[(0x61, 0x7A)],
];

/// All character sets of one grammar.
#[derive(Default)]
pub struct Utf8Table {
    sets: Vec<Compiled>,
    set_ids: HashMap<CharSet, SetId>,
    nodes: Vec<Vec<Edge>>,
    node_ids: HashMap<Vec<Edge>, NodeId>,
    /// The nodes after which any 1, 2 or 3 continuation bytes do.
    full: [Option<NodeId>; 3],
}

impl Utf8Table {
    /// Compiles `set`, or finds the equal one compiled before.
    pub fn add(&mut self, set: &CharSet) -> SetId {
        if let Some(&id) = self.set_ids.get(set) {
            return id;
        }
        let mut ascii = 0u128;
        for &(low, high) in &set.ranges {
            for c in low..=high.min(0x7F) {
                ascii |= 1 << c;
            }
        }
        let scalar = without_surrogates(&set.ranges);
        let mut leads = Vec::new();
        for lead in 0xC2u8..=0xF4 {
            let (base, tail) = match lead {
                0xC2..=0xDF => (u32::from(lead & 0x1F) << 6, 1),
                0xE0..=0xEF => (u32::from(lead & 0x0F) << 12, 2),
                _ => (u32::from(lead & 0x07) << 18, 3),
            };
            // Shorter encodings are taken first: E0 starts at U+0800, F0 at U+10000.
            let floor = [0x80, 0x800, 0x1_0000][tail as usize - 1];
            let part = clip(&scalar, base.max(floor), base + (1 << (6 * tail)) - 1);
            if let Some(node) = self.node(&part, base, tail) {
                push_edge(&mut leads, lead, Some(node));
            }
        }
        let id = self.sets.len() as SetId;
        let covers = PLAIN.iter().enumerate().map(|(i, plain)| u8::from(set.covers(plain)) << i).sum();
        self.sets.push(Compiled { ascii, leads, covers });
        self.set_ids.insert(set.clone(), id);
        id
    }

    /// The node after which `tail` continuation bytes spell the offsets from `base` that are in
    /// `ranges`; none where nothing is left.
    fn node(&mut self, ranges: &[(u32, u32)], base: u32, tail: u32) -> Option<NodeId> {
        if ranges.is_empty() {
            return None;
        }
        let whole = ranges == [(base, base + (1 << (6 * tail)) - 1)];
        if let (true, Some(full)) = (whole, self.full[tail as usize - 1]) {
            return Some(full);
        }
        let node = self.build_node(ranges, base, tail);
        if whole {
            self.full[tail as usize - 1] = Some(node);
        }
        Some(node)
    }

    fn build_node(&mut self, ranges: &[(u32, u32)], base: u32, tail: u32) -> NodeId {
        let width = 1u32 << (6 * (tail - 1));
        let mut edges = Vec::new();
        for i in 0..64u32 {
            let low = base + i * width;
            let part = clip(ranges, low, low + width - 1);
            if part.is_empty() {
                continue;
            }
            let target = if tail == 1 { None } else { self.node(&part, low, tail - 1) };
            push_edge(&mut edges, 0x80 | i as u8, target);
        }
        if let Some(&id) = self.node_ids.get(&edges) {
            return id;
        }
        let id = self.nodes.len() as NodeId;
        self.nodes.push(edges.clone());
        self.node_ids.insert(edges, id);
        id
    }

    /// Memory taken, roughly: the sets are kept as text and compiled, the nodes as list and key.
    pub fn bytes(&self) -> usize {
        let sets: usize = self.set_ids.keys().map(|set| 8 * set.ranges.len() + 512).sum();
        sets + self.nodes.iter().map(|edges| 2 * size_of::<Edge>() * edges.len()).sum::<usize>()
    }

    /// Whether `set` contains all of `PLAIN[class]`.
    #[inline]
    pub fn covers(&self, set: SetId, class: usize) -> bool {
        self.sets[set as usize].covers >> class & 1 == 1
    }

    /// Follows `byte` from `place` in `set`.
    #[inline]
    pub fn step(&self, set: SetId, place: NodeId, byte: u8) -> ByteStep {
        let edges = if place == START {
            let set = &self.sets[set as usize];
            if byte < 0x80 {
                return if set.ascii >> byte & 1 == 1 { ByteStep::Done } else { ByteStep::Dead };
            }
            &set.leads
        } else {
            &self.nodes[place as usize]
        };
        match edges.iter().find(|edge| edge.0 <= byte && byte <= edge.1) {
            None => ByteStep::Dead,
            Some((_, _, None)) => ByteStep::Done,
            Some((_, _, Some(node))) => ByteStep::Inside(*node),
        }
    }
}

/// Bytes that no set of a grammar tells apart, in classes.
pub struct ByteClasses {
    of: [u8; 256],
    n: usize,
}

impl ByteClasses {
    /// The classes of `table`: a new one begins wherever a set or a node changes its mind.
    pub fn new(table: &Utf8Table) -> Self {
        let mut begins = [false; 256];
        for set in &table.sets {
            let changes = set.ascii ^ (set.ascii << 1);
            (0..128).filter(|byte| changes >> byte & 1 == 1).for_each(|byte| begins[byte] = true);
            // ASCII goes on as nothing that begins with a longer character's byte.
            begins[0x80] = true;
        }
        let leads = table.sets.iter().map(|set| &set.leads);
        for (low, high, _) in leads.chain(&table.nodes).flatten() {
            begins[usize::from(*low)] = true;
            if let Some(after) = begins.get_mut(usize::from(*high) + 1) {
                *after = true;
            }
        }
        let mut class = 0;
        let of = std::array::from_fn(|byte| {
            class += u8::from(begins[byte] && byte > 0);
            class
        });
        Self { of, n: usize::from(class) + 1 }
    }

    /// Number of classes.
    #[inline]
    pub fn len(&self) -> usize {
        self.n
    }

    /// The class of a byte.
    #[inline]
    pub fn of(&self, byte: u8) -> usize {
        usize::from(self.of[usize::from(byte)])
    }
}

fn push_edge(edges: &mut Vec<Edge>, byte: u8, target: Option<NodeId>) {
    match edges.last_mut() {
        Some(last) if last.1 + 1 == byte && last.2 == target => last.1 = byte,
        _ => edges.push((byte, byte, target)),
    }
}

/// The part of sorted `ranges` within `low..=high`.
fn clip(ranges: &[(u32, u32)], low: u32, high: u32) -> Vec<(u32, u32)> {
    let first = ranges.partition_point(|r| r.1 < low);
    ranges[first..].iter().take_while(|r| r.0 <= high).map(|r| (r.0.max(low), r.1.min(high))).collect()
}

fn without_surrogates(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut kept = clip(ranges, 0, SURROGATES.0 - 1);
    kept.extend(clip(ranges, SURROGATES.1 + 1, MAX_CHAR));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(table: &Utf8Table, set: SetId, bytes: &[u8]) -> bool {
        let mut place = START;
        for (i, &byte) in bytes.iter().enumerate() {
            match table.step(set, place, byte) {
                ByteStep::Dead => return false,
                ByteStep::Inside(node) => place = node,
                ByteStep::Done => return i + 1 == bytes.len(),
            }
        }
        false
    }

    proptest! {
        #[test]
        fn bytes_match_exactly_the_characters_of_the_set(
            ranges in prop::collection::vec((0..=MAX_CHAR, 0..=MAX_CHAR), 0..4),
            probes in prop::collection::vec(any::<char>(), 20),
            negate: bool,
        ) {
            let mut set = CharSet::new(ranges.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect());
            if negate {
                set = set.negated();
            }
            let mut table = Utf8Table::default();
            let id = table.add(&set);
            let edges = ranges.iter().flat_map(|&(a, b)| [a, b, a.wrapping_sub(1), b.wrapping_add(1)]);
            for c in probes.iter().copied().chain(edges.filter_map(char::from_u32)) {
                let mut buffer = [0; 4];
                let bytes = c.encode_utf8(&mut buffer).as_bytes();
                prop_assert_eq!(matches(&table, id, bytes), set.contains(u32::from(c)), "{:?}", c);
            }
            let classes = ByteClasses::new(&table);
            for (a, b) in (0..=255u8).zip(1..=255u8).filter(|(a, b)| classes.of(*a) == classes.of(*b)) {
                let places = (0..table.nodes.len() as NodeId).chain([START]);
                for place in places {
                    prop_assert_eq!(table.step(id, place, a), table.step(id, place, b), "{} and {}", a, b);
                }
            }
            prop_assert!(classes.len() <= 256 && classes.of(255) + 1 == classes.len());
        }
    }

    #[test]
    fn overlong_and_surrogate_bytes_match_nothing() {
        let mut table = Utf8Table::default();
        let any = table.add(&CharSet::new(vec![(0, MAX_CHAR)]));
        for bytes in [
            &b"\xC0\x80"[..],
            b"\xE0\x80\x80",
            b"\xED\xA0\x80",
            b"\xF0\x80\x80\x80",
            b"\xF4\x90\x80\x80",
            b"\x80",
            b"\xFF",
        ] {
            assert!(!matches(&table, any, bytes), "{bytes:x?}");
        }
    }
}
