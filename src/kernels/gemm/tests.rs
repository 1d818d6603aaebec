//! Products against exact arithmetic, and the same bits on every path.

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
            return (0..n * k).flat_map(|_| half::bf16::from_f32(random() as f32 / 2e9 - 1.0).to_le_bytes()).collect();
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
    let weights: Vec<Weight> = matrices.iter().map(|matrix| Weight { matrix, bias: None }).collect();
    let forms = weights.iter().fold(Forms::default(), |all, weight| all.or(weight.forms()));
    let mut a = Activations::default();
    let m = x.len() / k;
    a.fill((m, k), forms, &pool, simd, |row, out| out.copy_from_slice(&x[row * k..][..k]));
    let mut y = vec![0.0; m * matrices.iter().map(|m| m.n).sum::<usize>()];
    gemm(&weights, &a, &mut y, false, &pool, simd);
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
