//! Tensors that are written anew in each step, so that a step allocates nothing.

use std::cell::RefCell;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Tensor};

use super::context::floats_mut;

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
pub fn visit_rows(x: &Tensor, visit: impl FnMut(usize, &mut [f32])) -> Result<()> {
    let width = x.dim(1)?;
    x.inplace_op1(&VisitOp { width, visit: RefCell::new(visit) })
}

struct VisitOp<F> {
    width: usize,
    visit: RefCell<F>,
}

impl<F: FnMut(usize, &mut [f32])> InplaceOp1 for VisitOp<F> {
    fn name(&self) -> &'static str {
        "visit-rows"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let mut visit = self.visit.borrow_mut();
        for (index, row) in floats_mut(x, layout)?.chunks_exact_mut(self.width.max(1)).enumerate() {
            visit(index, row);
        }
        Ok(())
    }
}
