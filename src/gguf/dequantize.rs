//! Reference decoding of every tensor type to f32: plain loops over the block formats of ggml
//! (`ggml-common.h` describes their fields), used for rows that are looked up, for packing and as
//! the oracle of the kernels.

use half::{bf16, f16};

use super::GgmlType;

/// Decodes `bytes` (whole blocks) into `out`, which has as many elements as they hold.
pub fn dequantize_row(ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    debug_assert_eq!(out.len() / ty.block_size() * ty.block_bytes(), bytes.len());
    let blocks = bytes.chunks_exact(ty.block_bytes()).zip(out.chunks_exact_mut(ty.block_size()));
    match ty {
        GgmlType::F32 => blocks.for_each(|(b, y)| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        GgmlType::F16 => blocks.for_each(|(b, y)| y[0] = half(b, 0)),
        GgmlType::BF16 => blocks.for_each(|(b, y)| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        GgmlType::Q4_0 => blocks.for_each(|(b, y)| q4(half(b, 0), -8.0 * half(b, 0), &b[2..18], y)),
        GgmlType::Q4_1 => blocks.for_each(|(b, y)| q4(half(b, 0), half(b, 2), &b[4..20], y)),
        GgmlType::Q5_0 => blocks.for_each(|(b, y)| q5(half(b, 0), -16.0 * half(b, 0), &b[2..6], &b[6..22], y)),
        GgmlType::Q5_1 => blocks.for_each(|(b, y)| q5(half(b, 0), half(b, 2), &b[4..8], &b[8..24], y)),
        GgmlType::Q8_0 => blocks.for_each(|(b, y)| {
            let d = half(b, 0);
            y.iter_mut().zip(&b[2..]).for_each(|(y, q)| *y = d * f32::from(*q as i8));
        }),
        GgmlType::Q2K => blocks.for_each(|(b, y)| q2k(b, y)),
        GgmlType::Q3K => blocks.for_each(|(b, y)| q3k(b, y)),
        GgmlType::Q4K => blocks.for_each(|(b, y)| q45k(b, None, &b[16..144], y)),
        GgmlType::Q5K => blocks.for_each(|(b, y)| q45k(b, Some(&b[16..48]), &b[48..176], y)),
        GgmlType::Q6K => blocks.for_each(|(b, y)| q6k(b, y)),
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Low nibbles are the first half of the block, high nibbles the second.
fn q4(d: f32, m: f32, nibbles: &[u8], y: &mut [f32]) {
    for (i, byte) in nibbles.iter().enumerate() {
        y[i] = f32::from(byte & 15) * d + m;
        y[i + 16] = f32::from(byte >> 4) * d + m;
    }
}

/// As [`q4`], with a fifth bit for each element.
fn q5(d: f32, m: f32, high: &[u8], nibbles: &[u8], y: &mut [f32]) {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    for (i, byte) in nibbles.iter().enumerate() {
        let low_bit = ((high >> i) & 1) as u8;
        let high_bit = ((high >> (i + 16)) & 1) as u8;
        y[i] = f32::from(byte & 15 | low_bit << 4) * d + m;
        y[i + 16] = f32::from(byte >> 4 | high_bit << 4) * d + m;
    }
}

/// 16 sub-blocks of 16 with 4-bit scales and mins; 2-bit values, four planes to a byte.
fn q2k(b: &[u8], y: &mut [f32]) {
    let (scales, quants) = (&b[..16], &b[16..80]);
    let (d, dmin) = (half(b, 80), half(b, 82));
    for (i, y) in y.iter_mut().enumerate() {
        let scale = scales[i / 16];
        let byte = quants[i / 128 * 32 + i % 32];
        let q = byte >> (i % 128 / 32 * 2) & 3;
        *y = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
    }
}

/// 16 sub-blocks of 16 with signed 6-bit scales; two low bits and an inverted high bit.
fn q3k(b: &[u8], y: &mut [f32]) {
    let (mask, quants) = (&b[..32], &b[32..96]);
    let scales = q3k_scales(&b[96..108]);
    let d = half(b, 108);
    for (i, y) in y.iter_mut().enumerate() {
        let byte = quants[i / 128 * 32 + i % 32];
        let low = (byte >> (i % 128 / 32 * 2) & 3) as i8;
        let high = mask[i % 32] >> (i / 32) & 1;
        let q = if high == 1 { low } else { low - 4 };
        *y = d * f32::from(scales[i / 16]) * f32::from(q);
    }
}

/// The 16 scales of a Q3_K block, minus their offset of 32: low nibbles in 8 bytes, the two high
/// bits of four scales in each of 4 bytes.
pub(crate) fn q3k_scales(packed: &[u8]) -> [i8; 16] {
    std::array::from_fn(|i| {
        let low = if i < 8 { packed[i] & 15 } else { packed[i - 8] >> 4 };
        let high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// Scale and min of sub-block `j` (of 8) of a Q4_K or Q5_K block: 6 bits each in 12 bytes.
pub(crate) fn k4_scale_min(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let scale = packed[j + 4] & 15 | packed[j - 4] >> 6 << 4;
        let min = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
        (scale, min)
    }
}

/// 8 sub-blocks of 32 with 6-bit scales and mins; Q5_K adds a plane of fifth bits.
fn q45k(b: &[u8], high: Option<&[u8]>, nibbles: &[u8], y: &mut [f32]) {
    let (d, dmin) = (half(b, 0), half(b, 2));
    for (j, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, min) = k4_scale_min(&b[4..16], j);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(min));
        for (l, y) in y.iter_mut().enumerate() {
            let byte = nibbles[j / 2 * 32 + l];
            let low = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
            let bit = high.map_or(0, |plane| plane[l] >> j & 1);
            *y = d * f32::from(low | bit << 4) - m;
        }
    }
}

/// 16 sub-blocks of 16 with signed 8-bit scales; a nibble and two more bits each.
fn q6k(b: &[u8], y: &mut [f32]) {
    let (low, high, scales) = (&b[..128], &b[128..192], &b[192..208]);
    let d = half(b, 208);
    for (i, y) in y.iter_mut().enumerate() {
        let (half_block, at) = (i / 128, i % 128);
        let byte = low[half_block * 64 + at % 64];
        let nibble = if at < 64 { byte & 15 } else { byte >> 4 };
        let bits = high[half_block * 32 + at % 32] >> (at / 32 * 2) & 3;
        let q = (nibble | bits << 4) as i8 - 32;
        *y = d * f32::from(scales[i / 16] as i8) * f32::from(q);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks with their values as the `gguf` package decodes them (`tests/data/gguf/make.py`).
    const RECORDED: &[u8] = include_bytes!("../../tests/data/gguf/quants.bin");

    #[test]
    fn every_type_decodes_as_recorded() {
        let mut rest = RECORDED;
        // F32 needs no decoding and is not among them.
        for ty in &GgmlType::ALL[1..] {
            let (blocks, after) = rest.split_at(2 * ty.block_bytes());
            let (values, after) = after.split_at(2 * ty.block_size() * 4);
            let mut out = vec![0.0; 2 * ty.block_size()];
            dequantize_row(*ty, blocks, &mut out);
            for (i, (got, want)) in out.iter().zip(values.chunks_exact(4)).enumerate() {
                let want = f32::from_le_bytes([want[0], want[1], want[2], want[3]]);
                assert!((got - want).abs() <= want.abs() * 1e-6, "{ty:?} {i}: {got} instead of {want}");
            }
            rest = after;
        }
        assert!(rest.is_empty());
    }
}
