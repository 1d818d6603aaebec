//! Results of partitions and their merging.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::SharedSlice;
use super::plan::Plan;
use crate::kernels::math::exp_weight;

/// The largest score of some keys and the sum of their weights relative to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mass {
    pub largest: f32,
    pub sum: f32,
}

impl Mass {
    /// The mass of query `index` in a list.
    #[inline(always)]
    pub fn get(list: &[f32], index: usize) -> Self {
        Self { largest: list[2 * index], sum: list[2 * index + 1] }
    }

    /// Sets the mass of query `index` in a list.
    #[inline(always)]
    pub fn put(self, list: &mut [f32], index: usize) {
        (list[2 * index], list[2 * index + 1]) = (self.largest, self.sum);
    }
}

/// Adds the result of the next partition to that of those before it.
#[inline(always)]
pub(super) fn fold(mass: &mut Mass, sums: &mut [f32], next: Mass, next_sums: &[f32]) {
    let largest = mass.largest.max(next.largest);
    let (old, new) = (exp_weight(mass.largest - largest), exp_weight(next.largest - largest));
    for (sum, next) in sums.iter_mut().zip(next_sums) {
        *sum = sum.mul_add(old, *next * new);
    }
    *mass = Mass { largest, sum: mass.sum.mul_add(old, next.sum * new) };
}

/// Room for the results of items that are one partition of several.
pub(super) struct Partials<'a> {
    pub plan: &'a Plan,
    pub values: SharedSlice<'a>,
    /// Items of each group that are still to come.
    left: Vec<AtomicUsize>,
}

thread_local! {
    /// Kept by the engine's thread from layer to layer, so that a step allocates none of it.
    static MEMORY: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl Partials<'_> {
    /// Calls `work` with room for what `plan` needs.
    pub fn with(plan: &Plan, work: impl FnOnce(&Partials<'_>)) {
        let mut memory = MEMORY.take();
        if memory.len() < plan.n_partial {
            memory.resize(plan.n_partial, 0.0);
        }
        let left = plan.groups.iter().map(|group| AtomicUsize::new(group.partitions.len())).collect();
        work(&Partials { plan, values: SharedSlice::new(&mut memory), left });
        MEMORY.set(memory);
    }

    /// Whether the caller's item was the last of its group; then all results are there to read.
    pub fn is_last(&self, group: usize) -> bool {
        self.left[group].fetch_sub(1, Ordering::AcqRel) == 1
    }
}
