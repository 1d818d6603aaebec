//! How much context and cache an engine gets from its settings.

use crate::config::EngineConfig;
use crate::kv_cache::BLOCK_TOKENS;
use crate::models::ModelInfo;

/// Memory for blocks that are kept only because they may be reused, beyond what the slots need.
const REUSE_BYTES: usize = 1 << 30;

/// Slots, context tokens of each, and context tokens in all.
pub fn context_layout(config: &EngineConfig, info: &ModelInfo) -> (usize, usize, usize) {
    // An encoder has vectors for so many positions, and no more.
    let longest = if info.generates { usize::MAX } else { info.n_ctx_train };
    (config.n_slots(), config.sequence_context(info.n_ctx_train).min(longest), config.total_context(info.n_ctx_train))
}

/// Blocks for the context of all slots, and more that only serve reuse while they are cheap.
pub fn pool_capacity(n_slots: usize, total: usize, block_bytes: usize) -> usize {
    let running = total.div_ceil(BLOCK_TOKENS) + 2 * n_slots;
    running + REUSE_BYTES.checked_div(block_bytes).unwrap_or(0).min(3 * running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pooling;

    fn info() -> ModelInfo {
        ModelInfo {
            architecture: "llama".into(),
            n_vocab: 512,
            n_ctx_train: 4096,
            n_embd: 64,
            n_layer: 2,
            n_head: 2,
            n_head_kv: 2,
            head_dim_k: 32,
            head_dim_v: 32,
            n_params: 1,
            size: 1,
            generates: true,
            n_layer_cache: 2,
            pooling: Pooling::None,
            n_classes: 0,
            adapters: Vec::new(),
        }
    }

    #[test]
    fn slots_share_or_divide_the_context_however_many_they_are() {
        let layout = |n_parallel, kv_unified| {
            let config = EngineConfig { n_ctx: 1000, n_parallel, kv_unified, ..EngineConfig::default() };
            context_layout(&config, &info())
        };
        assert_eq!(layout(None, None), (4, 1000, 1000));
        assert_eq!(layout(None, Some(false)), (4, 250, 1000));
        assert_eq!(layout(Some(2), None), (2, 500, 1000));
        assert_eq!(layout(Some(2), Some(true)), (2, 1000, 1000));
    }
}
