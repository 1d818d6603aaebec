//! DRY: penalizes tokens that would continue a repetition, more the longer it is.

use std::collections::HashMap;

use super::candidates::Candidates;
use crate::config::SamplingParams;
use crate::tokenizer::{TokenId, Tokenizer};

/// Longest breaker, in bytes, and longest rest of one, in tokens: they bound the scans.
const MAX_BREAKER_BYTES: usize = 40;
const MAX_TAIL_TOKENS: usize = 20;

/// ln of the greatest f32, which keeps powers finite.
const MAX_LN: f32 = 88.722_84;

/// The history and the sequences that end a repetition.
#[derive(Debug)]
pub struct Dry {
    multiplier: f32,
    base: f32,
    allowed: usize,
    last_n: usize,
    history: Vec<TokenId>,
    /// For each token that can begin a breaker, what must follow it.
    breakers: HashMap<TokenId, Vec<Vec<TokenId>>>,
}

impl Dry {
    /// DRY with the request's settings; `None` where they switch it off.
    #[must_use]
    pub fn new(p: &SamplingParams, tokenizer: &Tokenizer, n_ctx: usize) -> Option<Self> {
        if p.dry_multiplier == 0.0 || p.dry_base < 1.0 || p.dry_penalty_last_n == 0 {
            return None;
        }
        let mut breakers = HashMap::new();
        for breaker in p.dry_sequence_breakers.iter().filter(|breaker| !breaker.is_empty()) {
            let mut end = breaker.len().min(MAX_BREAKER_BYTES);
            while !breaker.is_char_boundary(end) {
                end -= 1;
            }
            add_breaker(&breaker[..end], tokenizer, &mut breakers);
        }
        Some(Self {
            multiplier: p.dry_multiplier,
            base: p.dry_base,
            allowed: usize::try_from(p.dry_allowed_length).unwrap_or(0),
            last_n: usize::try_from(p.dry_penalty_last_n).map_or(n_ctx, |n| n.min(n_ctx)),
            history: Vec::new(),
            breakers,
        })
    }

    /// Takes a token into the history.
    pub fn accept(&mut self, token: TokenId) {
        self.history.push(token);
    }

    /// Lowers the logits of tokens that would continue a repetition.
    pub fn apply(&self, c: &mut Candidates) {
        // Newest first.
        let recent: Vec<TokenId> = self.history.iter().rev().take(self.last_n).copied().collect();
        if recent.len() <= self.allowed {
            return;
        }
        let limit = self.repetition_limit(&recent);
        if limit < self.allowed {
            return;
        }
        let mut longest: HashMap<TokenId, usize> = HashMap::new();
        for (k, n) in z_function(&recent).into_iter().enumerate().skip(1) {
            let n = n.min(limit);
            if n >= self.allowed {
                // What came after the earlier copy of the present end.
                let entry = longest.entry(recent[k - 1]).or_default();
                *entry = (*entry).max(n);
            }
        }
        let max_exponent = if self.base > 1.000_001 { (MAX_LN / self.base.ln()) as usize } else { 0 };
        for (token, n) in longest {
            let Some(item) = c.find(token) else { continue };
            let breaks = self.breakers.get(&item.token).is_some_and(|tails| tails.iter().any(Vec::is_empty));
            if !breaks {
                let exponent = n - self.allowed;
                let exponent = if max_exponent > 0 { exponent.min(max_exponent) } else { exponent };
                item.logit -= self.multiplier * self.base.powf(exponent as f32);
            }
        }
        c.sorted = false;
    }

    /// Tokens back to the latest breaker.
    fn repetition_limit(&self, recent: &[TokenId]) -> usize {
        for (i, token) in recent.iter().enumerate() {
            let Some(tails) = self.breakers.get(token) else { continue };
            let matches = |tail: &&Vec<TokenId>| {
                tail.len() <= i && tail.iter().enumerate().all(|(offset, t)| *t == recent[i - offset - 1])
            };
            if let Some(longest) = tails.iter().filter(matches).map(Vec::len).max() {
                return i - longest;
            }
        }
        recent.len()
    }
}

/// Finds all tokens that `breaker` can begin in, with the tokens of what is left of it.
fn add_breaker(breaker: &str, tokenizer: &Tokenizer, out: &mut HashMap<TokenId, Vec<Vec<TokenId>>>) {
    let bytes = breaker.as_bytes();
    for id in 0..tokenizer.vocab_size() as TokenId {
        let word = tokenizer.token_bytes(id, true);
        let tails = out.entry(id).or_default();
        if word.windows(bytes.len()).any(|window| window == bytes) {
            tails.push(Vec::new());
        } else {
            // Ends of the word that are starts of the breaker.
            for n in (1..bytes.len().min(word.len() + 1)).filter(|n| word.ends_with(&bytes[..*n])) {
                let rest = String::from_utf8_lossy(&bytes[n..]);
                let mut tail = tokenizer.encode(&rest, false, false);
                tail.truncate(MAX_TAIL_TOKENS);
                if !tails.contains(&tail) {
                    tails.push(tail);
                }
            }
        }
        if tails.is_empty() {
            out.remove(&id);
        }
    }
}

/// For each position, how many tokens from there equal those from the start. O(n).
fn z_function(s: &[TokenId]) -> Vec<usize> {
    let mut z = vec![0; s.len()];
    let (mut left, mut right) = (0, 0);
    for k in 1..s.len() {
        let mut n = if k < right { z[k - left].min(right - k) } else { 0 };
        while k + n < s.len() && s[n] == s[k + n] {
            n += 1;
        }
        if k + n > right {
            (left, right) = (k, k + n);
        }
        z[k] = n;
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn z_equals_the_slow_definition(s in prop::collection::vec(0u32..3, 0..40)) {
            let slow: Vec<usize> = (0..s.len())
                .map(|k| if k == 0 { 0 } else { s[k..].iter().zip(&s).take_while(|(a, b)| a == b).count() })
                .collect();
            prop_assert_eq!(z_function(&s), slow);
        }
    }
}
