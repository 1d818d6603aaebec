//! The matrix product in plain Rust: slow, portable, and the oracle of the vector versions.
//!
//! Both functions are inlined, so that the AVX2 version is this code compiled for AVX2.

use super::activations::{Activations, GROUP};
use super::packed::{Float, Quant, TILE, half_at};

/// Products of one tile with row `row`, for integers.
#[inline(always)]
pub fn quant_row(q: Quant, tile: &[u8], a: &Activations, row: usize) -> [f32; TILE] {
    let mut acc = [0.0f32; TILE];
    for (g, bytes) in tile.chunks_exact(q.group_bytes()).enumerate() {
        let column = g * q.group;
        let x = &a.quants[row * a.k + column..][..q.group];
        let scale = a.scales[row * (a.k / GROUP) + column / GROUP];
        let sums = &a.sums[row * (a.k / 16) + column / 16..][..q.group / 16];
        let sum: i32 = sums.iter().sum();
        let mut dots = [-q.offset * sum; TILE];
        for (four, x) in x.chunks_exact(4).enumerate() {
            let line = if q.bits == 8 { &bytes[four * 64..] } else { &bytes[four / 2 * 64..] };
            let shift = if q.bits == 8 { 0 } else { four % 2 * 4 };
            let mask = if q.bits == 8 { 255 } else { 15 };
            for (lane, dot) in dots.iter_mut().enumerate() {
                for (within, x) in x.iter().enumerate() {
                    *dot += i32::from(line[lane * 4 + within] >> shift & mask) * i32::from(*x);
                }
            }
        }
        let scales = &bytes[q.plane_bytes()..];
        for lane in 0..TILE {
            acc[lane] += dots[lane] as f32 * (read(q.half, scales, lane) * scale);
            if q.min {
                acc[lane] += read(q.half, &scales[q.scale_bytes()..], lane) * (scale * sum as f32);
            }
        }
    }
    acc
}

/// Products of one tile with row `row`, for floats: four partial sums by column, added pairwise.
#[inline(always)]
pub fn float_row(float: Float, tile: &[u8], a: &Activations, row: usize) -> [f32; TILE] {
    let mut parts = [[0.0f32; TILE]; 4];
    for (column, x) in a.values[row * a.k..][..a.k].iter().enumerate() {
        let part = &mut parts[column % 4];
        for (lane, sum) in part.iter_mut().enumerate() {
            let weight = match float {
                Float::F32 => read(false, tile, column * TILE + lane),
                _ => half_at(float, tile, column * TILE + lane),
            };
            *sum += weight * x;
        }
    }
    std::array::from_fn(|lane| (parts[0][lane] + parts[1][lane]) + (parts[2][lane] + parts[3][lane]))
}

#[inline(always)]
fn read(half: bool, bytes: &[u8], index: usize) -> f32 {
    if half {
        half_at(Float::F16, bytes, index)
    } else {
        let at = index * 4;
        f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }
}
