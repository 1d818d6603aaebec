//! Outputs on their way from the engine's thread to whoever takes them.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::SegQueue;

use super::output::{Event, Output};
use super::wake::Wake;
use crate::error::Result;

/// Outputs that may wait to be taken before the next step waits for their readers.
const MAX_OUTPUTS: usize = 256;

/// The same of probabilities, which take a reader microseconds each.
const MAX_PROBS: usize = 16_384;

/// A queue that a reader can poll, and that says when its readers cannot keep up.
#[derive(Debug)]
pub struct OutputQueue {
    outputs: SegQueue<Output>,
    /// Probabilities in them.
    n_probs: AtomicUsize,
    wake: Wake,
}

impl OutputQueue {
    /// An empty queue. Fails when the process is out of file descriptors.
    pub fn new() -> Result<Self> {
        Ok(Self { outputs: SegQueue::new(), n_probs: AtomicUsize::new(0), wake: Wake::new()? })
    }

    /// What to poll for readability.
    pub fn fileno(&self) -> i32 {
        self.wake.fileno()
    }

    /// Puts an output at the end. Readers hear of it with [`Self::wake`].
    pub fn push(&self, output: Output) {
        self.n_probs.fetch_add(n_probs(&output), Ordering::Relaxed);
        self.outputs.push(output);
    }

    /// Tells readers that there is something, if there is.
    pub fn wake(&self) {
        if !self.outputs.is_empty() {
            self.wake.set();
        }
    }

    /// Tells readers to look, whether or not there is something.
    pub fn wake_anyway(&self) {
        self.wake.set();
    }

    /// The next `most`, in order; where there are more, the descriptor stays readable. Never blocks.
    pub fn take(&self, most: usize) -> Vec<Output> {
        self.wake.clear();
        let taken: Vec<Output> = std::iter::from_fn(|| self.outputs.pop()).take(most).collect();
        self.n_probs.fetch_sub(taken.iter().map(n_probs).sum(), Ordering::Relaxed);
        self.wake();
        taken
    }

    /// Whether so much waits that more should wait for the readers.
    pub fn is_full(&self) -> bool {
        self.outputs.len() > MAX_OUTPUTS || self.n_probs.load(Ordering::Relaxed) > MAX_PROBS
    }
}

fn n_probs(output: &Output) -> usize {
    match &output.event {
        Event::Tokens(reports) => reports.iter().map(|report| report.top.len()).sum(),
        Event::Prompt(ranked) => ranked.top.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::TokenProb;

    fn output(request: u64, n_probs: usize) -> Output {
        let prob = TokenProb { token: 0, value: 0.0 };
        let ranked = crate::sampling::Ranked { prob, rank: 1, top: vec![prob; n_probs] };
        Output { request, choice: 0, slot: None, event: Event::Prompt(Box::new(ranked)) }
    }

    #[test]
    fn outputs_come_in_order_in_pieces() {
        let queue = OutputQueue::new().expect("there are descriptors");
        (0..5).for_each(|request| queue.push(output(request, 1)));
        let ids = |most| queue.take(most).iter().map(|output| output.request).collect::<Vec<_>>();
        assert_eq!((ids(2), ids(2), ids(2), ids(2)), (vec![0, 1], vec![2, 3], vec![4], vec![]));
    }

    #[test]
    fn it_is_full_by_number_and_by_probabilities() {
        let queue = OutputQueue::new().expect("there are descriptors");
        for (each, most) in [(0, MAX_OUTPUTS), (1024, MAX_PROBS / 1024)] {
            (0..most).for_each(|_| queue.push(output(0, each)));
            assert!(!queue.is_full(), "{each}");
            queue.push(output(0, each));
            assert!(queue.is_full(), "{each}");
            queue.take(1);
            assert!(!queue.is_full(), "{each}");
            queue.take(usize::MAX);
        }
        assert_eq!(queue.n_probs.load(Ordering::Relaxed), 0);
    }
}
