//! Low-rank updates of products, y += scale · B (A x): what LoRA adapters add to a matrix.
//!
//! [`Tiles`] is a matrix in f32, [`LowRank`] a pair of them, and [`add_low_rank`] adds several pairs'
//! updates to rows that each have their own. Ranks are small, so there is one kernel: an output is
//! summed over its input's columns in order from zero, one fused multiply-add each, sixteen outputs side
//! by side. Which rows are computed together changes nothing, and plain Rust gives the same bits.

use std::ops::Range;

use super::Simd;
use super::packed::TILE;
use super::pool::{Parts, Pool};

/// Outputs of a tile.
type Lanes = [f32; TILE];

/// Rows whose sums are kept in registers while a tile passes by.
const ROWS: usize = 4;

/// Tiles of B that a thread takes at a time.
const STRIPE: usize = 16;

/// A matrix `[n, k]`, sixteen rows side by side: `[tile][column][row]`, filled up with zeros.
#[derive(Debug, Clone)]
pub struct Tiles {
    n: usize,
    k: usize,
    values: Vec<Lanes>,
}

impl Tiles {
    /// Takes `rows`, n of them with k values each.
    ///
    /// # Panics
    /// If their number is another one, or `k` is 0.
    #[must_use]
    pub fn pack(n: usize, k: usize, rows: &[f32]) -> Self {
        assert!(k > 0 && rows.len() == n * k, "{} values are not {n} rows of {k}", rows.len());
        let mut values = vec![[0.0; TILE]; n.div_ceil(TILE) * k];
        for (row, columns) in rows.chunks_exact(k).enumerate() {
            for (column, value) in columns.iter().enumerate() {
                values[row / TILE * k + column][row % TILE] = *value;
            }
        }
        Self { n, k, values }
    }

    /// Rows of the matrix: what it gives for an input.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Adds `scale` times the products with one `input` of k values to `y`, which has n.
    #[inline(always)]
    pub fn add_to(&self, input: &[f32], scale: f32, y: &mut [f32]) {
        let mut sums = [[0.0; TILE]; ROWS];
        for (tile, y) in y[..self.n].chunks_mut(TILE).enumerate() {
            sum_rows::<1>(input, self.k, self.tile(tile), &mut sums);
            put(y, &sums[0], scale);
        }
    }

    fn n_tiles(&self) -> usize {
        self.n.div_ceil(TILE)
    }

    #[inline(always)]
    fn tile(&self, index: usize) -> &[Lanes] {
        &self.values[index * self.k..][..self.k]
    }
}

/// An update B A of a matrix: A `[rank, k]`, B `[n, rank]`.
#[derive(Debug, Clone)]
pub struct LowRank {
    a: Tiles,
    b: Tiles,
}

impl LowRank {
    /// # Panics
    /// If the ranks differ.
    #[must_use]
    pub fn new(a: Tiles, b: Tiles) -> Self {
        assert_eq!(a.n, b.k, "A gives as much as B takes");
        Self { a, b }
    }
}

/// Rows of a step with what is added to them.
#[derive(Debug)]
pub struct RowUpdates<'a> {
    pub rows: Range<usize>,
    /// Ascending by column, without overlap.
    pub parts: Vec<PartUpdates<'a>>,
}

/// What is added to some columns of the output: updates of equal width with their scales, in order.
#[derive(Debug)]
pub struct PartUpdates<'a> {
    pub column: usize,
    pub terms: Vec<(&'a LowRank, f32)>,
}

/// Adds `updates`, ascending by rows without overlap, to `y`, whose rows have `stride` values. The
/// input of a row has `k` values, which `source` writes. `inner` is memory for the products with A.
///
/// # Panics
/// If shapes do not fit or updates overlap.
pub fn add_low_rank(
    updates: &[RowUpdates],
    k: usize,
    source: impl Fn(usize, &mut [f32]) + Sync,
    (y, stride): (&mut [f32], usize),
    inner: &mut Vec<f32>,
    (pool, simd): (&Pool, Simd),
) {
    let jobs = jobs(updates, k, y.len(), stride);
    let size = jobs.last().map_or(0, |job| job.inner + job.rows.len() * job.width);
    inner.resize(inner.len().max(size), 0.0);
    multiply_a(&jobs, k, source, inner, pool, simd);
    add_b(&jobs, inner, y, stride, pool, simd);
}

/// One part of some rows.
struct Job<'a> {
    rows: Range<usize>,
    column: usize,
    n: usize,
    terms: &'a [(&'a LowRank, f32)],
    /// Ranks of all terms together, and where the products with their A start.
    width: usize,
    inner: usize,
}

fn jobs<'a>(updates: &'a [RowUpdates<'a>], k: usize, len: usize, stride: usize) -> Vec<Job<'a>> {
    let mut jobs: Vec<Job> = Vec::new();
    let (mut inner, mut row) = (0, 0);
    for update in updates {
        assert!(row <= update.rows.start && update.rows.end * stride <= len, "rows are apart and inside of the output");
        row = update.rows.end;
        let mut column = 0;
        for part in &update.parts {
            let n = part.terms.first().map_or(0, |(term, _)| term.b.n);
            let fits = part.terms.iter().all(|(term, _)| term.a.k == k && term.b.n == n);
            assert!(
                fits && column <= part.column && part.column + n <= stride,
                "parts are apart and inside of the rows"
            );
            column = part.column + n;
            let width = part.terms.iter().map(|(term, _)| term.a.n).sum();
            let rows = update.rows.clone();
            jobs.push(Job { rows, column: part.column, n, terms: &part.terms, width, inner });
            inner += update.rows.len() * width;
        }
    }
    jobs
}

/// Writes the products with each A, row by row, the terms' side by side.
fn multiply_a(
    jobs: &[Job],
    k: usize,
    source: impl Fn(usize, &mut [f32]) + Sync,
    inner: &mut [f32],
    pool: &Pool,
    simd: Simd,
) {
    let blocks = |job: &Job| job.rows.len().div_ceil(ROWS);
    let pieces: Vec<(usize, usize)> =
        jobs.iter().enumerate().flat_map(|(index, job)| (0..blocks(job)).map(move |block| (index, block))).collect();
    let inner = &Parts(inner.as_mut_ptr());
    pool.run(pieces.len(), &|piece| {
        let (index, block) = pieces[piece];
        let job = &jobs[index];
        let first = block * ROWS;
        let n = ROWS.min(job.rows.len() - first);
        // SAFETY: the jobs' stretches of `inner` are apart and of `rows · width` values, as counted in
        // `jobs`; this piece alone has these rows of its job.
        let out = unsafe { std::slice::from_raw_parts_mut(inner.0.add(job.inner + first * job.width), n * job.width) };
        let mut input = vec![0.0; n * k];
        simd.run(
            #[inline(always)]
            || {
                for (row, values) in input.chunks_exact_mut(k).enumerate() {
                    source(job.rows.start + first + row, values);
                }
                let mut at = 0;
                for (term, _) in job.terms {
                    for tile in 0..term.a.n_tiles() {
                        let mut sums = [[0.0; TILE]; ROWS];
                        products(n, &input, k, term.a.tile(tile), &mut sums);
                        let lanes = TILE.min(term.a.n - tile * TILE);
                        for (row, sums) in sums.iter().enumerate().take(n) {
                            out[row * job.width + at + tile * TILE..][..lanes].copy_from_slice(&sums[..lanes]);
                        }
                    }
                    at += term.a.n;
                }
            },
        );
    });
}

/// Adds the scaled products with each B, term by term.
fn add_b(jobs: &[Job], inner: &[f32], y: &mut [f32], stride: usize, pool: &Pool, simd: Simd) {
    let n_tiles = |job: &Job| job.n.div_ceil(TILE);
    let stripes = |job: &Job| (0..n_tiles(job)).step_by(STRIPE);
    let pieces: Vec<(usize, usize)> =
        jobs.iter().enumerate().flat_map(|(index, job)| stripes(job).map(move |tile| (index, tile))).collect();
    let out = &Parts(y.as_mut_ptr());
    pool.run(pieces.len(), &|piece| {
        let (index, first) = pieces[piece];
        let job = &jobs[index];
        let last = n_tiles(job).min(first + STRIPE);
        simd.run(
            #[inline(always)]
            || {
                for block in (0..job.rows.len()).step_by(ROWS) {
                    let n = ROWS.min(job.rows.len() - block);
                    let inner = &inner[job.inner + block * job.width..][..n * job.width];
                    for tile in first..last {
                        let lanes = TILE.min(job.n - tile * TILE);
                        let mut at = 0;
                        for (term, scale) in job.terms {
                            let mut sums = [[0.0; TILE]; ROWS];
                            products(n, &inner[at..], job.width, term.b.tile(tile), &mut sums);
                            at += term.a.n;
                            for (row, sums) in sums.iter().enumerate().take(n) {
                                let row = job.rows.start + block + row;
                                // SAFETY: `jobs` has checked that rows and columns are inside of `y` and
                                // that no other job has them; no other piece has these tiles.
                                let y = unsafe {
                                    let at = row * stride + job.column + tile * TILE;
                                    std::slice::from_raw_parts_mut(out.0.add(at), lanes)
                                };
                                put(y, sums, *scale);
                            }
                        }
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn put(y: &mut [f32], sums: &Lanes, scale: f32) {
    match <&mut Lanes>::try_from(&mut *y) {
        Ok(y) => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum.mul_add(scale, *y)),
        Err(_) => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum.mul_add(scale, *y)),
    }
}

/// Products of a tile with `n` rows of `input`, which lie `width` values apart.
#[inline(always)]
fn products(n: usize, input: &[f32], width: usize, tile: &[Lanes], out: &mut [Lanes; ROWS]) {
    match n {
        1 => sum_rows::<1>(input, width, tile, out),
        2 => sum_rows::<2>(input, width, tile, out),
        3 => sum_rows::<3>(input, width, tile, out),
        _ => sum_rows::<ROWS>(input, width, tile, out),
    }
}

#[inline(always)]
fn sum_rows<const N: usize>(input: &[f32], width: usize, tile: &[Lanes], out: &mut [Lanes; ROWS]) {
    let mut rows: [&[f32]; N] = [&[]; N];
    for (row, values) in rows.iter_mut().enumerate() {
        *values = &input[row * width..][..tile.len()];
    }
    let mut sums = [[0.0; TILE]; N];
    for (column, weights) in tile.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[column];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = x.mul_add(*weight, *sum);
            }
        }
    }
    out[..N].copy_from_slice(&sums);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 101) % 97) as f32 / 48.5 - 1.0).collect()
    }

    /// A pair with its matrices row by row.
    struct Pair {
        low_rank: LowRank,
        a: Vec<f32>,
        b: Vec<f32>,
        rank: usize,
    }

    fn pair(k: usize, rank: usize, n: usize, seed: usize) -> Pair {
        let (a, b) = (numbers(rank * k, seed), numbers(n * rank, seed + 1));
        let low_rank = LowRank::new(Tiles::pack(rank, k, &a), Tiles::pack(n, rank, &b));
        Pair { low_rank, a, b, rank }
    }

    /// The matrix times a row, as the documentation has it.
    fn times(matrix: &[f32], x: &[f32]) -> Vec<f32> {
        let sum = |row: &[f32]| row.iter().zip(x).fold(0.0f32, |sum, (w, x)| x.mul_add(*w, sum));
        matrix.chunks_exact(x.len()).map(sum).collect()
    }

    fn oracle(pair: &Pair, x: &[f32], scale: f32, y: &mut [f32]) {
        let inner = times(&pair.a, x);
        assert_eq!(inner.len(), pair.rank);
        y.iter_mut().zip(times(&pair.b, &inner)).for_each(|(y, sum)| *y = sum.mul_add(scale, *y));
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Two parts of other widths, the second with two terms; rows before, between and behind that stay.
        #[test]
        fn every_instruction_set_gives_the_bits_of_the_plain_sums(
            k in 1usize..70, ranks in prop::array::uniform3(1usize..40), n in prop::array::uniform2(1usize..300),
            rows in prop::array::uniform2(1usize..11), scale in -2.0f32..2.0,
        ) {
            let pairs = [pair(k, ranks[0], n[0], 1), pair(k, ranks[1], n[1], 2), pair(k, ranks[2], n[1], 3)];
            let (stride, m) = (n[0] + n[1] + 1, rows[0] + rows[1] + 3);
            let (x, before) = (numbers(m * k, 7), numbers(m * stride, 8));
            let groups = [1..1 + rows[0], 2 + rows[0]..2 + rows[0] + rows[1]];
            let mut want = before.clone();
            for row in groups.iter().cloned().flatten() {
                let (x, y) = (&x[row * k..][..k], &mut want[row * stride..][..stride]);
                oracle(&pairs[0], x, scale, &mut y[..n[0]]);
                oracle(&pairs[1], x, 0.5, &mut y[n[0] + 1..]);
                oracle(&pairs[2], x, scale, &mut y[n[0] + 1..]);
            }
            let parts = || vec![
                PartUpdates { column: 0, terms: vec![(&pairs[0].low_rank, scale)] },
                PartUpdates { column: n[0] + 1, terms: vec![(&pairs[1].low_rank, 0.5), (&pairs[2].low_rank, scale)] },
            ];
            let updates: Vec<RowUpdates> =
                groups.iter().map(|rows| RowUpdates { rows: rows.clone(), parts: parts() }).collect();
            let source = |row: usize, out: &mut [f32]| out.copy_from_slice(&x[row * k..][..k]);
            let pool = Pool::new(2);
            for simd in Simd::available() {
                let mut y = before.clone();
                add_low_rank(&updates, k, source, (&mut y, stride), &mut Vec::new(), (&pool, simd));
                prop_assert_eq!(bits(&y), bits(&want), "{:?}", simd);
            }
        }
    }

    #[test]
    fn one_row_is_added_as_by_the_oracle() {
        let (tiles, input) = (Tiles::pack(21, 5, &numbers(105, 1)), numbers(5, 2));
        let (mut y, mut want) = (numbers(21, 3), numbers(21, 3));
        tiles.add_to(&input, 0.7, &mut y);
        want.iter_mut().zip(times(&numbers(105, 1), &input)).for_each(|(y, sum)| *y = sum.mul_add(0.7, *y));
        assert_eq!(bits(&y), bits(&want));
    }

    #[test]
    #[should_panic(expected = "rows are apart")]
    fn updates_that_overlap_are_a_fault() {
        let pair = pair(4, 2, 8, 1);
        let part = || vec![PartUpdates { column: 0, terms: vec![(&pair.low_rank, 1.0)] }];
        let updates = [RowUpdates { rows: 0..2, parts: part() }, RowUpdates { rows: 1..3, parts: part() }];
        let run = (&Pool::new(1), Simd::SCALAR);
        add_low_rank(&updates, 4, |_, _| (), (&mut [0.0; 24], 8), &mut Vec::new(), run);
    }
}
