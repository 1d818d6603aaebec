//! Times attention against the machine's limits: `cargo bench --bench attention [-- THREADS]`.
//!
//! Prefill is compared with the f32 multiply-add peak, decoding with the rate at which the cache is
//! read. Layers are walked in turn, as in a model, so that a long cache comes from memory.

use std::hint::black_box;
use std::time::Instant;

use rustllm::config::CacheType;
use rustllm::kernels::attention::{Rows, Shape, Span, attend, store};
use rustllm::kernels::kv_memory::{LayerCache, LayerPlace, Segments};
use rustllm::kernels::rotary::{RopeKind, Rotations};
use rustllm::kernels::{Kind, KvFormat, Pool, Simd};

const BLOCK: usize = 32;
const SEGMENT: usize = 16;

/// A model's attention.
struct Model {
    name: &'static str,
    shape: Shape,
    n_layer: usize,
}

/// What one measurement runs: `n_seq` sequences of `n_rows` rows after `depth` keys.
#[derive(Clone, Copy)]
struct Load {
    n_seq: usize,
    n_rows: usize,
    depth: usize,
}

fn main() {
    let threads = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(0);
    let pool = Pool::new(threads);
    let simd = Simd::best();
    let shape = |n_head, n_head_kv, dim| Shape { n_head, n_head_kv, dim_k: dim, dim_v: dim, scale: 0.125 };
    let models = [
        Model { name: "SmolLM2-135M", shape: shape(9, 3, 64), n_layer: 30 },
        Model { name: "1.1B", shape: shape(32, 4, 64), n_layer: 22 },
    ];
    println!("{simd:?}, {} threads; f32 peak {:.0} GFLOP/s", pool.n_threads(), peak(&pool));
    println!("memory read {:.1} GB/s", bandwidth(&pool));
    let loads = [(1, 512, 0), (1, 1, 50), (1, 1, 500), (1, 1, 4096), (1, 1, 8192), (8, 1, 500), (32, 1, 500)];
    println!("model | cache | rows × keys | write µs/layer | attention µs/layer | step ms | GFLOP/s | GB/s");
    for model in &models {
        for ty in [CacheType::F16, CacheType::Q8_0, CacheType::F32] {
            for (n_seq, n_rows, depth) in loads {
                if ty == CacheType::F16 || n_seq == 1 {
                    measure(model, ty, Load { n_seq, n_rows, depth }, &pool, simd);
                }
            }
        }
    }
}

fn measure(model: &Model, ty: CacheType, load: Load, pool: &Pool, simd: Simd) {
    let s = &model.shape;
    let format = |kind| KvFormat { ty, kind, dim: s.dim_k };
    let (keys, values) = (format(Kind::Keys), format(Kind::Values));
    let layer_bytes = SEGMENT * s.n_head_kv * (keys.bytes() + values.bytes());
    let mut segments = Segments::new(model.n_layer * layer_bytes);
    let n_blocks = (load.depth + load.n_rows).div_ceil(BLOCK);
    (0..(load.n_seq * n_blocks).div_ceil(SEGMENT)).for_each(|_| segments.grow().expect("memory"));
    let place = |layer| LayerPlace { keys, values, start: layer * layer_bytes, blocks: SEGMENT, n_heads: s.n_head_kv };
    let blocks: Vec<Vec<u32>> =
        (0..load.n_seq).map(|seq| (0..n_blocks).map(|block| (seq * n_blocks + block) as u32).collect()).collect();
    let random: Vec<f32> =
        (0..(1 << 16)).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0).collect();
    let mut time = |n_rows: usize, n_past: usize, repeats: usize| {
        let n = load.n_seq * n_rows;
        let qkv: Vec<f32> = random.iter().copied().cycle().take(n * s.qkv_width()).collect();
        let table = vec![0.5; n * s.dim_k];
        let rotations = Rotations { kind: RopeKind::Normal, n_dims: s.dim_k, cos: &table, sin: &table };
        let span = |seq: usize| Span { row: seq * n_rows, n_rows, n_past, blocks: &blocks[seq] };
        let spans: Vec<Span<'_>> = (0..load.n_seq).map(span).collect();
        let rows = Rows { shape: s, qkv: &qkv, rotations, spans: &spans };
        let mut out = vec![0.0; n * s.n_head * s.dim_v];
        let mut best = (f64::INFINITY, f64::INFINITY);
        for _ in 0..repeats {
            let (mut write, mut attention) = (0.0, 0.0);
            for layer in 0..model.n_layer {
                let mut cache = LayerCache::new(&mut segments, &place(layer));
                let start = Instant::now();
                store(&rows, &mut cache, pool, simd);
                let middle = Instant::now();
                attend(&rows, &cache, black_box(&mut out), pool, simd);
                write += (middle - start).as_secs_f64();
                attention += middle.elapsed().as_secs_f64();
            }
            best = if write + attention < best.0 + best.1 { (write, attention) } else { best };
        }
        best
    };
    // Fill what comes before, so that its pages are there.
    if load.depth > 0 {
        let mut at = 0;
        while at < load.depth {
            let n = (load.depth - at).min(256);
            time(n, at, 1);
            at += n;
        }
    }
    let (write, attention) = time(load.n_rows, load.depth, if load.n_rows > 1 { 8 } else { 20 });
    let n_keys: usize = (1..=load.n_rows).map(|row| load.depth + row).sum::<usize>() * load.n_seq;
    let flops = (4 * n_keys * s.n_head * s.dim_k * model.n_layer) as f64;
    let bytes = (load.n_seq
        * (load.depth + load.n_rows)
        * s.n_head_kv
        * (keys.token_bytes() + values.token_bytes())
        * model.n_layer) as f64;
    let layer = 1e6 / model.n_layer as f64;
    println!(
        "{} | {ty:?} | {}·{} × {} | {:.1} | {:.1} | {:.2} | {:.0} | {:.1}",
        model.name,
        load.n_seq,
        load.n_rows,
        load.depth,
        write * layer,
        attention * layer,
        (write + attention) * 1e3,
        flops / attention / 1e9,
        bytes / attention / 1e9
    );
}

/// Multiply-adds of independent vectors on all threads, in 10⁹ operations a second.
fn peak(pool: &Pool) -> f64 {
    let run = || {
        let start = Instant::now();
        pool.run(pool.n_threads(), &|piece| {
            black_box(multiply_adds(piece as f32));
        });
        (pool.n_threads() * STEPS * 12 * 32) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| run()).fold(0.0, f64::max)
}

const STEPS: usize = 4_000_000;

fn multiply_adds(seed: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor was asked.
        return unsafe { multiply_adds_avx512(seed) };
    }
    seed
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_adds_avx512(seed: f32) -> f32 {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_ps(seed), _mm512_set1_ps(0.5));
    let mut sums = [a; 12];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, b, a);
        }
    }
    sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
}

/// Reads 256 MB on all threads, in 10⁹ bytes a second.
fn bandwidth(pool: &Pool) -> f64 {
    let memory = vec![1u64; 1 << 25];
    let run = || {
        let start = Instant::now();
        pool.run(256, &|piece| {
            let part = &memory[piece << 17..(piece + 1) << 17];
            black_box(part.chunks_exact(32).fold([0u64; 32], |mut sums, line| {
                sums.iter_mut().zip(line).for_each(|(sum, x)| *sum = sum.wrapping_add(*x));
                sums
            }));
        });
        8.0 * memory.len() as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| run()).fold(0.0, f64::max)
}
