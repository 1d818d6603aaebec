//! 32 columns of a whole panel as int8, eight rows at once: their maxima are found together, their scales are one
//! division, and what one instruction of a product reads is written as one vector.

use std::arch::x86_64::*;

use super::activations::{FIELDS, NEGATIVE_SUM, PANEL, SCALE, SCALED_SUM};
use super::packed::UNIT;
use super::quantize::SMALLEST;

/// Fours of columns in a unit.
const FOURS: usize = UNIT / 4;

/// Writes what [`super::quantize::Quantized`] gives for each row: `quants` `[four][row]`, `meta` `[field][row]`.
///
/// # Safety
/// AVX-512 F, BW, DQ, VL and VNNI must be there. At `quants` there is room for 32 · 8 bytes and at `meta` for
/// 8 · `FIELDS` words, and nobody else uses either.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2")]
#[inline]
pub unsafe fn quantize_panel(rows: [&[f32; UNIT]; PANEL], quants: *mut i8, meta: *mut u32) {
    let mut values = [[_mm512_setzero_ps(); 2]; PANEL];
    for (values, row) in values.iter_mut().zip(rows) {
        // SAFETY: a row has two vectors of values.
        *values = unsafe { [_mm512_loadu_ps(row.as_ptr()), _mm512_loadu_ps(row.as_ptr().add(16))] };
    }
    let (scales, inverses) = scales(greatest(values));
    let mut integers = [_mm256_setzero_si256(); PANEL];
    for (row, (integers, [a, b])) in integers.iter_mut().zip(values).enumerate() {
        let inverse = _mm512_permutexvar_ps(_mm512_set1_epi32(row as i32), _mm512_castps256_ps512(inverses));
        // Of what is no number the lowest byte is zero.
        let bytes = |x: __m512| _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse)));
        *integers = _mm256_set_m128i(bytes(b), bytes(a));
    }
    let fours = transposed(integers);
    let ones = _mm256_set1_epi8(1);
    let [mut low, mut high] = [_mm256_setzero_si256(); 2];
    for four in 0..FOURS / 2 {
        low = _mm256_dpbusd_epi32(low, ones, fours[four]);
        high = _mm256_dpbusd_epi32(high, ones, fours[four + FOURS / 2]);
    }
    let all = _mm256_add_epi32(low, high);
    let negative = |x: __m256i| _mm256_sub_epi32(_mm256_setzero_si256(), x);
    // SAFETY: passed on.
    unsafe {
        for (four, bytes) in fours.iter().enumerate() {
            _mm256_storeu_si256(quants.add(four * 4 * PANEL).cast(), *bytes);
        }
        const { assert!(FIELDS == 5 && SCALE == 0 && NEGATIVE_SUM == 1 && SCALED_SUM == 4) };
        let scaled = _mm256_mul_ps(scales, _mm256_cvtepi32_ps(all));
        let fields =
            [_mm256_castps_si256(scales), negative(all), negative(low), negative(high), _mm256_castps_si256(scaled)];
        for (field, words) in fields.iter().enumerate() {
            _mm256_storeu_si256(meta.add(field * PANEL).cast(), *words);
        }
    }
}

/// The greatest magnitude of each row, as bits, which are ordered as magnitudes are, with infinities and NaN above
/// all.
#[target_feature(enable = "avx512f,avx512vl,avx2")]
#[inline]
fn greatest(values: [[__m512; 2]; PANEL]) -> __m256i {
    let magnitude = _mm512_set1_epi32(0x7fff_ffff);
    let mut rows = [_mm256_setzero_si256(); PANEL];
    for (row, [a, b]) in rows.iter_mut().zip(values) {
        let bits = |x: __m512| _mm512_and_si512(_mm512_castps_si512(x), magnitude);
        let most = _mm512_max_epu32(bits(a), bits(b));
        *row = _mm256_max_epu32(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64::<1>(most));
    }
    // Each step folds rows in half and puts two of them side by side.
    let pair = |a, b| _mm256_max_epu32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let four = |a, b| _mm256_max_epu32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let [a, b, c, d, e, f, g, h] = rows;
    let (low, high) = (four(pair(a, b), pair(c, d)), four(pair(e, f), pair(g, h)));
    let (left, right) = (_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high));
    _mm256_max_epu32(left, right)
}

/// Scales for the greatest magnitudes, and what values are multiplied with.
#[target_feature(enable = "avx512f,avx512vl,avx2")]
#[inline]
fn scales(greatest: __m256i) -> (__m256, __m256) {
    let (largest, most) = (_mm256_castsi256_ps(greatest), _mm256_set1_ps(127.0));
    let is_number = _mm256_cmplt_epu32_mask(greatest, _mm256_set1_epi32(f32::INFINITY.to_bits() as i32));
    // Not small, or no number.
    let is_large = _mm256_cmp_ps_mask::<_CMP_NLT_UQ>(largest, _mm256_set1_ps(SMALLEST));
    let scales = _mm256_maskz_div_ps(is_large, largest, most);
    let scales = _mm256_mask_blend_ps(is_number, _mm256_set1_ps(f32::NAN), scales);
    (scales, _mm256_maskz_div_ps(is_large & is_number, most, largest))
}

/// Words `[row][column]` as `[column][row]`.
#[target_feature(enable = "avx512f,avx2")]
#[inline]
fn transposed(rows: [__m256i; PANEL]) -> [__m256i; FOURS] {
    let [a, b, c, d, e, f, g, h] = rows;
    // Columns 0, 1 and 2, 3 of each half of two rows, then of four.
    let two = |a, b| [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)];
    let four = |[a, b]: [__m256i; 2], [c, d]: [__m256i; 2]| {
        [
            _mm256_unpacklo_epi64(a, c),
            _mm256_unpackhi_epi64(a, c),
            _mm256_unpacklo_epi64(b, d),
            _mm256_unpackhi_epi64(b, d),
        ]
    };
    let (low, high) = (four(two(a, b), two(c, d)), four(two(e, f), two(g, h)));
    let mut columns = [_mm256_setzero_si256(); FOURS];
    for (column, (low, high)) in low.into_iter().zip(high).enumerate() {
        columns[column] = _mm256_permute2x128_si256::<0x20>(low, high);
        columns[column + 4] = _mm256_permute2x128_si256::<0x31>(low, high);
    }
    columns
}
