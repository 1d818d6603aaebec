//! Work on sequences that are nobody's request: scores, logits, measurements.

use super::bench::{BenchRun, BenchTest, Cost};
use super::step::{EngineLoop, guarded};
use crate::error::Result;

impl EngineLoop {
    pub(super) fn score(&mut self, tokens: &[u32], first: usize) -> Result<Vec<f32>> {
        let (runner, pool, n_batch) = (&mut self.runner, self.scheduler.pool_mut(), self.limits.n_batch);
        guarded(|| {
            let mut scores = Vec::with_capacity(tokens.len() - first);
            // Row i predicts token i + 1; the last row predicts nothing that is known.
            runner.run_alone(tokens, first - 1, n_batch, pool, |row, logits| {
                scores.extend(tokens.get(row + 1).map(|token| log_probability(logits, *token)));
            })?;
            Ok(scores)
        })
    }

    pub(super) fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let (runner, pool, n_batch) = (&mut self.runner, self.scheduler.pool_mut(), self.limits.n_batch);
        guarded(|| {
            let mut last = Vec::new();
            runner.run_alone(tokens, tokens.len() - 1, n_batch, pool, |_, logits| last = logits.to_vec())?;
            Ok(last)
        })
    }

    pub(super) fn bench(&mut self, test: &BenchTest, cost: &Cost) -> Result<BenchRun> {
        let (runner, pool, n_batch) = (&mut self.runner, self.scheduler.pool_mut(), self.limits.n_batch);
        guarded(|| runner.bench(test, cost, n_batch, pool))
    }
}

/// Natural logarithm of the softmax of `logits` at `token`, summed in f64.
fn log_probability(logits: &[f32], token: u32) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    (f64::from(logits[token as usize] - max) - sum.ln()) as f32
}
