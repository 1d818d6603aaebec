//! Cached keys and values in blocks of [`BLOCK_TOKENS`] tokens. `blocks` is the accounting and
//! knows no tensors; `store` is the memory.

mod blocks;
mod store;

pub use blocks::{BlockId, BlockPool, Chain, Prefix};
pub use store::{KvStore, SEGMENT_BLOCKS};

/// Tokens of one block.
pub const BLOCK_TOKENS: usize = 32;
