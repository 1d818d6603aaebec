//! The gated feed-forward layer (SwiGLU, Shazeer 2020): down(silu(gate(x)) · up(x)) + x.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::Projection;
use super::context::{Compute, floats, width};
use crate::kernels::math::silu;

/// `gate_up` normalizes and projects to both halves `[rows, 2 · n_ff]`; `down` comes back.
#[derive(Debug)]
pub struct GatedMlp {
    pub gate_up: Projection,
    pub down: Projection,
}

impl GatedMlp {
    /// The layer with its residual: `[rows, width]` to the same.
    pub fn forward(&self, x: &Tensor, compute: &Compute) -> Result<Tensor> {
        let hidden = x.apply_op1_no_bwd(&GateUp { projection: &self.gate_up, compute, k: width(x)? })?;
        self.down.forward_add(&hidden, x, compute)
    }
}

struct GateUp<'a> {
    projection: &'a Projection,
    compute: &'a Compute,
    k: usize,
}

impl CustomOp1 for GateUp<'_> {
    fn name(&self) -> &'static str {
        "gate-up"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let both = self.projection.run(floats(x, layout)?, self.k, self.compute);
        let n = self.projection.n() / 2;
        let mut out = vec![0.0; both.len() / 2];
        self.compute.pool.run_chunks(&mut out, n, &|row, out| {
            let (gate, up) = both[row * 2 * n..(row + 1) * 2 * n].split_at(n);
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = silu(*gate) * up;
            }
        });
        let shape = Shape::from((out.len() / n, n));
        Ok((CpuStorage::F32(out), shape))
    }
}
