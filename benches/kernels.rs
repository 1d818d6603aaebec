//! Times every kernel beside the limit of the machine that binds it:
//!
//! ```text
//! cargo bench --bench kernels                 # all, about two minutes
//! cargo bench --bench kernels -- gemm/Q4_0    # those whose name matches
//! THREADS=1 RUSTLLM_SIMD=avx2 cargo bench --bench kernels -- attention
//! ```
//!
//! A kernel's name says its kind, its format and its rows. Criterion prints its time and compares it
//! with the run before; the line below has its rate at the limit that it would need the most time at,
//! which is measured by [`Limits`] in the same run, and its share of it. What memory gives is measured
//! again after each kernel, since it changes within seconds where others use the same memory.

#[path = "kernels/attention.rs"]
mod attention;
#[path = "kernels/products.rs"]
mod products;
#[path = "kernels/rows.rs"]
mod rows;

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use rustllm::kernels::{Limits, MemoryProbe, Pool, Simd};

/// A model of 1.1B: its matrices are larger than caches.
const WIDTH: usize = 2048;
const FEED_FORWARD: usize = 5632;
const VOCABULARY: usize = 32_000;

/// Of each kernel, after what it needs is there.
const WARM_UP: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_millis(300);
const SAMPLES: usize = 10;

/// Of what memory gives, after each kernel.
const PROBED: Duration = Duration::from_millis(100);

fn main() {
    let simd = Simd::from_environment().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2)
    });
    let threads = std::env::var("THREADS").ok().filter(|text| !text.is_empty());
    let threads = threads.map_or(0, |text| {
        text.parse().unwrap_or_else(|_| {
            eprintln!("THREADS: {text:?} is not allowed; allowed: a whole number, 0 for all cores");
            std::process::exit(2)
        })
    });
    let criterion = Criterion::default()
        .warm_up_time(WARM_UP)
        .measurement_time(MEASURED)
        .sample_size(SAMPLES)
        .nresamples(2000)
        .without_plots()
        .configure_from_args();
    let mut bench = Bench { criterion, pool: Pool::new(threads), simd, limits: OnceCell::new() };
    products::bench(&mut bench);
    rows::bench(&mut bench);
    attention::bench(&mut bench);
    bench.criterion.final_summary();
}

/// What kernels run with, and what they are compared with.
struct Bench {
    criterion: Criterion,
    pool: Pool,
    simd: Simd,
    limits: OnceCell<(Limits, MemoryProbe)>,
}

/// What one run of a kernel cannot do without.
#[derive(Clone, Copy, Default)]
struct Work {
    /// Read from memory, or written to it.
    bytes: f64,
    /// Multiplications and additions of 8-bit integers.
    int_ops: f64,
    /// The same of f32.
    float_ops: f64,
}

impl Bench {
    /// Times `run` on what `prepare` makes, unless the command line leaves it out.
    fn time<S>(
        &mut self,
        group: &str,
        name: &str,
        work: Work,
        prepare: impl FnOnce(&Pool, Simd) -> S,
        mut run: impl FnMut(&mut S, &Pool, Simd),
    ) {
        let Self { criterion, pool, simd, limits } = self;
        let (mut prepare, mut state) = (Some(prepare), None);
        let mut samples = Vec::new();
        let mut benches = criterion.benchmark_group(group);
        benches.sampling_mode(SamplingMode::Flat).bench_function(name, |bencher| {
            limits.get_or_init(|| measure_limits(pool, *simd));
            let state = state.get_or_insert_with(|| prepare.take().expect("made once")(pool, *simd));
            bencher.iter_custom(|n| {
                let start = Instant::now();
                (0..n).for_each(|_| run(state, pool, *simd));
                let took = start.elapsed();
                samples.push(took.as_secs_f64() / n as f64);
                took
            });
        });
        benches.finish();
        samples.sort_by(f64::total_cmp);
        if let (Some(seconds), Some((limits, memory))) = (samples.get(samples.len() / 2), limits.get_mut()) {
            let now = memory.rate(pool, *simd, PROBED);
            let around = Limits { read: limits.read.max(now), ..*limits };
            println!("{:24}{}", "", share(work, *seconds, &around));
            limits.read = now;
        }
    }
}

fn measure_limits(pool: &Pool, simd: Simd) -> (Limits, MemoryProbe) {
    let limits = Limits::measure(pool, simd);
    let Limits { n_threads, read, int8, f32, .. } = limits;
    let [read, int8, f32] = [read, int8, f32].map(|rate| rate / 1e9);
    println!("\n{n_threads} threads, {simd:?}: memory {read:.1} GB/s, int8 {int8:.0} Gop/s, f32 {f32:.0} GFLOP/s");
    (limits, MemoryProbe::new(pool))
}

/// The share of the limit at which `work` needs the most time. What fits into a cache can be faster
/// than memory.
fn share(work: Work, seconds: f64, limits: &Limits) -> String {
    let bounds = [
        ("memory read", work.bytes, limits.read, "GB/s"),
        ("int8 peak", work.int_ops, limits.int8, "Gop/s"),
        ("f32 peak", work.float_ops, limits.f32, "GFLOP/s"),
    ];
    let time = |bound: &(_, f64, f64, _)| bound.1 / bound.2;
    let (name, amount, limit, unit) = bounds.into_iter().max_by(|a, b| time(a).total_cmp(&time(b))).expect("three");
    let rate = amount / seconds;
    format!("{:.0} % of {name}: {:.1} of {:.1} {unit}", 100.0 * rate / limit, rate / 1e9, limit / 1e9)
}
