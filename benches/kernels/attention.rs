//! Writing to the cache, and attention over it. A run walks all layers in turn, as a model's step
//! does, so that a long cache comes from memory.

use std::hint::black_box;

use rustllm::config::CacheType;
use rustllm::kernels::attention::{Rows, Shape, Span, Spans, attend, store};
use rustllm::kernels::kv_memory::{LayerCache, LayerPlace, Segments};
use rustllm::kernels::rotary::{RopeKind, Rotations};
use rustllm::kernels::{Kind, KvFormat, Pool, Simd};

use super::{Bench, Work};

const BLOCK: usize = 32;
const SEGMENT: usize = 16;

/// Rows that are written at once to fill a cache.
const CHUNK: usize = 512;

/// A model's attention.
#[derive(Clone, Copy)]
struct Model {
    name: &'static str,
    shape: Shape,
    n_layer: usize,
}

/// What a step runs: `n_seq` sequences of `n_rows` rows after `depth` keys.
#[derive(Clone, Copy)]
struct Load {
    n_seq: usize,
    n_rows: usize,
    depth: usize,
}

/// Times all of them.
pub fn bench(bench: &mut Bench) {
    let shape = |n_head, n_head_kv| Shape { n_head, n_head_kv, dim_k: 64, dim_v: 64, scale: 0.125, window: usize::MAX };
    let models = [
        Model { name: "1.1B", shape: shape(32, 4), n_layer: 22 },
        Model { name: "SmolLM2", shape: shape(9, 3), n_layer: 30 },
    ];
    let loads = [(1, 512, 0), (1, 1, 500), (1, 1, 4096), (1, 1, 8192), (8, 1, 500), (32, 1, 500)];
    let loads = loads.map(|(n_seq, n_rows, depth)| Load { n_seq, n_rows, depth });
    for model in models {
        for ty in [CacheType::F16, CacheType::Q8_0, CacheType::F32] {
            for load in loads.into_iter().filter(|load| load.n_seq == 1 || ty == CacheType::F16) {
                let (rows, setup) = (load.n_rows, move |pool: &Pool, simd| Setup::new(model, ty, load, pool, simd));
                let name = format!("{}/{ty:?}/{}", model.name, load.name()).to_lowercase();
                bench.time("attention", &name, attention_work(&model, ty, load), setup, |setup, pool, simd| {
                    setup.each_layer(rows, load.depth, |rows, cache, out| {
                        attend(rows, cache, black_box(out), pool, simd);
                    });
                });
                // Single rows are written by who attends with them.
                if rows > 1 {
                    bench.time("cache_write", &name, write_work(&model, ty, load), setup, |setup, pool, simd| {
                        setup.each_layer(rows, load.depth, |rows, cache, _| store(rows, cache, pool, simd));
                    });
                }
            }
        }
    }
}

impl Load {
    fn name(&self) -> String {
        match self.n_rows {
            1 => format!("decode-{}@{}", self.n_seq, self.depth),
            rows => format!("prefill-{rows}"),
        }
    }
}

/// Keys and values of one head's tokens in a cache.
fn formats(shape: &Shape, ty: CacheType) -> (KvFormat, KvFormat) {
    let format = |kind| KvFormat { ty, kind, dim: shape.dim_k };
    (format(Kind::Keys), format(Kind::Values))
}

/// Bytes of a token in all layers of a cache.
fn token_bytes(model: &Model, ty: CacheType) -> usize {
    let (keys, values) = formats(&model.shape, ty);
    model.shape.n_head_kv * (keys.token_bytes() + values.token_bytes()) * model.n_layer
}

fn attention_work(model: &Model, ty: CacheType, load: Load) -> Work {
    let s = &model.shape;
    let n_keys: usize = (1..=load.n_rows).map(|row| load.depth + row).sum::<usize>() * load.n_seq;
    let float_ops = (4 * n_keys * s.n_head * s.dim_k * model.n_layer) as f64;
    let bytes = (load.n_seq * (load.depth + load.n_rows) * token_bytes(model, ty)) as f64;
    Work { bytes, float_ops, ..Work::default() }
}

/// Keys and values are read as f32 and written as the cache has them.
fn write_work(model: &Model, ty: CacheType, load: Load) -> Work {
    let s = &model.shape;
    let read = 4 * s.n_head_kv * (s.dim_k + s.dim_v) * model.n_layer;
    Work { bytes: (load.n_seq * load.n_rows * (read + token_bytes(model, ty))) as f64, ..Work::default() }
}

/// A cache that is filled up to a load's rows, and these rows.
struct Setup {
    model: Model,
    n_seq: usize,
    keys: KvFormat,
    values: KvFormat,
    segments: Segments,
    /// Of each sequence.
    blocks: Vec<Vec<u32>>,
    qkv: Vec<f32>,
    table: Vec<f32>,
    out: Vec<f32>,
}

impl Setup {
    fn new(model: Model, ty: CacheType, load: Load, pool: &Pool, simd: Simd) -> Self {
        let s = &model.shape;
        let (keys, values) = formats(s, ty);
        let n_blocks = (load.depth + load.n_rows).div_ceil(BLOCK);
        let mut segments = Segments::new(SEGMENT * BLOCK * token_bytes(&model, ty));
        (0..(load.n_seq * n_blocks).div_ceil(SEGMENT)).for_each(|_| segments.grow().expect("memory"));
        let n = load.n_seq * load.n_rows.max(CHUNK.min(load.depth));
        let random = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
        let blocks = |seq: usize| (0..n_blocks).map(|block| (seq * n_blocks + block) as u32).collect();
        let mut setup = Self {
            n_seq: load.n_seq,
            keys,
            values,
            segments,
            blocks: (0..load.n_seq).map(blocks).collect(),
            qkv: (0..n * s.qkv_width()).map(random).collect(),
            table: vec![0.5; n * s.dim_k],
            out: vec![0.0; n * s.n_head * s.dim_v],
            model,
        };
        // What comes before the rows is written, so that its pages are there.
        for at in (0..load.depth).step_by(CHUNK) {
            let n_rows = CHUNK.min(load.depth - at);
            setup.each_layer(n_rows, at, |rows, cache, _| store(rows, cache, pool, simd));
        }
        setup.each_layer(load.n_rows, load.depth, |rows, cache, _| store(rows, cache, pool, simd));
        setup
    }

    /// Calls `work` for each layer with `n_rows` rows of each sequence after `n_past` keys, the
    /// layer's cache and room for the result.
    fn each_layer(&mut self, n_rows: usize, n_past: usize, work: impl Fn(&Rows<'_>, &mut LayerCache<'_>, &mut [f32])) {
        let Self { model, n_seq, keys, values, segments, blocks, qkv, table, out } = self;
        let s = &model.shape;
        let n = *n_seq * n_rows;
        let table = &table[..n * s.dim_k];
        let rotations = Rotations { kind: RopeKind::Normal, n_dims: s.dim_k, cos: table, sin: table };
        let span = |seq: usize| Span { row: seq * n_rows, n_rows, n_past, blocks: &blocks[seq], causal: true };
        let spans = Spans::new((0..*n_seq).map(span).collect());
        let rows = Rows { shape: s, qkv: &qkv[..n * s.qkv_width()], norms: None, rotations, spans: &spans };
        let layer_bytes = SEGMENT * s.n_head_kv * (keys.bytes() + values.bytes());
        for layer in 0..model.n_layer {
            let start = layer * layer_bytes;
            let place = LayerPlace { keys: *keys, values: *values, start, blocks: SEGMENT, n_heads: s.n_head_kv };
            let mut cache = LayerCache::new(segments, &place);
            work(&rows, &mut cache, &mut out[..n * s.n_head * s.dim_v]);
        }
    }
}
