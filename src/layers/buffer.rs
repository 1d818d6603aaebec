//! Tensors that are written anew in each step, so that a step allocates nothing.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Tensor};

use super::context::floats_mut;
use crate::kernels::Pool;

/// Memory for up to so many rows as were ever asked for.
#[derive(Debug)]
pub struct Buffer {
    rows: Tensor,
}

impl Buffer {
    /// A buffer of rows of `width` values.
    pub fn new(width: usize, device: &Device) -> Result<Self> {
        Ok(Self { rows: Tensor::zeros((0, width), candle_core::DType::F32, device)? })
    }

    /// The first `n` rows, as the latest use has left them. All tensors from one buffer share it.
    pub fn rows(&mut self, n: usize) -> Result<Tensor> {
        let (n_rows, width) = self.rows.dims2()?;
        if n_rows < n {
            self.rows = Tensor::zeros((n, width), self.rows.dtype(), self.rows.device())?;
        }
        self.rows.narrow(0, 0, n)
    }
}

/// Calls `visit` with each row of a contiguous tensor `[rows, width]`, which it may write.
pub fn visit_rows(x: &Tensor, mut visit: impl FnMut(usize, &mut [f32])) -> Result<()> {
    let width = x.dim(1)?.max(1);
    visit_values(x, |values| values.chunks_exact_mut(width).enumerate().for_each(|(index, row)| visit(index, row)))
}

/// Calls `visit` with each of `states` and its row of a contiguous tensor `[rows, width]`, which it may write;
/// the threads of `pool` share them out, in no order.
pub fn visit_rows_with<T: Send>(
    x: &Tensor,
    states: &mut [T],
    pool: &Pool,
    visit: impl Fn(&mut T, &mut [f32]) + Sync,
) -> Result<()> {
    let width = x.dim(1)?.max(1);
    visit_values(x, |values| {
        // Nobody ever waits for one of these: each is locked by the one thread that has its piece.
        let pairs: Vec<_> = states.iter_mut().zip(values.chunks_exact_mut(width)).map(Mutex::new).collect();
        pool.run(pairs.len(), &|index| {
            let mut pair = pairs[index].lock().unwrap_or_else(PoisonError::into_inner);
            let (state, row) = &mut *pair;
            visit(state, row);
        });
    })
}

/// Calls `visit` with all values of a contiguous tensor.
fn visit_values(x: &Tensor, visit: impl FnMut(&mut [f32])) -> Result<()> {
    x.inplace_op1(&VisitOp { visit: RefCell::new(visit) })
}

struct VisitOp<F> {
    visit: RefCell<F>,
}

impl<F: FnMut(&mut [f32])> InplaceOp1 for VisitOp<F> {
    fn name(&self) -> &'static str {
        "visit-rows"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.visit.borrow_mut())(floats_mut(x, layout)?);
        Ok(())
    }
}
