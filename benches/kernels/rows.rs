//! What is done to each row beside the products: quantization, norms, rotation, embedding.

use rustllm::gguf::{GgmlType, dequantize_row};
use rustllm::kernels::math::rms_norm;
use rustllm::kernels::rotary::{RopeKind, Rotations};
use rustllm::kernels::{Activations, Forms};

use super::products::weights;
use super::{Bench, VOCABULARY, WIDTH, Work};

const ROWS: [usize; 3] = [1, 8, 512];

/// Query and key heads of the model, and their size.
const HEADS: usize = 36;
const DIM: usize = 64;

/// Times all of them.
pub fn bench(bench: &mut Bench) {
    let forms = [
        ("int8", Forms { quants: true, floats: false }, WIDTH),
        ("f32", Forms { quants: false, floats: true }, WIDTH * 4),
    ];
    for (name, forms, row_bytes) in forms {
        for m in ROWS {
            bench_input(bench, "quantize", &format!("{name}/{m}"), (m, forms, row_bytes), false);
            bench_input(bench, "norm", &format!("{name}/{m}"), (m, forms, row_bytes), true);
        }
    }
    for (name, kind) in [("normal", RopeKind::Normal), ("neox", RopeKind::Neox)] {
        bench_rotary(bench, name, kind);
    }
    for ty in [GgmlType::Q4_0, GgmlType::Q6K, GgmlType::Q8_0, GgmlType::F16] {
        for m in ROWS {
            bench_embedding(bench, ty, m);
        }
    }
}

/// Rows of activations as the products read them, normalized before or not.
fn bench_input(bench: &mut Bench, group: &str, name: &str, (m, forms, row_bytes): (usize, Forms, usize), norm: bool) {
    let values = (m * WIDTH) as f64;
    // Largest magnitude, scaling and rounding; the norm squares, adds and scales twice.
    let float_ops = values * (3.0 * f64::from(u8::from(forms.quants)) + 4.0 * f64::from(u8::from(norm)));
    let work = Work { bytes: (m * (WIDTH * 4 + row_bytes)) as f64, float_ops, ..Work::default() };
    bench.time(
        group,
        name,
        work,
        |_, _| {
            let x: Vec<f32> = (0..m * WIDTH).map(|i| (i as f32).sin()).collect();
            (x, vec![0.5; WIDTH], Activations::default())
        },
        |(x, weight, a), pool, simd| {
            let row = |row: usize| &x[row * WIDTH..][..WIDTH];
            // Closures of their own, as in the layers: one that chooses would do so for each row.
            if norm {
                a.fill(
                    (m, WIDTH),
                    forms,
                    pool,
                    simd,
                    #[inline(always)]
                    |at, out: &mut [f32]| rms_norm(row(at), weight, 1e-5, out),
                );
            } else {
                a.fill(
                    (m, WIDTH),
                    forms,
                    pool,
                    simd,
                    #[inline(always)]
                    |at, out: &mut [f32]| out.copy_from_slice(row(at)),
                );
            }
        },
    );
}

/// Queries and keys of 512 rows.
fn bench_rotary(bench: &mut Bench, name: &str, kind: RopeKind) {
    const M: usize = 512;
    let values = (M * HEADS * DIM) as f64;
    // Read and written as f32; two products and a sum each.
    let work = Work { bytes: values * 8.0, float_ops: values * 3.0, ..Work::default() };
    bench.time(
        "rotary",
        &format!("{name}/{M}"),
        work,
        |_, _| (vec![0.25f32; M * HEADS * DIM], vec![0.5f32; M * DIM], vec![0.0f32; M * HEADS * DIM]),
        |(x, table, out), pool, simd| {
            let rotations = Rotations { kind, n_dims: DIM, cos: table, sin: table };
            pool.run_chunks(out, 8 * HEADS * DIM, &|piece, out| {
                simd.run(
                    #[inline(always)]
                    || {
                        for (index, out) in out.chunks_exact_mut(DIM).enumerate() {
                            let at = piece * 8 * HEADS + index;
                            rotations.rotate(at / HEADS, &x[at * DIM..][..DIM], out);
                        }
                    },
                );
            });
        },
    );
}

/// The rows of some tokens, decoded from the file's own blocks as the embedding layer does it.
fn bench_embedding(bench: &mut Bench, ty: GgmlType, m: usize) {
    let row_bytes = WIDTH / ty.block_size() * ty.block_bytes();
    let work = Work { bytes: (m * (row_bytes + WIDTH * 4)) as f64, ..Work::default() };
    bench.time(
        "embedding",
        &format!("{}/{m}", ty.name()),
        work,
        |_, _| (weights(ty, VOCABULARY), vec![0.0f32; m * WIDTH], 0usize),
        |(table, out, first), pool, _| {
            // Other tokens each time, so that they come from memory.
            *first = (*first + 7919) % VOCABULARY;
            let first = *first;
            pool.run_chunks(out, WIDTH * 8, &|piece, rows| {
                for (index, row) in rows.chunks_exact_mut(WIDTH).enumerate() {
                    let token = (first + (piece * 8 + index) * 613) % VOCABULARY;
                    dequantize_row(ty, &table[token * row_bytes..][..row_bytes], row);
                }
            });
        },
    );
}
