//! The parts of attention in vector registers, written once for all widths.

use std::marker::PhantomData;
use std::ops::Range;

use super::backend::{Backend, add_pairwise};
use super::{BLOCK, SCORES};
use crate::kernels::lanes::Lanes;
use crate::kernels::math::{EXP_LN2, EXP_POLYNOMIAL, EXP_WEIGHT_LIMIT, ROUND};

/// A backend of vectors `V`.
pub struct Vectors<V>(PhantomData<V>);

/// Calls `$function::<V, n>` for a number of queries known only at run time.
macro_rules! for_queries {
    ($n:expr, $function:ident($($argument:expr),*)) => {
        match $n {
            1 => $function::<V, 1>($($argument),*),
            2 => $function::<V, 2>($($argument),*),
            3 => $function::<V, 3>($($argument),*),
            4 => $function::<V, 4>($($argument),*),
            5 => $function::<V, 5>($($argument),*),
            6 => $function::<V, 6>($($argument),*),
            7 => $function::<V, 7>($($argument),*),
            8 => $function::<V, 8>($($argument),*),
            n => unreachable!("a tile of {n} queries"),
        }
    };
}

impl<V: Lanes> Backend for Vectors<V> {
    const TILE: usize = V::TILE;

    #[inline(always)]
    unsafe fn widen(halves: &[u8], out: &mut [f32]) {
        assert_eq!(halves.len(), 2 * out.len());
        let whole = out.len() / V::N * V::N;
        for at in (0..whole).step_by(V::N) {
            // SAFETY: `at + V::N` is within both slices.
            unsafe { V::load_f16(halves.as_ptr().add(2 * at)).store(out.as_mut_ptr().add(at)) };
        }
        if whole < out.len() {
            let (mut padded, mut wide) = ([0u8; 32], [0.0f32; 16]);
            padded[..halves.len() - 2 * whole].copy_from_slice(&halves[2 * whole..]);
            // SAFETY: a vector has at most 16 elements.
            unsafe { V::load_f16(padded.as_ptr()).store(wide.as_mut_ptr()) };
            let rest = &mut out[whole..];
            rest.copy_from_slice(&wide[..rest.len()]);
        }
    }

    #[inline(always)]
    unsafe fn widen_ints(ints: &[u8; 32], scales: &[f32; 32], out: &mut [f32; 32]) {
        for at in (0..32).step_by(V::N) {
            // SAFETY: `V::N` divides 32.
            unsafe {
                let values = V::load_i8(ints.as_ptr().add(at)).mul(V::load(scales.as_ptr().add(at)));
                values.store(out.as_mut_ptr().add(at));
            }
        }
    }

    #[inline(always)]
    unsafe fn narrow(values: &[f32; 16]) -> [[u8; 2]; 16] {
        let mut out = [[0u8; 2]; 16];
        for at in (0..16).step_by(V::N) {
            // SAFETY: `V::N` divides 16.
            unsafe { V::load(values.as_ptr().add(at)).store_f16(out.as_mut_ptr().add(at).cast()) };
        }
        out
    }

    #[inline(always)]
    unsafe fn scores(queries: &[f32], n: usize, keys: &[f32], scores: &mut [f32]) {
        let dim = keys.len() / BLOCK;
        assert!(queries.len() == dim * n && keys.len() == dim * BLOCK && scores.len() >= (n - 1) * SCORES + BLOCK);
        let (queries, keys, scores) = (queries.as_ptr(), keys.as_ptr(), scores.as_mut_ptr());
        // SAFETY: the lengths were checked.
        unsafe { for_queries!(n, scores_of(queries, dim, keys, scores)) }
    }

    #[inline(always)]
    unsafe fn softmax(scores: &mut [f32], n: usize) -> (f32, f32) {
        let scores = &mut scores[..n.next_multiple_of(BLOCK)];
        scores[n..].fill(f32::NEG_INFINITY);
        // SAFETY: the length is a multiple of 32.
        unsafe { softmax_of::<V>(scores.as_mut_ptr(), scores.len()) }
    }

    #[inline(always)]
    unsafe fn add_values(weights: &[f32], n: usize, keys: Range<usize>, values: &[f32], dim: usize, sums: &mut [f32]) {
        assert!(dim.is_multiple_of(16) && values.len() >= keys.end * dim && sums.len() >= n * dim);
        assert!(keys.is_empty() || weights.len() > (n - 1) * SCORES + keys.end - 1);
        let (weights, values, sums) = (weights.as_ptr(), values.as_ptr(), sums.as_mut_ptr());
        // SAFETY: the lengths were checked.
        unsafe { for_queries!(n, values_of(weights, keys, values, dim, sums)) }
    }
}

/// # Safety
/// Room as in [`Backend::scores`].
#[inline(always)]
unsafe fn scores_of<V: Lanes, const Q: usize>(queries: *const f32, dim: usize, keys: *const f32, scores: *mut f32) {
    // SAFETY: indices stay below `dim · Q`, `dim · 32` and `Q · SCORES`.
    unsafe {
        for at in (0..BLOCK).step_by(2 * V::N) {
            let mut sums = [[V::splat(0.0); 2]; Q];
            for d in 0..dim {
                let run = keys.add(d * BLOCK + at);
                let (left, right) = (V::load(run), V::load(run.add(V::N)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = V::splat(*queries.add(d * Q + i));
                    *sums = [x.fma(left, sums[0]), x.fma(right, sums[1])];
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                let out = scores.add(i * SCORES + at);
                sums[0].store(out);
                sums[1].store(out.add(V::N));
            }
        }
    }
}

/// # Safety
/// `n` scores, a multiple of 32.
#[inline(always)]
unsafe fn softmax_of<V: Lanes>(scores: *mut f32, n: usize) -> (f32, f32) {
    // SAFETY: indices stay below `n`.
    unsafe {
        let mut most = [V::splat(f32::NEG_INFINITY); 2];
        for at in (0..n).step_by(2 * V::N) {
            most = [V::load(scores.add(at)).max(most[0]), V::load(scores.add(at + V::N)).max(most[1])];
        }
        let mut lanes = [f32::NEG_INFINITY; 16];
        most[0].max(most[1]).store(lanes.as_mut_ptr());
        let largest = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [V::splat(0.0); 2];
        let shift = V::splat(largest);
        for at in (0..n).step_by(16) {
            for (part, sum) in sums.iter_mut().enumerate().take(16 / V::N) {
                let place = scores.add(at + part * V::N);
                let weight = exp_weights(V::load(place).sub(shift));
                weight.store(place);
                *sum = sum.add(weight);
            }
        }
        let mut lanes = [0.0; 16];
        for (part, sum) in sums.iter().enumerate().take(16 / V::N) {
            sum.store(lanes.as_mut_ptr().add(part * V::N));
        }
        (largest, add_pairwise(lanes))
    }
}

/// [`crate::kernels::math::exp_weight`], step by step.
///
/// # Safety
/// The machine has `V`'s instruction set.
#[inline(always)]
unsafe fn exp_weights<V: Lanes>(x: V) -> V {
    // SAFETY: passed on.
    unsafe {
        let round = V::splat(ROUND);
        let n = x.fma(V::splat(std::f32::consts::LOG2_E), round).sub(round);
        let r = n.fma(V::splat(-EXP_LN2[1]), n.fma(V::splat(-EXP_LN2[0]), x));
        let mut p = V::splat(EXP_POLYNOMIAL[0]);
        for coefficient in &EXP_POLYNOMIAL[1..] {
            p = p.fma(r, V::splat(*coefficient));
        }
        let e = p.fma(r.mul(r), r).add(V::splat(1.0));
        e.mul(n.pow2()).zero_where_below(x, V::splat(EXP_WEIGHT_LIMIT))
    }
}

/// # Safety
/// Room as in [`Backend::add_values`].
#[inline(always)]
unsafe fn values_of<V: Lanes, const Q: usize>(
    weights: *const f32,
    keys: Range<usize>,
    values: *const f32,
    dim: usize,
    sums: *mut f32,
) {
    let mut at = 0;
    // SAFETY: `at` plus the width of the columns stays within `dim`.
    unsafe {
        // Sums, a row and a weight in 2 · N registers.
        if 4 * Q + 5 <= 2 * V::N {
            while at + 4 * V::N <= dim {
                columns::<V, Q, 4>(weights, keys.clone(), values.add(at), dim, sums.add(at));
                at += 4 * V::N;
            }
        }
        while at + 2 * V::N <= dim {
            columns::<V, Q, 2>(weights, keys.clone(), values.add(at), dim, sums.add(at));
            at += 2 * V::N;
        }
        while at < dim {
            columns::<V, Q, 1>(weights, keys.clone(), values.add(at), dim, sums.add(at));
            at += V::N;
        }
    }
}

/// `C` registers of columns, their sums in registers.
///
/// # Safety
/// As [`values_of`].
#[inline(always)]
unsafe fn columns<V: Lanes, const Q: usize, const C: usize>(
    weights: *const f32,
    keys: Range<usize>,
    values: *const f32,
    dim: usize,
    sums: *mut f32,
) {
    // SAFETY: indices stay below `Q · SCORES`, `keys.end · dim` and `Q · dim`.
    unsafe {
        let mut held = [[V::splat(0.0); C]; Q];
        for (i, held) in held.iter_mut().enumerate() {
            for (c, held) in held.iter_mut().enumerate() {
                *held = V::load(sums.add(i * dim + c * V::N));
            }
        }
        for key in keys {
            let mut row = [V::splat(0.0); C];
            for (c, row) in row.iter_mut().enumerate() {
                *row = V::load(values.add(key * dim + c * V::N));
            }
            for (i, held) in held.iter_mut().enumerate() {
                let weight = V::splat(*weights.add(i * SCORES + key));
                for (held, row) in held.iter_mut().zip(row) {
                    *held = weight.fma(row, *held);
                }
            }
        }
        for (i, held) in held.iter().enumerate() {
            for (c, held) in held.iter().enumerate() {
                held.store(sums.add(i * dim + c * V::N));
            }
        }
    }
}
