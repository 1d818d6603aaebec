//! What every layer computes with.

use candle_core::{CpuStorage, Layout, Result, Tensor, bail};

use crate::kernels::{Pool, Simd};

/// The threads and the instruction set.
pub struct Compute {
    pub pool: Pool,
    pub simd: Simd,
}

/// The f32 values of a contiguous tensor.
pub(super) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("the input of a layer must be contiguous, its layout is {layout:?}"),
    }
}

/// Width of the rows of `x`.
pub(super) fn width(x: &Tensor) -> Result<usize> {
    x.dim(candle_core::D::Minus1)
}
