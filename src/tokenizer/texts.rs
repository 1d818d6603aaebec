//! The texts of a vocabulary by id, and their ids, in a few runs of memory: a string of its own for
//! each token, in two tables, would take as much memory as a small model's layer.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::TokenId;

/// Byte strings by index, one after the other.
#[derive(Debug, Default)]
pub struct Runs {
    joined: Vec<u8>,
    ends: Vec<usize>,
}

impl Runs {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `index`, if there are so many.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.joined[start..end])
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Runs {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut runs = Self::default();
        for item in items {
            runs.joined.extend_from_slice(item.as_ref());
            runs.ends.push(runs.joined.len());
        }
        runs.joined.shrink_to_fit();
        runs.ends.shrink_to_fit();
        runs
    }
}

/// Texts by id and ids by text; of two equal texts the first has the id.
#[derive(Debug)]
pub struct Texts {
    runs: Runs,
    /// Ids at the places of their texts' hashes, or at the next free ones.
    slots: Vec<TokenId>,
    /// Randomly keyed: a file cannot choose texts that all fall on one place.
    hasher: RandomState,
}

/// A slot without an id. No vocabulary has so many tokens.
const FREE: TokenId = TokenId::MAX;

impl Texts {
    /// `texts` in the order of their ids, fewer than `u32::MAX`.
    #[must_use]
    pub fn new(texts: &[String]) -> Self {
        let slots = vec![FREE; (texts.len() * 2).next_power_of_two()];
        let mut this = Self { runs: texts.iter().collect(), slots, hasher: RandomState::default() };
        for (id, text) in texts.iter().enumerate() {
            let at = this.slot(text);
            if this.slots[at] == FREE {
                this.slots[at] = id as TokenId;
            }
        }
        this
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// The text of `id`, if it is in the vocabulary.
    #[must_use]
    pub fn get(&self, id: TokenId) -> Option<&str> {
        let bytes = self.runs.get(id as usize)?;
        Some(std::str::from_utf8(bytes).expect("only whole texts were put there"))
    }

    /// The id of `text`.
    #[must_use]
    pub fn id(&self, text: &str) -> Option<TokenId> {
        Some(self.slots[self.slot(text)]).filter(|id| *id != FREE)
    }

    /// Where `text` has its id, or would have it. At least half of the slots are free, so there is one.
    fn slot(&self, text: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.hasher.hash_one(text) as usize & mask;
        while self.slots[at] != FREE && self.runs.get(self.slots[at] as usize) != Some(text.as_bytes()) {
            at = (at + 1) & mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_ids_lead_to_each_other() {
        let strings: Vec<String> = (0..5000).map(|i| format!("token {}", i % 4000)).chain([String::new()]).collect();
        let texts = Texts::new(&strings);
        assert_eq!(texts.len(), strings.len());
        for (id, text) in strings.iter().enumerate() {
            assert_eq!(texts.get(id as TokenId), Some(text.as_str()));
            // Of equal texts the first counts.
            let first = if text.is_empty() { 5000 } else { id % 4000 };
            assert_eq!(texts.id(text), Some(first as TokenId));
        }
        assert_eq!(texts.get(5001), None);
        assert_eq!(texts.id("token 4000"), None);
    }

    #[test]
    fn a_single_text_is_found_and_others_are_not() {
        let texts = Texts::new(&["ä".into()]);
        assert_eq!((texts.id("ä"), texts.id(""), texts.id("ö")), (Some(0), None, None));
    }
}
