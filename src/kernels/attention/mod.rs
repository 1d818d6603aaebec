//! Attention of the rows of a step over the cached blocks of their sequences.
//!
//! [`prefetch`] asks for what will be written; [`store`] rotates the keys of spans of several rows and writes them
//! and their values to the cache; [`attend`] computes the rest, and stores keys and values of single rows itself.
//!
//! **What a row's bits depend on.** The keys of a row, all up to its own or those of a window, are cut
//! into partitions of [`PARTITION`] keys, counted from the first of the sequence. In a partition, scores
//! are sums over the dimensions in order, weights are relative to the partition's largest score, and
//! values are added key by key. The partitions' results are merged first to last ([`partial::fold`]).
//! Nothing of this depends on the batch, the chunk, the threads, or on which queries share a register
//! tile; a key that is not a row's own is never added, not even with weight zero.
//!
//! **How work is cut.** An [`plan::Item`] is a run of rows with all query heads of one key-value
//! head, so that each block is read and widened to f32 once for all of them. Where few rows meet
//! many keys, an item is one partition, and whoever finishes a row's last one merges them. While an item
//! computes, it asks for the blocks that come next, its own and those of the item behind it.

mod backend;
mod item;
mod partial;
mod plan;
mod stretch;
#[cfg(test)]
mod tests;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vector;
mod write;

use std::ops::Range;

pub(super) use backend::Backend;
pub use write::{prefetch, store};

use super::dispatch::Set;
use super::kv_memory::LayerCache;
use super::math::rms_norm;
use super::rotary::Rotations;
use super::{Pool, Simd};
use item::{Scratch, Worker};
use partial::Partials;
use plan::Plan;

pub(super) use super::kv_format::BLOCK;

/// Keys whose weights are relative to one score. Small enough that a few hundred keys already
/// occupy several threads, large enough that merging costs nothing.
pub const PARTITION: usize = 256;

/// Distance of two queries' scores: a partition, and a line so that they do not share cache sets.
const SCORES: usize = PARTITION + 16;

/// Heads and their sizes. Query head h reads key-value head `h · n_head_kv / n_head`.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub n_head: usize,
    pub n_head_kv: usize,
    pub dim_k: usize,
    pub dim_v: usize,
    /// Factor of the scores, 1 / √dim_k in most models.
    pub scale: f32,
    /// Most keys that a row sees, its own and those right before it; `usize::MAX` for all.
    pub window: usize,
}

impl Shape {
    /// Width of the fused input: queries, keys, values.
    #[must_use]
    pub fn qkv_width(&self) -> usize {
        self.n_head * self.dim_k + self.n_head_kv * (self.dim_k + self.dim_v)
    }

    /// Query heads that share a key-value head.
    #[must_use]
    pub fn group(&self) -> usize {
        self.n_head / self.n_head_kv
    }
}

/// Rows of one sequence in a step.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// First row.
    pub row: usize,
    pub n_rows: usize,
    /// Keys before the first row's own.
    pub n_past: usize,
    /// Blocks of the sequence in order, enough for `n_past + n_rows` keys.
    pub blocks: &'a [u32],
    /// Whether a row sees the keys up to its own alone, as decoders do, or all of its sequence.
    pub causal: bool,
}

impl Span<'_> {
    /// Whether no other row of the step reads what the span's rows store.
    fn is_single(&self) -> bool {
        self.n_rows == 1
    }

    /// Keys that row `row` of the span sees if at most `window` of them.
    fn keys(&self, row: usize, window: usize) -> Range<usize> {
        let end = self.n_past + if self.causal { row + 1 } else { self.n_rows };
        end.saturating_sub(window)..end
    }
}

/// Weights of the root-mean-square normalization of each head before its rotation, `[dim_k]` each.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorms<'a> {
    pub query: &'a [f32],
    pub key: &'a [f32],
    pub eps: f32,
}

/// The sequences of a step, which follow each other and cover all rows. Where a sequence has a single row, the
/// block that it is stored in is listed once among all of them, so that nobody reads what is being written.
#[derive(Debug)]
pub struct Spans<'a>(Vec<Span<'a>>);

impl<'a> Spans<'a> {
    /// # Panics
    /// When they are otherwise, or a sequence lacks blocks.
    #[must_use]
    pub fn new(spans: Vec<Span<'a>>) -> Self {
        let mut row = 0;
        for span in &spans {
            assert_eq!(span.row, row, "spans follow each other");
            assert!(span.blocks.len() * BLOCK >= span.n_past + span.n_rows, "a sequence has blocks for all its keys");
            row += span.n_rows;
        }
        let singles = spans.iter().filter(|span| span.is_single());
        let mut written: Vec<u32> = singles.map(|span| span.blocks[span.n_past / BLOCK]).collect();
        written.sort_unstable();
        if !written.is_empty() {
            let all = spans.iter().flat_map(|span| span.blocks);
            let n_listed = all.filter(|block| written.binary_search(block).is_ok()).count();
            let is_once = n_listed == written.len() && written.windows(2).all(|pair| pair[0] != pair[1]);
            assert!(is_once, "a single row's block is its sequence's alone, and there once");
        }
        Self(spans)
    }

    fn n_rows(&self) -> usize {
        self.0.last().map_or(0, |span| span.row + span.n_rows)
    }
}

impl<'a> std::ops::Deref for Spans<'a> {
    type Target = [Span<'a>];

    fn deref(&self) -> &[Span<'a>] {
        &self.0
    }
}

/// The fused rows of a step and what they mean.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub shape: &'a Shape,
    /// `[rows, q | k | v]`, not yet rotated.
    pub qkv: &'a [f32],
    /// In models that normalize queries and keys.
    pub norms: Option<HeadNorms<'a>>,
    pub rotations: Rotations<'a>,
    pub spans: &'a Spans<'a>,
}

impl Rows<'_> {
    /// The parts of a fused row that begin at `column`.
    fn head(&self, row: usize, column: usize, dim: usize) -> &[f32] {
        &self.qkv[row * self.shape.qkv_width() + column..][..dim]
    }

    /// Puts query `head` of a row into `out`, normalized and rotated; `scratch` has its length too.
    #[inline(always)]
    fn query(&self, row: usize, head: usize, scratch: &mut [f32], out: &mut [f32]) {
        let dim = self.shape.dim_k;
        self.turn(row, head * dim, |norms| norms.query, scratch, out);
    }

    /// Puts key `head` of a row into `out`, as [`Self::query`] does.
    #[inline(always)]
    fn key(&self, row: usize, head: usize, scratch: &mut [f32], out: &mut [f32]) {
        let dim = self.shape.dim_k;
        self.turn(row, (self.shape.n_head + head) * dim, |norms| norms.key, scratch, out);
    }

    #[inline(always)]
    fn turn<'b>(
        &'b self,
        row: usize,
        column: usize,
        weight: impl Fn(&HeadNorms<'b>) -> &'b [f32],
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let head = self.head(row, column, self.shape.dim_k);
        match &self.norms {
            None => self.rotations.rotate(row, head, out),
            Some(norms) => {
                let scratch = &mut scratch[..head.len()];
                rms_norm(head, weight(norms), norms.eps, scratch);
                self.rotations.rotate(row, scratch, out);
            }
        }
    }

    /// # Panics
    /// When spans and rows do not match: pieces that run at once rely on it.
    fn check(&self, cache: &LayerCache<'_>) {
        let s = self.shape;
        assert!(s.n_head.is_multiple_of(s.n_head_kv) && cache.keys.n_heads() == s.n_head_kv);
        assert_eq!((cache.keys.format().dim, cache.values.format().dim), (s.dim_k, s.dim_v));
        assert_eq!(self.spans.n_rows() * s.qkv_width(), self.qkv.len(), "spans cover all rows");
    }
}

/// Attends with all rows to their keys and writes `[rows, n_head · dim_v]` to `out`. Keys and values of single
/// rows are stored, those of others have been.
///
/// # Panics
/// When spans, rows and cache do not match.
pub fn attend(rows: &Rows<'_>, cache: &mut LayerCache<'_>, out: &mut [f32], pool: &Pool, simd: Simd) {
    rows.check(cache);
    let cache = &*cache;
    let s = rows.shape;
    assert_eq!(out.len(), rows.spans.n_rows() * s.n_head * s.dim_v, "the output has a row for each of the input");
    let plan = Plan::new(rows, pool.n_threads());
    Partials::with(&plan, |partials| {
        let worker = Worker { rows, cache, out: SharedSlice::new(out), partials };
        // The instruction set is entered inside the closure: code in closures does not inherit it.
        let work = |index: usize| {
            // SAFETY: `simd` comes from asking the processor. The plan gives each row and head to
            // one item, or to several that each write partials of their own. The cache is borrowed
            // exclusively, and the block that an item writes to is read by no other one (`Spans::new`).
            Scratch::with(|scratch| unsafe {
                match simd.set() {
                    #[cfg(target_arch = "x86_64")]
                    Set::Avx512 => run_avx512(&worker, index, scratch),
                    #[cfg(target_arch = "x86_64")]
                    Set::Avx2 => run_avx2(&worker, index, scratch),
                    // Part of the target's baseline, so that nothing has to be entered.
                    #[cfg(target_arch = "aarch64")]
                    Set::Neon => worker.run::<vector::Vectors<super::lanes_neon::Quads>>(index, scratch),
                    _ => worker.run::<backend::Scalar>(index, scratch),
                }
            });
        };
        if plan.is_small { (0..plan.items.len()).for_each(work) } else { pool.run(plan.items.len(), &work) }
    });
}

/// # Safety
/// The machine has AVX-512 F, BW, VL; as [`Worker::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn run_avx512(worker: &Worker<'_>, index: usize, scratch: &mut Scratch) {
    // SAFETY: passed on.
    unsafe { worker.run::<vector::Vectors<super::lanes::Zmm>>(index, scratch) }
}

/// # Safety
/// The machine has AVX2, FMA and F16C; as [`Worker::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2(worker: &Worker<'_>, index: usize, scratch: &mut Scratch) {
    // SAFETY: passed on.
    unsafe { worker.run::<vector::Vectors<super::lanes::Ymm>>(index, scratch) }
}

/// A slice that several threads write to, each in places of its own.
#[derive(Clone, Copy)]
struct SharedSlice<'a> {
    start: *mut f32,
    len: usize,
    borrow: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: `part` is unsafe, and its contract keeps the threads apart.
unsafe impl Sync for SharedSlice<'_> {}
// SAFETY: as above.
unsafe impl Send for SharedSlice<'_> {}

impl<'a> SharedSlice<'a> {
    fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrow: std::marker::PhantomData }
    }

    /// `n` elements from `at` on.
    ///
    /// # Safety
    /// Nobody else uses them during the lifetime.
    unsafe fn part(&self, at: usize, n: usize) -> &'a mut [f32] {
        assert!(at <= self.len && n <= self.len - at);
        // SAFETY: inside the slice, which is borrowed for `'a`; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), n) }
    }
}
