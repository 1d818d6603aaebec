//! The compute pool: persistent workers that take pieces of a job from atomic counters.
//!
//! Each worker has a stretch of the pieces, so that what it reads lies together and can be asked for
//! ahead; when its own are done it takes what others have left. The calling thread is worker 0. A job ends
//! when all pieces are done, not when all workers have noticed it: a worker that the system has taken away
//! comes too late and goes back to sleep. A step has hundreds of jobs of some microseconds, so what counts is
//! how often a line of memory goes from core to core: to the worker with its stretch and the job, and back
//! with the number of pieces that it has done.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::upcoming::{Asks, Upcoming};

/// Turns of the waiting loop before a worker sleeps: some tens of microseconds, longer than the
/// gap between two jobs of a step, short enough to leave the core to the event loop.
const SPINS: u32 = 4_000;

/// Turns in which the calling thread asks for what comes next when a job is done, before it goes on.
const LAST_ASKS: usize = 8;

/// Threads for jobs that are split into pieces.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time; a second caller waits. Holds what the next job is told to ask for.
    turn: Mutex<Upcoming>,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(usize) + Sync),
    upcoming: Upcoming,
}

/// One worker's stretch of the pieces, with the job beside it, so that what is to be done comes with one line
/// of memory from core to core.
#[repr(align(128))]
struct Lane {
    /// The next piece in the low half, the end of the stretch in the high one.
    pieces: AtomicU64,
    job: UnsafeCell<Option<Job>>,
}

struct Shared {
    lanes: Vec<Lane>,
    done: Done,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Pieces of the present job that are done, on a line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Done(AtomicUsize);

// SAFETY: a lane's `job` is written only by the thread that holds `turn`, while all pieces of the job before
// are done, and read only by who has taken a piece of that lane which is not done yet.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` refers to a `Sync` closure that outlives the job, see `run`.
unsafe impl Send for Shared {}

impl Lane {
    fn is_empty(&self, order: Ordering) -> bool {
        let pieces = self.pieces.load(order);
        pieces & 0xffff_ffff >= pieces >> 32
    }

    /// The next piece of the stretch with its job.
    fn take(&self) -> Option<(usize, Job)> {
        // Looking first leaves the line with its owner where there is nothing to take.
        if self.is_empty(Ordering::Relaxed) {
            return None;
        }
        let pieces = self.pieces.fetch_add(1, Ordering::Acquire);
        let (next, end) = (pieces & 0xffff_ffff, pieces >> 32);
        if next >= end {
            return None;
        }
        // SAFETY: the piece is ours and not done, so the job is the one that it belongs to, and stays.
        let job = unsafe { *self.job.get() };
        Some((next as usize, job.expect("who makes pieces sets the job first")))
    }
}

impl Pool {
    /// A pool of `n_threads` threads, the caller of [`Self::run`] included; 0 takes one per core.
    #[must_use]
    pub fn new(n_threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let n = if n_threads == 0 { cores() } else { n_threads };
        let lane = |_| Lane { pieces: AtomicU64::new(0), job: UnsafeCell::new(None) };
        let shared = Arc::new(Shared {
            lanes: (0..n.max(1)).map(lane).collect(),
            done: Done::default(),
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

    /// Says what the job after the next reads, so that threads ask for their part of it while they wait for
    /// the next one to end.
    pub fn will_read(&self, upcoming: Upcoming) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = upcoming;
    }

    /// Calls `work` once for each of `0..n_pieces`, in no order, and returns when all are done.
    ///
    /// # Panics
    /// When a piece panics, after the others are done.
    pub fn run(&self, n_pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        if n_pieces <= 1 || self.workers.is_empty() {
            return (0..n_pieces).for_each(work);
        }
        assert!(u32::try_from(n_pieces + self.n_threads()).is_ok(), "{n_pieces} pieces are too many to count");
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is erased. No worker uses the closure after this function has
        // returned: it is used only for pieces, and all of them are waited for.
        let work: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
        let job = Job { work, upcoming: std::mem::take(&mut *turn) };
        let n = shared.lanes.len();
        shared.panicked.store(false, Ordering::Relaxed);
        shared.done.0.store(0, Ordering::Relaxed);
        for (index, lane) in shared.lanes.iter().enumerate() {
            let (start, end) = (index * n_pieces / n, (index + 1) * n_pieces / n);
            // SAFETY: the job before is over and this stretch is empty, so nobody reads the slot.
            unsafe { *lane.job.get() = Some(job) };
            lane.pieces.store((end as u64) << 32 | start as u64, Ordering::SeqCst);
        }
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(shared.lock.lock().unwrap_or_else(PoisonError::into_inner));
            shared.wake.notify_all();
        }
        let mut asks = shared.take_pieces(0);
        shared.wait_until_done(n_pieces, &mut asks);
        for _ in 0..LAST_ASKS {
            asks.ask();
        }
        assert!(!shared.panicked.load(Ordering::Relaxed), "a piece of a computation panicked");
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
        let mut asks = Asks::default();
        while self.wait(index, &mut asks) {
            asks = self.take_pieces(index);
        }
    }

    /// Returns once there are pieces for worker `index`; false when the pool ends.
    fn wait(&self, index: usize, asks: &mut Asks) -> bool {
        let lane = &self.lanes[index];
        for _ in 0..SPINS {
            if !lane.is_empty(Ordering::Relaxed) {
                return true;
            }
            if !asks.ask() {
                std::hint::spin_loop();
            }
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            if self.stop.load(Ordering::SeqCst) {
                break false;
            }
            if !lane.is_empty(Ordering::SeqCst) {
                break true;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        found
    }

    /// Does the pieces of worker `index`, then what others have left. Returns what is to be asked for next.
    fn take_pieces(&self, index: usize) -> Asks {
        let n = self.lanes.len();
        let mut asks = Asks::default();
        for lane in (index..n).chain(0..index) {
            let mut done = 0;
            while let Some((piece, job)) = self.lanes[lane].take() {
                if lane == index && done == 0 {
                    asks = job.upcoming.share(index, n);
                }
                // SAFETY: see `run`: the closure outlives the piece.
                let work = unsafe { &*job.work };
                if catch_unwind(AssertUnwindSafe(|| work(piece))).is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                }
                done += 1;
            }
            if done > 0 {
                // From here on the job may end, and the pieces that are found next may be of another one.
                self.done.0.fetch_add(done, Ordering::Release);
            }
        }
        asks
    }

    /// Returns once all pieces are done, and with them whatever they have written.
    fn wait_until_done(&self, n_pieces: usize, asks: &mut Asks) {
        let mut turns = 0u32;
        while self.done.0.load(Ordering::Acquire) < n_pieces {
            turns += 1;
            // A worker that lost its core in the middle of a piece needs ours.
            if turns.is_multiple_of(SPINS) {
                std::thread::yield_now();
            } else if !asks.ask() {
                std::hint::spin_loop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        let pool = Pool::new(4);
        // Miri takes a thousand times as long, and tries several orders of the threads instead.
        let (jobs, most) = if cfg!(miri) { (8, 40) } else { (200, 1000) };
        for n in [0, 1, 2, 7, most] {
            let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..jobs {
                pool.run(n, &|piece| {
                    counts[piece].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == jobs), "{n} pieces");
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
