//! The matrix product with AVX2: a line of weights is two halves of 8 rows × 4 columns. Without
//! `vpdpbusd`, `vpmaddubsw` sums pairs of columns as 16-bit integers; narrow weights leave these room
//! for several fours of columns before they are widened.

use std::arch::x86_64::*;

use super::activations::{Activations, FIELDS, NEGATIVE_SUM, PANEL, Panel, SCALE, SCALED_SUM};
use super::ahead::Ahead;
use super::packed::{FLOAT_TILES, Format, Matrix, SUPER_UNITS, Scales, TILE, UNIT, with_format};

/// How far ahead of their use float weights are asked for, in bytes.
const FLOATS_AHEAD: usize = 8 << 10;

/// Rows of a half of a tile: the lanes of a 256-bit vector of f32.
const HALF: usize = TILE / 2;

/// Columns are taken in pairs of fours, so that the sum of two products is one step of a chain.
const PAIR: usize = 2;

/// Products of a tile with the rows of a panel: `[row][lane]`.
type Rows = [[f32; TILE]; PANEL];

/// Products of the tiles from `first` on, an even one, with the rows of a panel: row r, tile t, lane
/// l goes to `out[t][r][l]`.
///
/// # Safety
/// AVX2, FMA and F16C must be there; `a` must have `matrix.k` columns in the form that the matrix
/// wants, the panel must be one of its own, and `out` must have one or two of the matrix's tiles.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn products(matrix: &Matrix, first: usize, a: &Activations, panel: Panel, out: &mut [Rows]) {
    // SAFETY: passed on.
    unsafe { all_products::<false>(matrix, first, a, panel, out) }
}

/// As [`products`], with the `vpdpbusd` of processors that have it without AVX-512.
///
/// # Safety
/// As [`products`]; AVX-VNNI must be there as well.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub unsafe fn products_vnni(matrix: &Matrix, first: usize, a: &Activations, panel: Panel, out: &mut [Rows]) {
    // SAFETY: passed on.
    unsafe { all_products::<true>(matrix, first, a, panel, out) }
}

// What follows is inlined into either of the two, and gets its instructions from there.

/// # Safety
/// As [`products`], and as [`products_vnni`] with `VNNI`.
#[inline(always)]
unsafe fn all_products<const VNNI: bool>(
    matrix: &Matrix,
    first: usize,
    a: &Activations,
    panel: Panel,
    out: &mut [Rows],
) {
    // SAFETY: passed on.
    unsafe {
        with_format!(matrix.ty,
            F => for (t, out) in out.iter_mut().enumerate() {
                let tile = matrix.tile(first + t).as_ptr();
                let ahead = Ahead::of(tile, matrix.tile_bytes(), 2, (panel, a.m));
                let job = QuantJob { tile, units: a.k / UNIT, panel, a, ahead };
                match panel.width {
                    8 => {
                        quant_rows::<F, VNNI, 1, 8>(&job, 0, out);
                        let job = QuantJob { ahead: job.ahead.next(), ..job };
                        quant_rows::<F, VNNI, 1, 8>(&job, 1, out);
                    }
                    4 => quant_rows::<F, VNNI, 2, 4>(&job, 0, out),
                    2 => quant_rows::<F, VNNI, 2, 2>(&job, 0, out),
                    _ => quant_rows::<F, VNNI, 2, 1>(&job, 0, out),
                }
            },
            float => {
                debug_assert!(first.is_multiple_of(FLOAT_TILES));
                let x = a.floats.as_ptr().add(panel.row * a.k);
                let job = FloatJob { tiles: matrix.tile(first).as_ptr(), x, k: a.k, first: panel.row == 0 };
                match float {
                    Float::F32 => float_panel::<4, false>(&job, panel.width, out),
                    Float::F16 => float_panel::<2, false>(&job, panel.width, out),
                    Float::BF16 => float_panel::<2, true>(&job, panel.width, out),
                }
            }
        );
    }
}

struct QuantJob<'a> {
    tile: *const u8,
    units: usize,
    panel: Panel,
    a: &'a Activations,
    ahead: Ahead,
}

/// `H` halves of the tile from half `first` on with a panel of `M` rows.
///
/// # Safety
/// As [`all_products`].
#[inline(always)]
unsafe fn quant_rows<F: Format, const VNNI: bool, const H: usize, const M: usize>(
    job: &QuantJob<'_>,
    first: usize,
    out: &mut Rows,
) {
    const { assert!(F::QUANT.low == 8 || F::QUANT.fours_in_16_bits() >= PAIR) };
    let q = F::QUANT;
    let planes = q.planes(job.units * UNIT);
    // SAFETY: no memory is read.
    let (ones, mut acc) = unsafe { (_mm256_set1_epi16(1), [[_mm256_setzero_ps(); M]; H]) };
    let ask = job.ahead.shared_by(job.units);
    for unit in 0..job.units {
        // SAFETY: the tile has `units` units in all its planes, the panel `M · UNIT` int8 values and
        // `M · FIELDS` fields for each unit; a prefetch may name any address.
        unsafe {
            ask.unit(unit);
            let x = job.a.quants.as_ptr().add(job.panel.row * job.units * UNIT + unit * UNIT * M).cast::<i32>();
            let meta = job.a.meta.as_ptr().add((job.panel.row * job.units + unit * M) * FIELDS);
            let low = job.tile.add(unit * q.low_bytes());
            let high = job.tile.add(planes.high + unit * q.high_bytes());
            let scales = job.tile.add(planes.scales + unit * q.scale_bytes());
            let supers = job.tile.add(planes.supers + unit / SUPER_UNITS * q.super_bytes());
            let fours = q.group / 4;
            let mut parts = [[_mm256_setzero_ps(); M]; H];
            for group in 0..UNIT / q.group {
                let sums = meta.add(M * if q.group == UNIT { NEGATIVE_SUM } else { NEGATIVE_SUM + 1 + group });
                let mut dots = [[_mm256_setzero_si256(); M]; H];
                let mut narrow = [[_mm256_setzero_si256(); M]; H];
                for four in (group * fours..(group + 1) * fours).step_by(PAIR) {
                    let mut w = [[_mm256_setzero_si256(); PAIR]; H];
                    for (h, pair) in w.iter_mut().enumerate() {
                        for (i, w) in pair.iter_mut().enumerate() {
                            *w = integers::<F>(low, high, four + i, first + h);
                        }
                    }
                    for r in 0..M {
                        let x0 = _mm256_set1_epi32(x.add(four * M + r).read_unaligned());
                        let x1 = _mm256_set1_epi32(x.add((four + 1) * M + r).read_unaligned());
                        for h in 0..H {
                            if VNNI {
                                dots[h][r] = _mm256_dpbusd_avx_epi32(dots[h][r], w[h][0], x0);
                                dots[h][r] = _mm256_dpbusd_avx_epi32(dots[h][r], w[h][1], x1);
                            } else if q.low == 8 {
                                let pair = _mm256_add_epi32(wide(w[h][0], x0), wide(w[h][1], x1));
                                dots[h][r] = _mm256_add_epi32(dots[h][r], pair);
                            } else {
                                let pair = _mm256_add_epi16(
                                    _mm256_maddubs_epi16(w[h][0], x0),
                                    _mm256_maddubs_epi16(w[h][1], x1),
                                );
                                narrow[h][r] = _mm256_add_epi16(narrow[h][r], pair);
                            }
                        }
                    }
                    if !VNNI && q.low < 8 && (four + PAIR).is_multiple_of(q.fours_in_16_bits()) {
                        for h in 0..H {
                            for r in 0..M {
                                dots[h][r] = _mm256_add_epi32(dots[h][r], _mm256_madd_epi16(narrow[h][r], ones));
                                narrow[h][r] = _mm256_setzero_si256();
                            }
                        }
                    }
                }
                for h in 0..H {
                    let (scale, min) = scale_min::<F>(scales, supers, group, (first + h) * HALF);
                    for r in 0..M {
                        let mut dots = dots[h][r];
                        // Eight bits are signed where the sign was moved, the others have an offset.
                        if let Some(bits) = q.offset_log2
                            && (VNNI || q.low < 8)
                        {
                            let offset = _mm256_set1_epi32(*sums.add(r) as i32);
                            dots = _mm256_add_epi32(dots, _mm256_sll_epi32(offset, _mm_cvtsi32_si128(bits as i32)));
                        }
                        let x_scale = _mm256_set1_ps(f32::from_bits(*meta.add(M * SCALE + r)));
                        let dots = _mm256_cvtepi32_ps(dots);
                        if q.group == UNIT {
                            acc[h][r] = _mm256_fmadd_ps(dots, _mm256_mul_ps(scale, x_scale), acc[h][r]);
                            if q.min {
                                let x_sum = _mm256_set1_ps(f32::from_bits(*meta.add(M * SCALED_SUM + r)));
                                acc[h][r] = _mm256_fmadd_ps(min, x_sum, acc[h][r]);
                            }
                            continue;
                        }
                        // The scale of the activations comes last, once for all groups.
                        let part = &mut parts[h][r];
                        *part =
                            if group == 0 { _mm256_mul_ps(dots, scale) } else { _mm256_fmadd_ps(dots, scale, *part) };
                        if q.min {
                            let sum = _mm256_set1_epi32(0i32.wrapping_sub(*sums.add(r) as i32));
                            *part = _mm256_fmadd_ps(min, _mm256_cvtepi32_ps(sum), *part);
                        }
                        if group + 1 == UNIT / q.group {
                            acc[h][r] = _mm256_fmadd_ps(*part, x_scale, acc[h][r]);
                        }
                    }
                }
            }
        }
    }
    for (h, rows) in acc.iter().enumerate() {
        for (acc, out) in rows.iter().zip(out.iter_mut()) {
            // SAFETY: a row of the output is two halves.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add((first + h) * HALF), *acc) }
        }
    }
}

/// Products of eight-bit weights, which have an offset of 128, with four columns, summed. The sign
/// goes to the activations, none of which is -128: pairs of products are then within 16 bits.
///
/// # Safety
/// AVX2 must be there.
#[inline(always)]
unsafe fn wide(w: __m256i, x: __m256i) -> __m256i {
    // SAFETY: passed on.
    unsafe {
        let w = _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }
}

/// Four `four` of half `half` in a unit as unsigned bytes.
///
/// # Safety
/// `low` and `high` must point to a unit's planes; AVX2 must be there.
#[inline(always)]
unsafe fn integers<F: Format>(low: *const u8, high: *const u8, four: usize, half: usize) -> __m256i {
    let q = F::QUANT;
    // SAFETY: passed on; a line is two halves of 32 bytes, and lines begin at multiples of 64.
    unsafe {
        let line =
            |plane: *const u8, per_line: usize| _mm256_load_si256(plane.add(four / per_line * 64 + half * 32).cast());
        let mask = |bits: usize, at: usize| _mm256_set1_epi8((((1u16 << bits) - 1) << at) as u8 as i8);
        // The count is known when this is compiled, which makes it part of the instruction.
        let right = |x: __m256i, bits: usize| _mm256_srl_epi16(x, _mm_cvtsi32_si128(bits as i32));
        let left = |x: __m256i, bits: usize| _mm256_sll_epi16(x, _mm_cvtsi32_si128(bits as i32));
        let per_line = 8 / q.low;
        let integers = right(line(low, per_line), four % per_line * q.low);
        if q.low == 8 {
            return integers;
        }
        let integers = _mm256_and_si256(integers, mask(q.low, 0));
        if q.high == 0 {
            return integers;
        }
        let per_line = 8 / q.high;
        let bits = line(high, per_line);
        let at = four % per_line * q.high;
        let moved = if at >= q.low { right(bits, at - q.low) } else { left(bits, q.low - at) };
        _mm256_or_si256(integers, _mm256_and_si256(moved, mask(q.high, q.low)))
    }
}

/// Scales and mins of the 8 rows from `lane` on in a group.
///
/// # Safety
/// The pointers must be to a unit's scales and those of its 256 columns; AVX2 and F16C must be there.
#[inline(always)]
unsafe fn scale_min<F: Format>(scales: *const u8, supers: *const u8, group: usize, lane: usize) -> (__m256, __m256) {
    let q = F::QUANT;
    // SAFETY: passed on; a unit has 16 factors for each group, then those of the mins.
    unsafe {
        let zero = _mm256_setzero_ps();
        let minus = _mm256_set1_ps(-0.0);
        let halves = |p: *const u8, field: usize| half(p.add((field * TILE + lane) * 2));
        let bytes = |at: usize| _mm_loadl_epi64(scales.add(at * TILE + lane).cast());
        let scaled = |field: usize, factors: __m256i| _mm256_mul_ps(halves(supers, field), _mm256_cvtepi32_ps(factors));
        match q.scales {
            Scales::Half => (halves(scales, 0), if q.min { halves(scales, 1) } else { zero }),
            Scales::Sub => {
                let scale = scaled(0, _mm256_cvtepi8_epi32(bytes(group)));
                if !q.min {
                    return (scale, zero);
                }
                let min = scaled(1, _mm256_cvtepi8_epi32(bytes(UNIT / q.group + group)));
                (scale, _mm256_xor_ps(min, minus))
            }
            Scales::Nibble => {
                let pairs = _mm256_cvtepu8_epi32(bytes(group));
                let scale = scaled(0, _mm256_and_si256(pairs, _mm256_set1_epi32(15)));
                (scale, _mm256_xor_ps(scaled(1, _mm256_srli_epi32::<4>(pairs)), minus))
            }
        }
    }
}

/// 8 halves as f32.
///
/// # Safety
/// 16 bytes must lie at `p`; F16C must be there.
#[inline(always)]
unsafe fn half(p: *const u8) -> __m256 {
    // SAFETY: passed on.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
}

/// Float weights of tiles that lie side by side, and the values of a panel at `x`. The `first` panel
/// asks for weights ahead.
struct FloatJob {
    tiles: *const u8,
    x: *const f32,
    k: usize,
    first: bool,
}

/// Weights of `SIZE` bytes with a panel of `width` rows.
///
/// # Safety
/// As [`all_products`].
#[inline(always)]
unsafe fn float_panel<const SIZE: usize, const BF16: bool>(job: &FloatJob, width: usize, out: &mut [Rows]) {
    // SAFETY: passed on.
    unsafe {
        match (width, out) {
            (1, [a, b]) => float_rows::<SIZE, BF16, 4, 1, 1>(job, 0, 0, &mut [a, b]),
            (2, [a, b]) => float_rows::<SIZE, BF16, 4, 2, 2>(job, 0, 0, &mut [a, b]),
            (1, [a, ..]) => float_rows::<SIZE, BF16, 2, 1, 1>(job, 0, 0, &mut [a]),
            (2, [a, ..]) => float_rows::<SIZE, BF16, 2, 2, 2>(job, 0, 0, &mut [a]),
            (width, out) => {
                for (t, out) in out.iter_mut().enumerate() {
                    if width == 4 {
                        float_rows::<SIZE, BF16, 2, 4, 4>(job, t * 2, 0, &mut [out]);
                    } else {
                        float_rows::<SIZE, BF16, 2, 8, 4>(job, t * 2, 0, &mut [out]);
                        float_rows::<SIZE, BF16, 2, 8, 4>(job, t * 2, 4, &mut [out]);
                    }
                }
            }
        }
    }
}

/// `H` halves from `first` on with rows `row .. row + M` of a panel of `P`.
///
/// # Safety
/// As [`all_products`]; `out` has the tiles of the halves.
#[inline(always)]
unsafe fn float_rows<const SIZE: usize, const BF16: bool, const H: usize, const P: usize, const M: usize>(
    job: &FloatJob,
    first: usize,
    row: usize,
    out: &mut [&mut Rows],
) {
    let line = TILE * SIZE * FLOAT_TILES;
    // SAFETY: the tiles have k columns of 8 values a half, the panel k columns of P; a prefetch may
    // name any address; `out` has a row of 16 floats for two halves.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); M]; H];
        for column in 0..job.k {
            let w = job.tiles.add(column * line);
            if job.first && first == 0 && row == 0 {
                for at in (0..line).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(FLOATS_AHEAD + at).cast());
                }
            }
            let x = job.x.add(column * P + row);
            for (h, rows) in acc.iter_mut().enumerate() {
                let w = float::<SIZE, BF16>(w.add((first + h) * HALF * SIZE));
                for (r, acc) in rows.iter_mut().enumerate() {
                    *acc = _mm256_fmadd_ps(w, _mm256_set1_ps(*x.add(r)), *acc);
                }
            }
        }
        for (h, rows) in acc.iter().enumerate() {
            for (r, acc) in rows.iter().enumerate() {
                _mm256_storeu_ps(out[h / 2][row + r].as_mut_ptr().add(h % 2 * HALF), *acc);
            }
        }
    }
}

/// 8 floats of `SIZE` bytes as f32.
///
/// # Safety
/// They must lie at `p`; AVX2 and F16C must be there.
#[inline(always)]
unsafe fn float<const SIZE: usize, const BF16: bool>(p: *const u8) -> __m256 {
    // SAFETY: passed on.
    unsafe {
        if SIZE == 4 {
            _mm256_loadu_ps(p.cast())
        } else if BF16 {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()))))
        } else {
            half(p)
        }
    }
}
