//! Repetition, presence and frequency penalties over the latest tokens.

use std::collections::{HashMap, VecDeque};

use super::candidates::Candidates;
use crate::tokenizer::TokenId;

/// Counts of the last `last_n` tokens.
#[derive(Debug)]
pub struct Penalties {
    last_n: usize,
    repeat: f32,
    frequency: f32,
    presence: f32,
    recent: VecDeque<TokenId>,
    counts: HashMap<TokenId, u32>,
}

impl Penalties {
    /// Penalties over the last `last_n` tokens; neutral values cost nothing.
    #[must_use]
    pub fn new(last_n: usize, repeat: f32, frequency: f32, presence: f32) -> Self {
        let off = repeat == 1.0 && frequency == 0.0 && presence == 0.0;
        let last_n = if off { 0 } else { last_n };
        Self { last_n, repeat, frequency, presence, recent: VecDeque::new(), counts: HashMap::new() }
    }

    /// Takes a token into the history.
    pub fn accept(&mut self, token: TokenId) {
        if self.last_n == 0 {
            return;
        }
        if self.recent.len() == self.last_n
            && let Some(old) = self.recent.pop_front()
            && let Some(count) = self.counts.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&old);
            }
        }
        self.recent.push_back(token);
        *self.counts.entry(token).or_default() += 1;
    }

    /// Whether no token is penalized, whatever comes.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.last_n == 0
    }

    /// Lowers the logits of tokens in the history.
    pub fn apply(&self, c: &mut Candidates) {
        if self.is_off() {
            return;
        }
        for token in self.counts.keys() {
            if let Some(item) = c.find(*token) {
                item.logit = self.penalized(*token, item.logit);
            }
        }
        c.sorted = false;
    }

    /// Tokens in the history.
    pub fn tokens(&self) -> impl Iterator<Item = TokenId> {
        self.counts.keys().copied()
    }

    /// The logit of `token`, a token in the history, after the penalties.
    #[must_use]
    pub fn penalized(&self, token: TokenId, logit: f32) -> f32 {
        let count = self.counts.get(&token).copied().unwrap_or(0);
        // Dividing a negative logit would make its token more likely.
        let logit = if logit <= 0.0 { logit * self.repeat } else { logit / self.repeat };
        (logit - (count as f32 * self.frequency + self.presence)).min(f32::MAX)
    }
}
