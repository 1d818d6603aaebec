//! y = x · Wᵀ over several matrices that share their input.

use super::Simd;
use super::activations::Activations;
#[cfg(target_arch = "x86_64")]
use super::gemm_avx2;
#[cfg(target_arch = "x86_64")]
use super::gemm_avx512::{Target, float_tile, quant_tile};
use super::gemm_scalar::{float_row, quant_row};
use super::packed::{Layout, Matrix, TILE};
use super::pool::{Parts, Pool};

/// Tiles of a piece: enough work to be worth an atomic, few enough to balance the threads.
const TILES_OF_PIECE: usize = 4;

/// Multiplies the rows of `a` with each of `matrices`; their outputs lie side by side in the rows
/// of `y` (m rows of the sum of all n). Every element depends on its own row alone.
pub fn gemm(matrices: &[&Matrix], a: &Activations, y: &mut [f32], pool: &Pool, simd: Simd) {
    let stride: usize = matrices.iter().map(|matrix| matrix.n).sum();
    assert_eq!(y.len(), a.m * stride, "the output has m rows of all matrices' n");
    let mut tiles = Vec::new();
    let mut column = 0;
    for matrix in matrices {
        assert_eq!(matrix.k, a.k, "the matrix has as many columns as the input");
        assert!(!matrix.wants_quants() || a.quants.len() == a.m * a.k, "the input is quantized");
        tiles.extend((0..matrix.n_tiles()).map(|tile| (*matrix, tile, column + tile * TILE)));
        column += matrix.n;
    }
    let out = &Parts(y.as_mut_ptr());
    pool.run(tiles.len().div_ceil(TILES_OF_PIECE), &|piece| {
        let end = tiles.len().min((piece + 1) * TILES_OF_PIECE);
        for (matrix, tile, column) in &tiles[piece * TILES_OF_PIECE..end] {
            let lanes = TILE.min(matrix.n - tile * TILE);
            // SAFETY: `column + lanes <= stride` and `y` has a.m rows of `stride`, so each store is
            // inside; tiles write disjoint columns.
            unsafe { one_tile(matrix, *tile, a, out.0.add(*column), stride, lanes, simd) }
        }
    });
}

/// # Safety
/// `out` must have `a.m` rows of `lanes` floats, `stride` apart, that nobody else uses.
unsafe fn one_tile(
    matrix: &Matrix,
    index: usize,
    a: &Activations,
    out: *mut f32,
    stride: usize,
    lanes: usize,
    simd: Simd,
) {
    let tile = matrix.tile(index);
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => {
            let target = Target { out, stride, lanes };
            // SAFETY: the choice of `Simd` was made by asking the processor; shapes were checked
            // by `gemm`; the caller vouches for `out`.
            unsafe {
                match matrix.layout {
                    Layout::Quant(q) => quant_tile(q, tile, a, &target),
                    Layout::Float(float) => float_tile(float, tile, a, &target),
                }
            }
        }
        _ => {
            for row in 0..a.m {
                let sums = one_row(matrix.layout, tile, a, row, simd);
                // SAFETY: the caller vouches for `out`.
                unsafe { std::slice::from_raw_parts_mut(out.add(row * stride), lanes) }.copy_from_slice(&sums[..lanes]);
            }
        }
    }
}

/// Products of one tile with one row, without AVX-512.
fn one_row(layout: Layout, tile: &[u8], a: &Activations, row: usize, simd: Simd) -> [f32; TILE] {
    match (layout, simd) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the choice of `Simd` was made by asking the processor.
        (Layout::Quant(q), Simd::Avx2) => unsafe { gemm_avx2::quant_row(q, tile, a, row) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Layout::Float(float), Simd::Avx2) => unsafe { gemm_avx2::float_row(float, tile, a, row) },
        (Layout::Quant(q), _) => quant_row(q, tile, a, row),
        (Layout::Float(float), _) => float_row(float, tile, a, row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{GgmlType, dequantize_row};
    use proptest::prelude::*;

    const TYPES: [GgmlType; 13] = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::BF16,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q8_0,
        GgmlType::Q2K,
        GgmlType::Q3K,
        GgmlType::Q4K,
        GgmlType::Q5K,
        GgmlType::Q6K,
    ];

    /// Random weights of `ty` whose floats are finite and of moderate size.
    fn weights(ty: GgmlType, n: usize, k: usize, random: &mut impl FnMut() -> u32) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..n * k / ty.block_size() * ty.block_bytes()).map(|_| random() as u8).collect();
        let scales: &[usize] = match ty {
            GgmlType::F32 => return (0..n * k).flat_map(|_| (random() as f32 / 2e9 - 1.0).to_le_bytes()).collect(),
            GgmlType::BF16 => {
                return (0..n * k)
                    .flat_map(|_| half::bf16::from_f32(random() as f32 / 2e9 - 1.0).to_le_bytes())
                    .collect();
            }
            GgmlType::F16 | GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => &[0],
            GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4K | GgmlType::Q5K => &[0, 2],
            GgmlType::Q2K => &[80, 82],
            GgmlType::Q3K => &[108],
            GgmlType::Q6K => &[208],
        };
        for block in bytes.chunks_exact_mut(ty.block_bytes()) {
            for at in scales {
                let value = half::f16::from_f32(random() as f32 / 4.3e9 * 0.1 - 0.03);
                block[*at..*at + 2].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes
    }

    fn product(matrices: &[&Matrix], x: &[f32], k: usize, simd: Simd) -> Vec<f32> {
        let pool = Pool::new(2);
        let a = Activations::new(x.to_vec(), k, matrices.iter().any(|m| m.wants_quants()), &pool);
        let mut y = vec![0.0; a.m * matrices.iter().map(|m| m.n).sum::<usize>()];
        gemm(matrices, &a, &mut y, &pool, simd);
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn products_are_right_and_the_same_bits_on_every_path(
            ty in prop::sample::select(TYPES.to_vec()), n in 1usize..70, blocks in 1usize..4, m in 1usize..20, seed in 1u32..,
        ) {
            let mut state = seed;
            let mut random = || { state ^= state << 13; state ^= state >> 17; state ^= state << 5; state };
            let k = blocks * if ty.block_size() == 1 { 37 } else { ty.block_size().max(32) };
            let bytes = weights(ty, n, k, &mut random);
            let x: Vec<f32> = (0..m * k).map(|i| if i % 11 == 0 { 0.0 } else { random() as f32 / 2.1e9 - 1.0 }).collect();
            let matrix = Matrix::pack(ty, n, k, &bytes, &Pool::new(1));
            let y = product(&[&matrix], &x, k, Simd::get());
            for simd in Simd::available() {
                let other = product(&[&matrix], &x, k, simd);
                prop_assert!(y.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits()), "{simd:?}");
            }

            // Batch invariance: a row alone has the same bits.
            let last = product(&[&matrix], &x[(m - 1) * k..], k, Simd::get());
            prop_assert_eq!(&y[(m - 1) * n..], &last[..]);

            // Against exact arithmetic on the reference decoding.
            let mut w = vec![0.0f32; n * k];
            dequantize_row(ty, &bytes, &mut w);
            for row in 0..m {
                for col in 0..n {
                    let pairs = || x[row * k..][..k].iter().zip(&w[col * k..][..k]);
                    let exact: f64 = pairs().map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let size: f64 = pairs().map(|(x, w)| f64::from(x.abs()) * f64::from(w.abs())).sum();
                    // int8 activations: half a step of 1/127 of a group's largest value.
                    let w_sum: f64 = w[col * k..][..k].iter().map(|w| f64::from(w.abs())).sum();
                    let tolerance = if matrix.wants_quants() { w_sum * 0.6 / 127.0 } else { size * 1e-5 } + 1e-6;
                    let got = f64::from(y[row * n + col]);
                    prop_assert!((got - exact).abs() <= tolerance, "{ty:?} {got} {exact} {tolerance}");
                }
            }
        }

        #[test]
        fn a_nan_is_not_lost(m in 1usize..4, at in 0usize..64) {
            let bytes = weights(GgmlType::Q8_0, 16, 64, &mut || 77);
            let matrix = Matrix::pack(GgmlType::Q8_0, 16, 64, &bytes, &Pool::new(1));
            let mut x = vec![0.5f32; m * 64];
            x[at] = f32::NAN;
            let y = product(&[&matrix], &x, 64, Simd::get());
            prop_assert!(y[0].is_nan());
        }
    }

    #[test]
    fn matrices_side_by_side_equal_each_alone() {
        let mut state = 9u32;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let pool = Pool::new(1);
        let a = Matrix::pack(GgmlType::Q4_1, 24, 64, &weights(GgmlType::Q4_1, 24, 64, &mut random), &pool);
        let b = Matrix::pack(GgmlType::F32, 5, 64, &weights(GgmlType::F32, 5, 64, &mut random), &pool);
        let x: Vec<f32> = (0..3 * 64).map(|i| (i as f32).sin()).collect();
        let both = product(&[&a, &b], &x, 64, Simd::get());
        let (ya, yb) = (product(&[&a], &x, 64, Simd::get()), product(&[&b], &x, 64, Simd::get()));
        for row in 0..3 {
            assert_eq!(both[row * 29..][..24], ya[row * 24..][..24]);
            assert_eq!(both[row * 29 + 24..][..5], yb[row * 5..][..5]);
        }
    }
}
