//! Finding numbers that are none in the data of a tensor.

use half::{bf16, f16};

use super::GgmlType;

/// The first block with a number that is infinite or NaN, and that number. Only what a block keeps
/// as floats is looked at, since integers are finite: a few bytes of each block.
#[must_use]
pub fn first_not_finite(ty: GgmlType, bytes: &[u8]) -> Option<(usize, f32)> {
    // Where the halves of a block are: a scale, and a min where the format has one.
    let halves: &[usize] = match ty {
        GgmlType::F32 => return find(bytes, 4, |b| Some(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        GgmlType::BF16 => return find(bytes, 2, |b| Some(bf16::from_le_bytes([b[0], b[1]]).to_f32())),
        GgmlType::F16 | GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => &[0],
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4K | GgmlType::Q5K => &[0, 2],
        GgmlType::Q2K => &[80, 82],
        GgmlType::Q3K => &[108],
        GgmlType::Q6K => &[208],
    };
    find(bytes, ty.block_bytes(), |block| {
        // All ones in the exponent; the conversion to f32 is left to the rare hit.
        let broken = |at: &&usize| block[**at + 1] & 0x7c == 0x7c;
        halves.iter().find(broken).map(|at| f16::from_le_bytes([block[*at], block[*at + 1]]).to_f32())
    })
}

fn find(bytes: &[u8], width: usize, read: impl Fn(&[u8]) -> Option<f32>) -> Option<(usize, f32)> {
    let blocks = bytes.chunks_exact(width).map(read).enumerate();
    blocks.filter_map(|(at, value)| value.map(|value| (at, value))).find(|(_, value)| !value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each type keeps its floats, by an independent way: a block whose every byte is small,
    /// with one half made infinite, is infinite somewhere when it is decoded.
    #[test]
    fn every_float_of_a_block_is_looked_at() {
        use super::super::dequantize::dequantize_row;
        for ty in (0..64).filter_map(GgmlType::from_id) {
            let size = ty.block_bytes();
            let clean = vec![0x11; 2 * size];
            assert_eq!(first_not_finite(ty, &clean), None, "{ty:?}");
            for at in 0..size - 1 {
                let mut broken = clean.clone();
                broken[size + at..size + at + 2].copy_from_slice(&[0x00, 0x7c]);
                if ty == GgmlType::F32 || ty == GgmlType::BF16 {
                    broken[size..].fill(0xff);
                }
                let mut out = vec![0.0; 2 * ty.block_size()];
                dequantize_row(ty, &broken, &mut out);
                let expected = out.iter().any(|value| !value.is_finite());
                let found = first_not_finite(ty, &broken);
                assert_eq!(found.is_some(), expected, "{ty:?}, byte {at}");
                assert!(found.is_none_or(|(block, _)| block == 1), "{ty:?}, byte {at}");
            }
        }
    }
}
