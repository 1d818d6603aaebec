//! Rotary embedding, cache write and attention in one operation.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::RopeTable;
use super::context::{Compute, floats};
pub use crate::kernels::attention::Shape as AttentionShape;
use crate::kernels::attention::{Rows, Span, attend, store};
use crate::kernels::kv_memory::LayerCache;
use crate::models::StepInput;

/// One layer's attention over the sequences of a step.
pub struct Attention<'a> {
    pub shape: AttentionShape,
    pub step: &'a StepInput,
    pub rope: &'a RopeTable,
    pub compute: &'a Compute,
}

impl Attention<'_> {
    /// From fused rows `[rows, q | k | v]` to `[rows, n_head · dim_v]`; writes keys and values of
    /// all rows to `cache` first.
    pub fn forward(&self, qkv: &Tensor, cache: LayerCache<'_>) -> Result<Tensor> {
        qkv.apply_op1_no_bwd(&AttentionOp { attention: self, cache: Mutex::new(cache) })
    }
}

struct AttentionOp<'a> {
    attention: &'a Attention<'a>,
    /// candle hands operations out by shared reference; only one runs at a time.
    cache: Mutex<LayerCache<'a>>,
}

impl CustomOp1 for AttentionOp<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Attention { shape, step, rope, compute } = self.attention;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let spans: Vec<Span<'_>> = step
            .sequences
            .iter()
            .map(|part| Span { row: part.row, n_rows: part.n_tokens, n_past: part.n_past, blocks: &part.blocks })
            .collect();
        let rows = Rows { shape, qkv: floats(qkv, layout)?, rotations: rope.rotations(), spans: &spans };
        store(&rows, &mut cache, &compute.pool, compute.simd);
        let out = attend(&rows, &cache, &compute.pool, compute.simd);
        let width = shape.n_head * shape.dim_v;
        let shape = Shape::from((out.len() / width, width));
        Ok((CpuStorage::F32(out), shape))
    }
}
