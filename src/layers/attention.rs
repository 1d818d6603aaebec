//! Rotary embedding, cache write and attention in one operation.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::RopeTable;
use super::context::{Compute, floats, floats_mut};
pub use crate::kernels::attention::Shape as AttentionShape;
use crate::kernels::attention::{Rows, Span, attend, prefetch, store};
use crate::kernels::kv_memory::LayerCache;
use crate::models::StepInput;

/// One layer's attention over the sequences of a step.
pub struct Attention<'a> {
    pub shape: AttentionShape,
    pub step: &'a StepInput,
    pub rope: &'a RopeTable,
    /// Whether rows see only what is before them. If not, each sequence is whole in the step.
    pub causal: bool,
    pub compute: &'a Compute,
}

impl Attention<'_> {
    /// Asks for the memory that [`Self::write`] will write, while what comes before it is computed.
    pub fn prefetch(&self, cache: &LayerCache<'_>) {
        prefetch(&spans(self.step, self.causal), cache);
    }

    /// From fused rows `[rows, q | k | v]` to `out` `[rows, n_head · dim_v]`; writes keys and values
    /// of all rows to `cache` first.
    pub fn write(&self, qkv: &Tensor, out: &Tensor, cache: LayerCache<'_>) -> Result<()> {
        out.inplace_op2(qkv, &AttentionOp { attention: self, cache: Mutex::new(cache) })
    }
}

fn spans(step: &StepInput, causal: bool) -> Vec<Span<'_>> {
    let parts = step.sequences.iter();
    parts.map(|p| Span { row: p.row, n_rows: p.n_tokens, n_past: p.n_past, blocks: &p.blocks, causal }).collect()
}

struct AttentionOp<'a> {
    attention: &'a Attention<'a>,
    /// candle hands operations out by shared reference; only one runs at a time.
    cache: Mutex<LayerCache<'a>>,
}

impl InplaceOp2 for AttentionOp<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, lo: &Layout, qkv: &CpuStorage, lq: &Layout) -> Result<()> {
        let Attention { shape, step, rope, causal, compute } = self.attention;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = spans(step, *causal);
        let rows = Rows { shape, qkv: floats(qkv, lq)?, rotations: rope.rotations(), spans: &spans };
        let out = floats_mut(out, lo)?;
        let Compute { pool, simd, profile, .. } = compute;
        profile.time("cache write", || store(&rows, &mut cache, pool, *simd));
        profile.time("attention", || attend(&rows, &cache, out, pool, *simd));
        Ok(())
    }
}
