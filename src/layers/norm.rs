//! Root mean square normalization (Zhang and Sennrich 2019).

use crate::kernels::math;

/// Scales rows by the inverse of their root mean square, then by a weight per column.
#[derive(Debug)]
pub struct RmsNorm {
    pub weight: Vec<f32>,
    pub eps: f32,
}

impl RmsNorm {
    /// Normalizes one row.
    #[inline(always)]
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        math::rms_norm(x, &self.weight, self.eps, out);
    }
}
