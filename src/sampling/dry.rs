//! DRY: penalizes tokens that would continue a repetition, more the longer it is.

use std::collections::HashMap;
use std::sync::Arc;

use super::breakers::Breakers;
use super::candidates::Candidates;
use crate::config::SamplingParams;
use crate::tokenizer::{TokenId, Tokenizer};

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
    breakers: Arc<Breakers>,
}

impl Dry {
    /// DRY with the request's settings; `None` where they switch it off. `latest` are the breakers of the request before.
    #[must_use]
    pub fn new(
        p: &SamplingParams,
        tokenizer: &Tokenizer,
        latest: &mut Option<Arc<Breakers>>,
        n_ctx: usize,
    ) -> Option<Self> {
        if p.dry_multiplier == 0.0 || p.dry_base < 1.0 || p.dry_penalty_last_n == 0 {
            return None;
        }
        Some(Self {
            multiplier: p.dry_multiplier,
            base: p.dry_base,
            allowed: usize::try_from(p.dry_allowed_length).unwrap_or(0),
            last_n: usize::try_from(p.dry_penalty_last_n).map_or(n_ctx, |n| n.min(n_ctx)),
            history: Vec::new(),
            breakers: Breakers::find(latest, &p.dry_sequence_breakers, tokenizer),
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
            if !self.breakers.tails(item.token).any(<[TokenId]>::is_empty) {
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
            let matches = |tail: &&[TokenId]| {
                tail.len() <= i && tail.iter().enumerate().all(|(offset, t)| *t == recent[i - offset - 1])
            };
            if let Some(longest) = self.breakers.tails(*token).filter(matches).map(<[TokenId]>::len).max() {
                return i - longest;
            }
        }
        recent.len()
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
