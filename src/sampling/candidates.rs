//! The tokens that are still in play, with what every sampler does to them.

use std::cmp::Ordering;

use super::peaks::Peaks;
use crate::tokenizer::TokenId;

/// A token with its logit and, after a softmax, its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub token: TokenId,
    pub logit: f32,
    pub p: f32,
}

/// Candidates, never empty. `sorted` means by falling logit.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    pub items: Vec<Candidate>,
    pub sorted: bool,
}

/// Candidates beyond twice the wanted number that are collected before the least are dropped.
const SPARE: usize = 64;

/// Falling logits; equal ones by token, so that the order is one.
fn by_logit(a: &Candidate, b: &Candidate) -> Ordering {
    // Adding zero makes one zero of both.
    (b.logit + 0.0).total_cmp(&(a.logit + 0.0)).then(a.token.cmp(&b.token))
}

impl Candidates {
    /// Starts over with one candidate for each logit.
    pub fn reset(&mut self, logits: &[f32]) {
        self.sorted = false;
        self.items.clear();
        let items =
            logits.iter().enumerate().map(|(id, logit)| Candidate { token: id as TokenId, logit: *logit, p: 0.0 });
        self.items.extend(items);
    }

    /// Starts over with the `k` best logits, sorted: what `reset` and `keep_best` give. It looks closer at
    /// the runs alone that have one of them, as `peaks` of these logits tell.
    pub fn reset_best(&mut self, logits: &[f32], k: usize, peaks: &mut Peaks) {
        self.sorted = false;
        self.items.clear();
        let least = peaks.least_of_best(k);
        let tokens = peaks.reaching(least).filter(|token| logits[*token] >= least);
        let items = tokens.map(|token| Candidate { token: token as TokenId, logit: logits[token], p: 0.0 });
        self.items.extend(items);
        self.keep_best(k);
    }

    /// Starts over with the `k` best logits among the tokens whose bit of `allowed` is set, sorted: what
    /// `keep_best` gives where all others have no chance.
    pub fn reset_best_allowed(&mut self, logits: &[f32], k: usize, allowed: &[u32]) {
        self.sorted = false;
        self.items.clear();
        let mut least = None;
        for (index, (run, word)) in logits.chunks(u32::BITS as usize).zip(allowed).enumerate() {
            let mut bits = *word;
            while bits != 0 {
                let within = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(&logit) = run.get(within) else { break };
                if least.is_none_or(|least| logit >= least) {
                    let token = (index * u32::BITS as usize + within) as TokenId;
                    self.items.push(Candidate { token, logit, p: 0.0 });
                }
            }
            if self.items.len() > 2 * k + SPARE {
                let (_, kth, _) = self.items.select_nth_unstable_by(k - 1, by_logit);
                least = Some(kth.logit);
                self.items.truncate(k);
            }
        }
        // Where they are fewer, the first of the others are there without a chance.
        let is_allowed = |token: usize| allowed.get(token / 32).is_some_and(|word| word >> (token % 32) & 1 == 1);
        let others = (0..logits.len()).filter(|token| !is_allowed(*token)).take(k.saturating_sub(self.items.len()));
        let others = others.map(|token| Candidate { token: token as TokenId, logit: f32::NEG_INFINITY, p: 0.0 });
        self.items.extend(others);
        self.keep_best(k);
    }

    /// The candidate `token`, if it is still in play.
    pub fn find(&mut self, token: TokenId) -> Option<&mut Candidate> {
        // At the start of a chain all candidates lie in order.
        let at = match self.items.get(token as usize) {
            Some(item) if item.token == token => token as usize,
            _ => self.items.iter().position(|item| item.token == token)?,
        };
        self.items.get_mut(at)
    }

    /// Keeps the `k` best, sorted.
    pub fn keep_best(&mut self, k: usize) {
        let k = k.clamp(1, self.items.len());
        if !self.sorted {
            if k < self.items.len() {
                self.items.select_nth_unstable_by(k - 1, by_logit);
                self.items.truncate(k);
            }
            self.items.sort_unstable_by(by_logit);
            self.sorted = true;
        }
        self.items.truncate(k);
    }

    /// Sorts by falling logit.
    pub fn sort(&mut self) {
        self.keep_best(self.items.len());
    }

    /// The greatest logit.
    #[must_use]
    pub fn max_logit(&self) -> f32 {
        if self.sorted {
            return self.items[0].logit;
        }
        self.items.iter().map(|item| item.logit).fold(f32::NEG_INFINITY, f32::max)
    }

    /// Leaves the first candidate possible where biases have left none: nothing can be drawn of no chances.
    pub fn leave_one(&mut self) {
        if self.max_logit() == f32::NEG_INFINITY {
            self.items[0].logit = 0.0;
        }
    }

    /// Sets all probabilities, in f32 and in the present order.
    pub fn softmax(&mut self) {
        let max = self.max_logit();
        let mut sum = 0.0f32;
        for item in &mut self.items {
            item.p = (item.logit - max).exp();
            sum += item.p;
        }
        self.items.iter_mut().for_each(|item| item.p /= sum);
    }

    /// Sorts, then sets all probabilities.
    pub fn sorted_softmax(&mut self) {
        self.sort();
        self.softmax();
    }
}
