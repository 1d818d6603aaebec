//! Rotating keys and writing keys and values to the cache.

use super::backend::{Backend, Scalar};
use super::{BLOCK, Rows, Span, Spans};
use crate::kernels::dispatch::Set;
use crate::kernels::kv_format::Kind;
use crate::kernels::kv_memory::{LayerCache, Plane};
use crate::kernels::{Pool, Simd};

/// Elements that are not worth waking another thread for.
const SMALL: usize = 4096;

/// Sequences whose lines are asked for before the step's first product.
const PREFETCHED: usize = 2;

/// Rotates and stores the keys, and stores the values, of spans of several rows, which see each other's. A
/// single row is stored by the item that attends with it, which finds its block in the cache then.
///
/// # Panics
/// When spans, rows and cache do not match.
pub fn store(rows: &Rows<'_>, cache: &mut LayerCache<'_>, pool: &Pool, simd: Simd) {
    rows.check(cache);
    let n_rows: usize = rows.spans.iter().filter(|span| !span.is_single()).map(|span| span.n_rows).sum();
    if n_rows == 0 {
        return;
    }
    let n_head_kv = rows.shape.n_head_kv;
    let cache = &*cache;
    // SAFETY: `simd` comes from asking the processor. Each piece has a head of a plane of its own,
    // and nobody reads: the cache is borrowed exclusively.
    let work = |piece: usize| unsafe {
        let plane = if piece < n_head_kv { &cache.keys } else { &cache.values };
        match simd.set() {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => store_avx512(rows, plane, piece % n_head_kv),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => store_avx2(rows, plane, piece % n_head_kv),
            #[cfg(target_arch = "aarch64")]
            Set::Neon => {
                store_head::<super::vector::Vectors<crate::kernels::lanes_neon::Quads>>(rows, plane, piece % n_head_kv)
            }
            _ => store_head::<Scalar>(rows, plane, piece % n_head_kv),
        }
    };
    if n_rows * rows.shape.qkv_width() <= SMALL {
        (0..2 * n_head_kv).for_each(work)
    } else {
        pool.run(2 * n_head_kv, &work)
    }
}

/// Asks for the memory that the first single rows of `spans` will be written to: a key touches a cache line
/// for each of its dimensions, and waiting for them one after the other takes longer than the store itself.
pub fn prefetch(spans: &Spans<'_>, cache: &LayerCache<'_>) {
    // More would push each other out of the cache again before they are written.
    for span in spans.iter().filter(|span| span.is_single()).take(PREFETCHED) {
        let (block, at) = (span.blocks[span.n_past / BLOCK], span.n_past % BLOCK);
        for head in 0..cache.keys.n_heads() {
            cache.keys.prefetch(block, head, 0..cache.keys.format().bytes());
            let row = cache.values.format().token_bytes();
            cache.values.prefetch(block, head, at * row..(at + 1) * row);
        }
    }
}

/// # Safety
/// The machine has AVX-512 F, BW, VL; as [`store_head`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn store_avx512(rows: &Rows<'_>, plane: &Plane<'_>, head: usize) {
    // SAFETY: passed on.
    unsafe { store_head::<super::vector::Vectors<crate::kernels::lanes::Zmm>>(rows, plane, head) }
}

/// # Safety
/// The machine has AVX2, FMA and F16C; as [`store_head`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store_avx2(rows: &Rows<'_>, plane: &Plane<'_>, head: usize) {
    // SAFETY: passed on.
    unsafe { store_head::<super::vector::Vectors<crate::kernels::lanes::Ymm>>(rows, plane, head) }
}

/// Stores one head of all spans of several rows.
///
/// # Safety
/// The machine has `B`'s instruction set; nobody else uses this head of the plane.
#[inline(always)]
unsafe fn store_head<B: Backend>(rows: &Rows<'_>, plane: &Plane<'_>, head: usize) {
    let [mut rotated, mut normed] = [(); 2].map(|()| vec![0.0; plane.format().dim]);
    for span in rows.spans.iter().filter(|span| !span.is_single()) {
        for row in 0..span.n_rows {
            // SAFETY: passed on.
            unsafe { store_row::<B>(rows, plane, head, span, row, [&mut rotated, &mut normed]) };
        }
    }
}

/// Stores one head of row `row` of a span. Both parts of the scratch have the length of a head.
///
/// # Safety
/// The machine has `B`'s instruction set; nobody else uses this head of the row's block.
#[inline(always)]
pub(super) unsafe fn store_row<B: Backend>(
    rows: &Rows<'_>,
    plane: &Plane<'_>,
    head: usize,
    span: &Span<'_>,
    row: usize,
    [rotated, normed]: [&mut [f32]; 2],
) {
    let (s, format, position) = (rows.shape, plane.format(), span.n_past + row);
    let values = match format.kind {
        Kind::Keys => {
            rows.key(span.row + row, head, normed, rotated);
            &rotated[..s.dim_k]
        }
        Kind::Values => {
            let first = (s.n_head + s.n_head_kv) * s.dim_k;
            rows.head(span.row + row, first + head * s.dim_v, s.dim_v)
        }
    };
    // SAFETY: passed on.
    unsafe {
        let block = plane.head_mut(span.blocks[position / BLOCK], head);
        format.write::<B>(block, position % BLOCK, values);
    }
}
