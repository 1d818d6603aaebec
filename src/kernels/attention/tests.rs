use std::ops::Range;

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::config::CacheType;
use crate::kernels::kv_memory::{LayerPlace, Segments};
use crate::kernels::rotary::RopeKind;
use crate::kernels::{Kind, KvFormat};

/// Blocks of a segment in these tests: few, so that sequences cross segments.
const SEGMENT: usize = 3;

/// A layer with fused rows of several sequences, and a cache to compute them on.
struct Case {
    shape: Shape,
    types: (CacheType, CacheType),
    kind: RopeKind,
    n_dims: usize,
    causal: bool,
    /// Weights of the norms of queries and keys.
    norms: Option<[Vec<f32>; 2]>,
    /// Keys of each sequence.
    lens: Vec<usize>,
    /// Fused rows of each sequence.
    rows: Vec<Vec<f32>>,
    /// Whether all begin with the first block of the first sequence, which that one computes.
    shared: bool,
}

impl Case {
    fn new(heads: (usize, usize, usize, usize), types: (CacheType, CacheType), lens: &[usize], seed: u64) -> Self {
        let (n_head_kv, group, dim_k, dim_v) = heads;
        let scale = 1.0 / (dim_k as f32).sqrt();
        let shape = Shape { n_head: n_head_kv * group, n_head_kv, dim_k, dim_v, scale, window: usize::MAX };
        let mut state = seed | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let rows = lens.iter().map(|len| (0..len * shape.qkv_width()).map(|_| 3.0 * random()).collect()).collect();
        let kind = if seed.is_multiple_of(2) { RopeKind::Normal } else { RopeKind::Neox };
        Self {
            shape,
            types,
            kind,
            n_dims: dim_k / 4 * 2,
            causal: true,
            norms: None,
            lens: lens.to_vec(),
            rows,
            shared: false,
        }
    }

    /// The same where a row sees at most `window` keys.
    fn with_window(self, window: usize) -> Self {
        Self { shape: Shape { window, ..self.shape }, ..self }
    }

    /// The same with normalized heads.
    fn with_norms(self) -> Self {
        let weight = |seed: usize| (0..self.shape.dim_k).map(|i| 0.5 + ((i * 7 + seed) % 11) as f32 / 10.0).collect();
        Self { norms: Some([weight(1), weight(2)]), ..self }
    }

    fn head_norms(&self) -> Option<HeadNorms<'_>> {
        self.norms.as_ref().map(|[query, key]| HeadNorms { query, key, eps: 1e-6 })
    }

    /// Cosines and sines of one position.
    fn angles(&self, position: usize) -> (Vec<f32>, Vec<f32>) {
        let n = self.n_dims;
        let pair = |j: usize| match self.kind {
            RopeKind::Normal => (j / 2, j.is_multiple_of(2)),
            RopeKind::Neox => (j % (n / 2), j < n / 2),
        };
        let angle = |j: usize| (position as f32) * 0.1 / (1 + pair(j).0) as f32;
        let sin = |j: usize| if pair(j).1 { -angle(j).sin() } else { angle(j).sin() };
        ((0..n).map(|j| angle(j).cos()).collect(), (0..n).map(sin).collect())
    }

    /// Runs the sequences in steps; each step names for each sequence how many rows it takes.
    /// Returns the output rows of each sequence.
    fn run(&self, steps: &[Vec<usize>], pool: &Pool, simd: Simd) -> Vec<Vec<f32>> {
        let s = &self.shape;
        let format = |ty, kind, dim| KvFormat { ty, kind, dim };
        let keys = format(self.types.0, Kind::Keys, s.dim_k);
        let values = format(self.types.1, Kind::Values, s.dim_v);
        let place = LayerPlace { keys, values, start: 128, blocks: SEGMENT, n_heads: s.n_head_kv };
        let mut segments = Segments::new(128 + SEGMENT * s.n_head_kv * (keys.bytes() + values.bytes()));
        let mut next = 0;
        // Descending, so that nothing depends on their being adjacent.
        let mut blocks: Vec<Vec<u32>> = self
            .lens
            .iter()
            .map(|len| {
                let n = len.div_ceil(BLOCK) as u32;
                next += n;
                (next - n..next).rev().collect()
            })
            .collect();
        (0..(next as usize).div_ceil(SEGMENT)).for_each(|_| segments.grow().expect("memory"));
        let mut done = vec![0; self.lens.len()];
        if self.shared {
            let (first, others) = blocks.split_first_mut().expect("there are sequences");
            others.iter_mut().for_each(|blocks| blocks[0] = first[0]);
            done[1..].fill(BLOCK);
        }
        let mut out = vec![Vec::new(); self.lens.len()];
        for step in steps {
            let (mut qkv, mut cos, mut sin, mut spans) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (index, n) in step.iter().enumerate() {
                let range: Range<usize> = done[index]..done[index] + n;
                if range.is_empty() {
                    continue;
                }
                spans.push(Span {
                    row: qkv.len() / s.qkv_width(),
                    n_rows: *n,
                    n_past: range.start,
                    blocks: &blocks[index],
                    causal: self.causal,
                });
                qkv.extend_from_slice(&self.rows[index][range.start * s.qkv_width()..range.end * s.qkv_width()]);
                for position in range {
                    let (c, s) = self.angles(position);
                    cos.extend(c);
                    sin.extend(s);
                }
            }
            let rotations = Rotations { kind: self.kind, n_dims: self.n_dims, cos: &cos, sin: &sin };
            let spans = Spans::new(spans);
            let rows = Rows { shape: s, qkv: &qkv, norms: self.head_norms(), rotations, spans: &spans };
            let mut cache = LayerCache::new(&mut segments, &place);
            store(&rows, &mut cache, pool, simd);
            let mut values = vec![0.0; step.iter().sum::<usize>() * s.n_head * s.dim_v];
            attend(&rows, &mut cache, &mut values, pool, simd);
            let mut values = values.into_iter();
            for (index, n) in step.iter().enumerate() {
                out[index].extend(values.by_ref().take(n * s.n_head * s.dim_v));
                done[index] += n;
            }
        }
        out
    }

    fn alone(&self, pool: &Pool, simd: Simd) -> Vec<Vec<f32>> {
        let steps: Vec<Vec<usize>> = (0..self.lens.len())
            .map(|index| (0..self.lens.len()).map(|other| if other == index { self.lens[index] } else { 0 }).collect())
            .collect();
        self.run(&steps, pool, simd)
    }

    /// Softmax attention in f64 over what the cache's type makes of keys and values.
    fn reference(&self, index: usize) -> Vec<f64> {
        let s = &self.shape;
        let fused: Vec<&[f32]> = self.rows[index].chunks_exact(s.qkv_width()).collect();
        let norms = self.head_norms();
        let rotated = |position: usize, column: usize| {
            let mut head = fused[position][column..column + s.dim_k].to_vec();
            if let Some(HeadNorms { query, key, eps }) = norms {
                let weight = if column < s.n_head * s.dim_k { query } else { key };
                rms_norm(&fused[position][column..column + s.dim_k], weight, eps, &mut head);
            }
            let (cos, sin) = self.angles(position);
            let partner = |j: usize| match self.kind {
                RopeKind::Normal => j ^ 1,
                RopeKind::Neox => (j + self.n_dims / 2) % self.n_dims,
            };
            let turn = |j: usize| if j < self.n_dims { head[j] * cos[j] + head[partner(j)] * sin[j] } else { head[j] };
            (0..s.dim_k).map(turn).collect::<Vec<f32>>()
        };
        let keys_at = s.n_head * s.dim_k;
        let values_at = keys_at + s.n_head_kv * s.dim_k;
        let mut out = Vec::new();
        for position in 0..fused.len() {
            for head in 0..s.n_head {
                let query = rotated(position, head * s.dim_k);
                let kv = head / s.group();
                let end = if self.causal { position + 1 } else { fused.len() };
                let seen = end.saturating_sub(s.window)..end;
                let scores: Vec<f64> = seen
                    .clone()
                    .map(|at| {
                        let key = stored(self.types.0, &rotated(at, keys_at + kv * s.dim_k));
                        let dot: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(k)).sum();
                        dot * f64::from(s.scale)
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                let mut sums = vec![0.0; s.dim_v];
                for (at, weight) in seen.zip(&weights) {
                    let column = values_at + kv * s.dim_v;
                    let value = stored(self.types.1, &fused[at][column..column + s.dim_v]);
                    sums.iter_mut().zip(value).for_each(|(sum, v)| *sum += weight / total * f64::from(v));
                }
                out.extend(sums);
            }
        }
        out
    }
}

/// A head as it comes back from the cache.
fn stored(ty: CacheType, head: &[f32]) -> Vec<f32> {
    match ty {
        CacheType::F32 => head.to_vec(),
        CacheType::F16 => head.iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
        CacheType::Q8_0 => head
            .chunks(32)
            .flat_map(|group| {
                let scale = group.iter().fold(0.0f32, |a, b| a.max(b.abs())) / 127.0;
                let kept = f16::from_f32(scale).to_f32();
                group.iter().map(move |x| if scale > 0.0 { (x * (1.0 / scale)).round_ties_even() * kept } else { 0.0 })
            })
            .collect(),
    }
}

/// Equality to the bit; all NaNs are equal.
fn assert_same(got: &[Vec<f32>], want: &[Vec<f32>], what: &str) {
    for (sequence, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.len(), want.len(), "{what}");
        let differs = |i: &usize| got[*i].to_bits() != want[*i].to_bits() && !(got[*i].is_nan() && want[*i].is_nan());
        if let Some(i) = (0..got.len()).find(differs) {
            panic!("{what}: value {i} of sequence {sequence} is {} instead of {}", got[i], want[i]);
        }
    }
}

fn types() -> impl Strategy<Value = CacheType> {
    prop_oneof![Just(CacheType::F16), Just(CacheType::F32), Just(CacheType::Q8_0)]
}

/// Windows that end within a block, at one, within a partition and after several; or none.
fn windows() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 1..40usize, Just(32), 200..400usize]
}

/// Steps that take the sequences `lens` in random chunks.
fn chunks(lens: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut left = lens.to_vec();
    let mut state = seed;
    let mut steps = Vec::new();
    while left.iter().any(|n| *n > 0) {
        let step: Vec<usize> = left
            .iter()
            .map(|left| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) as usize % [1, 2, 9, 70][(state >> 60) as usize % 4].min(left + 1)).max(1).min(*left)
            })
            .collect();
        left.iter_mut().zip(&step).for_each(|(left, n)| *left -= n);
        steps.push(step);
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bits_do_not_depend_on_batch_chunks_threads_or_instructions(
        n_head_kv in 1..3usize, group in 1..10usize, dims in (1..5usize, 1..5usize), odd in 0..2usize,
        types in (types(), types()), lens in proptest::collection::vec(1..90usize, 1..4), long in 200..600usize,
        window in windows(), norms in any::<bool>(), seed in any::<u64>(),
    ) {
        // Head sizes that q8_0 takes, or any even ones.
        let odd = if types.0 == CacheType::Q8_0 || types.1 == CacheType::Q8_0 { 0 } else { odd };
        let dim = |n: usize| if odd == 1 { 10 * n } else { 32 * n };
        let mut lens = lens;
        lens.push(long);
        let case = Case::new((n_head_kv, group, dim(dims.0), dim(dims.1)), types, &lens, seed);
        let case = case.with_window(window);
        let case = if norms { case.with_norms() } else { case };
        let (one, many) = (Pool::new(1), Pool::new(3));
        let want = case.alone(&one, Simd::SCALAR);
        for simd in Simd::available() {
            assert_same(&case.alone(&many, simd), &want, &format!("{simd:?}"));
            assert_same(&case.run(&chunks(&lens, seed), &many, simd), &want, &format!("{simd:?} in chunks"));
        }
    }

    #[test]
    fn values_are_those_of_f64(
        group in 1..5usize, dims in (1..4usize, 1..4usize), types in (types(), types()), len in 1..300usize,
        window in windows(), norms in any::<bool>(), seed in any::<u64>(),
    ) {
        let case = Case::new((2, group, 32 * dims.0, 32 * dims.1), types, &[len], seed).with_window(window);
        let case = if norms { case.with_norms() } else { case };
        let want = case.reference(0);
        // A rounded key may fall on the other side of a tie; scores are up to about 50.
        for simd in Simd::available() {
            let got = case.alone(&Pool::new(2), simd).remove(0);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                prop_assert!((f64::from(*got) - want).abs() < 2e-4, "{simd:?}: value {i}: {got}, expected {want}");
            }
        }
    }

    #[test]
    fn both_directions_see_the_whole_sequence_whatever_is_beside_it(
        group in 1..5usize, dims in (1..4usize, 1..4usize), types in (types(), types()),
        lens in proptest::collection::vec(prop_oneof![1..90usize, 250..600usize], 1..4), seed in any::<u64>(),
    ) {
        let case = Case::new((2, group, 32 * dims.0, 32 * dims.1), types, &lens, seed);
        let case = Case { causal: false, ..case };
        let alone = case.alone(&Pool::new(1), Simd::SCALAR);
        for simd in Simd::available() {
            assert_same(&case.run(std::slice::from_ref(&lens), &Pool::new(3), simd), &alone, &format!("{simd:?}"));
        }
        for (i, (got, want)) in alone[0].iter().zip(&case.reference(0)).enumerate() {
            prop_assert!((f64::from(*got) - want).abs() < 2e-4, "value {i}: {got}, expected {want}");
        }
    }
}

#[test]
fn nan_and_extremes_stay_in_their_rows() {
    let poisons = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 1e-40, f32::MAX, 0.0];
    for types in [CacheType::F16, CacheType::F32, CacheType::Q8_0] {
        for (n, poison) in poisons.into_iter().enumerate() {
            let clean = Case::new((1, 3, 32, 32), (types, types), &[300], 7 + n as u64);
            let mut case = Case::new((1, 3, 32, 32), (types, types), &[300], 7 + n as u64);
            let (at, width) = (270, case.shape.qkv_width());
            case.rows[0][at * width..(at + 1) * width].fill(poison);
            let want = case.alone(&Pool::new(1), Simd::SCALAR);
            let row = case.shape.n_head * case.shape.dim_v;
            let before = clean.alone(&Pool::new(1), Simd::SCALAR);
            assert_same(&[want[0][..at * row].to_vec()], &[before[0][..at * row].to_vec()], "rows before");
            assert!(poison.is_finite() || want[0][at * row].is_nan() || want[0][at * row].is_infinite(), "{poison}");
            for simd in Simd::available() {
                assert_same(&case.alone(&Pool::new(2), simd), &want, &format!("{simd:?}, {types:?}, {poison}"));
                let steps: Vec<Vec<usize>> = (0..300).map(|_| vec![1]).collect();
                assert_same(
                    &case.run(&steps, &Pool::new(2), simd),
                    &want,
                    &format!("{simd:?}, {types:?}, {poison}, one by one"),
                );
            }
        }
    }
}

/// A value before the window must not even be multiplied with zero.
#[test]
fn nothing_before_a_window_reaches_a_row() {
    for (at, window) in [(5, 40), (250, 30), (40, 300)] {
        let case = || Case::new((1, 3, 32, 32), (CacheType::F16, CacheType::F16), &[600], 3).with_window(window);
        let (clean, mut poisoned) = (case(), case());
        let (width, row) = (clean.shape.qkv_width(), clean.shape.n_head * clean.shape.dim_v);
        poisoned.rows[0][at * width..(at + 1) * width].fill(f32::NAN);
        for simd in Simd::available() {
            let [clean, poisoned] = [&clean, &poisoned].map(|case| case.alone(&Pool::new(2), simd).remove(0));
            let (before, reached, after) = (at * row, at * row..(at + window) * row, (at + window) * row);
            assert!(poisoned[reached].iter().all(|x| x.is_nan()), "{simd:?}");
            assert_same(&[poisoned[..before].to_vec()], &[clean[..before].to_vec()], "rows before");
            assert_same(&[poisoned[after..].to_vec()], &[clean[after..].to_vec()], "rows after the window");
        }
    }
}

#[test]
fn a_prefix_is_copied_as_it_is() {
    for ty in [CacheType::F16, CacheType::F32, CacheType::Q8_0] {
        for kind in [Kind::Keys, Kind::Values] {
            let format = KvFormat { ty, kind, dim: 64 };
            let from: Vec<u8> = (0..format.bytes()).map(|i| (i * 7 % 251) as u8).collect();
            for n in [0, 1, 31, 32] {
                let mut to = vec![0; format.bytes()];
                format.copy_prefix(&from, &mut to, n);
                let copied = to.iter().zip(&from).filter(|(to, from)| **from != 0 && to == from).count();
                let expected = from.iter().filter(|byte| **byte != 0).count() * n / BLOCK;
                assert!(copied.abs_diff(expected) <= format.bytes() / 200, "{ty:?} {kind:?} {n}: {copied}, {expected}");
            }
        }
    }
}

/// Threads would read what another one writes.
#[test]
fn a_single_rows_block_is_listed_once() {
    let span = |row, n_rows, n_past, blocks| Span { row, n_rows, n_past, blocks, causal: true };
    let is_refused = |spans: Vec<Span<'_>>| std::panic::catch_unwind(|| Spans::new(spans)).is_err();
    // What comes before may be shared, what is written may not.
    assert!(!is_refused(vec![span(0, 1, BLOCK + 1, &[0, 1]), span(1, 1, BLOCK + 9, &[0, 2]), span(2, 2, 1, &[3])]));
    assert!(is_refused(vec![span(0, 1, BLOCK + 1, &[0, 1]), span(1, 1, BLOCK - 1, &[0])]));
    assert!(is_refused(vec![span(0, 1, 3, &[5]), span(1, 1, 3, &[5])]));
    assert!(is_refused(vec![span(0, 1, 3, &[5]), span(1, 2, 3, &[5])]));
    assert!(is_refused(vec![span(0, 1, 2 * BLOCK, &[5, 1, 5])]));
}

/// Two sequences go on from the same block, each in one of its own.
#[test]
fn rows_share_what_comes_before() {
    let lens = [BLOCK + 4, BLOCK + 4];
    let mut case = Case::new((2, 3, 32, 32), (CacheType::F16, CacheType::F16), &lens, 5);
    let width = case.shape.qkv_width();
    let shared = case.rows[0][..BLOCK * width].to_vec();
    case.rows[1][..BLOCK * width].copy_from_slice(&shared);
    let want = case.alone(&Pool::new(1), Simd::SCALAR);
    case.shared = true;
    let steps: Vec<Vec<usize>> = std::iter::once(vec![BLOCK, 0]).chain((0..4).map(|_| vec![1, 1])).collect();
    for simd in Simd::available() {
        let got = case.run(&steps, &Pool::new(3), simd);
        let row = case.shape.n_head * case.shape.dim_v;
        let want = [want[0].clone(), want[1][BLOCK * row..].to_vec()];
        assert_same(&got, &want, &format!("{simd:?}"));
    }
}
