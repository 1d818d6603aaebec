//! The portable matrix product, compiled for AVX2: the same operations in the same order, so the
//! same bits, several times as fast as for the baseline.

use super::activations::Activations;
use super::gemm_scalar;
use super::packed::{Float, Quant, TILE};

/// Products of one tile with row `row`, for integers.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn quant_row(q: Quant, tile: &[u8], a: &Activations, row: usize) -> [f32; TILE] {
    gemm_scalar::quant_row(q, tile, a, row)
}

/// Products of one tile with row `row`, for floats.
///
/// # Safety
/// The processor must have AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn float_row(float: Float, tile: &[u8], a: &Activations, row: usize) -> [f32; TILE] {
    gemm_scalar::float_row(float, tile, a, row)
}
