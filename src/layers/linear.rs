//! Linear layers: one or several packed matrices over the same input, with what comes before
//! (normalization) and after (bias, residual) in the same pass.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::RmsNorm;
use super::context::{Compute, floats, width};
use crate::kernels::{Activations, Matrix, gemm};

/// A weight matrix `[n, k]` with an optional bias `[n]`.
#[derive(Debug)]
pub struct Linear {
    pub matrix: Matrix,
    pub bias: Option<Vec<f32>>,
}

/// Several linear layers over one input, side by side in the output: `[rows, Σ n]`.
#[derive(Debug)]
pub struct Projection {
    pub norm: Option<RmsNorm>,
    pub parts: Vec<Linear>,
}

impl Projection {
    /// A projection by one matrix, without normalization.
    #[must_use]
    pub fn single(linear: Linear) -> Self {
        Self { norm: None, parts: vec![linear] }
    }

    /// Width of the output.
    #[must_use]
    pub fn n(&self) -> usize {
        self.parts.iter().map(|part| part.matrix.n).sum()
    }

    /// Projects `x` `[rows, k]`.
    pub fn forward(&self, x: &Tensor, compute: &Compute) -> Result<Tensor> {
        x.apply_op1_no_bwd(&ProjectionOp { projection: self, compute, k: width(x)? })
    }

    /// Projects `x` and adds `residual` `[rows, n]`.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor, compute: &Compute) -> Result<Tensor> {
        x.apply_op2_no_bwd(residual, &ProjectionOp { projection: self, compute, k: width(x)? })
    }

    /// The plain computation on rows of `k` values.
    #[must_use]
    pub fn run(&self, x: &[f32], k: usize, compute: &Compute) -> Vec<f32> {
        let values = match &self.norm {
            Some(norm) => norm.apply(x, &compute.pool),
            None => x.to_vec(),
        };
        let matrices: Vec<&Matrix> = self.parts.iter().map(|part| &part.matrix).collect();
        let quantize = matrices.iter().any(|matrix| matrix.wants_quants());
        let activations = Activations::new(values, k, quantize, &compute.pool);
        let mut y = vec![0.0; activations.m * self.n()];
        gemm(&matrices, &activations, &mut y, &compute.pool, compute.simd);
        self.add_biases(&mut y);
        y
    }

    fn add_biases(&self, y: &mut [f32]) {
        let n = self.n();
        let mut start = 0;
        for part in &self.parts {
            let columns = start..start + part.matrix.n;
            start = columns.end;
            let Some(bias) = &part.bias else { continue };
            for row in y.chunks_exact_mut(n) {
                row[columns.clone()].iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
    }
}

struct ProjectionOp<'a> {
    projection: &'a Projection,
    compute: &'a Compute,
    k: usize,
}

impl ProjectionOp<'_> {
    fn shape(&self, y: &[f32]) -> Shape {
        let n = self.projection.n();
        Shape::from((y.len() / n, n))
    }
}

impl CustomOp1 for ProjectionOp<'_> {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.projection.run(floats(x, layout)?, self.k, self.compute);
        let shape = self.shape(&y);
        Ok((CpuStorage::F32(y), shape))
    }
}

impl CustomOp2 for ProjectionOp<'_> {
    fn name(&self) -> &'static str {
        "projection-residual"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, r: &CpuStorage, lr: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = self.projection.run(floats(x, lx)?, self.k, self.compute);
        y.iter_mut().zip(floats(r, lr)?).for_each(|(y, r)| *y += r);
        let shape = self.shape(&y);
        Ok((CpuStorage::F32(y), shape))
    }
}
