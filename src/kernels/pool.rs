//! The compute pool: persistent workers that take pieces of a job from atomic counters.
//!
//! Each worker has a stretch of the pieces, so that what it reads lies together and can be asked for
//! ahead; when its own are done it takes what others have left. The calling thread is worker 0. A job ends when all pieces are done, not when all workers have
//! noticed it: a worker that the system has taken away comes too late and goes back to sleep.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::prefetch;

/// Turns of the waiting loop before a worker sleeps: some tens of microseconds, longer than the
/// gap between two jobs of a step, short enough to leave the core to the event loop.
const SPINS: u32 = 4_000;

/// Bytes that a waiting worker asks for at most: part of a core's second-level cache.
const AHEAD_BYTES: usize = 256 << 10;

/// State bits: workers inside the job, whether it is open, and its number.
const INSIDE: u64 = 0xffff;
const OPEN: u64 = 1 << 16;
const EPOCH: u64 = 1 << 17;

/// Threads for jobs that are split into pieces.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time; a second caller waits. Holds what the next job is told to ask for.
    turn: Mutex<Ahead>,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(usize) + Sync),
    n_pieces: usize,
    ahead: Ahead,
}

/// Memory that the job after the next reads, as an address and a length: a hint, never followed.
#[derive(Clone, Copy, Default)]
struct Ahead {
    start: usize,
    len: usize,
}

impl Ahead {
    /// What worker `index` of `n` will read first of it, as far as its cache has room.
    fn part(self, index: usize, n: usize) -> Self {
        let start = self.start + self.len / n * index;
        Self { start, len: (self.len / n).min(AHEAD_BYTES) }
    }

    /// Asks for the next line and takes it away.
    #[inline]
    fn ask(&mut self) {
        prefetch::second_level(self.start as *const u8);
        self.start += 64;
        self.len = self.len.saturating_sub(64);
    }
}

/// A counter with a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicUsize);

struct Shared {
    state: AtomicU64,
    /// The next piece of each worker's stretch.
    next: Vec<Counter>,
    job: UnsafeCell<Option<Job>>,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by the thread that holds `turn` while no worker is inside (the
// state is closed and its count is zero), and read only by workers that are inside.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` refers to a `Sync` closure that outlives the job, see `run`.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `n_threads` threads, the caller of [`Self::run`] included; 0 takes one per core.
    #[must_use]
    pub fn new(n_threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let n = if n_threads == 0 { cores() } else { n_threads };
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: (0..n.max(1)).map(|_| Counter::default()).collect(),
            job: UnsafeCell::new(None),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        // A thread that cannot be started makes the pool smaller, not the program fail.
        let start = |index| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("rustllm-worker-{index}"));
            thread.spawn(move || shared.worker(index)).ok()
        };
        let workers = (1..n).filter_map(start).collect();
        Self { shared, workers, turn: Mutex::default() }
    }

    /// Threads that work on a job.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Says what will be read after the next job, so that workers ask for their part of it while they
    /// wait.
    pub fn will_read(&self, bytes: &[u8]) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) =
            Ahead { start: bytes.as_ptr() as usize, len: bytes.len() };
    }

    /// Calls `work` once for each of `0..n_pieces`, in no order, and returns when all are done.
    ///
    /// # Panics
    /// When a piece panics, after the others are done.
    pub fn run(&self, n_pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        if n_pieces <= 1 || self.workers.is_empty() {
            return (0..n_pieces).for_each(work);
        }
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is erased. No worker uses the closure after this function has
        // returned: it is read only by workers inside the job, and `close` waits for all of them.
        let work: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
        let job = Job { work, n_pieces, ahead: std::mem::take(&mut *turn) };
        // SAFETY: the state is closed and nobody is inside, so nobody reads the slot.
        unsafe { *shared.job.get() = Some(job) };
        for (worker, next) in shared.next.iter().enumerate() {
            next.0.store(shared.stretch(worker, n_pieces).start, Ordering::Relaxed);
        }
        shared.panicked.store(false, Ordering::Relaxed);
        shared.state.fetch_add(EPOCH | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(shared.lock.lock().unwrap_or_else(PoisonError::into_inner));
            shared.wake.notify_all();
        }
        shared.take_pieces(0, job);
        shared.close();
        assert!(!shared.panicked.load(Ordering::Acquire), "a piece of a computation panicked");
    }

    /// Splits `out` into pieces of `piece` elements and calls `work` with each and its index.
    pub fn run_chunks<T: Send>(&self, out: &mut [T], piece: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
        let parts = Parts(out.as_mut_ptr());
        let len = out.len();
        let parts = &parts;
        self.run(len.div_ceil(piece.max(1)), &|index| {
            let start = index * piece;
            // SAFETY: pieces do not overlap and stay inside `out`, which is borrowed for the job.
            let chunk = unsafe { std::slice::from_raw_parts_mut(parts.0.add(start), piece.min(len - start)) };
            work(index, chunk);
        });
    }
}

/// A pointer that workers may share because each uses its own part.
pub(super) struct Parts<T>(pub *mut T);
// SAFETY: users write disjoint parts only; see each use.
unsafe impl<T: Send> Sync for Parts<T> {}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // Panics of pieces are caught inside, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn worker(&self, index: usize) {
        let mut seen = 0;
        let mut ahead = Ahead::default();
        while let Some(state) = self.wait(seen, &mut ahead) {
            seen = state / EPOCH;
            if self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // Another worker came or the job was closed meanwhile; look again.
                seen -= 1;
                continue;
            }
            // SAFETY: being counted inside, the job is there and stays until we leave.
            let job = unsafe { *self.job.get() };
            let job = job.expect("an open state has a job");
            self.take_pieces(index, job);
            ahead = job.ahead.part(index, self.next.len());
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// The state once a job other than `seen` is open; `None` when the pool ends.
    fn wait(&self, seen: u64, ahead: &mut Ahead) -> Option<u64> {
        let ready = || {
            let state = self.state.load(Ordering::SeqCst);
            (state & OPEN != 0 && state / EPOCH != seen).then_some(state)
        };
        for _ in 0..SPINS {
            if let Some(state) = ready() {
                return Some(state);
            }
            if ahead.len >= 64 { ahead.ask() } else { std::hint::spin_loop() }
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            if self.stop.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(state) = ready() {
                break Some(state);
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        found
    }

    /// The pieces of worker `index`, whether or not it could be started.
    fn stretch(&self, index: usize, n_pieces: usize) -> std::ops::Range<usize> {
        let n = self.next.len();
        index * n_pieces / n..(index + 1) * n_pieces / n
    }

    fn take_pieces(&self, index: usize, job: Job) {
        // SAFETY: see `run`: the closure outlives every worker inside the job.
        let work = unsafe { &*job.work };
        let n = self.next.len();
        for worker in (index..n).chain(0..index) {
            let end = self.stretch(worker, job.n_pieces).end;
            loop {
                let piece = self.next[worker].0.fetch_add(1, Ordering::Relaxed);
                if piece >= end {
                    break;
                }
                if catch_unwind(AssertUnwindSafe(|| work(piece))).is_err() {
                    self.panicked.store(true, Ordering::Release);
                }
            }
        }
    }

    /// Lets no more workers in and waits for those inside.
    fn close(&self) {
        let mut turns = 0u32;
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            turns += 1;
            // A worker that lost its core in the middle of a piece needs ours.
            if turns.is_multiple_of(SPINS) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        let pool = Pool::new(4);
        for n in [0, 1, 2, 7, 1000] {
            let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..200 {
                pool.run(n, &|piece| {
                    counts[piece].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 200), "{n} pieces");
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(50, &|piece| assert!(piece != 17))));
        assert!(outcome.is_err());
        let mut out = vec![0usize; 100];
        pool.run_chunks(&mut out, 7, &|index, chunk| chunk.fill(index));
        assert_eq!(out[99], 14);
    }
}
