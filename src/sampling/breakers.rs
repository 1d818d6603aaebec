//! The texts that end a repetition for DRY, as tokens.

use std::collections::HashMap;
use std::sync::Arc;

use crate::tokenizer::{TokenId, Tokenizer};

/// Longest breaker, in bytes, and longest rest of one, in tokens: they bound the scans.
const MAX_BREAKER_BYTES: usize = 40;
const MAX_TAIL_TOKENS: usize = 20;

/// For each token that a breaker can begin in, what must follow it.
#[derive(Debug)]
pub struct Breakers {
    texts: Vec<String>,
    tails: Vec<Vec<TokenId>>,
    /// Places in `tails`.
    of: HashMap<TokenId, Vec<usize>>,
}

impl Breakers {
    /// Those of `texts`, which are `latest` if that is of the same ones: each look goes over the whole vocabulary.
    pub fn find(latest: &mut Option<Arc<Self>>, texts: &[String], tokenizer: &Tokenizer) -> Arc<Self> {
        match latest {
            Some(latest) if latest.texts == texts => Arc::clone(latest),
            _ => Arc::clone(latest.insert(Arc::new(Self::new(texts, tokenizer)))),
        }
    }

    fn new(texts: &[String], tokenizer: &Tokenizer) -> Self {
        let mut all = Self { texts: texts.to_vec(), tails: Vec::new(), of: HashMap::new() };
        let wanted: Vec<&[u8]> = texts.iter().filter(|text| !text.is_empty()).map(|text| beginning(text)).collect();
        // What is left of a breaker behind so many bytes of it, once it was asked for.
        let mut rests: HashMap<(usize, usize), usize> = HashMap::new();
        for id in 0..tokenizer.vocab_size() as TokenId {
            let word = tokenizer.token_bytes(id, true);
            let mut has = [false; 256];
            word.iter().for_each(|byte| has[usize::from(*byte)] = true);
            for (number, breaker) in wanted.iter().enumerate().filter(|(_, breaker)| has[usize::from(breaker[0])]) {
                for n in begun(word, breaker) {
                    let place = *rests.entry((number, n)).or_insert_with(|| all.add(&breaker[n..], tokenizer));
                    let places = all.of.entry(id).or_default();
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
            }
        }
        all
    }

    /// The place of the tokens of `rest`.
    fn add(&mut self, rest: &[u8], tokenizer: &Tokenizer) -> usize {
        let mut tail = tokenizer.encode(&String::from_utf8_lossy(rest), false, false);
        tail.truncate(MAX_TAIL_TOKENS);
        self.tails.iter().position(|other| *other == tail).unwrap_or_else(|| {
            self.tails.push(tail);
            self.tails.len() - 1
        })
    }

    /// What must follow `token` to make a breaker of it; nothing where it has a whole one.
    pub fn tails(&self, token: TokenId) -> impl Iterator<Item = &[TokenId]> {
        self.of.get(&token).into_iter().flatten().map(|place| self.tails[*place].as_slice())
    }
}

/// So much of a breaker as is looked for: whole characters.
fn beginning(text: &str) -> &[u8] {
    let end = (0..=text.len().min(MAX_BREAKER_BYTES)).rev().find(|end| text.is_char_boundary(*end));
    &text.as_bytes()[..end.unwrap_or(0)]
}

/// How many bytes of `breaker` are in `word`: all of them, or the ends of the word that begin it.
fn begun(word: &[u8], breaker: &[u8]) -> Vec<usize> {
    if word.windows(breaker.len()).any(|window| window == breaker) {
        return vec![breaker.len()];
    }
    (1..breaker.len().min(word.len() + 1)).filter(|n| word.ends_with(&breaker[..*n])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::TOKENIZER;
    use super::*;

    fn of(texts: &[&str]) -> Breakers {
        Breakers::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &TOKENIZER)
    }

    #[test]
    fn a_breaker_is_found_in_every_token_that_can_begin_it() {
        let breakers = of(&["the end", ""]);
        let mut begins = 0;
        for id in 0..TOKENIZER.vocab_size() as TokenId {
            let word = TOKENIZER.token_bytes(id, true);
            let tails: Vec<&[TokenId]> = breakers.tails(id).collect();
            let wanted = (1..=7).filter(|n| word.ends_with(&b"the end"[..*n])).count();
            assert_eq!(tails.len(), wanted, "{}", String::from_utf8_lossy(word));
            for tail in tails {
                let all = [word, &TOKENIZER.decode_bytes(tail, true)].concat();
                let text = String::from_utf8_lossy(&all).replace(' ', "");
                assert!(text.ends_with("theend"), "{text}");
                begins += 1;
            }
        }
        assert!(begins > 3, "{begins}");
    }

    #[test]
    fn a_token_with_a_whole_breaker_needs_nothing_behind() {
        let breakers = of(&["e"]);
        for id in 0..TOKENIZER.vocab_size() as TokenId {
            let has = TOKENIZER.token_bytes(id, true).contains(&b'e');
            assert_eq!(breakers.tails(id).any(<[TokenId]>::is_empty), has);
        }
    }

    #[test]
    fn the_same_texts_are_looked_for_once() {
        let texts = ["\n".to_owned(), "*".to_owned()];
        let mut latest = None;
        let first = Breakers::find(&mut latest, &texts, &TOKENIZER);
        assert!(Arc::ptr_eq(&first, &Breakers::find(&mut latest, &texts, &TOKENIZER)));
        let other = Breakers::find(&mut latest, &texts[..1], &TOKENIZER);
        assert!(!Arc::ptr_eq(&first, &other) && other.texts == texts[..1]);
    }
}
