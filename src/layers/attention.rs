//! Rotary embedding, cache write and attention in one operation.

use std::sync::Mutex;
use std::sync::PoisonError;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::RopeTable;
use super::context::{Compute, floats};
use crate::kernels::Simd;
use crate::kernels::attention::{BlockView, CacheElement, attend};
use crate::kv_cache::{BLOCK_TOKENS, Blocks, LayerCache, Plane};
use crate::models::{SequenceRows, StepInput};

/// Heads and their sizes. Query head h reads key-value head `h · n_head_kv / n_head`.
#[derive(Debug, Clone, Copy)]
pub struct AttentionShape {
    pub n_head: usize,
    pub n_head_kv: usize,
    pub dim_k: usize,
    pub dim_v: usize,
    /// Factor of the scores, 1 / √dim_k.
    pub scale: f32,
}

impl AttentionShape {
    /// Width of the fused input: queries, keys, values.
    #[must_use]
    pub fn qkv_width(&self) -> usize {
        self.n_head * self.dim_k + self.n_head_kv * (self.dim_k + self.dim_v)
    }
}

/// One layer's attention over the sequences of a step.
pub struct Attention<'a> {
    pub shape: AttentionShape,
    pub step: &'a StepInput,
    pub rope: &'a RopeTable<'a>,
    pub compute: &'a Compute,
}

impl Attention<'_> {
    /// From fused rows `[rows, q | k | v]` to `[rows, n_head · dim_v]`; writes keys and values of
    /// all rows to `cache` first.
    pub fn forward(&self, qkv: &Tensor, cache: &mut LayerCache) -> Result<Tensor> {
        qkv.apply_op1_no_bwd(&AttentionOp { attention: self, cache: Mutex::new(cache) })
    }

    /// Rotates queries and keys in place and stores keys and values.
    fn rotate_and_store(&self, qkv: &mut [f32], cache: &mut LayerCache) {
        let s = self.shape;
        let keys_at = s.n_head * s.dim_k;
        let values_at = keys_at + s.n_head_kv * s.dim_k;
        self.compute.pool.run_chunks(qkv, s.qkv_width(), &|row, fused| {
            fused[..values_at].chunks_exact_mut(s.dim_k).for_each(|head| self.rope.rotate(row, head));
        });
        for sequence in &self.step.sequences {
            for i in 0..sequence.n_tokens {
                let fused = &qkv[(sequence.row + i) * s.qkv_width()..][..s.qkv_width()];
                let position = sequence.n_past + i;
                let (block, at) = (sequence.blocks[position / BLOCK_TOKENS], position % BLOCK_TOKENS);
                cache.keys.write(block, at, &fused[keys_at..values_at]);
                cache.values.write(block, at, &fused[values_at..]);
            }
        }
    }

    fn attend_all<K: CacheElement, V: CacheElement>(
        &self,
        qkv: &[f32],
        keys: &Blocks<K>,
        values: &Blocks<V>,
    ) -> Vec<f32> {
        let s = self.shape;
        let rows: Vec<(&SequenceRows, usize)> =
            self.step.sequences.iter().flat_map(|seq| (0..seq.n_tokens).map(move |i| (seq, i))).collect();
        let mut out = vec![0.0; rows.len() * s.n_head * s.dim_v];
        let avx512 = self.compute.simd == Simd::Avx512;
        self.compute.pool.run_chunks(&mut out, s.dim_v, &|piece, out| {
            let (row, head) = (piece / s.n_head, piece % s.n_head);
            let (sequence, i) = rows[row];
            let query = &qkv[(sequence.row + i) * s.qkv_width() + head * s.dim_k..][..s.dim_k];
            let head_kv = head * s.n_head_kv / s.n_head;
            let block = |index: usize| BlockView {
                keys: keys.head(sequence.blocks[index], head_kv),
                values: values.head(sequence.blocks[index], head_kv),
            };
            let n_keys = sequence.n_past + i + 1;
            attend(query, s.scale, n_keys, block, &mut Vec::with_capacity(n_keys + BLOCK_TOKENS), out, avx512);
        });
        out
    }
}

struct AttentionOp<'a> {
    attention: &'a Attention<'a>,
    /// candle hands operations out by shared reference; only one runs at a time.
    cache: Mutex<&'a mut LayerCache>,
}

impl CustomOp1 for AttentionOp<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let attention = self.attention;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut qkv = floats(qkv, layout)?.to_vec();
        attention.rotate_and_store(&mut qkv, &mut cache);
        let out = match (&cache.keys, &cache.values) {
            (Plane::F16(k), Plane::F16(v)) => attention.attend_all(&qkv, k, v),
            (Plane::F16(k), Plane::F32(v)) => attention.attend_all(&qkv, k, v),
            (Plane::F32(k), Plane::F16(v)) => attention.attend_all(&qkv, k, v),
            (Plane::F32(k), Plane::F32(v)) => attention.attend_all(&qkv, k, v),
        };
        let width = attention.shape.n_head * attention.shape.dim_v;
        let shape = Shape::from((out.len() / width, width));
        Ok((CpuStorage::F32(out), shape))
    }
}
