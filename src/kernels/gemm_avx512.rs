//! The matrix product with AVX-512 VNNI: one `vpdpbusd` serves 16 rows × 4 columns, and each line
//! of weights is unpacked once for up to eight rows of activations.

use std::arch::x86_64::*;

use super::activations::{Activations, GROUP};
use super::packed::{Float, Quant, TILE};

/// Where the products of a tile go: row r, lane l at `out[r * stride + l]`, `lanes` of them.
pub struct Target {
    pub out: *mut f32,
    pub stride: usize,
    pub lanes: usize,
}

impl Target {
    /// # Safety
    /// Row `row` must lie inside what `out` points to; AVX-512 must be there.
    #[target_feature(enable = "avx512f")]
    unsafe fn store(&self, row: usize, value: __m512) {
        let mask = ((1u32 << self.lanes) - 1) as u16;
        // SAFETY: the caller vouches for the row; the mask keeps within its lanes.
        unsafe { _mm512_mask_storeu_ps(self.out.add(row * self.stride), mask, value) }
    }
}

/// Products of one tile with all rows of `a`, for integers.
///
/// # Safety
/// AVX-512 F, BW, VL and VNNI must be there; `tile` must be a whole tile of `a.k` columns in
/// layout `q`; `target` must have `a.m` rows.
pub unsafe fn quant_tile(q: Quant, tile: &[u8], a: &Activations, target: &Target) {
    // SAFETY: passed on.
    unsafe {
        match (q.bits, q.group, q.half, q.min) {
            (4, 32, true, false) => rows::<4, 32, true, false>(q, tile, a, target),
            (4, 32, true, true) => rows::<4, 32, true, true>(q, tile, a, target),
            (4, 32, false, true) => rows::<4, 32, false, true>(q, tile, a, target),
            (8, 32, true, false) => rows::<8, 32, true, false>(q, tile, a, target),
            (8, 32, true, true) => rows::<8, 32, true, true>(q, tile, a, target),
            (8, 32, false, true) => rows::<8, 32, false, true>(q, tile, a, target),
            (8, 16, false, true) => rows::<8, 16, false, true>(q, tile, a, target),
            (8, 16, false, false) => rows::<8, 16, false, false>(q, tile, a, target),
            other => unreachable!("no layout is {other:?}"),
        }
    }
}

/// # Safety
/// As [`quant_tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const BITS: usize, const G: usize, const HALF: bool, const MIN: bool>(
    q: Quant,
    tile: &[u8],
    a: &Activations,
    target: &Target,
) {
    let mut row = 0;
    while row < a.m {
        // SAFETY: passed on; `row + M <= a.m` by the match.
        unsafe {
            row += match a.m - row {
                1 => some_rows::<1, BITS, G, HALF, MIN>(q, tile, a, row, target),
                2..4 => some_rows::<2, BITS, G, HALF, MIN>(q, tile, a, row, target),
                4..8 => some_rows::<4, BITS, G, HALF, MIN>(q, tile, a, row, target),
                _ => some_rows::<8, BITS, G, HALF, MIN>(q, tile, a, row, target),
            }
        }
    }
}

/// # Safety
/// As [`quant_tile`], and rows `row .. row + M` must be there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn some_rows<const M: usize, const BITS: usize, const G: usize, const HALF: bool, const MIN: bool>(
    q: Quant,
    tile: &[u8],
    a: &Activations,
    row: usize,
    target: &Target,
) -> usize {
    let mut acc = [_mm512_setzero_ps(); M];
    let low = _mm512_set1_epi8(15);
    let group_bytes = q.group_bytes();
    for g in 0..a.k / G {
        // SAFETY: the tile has a.k / G groups of group_bytes bytes, and every row of `a` has a.k
        // quants, a.k / 32 scales and a.k / 16 sums.
        unsafe {
            let p = tile.as_ptr().add(g * group_bytes);
            _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(group_bytes * 8).cast());
            let mut w = [_mm512_setzero_si512(); 8];
            for (line, pair) in w[..G / 4].chunks_exact_mut(if BITS == 4 { 2 } else { 1 }).enumerate() {
                let bytes = _mm512_loadu_si512(p.add(line * 64).cast());
                if BITS == 4 {
                    pair[0] = _mm512_and_si512(bytes, low);
                    pair[1] = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low);
                } else {
                    pair[0] = bytes;
                }
            }
            let scales = load::<HALF>(p.add(q.plane_bytes()));
            let mins = if MIN { load::<HALF>(p.add(q.plane_bytes() + q.scale_bytes())) } else { scales };
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = a.quants.as_ptr().add((row + r) * a.k + g * G).cast::<i32>();
                let scale = *a.scales.get_unchecked((row + r) * (a.k / GROUP) + g * G / GROUP);
                let sums = a.sums.as_ptr().add((row + r) * (a.k / 16) + g * G / 16);
                let sum = if G == 32 { *sums + *sums.add(1) } else { *sums };
                let mut even = _mm512_set1_epi32(-q.offset * sum);
                let mut odd = _mm512_setzero_si512();
                for four in 0..G / 8 {
                    let x0 = _mm512_set1_epi32(x.add(four * 2).read_unaligned());
                    let x1 = _mm512_set1_epi32(x.add(four * 2 + 1).read_unaligned());
                    even = _mm512_dpbusd_epi32(even, w[four * 2], x0);
                    odd = _mm512_dpbusd_epi32(odd, w[four * 2 + 1], x1);
                }
                let dots = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
                let scaled = _mm512_mul_ps(scales, _mm512_set1_ps(scale));
                *acc = _mm512_add_ps(*acc, _mm512_mul_ps(dots, scaled));
                if MIN {
                    let shift = _mm512_mul_ps(mins, _mm512_set1_ps(scale * sum as f32));
                    *acc = _mm512_add_ps(*acc, shift);
                }
            }
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        // SAFETY: passed on.
        unsafe { target.store(row + r, *acc) }
    }
    M
}

/// # Safety
/// 16 scales must lie at `p`; AVX-512 F must be there.
#[target_feature(enable = "avx512f")]
unsafe fn load<const HALF: bool>(p: *const u8) -> __m512 {
    // SAFETY: passed on.
    unsafe { if HALF { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) } else { _mm512_loadu_ps(p.cast()) } }
}

/// Products of one tile with all rows of `a`, for floats.
///
/// # Safety
/// As [`quant_tile`], for a float layout.
#[target_feature(enable = "avx512f")]
pub unsafe fn float_tile(float: Float, tile: &[u8], a: &Activations, target: &Target) {
    let mut row = 0;
    while row < a.m {
        // SAFETY: passed on.
        unsafe {
            row += if a.m - row >= 4 {
                float_rows::<4>(float, tile, a, row, target)
            } else {
                float_rows::<1>(float, tile, a, row, target)
            }
        }
    }
}

/// # Safety
/// As [`float_tile`], and rows `row .. row + M` must be there.
#[target_feature(enable = "avx512f")]
unsafe fn float_rows<const M: usize>(float: Float, tile: &[u8], a: &Activations, row: usize, target: &Target) -> usize {
    let mut parts = [[_mm512_setzero_ps(); 4]; M];
    let mut column = 0;
    while column < a.k {
        for part in 0..4.min(a.k - column) {
            // SAFETY: the tile has a.k columns of 16 values, each row of `a` a.k values.
            unsafe {
                let at = (column + part) * TILE;
                let w = match float {
                    Float::F32 => _mm512_loadu_ps(tile.as_ptr().add(at * 4).cast()),
                    Float::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(tile.as_ptr().add(at * 2).cast())),
                    Float::BF16 => {
                        let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(tile.as_ptr().add(at * 2).cast()));
                        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
                    }
                };
                for (r, parts) in parts.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.values.get_unchecked((row + r) * a.k + column + part));
                    parts[part] = _mm512_add_ps(parts[part], _mm512_mul_ps(w, x));
                }
            }
        }
        column += 4;
    }
    for (r, p) in parts.iter().enumerate() {
        let sum = _mm512_add_ps(_mm512_add_ps(p[0], p[1]), _mm512_add_ps(p[2], p[3]));
        // SAFETY: passed on.
        unsafe { target.store(row + r, sum) }
    }
    M
}
