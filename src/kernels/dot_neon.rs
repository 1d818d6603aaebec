//! Products of int8 with NEON, summed over four columns: with the dot products of Armv8.2, or in
//! 16-bit integers without them.

use std::arch::aarch64::*;
use std::arch::asm;

/// Adds to each lane of `dots` the products of four columns of its row of weights with those of
/// activations in lane `LANE` of `x`. The library's function for it is not stable.
///
/// # Safety
/// The processor must have the dot products of Armv8.2.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub unsafe fn dot<const LANE: i32>(mut dots: int32x4_t, w: int8x16_t, x: int32x4_t) -> int32x4_t {
    // SAFETY: passed on; the instruction only computes its output.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inout(vreg) dots, in(vreg) w, in(vreg) x, const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    dots
}

/// Products of each column of four rows of weights with activations, summed over fours of columns.
#[derive(Clone, Copy)]
pub struct Narrow(int16x8_t, int16x8_t);

// SAFETY (all functions): the caller vouches for NEON.
impl Narrow {
    #[inline(always)]
    pub unsafe fn zero() -> Self {
        unsafe { Self(vdupq_n_s16(0), vdupq_n_s16(0)) }
    }

    /// `x` has the same four columns in each lane.
    #[inline(always)]
    pub unsafe fn add(&mut self, w: int8x16_t, x: int32x4_t) {
        unsafe {
            let x = vreinterpretq_s8_s32(x);
            self.0 = vmlal_s8(self.0, vget_low_s8(w), vget_low_s8(x));
            self.1 = vmlal_high_s8(self.1, w, x);
        }
    }

    /// Adds the sums of all columns to `dots` and begins anew.
    #[inline(always)]
    pub unsafe fn widen(&mut self, dots: int32x4_t) -> int32x4_t {
        unsafe {
            let pairs = vpaddq_s16(self.0, self.1);
            *self = Self::zero();
            vpadalq_s16(dots, pairs)
        }
    }
}
