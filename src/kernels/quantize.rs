//! 32 activations as int8 with one scale.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::Simd;
#[cfg(target_arch = "x86_64")]
use super::dispatch::Set;
use super::packed::UNIT;

/// Below this, a group of values counts as zero: the inverse of its scale would overflow.
pub(super) const SMALLEST: f32 = 1e-30;

/// 32 values as int8.
pub struct Quantized {
    pub values: [i8; UNIT],
    pub scale: f32,
    /// Sums of the two halves.
    pub sums: [i32; 2],
}

impl Quantized {
    /// Symmetric int8 with a scale of the largest magnitude over 127, rounded to the nearest even.
    /// Values that are not finite give zeros with a scale that is NaN.
    #[inline(always)]
    pub fn new(values: &[f32; UNIT], simd: Simd) -> Self {
        match simd.set() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: values of this type name what the processor has.
            Set::Avx512 => unsafe { quantize_avx512(values) },
            // With AVX2 and NEON the compiler makes vectors of it by itself.
            _ => quantize(values),
        }
    }
}

/// The scale for a largest magnitude, and what values are multiplied with.
#[inline(always)]
fn scale_of(largest: f32) -> (f32, f32) {
    if !largest.is_finite() {
        // A NaN or an infinity must not vanish in the integers: it spoils its group visibly.
        (f32::NAN, 0.0)
    } else if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    }
}

/// The portable version, and the oracle of the other.
#[inline(always)]
fn quantize(values: &[f32; UNIT]) -> Quantized {
    // The bits of magnitudes are ordered as these are, with infinities and NaN above all.
    let mut lanes = [0u32; 16];
    for (lane, max) in lanes.iter_mut().enumerate() {
        let bits = |i: usize| values[i].to_bits() & 0x7fff_ffff;
        *max = bits(lane).max(bits(lane + 16));
    }
    let max = lanes.iter().fold(0, |max, bits| max.max(*bits));
    let largest = f32::from_bits(max);
    let (scale, inverse) = scale_of(largest);
    // Adding 1.5 · 2²³ leaves the nearest even integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let mut integers = [0i32; UNIT];
    for (integer, value) in integers.iter_mut().zip(values) {
        *integer = ((value * inverse + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    }
    if !largest.is_finite() {
        integers = [0; UNIT];
    }
    let sum = |half: &[i32]| half.iter().sum();
    let mut values = [0i8; UNIT];
    for (value, integer) in values.iter_mut().zip(&integers) {
        *value = *integer as i8;
    }
    Quantized { values, scale, sums: [sum(&integers[..UNIT / 2]), sum(&integers[UNIT / 2..])] }
}

/// # Safety
/// AVX-512 F, BW, VL and VNNI must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
#[inline]
unsafe fn quantize_avx512(values: &[f32; UNIT]) -> Quantized {
    let magnitude = _mm512_set1_epi32(0x7fff_ffff);
    // SAFETY: the array has two vectors of values.
    let [a, b] = unsafe { [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16))] };
    let bits = |x: __m512| _mm512_and_si512(_mm512_castps_si512(x), magnitude);
    // The bits of magnitudes are ordered as these are, with infinities and NaN above all.
    let largest = f32::from_bits(_mm512_reduce_max_epu32(_mm512_max_epu32(bits(a), bits(b))));
    let (scale, inverse) = scale_of(largest);
    let integers = |x: __m512| _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse))));
    let finite = if largest.is_finite() { -1 } else { 0 };
    let packed = _mm256_set_m128i(integers(b), integers(a));
    let packed = _mm256_and_si256(packed, _mm256_set1_epi8(finite));
    let sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), packed);
    let sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32::<0b01_00_11_10>(sums));
    let sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32::<0b10_11_00_01>(sums));
    let mut out = [0i8; UNIT];
    // SAFETY: the array has 32 bytes.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), packed) };
    Quantized { values: out, scale, sums: [_mm256_extract_epi32::<0>(sums), _mm256_extract_epi32::<4>(sums)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_within_half_a_step() {
        let values: [f32; UNIT] = std::array::from_fn(|i| (i as f32 * 0.37).sin() * 3.0);
        let quantized = quantize(&values);
        for (value, integer) in values.iter().zip(quantized.values) {
            assert!((value - f32::from(integer) * quantized.scale).abs() <= quantized.scale * 0.501);
        }
        assert_eq!(quantized.sums.iter().sum::<i32>(), quantized.values.iter().map(|v| i32::from(*v)).sum::<i32>());
        assert!(quantized.values.iter().any(|v| v.abs() == 127));
    }

    #[test]
    fn odd_values_are_kept_visible_or_zero() {
        let mut values = [1.0f32; UNIT];
        values[5] = f32::INFINITY;
        assert!(quantize(&values).scale.is_nan());
        values[5] = f32::NAN;
        assert!(quantize(&values).scale.is_nan());
        assert_eq!(quantize(&[1e-38; UNIT]).scale, 0.0);
        assert_eq!(quantize(&[f32::MAX; UNIT]).values, [127; UNIT]);
    }

    proptest! {
        #[test]
        fn every_path_gives_the_same(bits in prop::collection::vec(any::<u32>(), UNIT), exponent in 0u32..256) {
            // Half of the cases have magnitudes that lie together, as activations do.
            let values: [f32; UNIT] = std::array::from_fn(|i| {
                let bits = if exponent < 128 { bits[i] } else { bits[i] & 0x807f_ffff | (exponent - 4) << 23 };
                f32::from_bits(bits)
            });
            let want = quantize(&values);
            // Products of pairs of weights and activations are within 16 bits because of this.
            prop_assert!(!want.values.contains(&i8::MIN));
            for simd in Simd::available() {
                let got = Quantized::new(&values, simd);
                prop_assert_eq!(got.values, want.values);
                prop_assert_eq!(got.sums, want.sums);
                prop_assert!(got.scale.to_bits() == want.scale.to_bits());
            }
        }
    }
}
