//! Normalizations of rows.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use super::context::{Compute, floats_mut};
use crate::kernels::math;

/// Root mean square normalization (Zhang and Sennrich 2019): scales rows by the inverse of their root
/// mean square, then by a weight per column.
#[derive(Debug)]
pub struct RmsNorm {
    pub weight: Vec<f32>,
    pub eps: f32,
}

impl RmsNorm {
    /// Normalizes one row.
    #[inline(always)]
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        math::rms_norm(x, &self.weight, self.eps, out);
    }
}

/// Layer normalization (Ba et al. 2016): mean 0 and variance 1, then a weight and a bias per column.
#[derive(Debug)]
pub struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub eps: f32,
}

/// Rows that a thread takes at a time.
const ROWS: usize = 8;

impl LayerNorm {
    /// Normalizes the rows of `x` `[rows, width]` in place.
    pub fn write(&self, x: &Tensor, compute: &Compute) -> Result<()> {
        x.inplace_op1(&LayerNormOp { norm: self, compute })
    }
}

struct LayerNormOp<'a> {
    norm: &'a LayerNorm,
    compute: &'a Compute,
}

impl InplaceOp1 for LayerNormOp<'_> {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Self { norm, compute } = self;
        let (x, width, simd) = (floats_mut(x, layout)?, norm.weight.len(), compute.simd);
        let rows = |_, rows: &mut [f32]| {
            simd.run(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact_mut(width) {
                        math::layer_norm(row, &norm.weight, &norm.bias, norm.eps);
                    }
                },
            );
        };
        compute.profile.time("norm", || compute.pool.run_chunks(x, width * ROWS, &rows));
        Ok(())
    }
}
