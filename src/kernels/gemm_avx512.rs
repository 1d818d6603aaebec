//! The matrix product with AVX-512 VNNI: one `vpdpbusd` serves 16 rows × 4 columns. Each line of
//! weights is unpacked once for up to eight rows of activations, and each four of activations is
//! read once for two tiles, where the registers have room for them.

use std::arch::x86_64::*;

use super::activations::{Activations, FIELDS, NEGATIVE_SUM, PANEL, Panel, SCALE, SCALED_SUM};
use super::ahead::Ahead;
use super::packed::{FLOAT_TILES, Float, Format, Matrix, SUPER_UNITS, Scales, TILE, UNIT, with_format};

/// How far ahead of their use float weights are asked for, in bytes.
const FLOATS_AHEAD: usize = 8 << 10;

/// Products of `T` tiles from `first` on with the rows of a panel: row r, tile t, lane l goes to
/// `out[t][r][l]`.
///
/// # Safety
/// AVX-512 F, BW, VL and VNNI and FMA must be there; `a` must have `matrix.k` columns in the form
/// that the matrix wants, and the panel must be one of its own.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma,f16c")]
pub unsafe fn products<const T: usize>(
    matrix: &Matrix,
    first: usize,
    a: &Activations,
    panel: Panel,
    out: &mut [[[f32; TILE]; PANEL]; T],
) {
    // SAFETY: passed on.
    unsafe {
        with_format!(matrix.ty,
            F => {
                // Where scales are for 16 columns there is not room in the registers for eight rows of two tiles.
                let passes = if F::QUANT.group == UNIT { 1 } else { T };
                let job = QuantJob::new(matrix, (first, T), a, panel, passes);
                match panel.width {
                    8 if passes == 1 => quant_rows::<F, T, 8>(&job, out),
                    8 => {
                        let mut job = job;
                        for out in out {
                            quant_rows::<F, 1, 8>(&job, std::array::from_mut(out));
                            job = job.next_tile();
                        }
                    }
                    4 => quant_rows::<F, T, 4>(&job, out),
                    2 => quant_rows::<F, T, 2>(&job, out),
                    // One row is bound by memory, which is read fastest as a single stream.
                    _ => for (t, out) in out.iter_mut().enumerate() {
                        let job = QuantJob::new(matrix, (first + t, 1), a, panel, passes);
                        quant_rows::<F, 1, 1>(&job, std::array::from_mut(out));
                    },
                }
            },
            float => {
                let tiles = std::array::from_fn(|t| matrix.tile(first + t).as_ptr());
                let x = (a.floats.as_ptr().add(panel.row * a.k), panel.row == 0);
                match panel.width {
                    8 => float_rows::<T, 8>(float, tiles, x, a.k, out),
                    4 => float_rows::<T, 4>(float, tiles, x, a.k, out),
                    2 => float_rows::<T, 2>(float, tiles, x, a.k, out),
                    _ => float_rows::<T, 1>(float, tiles, x, a.k, out),
                }
            }
        );
    }
}

/// Tiles from `tile` on, `tile_bytes` apart, and a panel. There are no arrays in it: what has just been written
/// one by one and is then copied as a whole is only read once all stores before it are done, among them those
/// of the outputs.
struct QuantJob<'a> {
    tile: *const u8,
    tile_bytes: usize,
    units: usize,
    panel: Panel,
    a: &'a Activations,
    ahead: Ahead,
}

impl<'a> QuantJob<'a> {
    #[inline(always)]
    fn new(matrix: &Matrix, (first, n): (usize, usize), a: &'a Activations, panel: Panel, passes: usize) -> Self {
        let (tile, tile_bytes) = (matrix.tile(first).as_ptr(), matrix.tile_bytes());
        let ahead = Ahead::of(tile, tile_bytes * n, passes, (panel, a.m));
        Self { tile, tile_bytes, units: a.k / UNIT, panel, a, ahead }
    }

    /// The same for the next tile, which is the next pass over the panel.
    #[inline(always)]
    fn next_tile(self) -> Self {
        Self { ahead: self.ahead.next(), tile: self.tile.wrapping_add(self.tile_bytes), ..self }
    }
}

/// A panel of `P` rows.
///
/// # Safety
/// As [`products`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma,f16c")]
#[inline]
unsafe fn quant_rows<F: Format, const T: usize, const P: usize>(
    job: &QuantJob<'_>,
    out: &mut [[[f32; TILE]; PANEL]; T],
) {
    let q = F::QUANT;
    let planes = q.planes(job.units * UNIT);
    let tiles: [*const u8; T] = std::array::from_fn(|t| job.tile.wrapping_add(t * job.tile_bytes));
    let mut acc = [[_mm512_setzero_ps(); P]; T];
    let mut supers = [[_mm512_setzero_ps(); 2]; T];
    let ask = job.ahead.shared_by(job.units);
    for unit in 0..job.units {
        // SAFETY: each tile has `units` units in all its planes, the panel `P · UNIT` int8 values and
        // `P · FIELDS` fields for each unit; a prefetch may name any address.
        unsafe {
            ask.unit(unit);
            if q.super_bytes() > 0 && unit % SUPER_UNITS == 0 {
                for (t, supers) in supers.iter_mut().enumerate() {
                    let p = tiles[t].add(planes.supers + unit / SUPER_UNITS * q.super_bytes());
                    supers[0] = half(p);
                    if q.min {
                        supers[1] = half(p.add(TILE * 2));
                    }
                }
            }
            let x = job.a.quants.as_ptr().add(job.panel.row * job.units * UNIT + unit * UNIT * P).cast::<i32>();
            let meta = job.a.meta.as_ptr().add((job.panel.row * job.units + unit * P) * FIELDS);
            let fours = q.group / 4;
            let mut parts = [[_mm512_setzero_ps(); P]; T];
            for group in 0..UNIT / q.group {
                let sums = meta.add(P * if q.group == UNIT { NEGATIVE_SUM } else { NEGATIVE_SUM + 1 + group });
                let mut dots = [[_mm512_setzero_si512(); P]; T];
                if let Some(bits) = q.offset_log2 {
                    for r in 0..P {
                        let start = shift_left(_mm512_set1_epi32(*sums.add(r) as i32), bits);
                        for dots in &mut dots {
                            dots[r] = start;
                        }
                    }
                }
                for four in group * fours..(group + 1) * fours {
                    let mut w = [_mm512_setzero_si512(); T];
                    for (t, w) in w.iter_mut().enumerate() {
                        let low = tiles[t].add(unit * q.low_bytes());
                        let high = tiles[t].add(planes.high + unit * q.high_bytes());
                        *w = integers::<F>(low, high, four);
                    }
                    for r in 0..P {
                        let x = _mm512_set1_epi32(x.add(four * P + r).read_unaligned());
                        for (dots, w) in dots.iter_mut().zip(w) {
                            dots[r] = _mm512_dpbusd_epi32(dots[r], w, x);
                        }
                    }
                }
                for t in 0..T {
                    let p = tiles[t].add(planes.scales + unit * q.scale_bytes());
                    let (scale, min) = scale_min::<F>(p, group, supers[t]);
                    for r in 0..P {
                        let x_scale = _mm512_set1_ps(f32::from_bits(*meta.add(P * SCALE + r)));
                        let dots = _mm512_cvtepi32_ps(dots[t][r]);
                        if q.group == UNIT {
                            acc[t][r] = _mm512_fmadd_ps(dots, _mm512_mul_ps(scale, x_scale), acc[t][r]);
                            if q.min {
                                let x_sum = _mm512_set1_ps(f32::from_bits(*meta.add(P * SCALED_SUM + r)));
                                acc[t][r] = _mm512_fmadd_ps(min, x_sum, acc[t][r]);
                            }
                            continue;
                        }
                        // The scale of the activations comes last, once for all groups.
                        let part = &mut parts[t][r];
                        *part =
                            if group == 0 { _mm512_mul_ps(dots, scale) } else { _mm512_fmadd_ps(dots, scale, *part) };
                        if q.min {
                            let sum = _mm512_set1_epi32(0i32.wrapping_sub(*sums.add(r) as i32));
                            *part = _mm512_fmadd_ps(min, _mm512_cvtepi32_ps(sum), *part);
                        }
                        if group + 1 == UNIT / q.group {
                            acc[t][r] = _mm512_fmadd_ps(*part, x_scale, acc[t][r]);
                        }
                    }
                }
            }
        }
    }
    for (acc, out) in acc.iter().zip(out) {
        for (acc, out) in acc.iter().zip(out) {
            // SAFETY: a row of the output is 16 floats.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *acc) }
        }
    }
}

/// Four `four` of a unit as unsigned bytes.
///
/// # Safety
/// `low` and `high` must point to a unit's planes; AVX-512 BW must be there.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn integers<F: Format>(low: *const u8, high: *const u8, four: usize) -> __m512i {
    let q = F::QUANT;
    let mask = |bits: usize, at: usize| _mm512_set1_epi8((((1u16 << bits) - 1) << at) as u8 as i8);
    let per_line = 8 / q.low;
    // SAFETY: passed on.
    let line = unsafe { _mm512_load_si512(low.add(four / per_line * 64).cast()) };
    let right = (four % per_line * q.low) as u32;
    let mut integers = shift_right(line, right);
    if q.low < 8 {
        integers = _mm512_and_si512(integers, mask(q.low, 0));
    }
    if let Some(per_line) = 8usize.checked_div(q.high) {
        // SAFETY: passed on.
        let line = unsafe { _mm512_load_si512(high.add(four / per_line * 64).cast()) };
        let at = four % per_line * q.high;
        let moved =
            if at >= q.low { shift_right(line, (at - q.low) as u32) } else { shift_left_16(line, (q.low - at) as u32) };
        // integers | moved & mask
        integers = _mm512_ternarylogic_epi32::<0xf8>(integers, moved, mask(q.high, q.low));
    }
    integers
}

/// Scales and mins of 16 rows in a group.
///
/// # Safety
/// `p` must point to a unit's scales; AVX-512 F must be there.
#[target_feature(enable = "avx512f,avx512bw,f16c")]
#[inline]
unsafe fn scale_min<F: Format>(p: *const u8, group: usize, supers: [__m512; 2]) -> (__m512, __m512) {
    let q = F::QUANT;
    let zero = _mm512_setzero_ps();
    // SAFETY: passed on; a unit has 16 factors for each group, then those of the mins.
    unsafe {
        let bytes = |at: usize| _mm_loadu_si128(p.add(at * TILE).cast());
        let scaled = |d: __m512, factors: __m512i| _mm512_mul_ps(d, _mm512_cvtepi32_ps(factors));
        let negative =
            |x: __m512| _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MIN)));
        match q.scales {
            Scales::Half => (half(p), if q.min { half(p.add(TILE * 2)) } else { zero }),
            Scales::Sub => {
                let scale = scaled(supers[0], _mm512_cvtepi8_epi32(bytes(group)));
                let min = if q.min {
                    negative(scaled(supers[1], _mm512_cvtepi8_epi32(bytes(UNIT / q.group + group))))
                } else {
                    zero
                };
                (scale, min)
            }
            Scales::Nibble => {
                let pairs = _mm512_cvtepu8_epi32(bytes(group));
                let scale = scaled(supers[0], _mm512_and_si512(pairs, _mm512_set1_epi32(15)));
                (scale, negative(scaled(supers[1], _mm512_srli_epi32::<4>(pairs))))
            }
        }
    }
}

/// 16 halves as f32.
///
/// # Safety
/// 32 bytes must lie at `p`; AVX-512 F must be there.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn half(p: *const u8) -> __m512 {
    // SAFETY: passed on.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
}

/// Bits of each pair of bytes to the right; `bits` is known when this is compiled.
#[target_feature(enable = "avx512bw")]
#[inline]
fn shift_right(x: __m512i, bits: u32) -> __m512i {
    match bits {
        0 => x,
        1 => _mm512_srli_epi16::<1>(x),
        2 => _mm512_srli_epi16::<2>(x),
        3 => _mm512_srli_epi16::<3>(x),
        4 => _mm512_srli_epi16::<4>(x),
        5 => _mm512_srli_epi16::<5>(x),
        _ => _mm512_srli_epi16::<6>(x),
    }
}

/// Bits of each pair of bytes to the left; `bits` is known when this is compiled.
#[target_feature(enable = "avx512bw")]
#[inline]
fn shift_left_16(x: __m512i, bits: u32) -> __m512i {
    match bits {
        1 => _mm512_slli_epi16::<1>(x),
        2 => _mm512_slli_epi16::<2>(x),
        3 => _mm512_slli_epi16::<3>(x),
        _ => _mm512_slli_epi16::<4>(x),
    }
}

/// Integers to the left; `bits` is known when this is compiled.
#[target_feature(enable = "avx512f")]
#[inline]
fn shift_left(x: __m512i, bits: u32) -> __m512i {
    match bits {
        2 => _mm512_slli_epi32::<2>(x),
        3 => _mm512_slli_epi32::<3>(x),
        4 => _mm512_slli_epi32::<4>(x),
        5 => _mm512_slli_epi32::<5>(x),
        _ => _mm512_slli_epi32::<7>(x),
    }
}

/// Float weights: rows of a panel of `P`, whose values lie at `x`.
///
/// # Safety
/// As [`products`].
#[target_feature(enable = "avx512f,avx512bw,fma,f16c")]
#[inline]
unsafe fn float_rows<const T: usize, const P: usize>(
    float: Float,
    tiles: [*const u8; T],
    panel: (*const f32, bool),
    k: usize,
    out: &mut [[[f32; TILE]; PANEL]; T],
) {
    // SAFETY: passed on; a branch for each type keeps the choice out of the loop.
    unsafe {
        match float {
            Float::F32 => float_columns::<T, P, 4>(tiles, panel, k, out, |p| _mm512_loadu_ps(p.cast())),
            Float::F16 => float_columns::<T, P, 2>(tiles, panel, k, out, |p| half(p)),
            Float::BF16 => float_columns::<T, P, 2>(tiles, panel, k, out, |p| {
                let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
            }),
        }
    }
}

/// `panel` is where the values lie, and whether they are the first rows, which ask for weights ahead.
///
/// # Safety
/// As [`products`]; `load` reads 16 values of `SIZE` bytes.
#[target_feature(enable = "avx512f,avx512bw,fma,f16c")]
#[inline]
unsafe fn float_columns<const T: usize, const P: usize, const SIZE: usize>(
    tiles: [*const u8; T],
    (x, is_first): (*const f32, bool),
    k: usize,
    out: &mut [[[f32; TILE]; PANEL]; T],
    load: impl Fn(*const u8) -> __m512,
) {
    let mut acc = [[_mm512_setzero_ps(); P]; T];
    let line = TILE * SIZE * FLOAT_TILES;
    for column in 0..k {
        // SAFETY: the tile has k columns of 16 values, the panel k columns of P; a prefetch may name
        // any address.
        unsafe {
            if is_first {
                let ahead = tiles[0].wrapping_add(column * line + FLOATS_AHEAD);
                for at in (0..line).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(at).cast());
                }
            }
            let w: [__m512; T] = std::array::from_fn(|t| load(tiles[t].add(column * line)));
            for r in 0..P {
                let x = _mm512_set1_ps(*x.add(column * P + r));
                for (acc, w) in acc.iter_mut().zip(w) {
                    acc[r] = _mm512_fmadd_ps(w, x, acc[r]);
                }
            }
        }
    }
    for (acc, out) in acc.iter().zip(out) {
        for (acc, out) in acc.iter().zip(out) {
            // SAFETY: a row of the output is 16 floats.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *acc) }
        }
    }
}
