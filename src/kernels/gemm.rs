//! y = x · Wᵀ over packed matrices, shared out to the threads, with what follows in the same pass.

use super::Simd;
use super::activations::{Activations, Forms, PANEL, Panel, Writer, n_panels, panel};
use super::dispatch::Set;
#[cfg(target_arch = "x86_64")]
use super::gemm_avx2;
#[cfg(target_arch = "x86_64")]
use super::gemm_avx512;
#[cfg(target_arch = "aarch64")]
use super::gemm_neon;
use super::gemm_scalar;
use super::math::{gelu, silu};
use super::packed::{Matrix, TILE, UNIT};
use super::pool::{Parts, Pool};
use super::prefetch;

/// A matrix with an optional bias.
#[derive(Debug, Clone, Copy)]
pub struct Weight<'a> {
    pub matrix: &'a Matrix,
    pub bias: Option<&'a [f32]>,
}

impl Weight<'_> {
    /// The form of the activations that products with this matrix read.
    #[must_use]
    pub fn forms(&self) -> Forms {
        Forms { quants: self.matrix.wants_quants(), floats: !self.matrix.wants_quants() }
    }

    /// `products` of tile `tile` with the bias added. Values pass by copy, which keeps them in one
    /// vector register.
    #[inline(always)]
    fn biased(&self, tile: usize, mut products: Lanes) -> Lanes {
        if let Some(bias) = self.bias {
            let bias = &bias[tile * TILE..];
            products.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        products
    }
}

/// Products of a tile with one row.
type Lanes = [f32; TILE];

/// Products of two tiles with a panel: `[tile][row][lane]`.
type Block = [[Lanes; PANEL]; 2];

/// Activations that fit into a core's own cache beside a stretch of weights.
const ROWS_BYTES: usize = 256 << 10;

/// Pieces for each thread: enough that one which loses its core for a while delays the others
/// little, few enough that taking them costs nothing.
const PIECES_OF_THREAD: usize = 12;

/// Multiplies the rows of `a` with each of `weights`; their outputs lie side by side in the rows of
/// `y` (m rows of the sum of all n). With `add` they are added to what is there. Every element
/// depends on its own row alone.
pub fn gemm(weights: &[Weight], a: &Activations, y: &mut [f32], add: bool, pool: &Pool, simd: Simd) {
    let stride: usize = weights.iter().map(|weight| weight.matrix.n).sum();
    assert_eq!(y.len(), a.m * stride, "the output has m rows of all matrices' n");
    let out = &Parts(y.as_mut_ptr());
    let mut column = 0;
    let columns: Vec<usize> = weights
        .iter()
        .map(|weight| {
            check(weight, a);
            column += weight.matrix.n;
            column - weight.matrix.n
        })
        .collect();
    let at = |index: usize, tile: usize, row: usize| out.0.wrapping_add(row * stride + columns[index] + tile * TILE);
    share_out(
        weights,
        a,
        pool,
        simd,
        #[inline(always)]
        |index, first, n_tiles, panel| {
            for row in panel.row..panel.row + panel.width {
                for tile in first..first + n_tiles {
                    prefetch::for_writing(at(index, tile, row).cast());
                }
            }
        },
        #[inline(always)]
        |index, first, n_tiles, panel, block| {
            let weight = &weights[index];
            for (tile, rows) in (first..first + n_tiles).zip(block) {
                let (lanes, rows) = (TILE.min(weight.matrix.n - tile * TILE), &mut rows[..panel.width]);
                if weight.bias.is_some() {
                    rows.iter_mut().for_each(|products| *products = weight.biased(tile, *products));
                }
                let y = at(index, tile, panel.row);
                // SAFETY: the panel's rows are of a.m and the lanes end inside of the matrix's columns, so
                // they lie in `y`; no other piece has this tile.
                unsafe {
                    if lanes == TILE { put(y, stride, rows, add) } else { put_short(y, stride, rows, lanes, add) }
                }
            }
        },
    );
}

/// Writes a tile's products with a panel to rows that lie `stride` apart, or adds them. The choice lies outside
/// of the loops, which have nothing but vectors.
///
/// # Safety
/// At `y` there are that many rows of a whole tile, and nobody else uses them.
#[inline(always)]
unsafe fn put(y: *mut f32, stride: usize, rows: &[Lanes], add: bool) {
    // SAFETY: passed on.
    let row = |index: usize| unsafe { &mut *y.add(index * stride).cast::<Lanes>() };
    if add {
        for (index, products) in rows.iter().enumerate() {
            row(index).iter_mut().zip(products).for_each(|(y, product)| *y += product);
        }
    } else {
        for (index, products) in rows.iter().enumerate() {
            *row(index) = *products;
        }
    }
}

/// [`put`] of the first `lanes` columns, for the last tile of a matrix whose rows do not divide by 16. Were it part
/// of the other, the compiler would make one copy of unknown length of both.
///
/// # Safety
/// As [`put`], with `lanes` columns.
#[cold]
#[inline(never)]
unsafe fn put_short(y: *mut f32, stride: usize, rows: &[Lanes], lanes: usize, add: bool) {
    for (index, products) in rows.iter().enumerate() {
        // SAFETY: passed on.
        let y = unsafe { std::slice::from_raw_parts_mut(y.add(index * stride), lanes) };
        y.iter_mut().zip(products).for_each(|(y, product)| *y = if add { *y + product } else { *product });
    }
}

/// What the gates of a feed-forward layer pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Silu,
    Gelu,
}

/// The gated half of a feed-forward layer: f(x · gateᵀ) · (x · upᵀ), put into `out` in `forms` as the input
/// of the next product.
pub fn gemm_gated(
    f: Gate,
    halves: [&Weight; 2],
    a: &Activations,
    out: &mut Activations,
    forms: Forms,
    pool: &Pool,
    simd: Simd,
) {
    // A branch in the loop over a tile would keep it from being vectorized, so each has code of its own.
    match f {
        Gate::Silu => gemm_gated_by(
            #[inline(always)]
            |gate, up| silu(gate) * up,
            halves,
            a,
            out,
            forms,
            pool,
            simd,
        ),
        Gate::Gelu => gemm_gated_by(
            #[inline(always)]
            |gate, up| gelu(gate) * up,
            halves,
            a,
            out,
            forms,
            pool,
            simd,
        ),
    }
}

fn gemm_gated_by(
    f: impl Fn(f32, f32) -> f32 + Sync,
    [gate, up]: [&Weight; 2],
    a: &Activations,
    out: &mut Activations,
    forms: Forms,
    pool: &Pool,
    simd: Simd,
) {
    check(gate, a);
    check(up, a);
    let n = gate.matrix.n;
    assert_eq!(n, up.matrix.n, "both halves have the same width");
    let writer = out.writer((a.m, n), forms, simd);
    share_out(
        &[*gate],
        a,
        pool,
        simd,
        #[inline(always)]
        |_, first, _, panel| writer.prefetch(panel, first / 2),
        #[inline(always)]
        |_, first, n_tiles, panel, gates| {
            let mut ups = [[[0.0; TILE]; PANEL]; 2];
            products(up.matrix, first, n_tiles, a, panel, simd, &mut ups);
            let mut values = [[0.0; UNIT]; PANEL];
            for (row, values) in values.iter_mut().enumerate().take(panel.width) {
                for tile in 0..n_tiles {
                    let gates = gate.biased(first + tile, gates[tile][row]);
                    let ups = up.biased(first + tile, ups[tile][row]);
                    for ((value, gate), up) in values[tile * TILE..].iter_mut().zip(gates).zip(ups) {
                        *value = f(gate, up);
                    }
                }
            }
            // SAFETY: two tiles from an even one on are one unit, which no other piece has.
            unsafe { put_hidden(&writer, panel, first * TILE, n, &values) }
        },
    );
}

/// The first half of a plain feed-forward layer: gelu(x · upᵀ), put into `out` in `forms` as the input of
/// the next product.
pub fn gemm_gelu(up: &Weight, a: &Activations, out: &mut Activations, forms: Forms, pool: &Pool, simd: Simd) {
    check(up, a);
    let n = up.matrix.n;
    let writer = out.writer((a.m, n), forms, simd);
    share_out(
        &[*up],
        a,
        pool,
        simd,
        #[inline(always)]
        |_, first, _, panel| writer.prefetch(panel, first / 2),
        #[inline(always)]
        |_, first, n_tiles, panel, block| {
            let mut values = [[0.0; UNIT]; PANEL];
            for (row, values) in values.iter_mut().enumerate().take(panel.width) {
                for (tile, rows) in block.iter().enumerate().take(n_tiles) {
                    let products = up.biased(first + tile, rows[row]);
                    for (value, product) in values[tile * TILE..].iter_mut().zip(products) {
                        *value = gelu(product);
                    }
                }
            }
            // SAFETY: two tiles from an even one on are one unit, which no other piece has.
            unsafe { put_hidden(&writer, panel, first * TILE, n, &values) }
        },
    );
}

/// Puts a unit of hidden columns from `column` on, of `n`, where rows of the next product's input are.
///
/// # Safety
/// As for [`Writer::put_unit`], for all rows of the panel.
#[inline(always)]
unsafe fn put_hidden(writer: &Writer, panel: Panel, column: usize, n: usize, rows: &[[f32; UNIT]; PANEL]) {
    let is_whole = n - column >= UNIT;
    // SAFETY: passed on.
    unsafe {
        if is_whole && panel.width == PANEL {
            return writer.put_units(panel, column / UNIT, rows.each_ref());
        }
        for (row, values) in rows.iter().enumerate().take(panel.width) {
            if is_whole {
                writer.put_unit(panel, row, column / UNIT, values);
            } else {
                writer.put_floats(panel, row, column, &values[..n - column]);
            }
        }
    }
}

fn check(weight: &Weight, a: &Activations) {
    assert_eq!(weight.matrix.k, a.k, "the matrix has as many columns as the input");
    assert!(a.has(weight.forms()), "the input has the form that the matrix reads");
}

/// Calls `ask` before and `sink` with the products of every pair of tiles of every matrix with every panel: the
/// index of the matrix, the first tile, the number of tiles, the panel and the products.
#[inline(always)]
fn share_out(
    weights: &[Weight],
    a: &Activations,
    pool: &Pool,
    simd: Simd,
    ask: impl Fn(usize, usize, usize, Panel) + Sync,
    sink: impl Fn(usize, usize, usize, Panel, &mut Block) + Sync,
) {
    let pairs = |weight: &Weight| weight.matrix.n_tiles().div_ceil(2);
    let total: usize = weights.iter().map(pairs).sum();
    let pairs_of_piece = (total / (pool.n_threads() * PIECES_OF_THREAD)).max(1);
    let pieces = |weight: &Weight| pairs(weight).div_ceil(pairs_of_piece);
    pool.run(weights.iter().map(pieces).sum(), &|piece| {
        let mut within = piece;
        let mut index = 0;
        while within >= pieces(&weights[index]) {
            within -= pieces(&weights[index]);
            index += 1;
        }
        let n_tiles = weights[index].matrix.n_tiles();
        let first = within * pairs_of_piece * 2;
        let tiles = first..n_tiles.min(first + pairs_of_piece * 2);
        simd.run(
            #[inline(always)]
            || {
                let mut block = [[[0.0; TILE]; PANEL]; 2];
                for rows in row_blocks(a) {
                    for tile in tiles.clone().step_by(2) {
                        let n = 2.min(tiles.end - tile);
                        for panel in rows.clone().map(|index| panel(a.m, index)) {
                            ask(index, tile, n, panel);
                            products(weights[index].matrix, tile, n, a, panel, simd, &mut block);
                            sink(index, tile, n, panel, &mut block);
                        }
                    }
                }
            },
        );
    });
}

/// Ranges of panels whose activations stay in a core's cache while tiles pass by.
fn row_blocks(a: &Activations) -> impl Iterator<Item = std::ops::Range<usize>> {
    let n = n_panels(a.m);
    let step = (ROWS_BYTES / (a.k * PANEL)).max(1);
    (0..n).step_by(step).map(move |start| start..n.min(start + step))
}

/// Products of one or two tiles with a panel; what `out` has of its rows is overwritten.
#[inline(always)]
fn products(matrix: &Matrix, tile: usize, n_tiles: usize, a: &Activations, panel: Panel, simd: Simd, out: &mut Block) {
    match simd.set() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the choice of `Simd` was made by asking the processor; `check` has seen the shapes.
        Set::Avx512 => unsafe {
            if n_tiles == 2 {
                gemm_avx512::products::<2>(matrix, tile, a, panel, out);
            } else {
                let (first, _) = out.split_first_chunk_mut::<1>().expect("a block has two tiles");
                gemm_avx512::products::<1>(matrix, tile, a, panel, first);
            }
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above, and the line asks for the instructions of the first of the two.
        Set::Avx2 => unsafe {
            if simd.has_avx_vnni() {
                gemm_avx2::products_vnni(matrix, tile, a, panel, &mut out[..n_tiles]);
            } else {
                gemm_avx2::products(matrix, tile, a, panel, &mut out[..n_tiles]);
            }
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as for AVX2.
        Set::Neon => unsafe {
            if simd.has_dot_products() {
                gemm_neon::products_dot(matrix, tile, a, panel, &mut out[..n_tiles]);
            } else {
                gemm_neon::products(matrix, tile, a, panel, &mut out[..n_tiles]);
            }
        },
        _ => {
            for (tile, out) in (tile..tile + n_tiles).zip(out) {
                gemm_scalar::products(matrix, tile, a, panel, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
