//! Feed-forward layers: gated (SwiGLU and GeGLU, Shazeer 2020), down(f(gate(x)) · up(x)), and plain,
//! x + down(gelu(up(x))).

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor};

use super::adapters::{AdaptedRows, row_updates};
use super::context::{Compute, Scratch, floats, floats_mut};
use super::{Linear, Projection};
use crate::kernels::{Gate, RowUpdates, Upcoming, add_low_rank, gemm, gemm_gated, gemm_gelu, math};

/// `gate_up` has two parts of equal width over the normalized input; `down` leads back.
#[derive(Debug)]
pub struct GatedMlp {
    pub gate: Gate,
    pub gate_up: Projection,
    pub down: Linear,
}

impl GatedMlp {
    /// Adds the layer's output to `x` `[rows, width]`, with what the adapters of `adapted` change in it. `next` is
    /// what is read behind it.
    pub fn add(&self, x: &Tensor, adapted: &[AdaptedRows], next: Upcoming, compute: &Compute) -> Result<()> {
        x.inplace_op1(&self.op(adapted, next, compute))
    }

    /// Writes the layer's output for `x` `[rows, width]` to `y`, as [`Self::add`] would add it.
    pub fn write(
        &self,
        x: &Tensor,
        y: &Tensor,
        adapted: &[AdaptedRows],
        next: Upcoming,
        compute: &Compute,
    ) -> Result<()> {
        y.inplace_op2(x, &self.op(adapted, next, compute))
    }

    /// What its first product reads.
    #[must_use]
    pub fn upcoming(&self) -> Upcoming {
        let [gate, up] = [0, 1].map(|part| self.gate_up.parts[part].matrix.bytes());
        Upcoming::side_by_side([gate, up])
    }

    fn op<'a>(&'a self, adapted: &[AdaptedRows], next: Upcoming, compute: &'a Compute) -> GatedMlpOp<'a> {
        GatedMlpOp {
            mlp: self,
            gate_up: row_updates(&self.gate_up.parts, adapted),
            down: row_updates(std::slice::from_ref(&self.down), adapted),
            compute,
            next,
        }
    }
}

struct GatedMlpOp<'a> {
    mlp: &'a GatedMlp,
    gate_up: Vec<RowUpdates<'a>>,
    down: Vec<RowUpdates<'a>>,
    compute: &'a Compute,
    /// What is read behind the layer.
    next: Upcoming,
}

impl InplaceOp1 for GatedMlpOp<'_> {
    fn name(&self) -> &'static str {
        "gated-mlp"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.run(Place::Residual(floats_mut(x, layout)?));
        Ok(())
    }
}

impl InplaceOp2 for GatedMlpOp<'_> {
    fn name(&self) -> &'static str {
        "gated-mlp"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, ly: &Layout, x: &CpuStorage, lx: &Layout) -> Result<()> {
        self.run(Place::Apart { x: floats(x, lx)?, y: floats_mut(y, ly)? });
        Ok(())
    }
}

/// Where a layer's input is, and where its output goes.
enum Place<'a> {
    /// The output is added to the input.
    Residual(&'a mut [f32]),
    Apart {
        x: &'a [f32],
        y: &'a mut [f32],
    },
}

impl Place<'_> {
    fn input(&self) -> &[f32] {
        match self {
            Self::Residual(x) => x,
            Self::Apart { x, .. } => x,
        }
    }

    /// The output, and whether it is added to what is there.
    fn output(&mut self) -> (&mut [f32], bool) {
        match self {
            Self::Residual(x) => (x, true),
            Self::Apart { y, .. } => (y, false),
        }
    }
}

impl GatedMlpOp<'_> {
    fn run(&self, place: Place<'_>) {
        if self.gate_up.is_empty() && self.down.is_empty() { self.run_plain(place) } else { self.run_adapted(place) }
    }

    fn run_plain(&self, mut place: Place<'_>) {
        let Self { mlp, compute, .. } = self;
        let Scratch { input, hidden, .. } = &mut *compute.scratch();
        let profile = &compute.profile;
        profile.time("inputs", || mlp.gate_up.fill(place.input(), input, compute));
        let [gate, up] = [0, 1].map(|part| mlp.gate_up.parts[part].weight());
        let down = mlp.down.weight();
        let (pool, simd) = (&compute.pool, compute.simd);
        compute.pool.will_read(Upcoming::in_turn([down.matrix.bytes()]));
        profile.time(mlp.gate_up.name, || {
            gemm_gated(mlp.gate, [&gate, &up], input, hidden, down.forms(), pool, simd);
        });
        compute.pool.will_read(self.next);
        let (y, add) = place.output();
        profile.time("down", || gemm(&[down], hidden, y, add, pool, simd));
    }

    /// [`Self::run_plain`] where adapters change something between its products: the halves go through
    /// memory as floats. Rows without adapters get the same bits either way.
    fn run_adapted(&self, mut place: Place<'_>) {
        let Self { mlp, compute, .. } = self;
        let GatedMlp { gate: f, gate_up, down } = mlp;
        let (k, width, n) = (gate_up.k(), gate_up.n(), down.matrix.k);
        let m = place.input().len() / k;
        let Scratch { input, hidden, halves, inner } = &mut *compute.scratch();
        halves.resize(halves.len().max(m * width), 0.0);
        let halves = &mut halves[..m * width];
        let (pool, simd, profile) = (&compute.pool, compute.simd, &compute.profile);
        profile.time("inputs", || gate_up.fill(place.input(), input, compute));
        let [gate, up] = [0, 1].map(|part| gate_up.parts[part].weight());
        profile.time(gate_up.name, || gemm(&[gate, up], input, halves, false, pool, simd));
        gate_up.add_updates(&self.gate_up, place.input(), halves, inner, compute);
        let halves = &*halves;
        let fill = || {
            hidden.fill(
                (m, n),
                down.weight().forms(),
                pool,
                simd,
                #[inline(always)]
                |row, out: &mut [f32]| gated(*f, halves, n, row, out),
            );
        };
        profile.time("inputs", fill);
        let (y, add) = place.output();
        profile.time("down", || gemm(&[down.weight()], hidden, y, add, pool, simd));
        let adapt = || {
            add_low_rank(
                &self.down,
                n,
                #[inline(always)]
                |row, out: &mut [f32]| gated(*f, halves, n, row, out),
                (y, k),
                inner,
                (pool, simd),
            );
        };
        profile.time("adapters", adapt);
    }
}

/// f(gate) · up of one row, whose `n` gates and `n` ups lie side by side.
#[inline(always)]
fn gated(f: Gate, halves: &[f32], n: usize, row: usize, out: &mut [f32]) {
    let (gates, ups) = halves[2 * n * row..2 * n * (row + 1)].split_at(n);
    let rows = out.iter_mut().zip(gates).zip(ups);
    match f {
        Gate::Silu => rows.for_each(|((out, gate), up)| *out = math::silu(*gate) * up),
        Gate::Gelu => rows.for_each(|((out, gate), up)| *out = math::gelu(*gate) * up),
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
        let Scratch { input, hidden, .. } = &mut *compute.scratch();
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
        let matrix = Matrix::pack(GgmlType::F32, n, k, &bytes, &Pool::new(1));
        Linear { matrix, bias: Some(numbers(n, seed + 1)), updates: Vec::new() }
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
