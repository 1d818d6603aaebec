//! Model architectures: wiring of `layers/`, one file a family.

use candle_core::Tensor;

use crate::config::EngineConfig;
use crate::error::Result;
use crate::gguf::GgufFile;
use crate::kv_cache::KvStore;

/// What the rest of the engine needs to know of a model.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    pub architecture: String,
    pub n_vocab: usize,
    pub n_ctx_train: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim_k: usize,
    pub head_dim_v: usize,
    pub n_params: u64,
    /// Bytes of all tensors in the file.
    pub size: u64,
}

/// One sequence's part of a step: rows `row .. row + n_tokens` of the batch.
#[derive(Debug, Clone)]
pub struct SequenceRows {
    pub row: usize,
    pub n_tokens: usize,
    /// Tokens of this sequence already in the cache; the first row has this position.
    pub n_past: usize,
    /// Physical KV blocks of the sequence in order, enough for `n_past + n_tokens`.
    pub blocks: Vec<u32>,
}

/// A step as plain data.
#[derive(Debug, Clone, Default)]
pub struct StepInput {
    pub tokens: Vec<u32>,
    pub sequences: Vec<SequenceRows>,
    /// Rows whose logits are wanted, ascending.
    pub outputs: Vec<usize>,
}

/// A loaded model. One engine thread owns it.
pub trait Model: Send {
    fn info(&self) -> &ModelInfo;
    /// Runs all rows, writes their keys and values to `cache` and returns logits
    /// `[outputs.len(), n_vocab]` in f32. Each row's bits do not depend on what else is in the step.
    fn forward(&self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor>;
}

/// Loads the model of a file; `progress` gets 0.0 to 1.0 and returns false to stop.
#[allow(unused_variables)]
pub fn load(file: &GgufFile, config: &EngineConfig, progress: &mut dyn FnMut(f32) -> bool) -> Result<Box<dyn Model>> {
    todo!()
}
