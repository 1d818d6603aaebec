//! Linear layers: one or several packed matrices over the same input, with what comes before
//! (normalization) and after (bias, residual) in the same pass.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::RmsNorm;
use super::adapters::{AdaptedRows, Update, row_updates};
use super::context::{Compute, floats, floats_mut};
use crate::kernels::{Activations, Forms, Matrix, RowUpdates, Upcoming, Weight, add_low_rank, gemm};

/// A weight matrix `[n, k]` with an optional bias `[n]`, and what each adapter adds to it, by its number.
#[derive(Debug)]
pub struct Linear {
    pub matrix: Matrix,
    pub bias: Option<Vec<f32>>,
    pub updates: Vec<Option<Update>>,
}

impl Linear {
    pub(super) fn weight(&self) -> Weight<'_> {
        Weight { matrix: &self.matrix, bias: self.bias.as_deref() }
    }
}

/// Several linear layers over one input, side by side in the output: `[rows, Σ n]`.
#[derive(Debug)]
pub struct Projection {
    /// What it is in the model, for profiles.
    pub name: &'static str,
    pub norm: Option<RmsNorm>,
    pub parts: Vec<Linear>,
}

impl Projection {
    /// A projection by one matrix, without normalization.
    #[must_use]
    pub fn single(name: &'static str, linear: Linear) -> Self {
        Self { name, norm: None, parts: vec![linear] }
    }

    /// Columns of the input.
    #[must_use]
    pub fn k(&self) -> usize {
        self.parts[0].matrix.k
    }

    /// Columns of the output.
    #[must_use]
    pub fn n(&self) -> usize {
        self.parts.iter().map(|part| part.matrix.n).sum()
    }

    /// Writes the projection of `x` `[rows, k]` to `y` `[rows, n]`.
    pub fn write(&self, x: &Tensor, y: &Tensor, compute: &Compute) -> Result<()> {
        y.inplace_op2(x, &ProjectionOp { projection: self, compute, add: false })
    }

    /// Adds the projection of `x` `[rows, k]` to `y` `[rows, n]`.
    pub fn add(&self, x: &Tensor, y: &Tensor, compute: &Compute) -> Result<()> {
        y.inplace_op2(x, &ProjectionOp { projection: self, compute, add: true })
    }

    /// Adds what the adapters of `adapted` change in the projection of `x` `[rows, k]` to `y` `[rows, n]`.
    pub fn adapt(&self, x: &Tensor, y: &Tensor, adapted: &[AdaptedRows], compute: &Compute) -> Result<()> {
        let updates = row_updates(&self.parts, adapted);
        if updates.is_empty() {
            return Ok(());
        }
        y.inplace_op2(x, &AdaptOp { projection: self, updates: &updates, compute })
    }

    /// Adds `updates` to rows `y`, of which `x` has the inputs; `inner` is scratch memory.
    pub(super) fn add_updates(
        &self,
        updates: &[RowUpdates],
        x: &[f32],
        y: &mut [f32],
        inner: &mut Vec<f32>,
        compute: &Compute,
    ) {
        let k = self.k();
        let work = || {
            add_low_rank(
                updates,
                k,
                #[inline(always)]
                |at, out: &mut [f32]| {
                    let row = &x[at * k..(at + 1) * k];
                    match &self.norm {
                        Some(norm) => norm.apply(row, out),
                        None => out.copy_from_slice(row),
                    }
                },
                (y, self.n()),
                inner,
                (&compute.pool, compute.simd),
            );
        };
        compute.profile.time("adapters", work);
    }

    /// What the product reads.
    #[must_use]
    pub fn upcoming(&self) -> Upcoming {
        Upcoming::in_turn(self.parts.iter().map(|part| part.matrix.bytes()))
    }

    /// The rows of `x` as the matrices read them, normalized where there is a norm.
    pub(super) fn fill(&self, x: &[f32], input: &mut Activations, compute: &Compute) {
        let k = self.k();
        let shape = (x.len() / k, k);
        let forms = self.parts.iter().fold(Forms::default(), |forms, part| forms.or(part.weight().forms()));
        let row = |row: usize| &x[row * k..(row + 1) * k];
        match &self.norm {
            Some(norm) => input.fill(
                shape,
                forms,
                &compute.pool,
                compute.simd,
                #[inline(always)]
                |at, out: &mut [f32]| norm.apply(row(at), out),
            ),
            None => input.fill(
                shape,
                forms,
                &compute.pool,
                compute.simd,
                #[inline(always)]
                |at, out: &mut [f32]| out.copy_from_slice(row(at)),
            ),
        }
    }
}

struct ProjectionOp<'a> {
    projection: &'a Projection,
    compute: &'a Compute,
    add: bool,
}

impl InplaceOp2 for ProjectionOp<'_> {
    fn name(&self) -> &'static str {
        self.projection.name
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, ly: &Layout, x: &CpuStorage, lx: &Layout) -> Result<()> {
        let Self { projection, compute, .. } = self;
        let input = &mut compute.scratch().input;
        let (x, y) = (floats(x, lx)?, floats_mut(y, ly)?);
        compute.profile.time("inputs", || projection.fill(x, input, compute));
        let weights: Vec<Weight> = projection.parts.iter().map(Linear::weight).collect();
        compute.profile.time(projection.name, || gemm(&weights, input, y, self.add, &compute.pool, compute.simd));
        Ok(())
    }
}

struct AdaptOp<'a> {
    projection: &'a Projection,
    updates: &'a [RowUpdates<'a>],
    compute: &'a Compute,
}

impl InplaceOp2 for AdaptOp<'_> {
    fn name(&self) -> &'static str {
        "adapters"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, ly: &Layout, x: &CpuStorage, lx: &Layout) -> Result<()> {
        let inner = &mut self.compute.scratch().inner;
        self.projection.add_updates(self.updates, floats(x, lx)?, floats_mut(y, ly)?, inner, self.compute);
        Ok(())
    }
}
