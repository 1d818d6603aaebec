//! What the machine itself can do, measured on a pool's threads: bytes read from memory, integer
//! and float operations. A kernel's share of these says how far it is from the end of tuning.

use std::hint::black_box;
use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::dispatch::Set;
use super::{Pool, Simd};

#[cfg(target_arch = "aarch64")]
mod neon;

/// Bytes that are read in a pass: more than any level-3 cache of today's processors holds.
const READ_BYTES: usize = 1 << 30;

/// Bytes of a piece of such a pass.
const READ_PIECE: usize = 1 << 20;

/// Pieces of an arithmetic measurement; far more than threads, so that none waits for the last.
const PIECES: usize = 256;

/// Turns of the register loop in a piece, some hundred microseconds.
const TURNS: usize = 20_000;

/// How long each limit is measured; the best pass in that time counts.
const MEASURED: Duration = Duration::from_millis(600);

/// Upper limits of a machine with a number of threads, for one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub n_threads: usize,
    pub simd: Simd,
    /// Bytes read from memory a second.
    pub read: f64,
    /// Multiplications and additions of 8-bit integers a second, both counted.
    pub int8: f64,
    /// Multiplications and additions of f32 a second, both counted.
    pub f32: f64,
}

impl Limits {
    /// Measures all three, which takes about two seconds and a gigabyte of memory for a while.
    #[must_use]
    pub fn measure(pool: &Pool, simd: Simd) -> Self {
        Self {
            n_threads: pool.n_threads(),
            simd,
            read: MemoryProbe::new(pool).rate(pool, simd, MEASURED),
            int8: arithmetic_rate(pool, &|| int8_piece(simd)),
            f32: arithmetic_rate(pool, &|| f32_piece(simd)),
        }
    }
}

/// A gigabyte to be read. Where neighbours use the same memory, its rate changes from one second to the
/// next, so whoever compares with it should measure it just before and after.
pub struct MemoryProbe(HugeBuffer);

impl MemoryProbe {
    /// Takes the memory and writes it once.
    #[must_use]
    pub fn new(pool: &Pool) -> Self {
        Self(HugeBuffer::new(READ_BYTES, pool))
    }

    /// Bytes a second that all threads read together: the best pass of those that begin within `time`.
    #[must_use]
    pub fn rate(&self, pool: &Pool, simd: Simd, time: Duration) -> f64 {
        let words = self.0.words();
        best_rate(READ_BYTES as f64, time, || {
            pool.run(READ_BYTES / READ_PIECE, &|piece| {
                let n = READ_PIECE / size_of::<u64>();
                black_box(sum(&words[piece * n..][..n], simd));
            });
        })
    }
}

fn arithmetic_rate(pool: &Pool, piece: &(dyn Fn() -> f64 + Sync)) -> f64 {
    // The first piece says how many operations each one does, and wakes the vector units.
    let operations = piece();
    best_rate(operations * PIECES as f64, MEASURED, || {
        pool.run(PIECES, &|_| {
            black_box(piece());
        });
    })
}

/// `amount` by the seconds of the fastest of the passes that begin within `time`.
fn best_rate(amount: f64, time: Duration, pass: impl Fn()) -> f64 {
    let began = Instant::now();
    let mut best = f64::INFINITY;
    while began.elapsed() < time || best.is_infinite() {
        let start = Instant::now();
        pass();
        best = best.min(start.elapsed().as_secs_f64());
    }
    amount / best
}

/// Memory in huge pages where the system has them, so that page tables do not limit the reads.
struct HugeBuffer(Vec<u64>);

impl HugeBuffer {
    fn new(bytes: usize, pool: &Pool) -> Self {
        let n = bytes / size_of::<u64>();
        // Zeroed memory of this size comes fresh from the system: no page exists yet.
        let mut values = vec![0u64; n];
        #[cfg(target_os = "linux")]
        // SAFETY: the range lies inside the vector's own memory (rounded inwards to pages), and the
        // advice changes no content. Where it is refused the pages stay small.
        unsafe {
            let start = values.as_mut_ptr().cast::<u8>();
            let skipped = start.align_offset(4096);
            libc::madvise(start.add(skipped).cast(), (bytes - skipped) & !4095, libc::MADV_HUGEPAGE);
        }
        // A page that was never written is the one page of zeros, and would be read from a cache.
        pool.run_chunks(&mut values, READ_PIECE / size_of::<u64>(), &|index, part| part.fill(index as u64 | 1));
        Self(values)
    }

    fn words(&self) -> &[u64] {
        &self.0
    }
}

fn sum(words: &[u64], simd: Simd) -> u64 {
    match simd.set() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the choice of `Simd` was made by asking the processor.
        Set::Avx512 => unsafe { sum_avx512(words) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Set::Avx2 => unsafe { sum_avx2(words) },
        _ => words.iter().fold(0, |sum, word| sum ^ word),
    }
}

/// # Safety
/// AVX-512 F must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn sum_avx512(words: &[u64]) -> u64 {
    let mut sums = [_mm512_setzero_si512(); 8];
    for part in words.chunks_exact(64) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a part has eight runs of eight words.
            *sum = _mm512_xor_si512(*sum, unsafe { _mm512_loadu_si512(part.as_ptr().add(i * 8).cast()) });
        }
    }
    sums.iter().fold(0, |all, sum| all ^ _mm512_reduce_add_epi64(*sum) as u64)
}

/// # Safety
/// AVX2 must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn sum_avx2(words: &[u64]) -> u64 {
    let mut sums = [_mm256_setzero_si256(); 8];
    for part in words.chunks_exact(32) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a part has eight runs of four words.
            *sum = _mm256_xor_si256(*sum, unsafe { _mm256_loadu_si256(part.as_ptr().add(i * 4).cast()) });
        }
    }
    sums.iter().fold(0, |all, sum| all ^ _mm256_extract_epi64::<0>(*sum) as u64)
}

/// Runs one piece of the integer measurement; the operations it did.
fn int8_piece(simd: Simd) -> f64 {
    match simd.set() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the choice of `Simd` was made by asking the processor.
        Set::Avx512 => unsafe { int8_avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; AVX-VNNI where it is asked for.
        Set::Avx2 => unsafe { if simd.has_avx_vnni() { int8_avx2_vnni() } else { int8_avx2() } },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above; the dot products where they are asked for.
        Set::Neon => unsafe { if simd.has_dot_products() { neon::int8_dot() } else { neon::int8() } },
        _ => int8_scalar(),
    }
}

/// Runs one piece of the float measurement; the operations it did.
fn f32_piece(simd: Simd) -> f64 {
    match simd.set() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the choice of `Simd` was made by asking the processor.
        Set::Avx512 => unsafe { f32_avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Set::Avx2 => unsafe { f32_avx2() },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Set::Neon => unsafe { neon::f32() },
        _ => f32_scalar(),
    }
}

/// Independent sums of the register loops: more than latency times units of any processor so far,
/// and few enough for the registers.
const CHAINS: usize = 12;

/// # Safety
/// AVX-512 F and VNNI must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn int8_avx512() -> f64 {
    let (a, b) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(-2)));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..TURNS {
        sums.iter_mut().for_each(|sum| *sum = _mm512_dpbusd_epi32(*sum, a, b));
    }
    black_box(sums);
    (TURNS * CHAINS * 64 * 2) as f64
}

/// # Safety
/// AVX2 and AVX-VNNI must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn int8_avx2_vnni() -> f64 {
    let (a, b) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(-2)));
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    for _ in 0..TURNS {
        sums.iter_mut().for_each(|sum| *sum = _mm256_dpbusd_avx_epi32(*sum, a, b));
    }
    black_box(sums);
    (TURNS * CHAINS * 32 * 2) as f64
}

/// Pairs of products are summed as 16-bit integers, as for narrow weights; widening these sums now
/// and then is left out, which makes it an upper limit.
///
/// # Safety
/// AVX2 must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn int8_avx2() -> f64 {
    let (a, b) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(-2)));
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    for _ in 0..TURNS {
        for sum in &mut sums {
            // Each product is hidden from the optimizer, which would compute it once for all.
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(opaque(a), b));
        }
    }
    black_box(sums);
    (TURNS * CHAINS * 32 * 2) as f64
}

/// The same value in the same register, of which the optimizer knows nothing any more.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn opaque(mut value: __m256i) -> __m256i {
    // SAFETY: the empty text changes nothing; it only names the register.
    unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) value, options(pure, nomem, nostack, preserves_flags)) }
    value
}

fn int8_scalar() -> f64 {
    let (a, b) = (black_box([3u8; 64]), black_box([-2i8; 64]));
    let mut sums = [0i32; 64];
    for _ in 0..TURNS {
        let (a, b) = (black_box(&a), black_box(&b));
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += i32::from(*a) * i32::from(*b));
    }
    black_box(sums);
    (TURNS * 64 * 2) as f64
}

/// # Safety
/// AVX-512 F must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn f32_avx512() -> f64 {
    let (a, b) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(0.001)));
    let mut sums = [_mm512_set1_ps(1.0); CHAINS];
    for _ in 0..TURNS {
        sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, a, b));
    }
    black_box(sums);
    (TURNS * CHAINS * 16 * 2) as f64
}

/// # Safety
/// AVX2 and FMA must be there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn f32_avx2() -> f64 {
    let (a, b) = (black_box(_mm256_set1_ps(0.999)), black_box(_mm256_set1_ps(0.001)));
    let mut sums = [_mm256_set1_ps(1.0); CHAINS];
    for _ in 0..TURNS {
        sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, a, b));
    }
    black_box(sums);
    (TURNS * CHAINS * 8 * 2) as f64
}

fn f32_scalar() -> f64 {
    let (a, b) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [1.0f32; 32];
    for _ in 0..TURNS {
        // A fused operation without hardware for it would be a call of the library.
        sums.iter_mut().for_each(|sum| *sum = *sum * a + b);
    }
    black_box(sums);
    (TURNS * 32 * 2) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_sum_reads_every_word() {
        let mut words = vec![0u64; READ_PIECE / 8];
        for simd in Simd::available() {
            for at in [0, 8, words.len() / 2, words.len() - 64] {
                words[at] = 5;
                assert_ne!(sum(&words, simd), 0, "{simd:?}, word {at}");
                words[at] = 0;
            }
        }
    }

    #[test]
    fn wider_registers_do_not_do_less() {
        // Rates are the machine's; what can be wrong here is the count of operations, by which a
        // scalar loop would seem faster than a vector one.
        let pool = Pool::new(1);
        let rates = |piece: fn(Simd) -> f64| -> Vec<f64> {
            Simd::available().into_iter().map(|simd| arithmetic_rate(&pool, &|| piece(simd))).collect()
        };
        for rates in [rates(int8_piece), rates(f32_piece)] {
            let scalar = rates[rates.len() - 1];
            assert!(scalar > 1e8, "{rates:?}");
            assert!(rates.iter().all(|rate| *rate >= 0.9 * scalar), "{rates:?}");
        }
        // The variant that a processor with AVX-VNNI does not choose.
        #[cfg(target_arch = "x86_64")]
        if Simd::parse("avx2").is_ok() {
            // SAFETY: AVX2 is there.
            let narrow = arithmetic_rate(&pool, &|| unsafe { int8_avx2() });
            let scalar = arithmetic_rate(&pool, &int8_scalar);
            assert!(narrow >= 0.9 * scalar, "{narrow} {scalar}");
        }
        // And the one that a processor with dot products does not choose.
        #[cfg(target_arch = "aarch64")]
        {
            // SAFETY: NEON is part of the target's baseline.
            let narrow = arithmetic_rate(&pool, &|| unsafe { neon::int8() });
            let scalar = arithmetic_rate(&pool, &int8_scalar);
            assert!(narrow >= 0.9 * scalar, "{narrow} {scalar}");
        }
    }
}
