//! Measures the model's forward passes as llama-bench does: random tokens, no sampling.
//!
//! A [`BenchTest`] is one row of a table, prefill or decode; [`BenchRun`] says how long each repeat
//! took and what the arithmetic and the memory had to do for it.

use std::time::Instant;

use super::runner::Runner;
use crate::error::{Error, Result};
use crate::gguf::{GgmlType, GgufFile};
use crate::kv_cache::{BLOCK_TOKENS, BlockPool};
use crate::models::{SequenceRows, StepInput};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All tokens of a sequence in as few steps as the step's size allows.
    Prefill,
    /// One token of each sequence a step.
    Decode,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct BenchTest {
    pub phase: Phase,
    /// Tokens that each sequence gets in a repeat.
    pub n_tokens: usize,
    /// Sequences that are computed together.
    pub n_seq: usize,
    /// Tokens of each sequence that are in the cache before.
    pub depth: usize,
    pub repeats: usize,
}

/// What a measurement found.
#[derive(Debug, Clone)]
pub struct BenchRun {
    /// Of each repeat.
    pub seconds: Vec<f64>,
    /// Forward passes of a repeat.
    pub n_steps: usize,
    /// Multiplications and additions of a repeat in matrices that are stored as integers; attention
    /// is not counted.
    pub int_ops: f64,
    /// The same in matrices of floats.
    pub float_ops: f64,
    /// Bytes that a repeat has to read: the file's matrices once a step, and the cache.
    pub bytes: f64,
}

/// Largest values, which bound time and memory, not what may be of use.
const MAX_REPEATS: usize = 10_000;
const MAX_TOKENS: usize = 1 << 24;

impl BenchTest {
    /// Refuses what is out of range or does not fit into `n_ctx` tokens of context over all sequences.
    pub fn validate(&self, n_ctx: usize) -> Result<()> {
        let check = |field: &str, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(Error::invalid(field, format!("{value} is out of range; allowed: {min} to {max}")))
            }
        };
        check("n_tokens", self.n_tokens, 1, MAX_TOKENS)?;
        check("n_seq", self.n_seq, 1, 1024)?;
        check("depth", self.depth, 0, MAX_TOKENS)?;
        check("repeats", self.repeats, 1, MAX_REPEATS)?;
        let needed = self.blocks_each() * BLOCK_TOKENS * self.n_seq;
        if needed > n_ctx {
            return Err(Error::ContextExceeded { n_prompt: needed, n_ctx, at_least: false });
        }
        Ok(())
    }

    fn blocks_each(&self) -> usize {
        (self.depth + self.n_tokens).div_ceil(BLOCK_TOKENS)
    }
}

/// What one token costs in each of a model's matrices.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Weights of the layers, as integers and as floats; each is one multiplication and one addition.
    layers: [f64; 2],
    /// The same of the vocabulary head.
    head: [f64; 2],
    /// Bytes of all of them in the file.
    bytes: f64,
}

impl Cost {
    /// Adds up the matrices of `file`. The embedding table counts only where it is the head too.
    pub fn of(file: &GgufFile) -> Self {
        let tied = file.tensor("output.weight").is_none();
        let mut cost = Self::default();
        for tensor in file.tensors().iter().filter(|tensor| tensor.dims.len() == 2) {
            let is_head = tensor.name == "output.weight" || tied && tensor.name == "token_embd.weight";
            if tensor.name == "token_embd.weight" && !is_head {
                continue;
            }
            let float = matches!(tensor.ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
            let part = if is_head { &mut cost.head } else { &mut cost.layers };
            part[usize::from(float)] += tensor.n_elements() as f64;
            cost.bytes += tensor.bytes as f64;
        }
        cost
    }

    /// Operations for `rows` rows of which `outputs` reach the head.
    fn ops(&self, kind: usize, rows: usize, outputs: usize) -> f64 {
        2.0 * (self.layers[kind] * rows as f64 + self.head[kind] * outputs as f64)
    }
}

impl Runner {
    /// Runs `test` with steps of at most `n_batch` tokens a sequence, in blocks of `pool` that are
    /// given back afterwards. The first, untimed repeat warms up.
    pub(super) fn bench(
        &mut self,
        test: &BenchTest,
        cost: &Cost,
        n_batch: usize,
        pool: &mut BlockPool,
    ) -> Result<BenchRun> {
        let n_blocks = test.blocks_each() * test.n_seq;
        if n_blocks > pool.available() {
            return Err(Error::Internal(format!("{n_blocks} blocks do not fit into the cache beside what runs now")));
        }
        let blocks: Vec<u32> = (0..n_blocks).filter_map(|_| pool.allocate()).collect();
        let result = self.store.reserve(pool.len()).and_then(|()| {
            let mut bench = Bench::new(self, test, n_batch, &blocks);
            bench.fill()?;
            bench.repeat()?;
            let seconds = (0..test.repeats).map(|_| bench.repeat()).collect::<Result<_>>()?;
            Ok(bench.report(seconds, cost))
        });
        blocks.into_iter().for_each(|block| pool.release(block));
        result
    }
}

/// A test with its sequences.
struct Bench<'a> {
    runner: &'a mut Runner,
    test: &'a BenchTest,
    n_batch: usize,
    /// Of each sequence.
    blocks: Vec<Vec<u32>>,
    random: u64,
}

impl<'a> Bench<'a> {
    fn new(runner: &'a mut Runner, test: &'a BenchTest, n_batch: usize, blocks: &[u32]) -> Self {
        let blocks = blocks.chunks_exact(test.blocks_each()).map(<[u32]>::to_vec).collect();
        Self { runner, test, n_batch, blocks, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Computes what is to be in the cache before.
    fn fill(&mut self) -> Result<()> {
        for sequence in 0..self.test.n_seq {
            self.prefill(sequence..sequence + 1, 0, self.test.depth)?;
        }
        Ok(())
    }

    /// One repeat; the seconds that it took. It overwrites what the one before wrote to the cache.
    fn repeat(&mut self) -> Result<f64> {
        let BenchTest { phase, n_tokens, n_seq, depth, .. } = *self.test;
        let began = Instant::now();
        match phase {
            Phase::Prefill => self.prefill(0..n_seq, depth, n_tokens)?,
            Phase::Decode => {
                for past in depth..depth + n_tokens {
                    self.step(0..n_seq, past, 1, true)?;
                }
            }
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Computes `n` tokens of each of `sequences`; only the last ones' logits are wanted.
    fn prefill(&mut self, sequences: std::ops::Range<usize>, past: usize, n: usize) -> Result<()> {
        let mut done = 0;
        while done < n {
            let now = self.n_batch.min(n - done);
            self.step(sequences.clone(), past + done, now, done + now == n)?;
            done += now;
        }
        Ok(())
    }

    fn step(&mut self, sequences: std::ops::Range<usize>, n_past: usize, n: usize, outputs: bool) -> Result<()> {
        let mut input = StepInput::default();
        for sequence in sequences {
            let row = input.tokens.len();
            for _ in 0..n {
                let token = self.random_token();
                input.tokens.push(token);
            }
            let blocks = self.blocks[sequence].clone();
            input.sequences.push(SequenceRows { row, n_tokens: n, n_past, blocks });
            if outputs {
                input.outputs.push(row + n - 1);
            }
        }
        self.runner.logits(&input)?;
        Ok(())
    }

    fn random_token(&mut self) -> u32 {
        // xorshift64: which token it is does not matter, only that it is another one.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % self.runner.model.info().n_vocab as u64) as u32
    }

    fn report(&self, seconds: Vec<f64>, cost: &Cost) -> BenchRun {
        let BenchTest { phase, n_tokens, n_seq, depth, .. } = *self.test;
        let (n_steps, outputs) = match phase {
            Phase::Prefill => (n_tokens.div_ceil(self.n_batch), n_seq),
            Phase::Decode => (n_tokens, n_tokens * n_seq),
        };
        // Each step reads what is in the cache before it.
        let first = depth as f64;
        let read_each = match phase {
            Phase::Prefill => (0..n_steps).map(|step| first + (step * self.n_batch) as f64).sum::<f64>(),
            Phase::Decode => (0..n_steps).map(|step| first + step as f64).sum(),
        };
        let token_bytes = self.runner.store.block_bytes() as f64 / BLOCK_TOKENS as f64;
        let rows = n_tokens * n_seq;
        BenchRun {
            seconds,
            n_steps,
            int_ops: cost.ops(0, rows, outputs),
            float_ops: cost.ops(1, rows, outputs),
            bytes: n_steps as f64 * cost.bytes + read_each * n_seq as f64 * token_bytes,
        }
    }
}
