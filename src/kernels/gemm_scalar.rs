//! The matrix product in plain Rust: slow, portable, and the oracle of the vector versions.

use super::activations::{Activations, FIELDS, NEGATIVE_SUM, PANEL, Panel, SCALE, SCALED_SUM};
use super::packed::{FLOAT_TILES, Float, Layout, Matrix, Quant, SUPER_UNITS, Scales, TILE, UNIT, half_at};

/// Products of one tile with the rows of a panel: row r, lane l goes to `out[r][l]`.
#[inline(always)]
pub fn products(matrix: &Matrix, tile: usize, a: &Activations, panel: Panel, out: &mut [[f32; TILE]; PANEL]) {
    let bytes = matrix.tile(tile);
    for (at, out) in out.iter_mut().take(panel.width).enumerate() {
        *out = match matrix.layout {
            Layout::Quant(q) => quant_row(q, bytes, a, panel, at),
            Layout::Float(float) => float_row(float, bytes, a, panel, at),
        };
    }
}

#[inline(always)]
fn quant_row(q: Quant, tile: &[u8], a: &Activations, panel: Panel, at: usize) -> [f32; TILE] {
    let mut acc = [0.0f32; TILE];
    let width = panel.width;
    let groups = UNIT / q.group;
    for index in 0..a.k / UNIT {
        let unit = Unit::new(q, tile, a.k, index);
        let x = &a.quants[panel.row * a.k + index * UNIT * width..][..UNIT * width];
        let meta = &a.meta[(panel.row * (a.k / UNIT) + index * width) * FIELDS..][..FIELDS * width];
        let field = |index: usize| meta[index * width + at];
        let x_scale = f32::from_bits(field(SCALE));
        let mut parts = [0.0f32; TILE];
        for group in 0..groups {
            let negative_sum = field(if groups == 1 { NEGATIVE_SUM } else { NEGATIVE_SUM + 1 + group }) as i32;
            let mut dots = [q.offset_log2.map_or(0, |bits| negative_sum << bits); TILE];
            for four in group * q.group / 4..(group + 1) * q.group / 4 {
                let x = &x[(four * width + at) * 4..][..4];
                for (lane, dot) in dots.iter_mut().enumerate() {
                    for (within, x) in x.iter().enumerate() {
                        *dot += unit.integer(four, lane * 4 + within) * i32::from(*x);
                    }
                }
            }
            for (lane, acc) in acc.iter_mut().enumerate() {
                let (dot, scale) = (dots[lane] as f32, unit.scale(group, lane));
                if groups == 1 {
                    *acc = dot.mul_add(scale * x_scale, *acc);
                    if q.min {
                        *acc = unit.min(group, lane).mul_add(f32::from_bits(field(SCALED_SUM)), *acc);
                    }
                } else {
                    // The scale of the activations comes last, once for all groups.
                    let part = &mut parts[lane];
                    *part = if group == 0 { dot * scale } else { dot.mul_add(scale, *part) };
                    if q.min {
                        *part = unit.min(group, lane).mul_add((-negative_sum) as f32, *part);
                    }
                    if group + 1 == groups {
                        *acc = part.mul_add(x_scale, *acc);
                    }
                }
            }
        }
    }
    acc
}

/// The planes of 32 columns of a tile.
struct Unit<'a> {
    q: Quant,
    low: &'a [u8],
    high: &'a [u8],
    scales: &'a [u8],
    supers: &'a [u8],
}

impl<'a> Unit<'a> {
    #[inline(always)]
    fn new(q: Quant, tile: &'a [u8], k: usize, index: usize) -> Self {
        let planes = q.planes(k);
        Self {
            q,
            low: &tile[index * q.low_bytes()..][..q.low_bytes()],
            high: &tile[planes.high + index * q.high_bytes()..][..q.high_bytes()],
            scales: &tile[planes.scales + index * q.scale_bytes()..][..q.scale_bytes()],
            supers: &tile[planes.supers + index / SUPER_UNITS * q.super_bytes()..][..q.super_bytes()],
        }
    }

    /// The integer of byte `byte` of four `four`.
    #[inline(always)]
    fn integer(&self, four: usize, byte: usize) -> i32 {
        let bits = |plane: &[u8], bits: usize| {
            let per_line = 8 / bits;
            i32::from(plane[four / per_line * 64 + byte] >> (four % per_line * bits)) & ((1 << bits) - 1)
        };
        let low = bits(self.low, self.q.low);
        if self.q.high == 0 { low } else { low | bits(self.high, self.q.high) << self.q.low }
    }

    #[inline(always)]
    fn scale(&self, group: usize, lane: usize) -> f32 {
        let at = group * TILE + lane;
        match self.q.scales {
            Scales::Half => half_at(Float::F16, self.scales, lane),
            Scales::Sub => half_at(Float::F16, self.supers, lane) * f32::from(self.scales[at] as i8),
            Scales::Nibble => half_at(Float::F16, self.supers, lane) * f32::from(self.scales[at] & 15),
        }
    }

    #[inline(always)]
    fn min(&self, group: usize, lane: usize) -> f32 {
        let at = group * TILE + lane;
        match self.q.scales {
            Scales::Half => half_at(Float::F16, self.scales, TILE + lane),
            Scales::Sub => {
                let factor = self.scales[UNIT / self.q.group * TILE + at] as i8;
                -(half_at(Float::F16, self.supers, TILE + lane) * f32::from(factor))
            }
            Scales::Nibble => -(half_at(Float::F16, self.supers, TILE + lane) * f32::from(self.scales[at] >> 4)),
        }
    }
}

#[inline(always)]
fn float_row(float: Float, tile: &[u8], a: &Activations, panel: Panel, at: usize) -> [f32; TILE] {
    let mut acc = [0.0f32; TILE];
    let x = &a.floats[panel.row * a.k..][..panel.width * a.k];
    for (column, x) in x.chunks_exact(panel.width).enumerate() {
        for (lane, acc) in acc.iter_mut().enumerate() {
            let index = column * TILE * FLOAT_TILES + lane;
            let weight = match float {
                Float::F32 => {
                    let at = index * 4;
                    f32::from_le_bytes([tile[at], tile[at + 1], tile[at + 2], tile[at + 3]])
                }
                _ => half_at(float, tile, index),
            };
            *acc = weight.mul_add(x[at], *acc);
        }
    }
    acc
}
