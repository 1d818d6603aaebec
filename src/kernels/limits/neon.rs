//! The arithmetic of NEON.

use std::arch::aarch64::*;
use std::hint::black_box;

use super::{CHAINS, TURNS};
use crate::kernels::dot_neon;

/// # Safety
/// The processor must have the dot products of Armv8.2.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn int8_dot() -> f64 {
    // Sums that the optimizer takes for different ones, or it would compute them once for all.
    let (a, b, mut sums) = black_box((vdupq_n_s8(3), vdupq_n_s32(-2), [vdupq_n_s32(0); CHAINS]));
    for _ in 0..TURNS {
        // SAFETY: the caller vouches for the instruction.
        sums.iter_mut().for_each(|sum| *sum = unsafe { dot_neon::dot::<0>(*sum, a, b) });
    }
    black_box(sums);
    (TURNS * CHAINS * 16 * 2) as f64
}

/// Widening the 16-bit sums is left out, as for AVX2.
///
/// # Safety
/// NEON must be there.
#[target_feature(enable = "neon")]
pub unsafe fn int8() -> f64 {
    // SAFETY: NEON is enabled here.
    let mut sums = black_box([unsafe { dot_neon::Narrow::zero() }; CHAINS / 2]);
    let (a, b) = black_box((vdupq_n_s8(3), vdupq_n_s32(-2)));
    for _ in 0..TURNS {
        for sum in &mut sums {
            // SAFETY: as above. Each product is hidden from the optimizer, see above.
            unsafe { sum.add(opaque(a), b) };
        }
    }
    black_box(sums);
    (TURNS * CHAINS / 2 * 16 * 2) as f64
}

/// The same value in the same register, of which the optimizer knows nothing any more.
#[inline]
#[target_feature(enable = "neon")]
fn opaque(mut value: int8x16_t) -> int8x16_t {
    // SAFETY: the empty text changes nothing; it only names the register.
    unsafe { std::arch::asm!("/* {0:v} */", inout(vreg) value, options(pure, nomem, nostack, preserves_flags)) }
    value
}

/// # Safety
/// NEON must be there.
#[target_feature(enable = "neon")]
pub unsafe fn f32() -> f64 {
    let (a, b) = black_box((vdupq_n_f32(0.999), vdupq_n_f32(0.001)));
    let mut sums = black_box([vdupq_n_f32(1.0); CHAINS]);
    for _ in 0..TURNS {
        sums.iter_mut().for_each(|sum| *sum = vfmaq_f32(b, *sum, a));
    }
    black_box(sums);
    (TURNS * CHAINS * 4 * 2) as f64
}
