//! The matrix product with NEON: a line of weights is four quarters of 4 rows × 4 columns. One `sdot`
//! multiplies a quarter with four columns of one row of activations, which it picks out of a register
//! that holds those of four rows. Processors without it multiply to 16-bit integers, which narrow
//! weights leave room for several fours of columns, and add pairs of these.

use std::arch::aarch64::*;

use super::activations::{Activations, FIELDS, NEGATIVE_SUM, PANEL, Panel, SCALE, SCALED_SUM};
use super::ahead::Ahead;
use super::dot_neon::{Narrow, dot};
use super::lanes_neon::widen_halves;
use super::packed::{FLOAT_TILES, Format, Matrix, SUPER_UNITS, Scales, TILE, UNIT, with_format};
use super::prefetch;

/// How far ahead of their use float weights are asked for, in bytes.
const FLOATS_AHEAD: usize = 8 << 10;

/// Rows of a quarter of a tile: the lanes of a 128-bit vector of f32.
const QUARTER: usize = TILE / 4;

/// Products of a tile with the rows of a panel: `[row][lane]`.
type Rows = [[f32; TILE]; PANEL];

/// Calls an intrinsic for a lane that is a number only once the loop around it is unrolled.
macro_rules! with_lane {
    ($lane:expr, $f:ident($($argument:expr),*)) => {
        match $lane {
            0 => $f::<0>($($argument),*),
            1 => $f::<1>($($argument),*),
            2 => $f::<2>($($argument),*),
            _ => $f::<3>($($argument),*),
        }
    };
}

/// Products of the tiles from `first` on, an even one, with the rows of a panel: row r, tile t, lane
/// l goes to `out[t][r][l]`.
///
/// # Safety
/// `a` must have `matrix.k` columns in the form that the matrix wants, the panel must be one of its
/// own, and `out` must have one or two of the matrix's tiles.
#[target_feature(enable = "neon")]
pub unsafe fn products(matrix: &Matrix, first: usize, a: &Activations, panel: Panel, out: &mut [Rows]) {
    // SAFETY: passed on.
    unsafe { all_products::<false>(matrix, first, a, panel, out) }
}

/// As [`products`], with `sdot`.
///
/// # Safety
/// As [`products`]; the processor must have the dot products of Armv8.2.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn products_dot(matrix: &Matrix, first: usize, a: &Activations, panel: Panel, out: &mut [Rows]) {
    // SAFETY: passed on.
    unsafe { all_products::<true>(matrix, first, a, panel, out) }
}

// What follows is inlined into either of the two, and gets its instructions from there.

/// # Safety
/// As [`products`], and as [`products_dot`] with `DOT`.
#[inline(always)]
unsafe fn all_products<const DOT: bool>(
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
                let ahead = Ahead::of(tile, matrix.tile_bytes(), 1, (panel, a.m));
                let job = QuantJob { tile, units: a.k / UNIT, panel, a, ahead };
                // As many quarters and rows at once as registers hold sums, of which those without
                // `sdot` need three for one.
                match (panel.width, DOT) {
                    (8, true) => quant_tile::<F, DOT, 1, 8, 8>(&job, out),
                    (8, false) => quant_tile::<F, DOT, 1, 8, 4>(&job, out),
                    (4, true) => quant_tile::<F, DOT, 2, 4, 4>(&job, out),
                    (4, false) => quant_tile::<F, DOT, 1, 4, 4>(&job, out),
                    (2, true) => quant_tile::<F, DOT, 4, 2, 2>(&job, out),
                    (2, false) => quant_tile::<F, DOT, 2, 2, 2>(&job, out),
                    _ => quant_tile::<F, DOT, 4, 1, 1>(&job, out),
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

/// A tile with a panel of `P` rows, `Q` quarters and `M` rows at a time.
///
/// # Safety
/// As [`all_products`].
#[inline(always)]
unsafe fn quant_tile<F: Format, const DOT: bool, const Q: usize, const P: usize, const M: usize>(
    job: &QuantJob<'_>,
    out: &mut Rows,
) {
    for quarter in (0..TILE / QUARTER).step_by(Q) {
        for row in (0..P).step_by(M) {
            // SAFETY: passed on.
            unsafe { quant_rows::<F, DOT, Q, P, M>(job, quarter, row, out) }
        }
    }
}

/// `Q` quarters of the tile from quarter `first` on with rows `row .. row + M` of a panel of `P`.
///
/// # Safety
/// As [`all_products`].
#[inline(always)]
unsafe fn quant_rows<F: Format, const DOT: bool, const Q: usize, const P: usize, const M: usize>(
    job: &QuantJob<'_>,
    first: usize,
    row: usize,
    out: &mut Rows,
) {
    const { assert!(M <= P && P <= PANEL) };
    let q = F::QUANT;
    let planes = q.planes(job.units * UNIT);
    let fours = q.group / 4;
    // SAFETY: no memory is read.
    let mut acc = unsafe { [[vdupq_n_f32(0.0); M]; Q] };
    let ask = if first == 0 && row == 0 { job.ahead } else { Ahead::NOTHING }.shared_by(job.units);
    for unit in 0..job.units {
        // SAFETY: the tile has `units` units in all its planes, the panel `P · UNIT` int8 values and
        // `P · FIELDS` fields for each unit.
        unsafe {
            ask.unit(unit);
            let x = job.a.quants.as_ptr().add((job.panel.row * job.units + unit * P) * UNIT).cast::<i32>().add(row);
            let meta = job.a.meta.as_ptr().add((job.panel.row * job.units + unit * P) * FIELDS).add(row);
            let low = job.tile.add(unit * q.low_bytes());
            let high = job.tile.add(planes.high + unit * q.high_bytes());
            let scales = job.tile.add(planes.scales + unit * q.scale_bytes());
            let supers = job.tile.add(planes.supers + unit / SUPER_UNITS * q.super_bytes());
            let mut parts = [[vdupq_n_f32(0.0); M]; Q];
            for group in 0..UNIT / q.group {
                let sums = meta.add(P * if q.group == UNIT { NEGATIVE_SUM } else { NEGATIVE_SUM + 1 + group });
                let sums = four_lanes::<M>(sums.cast());
                let mut dots = [start::<F, M>(sums); Q];
                let mut narrow = [[Narrow::zero(); M]; Q];
                // In fours of fours, so that shifts and masks are known without unrolling everything.
                for block in 0..fours / 4 {
                    for within in 0..4 {
                        let four = group * fours + block * 4 + within;
                        let x = four_lanes::<M>(x.add(four * P));
                        for at in 0..Q {
                            let w = integers::<F>(low, high, four, first + at);
                            for r in 0..M {
                                let x = x[r / 4];
                                if DOT {
                                    dots[at][r] = with_lane!(r % 4, dot(dots[at][r], w, x));
                                } else {
                                    narrow[at][r].add(w, with_lane!(r % 4, vdupq_laneq_s32(x)));
                                }
                            }
                        }
                        if !DOT && (four + 1).is_multiple_of(q.fours_in_16_bits()) {
                            for (dots, narrow) in dots.iter_mut().zip(&mut narrow) {
                                for (dot, narrow) in dots.iter_mut().zip(narrow) {
                                    *dot = narrow.widen(*dot);
                                }
                            }
                        }
                    }
                }
                let x_scales = four_lanes::<M>(meta.add(P * SCALE).cast());
                let x_sums = if q.group == UNIT {
                    four_lanes::<M>(meta.add(P * SCALED_SUM).cast()).map(|bits| vreinterpretq_f32_s32(bits))
                } else {
                    std::array::from_fn(
                        #[inline(always)]
                        |i| vcvtq_f32_s32(vnegq_s32(sums[i])),
                    )
                };
                for at in 0..Q {
                    let (scale, min) = scale_min::<F>(scales, supers, group, (first + at) * QUARTER);
                    for r in 0..M {
                        let x_scale = vreinterpretq_f32_s32(x_scales[r / 4]);
                        let dots = vcvtq_f32_s32(dots[at][r]);
                        if q.group == UNIT {
                            let factor = with_lane!(r % 4, vmulq_laneq_f32(scale, x_scale));
                            acc[at][r] = vfmaq_f32(acc[at][r], dots, factor);
                            if q.min {
                                acc[at][r] = with_lane!(r % 4, vfmaq_laneq_f32(acc[at][r], min, x_sums[r / 4]));
                            }
                            continue;
                        }
                        // The scale of the activations comes last, once for all groups.
                        let part = &mut parts[at][r];
                        *part = if group == 0 { vmulq_f32(dots, scale) } else { vfmaq_f32(*part, dots, scale) };
                        if q.min {
                            *part = with_lane!(r % 4, vfmaq_laneq_f32(*part, min, x_sums[r / 4]));
                        }
                        if group + 1 == UNIT / q.group {
                            acc[at][r] = with_lane!(r % 4, vfmaq_laneq_f32(acc[at][r], *part, x_scale));
                        }
                    }
                }
            }
        }
    }
    for (at, rows) in acc.iter().enumerate() {
        for (acc, out) in rows.iter().zip(&mut out[row..]) {
            // SAFETY: a row of the output is four quarters.
            unsafe { vst1q_f32(out.as_mut_ptr().add((first + at) * QUARTER), *acc) }
        }
    }
}

/// What the sums of the products of four rows with a group begin with: weights with an offset are
/// multiplied as they are stored, so it is taken back here. Eight bits become signed instead.
///
/// # Safety
/// NEON must be there.
#[inline(always)]
unsafe fn start<F: Format, const M: usize>(negative_sums: [int32x4_t; 2]) -> [int32x4_t; M] {
    // SAFETY: passed on.
    unsafe {
        let mut dots = [vdupq_n_s32(0); M];
        if let (Some(bits), true) = (F::QUANT.offset_log2, F::QUANT.low < 8) {
            let offset = vdupq_n_s32(1 << bits);
            for (r, dot) in dots.iter_mut().enumerate() {
                *dot = with_lane!(r % 4, vmulq_laneq_s32(offset, negative_sums[r / 4]));
            }
        }
        dots
    }
}

/// `M` values of 32 bits: four a register, or one or two that are repeated.
///
/// # Safety
/// They must lie at `p`; NEON must be there.
#[inline(always)]
unsafe fn four_lanes<const M: usize>(p: *const i32) -> [int32x4_t; 2] {
    // SAFETY: passed on.
    unsafe {
        match M {
            8 => [vld1q_s32(p), vld1q_s32(p.add(4))],
            4 => [vld1q_s32(p); 2],
            2 => [vreinterpretq_s32_s64(vld1q_dup_s64(p.cast())); 2],
            _ => [vld1q_dup_s32(p); 2],
        }
    }
}

/// Four `four` of quarter `quarter` in a unit as bytes, of which those of the formats with eight bits
/// are signed by moving their offset of 128.
///
/// # Safety
/// `low` and `high` must point to a unit's planes; NEON must be there.
#[inline(always)]
unsafe fn integers<F: Format>(low: *const u8, high: *const u8, four: usize, quarter: usize) -> int8x16_t {
    let q = F::QUANT;
    // SAFETY: passed on; a line is four quarters of 16 bytes.
    unsafe {
        let line = |plane: *const u8, per_line: usize| vld1q_u8(plane.add(four / per_line * 64 + quarter * 16));
        // Bits of each byte to the left, or to the right where the number is negative. It is known
        // when this is compiled, which makes it part of the instruction.
        let shift = |x: uint8x16_t, bits: usize, less: usize| vshlq_u8(x, vdupq_n_s8(bits as i8 - less as i8));
        let mask = |bits: usize, at: usize| vdupq_n_u8((((1u16 << bits) - 1) << at) as u8);
        let per_line = 8 / q.low;
        let integers = line(low, per_line);
        if q.low == 8 {
            return vreinterpretq_s8_u8(veorq_u8(integers, vdupq_n_u8(0x80)));
        }
        let mut integers = vandq_u8(shift(integers, 0, four % per_line * q.low), mask(q.low, 0));
        if let Some(per_line) = 8usize.checked_div(q.high) {
            let moved = shift(line(high, per_line), q.low, four % per_line * q.high);
            integers = vorrq_u8(integers, vandq_u8(moved, mask(q.high, q.low)));
        }
        vreinterpretq_s8_u8(integers)
    }
}

/// Scales and mins of the 4 rows from `lane` on in a group.
///
/// # Safety
/// The pointers must be to a unit's scales and those of its 256 columns; NEON must be there.
#[inline(always)]
unsafe fn scale_min<F: Format>(
    scales: *const u8,
    supers: *const u8,
    group: usize,
    lane: usize,
) -> (float32x4_t, float32x4_t) {
    let q = F::QUANT;
    // SAFETY: passed on; a unit has 16 factors for each group, then those of the mins.
    unsafe {
        let zero = vdupq_n_f32(0.0);
        let halves = |p: *const u8, field: usize| widen_halves(p.add((field * TILE + lane) * 2));
        let bytes = |at: usize| vcreate_u8(u64::from(scales.add(at * TILE + lane).cast::<u32>().read_unaligned()));
        let scaled = |field: usize, factors: int8x8_t| {
            let factors = vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(factors))));
            vmulq_f32(halves(supers, field), factors)
        };
        match q.scales {
            Scales::Half => (halves(scales, 0), if q.min { halves(scales, 1) } else { zero }),
            Scales::Sub => {
                let scale = scaled(0, vreinterpret_s8_u8(bytes(group)));
                if !q.min {
                    return (scale, zero);
                }
                (scale, vnegq_f32(scaled(1, vreinterpret_s8_u8(bytes(UNIT / q.group + group)))))
            }
            Scales::Nibble => {
                let pairs = bytes(group);
                let scale = scaled(0, vreinterpret_s8_u8(vand_u8(pairs, vdup_n_u8(15))));
                (scale, vnegq_f32(scaled(1, vreinterpret_s8_u8(vshr_n_u8::<4>(pairs)))))
            }
        }
    }
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
            (1, [a, b]) => float_rows::<SIZE, BF16, 8, 1>(job, 0, &mut [a, b]),
            (2, [a, b]) => float_rows::<SIZE, BF16, 8, 2>(job, 0, &mut [a, b]),
            (1, [a, ..]) => float_rows::<SIZE, BF16, 4, 1>(job, 0, &mut [a]),
            (2, [a, ..]) => float_rows::<SIZE, BF16, 4, 2>(job, 0, &mut [a]),
            (width, out) => {
                for (t, out) in out.iter_mut().enumerate() {
                    if width == 4 {
                        float_rows::<SIZE, BF16, 4, 4>(job, t * 4, &mut [out]);
                    } else {
                        float_rows::<SIZE, BF16, 2, 8>(job, t * 4, &mut [out]);
                        float_rows::<SIZE, BF16, 2, 8>(job, t * 4 + 2, &mut [out]);
                    }
                }
            }
        }
    }
}

/// `Q` quarters from `first` on, counted over both tiles, with a panel of `M` rows.
///
/// # Safety
/// As [`all_products`]; `out` has the tiles of the quarters.
#[inline(always)]
unsafe fn float_rows<const SIZE: usize, const BF16: bool, const Q: usize, const M: usize>(
    job: &FloatJob,
    first: usize,
    out: &mut [&mut Rows],
) {
    let line = TILE * SIZE * FLOAT_TILES;
    // SAFETY: the tiles have k columns of 4 values a quarter, the panel k columns of M; `out` has a row
    // of 16 floats for four quarters.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); M]; Q];
        for column in 0..job.k {
            let w = job.tiles.add(column * line);
            if job.first && first == 0 {
                for at in (0..line).step_by(64) {
                    prefetch::near(w.wrapping_add(FLOATS_AHEAD + at));
                }
            }
            let x = four_lanes::<M>(job.x.add(column * M).cast());
            for (at, rows) in acc.iter_mut().enumerate() {
                let w = float::<SIZE, BF16>(w.add((first + at) * QUARTER * SIZE));
                for (r, acc) in rows.iter_mut().enumerate() {
                    *acc = with_lane!(r % 4, vfmaq_laneq_f32(*acc, w, vreinterpretq_f32_s32(x[r / 4])));
                }
            }
        }
        for (at, rows) in acc.iter().enumerate() {
            for (r, acc) in rows.iter().enumerate() {
                vst1q_f32(out[at / 4][r].as_mut_ptr().add((first + at) % 4 * QUARTER), *acc);
            }
        }
    }
}

/// 4 floats of `SIZE` bytes as f32.
///
/// # Safety
/// They must lie at `p`; NEON must be there.
#[inline(always)]
unsafe fn float<const SIZE: usize, const BF16: bool>(p: *const u8) -> float32x4_t {
    // SAFETY: passed on.
    unsafe {
        if SIZE == 4 {
            vreinterpretq_f32_u8(vld1q_u8(p))
        } else if BF16 {
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(vld1_u8(p))))
        } else {
            widen_halves(p)
        }
    }
}
