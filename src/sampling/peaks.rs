//! The greatest logits of a row, run by run: one pass in vectors, after which only the runs with the best ones
//! need a closer look.

use std::ops::Range;

use crate::kernels::Simd;

/// Runs that lie side by side, one in each lane of a vector register: a run's logits are so far apart.
const LANES: usize = 16;

/// Logits of runs that lie side by side.
const BLOCK: usize = 64 * LANES;

/// The greatest logit of each run.
#[derive(Debug, Clone, Default)]
pub struct Peaks {
    /// `[block][lane]`
    all: Vec<f32>,
    /// Logits of the row.
    n: usize,
    /// Scratch for [`Self::least_of_best`].
    order: Vec<f32>,
}

impl Peaks {
    /// Looks at all of `logits`. False if one of them is NaN or plus infinity.
    pub fn find(&mut self, logits: &[f32], simd: Simd) -> bool {
        self.n = logits.len();
        self.all.resize(logits.len().div_ceil(BLOCK) * LANES, f32::NEG_INFINITY);
        let peaks = self.all.as_chunks_mut::<LANES>().0;
        simd.run(
            #[inline(always)]
            || {
                let mut wrong = [0u32; LANES];
                for (peaks, block) in peaks.iter_mut().zip(logits.chunks(BLOCK)) {
                    let mut greatest = [f32::NEG_INFINITY; LANES];
                    let (rows, rest) = block.as_chunks::<LANES>();
                    for row in rows {
                        for lane in 0..LANES {
                            greatest[lane] = greater(row[lane], greatest[lane]);
                            wrong[lane] |= u32::from(!may_be(row[lane]));
                        }
                    }
                    for (lane, logit) in rest.iter().enumerate() {
                        greatest[lane] = greater(*logit, greatest[lane]);
                        wrong[lane] |= u32::from(!may_be(*logit));
                    }
                    *peaks = greatest;
                }
                wrong.iter().all(|wrong| *wrong == 0)
            },
        )
    }

    /// Looks again at the runs of `tokens`, whose logits were changed; at all where they are many.
    pub fn look_again(&mut self, logits: &[f32], tokens: impl ExactSizeIterator<Item = usize>, simd: Simd) {
        if tokens.len() > logits.len() / BLOCK {
            self.find(logits, simd);
            return;
        }
        for token in tokens {
            let run = token / BLOCK * LANES + token % LANES;
            let own = run_tokens(run, self.n).map(|token| logits[token]);
            self.all[run] = own.fold(f32::NEG_INFINITY, |greatest, logit| greater(logit, greatest));
        }
    }

    /// A logit that at least `k` of the row reach, and few beside them.
    pub fn least_of_best(&mut self, k: usize) -> f32 {
        if self.all.len() <= k {
            return f32::NEG_INFINITY;
        }
        self.order.clone_from(&self.all);
        *self.order.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    /// The tokens of the runs that have a logit of at least `least`.
    pub fn reaching(&self, least: f32) -> impl Iterator<Item = usize> {
        let runs = self.all.iter().enumerate().filter(move |(_, peak)| **peak >= least);
        runs.flat_map(|(run, _)| run_tokens(run, self.n))
    }
}

/// The tokens of a run, of `n`.
fn run_tokens(run: usize, n: usize) -> std::iter::StepBy<Range<usize>> {
    let first = run / LANES * BLOCK;
    (first + run % LANES..n.min(first + BLOCK)).step_by(LANES)
}

/// Whether a chain can work with `logit`: neither NaN nor plus infinity.
#[inline(always)]
pub fn may_be(logit: f32) -> bool {
    logit < f32::INFINITY
}

/// The greater one; `b` where `a` is NaN.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
