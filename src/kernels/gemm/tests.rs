//! Products against exact arithmetic, and the same bits on every path.

use super::*;
use crate::gguf::{GgmlType, dequantize_row};
use proptest::prelude::*;

/// Numbers that look random (Marsaglia's xorshift); `state` is not 0.
fn xorshift(mut state: u32) -> impl FnMut() -> u32 {
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}

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
        ty in prop::sample::select(GgmlType::ALL.to_vec()), n in 1usize..70, blocks in 1usize..4, m in 1usize..20, seed in 1u32..,
    ) {
        let mut random = xorshift(seed);
        let k = blocks * if ty.block_size() == 1 { 37 } else { ty.block_size().max(32) };
        let bytes = weights(ty, n, k, &mut random);
        let x: Vec<f32> = (0..m * k).map(|i| if i % 11 == 0 { 0.0 } else { random() as f32 / 2.1e9 - 1.0 }).collect();
        let matrix = Matrix::pack(ty, n, k, &bytes, &Pool::new(1));
        let y = product(&[&matrix], &x, k, Simd::best());
        for simd in Simd::available() {
            let other = product(&[&matrix], &x, k, simd);
            prop_assert!(y.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits()), "{simd:?}");
        }

        // Batch invariance: a row alone has the same bits.
        let last = product(&[&matrix], &x[(m - 1) * k..], k, Simd::best());
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
        let y = product(&[&matrix], &x, 64, Simd::best());
        prop_assert!(y[0].is_nan());
    }
}

/// Rows that reach the ends of what the kernels' integers hold: all 127 or -127, zeros, one large
/// value among tiny ones, tiny and huge scales, and random ones.
fn extreme_row(kind: usize, k: usize, random: &mut impl FnMut() -> u32) -> Vec<f32> {
    (0..k)
        .map(|i| match kind % 8 {
            0 => 1.0,
            1 => -1.0,
            2 => 0.0,
            3 => [1.0, -1.0][i % 2],
            4 => {
                if i % 32 == 5 {
                    1e20
                } else {
                    1e-3
                }
            }
            5 => {
                if random() & 1 == 0 {
                    1e-30
                } else {
                    -1e-30
                }
            }
            6 => {
                if i % 64 < 32 {
                    0.0
                } else {
                    random() as f32 - 2e9
                }
            }
            _ => random() as f32 / 2.1e9 - 1.0,
        })
        .collect()
}

/// Products of the tiles from one on with a panel.
type Products = unsafe fn(&Matrix, usize, &Activations, Panel, &mut [[Lanes; PANEL]]);

/// What products there are of one instruction set, by what the processor has beyond it. The best is
/// chosen at run time, so that the others would never be tested.
#[cfg(target_arch = "x86_64")]
fn variants() -> Vec<(&'static str, Products)> {
    let mut variants: Vec<(&str, Products)> = Vec::new();
    if let Ok(simd) = Simd::parse("avx2") {
        variants.push(("avx2", gemm_avx2::products));
        if simd.has_avx_vnni() {
            variants.push(("avx2 with vnni", gemm_avx2::products_vnni));
        }
    }
    variants
}

#[cfg(target_arch = "aarch64")]
fn variants() -> Vec<(&'static str, Products)> {
    let mut variants: Vec<(&str, Products)> = Vec::new();
    if let Ok(simd) = Simd::parse("neon") {
        variants.push(("neon", gemm_neon::products));
        if simd.has_dot_products() {
            variants.push(("neon with dot products", gemm_neon::products_dot));
        }
    }
    variants
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn variants() -> Vec<(&'static str, Products)> {
    Vec::new()
}

/// Every variant that the machine runs against the scalar products, by bits, for each width of a panel.
#[test]
fn every_variant_gives_the_scalar_bits_at_the_extremes() {
    let variants = variants();
    let mut random = xorshift(5);
    let pool = Pool::new(1);
    for ty in GgmlType::ALL {
        for fill in [None, Some(0u8), Some(0xff), Some(0x80), Some(0x7f)] {
            let (n, k) = (43, if ty.block_size() == 1 { 39 } else { 512 });
            let mut bytes = weights(ty, n, k, &mut random);
            if let (Some(fill), true) = (fill, ty.block_size() > 1) {
                // All integers the same, the scales as random as before.
                let scales = weights(ty, n, k, &mut || 0x4000_0000);
                let again = weights(ty, n, k, &mut || 0x4000_00ff);
                for ((byte, a), b) in bytes.iter_mut().zip(scales).zip(again) {
                    if a != b {
                        *byte = fill;
                    }
                }
            }
            let matrix = Matrix::pack(ty, n, k, &bytes, &pool);
            // 15 rows are panels of 8, 4, 2 and 1.
            for turn in 0..8 {
                let rows: Vec<Vec<f32>> = (0..15).map(|row| extreme_row(row + turn, k, &mut random)).collect();
                let mut a = Activations::default();
                let forms = Forms { quants: matrix.wants_quants(), floats: !matrix.wants_quants() };
                a.fill((15, k), forms, &pool, Simd::SCALAR, |row, out| out.copy_from_slice(&rows[row]));
                for panel in super::super::activations::panels(15) {
                    for (first, n_tiles) in [(0, 2), (2, 1)] {
                        let mut want = [[[0.0f32; TILE]; PANEL]; 2];
                        for (tile, want) in want.iter_mut().take(n_tiles).enumerate() {
                            gemm_scalar::products(&matrix, first + tile, &a, panel, want);
                        }
                        for (name, products) in &variants {
                            let mut got = [[[0.0f32; TILE]; PANEL]; 2];
                            // SAFETY: the machine has the instructions, asked above; the panel is one of the 15 rows'.
                            unsafe { products(&matrix, first, &a, panel, &mut got[..n_tiles]) };
                            assert_eq!(bits(&got), bits(&want), "{name} {ty:?} {fill:?} {panel:?} tile {first}");
                        }
                    }
                }
            }
        }
    }
}

/// The bits of a block, so that zeros of either sign differ and NaN compares.
fn bits(block: &Block) -> Vec<u32> {
    block.iter().flatten().flatten().map(|value| value.to_bits()).collect()
}

#[test]
fn matrices_side_by_side_equal_each_alone() {
    let mut random = xorshift(9);
    let pool = Pool::new(1);
    let a = Matrix::pack(GgmlType::Q4_1, 24, 64, &weights(GgmlType::Q4_1, 24, 64, &mut random), &pool);
    let b = Matrix::pack(GgmlType::F32, 5, 64, &weights(GgmlType::F32, 5, 64, &mut random), &pool);
    let x: Vec<f32> = (0..3 * 64).map(|i| (i as f32).sin()).collect();
    let both = product(&[&a, &b], &x, 64, Simd::best());
    let (ya, yb) = (product(&[&a], &x, 64, Simd::best()), product(&[&b], &x, 64, Simd::best()));
    for row in 0..3 {
        assert_eq!(both[row * 29..][..24], ya[row * 24..][..24]);
        assert_eq!(both[row * 29 + 24..][..5], yb[row * 5..][..5]);
    }
}
