//! Feed-forward layers: gated (SwiGLU, Shazeer 2020), x + down(silu(gate(x)) · up(x)), and plain,
//! x + down(gelu(up(x))).

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use super::context::{Compute, Scratch, floats_mut};
use super::{Linear, Projection};
use crate::kernels::{gemm, gemm_gated, gemm_gelu};

/// `gate_up` has two parts of equal width over the normalized input; `down` leads back.
#[derive(Debug)]
pub struct GatedMlp {
    pub gate_up: Projection,
    pub down: Linear,
}

impl GatedMlp {
    /// Adds the layer's output to `x` `[rows, width]`.
    pub fn add(&self, x: &Tensor, compute: &Compute) -> Result<()> {
        x.inplace_op1(&GatedMlpOp { mlp: self, compute })
    }
}

struct GatedMlpOp<'a> {
    mlp: &'a GatedMlp,
    compute: &'a Compute,
}

impl InplaceOp1 for GatedMlpOp<'_> {
    fn name(&self) -> &'static str {
        "gated-mlp"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Self { mlp, compute } = self;
        let x = floats_mut(x, layout)?;
        let Scratch { input, hidden } = &mut *compute.scratch();
        let profile = &compute.profile;
        profile.time("inputs", || mlp.gate_up.fill(x, input, compute));
        let [gate, up] = [0, 1].map(|part| mlp.gate_up.parts[part].weight());
        let down = mlp.down.weight();
        let (pool, simd) = (&compute.pool, compute.simd);
        profile.time(mlp.gate_up.name, || gemm_gated(&gate, &up, input, hidden, down.forms(), pool, simd));
        profile.time("down", || gemm(&[down], hidden, x, true, pool, simd));
        Ok(())
    }
}

/// `up` has one part over the input; `down` leads back.
#[derive(Debug)]
pub struct Mlp {
    pub up: Projection,
    pub down: Linear,
}

impl Mlp {
    /// Adds the layer's output to `x` `[rows, width]`.
    pub fn add(&self, x: &Tensor, compute: &Compute) -> Result<()> {
        x.inplace_op1(&MlpOp { mlp: self, compute })
    }
}

struct MlpOp<'a> {
    mlp: &'a Mlp,
    compute: &'a Compute,
}

impl InplaceOp1 for MlpOp<'_> {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Self { mlp, compute } = self;
        let x = floats_mut(x, layout)?;
        let Scratch { input, hidden } = &mut *compute.scratch();
        let profile = &compute.profile;
        profile.time("inputs", || mlp.up.fill(x, input, compute));
        let (up, down) = (mlp.up.parts[0].weight(), mlp.down.weight());
        let (pool, simd) = (&compute.pool, compute.simd);
        profile.time(mlp.up.name, || gemm_gelu(&up, input, hidden, down.forms(), pool, simd));
        profile.time("down", || gemm(&[down], hidden, x, true, pool, simd));
        Ok(())
    }
}
