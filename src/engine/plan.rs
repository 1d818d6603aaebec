//! What one step computes, as plain data.

use super::sequence::SequenceId;
use crate::kv_cache::BlockId;

/// Rows of logits held at once where those of a prompt are wanted, to bound memory.
pub const SCORE_ROWS: usize = 64;

/// The part of one sequence in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub slot: usize,
    pub n_tokens: usize,
    /// Whether the chunk ends with the last known token, so that the next one can be drawn.
    pub samples: bool,
}

/// What a row of logits is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The next token of the sequence in this slot is drawn from it.
    Next { slot: usize },
    /// It tells how probable the prompt token behind `position` was.
    Score { slot: usize, position: usize },
}

/// A reuse of the first tokens of a block, to be done before the step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCopy {
    pub from: BlockId,
    pub to: BlockId,
    pub n_tokens: usize,
}

/// One step. `admitted` are the sequences that begin with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StepPlan {
    pub admitted: Vec<(usize, SequenceId)>,
    pub copies: Vec<BlockCopy>,
    pub chunks: Vec<Chunk>,
}
