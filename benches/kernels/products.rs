//! Matrix products: each format of weights with one row, as in decoding, a few and many.

use std::cell::LazyCell;

use rustllm::gguf::GgmlType;
use rustllm::kernels::{Activations, Forms, Gate, Matrix, Pool, Simd, Weight, gemm, gemm_gated};

use super::{Bench, FEED_FORWARD, VOCABULARY, WIDTH, Work};

const ROWS: [usize; 3] = [1, 8, 512];

/// Formats that stand for the others where these would say nothing new.
const FEW_TYPES: [GgmlType; 4] = [GgmlType::Q4_0, GgmlType::Q4K, GgmlType::Q8_0, GgmlType::F16];

/// Matrices are used in turn, as a model's layers are, so that they come from memory.
const RING_BYTES: usize = 256 << 20;

/// Times all of them.
pub fn bench(bench: &mut Bench) {
    for ty in GgmlType::ALL {
        bench_gemm(bench, "gemm", ty, FEED_FORWARD, &ROWS);
    }
    for ty in FEW_TYPES {
        bench_gated(bench, ty);
    }
    // A step's rows reach the head where they are sampled: one of each sequence.
    for ty in [GgmlType::Q4_0, GgmlType::Q6K, GgmlType::Q8_0, GgmlType::F16] {
        bench_gemm(bench, "head", ty, VOCABULARY, &[1, 8, 32]);
    }
}

fn bench_gemm(bench: &mut Bench, group: &str, ty: GgmlType, n: usize, rows: &[usize]) {
    let pool = Pool::new(0);
    let ring = LazyCell::new(|| ring(ty, n, &pool));
    for &m in rows {
        bench.time(
            group,
            &format!("{}/{m}", ty.name()),
            product_work(ty, n, m),
            |pool, simd| {
                LazyCell::force(&ring);
                (0, input(ty, m, pool, simd), vec![0.0; m * n])
            },
            |(next, a, y), pool, simd| {
                *next = (*next + 1) % ring.len();
                gemm(&[weight(&ring[*next])], a, y, false, pool, simd);
            },
        );
    }
}

fn bench_gated(bench: &mut Bench, ty: GgmlType) {
    let pool = Pool::new(0);
    let ring = LazyCell::new(|| ring(ty, FEED_FORWARD, &pool));
    for m in ROWS {
        bench.time(
            "gated",
            &format!("{}/{m}", ty.name()),
            product_work(ty, 2 * FEED_FORWARD, m),
            |pool, simd| {
                LazyCell::force(&ring);
                (0, input(ty, m, pool, simd), Activations::default())
            },
            |(next, a, hidden), pool, simd| {
                *next = (*next + 2) % (ring.len() - 1);
                let [gate, up] = [*next, *next + 1].map(|at| weight(&ring[at]));
                gemm_gated(Gate::Silu, [&gate, &up], a, hidden, up.forms(), pool, simd);
            },
        );
    }
}

/// As many matrices of `n` rows as caches do not hold.
fn ring(ty: GgmlType, n: usize, pool: &Pool) -> Vec<Matrix> {
    let bytes = weights(ty, n);
    (0..RING_BYTES.div_ceil(bytes.len())).map(|_| Matrix::pack(ty, n, WIDTH, &bytes, pool)).collect()
}

/// `n` rows of weights whose scales are numbers of usual size: as halves and as f32 these bytes are
/// positive and far from the ends of the range.
pub fn weights(ty: GgmlType, n: usize) -> Vec<u8> {
    let len = n * WIDTH / ty.block_size() * ty.block_bytes();
    (0..len).map(|i| 0x20 + (i * 7 % 27) as u8).collect()
}

/// `m` rows in the form that products with `ty` read.
fn input(ty: GgmlType, m: usize, pool: &Pool, simd: Simd) -> Activations {
    let quants = ty.block_size() > 1;
    let mut a = Activations::default();
    a.fill((m, WIDTH), Forms { quants, floats: !quants }, pool, simd, |row, out| {
        out.iter_mut().enumerate().for_each(|(i, x)| *x = ((row * 31 + i * 7) as f32).sin());
    });
    a
}

fn weight(matrix: &Matrix) -> Weight<'_> {
    Weight { matrix, bias: None }
}

fn product_work(ty: GgmlType, n: usize, m: usize) -> Work {
    let weights = n * WIDTH;
    let bytes = (weights / ty.block_size() * ty.block_bytes()) as f64;
    let ops = (2 * weights * m) as f64;
    let is_float = ty.block_size() == 1;
    Work { bytes, int_ops: if is_float { 0.0 } else { ops }, float_ops: if is_float { ops } else { 0.0 } }
}
