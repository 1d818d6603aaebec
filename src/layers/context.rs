//! What every layer computes with.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, Layout, Result, bail};

use super::Profile;
use crate::kernels::{Activations, Pool, Simd};

/// The threads, the instruction set and memory that is used anew in each layer.
pub struct Compute {
    pub pool: Pool,
    pub simd: Simd,
    pub profile: Profile,
    scratch: Mutex<Scratch>,
}

/// Inputs of matrix products (of the layer, and of the second product where a layer has two), and what lies
/// between products.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub input: Activations,
    pub hidden: Activations,
    /// For rows with adapters: both halves of a feed-forward layer as floats, and products with A.
    pub halves: Vec<f32>,
    pub inner: Vec<f32>,
}

impl Compute {
    /// `n_threads` threads, 0 for all cores, with the instruction set that [`Simd::from_environment`]
    /// gives or refuses.
    pub fn new(n_threads: usize) -> crate::error::Result<Self> {
        Ok(Self {
            pool: Pool::new(n_threads),
            simd: Simd::from_environment()?,
            profile: Profile::from_environment(),
            scratch: Mutex::default(),
        })
    }

    /// The memory of the running layer; layers run one after the other.
    pub(super) fn scratch(&self) -> MutexGuard<'_, Scratch> {
        // What a panic left half written is overwritten by the next layer.
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The f32 values of a contiguous tensor.
pub(super) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = contiguous(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The f32 values of a contiguous tensor, to be written.
pub(super) fn floats_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (start, end) = contiguous(layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => bail!("layers compute in f32"),
    }
}

fn contiguous(layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => bail!("the operands of a layer must be contiguous, the layout is {layout:?}"),
    }
}
