//! How much context and cache an engine gets from its settings.

use crate::config::EngineConfig;
use crate::error::{Error, Result};
use crate::kv_cache::{BLOCK_TOKENS, SEGMENT_BLOCKS};
use crate::models::ModelInfo;

/// A shortened context is a multiple of so many tokens.
const ROUND: usize = 256;

/// Memory for blocks that are kept only because they may be reused, beyond what the slots need.
const REUSE_BYTES: usize = 1 << 30;

/// Blocks that a sequence may hold beside those of its text: what it was begun with and what it writes next.
const SPARE_BLOCKS: usize = 2;

/// What an engine has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub n_slots: usize,
    /// Context tokens of a sequence.
    pub n_ctx: usize,
    /// Those that the settings ask for.
    pub n_ctx_wanted: usize,
    /// Blocks of the cache, which come into being as they are needed.
    pub n_blocks: usize,
}

impl Layout {
    /// What the settings ask for, in `available` bytes of memory where that is known. Sequences wait for each other
    /// where not all of them have room at once.
    pub fn new(config: &EngineConfig, info: &ModelInfo, block_bytes: usize, available: Option<u64>) -> Result<Self> {
        let (n_slots, n_ctx, total) = context_layout(config, info);
        let wanted = Self { n_slots, n_ctx, n_ctx_wanted: n_ctx, n_blocks: pool_capacity(n_slots, total, block_bytes) };
        let Some(available) = available.filter(|_| config.fit.enabled && block_bytes > 0) else { return Ok(wanted) };
        let room = usize::try_from(config.fit.room(available)).unwrap_or(usize::MAX) / block_bytes;
        // They come into being so many at a time.
        let room = room - room % SEGMENT_BLOCKS;
        let longest = room.saturating_sub(SPARE_BLOCKS).saturating_mul(BLOCK_TOKENS);
        if n_ctx <= longest {
            return Ok(Self { n_blocks: wanted.n_blocks.min(room), ..wanted });
        }
        let shortened = longest - longest % ROUND;
        if config.fit.shortens.unwrap_or(config.n_ctx == 0) && shortened >= config.fit.min_ctx {
            return Ok(Self { n_ctx: shortened, n_blocks: room, ..wanted });
        }
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let needed = (n_ctx.div_ceil(BLOCK_TOKENS) as u64).saturating_mul(block_bytes as u64);
        let message = format!(
            "a context of {n_ctx} tokens takes {:.2} GiB; of {:.2} GiB of memory that are left, {:.2} may be taken; \
             allowed: up to {longest} tokens a slot, smaller cache types, or fit off",
            gib(needed),
            gib(available),
            gib(config.fit.room(available)),
        );
        Err(Error::Config { field: "n_ctx", message })
    }
}

/// Slots, context tokens of each, and context tokens in all.
fn context_layout(config: &EngineConfig, info: &ModelInfo) -> (usize, usize, usize) {
    // An encoder has vectors for so many positions, and no more.
    let longest = if info.generates { usize::MAX } else { info.n_ctx_train };
    (config.n_slots(), config.sequence_context(info.n_ctx_train).min(longest), config.total_context(info.n_ctx_train))
}

/// Blocks for the context of all slots, and more that only serve reuse while they are cheap.
fn pool_capacity(n_slots: usize, total: usize, block_bytes: usize) -> usize {
    let running = total.div_ceil(BLOCK_TOKENS) + SPARE_BLOCKS * n_slots;
    running + REUSE_BYTES.checked_div(block_bytes).unwrap_or(0).min(3 * running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fit, Pooling};

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

    #[test]
    fn the_cache_ends_where_memory_does() {
        let layout = |n_ctx, available, fit| {
            let config = EngineConfig { n_ctx, fit, ..EngineConfig::default() };
            Layout::new(&config, &info(), 1 << 20, available)
        };
        let blocks = |n: u64| Some(n << 20);
        let fit = Fit { target: Some(0), min_ctx: 512, ..Fit::default() };
        let whole = layout(0, None, fit).expect("nothing is known");
        assert_eq!((whole.n_ctx, whole.n_blocks), (4096, 136 + 3 * 136));
        // Room for the context, though not for all that is wanted for reuse.
        assert_eq!(layout(0, blocks(200), fit).expect("it fits"), Layout { n_blocks: 192, ..whole });
        assert_eq!(layout(0, blocks(100_000), fit).expect("it fits"), whole);
        // The model's own context is shortened, to a round number.
        let short = layout(0, blocks(101), fit).expect("it is shortened");
        assert_eq!((short.n_ctx, short.n_blocks), (94 * 32 - 94 * 32 % 256, 96));
        // What was asked for is not, and nothing is below the least.
        let refused = |n_ctx, n| layout(n_ctx, blocks(n), fit).unwrap_err().to_string();
        assert!(refused(4096, 101).contains("up to 3008 tokens"), "{}", refused(4096, 101));
        assert!(refused(0, 17).starts_with("n_ctx: a context of 4096 tokens takes 0.12 GiB; of 0.02 GiB"));
        assert!(refused(64, 0).contains("up to 0 tokens"));
        assert_eq!(layout(4096, blocks(1), Fit { enabled: false, ..fit }).expect("nobody looks"), whole);
        let shortens = Fit { shortens: Some(true), ..fit };
        assert_eq!(layout(4096, blocks(101), shortens).expect("it is shortened"), short);
        // A margin is left.
        assert_eq!(Fit::default().room(800), 700);
        assert_eq!(Fit::default().room(100 << 30), 99 << 30);
        assert_eq!(Fit { target: Some(30), ..fit }.room(20), 0);
    }
}
