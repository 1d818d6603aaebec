//! What a kernel of attention consists of, and its scalar twin.

use std::ops::Range;

use half::f16;

use super::{BLOCK, SCORES};
use crate::kernels::math::exp_weight;

/// The parts of attention over a block of 32 keys. Every backend gives the same bits: sums run
/// over dimensions or keys in order, each step one fused multiply-add, so neither the queries that
/// share a tile nor the width of a register matter.
///
/// # Safety
/// All functions need the instruction set of the backend; nothing else.
pub trait Backend {
    /// Most queries of a tile.
    const TILE: usize;

    /// Halves, little-endian, as f32.
    ///
    /// # Safety
    /// As the trait's.
    unsafe fn widen(halves: &[u8], out: &mut [f32]);

    /// 32 int8 values, each times its scale.
    unsafe fn widen_ints(ints: &[u8; 32], scales: &[f32; 32], out: &mut [f32; 32]);

    /// The nearest halves, ties to even, little-endian.
    ///
    /// # Safety
    /// As the trait's.
    unsafe fn narrow(values: &[f32; 16]) -> [[u8; 2]; 16];

    /// Products of `n` queries `[dim][n]` with 32 keys `[dim][32]`: `scores[i · SCORES ..][..32]`.
    ///
    /// # Safety
    /// As the trait's.
    unsafe fn scores(queries: &[f32], n: usize, keys: &[f32], scores: &mut [f32]);

    /// Turns the first `n` scores into weights relative to the largest, and those after them, up
    /// to a multiple of 32, into zeros. Returns the largest and the sum of the weights, which is
    /// added in 16 lanes and these pairwise.
    ///
    /// # Safety
    /// As the trait's.
    unsafe fn softmax(scores: &mut [f32], n: usize) -> (f32, f32);

    /// Adds the values `[key][dim]` at `keys` with the weights of `n` queries (`SCORES` apart) to
    /// `sums` `[n][dim]`; `dim` is a multiple of 16.
    ///
    /// # Safety
    /// As the trait's.
    unsafe fn add_values(weights: &[f32], n: usize, keys: Range<usize>, values: &[f32], dim: usize, sums: &mut [f32]);
}

/// Plain Rust, the oracle of the vector versions.
pub struct Scalar;

impl Backend for Scalar {
    const TILE: usize = 4;

    unsafe fn widen(halves: &[u8], out: &mut [f32]) {
        for (out, half) in out.iter_mut().zip(halves.as_chunks::<2>().0) {
            *out = f16::from_le_bytes(*half).to_f32();
        }
    }

    unsafe fn widen_ints(ints: &[u8; 32], scales: &[f32; 32], out: &mut [f32; 32]) {
        for ((out, int), scale) in out.iter_mut().zip(ints).zip(scales) {
            *out = f32::from(int.cast_signed()) * scale;
        }
    }

    unsafe fn narrow(values: &[f32; 16]) -> [[u8; 2]; 16] {
        values.map(|x| f16::from_f32(x).to_le_bytes())
    }

    unsafe fn scores(queries: &[f32], n: usize, keys: &[f32], scores: &mut [f32]) {
        for i in 0..n {
            let scores = &mut scores[i * SCORES..][..BLOCK];
            scores.fill(0.0);
            for (query, keys) in queries.chunks_exact(n).zip(keys.chunks_exact(BLOCK)) {
                for (score, key) in scores.iter_mut().zip(keys) {
                    *score = query[i].mul_add(*key, *score);
                }
            }
        }
    }

    unsafe fn softmax(scores: &mut [f32], n: usize) -> (f32, f32) {
        let scores = &mut scores[..n.next_multiple_of(BLOCK)];
        scores[n..].fill(f32::NEG_INFINITY);
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0f32; 16];
        for (i, score) in scores.iter_mut().enumerate() {
            *score = exp_weight(*score - largest);
            sums[i % 16] += *score;
        }
        (largest, add_pairwise(sums))
    }

    unsafe fn add_values(weights: &[f32], n: usize, keys: Range<usize>, values: &[f32], dim: usize, sums: &mut [f32]) {
        for i in 0..n {
            let sums = &mut sums[i * dim..][..dim];
            for key in keys.clone() {
                let weight = weights[i * SCORES + key];
                for (sum, value) in sums.iter_mut().zip(&values[key * dim..]) {
                    *sum = weight.mul_add(*value, *sum);
                }
            }
        }
    }
}

/// The sum of 16 lanes: of halves, of their halves, and so on.
#[inline(always)]
pub(super) fn add_pairwise(mut lanes: [f32; 16]) -> f32 {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}
