//! The computation of one item.

use std::cell::RefCell;
use std::ops::Range;

use super::backend::Backend;
use super::partial::{Mass, Partials, fold};
use super::plan::{Item, partial_len, partitions};
use super::stretch::{Ahead, Stretch};
use super::write::store_row;
use super::{BLOCK, PARTITION, Rows, SCORES, SharedSlice, Span};
use crate::kernels::kv_memory::LayerCache;

/// What all items of a step share.
pub(super) struct Worker<'a> {
    pub rows: &'a Rows<'a>,
    pub cache: &'a LayerCache<'a>,
    /// `[rows, n_head · dim_v]`
    pub out: SharedSlice<'a>,
    pub partials: &'a Partials<'a>,
}

/// Scratch of a thread. Its lines are aligned, so that no register straddles two.
#[derive(Default)]
pub(super) struct Scratch(Vec<Line>);

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
#[allow(dead_code)] // Read as part of slices of floats.
struct Line([f32; 16]);

thread_local! {
    /// Workers live as long as the engine; what they need once they need in every layer.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Calls `work` with the scratch of this thread.
    pub fn with(work: impl FnOnce(&mut Self)) {
        SCRATCH.with_borrow_mut(work);
    }

    /// Slices of at least these lengths, each beginning with a line.
    fn take<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [f32]; N] {
        let n_lines: usize = lens.iter().map(|len| len.div_ceil(16)).sum();
        if self.0.len() < n_lines {
            self.0.resize(n_lines, Line::default());
        }
        let mut rest = self.0.as_mut_slice();
        lens.map(|len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len.div_ceil(16));
            rest = after;
            // SAFETY: a line is 16 floats without gaps.
            unsafe { std::slice::from_raw_parts_mut(part.as_mut_ptr().cast::<f32>(), 16 * part.len()) }
        })
    }
}

/// An item's queries: row by row, in a row the heads that share a key-value head.
pub(super) struct Queries<'a> {
    pub span: &'a Span<'a>,
    rows: Range<usize>,
    group: usize,
    window: usize,
}

impl Queries<'_> {
    pub fn len(&self) -> usize {
        self.rows.len() * self.group
    }

    /// Keys of query `index`.
    pub fn keys(&self, index: usize) -> Range<usize> {
        self.span.keys(self.rows.start + index / self.group, self.window)
    }

    /// Keys of query `index` from `start` to before `end`, counted from `start`; where there are none,
    /// an empty range.
    fn keys_within(&self, index: usize, start: usize, end: usize) -> Range<usize> {
        let keys = self.keys(index);
        let last = keys.end.min(end).saturating_sub(start);
        keys.start.saturating_sub(start).min(last)..last
    }

    /// Whether `item`, whose queries these are, stores a single row: the one that reads its block does.
    fn stores_row(&self, item: &Item) -> bool {
        self.span.is_single() && item.partitions.end == self.partitions(0).end
    }

    /// The partitions of query `index`'s keys.
    fn partitions(&self, index: usize) -> Range<usize> {
        partitions(self.keys(index))
    }

    /// The blocks of a partition in which any query has keys: rows follow each other, so these are from
    /// the first key of the first to the last of the last.
    pub fn blocks(&self, partition: usize) -> Range<usize> {
        let (start, end) = (partition * PARTITION, (partition + 1) * PARTITION);
        let first = self.keys(0).start.max(start);
        let last = self.keys(self.len() - 1).end.min(end);
        first / BLOCK..last.div_ceil(BLOCK)
    }

    /// First and one past the last query of each tile.
    fn tiles<B: Backend>(&self) -> impl Iterator<Item = (usize, usize)> + use<B> {
        let n = self.len();
        (0..n).step_by(B::TILE).map(move |first| (first, (first + B::TILE).min(n)))
    }
}

/// An item's memory: with n queries, `[tile][dim_k][queries of the tile]`, `[n][SCORES]`, a widened
/// block, `[n][padded dim_v]` and [`Mass`]es twice, the heads of a tile and one head.
struct Buffers<'a> {
    rotated: &'a mut [f32],
    scores: &'a mut [f32],
    block: &'a mut [f32],
    total: &'a mut [f32],
    next: &'a mut [f32],
    masses: &'a mut [f32],
    next_masses: &'a mut [f32],
    heads: &'a mut [f32],
    normed: &'a mut [f32],
}

impl Worker<'_> {
    /// Computes the plan's item `index` and writes its rows, or its partial results and, if it is the last of
    /// its group, the rows.
    ///
    /// # Safety
    /// The machine has `B`'s instruction set. No other item has the same rows, head and partition, and nobody
    /// but items writes to the cache.
    #[inline(always)]
    pub unsafe fn run<B: Backend>(&self, index: usize, scratch: &mut Scratch) {
        let s = self.rows.shape;
        let items = &self.partials.plan.items;
        let (item, behind) = (&items[index], items.get(index + 1));
        let queries = self.queries(item);
        let (n, dim) = (queries.len(), self.dim());
        let block = BLOCK * s.dim_k.max(dim);
        let heads = B::TILE * s.dim_k;
        let [rotated, scores, block, total, next, masses, next_masses, heads, normed] =
            scratch.take([n * s.dim_k, n * SCORES, block, n * dim, n * dim, 2 * n, 2 * n, heads, s.dim_k]);
        let mut buffers = Buffers { rotated, scores, block, total, next, masses, next_masses, heads, normed };
        self.rotate::<B>(item, &queries, &mut buffers);
        // SAFETY: passed on.
        unsafe {
            // Long before it is read: what was written in parts cannot be read as a whole for a while.
            if queries.stores_row(item) {
                self.store::<B>(item.head_kv, queries.span, &mut buffers);
            }
            if let Some(item) = behind.filter(|item| self.queries(item).stores_row(item)) {
                Stretch::new(item, &self.queries(item), item.partitions.start).ask_last(self.cache);
            }
            let mut now = Stretch::new(item, &queries, item.partitions.start);
            for partition in item.partitions.clone() {
                let then = if partition + 1 < item.partitions.end {
                    Some(Stretch::new(item, &queries, partition + 1))
                } else {
                    behind.map(|item| Stretch::new(item, &self.queries(item), item.partitions.start))
                };
                let ahead = Ahead { cache: self.cache, now: &now, then: then.as_ref() };
                self.partition::<B>(&queries, &ahead, partition == item.partitions.start, &mut buffers);
                now = then.unwrap_or(now);
            }
            match item.group {
                None => self.write_rows(item, &queries, &buffers),
                Some(group) => self.write_partial(item, group, &queries, &mut buffers),
            }
        }
    }

    fn queries(&self, item: &Item) -> Queries<'_> {
        let s = self.rows.shape;
        Queries { span: &self.rows.spans[item.span], rows: item.rows.clone(), group: s.group(), window: s.window }
    }

    /// Stores the key and the value of a single row.
    ///
    /// # Safety
    /// As [`Self::run`], by the item that reads the row's block.
    #[inline(always)]
    unsafe fn store<B: Backend>(&self, head_kv: usize, span: &Span<'_>, b: &mut Buffers<'_>) {
        let dim_k = self.rows.shape.dim_k;
        for plane in [&self.cache.keys, &self.cache.values] {
            let scratch = [&mut b.heads[..dim_k], &mut *b.normed];
            // SAFETY: passed on.
            unsafe { store_row::<B>(self.rows, plane, head_kv, span, 0, scratch) };
        }
    }

    /// Elements of a query's sums.
    fn dim(&self) -> usize {
        self.cache.values.format().padded()
    }

    /// Rotates and scales the queries and lays them out in tiles.
    #[inline(always)]
    fn rotate<B: Backend>(&self, item: &Item, queries: &Queries<'_>, buffers: &mut Buffers<'_>) {
        const { assert!(B::TILE <= 8) };
        let s = self.rows.shape;
        for (first, end) in queries.tiles::<B>() {
            let heads = &mut buffers.heads[..(end - first) * s.dim_k];
            for (index, out) in (first..end).zip(heads.chunks_exact_mut(s.dim_k)) {
                let row = queries.span.row + queries.rows.start + index / queries.group;
                let head = item.head_kv * queries.group + index % queries.group;
                self.rows.query(row, head, buffers.normed, out);
                out.iter_mut().for_each(|x| *x *= s.scale);
            }
            let tile = &mut buffers.rotated[first * s.dim_k..end * s.dim_k];
            // A number that the compiler knows lets it interleave vectors, where it would scatter otherwise.
            match end - first {
                1 => tile.copy_from_slice(heads),
                2 => interleave::<2>(heads, tile),
                3 => interleave::<3>(heads, tile),
                4 => interleave::<4>(heads, tile),
                5 => interleave::<5>(heads, tile),
                6 => interleave::<6>(heads, tile),
                7 => interleave::<7>(heads, tile),
                8 => interleave::<8>(heads, tile),
                _ => unreachable!(),
            }
        }
    }

    /// Adds one partition to the total; the first of a query begins it.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn partition<B: Backend>(
        &self,
        queries: &Queries<'_>,
        ahead: &Ahead<'_>,
        is_first: bool,
        b: &mut Buffers<'_>,
    ) {
        let partition = ahead.now.partition;
        let (start, end, dim) = (partition * PARTITION, (partition + 1) * PARTITION, self.dim());
        // SAFETY: passed on.
        unsafe { self.scores::<B>(queries, ahead, b) };
        let sums = if is_first { &mut *b.total } else { &mut *b.next };
        sums.fill(0.0);
        let masses = if is_first { &mut *b.masses } else { &mut *b.next_masses };
        for index in 0..queries.len() {
            let keys = queries.keys_within(index, start, end);
            if !keys.is_empty() {
                let scores = &mut b.scores[index * SCORES..][..PARTITION];
                scores[..keys.start].fill(f32::NEG_INFINITY);
                // SAFETY: passed on.
                let (largest, sum) = unsafe { B::softmax(scores, keys.end) };
                Mass { largest, sum }.put(masses, index);
            }
        }
        // SAFETY: passed on.
        unsafe { self.values::<B>(queries, ahead, b.scores, b.block, sums) };
        for index in 0..if is_first { 0 } else { queries.len() } {
            let (of_query, at) = (queries.partitions(index), index * dim..(index + 1) * dim);
            let next = Mass::get(b.next_masses, index);
            if partition == of_query.start {
                b.total[at.clone()].copy_from_slice(&b.next[at]);
                next.put(b.masses, index);
            } else if of_query.contains(&partition) {
                let mut mass = Mass::get(b.masses, index);
                fold(&mut mass, &mut b.total[at.clone()], next, &b.next[at]);
                mass.put(b.masses, index);
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn scores<B: Backend>(&self, queries: &Queries<'_>, ahead: &Ahead<'_>, b: &mut Buffers<'_>) {
        let Stretch { partition, ids, head_kv, ref blocks, .. } = *ahead.now;
        let (keys, start) = (&self.cache.keys, partition * PARTITION);
        let dim = keys.format().dim;
        for block in blocks.clone() {
            ahead.keys(block);
            // SAFETY: passed on; nobody writes to the blocks of others.
            unsafe {
                keys.format().widen::<B>(keys.head(ids[block], head_kv), BLOCK, b.block);
                for (first, end) in queries.tiles::<B>() {
                    let wanted = queries.keys(first).start..queries.keys(end - 1).end;
                    if wanted.start < (block + 1) * BLOCK && block * BLOCK < wanted.end {
                        let tile = &b.rotated[first * dim..end * dim];
                        let scores = &mut b.scores[first * SCORES + block * BLOCK - start..end * SCORES];
                        B::scores(tile, end - first, &b.block[..dim * BLOCK], scores);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn values<B: Backend>(
        &self,
        queries: &Queries<'_>,
        ahead: &Ahead<'_>,
        weights: &[f32],
        wide: &mut [f32],
        sums: &mut [f32],
    ) {
        let Stretch { partition, ids, head_kv, ref blocks, .. } = *ahead.now;
        let (values, start) = (&self.cache.values, partition * PARTITION);
        let dim = self.dim();
        for block in blocks.clone() {
            ahead.values(block);
            let keys = |index: usize| queries.keys_within(index, block * BLOCK, (block + 1) * BLOCK);
            // SAFETY: passed on; nobody writes to the blocks of others.
            unsafe {
                values.format().widen::<B>(values.head(ids[block], head_kv), keys(queries.len() - 1).end, wide);
                for (first, end) in queries.tiles::<B>() {
                    let weights = &weights[first * SCORES + block * BLOCK - start..];
                    let sums = &mut sums[first * dim..end * dim];
                    // Keys that all queries of the tile have; before them those that only earlier rows
                    // have, whose windows reach further back, and after them those of later rows.
                    let shared = keys(end - 1).start..keys(first).end;
                    if shared.is_empty() {
                        for index in first..end {
                            let at = index - first;
                            B::add_values(&weights[at * SCORES..], 1, keys(index), wide, dim, &mut sums[at * dim..]);
                        }
                        continue;
                    }
                    for index in (first..end).take_while(|index| keys(*index).start < shared.start) {
                        let (at, before) = (index - first, keys(index).start..shared.start);
                        B::add_values(&weights[at * SCORES..], 1, before, wide, dim, &mut sums[at * dim..]);
                    }
                    B::add_values(weights, end - first, shared.clone(), wide, dim, sums);
                    for index in first..end {
                        let (at, after) = (index - first, shared.end..keys(index).end);
                        if !after.is_empty() {
                            B::add_values(&weights[at * SCORES..], 1, after, wide, dim, &mut sums[at * dim..]);
                        }
                    }
                }
            }
        }
    }

    /// Divides the totals by their weights, into the output.
    ///
    /// # Safety
    /// No other item has the same rows and head.
    #[inline(always)]
    unsafe fn write_rows(&self, item: &Item, queries: &Queries<'_>, b: &Buffers<'_>) {
        for (index, total) in b.total.chunks_exact(self.dim()).enumerate().take(queries.len()) {
            // SAFETY: passed on.
            unsafe { self.write_row(item, queries, index, Mass::get(b.masses, index), total) };
        }
    }

    /// # Safety
    /// No other item writes the row and head of query `index`.
    #[inline(always)]
    unsafe fn write_row(&self, item: &Item, queries: &Queries<'_>, index: usize, mass: Mass, total: &[f32]) {
        let s = self.rows.shape;
        let row = queries.span.row + queries.rows.start + index / queries.group;
        let head = item.head_kv * queries.group + index % queries.group;
        // SAFETY: passed on.
        let out = unsafe { self.out.part((row * s.n_head + head) * s.dim_v, s.dim_v) };
        let inverse = 1.0 / mass.sum;
        out.iter_mut().zip(total).for_each(|(out, total)| *out = total * inverse);
    }

    /// Writes the result of an item's one partition; the last item of the group merges them all.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn write_partial(&self, item: &Item, group: usize, queries: &Queries<'_>, b: &mut Buffers<'_>) {
        let (n, dim) = (queries.len(), self.dim());
        let place = &self.partials.plan.groups[group];
        let len = queries.rows.len() * partial_len(queries.group, self.rows.shape.dim_v);
        let place_of = |partition: usize| place.start + (partition - place.partitions.start) * len;
        // SAFETY: each partition of a group has a place of its own.
        let mine = unsafe { self.partials.values.part(place_of(item.partitions.start), len) };
        mine[..n * dim].copy_from_slice(&b.total[..n * dim]);
        mine[n * dim..][..2 * n].copy_from_slice(&b.masses[..2 * n]);
        if !self.partials.is_last(group) {
            return;
        }
        for index in 0..n {
            let total = &mut b.total[..dim];
            let mut mass = Mass::default();
            let of_query = queries.partitions(index);
            for partition in of_query.clone() {
                // SAFETY: all other items of the group are done and nobody writes to it any more.
                let theirs: &[f32] = unsafe { self.partials.values.part(place_of(partition), len) };
                let (next, sums) = (Mass::get(&theirs[n * dim..], index), &theirs[index * dim..][..dim]);
                if partition == of_query.start {
                    mass = next;
                    total.copy_from_slice(sums);
                } else {
                    fold(&mut mass, total, next, sums);
                }
            }
            // SAFETY: passed on: only the last of the group comes here.
            unsafe { self.write_row(item, queries, index, mass, total) };
        }
    }
}

/// Puts `Q` heads `[Q][dim]` side by side, `[dim][Q]`.
#[inline(always)]
fn interleave<const Q: usize>(heads: &[f32], tile: &mut [f32]) {
    let dim = heads.len() / Q;
    let heads: [&[f32]; Q] = std::array::from_fn(|query| &heads[query * dim..(query + 1) * dim]);
    for (at, column) in tile.as_chunks_mut::<Q>().0.iter_mut().enumerate().take(dim) {
        for query in 0..Q {
            column[query] = heads[query][at];
        }
    }
}
