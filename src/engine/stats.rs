//! Counts and durations over the engine's life, for monitoring. Taking one in costs nanoseconds.

/// Bounds in seconds for durations of whole requests and their parts.
pub const REQUEST_BOUNDS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Bounds in seconds for the time between two tokens.
pub const TOKEN_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Bounds for numbers of tokens.
pub const COUNT_BOUNDS: [f64; 16] = [
    1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0,
    262_144.0,
];

/// How many observations fell between the bounds.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds: the last counts what is above all of them.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram; `bounds` are the inclusive upper ones, ascending.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Takes an observation in.
    pub fn observe(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }

    /// Each bound with the number of observations up to it; the last bound is infinite.
    #[must_use]
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let totals = self.counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        });
        bounds.zip(totals).collect()
    }

    /// The sum of all observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// Why a sequence ended, by vLLM's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// An end token or a stop string came up.
    pub stop: u64,
    /// A limit was reached.
    pub length: u64,
    /// The client went away.
    pub abort: u64,
    /// The engine failed.
    pub error: u64,
}

/// Everything that is counted.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Prompt tokens computed, and the seconds that they took from slot to first token.
    pub prompt_tokens: u64,
    pub prompt_seconds: f64,
    pub predicted_tokens: u64,
    pub predicted_seconds: f64,
    /// Prompt tokens that were looked up in the cache, and those found.
    pub cache_queries: u64,
    pub cache_hits: u64,
    /// Steps that computed something, and the slots that took part in them.
    pub steps: u64,
    pub step_slots: u64,
    /// Most tokens of one sequence so far.
    pub max_tokens: u64,
    pub preemptions: u64,
    pub ends: Ends,
    /// Blocks of running sequences, and blocks in all.
    pub blocks_used: usize,
    pub blocks: usize,
    pub time_to_first_token: Histogram,
    pub inter_token: Histogram,
    pub queue: Histogram,
    pub prefill: Histogram,
    pub decode: Histogram,
    pub whole: Histogram,
    pub prompt_lengths: Histogram,
    pub answer_lengths: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            prompt_tokens: 0,
            prompt_seconds: 0.0,
            predicted_tokens: 0,
            predicted_seconds: 0.0,
            cache_queries: 0,
            cache_hits: 0,
            steps: 0,
            step_slots: 0,
            max_tokens: 0,
            preemptions: 0,
            ends: Ends::default(),
            blocks_used: 0,
            blocks: 0,
            time_to_first_token: Histogram::new(&REQUEST_BOUNDS),
            inter_token: Histogram::new(&TOKEN_BOUNDS),
            queue: Histogram::new(&REQUEST_BOUNDS),
            prefill: Histogram::new(&REQUEST_BOUNDS),
            decode: Histogram::new(&REQUEST_BOUNDS),
            whole: Histogram::new(&REQUEST_BOUNDS),
            prompt_lengths: Histogram::new(&COUNT_BOUNDS),
            answer_lengths: Histogram::new(&COUNT_BOUNDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_count_up_to_their_bound() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 7.0] {
            histogram.observe(value);
        }
        assert_eq!(histogram.cumulative(), [(1.0, 2), (2.0, 3), (f64::INFINITY, 4)]);
        assert!((histogram.sum() - 10.0).abs() < 1e-12);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [&REQUEST_BOUNDS[..], &TOKEN_BOUNDS, &COUNT_BOUNDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
