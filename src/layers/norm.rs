//! Root mean square normalization (Zhang and Sennrich 2019).

use crate::kernels::{Pool, math};

/// Scales rows by the inverse of their root mean square, then by a weight per column.
#[derive(Debug)]
pub struct RmsNorm {
    pub weight: Vec<f32>,
    pub eps: f32,
}

impl RmsNorm {
    /// Normalizes the rows of `x`.
    #[must_use]
    pub fn apply(&self, x: &[f32], pool: &Pool) -> Vec<f32> {
        let width = self.weight.len();
        let mut out = vec![0.0; x.len()];
        pool.run_chunks(&mut out, 8 * width, &|index, rows| {
            let x = &x[index * 8 * width..][..rows.len()];
            for (out, x) in rows.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                math::rms_norm(x, &self.weight, self.eps, out);
            }
        });
        out
    }
}
