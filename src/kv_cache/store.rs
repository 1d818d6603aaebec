//! The memory behind KV blocks: per layer, keys transposed within a block (32 keys are one vector
//! run), values row by row. Grows in segments as blocks are first used.

use half::f16;

use super::BLOCK_TOKENS;
use crate::config::CacheType;
use crate::error::{Error, Result};
use crate::kernels::attention::CacheElement;
use crate::models::ModelInfo;

/// Blocks that are allocated together.
const SEGMENT_BLOCKS: usize = 16;

/// Keys and values of all layers and blocks.
pub struct KvStore {
    layers: Vec<LayerCache>,
    n_blocks: usize,
    block_bytes: usize,
}

/// Keys and values of one layer.
pub struct LayerCache {
    pub keys: Plane,
    pub values: Plane,
}

/// Keys or values in the element type of the cache.
pub enum Plane {
    F16(Blocks<f16>),
    F32(Blocks<f32>),
}

/// Blocks of one kind in one layer: `[block][kv head][32 · dim]`.
pub struct Blocks<T> {
    segments: Vec<Vec<T>>,
    n_head_kv: usize,
    dim: usize,
    /// Whether a head is `[dim][32]` (keys) rather than `[32][dim]` (values).
    transposed: bool,
}

impl KvStore {
    /// An empty store for a model's shape.
    pub fn new(info: &ModelInfo, type_k: CacheType, type_v: CacheType) -> Result<Self> {
        let per_token = info.head_dim_k * type_k.size() + info.head_dim_v * type_v.size();
        let sizes = [info.n_layer, info.n_head_kv, BLOCK_TOKENS, per_token];
        let block_bytes = sizes.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
        let block_bytes =
            block_bytes.ok_or_else(|| Error::Internal(format!("a cache block of shape {sizes:?} is too large")))?;
        let layer = |_| LayerCache {
            keys: Plane::new(type_k, info.n_head_kv, info.head_dim_k, true),
            values: Plane::new(type_v, info.n_head_kv, info.head_dim_v, false),
        };
        Ok(Self { layers: (0..info.n_layer).map(layer).collect(), n_blocks: 0, block_bytes })
    }

    /// Makes blocks `0 .. n_blocks` usable (grows only).
    pub fn reserve(&mut self, n_blocks: usize) -> Result<()> {
        while self.n_blocks < n_blocks {
            for plane in self.planes() {
                plane.grow()?;
            }
            self.n_blocks += SEGMENT_BLOCKS;
        }
        Ok(())
    }

    /// Copies the first `n_tokens` tokens of block `from` to block `to`, in every layer.
    pub fn copy_prefix(&mut self, from: u32, to: u32, n_tokens: usize) {
        for plane in self.planes() {
            match plane {
                Plane::F16(blocks) => blocks.copy_prefix(from, to, n_tokens),
                Plane::F32(blocks) => blocks.copy_prefix(from, to, n_tokens),
            }
        }
    }

    /// Bytes of one block over all layers.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// The cache of layer `index`.
    pub fn layer_mut(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    fn planes(&mut self) -> impl Iterator<Item = &mut Plane> {
        self.layers.iter_mut().flat_map(|layer| [&mut layer.keys, &mut layer.values])
    }
}

impl Plane {
    fn new(ty: CacheType, n_head_kv: usize, dim: usize, transposed: bool) -> Self {
        match ty {
            CacheType::F16 => Self::F16(Blocks { segments: Vec::new(), n_head_kv, dim, transposed }),
            CacheType::F32 => Self::F32(Blocks { segments: Vec::new(), n_head_kv, dim, transposed }),
        }
    }

    fn grow(&mut self) -> Result<()> {
        match self {
            Self::F16(blocks) => blocks.grow(),
            Self::F32(blocks) => blocks.grow(),
        }
    }

    /// Stores the row of one token: `[kv head][dim]`, at position `at` of `block`.
    pub fn write(&mut self, block: u32, at: usize, row: &[f32]) {
        match self {
            Self::F16(blocks) => blocks.write(block, at, row),
            Self::F32(blocks) => blocks.write(block, at, row),
        }
    }
}

impl<T: CacheElement> Blocks<T> {
    fn head_elements(&self) -> usize {
        self.dim * BLOCK_TOKENS
    }

    fn grow(&mut self) -> Result<()> {
        let n = self.n_head_kv * self.head_elements() * SEGMENT_BLOCKS;
        let mut segment = Vec::new();
        segment
            .try_reserve_exact(n)
            .map_err(|_| Error::Internal(format!("no memory for {} more bytes of cache", n * size_of::<T>())))?;
        segment.resize(n, T::default());
        self.segments.push(segment);
        Ok(())
    }

    fn start(&self, block: u32, head: usize) -> (usize, usize) {
        let (segment, within) = (block as usize / SEGMENT_BLOCKS, block as usize % SEGMENT_BLOCKS);
        (segment, (within * self.n_head_kv + head) * self.head_elements())
    }

    /// One head of one block.
    #[must_use]
    pub fn head(&self, block: u32, head: usize) -> &[T] {
        let (segment, start) = self.start(block, head);
        &self.segments[segment][start..start + self.head_elements()]
    }

    fn head_mut(&mut self, block: u32, head: usize) -> &mut [T] {
        let (segment, start) = self.start(block, head);
        let n = self.head_elements();
        &mut self.segments[segment][start..start + n]
    }

    fn write(&mut self, block: u32, at: usize, row: &[f32]) {
        let (dim, transposed) = (self.dim, self.transposed);
        for (head, row) in row.chunks_exact(dim).enumerate() {
            let out = self.head_mut(block, head);
            for (i, value) in row.iter().enumerate() {
                let index = if transposed { i * BLOCK_TOKENS + at } else { at * dim + i };
                out[index] = T::from_f32(*value);
            }
        }
    }

    fn copy_prefix(&mut self, from: u32, to: u32, n_tokens: usize) {
        let (dim, transposed) = (self.dim, self.transposed);
        for head in 0..self.n_head_kv {
            let source = self.head(from, head).to_vec();
            let target = self.head_mut(to, head);
            if transposed {
                let runs = target.chunks_exact_mut(BLOCK_TOKENS).zip(source.chunks_exact(BLOCK_TOKENS));
                runs.for_each(|(target, source)| target[..n_tokens].copy_from_slice(&source[..n_tokens]));
            } else {
                target[..n_tokens * dim].copy_from_slice(&source[..n_tokens * dim]);
            }
        }
    }
}
