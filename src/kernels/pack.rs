//! From the blocks of a GGUF file to the planes of a packed tile.

use super::packed::{FLOAT_TILES, Layout, Planes, Quant, SUPER_UNITS, Scales, TILE, UNIT};
use crate::gguf::{GgmlType, k4_scale_min, q3k_scales};

/// Elements of a block of the K formats.
const BLOCK: usize = UNIT * SUPER_UNITS;

/// Packs the rows of a tile, or of [`FLOAT_TILES`] tiles of floats, of `k` values, given as the file
/// stores them, into `out`, which is zero.
pub fn pack_tiles(ty: GgmlType, layout: Layout, k: usize, rows: &[u8], out: &mut [u8]) {
    let row_bytes = k / ty.block_size() * ty.block_bytes();
    for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
        match layout {
            Layout::Float(_) => pack_floats(ty.block_bytes(), row, lane, out),
            Layout::Quant(q) => pack_quants(ty, q, q.planes(k), row, lane, out),
        }
    }
}

fn pack_floats(size: usize, row: &[u8], lane: usize, out: &mut [u8]) {
    for (column, value) in row.chunks_exact(size).enumerate() {
        out[(column * TILE * FLOAT_TILES + lane) * size..][..size].copy_from_slice(value);
    }
}

/// A block of the file: its integers, and its scales as the file has them.
struct Block {
    /// 32 of them in the old formats, 256 in the K formats.
    values: [u8; BLOCK],
    /// f16 scale and min of the block.
    scale: [u8; 2],
    min: [u8; 2],
    /// Factors of each group, in the K formats.
    factors: [u8; 16],
    min_factors: [u8; 16],
}

fn pack_quants(ty: GgmlType, q: Quant, planes: Planes, row: &[u8], lane: usize, out: &mut [u8]) {
    let units = ty.block_size() / UNIT;
    for (index, bytes) in row.chunks_exact(ty.block_bytes()).enumerate() {
        let block = read_block(ty, bytes);
        for unit in 0..units {
            let at = index * units + unit;
            let values = &block.values[unit * UNIT..][..UNIT];
            let low = values.iter().map(|value| value & ((1u16 << q.low) - 1) as u8);
            put_bits(q.low, low, lane, &mut out[at * q.low_bytes()..][..q.low_bytes()]);
            if q.high > 0 {
                let high = values.iter().map(|value| value >> q.low);
                put_bits(q.high, high, lane, &mut out[planes.high + at * q.high_bytes()..][..q.high_bytes()]);
            }
            put_scales(q, &block, unit, lane, &mut out[planes.scales + at * q.scale_bytes()..][..q.scale_bytes()]);
        }
        if q.scales != Scales::Half {
            let out = &mut out[planes.supers + index * q.super_bytes()..][..q.super_bytes()];
            put_halves(q, &block, lane, out);
        }
    }
}

/// Writes the values of one row to a plane of `bits`.
fn put_bits(bits: usize, values: impl Iterator<Item = u8>, lane: usize, plane: &mut [u8]) {
    let per_line = 8 / bits;
    for (column, value) in values.enumerate() {
        let (four, within) = (column / 4, column % 4);
        plane[four / per_line * 64 + lane * 4 + within] |= value << (four % per_line * bits);
    }
}

fn put_scales(q: Quant, block: &Block, unit: usize, lane: usize, out: &mut [u8]) {
    let groups = UNIT / q.group;
    match q.scales {
        Scales::Half => put_halves(q, block, lane, out),
        Scales::Sub => {
            for group in 0..groups {
                out[group * TILE + lane] = block.factors[unit * groups + group];
                if q.min {
                    out[(groups + group) * TILE + lane] = block.min_factors[unit * groups + group];
                }
            }
        }
        Scales::Nibble => {
            for group in 0..groups {
                let at = unit * groups + group;
                out[group * TILE + lane] = block.factors[at] | block.min_factors[at] << 4;
            }
        }
    }
}

fn put_halves(q: Quant, block: &Block, lane: usize, out: &mut [u8]) {
    out[lane * 2..][..2].copy_from_slice(&block.scale);
    if q.min {
        out[(TILE + lane) * 2..][..2].copy_from_slice(&block.min);
    }
}

fn read_block(ty: GgmlType, b: &[u8]) -> Block {
    let mut block =
        Block { values: [0; BLOCK], scale: [b[0], b[1]], min: [b[2], b[3]], factors: [0; 16], min_factors: [0; 16] };
    let values = &mut block.values;
    match ty {
        GgmlType::Q4_0 => nibbles(&b[2..18], values),
        GgmlType::Q4_1 => nibbles(&b[4..20], values),
        GgmlType::Q5_0 => five_bits(&b[2..6], &b[6..22], values),
        GgmlType::Q5_1 => five_bits(&b[4..8], &b[8..24], values),
        GgmlType::Q8_0 => values.iter_mut().zip(&b[2..34]).for_each(|(value, q)| *value = q ^ 0x80),
        GgmlType::Q2K => {
            two_bits(&b[16..80], values);
            (block.scale, block.min) = ([b[80], b[81]], [b[82], b[83]]);
            block.factors = std::array::from_fn(|j| b[j] & 15);
            block.min_factors = std::array::from_fn(|j| b[j] >> 4);
        }
        GgmlType::Q3K => {
            two_bits(&b[32..96], values);
            values.iter_mut().enumerate().for_each(|(i, value)| *value |= (b[i % 32] >> (i / 32) & 1) << 2);
            block.scale = [b[108], b[109]];
            block.factors = q3k_scales(&b[96..108]).map(|scale| scale as u8);
        }
        GgmlType::Q4K | GgmlType::Q5K => {
            let (high, low) = if ty == GgmlType::Q5K { (Some(&b[16..48]), &b[48..176]) } else { (None, &b[16..144]) };
            for (i, value) in values.iter_mut().enumerate() {
                let (j, l) = (i / UNIT, i % UNIT);
                let bit = high.map_or(0, |plane| plane[l] >> j & 1);
                *value = low[j / 2 * UNIT + l] >> (j % 2 * 4) & 15 | bit << 4;
            }
            for j in 0..SUPER_UNITS {
                (block.factors[j], block.min_factors[j]) = k4_scale_min(&b[4..16], j);
            }
        }
        GgmlType::Q6K => {
            for (i, value) in values.iter_mut().enumerate() {
                let (half, at) = (i / 128, i % 128);
                let nibble = b[half * 64 + at % 64] >> (at / 64 * 4) & 15;
                *value = nibble | (b[128 + half * 32 + at % 32] >> (at / 32 * 2) & 3) << 4;
            }
            block.scale = [b[208], b[209]];
            block.factors.copy_from_slice(&b[192..208]);
        }
        GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => unreachable!("floats have their own layout"),
    }
    block
}

fn nibbles(bytes: &[u8], values: &mut [u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        (values[i], values[i + 16]) = (byte & 15, byte >> 4);
    }
}

fn five_bits(high: &[u8], bytes: &[u8], values: &mut [u8]) {
    nibbles(bytes, values);
    values[..UNIT].iter_mut().enumerate().for_each(|(i, value)| *value |= (high[i / 8] >> (i % 8) & 1) << 4);
}

fn two_bits(bytes: &[u8], values: &mut [u8]) {
    values.iter_mut().enumerate().for_each(|(i, v)| *v = bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3);
}
