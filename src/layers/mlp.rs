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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::gguf::GgmlType;
    use crate::kernels::{Matrix, Pool, Simd, math};
    use crate::layers::visit_rows;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| (((i * 37 + seed * 101) % 97) as f32 / 48.5 - 1.0) * 1.5).collect()
    }

    fn linear(n: usize, k: usize, seed: usize) -> Linear {
        let bytes: Vec<u8> = numbers(n * k, seed).into_iter().flat_map(f32::to_le_bytes).collect();
        Linear { matrix: Matrix::pack(GgmlType::F32, n, k, &bytes, &Pool::new(1)), bias: Some(numbers(n, seed + 1)) }
    }

    /// Widths that end within a unit and within a tile, one row and many.
    #[test]
    fn a_plain_layer_equals_its_parts() {
        for (width, hidden, rows) in [(32, 64, 1), (40, 83, 3), (24, 7, 13)] {
            let rows_of = |values| Tensor::from_vec(values, (rows, width), &Device::Cpu).expect("a tensor");
            let x = numbers(rows * width, 5);
            let mlp = Mlp { up: Projection::single("up", linear(hidden, width, 1)), down: linear(width, hidden, 3) };
            let down = Projection::single("down", linear(width, hidden, 3));
            let mut found: Vec<Vec<Vec<f32>>> = Vec::new();
            for simd in Simd::available() {
                let mut compute = Compute::new(2).expect("a pool");
                compute.simd = simd;
                let whole = rows_of(x.clone());
                mlp.add(&whole, &compute).expect("it runs");
                let apart = rows_of(x.clone());
                let inner = Tensor::zeros((rows, hidden), candle_core::DType::F32, &Device::Cpu).expect("a tensor");
                mlp.up.write(&apart, &inner, &compute).expect("it runs");
                visit_rows(&inner, |_, row| row.iter_mut().for_each(|x| *x = math::gelu(*x))).expect("it runs");
                down.add(&inner, &apart, &compute).expect("it runs");
                found.push(whole.to_vec2().expect("f32"));
                assert_eq!(found.last(), Some(&apart.to_vec2().expect("f32")), "{simd:?}");
            }
            assert!(found.iter().all(|other| *other == found[0]), "every instruction set gives the same");
        }
    }
}
