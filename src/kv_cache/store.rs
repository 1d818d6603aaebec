//! The memory behind KV blocks: per layer, keys transposed within a block (32 keys are one vector
//! run), values row by row.

use crate::config::CacheType;
use crate::error::Result;
use crate::models::ModelInfo;

/// Keys and values of all layers and blocks. Memory is allocated as blocks are first used.
pub struct KvStore {}

#[allow(unused_variables)]
impl KvStore {
    pub fn new(info: &ModelInfo, type_k: CacheType, type_v: CacheType) -> Result<Self> { todo!() }
    /// Makes blocks `0 .. n_blocks` usable (grows only).
    pub fn reserve(&mut self, n_blocks: usize) -> Result<()> { todo!() }
    /// Copies the first `n_tokens` tokens of block `from` to block `to`, in every layer.
    pub fn copy_prefix(&mut self, from: u32, to: u32, n_tokens: usize) { todo!() }
    /// Bytes of one block over all layers.
    #[must_use]
    pub fn block_bytes(&self) -> usize { todo!() }
}
