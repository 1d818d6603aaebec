//! Rotary embedding, cache write and attention in one operation.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::context::{Compute, floats, floats_mut};
use super::{RmsNorm, RopeTable};
pub use crate::kernels::attention::Shape as AttentionShape;
use crate::kernels::attention::{HeadNorms, Rows, Span, Spans, attend, prefetch, store};
use crate::kernels::kv_memory::LayerCache;
use crate::models::StepInput;

/// Normalizations of each query and each key, head by head, before they are rotated.
#[derive(Debug)]
pub struct QueryKeyNorms {
    pub query: RmsNorm,
    pub key: RmsNorm,
}

impl QueryKeyNorms {
    fn weights(&self) -> HeadNorms<'_> {
        HeadNorms { query: &self.query.weight, key: &self.key.weight, eps: self.query.eps }
    }
}

/// Attention over the sequences of a step, of a layer or of all that are alike.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    pub shape: AttentionShape,
    pub spans: &'a Spans<'a>,
    pub norms: Option<&'a QueryKeyNorms>,
    pub rope: &'a RopeTable,
    pub compute: &'a Compute,
}

impl Attention<'_> {
    /// The sequences of `step`. `causal` says whether rows see only what is before them; if not, each sequence is
    /// whole in the step.
    #[must_use]
    pub fn spans(step: &StepInput, causal: bool) -> Spans<'_> {
        let rows = step.sequences.iter();
        let spans = rows.map(|p| Span { row: p.row, n_rows: p.n_tokens, n_past: p.n_past, blocks: &p.blocks, causal });
        Spans::new(spans.collect())
    }

    /// Asks for the memory that [`Self::write`] will write, while what comes before it is computed.
    pub fn prefetch(&self, cache: &LayerCache<'_>) {
        prefetch(self.spans, cache);
    }

    /// From fused rows `[rows, q | k | v]` to `out` `[rows, n_head · dim_v]`; keys and values of all rows are in
    /// `cache` afterwards.
    pub fn write(&self, qkv: &Tensor, out: &Tensor, cache: LayerCache<'_>) -> Result<()> {
        out.inplace_op2(qkv, &AttentionOp { attention: self, cache: Mutex::new(cache) })
    }
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
        let Attention { shape, spans, norms, rope, compute } = self.attention;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let norms = norms.map(QueryKeyNorms::weights);
        let rows = Rows { shape, qkv: floats(qkv, lq)?, norms, rotations: rope.rotations(), spans };
        let out = floats_mut(out, lo)?;
        let Compute { pool, simd, profile, .. } = compute;
        profile.time("prompts' cache", || store(&rows, &mut cache, pool, *simd));
        profile.time("attention", || attend(&rows, &mut cache, out, pool, *simd));
        Ok(())
    }
}
