//! Vectors of f32 for AArch64. Two registers make one vector of eight lanes, so that what is written
//! for AVX2's sixteen registers fits NEON's thirty-two.

use std::arch::aarch64::*;
use std::arch::asm;

use super::lanes::Lanes;

/// 8 lanes of NEON.
#[derive(Clone, Copy)]
pub struct Quads(float32x4_t, float32x4_t);

/// Applies an operation to both registers.
macro_rules! both {
    ($f:ident($a:expr $(, $b:expr)*)) => {
        Quads($f($a.0 $(, $b.0)*), $f($a.1 $(, $b.1)*))
    };
}

// SAFETY (all functions): the trait's contract gives NEON and the room behind pointers; no load or
// store needs alignment.
impl Lanes for Quads {
    const N: usize = 8;
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(vdupq_n_f32(x), vdupq_n_f32(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(vld1q_f32(from), vld1q_f32(from.add(4))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            vst1q_f32(to, self.0);
            vst1q_f32(to.add(4), self.1);
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        unsafe { Self(widen_halves(from), widen_halves(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self {
        unsafe {
            let wide = vmovl_s8(vld1_s8(from.cast()));
            Self(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide)))
        }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u8) {
        unsafe { vst1q_u8(to, vreinterpretq_u8_u16(vcombine_u16(narrow(self.0), narrow(self.1)))) }
    }

    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // The instruction adds to its first operand.
        unsafe { both!(vfmaq_f32(c, self, b)) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        unsafe { both!(vaddq_f32(self, b)) }
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        unsafe { both!(vsubq_f32(self, b)) }
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        unsafe { both!(vmulq_f32(self, b)) }
    }

    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // A comparison, since `fmaxnm` would return a signaling NaN.
        unsafe {
            let larger = (vcgtq_f32(self.0, b.0), vcgtq_f32(self.1, b.1));
            both!(vbslq_f32(larger, self, b))
        }
    }

    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        unsafe { both!(power(self)) }
    }

    #[inline(always)]
    unsafe fn zero_where_below(self, x: Self, limit: Self) -> Self {
        unsafe {
            let below = (vcltq_f32(x.0, limit.0), vcltq_f32(x.1, limit.1));
            let bits = |x, below| vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), below));
            Self(bits(self.0, below.0), bits(self.1, below.1))
        }
    }
}

/// 2ⁿ, see [`Lanes::pow2`].
///
/// # Safety
/// NEON must be there.
#[inline(always)]
unsafe fn power(n: float32x4_t) -> float32x4_t {
    // SAFETY: passed on.
    unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
}

/// 4 halves as f32. The library's function for it has a type in its signature that is not stable.
///
/// # Safety
/// 8 bytes must lie at `from`; NEON must be there.
#[inline(always)]
pub(super) unsafe fn widen_halves(from: *const u8) -> float32x4_t {
    let wide;
    // SAFETY: passed on; the instruction only computes its output.
    unsafe {
        let halves = vld1_u8(from);
        asm!("fcvtl {0:v}.4s, {1:v}.4h", lateout(vreg) wide, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// The nearest halves, ties to even.
///
/// # Safety
/// NEON must be there.
#[inline(always)]
unsafe fn narrow(wide: float32x4_t) -> uint16x4_t {
    let halves;
    // SAFETY: passed on; the instruction only computes its output.
    unsafe {
        asm!("fcvtn {0:v}.4h, {1:v}.4s", lateout(vreg) halves, in(vreg) wide, options(pure, nomem, nostack, preserves_flags));
    }
    halves
}
