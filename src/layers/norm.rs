//! Normalizations of rows.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor};

use super::context::{Compute, floats, floats_mut};
use crate::kernels::math;

/// Rows that a thread takes at a time.
const ROWS: usize = 8;

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

    /// Adds the normalized rows of `y` `[rows, width]` to those of `x`.
    pub fn add(&self, y: &Tensor, x: &Tensor, compute: &Compute) -> Result<()> {
        x.inplace_op2(y, &AddRmsNormOp { norm: self, compute })
    }
}

struct AddRmsNormOp<'a> {
    norm: &'a RmsNorm,
    compute: &'a Compute,
}

impl InplaceOp2 for AddRmsNormOp<'_> {
    fn name(&self) -> &'static str {
        "add-rms-norm"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, lx: &Layout, y: &CpuStorage, ly: &Layout) -> Result<()> {
        let Self { norm, compute } = self;
        let (x, y, width, simd) = (floats_mut(x, lx)?, floats(y, ly)?, norm.weight.len(), compute.simd);
        let rows = |piece: usize, x: &mut [f32]| {
            let y = &y[piece * width * ROWS..];
            simd.run(
                #[inline(always)]
                || {
                    for (x, y) in x.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
                        math::add_rms_norm(y, &norm.weight, norm.eps, x);
                    }
                },
            );
        };
        compute.profile.time("norm", || compute.pool.run_chunks(x, width * ROWS, &rows));
        Ok(())
    }
}

/// Layer normalization (Ba et al. 2016): mean 0 and variance 1, then a weight and a bias per column.
#[derive(Debug)]
pub struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub eps: f32,
}

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
