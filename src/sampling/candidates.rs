//! The tokens that are still in play, with what every sampler does to them.

use std::cmp::Ordering;

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

/// Falling logits; equal ones by token, so that the order is one.
fn by_logit(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
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
