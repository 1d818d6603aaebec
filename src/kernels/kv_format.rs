//! How 32 tokens of one key-value head lie in memory.
//!
//! Keys are transposed, so that one dimension of 32 keys is a vector run; values lie row by row.
//! Kernels see neither types nor gaps: a block is widened to f32 once and then used by all queries
//! that read it. The q8_0 type has a scale for each 32 values of a token's head, so a token's bytes
//! depend on the token alone.

use std::ops::Range;

use half::f16;

use super::attention::Backend;
use crate::config::CacheType;

/// Tokens of a block.
pub const BLOCK: usize = 32;

/// Values that share a scale in q8_0.
pub const GROUP: usize = 32;

/// Whether a block holds keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[dim][32]`
    Keys,
    /// `[32][dim]`
    Values,
}

/// The layout of one head's block. In q8_0 the f16 scales come first, `[dim / 32][32]` for keys and
/// `[32][dim / 32]` for values, then the int8 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvFormat {
    pub ty: CacheType,
    pub kind: Kind,
    pub dim: usize,
}

impl KvFormat {
    /// Bytes of a head's block, a multiple of 64.
    #[must_use]
    pub fn bytes(self) -> usize {
        BLOCK * self.token_bytes()
    }

    /// Bytes of one token.
    #[must_use]
    pub fn token_bytes(self) -> usize {
        match self.ty {
            CacheType::F32 => 4 * self.dim,
            CacheType::F16 => 2 * self.dim,
            CacheType::Q8_0 => self.dim + self.scale_bytes(),
        }
    }

    /// Elements of a widened row of values: the dimensions up to a multiple of 16.
    #[must_use]
    pub fn padded(self) -> usize {
        self.dim.next_multiple_of(16)
    }

    /// Bytes of one token's scales.
    fn scale_bytes(self) -> usize {
        if self.ty == CacheType::Q8_0 { 2 * (self.dim / GROUP) } else { 0 }
    }

    /// Where the first `n` tokens of a block of values lie: scales, if any, then elements.
    pub(super) fn first_values(self, n: usize) -> [Range<usize>; 2] {
        let (scales, all) = (self.scale_bytes(), BLOCK * self.scale_bytes());
        [0..n * scales, all..all + n * (self.token_bytes() - scales)]
    }

    /// Whether all that a block holds are numbers.
    #[must_use]
    pub fn is_finite(self, bytes: &[u8]) -> bool {
        const EXPONENT: u16 = 0x7c00;
        let halves = |bytes: &[u8]| {
            let is_number = |half: &[u8; 2]| u16::from_le_bytes(*half) & EXPONENT != EXPONENT;
            bytes.as_chunks::<2>().0.iter().fold(true, |all, half| all & is_number(half))
        };
        let (scales, elements) = bytes.split_at(BLOCK * self.scale_bytes());
        match self.ty {
            CacheType::F32 => {
                elements.as_chunks::<4>().0.iter().fold(true, |all, x| all & f32::from_le_bytes(*x).is_finite())
            }
            CacheType::F16 => halves(elements),
            CacheType::Q8_0 => halves(scales),
        }
    }

    /// Copies the first `n` tokens of a block.
    pub(super) fn copy_prefix(self, from: &[u8], to: &mut [u8], n: usize) {
        let element = match self.ty {
            CacheType::F32 => 4,
            CacheType::F16 => 2,
            CacheType::Q8_0 => 1,
        };
        let at = BLOCK * self.scale_bytes();
        // Scales, if any, then values, each with the size of what is side by side in memory.
        for (range, element) in [(0..at, 2), (at..self.bytes(), element)] {
            let run = match self.kind {
                Kind::Keys => BLOCK * element,
                Kind::Values => range.len(),
            };
            if range.is_empty() {
                continue;
            }
            for (to, from) in to[range.clone()].chunks_exact_mut(run).zip(from[range].chunks_exact(run)) {
                to[..run / BLOCK * n].copy_from_slice(&from[..run / BLOCK * n]);
            }
        }
    }

    /// Stores one token's head at position `at` of a block.
    ///
    /// # Safety
    /// The machine has `B`'s instruction set.
    #[inline(always)]
    pub(super) unsafe fn write<B: Backend>(self, bytes: &mut [u8], at: usize, row: &[f32]) {
        debug_assert!(bytes.len() == self.bytes() && at < BLOCK && row.len() == self.dim);
        match self.ty {
            CacheType::F32 => self.write_elements(bytes, at, row.iter().map(|x| x.to_le_bytes())),
            CacheType::F16 => {
                for (index, part) in row.chunks(16).enumerate() {
                    let mut values = [0.0; 16];
                    values[..part.len()].copy_from_slice(part);
                    // SAFETY: passed on.
                    let halves = unsafe { B::narrow(&values) };
                    let from = index * 16;
                    match self.kind {
                        Kind::Keys => {
                            let (slots, _) = bytes[from * 2 * BLOCK..].as_chunks_mut::<{ 2 * BLOCK }>();
                            for (slot, half) in slots.iter_mut().zip(&halves[..part.len()]) {
                                slot[2 * at..2 * at + 2].copy_from_slice(half);
                            }
                        }
                        Kind::Values => bytes[2 * (at * self.dim + from)..][..2 * part.len()]
                            .copy_from_slice(halves[..part.len()].as_flattened()),
                    }
                }
            }
            CacheType::Q8_0 => {
                let (scales, ints) = bytes.split_at_mut(BLOCK * self.scale_bytes());
                let groups = self.dim / GROUP;
                for (index, group) in row.as_chunks::<GROUP>().0.iter().enumerate() {
                    let (scale, quants) = quantize(group);
                    let (slot, first, step) = match self.kind {
                        Kind::Keys => (index * BLOCK + at, index * GROUP * BLOCK + at, BLOCK),
                        Kind::Values => (at * groups + index, at * self.dim + index * GROUP, 1),
                    };
                    scales[2 * slot..2 * slot + 2].copy_from_slice(&scale.to_le_bytes());
                    let slots = ints[first..].iter_mut().step_by(step);
                    slots.zip(quants).for_each(|(slot, quant)| *slot = quant.cast_unsigned());
                }
            }
        }
    }

    fn write_elements<const N: usize>(self, bytes: &mut [u8], at: usize, row: impl Iterator<Item = [u8; N]>) {
        let (first, step) = match self.kind {
            Kind::Keys => (at, BLOCK),
            Kind::Values => (at * self.dim, 1),
        };
        let slots = bytes.as_chunks_mut::<N>().0[first..].iter_mut().step_by(step);
        slots.zip(row).for_each(|(slot, value)| *slot = value);
    }

    /// A block as f32: keys `[dim][32]`, the first `n` values `[n][padded]`.
    ///
    /// # Safety
    /// The machine has `B`'s instruction set.
    #[inline(always)]
    pub(super) unsafe fn widen<B: Backend>(self, bytes: &[u8], n: usize, out: &mut [f32]) {
        let (rows, len, stride) = match self.kind {
            Kind::Keys => (1, self.dim * BLOCK, self.dim * BLOCK),
            Kind::Values if self.dim == self.padded() && self.ty != CacheType::Q8_0 => (1, n * self.dim, n * self.dim),
            Kind::Values => (n, self.dim, self.padded()),
        };
        let (scales, elements) = bytes.split_at(BLOCK * self.scale_bytes());
        match self.ty {
            CacheType::F32 => {
                for row in 0..rows {
                    let values = elements[4 * row * len..][..4 * len].as_chunks::<4>().0;
                    out[row * stride..].iter_mut().zip(values).for_each(|(out, x)| *out = f32::from_le_bytes(*x));
                }
            }
            CacheType::F16 => {
                for row in 0..rows {
                    // SAFETY: passed on.
                    unsafe { B::widen(&elements[2 * row * len..][..2 * len], &mut out[row * stride..][..len]) };
                }
            }
            CacheType::Q8_0 if self.kind == Kind::Keys => {
                for (group, scales) in scales.as_chunks::<{ 2 * BLOCK }>().0.iter().enumerate() {
                    let mut wide = [0.0f32; BLOCK];
                    // SAFETY: passed on.
                    unsafe { B::widen(scales, &mut wide) };
                    let at = group * GROUP * BLOCK..(group + 1) * GROUP * BLOCK;
                    let runs = out[at.clone()].as_chunks_mut::<BLOCK>().0.iter_mut();
                    for (out, ints) in runs.zip(elements[at].as_chunks::<BLOCK>().0) {
                        // SAFETY: passed on.
                        unsafe { B::widen_ints(ints, &wide, out) };
                    }
                }
            }
            CacheType::Q8_0 => {
                let groups = elements.as_chunks::<GROUP>().0.iter().zip(out.as_chunks_mut::<GROUP>().0);
                for ((ints, out), scale) in groups.zip(scales.as_chunks::<2>().0).take(n * self.dim / GROUP) {
                    let mut wide = [0.0; 1];
                    // SAFETY: passed on.
                    unsafe {
                        B::widen(scale, &mut wide);
                        B::widen_ints(ints, &[wide[0]; GROUP], out);
                    }
                }
            }
        }
    }
}

/// Scale and integers of a group: the largest magnitude becomes 127. Scales that f16 cannot hold
/// are cut to its largest, and the integers to ±127.
#[inline(always)]
fn quantize(group: &[f32; GROUP]) -> (f16, [i8; GROUP]) {
    let mut lanes = [0.0f32; 16];
    for half in group.as_chunks::<16>().0 {
        for (lane, x) in lanes.iter_mut().zip(half) {
            *lane = lane.max(x.abs());
        }
    }
    let largest = lanes.iter().fold(0.0f32, |a, b| a.max(*b));
    let scale = (largest / 127.0).min(65_504.0);
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // Adding 1.5 · 2²³ rounds to the nearest integer and leaves it in the low bits.
    let quant = |x: f32| ((x * inverse).clamp(-127.0, 127.0) + 12_582_912.0).to_bits() as u8;
    (f16::from_f32(scale), group.map(|x| quant(x).cast_signed()))
}
