//! Attention of one query over the cached blocks of its sequence.
//!
//! Keys of a block are transposed: for each dimension, 32 keys are one vector run. Values lie row
//! by row. Scores, softmax and the weighted sum walk the keys in order, so a row's bits depend on
//! the query and the keys before it alone, never on how they were computed or batched.

use half::f16;

use super::math::exp;
use crate::kv_cache::BLOCK_TOKENS;

/// An element of the cache.
pub trait CacheElement: Copy + Send + Sync + Default + 'static {
    fn from_f32(value: f32) -> Self;
    /// 16 elements as f32.
    ///
    /// # Safety
    /// With `AVX512`, the processor must have AVX-512 F.
    unsafe fn load<const AVX512: bool>(values: &[Self; 16]) -> [f32; 16];
}

impl CacheElement for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    unsafe fn load<const AVX512: bool>(values: &[Self; 16]) -> [f32; 16] {
        *values
    }
}

impl CacheElement for f16 {
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline(always)]
    unsafe fn load<const AVX512: bool>(values: &[Self; 16]) -> [f32; 16] {
        #[cfg(target_arch = "x86_64")]
        if AVX512 {
            use std::arch::x86_64::*;
            let mut out = [0.0; 16];
            // SAFETY: 16 halves are 32 bytes, 16 floats 64; the caller vouches for AVX-512 F.
            unsafe {
                let wide = _mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast()));
                _mm512_storeu_ps(out.as_mut_ptr(), wide);
            }
            return out;
        }
        values.map(Self::to_f32)
    }
}

/// One head's keys and values in a block.
pub struct BlockView<'a, K, V> {
    /// `[dim_k][32]`
    pub keys: &'a [K],
    /// `[32][dim_v]`
    pub values: &'a [V],
}

/// Attends with `query` to the first `n_keys` keys of `blocks`; `scores` is scratch.
pub fn attend<'a, K: CacheElement, V: CacheElement>(
    query: &[f32],
    scale: f32,
    n_keys: usize,
    block: impl Fn(usize) -> BlockView<'a, K, V>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
    avx512: bool,
) {
    #[cfg(target_arch = "x86_64")]
    if avx512 {
        // SAFETY: the flag comes from asking the processor.
        return unsafe { attend_avx512(query, scale, n_keys, block, scores, out) };
    }
    // SAFETY: the portable version has no requirement.
    unsafe { attend_blocks::<K, V, false>(query, scale, n_keys, block, scores, out) }
}

/// # Safety
/// The processor must have AVX-512 F, BW and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,f16c")]
unsafe fn attend_avx512<'a, K: CacheElement, V: CacheElement>(
    query: &[f32],
    scale: f32,
    n_keys: usize,
    block: impl Fn(usize) -> BlockView<'a, K, V>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    // SAFETY: passed on.
    unsafe { attend_blocks::<K, V, true>(query, scale, n_keys, block, scores, out) }
}

/// # Safety
/// With `AVX512`, the processor must have AVX-512 F.
#[inline(always)]
unsafe fn attend_blocks<'a, K: CacheElement, V: CacheElement, const AVX512: bool>(
    query: &[f32],
    scale: f32,
    n_keys: usize,
    block: impl Fn(usize) -> BlockView<'a, K, V>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let n_blocks = n_keys.div_ceil(BLOCK_TOKENS);
    scores.clear();
    for index in 0..n_blocks {
        let keys = block(index).keys;
        let mut dots = [[0.0f32; 16]; 2];
        for (x, run) in query.iter().zip(keys.chunks_exact(BLOCK_TOKENS)) {
            for (half, dots) in dots.iter_mut().enumerate() {
                let run: &[K; 16] = run[half * 16..][..16].try_into().expect("half a run has 16 keys");
                // SAFETY: passed on.
                let keys = unsafe { K::load::<AVX512>(run) };
                for (dot, key) in dots.iter_mut().zip(keys) {
                    *dot += x * key;
                }
            }
        }
        scores.extend(dots.as_flattened().iter().map(|dot| dot * scale));
    }
    // Keys after the last are not there yet.
    scores[n_keys..].fill(f32::NEG_INFINITY);
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Sixteen partial sums by lane, then in order: the same bits for every vector width.
    let mut sums = [0.0f32; 16];
    for lanes in scores.chunks_exact_mut(16) {
        for (sum, score) in sums.iter_mut().zip(lanes) {
            *score = exp(*score - max);
            *sum += *score;
        }
    }
    let total: f32 = sums.iter().sum();
    out.fill(0.0);
    for index in 0..n_blocks {
        let values = block(index).values;
        let weights = &scores[index * BLOCK_TOKENS..n_keys.min((index + 1) * BLOCK_TOKENS)];
        for (weight, row) in weights.iter().zip(values.chunks_exact(out.len())) {
            // SAFETY: passed on.
            unsafe { add_scaled::<V, AVX512>(*weight, row, out) };
        }
    }
    out.iter_mut().for_each(|value| *value /= total);
}

/// out += weight · row.
///
/// # Safety
/// With `AVX512`, the processor must have AVX-512 F.
#[inline(always)]
unsafe fn add_scaled<T: CacheElement, const AVX512: bool>(weight: f32, row: &[T], out: &mut [f32]) {
    let (runs, rest) = row.as_chunks::<16>();
    let (out_runs, out_rest) = out.as_chunks_mut::<16>();
    for (out, run) in out_runs.iter_mut().zip(runs) {
        // SAFETY: passed on.
        let values = unsafe { T::load::<AVX512>(run) };
        for (out, value) in out.iter_mut().zip(values) {
            *out += weight * value;
        }
    }
    if !rest.is_empty() {
        let mut padded = [T::default(); 16];
        padded[..rest.len()].copy_from_slice(rest);
        // SAFETY: passed on.
        let values = unsafe { T::load::<AVX512>(&padded) };
        for (out, value) in out_rest.iter_mut().zip(values) {
            *out += weight * value;
        }
    }
}
