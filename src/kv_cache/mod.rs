//! Cached keys and values in blocks of [`BLOCK_TOKENS`] tokens. `blocks` is the accounting and
//! knows no tensors; `store` is the memory.

mod blocks;
mod store;

pub use blocks::BlockPool;
pub use store::KvStore;

/// Tokens of one block.
pub const BLOCK_TOKENS: usize = 32;
