//! How much context and cache an engine gets from its settings.

use crate::config::EngineConfig;
use crate::kv_cache::BLOCK_TOKENS;
use crate::models::ModelInfo;

/// Slots when their number is not given; they share the whole context.
const AUTO_SLOTS: usize = 4;

/// Memory for blocks that are kept only because they may be reused, beyond what the slots need.
const REUSE_BYTES: usize = 1 << 30;

/// Slots, context tokens of each, and context tokens in all.
pub fn context_layout(config: &EngineConfig, info: &ModelInfo) -> (usize, usize, usize) {
    let total = if config.n_ctx == 0 { info.n_ctx_train } else { config.n_ctx };
    let (n_slots, n_ctx) = match config.n_parallel {
        None => (AUTO_SLOTS, total),
        Some(n) => (n, (total / n).max(1)),
    };
    // An encoder has vectors for so many positions, and no more.
    let longest = if info.generates { usize::MAX } else { info.n_ctx_train };
    (n_slots, n_ctx.min(longest), total)
}

/// Blocks for the context of all slots, and more that only serve reuse while they are cheap.
pub fn pool_capacity(n_slots: usize, total: usize, block_bytes: usize) -> usize {
    let running = total.div_ceil(BLOCK_TOKENS) + 2 * n_slots;
    running + REUSE_BYTES.checked_div(block_bytes).unwrap_or(0).min(3 * running)
}
