//! Weights in the layouts that the kernels read: 16 output rows side by side.
//!
//! Quantized: for each tile of 16 rows and each group of 16 or 32 columns, first the values as
//! unsigned integers, four columns of sixteen rows to a 64-byte line (4-bit layouts: two such
//! fours to a line, the even one in the low nibbles), then 16 scales and, where the format has
//! them, 16 mins. value = scale · (integer − offset) + min.
//!
//! Floats: for each tile and each column, 16 values.

use half::{bf16, f16};

use super::pool::Pool;
use crate::gguf::{GgmlType, k4_scale_min, q3k_scales};

/// Output rows of a tile: the lanes of a 512-bit vector of f32.
pub const TILE: usize = 16;

/// Element type of float weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    F32,
    F16,
    BF16,
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Float(Float),
    Quant(Quant),
}

/// An integer layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quant {
    /// 4 or 8.
    pub bits: usize,
    /// Columns of a scale: 16 or 32.
    pub group: usize,
    /// Scales and mins are f16 (else f32).
    pub half: bool,
    /// There are mins.
    pub min: bool,
    /// Taken from each integer.
    pub offset: i32,
}

impl Quant {
    /// Bytes of the integers of a tile's group.
    #[must_use]
    pub const fn plane_bytes(self) -> usize {
        TILE * self.group * self.bits / 8
    }

    /// Bytes of 16 scales.
    #[must_use]
    pub const fn scale_bytes(self) -> usize {
        TILE * if self.half { 2 } else { 4 }
    }

    /// Bytes of a tile's group.
    #[must_use]
    pub const fn group_bytes(self) -> usize {
        self.plane_bytes() + self.scale_bytes() * (1 + self.min as usize)
    }
}

const fn quant(bits: usize, group: usize, half: bool, min: bool, offset: i32) -> Layout {
    Layout::Quant(Quant { bits, group, half, min, offset })
}

impl Layout {
    /// The layout for a GGUF type.
    #[must_use]
    pub const fn of(ty: GgmlType) -> Self {
        match ty {
            GgmlType::F32 => Self::Float(Float::F32),
            GgmlType::F16 => Self::Float(Float::F16),
            GgmlType::BF16 => Self::Float(Float::BF16),
            GgmlType::Q4_0 => quant(4, 32, true, false, 8),
            GgmlType::Q4_1 => quant(4, 32, true, true, 0),
            GgmlType::Q5_0 => quant(8, 32, true, false, 16),
            GgmlType::Q5_1 => quant(8, 32, true, true, 0),
            GgmlType::Q8_0 => quant(8, 32, true, false, 128),
            GgmlType::Q2K => quant(8, 16, false, true, 0),
            GgmlType::Q3K => quant(8, 16, false, false, 4),
            GgmlType::Q4K => quant(4, 32, false, true, 0),
            GgmlType::Q5K => quant(8, 32, false, true, 0),
            GgmlType::Q6K => quant(8, 16, false, false, 32),
        }
    }

    /// Bytes of a tile of `k` columns.
    #[must_use]
    pub const fn tile_bytes(self, k: usize) -> usize {
        match self {
            Self::Float(Float::F32) => k * TILE * 4,
            Self::Float(Float::F16 | Float::BF16) => k * TILE * 2,
            Self::Quant(q) => k / q.group * q.group_bytes(),
        }
    }
}

/// `n` rows of `k` weights, packed.
#[derive(Debug)]
pub struct Matrix {
    pub n: usize,
    pub k: usize,
    pub layout: Layout,
    data: Aligned,
}

/// Bytes that start at a cache line, so that vector loads never cross one.
#[derive(Debug)]
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn zeroed(len: usize) -> Self {
        let bytes = vec![0u8; len + 64];
        let start = bytes.as_ptr().align_offset(64).min(64);
        Self { bytes, start }
    }
}

impl Matrix {
    /// Packs `n` rows of `k` values of type `ty`, given as the file stores them.
    #[must_use]
    pub fn pack(ty: GgmlType, n: usize, k: usize, source: &[u8], pool: &Pool) -> Self {
        let layout = Layout::of(ty);
        let tile_bytes = layout.tile_bytes(k);
        let mut data = Aligned::zeroed(n.div_ceil(TILE) * tile_bytes);
        let row_bytes = k / ty.block_size() * ty.block_bytes();
        let (start, len) = (data.start, n.div_ceil(TILE) * tile_bytes);
        pool.run_chunks(&mut data.bytes[start..start + len], tile_bytes, &|tile, out| {
            let rows = source[tile * TILE * row_bytes..].chunks_exact(row_bytes).take(TILE.min(n - tile * TILE));
            for (lane, row) in rows.enumerate() {
                match layout {
                    Layout::Float(_) => pack_floats(ty.block_bytes(), row, lane, out),
                    Layout::Quant(q) => pack_quants(ty, q, row, lane, out),
                }
            }
        });
        Self { n, k, layout, data }
    }

    /// Number of tiles.
    #[must_use]
    pub fn n_tiles(&self) -> usize {
        self.n.div_ceil(TILE)
    }

    /// The bytes of tile `index`.
    #[must_use]
    pub fn tile(&self, index: usize) -> &[u8] {
        let bytes = self.layout.tile_bytes(self.k);
        &self.data.bytes[self.data.start + index * bytes..][..bytes]
    }

    /// Whether products need int8 activations.
    #[must_use]
    pub fn wants_quants(&self) -> bool {
        matches!(self.layout, Layout::Quant(_))
    }
}

fn pack_floats(size: usize, row: &[u8], lane: usize, out: &mut [u8]) {
    for (column, value) in row.chunks_exact(size).enumerate() {
        out[(column * TILE + lane) * size..][..size].copy_from_slice(value);
    }
}

fn pack_quants(ty: GgmlType, q: Quant, row: &[u8], lane: usize, out: &mut [u8]) {
    let mut group = 0;
    for block in row.chunks_exact(ty.block_bytes()) {
        unpack_block(ty, block, &mut |values, scale, min| {
            let out = &mut out[group * q.group_bytes()..][..q.group_bytes()];
            put_integers(q.bits, values, lane, &mut out[..q.plane_bytes()]);
            put_scale(q.half, scale, lane, &mut out[q.plane_bytes()..]);
            if q.min {
                put_scale(q.half, min, lane, &mut out[q.plane_bytes() + q.scale_bytes()..]);
            }
            group += 1;
        });
    }
}

fn put_integers(bits: usize, values: &[u8], lane: usize, plane: &mut [u8]) {
    for (column, value) in values.iter().enumerate() {
        let (four, within) = (column / 4, column % 4);
        if bits == 8 {
            plane[four * 64 + lane * 4 + within] = *value;
        } else {
            plane[four / 2 * 64 + lane * 4 + within] |= value << (four % 2 * 4);
        }
    }
}

fn put_scale(half: bool, value: f32, lane: usize, out: &mut [u8]) {
    if half {
        out[lane * 2..][..2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
    } else {
        out[lane * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Calls `put` for each group of a block, in order, with its unsigned integers, scale and min.
fn unpack_block(ty: GgmlType, b: &[u8], put: &mut dyn FnMut(&[u8], f32, f32)) {
    match ty {
        GgmlType::Q4_0 => put(&nibbles(&b[2..18]), f16_at(b, 0), 0.0),
        GgmlType::Q4_1 => put(&nibbles(&b[4..20]), f16_at(b, 0), f16_at(b, 2)),
        GgmlType::Q5_0 => put(&five_bits(&b[2..6], &b[6..22]), f16_at(b, 0), 0.0),
        GgmlType::Q5_1 => put(&five_bits(&b[4..8], &b[8..24]), f16_at(b, 0), f16_at(b, 2)),
        GgmlType::Q8_0 => {
            let values: [u8; 32] = std::array::from_fn(|i| b[2 + i] ^ 0x80);
            put(&values, f16_at(b, 0), 0.0);
        }
        GgmlType::Q2K => {
            for j in 0..16 {
                let values: [u8; 16] = std::array::from_fn(|l| two_bits(&b[16..80], j * 16 + l));
                put(&values, f16_at(b, 80) * f32::from(b[j] & 15), -f16_at(b, 82) * f32::from(b[j] >> 4));
            }
        }
        GgmlType::Q3K => {
            let scales = q3k_scales(&b[96..108]);
            for (j, scale) in scales.iter().enumerate() {
                let values: [u8; 16] = std::array::from_fn(|l| {
                    let i = j * 16 + l;
                    two_bits(&b[32..96], i) | (b[i % 32] >> (i / 32) & 1) << 2
                });
                put(&values, f16_at(b, 108) * f32::from(*scale), 0.0);
            }
        }
        GgmlType::Q4K | GgmlType::Q5K => {
            let (high, low) = if ty == GgmlType::Q5K { (Some(&b[16..48]), &b[48..176]) } else { (None, &b[16..144]) };
            for j in 0..8 {
                let (scale, min) = k4_scale_min(&b[4..16], j);
                let values: [u8; 32] = std::array::from_fn(|l| {
                    let nibble = low[j / 2 * 32 + l] >> (j % 2 * 4) & 15;
                    nibble | high.map_or(0, |plane: &[u8]| plane[l] >> j & 1) << 4
                });
                put(&values, f16_at(b, 0) * f32::from(scale), -f16_at(b, 2) * f32::from(min));
            }
        }
        GgmlType::Q6K => {
            for j in 0..16 {
                let values: [u8; 16] = std::array::from_fn(|l| {
                    let (half, at) = ((j * 16 + l) / 128, (j * 16 + l) % 128);
                    let nibble = b[half * 64 + at % 64] >> (at / 64 * 4) & 15;
                    nibble | (b[128 + half * 32 + at % 32] >> (at / 32 * 2) & 3) << 4
                });
                put(&values, f16_at(b, 208) * f32::from(b[192 + j] as i8), 0.0);
            }
        }
        GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => unreachable!("floats have their own layout"),
    }
}

fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 15)
}

fn five_bits(high: &[u8], bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 15 | (high[i / 8] >> (i % 8) & 1) << 4)
}

fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// A bf16 or f16 at `index` of `bytes` as f32.
#[must_use]
pub fn half_at(float: Float, bytes: &[u8], index: usize) -> f32 {
    let pair = [bytes[index * 2], bytes[index * 2 + 1]];
    match float {
        Float::BF16 => bf16::from_le_bytes(pair).to_f32(),
        Float::F16 | Float::F32 => f16::from_le_bytes(pair).to_f32(),
    }
}
