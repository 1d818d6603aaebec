//! Weights in the layouts that the kernels read: 16 output rows side by side, in planes.
//!
//! A tile is 16 rows of all columns, a unit 32 columns of it. The integers of quantized weights lie
//! in a low plane (2, 4 or 8 bits) and, where the format has 3, 5 or 6 bits, a high plane (1 or 2
//! bits). Four columns of sixteen rows, the operand of one `vpdpbusd`, fill a 64-byte line; a line
//! of a narrower plane holds several such fours, four j of the line at bits `j · width` of each
//! byte. After the planes come the scales:
//!
//! - [`Scales::Half`]: for each unit 16 f16 scales, then 16 f16 mins where there are mins;
//! - [`Scales::Sub`]: for each unit 16 i8 factors for each group, then as many for the mins; at the
//!   end of the tile, for each 256 columns, 16 f16 scales and as many for the mins;
//! - [`Scales::Nibble`]: as `Sub`, factor and min in the two halves of one byte.
//!
//! value = scale · (integer − offset) + min. All planes begin at a cache line and take as many
//! bytes as the file's format, a few in a hundred more where it packs its scales tighter.
//!
//! Floats: for each pair of tiles and each column, 16 values of either, so that both together are one
//! stream.

use half::{bf16, f16};

use super::aligned::AlignedBytes;
use super::pack::pack_tiles;
use super::pool::Pool;
use crate::gguf::GgmlType;

/// Output rows of a tile: the lanes of a 512-bit vector of f32.
pub const TILE: usize = 16;

/// Columns that are unpacked together, and that share a scale of the activations.
pub const UNIT: usize = 32;

/// Tiles of floats that lie side by side.
pub const FLOAT_TILES: usize = 2;

/// Units of a block of the K formats.
pub const SUPER_UNITS: usize = 8;

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

/// Where the scales of an integer layout come from, see the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scales {
    Half,
    Sub,
    Nibble,
}

/// An integer layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quant {
    /// Bits of the low plane: 2, 4 or 8.
    pub low: usize,
    /// Bits of the high plane: 0, 1 or 2.
    pub high: usize,
    /// Columns of a scale: 16 or 32.
    pub group: usize,
    pub scales: Scales,
    /// There are mins.
    pub min: bool,
    /// Taken from each integer: 0 or 2 to the power of `offset_log2`.
    pub offset_log2: Option<u32>,
}

/// Where the parts of a quantized tile begin, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Planes {
    pub high: usize,
    pub scales: usize,
    pub supers: usize,
    /// Bytes of the whole tile.
    pub bytes: usize,
}

impl Quant {
    /// Bytes of a unit in the low plane.
    #[must_use]
    pub const fn low_bytes(self) -> usize {
        TILE * UNIT * self.low / 8
    }

    /// Bytes of a unit in the high plane.
    #[must_use]
    pub const fn high_bytes(self) -> usize {
        TILE * UNIT * self.high / 8
    }

    /// Bytes of a unit among the scales.
    #[must_use]
    pub const fn scale_bytes(self) -> usize {
        let fields = 1 + self.min as usize;
        match self.scales {
            Scales::Half => TILE * 2 * fields,
            Scales::Sub => TILE * (UNIT / self.group) * fields,
            Scales::Nibble => TILE * (UNIT / self.group),
        }
    }

    /// Bytes of the scales of 256 columns; 0 where there are none.
    #[must_use]
    pub const fn super_bytes(self) -> usize {
        match self.scales {
            Scales::Half => 0,
            Scales::Sub | Scales::Nibble => TILE * 2 * (1 + self.min as usize),
        }
    }

    /// Fours of columns whose products a sum of 16 bits holds: two columns of each, since pairs are
    /// added first, of weights below 2 to the power of their bits, or signed ones of 8, and activations
    /// of at most 127. At most those of a group.
    #[must_use]
    pub const fn fours_in_16_bits(self) -> usize {
        let largest = if self.low == 8 { 128 } else { (1 << (self.low + self.high)) - 1 };
        let mut fours = self.group / 4;
        while fours * largest * 127 * 2 > i16::MAX as usize {
            fours /= 2;
        }
        fours
    }

    /// Where the parts of a tile of `k` columns begin.
    #[must_use]
    pub const fn planes(self, k: usize) -> Planes {
        let units = k / UNIT;
        let high = units * self.low_bytes();
        let scales = high + units * self.high_bytes();
        let supers = scales + units * self.scale_bytes();
        let bytes = supers + units / SUPER_UNITS * self.super_bytes();
        Planes { high, scales, supers, bytes: bytes.next_multiple_of(64) }
    }
}

/// A quantized format as a type, so that kernels are compiled for each.
pub trait Format {
    const QUANT: Quant;
}

macro_rules! formats {
    ($($name:ident: $low:literal + $high:literal bits, $group:literal, $scales:ident, $min:literal, $offset:expr;)*) => {
        $(
            #[doc = concat!("The layout of ", stringify!($name), ".")]
            pub struct $name;
            impl Format for $name {
                const QUANT: Quant = Quant {
                    low: $low, high: $high, group: $group, scales: Scales::$scales, min: $min, offset_log2: $offset,
                };
            }
        )*
    };
}

formats! {
    Q4_0: 4 + 0 bits, 32, Half, false, Some(3);
    Q4_1: 4 + 0 bits, 32, Half, true, None;
    Q5_0: 4 + 1 bits, 32, Half, false, Some(4);
    Q5_1: 4 + 1 bits, 32, Half, true, None;
    Q8_0: 8 + 0 bits, 32, Half, false, Some(7);
    Q2K: 2 + 0 bits, 16, Nibble, true, None;
    Q3K: 2 + 1 bits, 16, Sub, false, Some(2);
    Q4K: 4 + 0 bits, 32, Sub, true, None;
    Q5K: 4 + 1 bits, 32, Sub, true, None;
    Q6K: 4 + 2 bits, 16, Sub, false, Some(5);
}

/// Evaluates `$body` with `$F` as the [`Format`] of the quantized type `$ty`, and `$floats` for the
/// others.
macro_rules! with_format {
    ($ty:expr, $F:ident => $body:expr, $float:ident => $floats:expr) => {{
        use $crate::gguf::GgmlType;
        use $crate::kernels::packed::{self, Float};
        macro_rules! quantized {
            ($name:ident) => {{
                type $F = packed::$name;
                $body
            }};
        }
        macro_rules! float {
            ($name:ident) => {{
                let $float = Float::$name;
                $floats
            }};
        }
        match $ty {
            GgmlType::Q4_0 => quantized!(Q4_0),
            GgmlType::Q4_1 => quantized!(Q4_1),
            GgmlType::Q5_0 => quantized!(Q5_0),
            GgmlType::Q5_1 => quantized!(Q5_1),
            GgmlType::Q8_0 => quantized!(Q8_0),
            GgmlType::Q2K => quantized!(Q2K),
            GgmlType::Q3K => quantized!(Q3K),
            GgmlType::Q4K => quantized!(Q4K),
            GgmlType::Q5K => quantized!(Q5K),
            GgmlType::Q6K => quantized!(Q6K),
            GgmlType::F32 => float!(F32),
            GgmlType::F16 => float!(F16),
            GgmlType::BF16 => float!(BF16),
        }
    }};
}
pub(super) use with_format;

impl Layout {
    /// The layout for a GGUF type.
    #[must_use]
    pub fn of(ty: GgmlType) -> Self {
        with_format!(ty, F => Self::Quant(F::QUANT), float => Self::Float(float))
    }

    /// Bytes of a tile of `k` columns.
    #[must_use]
    pub const fn tile_bytes(self, k: usize) -> usize {
        match self {
            Self::Float(Float::F32) => k * TILE * 4,
            Self::Float(Float::F16 | Float::BF16) => k * TILE * 2,
            Self::Quant(q) => q.planes(k).bytes,
        }
    }
}

/// `n` rows of `k` weights, packed.
#[derive(Debug)]
pub struct Matrix {
    pub n: usize,
    pub k: usize,
    pub ty: GgmlType,
    pub layout: Layout,
    tile_bytes: usize,
    data: AlignedBytes,
}

impl Matrix {
    /// Packs `n` rows of `k` values of type `ty`, given as the file stores them.
    #[must_use]
    pub fn pack(ty: GgmlType, n: usize, k: usize, source: &[u8], pool: &Pool) -> Self {
        let layout = Layout::of(ty);
        let tile_bytes = layout.tile_bytes(k);
        let tiles = if matches!(layout, Layout::Float(_)) { FLOAT_TILES } else { 1 };
        let n_rows = tiles * TILE;
        let mut data = AlignedBytes::zeroed(n.div_ceil(n_rows) * tiles * tile_bytes);
        let row_bytes = k / ty.block_size() * ty.block_bytes();
        pool.run_chunks(data.as_mut_slice(), tiles * tile_bytes, &|index, out| {
            let first = index * n_rows;
            let rows = &source[first * row_bytes..][..n_rows.min(n - first) * row_bytes];
            pack_tiles(ty, layout, k, rows, out);
        });
        Self { n, k, ty, layout, tile_bytes, data }
    }

    /// Number of tiles.
    #[must_use]
    pub fn n_tiles(&self) -> usize {
        self.n.div_ceil(TILE)
    }

    /// Bytes of one tile.
    #[must_use]
    pub fn tile_bytes(&self) -> usize {
        self.tile_bytes
    }

    /// The bytes from the start of tile `index` on. A tile of floats has its columns
    /// [`FLOAT_TILES`] times 16 values apart.
    #[must_use]
    pub fn tile(&self, index: usize) -> &[u8] {
        let start = match self.layout {
            Layout::Quant(_) => index * self.tile_bytes,
            Layout::Float(_) => {
                let (group, within) = (index / FLOAT_TILES, index % FLOAT_TILES);
                (group * self.k * FLOAT_TILES + within) * TILE * self.ty.block_bytes()
            }
        };
        &self.data.as_slice()[start..]
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.as_slice()
    }

    /// Whether products need int8 activations.
    #[must_use]
    pub fn wants_quants(&self) -> bool {
        matches!(self.layout, Layout::Quant(_))
    }
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
