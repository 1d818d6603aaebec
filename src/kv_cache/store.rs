//! The memory behind KV blocks. Segments of blocks hold all layers, so that memory grows by one
//! mapping at a time; `kernels::kv_memory` gives kernels their view of a layer.

use super::BLOCK_TOKENS;
use crate::config::CacheType;
use crate::error::{Error, Result};
use crate::kernels::kv_memory::{LayerCache, LayerPlace, Segments};
use crate::kernels::{GROUP, Kind, KvFormat};
use crate::models::ModelInfo;

/// Blocks that are allocated together.
pub const SEGMENT_BLOCKS: usize = 16;

/// Keys and values of all layers and blocks.
pub struct KvStore {
    segments: Segments,
    keys: KvFormat,
    values: KvFormat,
    n_layer: usize,
    n_head_kv: usize,
    n_blocks: usize,
}

impl KvStore {
    /// An empty store for a model's shape.
    pub fn new(info: &ModelInfo, type_k: CacheType, type_v: CacheType) -> Result<Self> {
        let keys = format("cache_type_k", type_k, Kind::Keys, info.head_dim_k)?;
        let values = format("cache_type_v", type_v, Kind::Values, info.head_dim_v)?;
        let per_token = keys.token_bytes() + values.token_bytes();
        let sizes = [info.n_layer_cache, info.n_head_kv, SEGMENT_BLOCKS, BLOCK_TOKENS, per_token];
        let bytes = sizes.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
        let bytes = bytes
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or_else(|| Error::Internal(format!("cache blocks of shape {sizes:?} are too large")))?;
        Ok(Self {
            segments: Segments::new(bytes),
            keys,
            values,
            n_layer: info.n_layer_cache,
            n_head_kv: info.n_head_kv,
            n_blocks: 0,
        })
    }

    /// Makes blocks `0 .. n_blocks` usable (grows only).
    pub fn reserve(&mut self, n_blocks: usize) -> Result<()> {
        while self.n_blocks < n_blocks {
            self.segments.grow().map_err(|error| {
                let bytes = self.segments.segment_bytes();
                Error::Internal(format!("no memory for {bytes} more bytes of cache: {error}"))
            })?;
            self.n_blocks += SEGMENT_BLOCKS;
        }
        Ok(())
    }

    /// Copies the first `n_tokens` tokens of block `from` to block `to`, in every layer.
    pub fn copy_prefix(&mut self, from: u32, to: u32, n_tokens: usize) {
        for layer in 0..self.n_layer {
            let mut layer = self.layer_mut(layer);
            layer.keys.copy_prefix(from, to, n_tokens);
            layer.values.copy_prefix(from, to, n_tokens);
        }
    }

    /// Appends the first `n_tokens` tokens of `block` in every layer to `out`, [`Self::block_bytes`] in
    /// all: what another block, or another process with the same model, can be filled with.
    pub fn save_block(&mut self, block: u32, n_tokens: usize, out: &mut Vec<u8>) {
        for layer in 0..self.n_layer {
            let mut layer = self.layer_mut(layer);
            layer.keys.save(block, n_tokens, out);
            layer.values.save(block, n_tokens, out);
        }
    }

    /// Whether all keys and values in `bytes`, blocks of [`Self::save_block`], are numbers. Others would
    /// reach every answer that finds the block.
    #[must_use]
    pub fn is_finite(&self, bytes: &[u8]) -> bool {
        let (keys, values) = (self.n_head_kv * self.keys.bytes(), self.n_head_kv * self.values.bytes());
        bytes.chunks_exact(keys + values).all(|layer| {
            let (keys, values) = layer.split_at(keys);
            keys.chunks_exact(self.keys.bytes()).all(|head| self.keys.is_finite(head))
                && values.chunks_exact(self.values.bytes()).all(|head| self.values.is_finite(head))
        })
    }

    /// Fills `block` with bytes of [`Self::save_block`].
    pub fn load_block(&mut self, block: u32, mut bytes: &[u8]) {
        for layer in 0..self.n_layer {
            let mut layer = self.layer_mut(layer);
            bytes = layer.keys.load(block, bytes);
            bytes = layer.values.load(block, bytes);
        }
    }

    /// Bytes of one block over all layers.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.segments.segment_bytes() / SEGMENT_BLOCKS
    }

    /// The cache of layer `index`.
    pub fn layer_mut(&mut self, index: usize) -> LayerCache<'_> {
        let bytes = self.segments.segment_bytes() / self.n_layer;
        let place = LayerPlace {
            keys: self.keys,
            values: self.values,
            start: index * bytes,
            blocks: SEGMENT_BLOCKS,
            n_heads: self.n_head_kv,
        };
        LayerCache::new(&mut self.segments, &place)
    }
}

/// Refuses heads that the type cannot store.
fn format(field: &'static str, ty: CacheType, kind: Kind, dim: usize) -> Result<KvFormat> {
    if ty == CacheType::Q8_0 && !dim.is_multiple_of(GROUP) {
        let message =
            format!("q8_0 needs heads of a multiple of {GROUP} values, the model's have {dim}; use f16 or f32");
        return Err(Error::Config { field, message });
    }
    Ok(KvFormat { ty, kind, dim })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pooling;

    fn info(head_dim_k: usize, head_dim_v: usize) -> ModelInfo {
        ModelInfo {
            architecture: "llama".into(),
            n_vocab: 1,
            n_ctx_train: 1,
            n_embd: 1,
            n_layer: 3,
            n_head: 4,
            n_head_kv: 2,
            head_dim_k,
            head_dim_v,
            n_params: 1,
            size: 1,
            generates: true,
            n_layer_cache: 3,
            pooling: Pooling::None,
            n_classes: 0,
            adapters: Vec::new(),
        }
    }

    #[test]
    fn q8_0_names_the_head_that_it_cannot_store() {
        for (dims, field) in [((48, 64), "cache_type_k"), ((64, 8), "cache_type_v")] {
            let error = KvStore::new(&info(dims.0, dims.1), CacheType::Q8_0, CacheType::Q8_0).err().expect("refused");
            let message = error.to_string();
            let dim = if field == "cache_type_k" { dims.0 } else { dims.1 };
            for part in [field, "q8_0", "32", &dim.to_string()] {
                assert!(message.contains(part), "{message:?} lacks {part:?}");
            }
        }
        assert!(KvStore::new(&info(48, 8), CacheType::F16, CacheType::F32).is_ok());
    }

    #[test]
    fn a_block_goes_through_bytes_and_the_rest_of_a_partial_one_is_zeros() {
        for ty in [CacheType::F32, CacheType::F16, CacheType::Q8_0] {
            let mut store = KvStore::new(&info(64, 32), ty, ty).expect("it fits");
            store.reserve(2).expect("there is memory");
            let full: Vec<u8> = (0..store.block_bytes()).map(|i| (i % 251) as u8 + 1).collect();
            let mut saved = Vec::new();
            store.load_block(1, &full);
            store.save_block(1, BLOCK_TOKENS, &mut saved);
            assert_eq!(saved, full);
            let (mut part, mut again) = (Vec::new(), Vec::new());
            store.save_block(1, 5, &mut part);
            assert_eq!(part.iter().filter(|byte| **byte != 0).count(), full.len() / BLOCK_TOKENS * 5);
            store.load_block(0, &part);
            store.save_block(0, 5, &mut again);
            assert_eq!(again, part);
        }
    }

    #[test]
    fn what_is_no_number_is_seen_wherever_it_lies() {
        for (ty, wrong) in [
            (CacheType::F32, f32::NAN.to_le_bytes().to_vec()),
            (CacheType::F16, half::f16::NEG_INFINITY.to_le_bytes().to_vec()),
            (CacheType::Q8_0, half::f16::NAN.to_le_bytes().to_vec()),
        ] {
            let store = KvStore::new(&info(64, 32), ty, ty).expect("it fits");
            let good = vec![0x3b; store.block_bytes()];
            assert!(store.is_finite(&good));
            // In q8_0 the scales of a head come first; the last one is before the 32 · 32 integers of the values.
            let last = store.block_bytes() - if ty == CacheType::Q8_0 { 32 * 32 + wrong.len() } else { wrong.len() };
            for at in [0, last] {
                let mut bytes = good.clone();
                bytes[at..at + wrong.len()].copy_from_slice(&wrong);
                assert!(!store.is_finite(&bytes), "{ty:?} at {at}");
            }
        }
    }

    #[test]
    fn blocks_have_the_bytes_of_their_types() {
        let bytes = |k, v| KvStore::new(&info(64, 32), k, v).expect("it fits").block_bytes();
        let heads = 3 * 2 * BLOCK_TOKENS;
        assert_eq!(bytes(CacheType::F16, CacheType::F32), heads * (2 * 64 + 4 * 32));
        assert_eq!(bytes(CacheType::Q8_0, CacheType::Q8_0), heads * 34 * 3);
    }
}
