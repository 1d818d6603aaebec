//! Turns a plan into tensors: copies, one forward pass, logits by row.

use candle_core::Tensor;

use super::plan::{SCORE_ROWS, StepPlan, Wanted};
use super::scheduler::Scheduler;
use crate::config::Pooling;
use crate::error::{Error, Result};
use crate::kernels::Pool;
use crate::kv_cache::{BLOCK_TOKENS, BlockPool, KvStore};
use crate::layers::{visit_rows, visit_rows_with};
use crate::models::{Model, SequenceRows, StepInput};

/// The model with its cache memory.
pub struct Runner {
    pub model: Box<dyn Model>,
    pub store: KvStore,
}

/// Logits of the rows that are wanted, in the order in which they were asked for.
pub struct Logits {
    /// `[rows, n_vocab]`; none where nothing ran.
    rows: Option<Tensor>,
}

impl Logits {
    /// Calls `visit` with each row and its index; the row is scratch memory from then on.
    pub fn visit(&self, visit: impl FnMut(usize, &mut [f32])) -> Result<()> {
        self.rows.as_ref().map_or(Ok(()), |rows| Ok(visit_rows(rows, visit)?))
    }

    /// Calls `visit` with each of `states` and the row of its place, on the threads of `pool` and in no order;
    /// the rows are scratch memory from then on.
    pub fn visit_with<T: Send>(
        &self,
        states: &mut [T],
        pool: &Pool,
        visit: impl Fn(&mut T, &mut [f32]) + Sync,
    ) -> Result<()> {
        self.rows.as_ref().map_or(Ok(()), |rows| Ok(visit_rows_with(rows, states, pool, visit)?))
    }
}

impl Runner {
    /// Runs `plan`, whose chunks are taken from the scheduler's sequences. Returns rows of logits, and what
    /// each of them is for.
    pub fn run(&mut self, plan: &StepPlan, scheduler: &Scheduler) -> Result<(Logits, Vec<Wanted>)> {
        self.store.reserve(scheduler.pool().len())?;
        for copy in &plan.copies {
            self.store.copy_prefix(copy.from, copy.to, copy.n_tokens);
        }
        let mut input = StepInput::default();
        let mut wanted = Vec::new();
        for chunk in &plan.chunks {
            let sequence = scheduler.sequence(chunk.slot).expect("the plan lists running sequences");
            let known = sequence.n_computed;
            let row = input.tokens.len();
            input.tokens.extend_from_slice(&sequence.tokens[known..known + chunk.n_tokens]);
            input.sequences.push(SequenceRows {
                row,
                n_tokens: chunk.n_tokens,
                n_past: known,
                blocks: sequence.blocks.clone(),
            });
            input.adapt_last(chunk.n_tokens, &sequence.origin.adapters);
            for position in sequence.scored_rows(chunk.n_tokens) {
                input.outputs.push(row + position - known);
                wanted.push(Wanted::Score { slot: chunk.slot, position });
            }
            if chunk.samples {
                input.outputs.push(row + chunk.n_tokens - 1);
                wanted.push(Wanted::Next { slot: chunk.slot });
            }
        }
        if input.tokens.is_empty() {
            return Ok((Logits { rows: None }, wanted));
        }
        Ok((self.logits(&input)?, wanted))
    }

    /// One forward pass.
    pub(super) fn logits(&mut self, input: &StepInput) -> Result<Logits> {
        let rows = self.model.forward(input, &mut self.store)?;
        let expected = (input.outputs.len(), self.model.info().n_vocab);
        if rows.dims2()? != expected {
            return Err(Error::Internal(format!("logits of shape {:?} instead of {expected:?}", rows.dims())));
        }
        Ok(Logits { rows: Some(rows) })
    }

    /// The wanted rows' vectors, or with [`Pooling::Rank`] the scores that they are given.
    pub(super) fn vectors(&mut self, input: &StepInput, pooling: Pooling, n_blocks: usize) -> Result<Vec<Vec<f32>>> {
        self.store.reserve(n_blocks)?;
        let mut rows = self.model.hidden(input, &mut self.store)?;
        if pooling == Pooling::Rank {
            rows = self.model.classify(&rows)?;
        }
        Ok(rows.to_vec2()?)
    }

    /// Computes `tokens` as an independent sequence and hands the logits of each row from `first`
    /// on to `visit`, with the row's index.
    pub fn run_alone(
        &mut self,
        tokens: &[u32],
        first: usize,
        n_batch: usize,
        pool: &mut BlockPool,
        mut visit: impl FnMut(usize, &mut [f32]),
    ) -> Result<()> {
        let n_blocks = tokens.len().div_ceil(BLOCK_TOKENS);
        if n_blocks > pool.available() {
            return Err(Error::Internal(format!(
                "{} tokens do not fit into the cache beside what runs now",
                tokens.len()
            )));
        }
        let blocks: Vec<u32> = (0..n_blocks).filter_map(|_| pool.allocate()).collect();
        let result = self.run_chunks(tokens, first, n_batch, &blocks, pool.len(), &mut visit);
        // Nothing was recorded as computed, so the blocks become free, not cached.
        blocks.into_iter().for_each(|block| pool.release(block));
        result
    }

    fn run_chunks(
        &mut self,
        tokens: &[u32],
        first: usize,
        n_batch: usize,
        blocks: &[u32],
        n_blocks: usize,
        visit: &mut impl FnMut(usize, &mut [f32]),
    ) -> Result<()> {
        self.store.reserve(n_blocks)?;
        let mut at = 0;
        while at < tokens.len() {
            let longest = if at >= first { n_batch.min(SCORE_ROWS) } else { n_batch.min(first - at) };
            let end = (at + longest).min(tokens.len());
            let outputs: Vec<usize> = (at..end).filter(|row| *row >= first).map(|row| row - at).collect();
            let n = outputs.len();
            let input = StepInput {
                tokens: tokens[at..end].to_vec(),
                sequences: vec![SequenceRows { row: 0, n_tokens: end - at, n_past: at, blocks: blocks.to_vec() }],
                outputs,
                ..StepInput::default()
            };
            self.logits(&input)?.visit(|row, values| visit(end - n + row, values))?;
            at = end;
        }
        Ok(())
    }
}
