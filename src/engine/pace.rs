//! How many prompt tokens a step may compute while other sequences stream.

use std::time::Duration;

/// The pause that a chunk of a prompt may put between two tokens of a stream.
const PAUSE: Duration = Duration::from_millis(50);

/// Before anything was measured, and the bounds: a shorter chunk would waste the kernels, a longer
/// one gains them nothing.
const FIRST: usize = 128;
const SHORTEST: usize = 16;
const LONGEST: usize = 1024;

/// Chunks that are short enough for [`PAUSE`] at the speed seen so far. Only time depends on it:
/// answers have the same bits whatever the chunks.
#[derive(Debug, Default)]
pub struct Pace {
    seconds_per_token: Option<f64>,
}

impl Pace {
    /// Takes in a step that computed `n` prompt tokens in `time`, whatever ran beside them.
    pub fn note(&mut self, n: usize, time: Duration) {
        if n < SHORTEST {
            return;
        }
        let now = time.as_secs_f64() / n as f64;
        // A prompt's later chunks attend to more keys, so the latest step counts as much as all before.
        self.seconds_per_token = Some(self.seconds_per_token.map_or(now, |before| (before + now) / 2.0));
    }

    /// Prompt tokens of the next step.
    #[must_use]
    pub fn chunk(&self) -> usize {
        let chunk = self.seconds_per_token.map_or(FIRST, |seconds| (PAUSE.as_secs_f64() / seconds) as usize);
        chunk.clamp(SHORTEST, LONGEST) / 8 * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_take_about_the_allowed_pause() {
        let mut pace = Pace::default();
        assert_eq!(pace.chunk(), FIRST);
        for _ in 0..10 {
            pace.note(pace.chunk(), Duration::from_micros(200 * pace.chunk() as u64));
        }
        assert_eq!(pace.chunk(), 248, "50 ms at 200 µs a token");
        for _ in 0..10 {
            pace.note(pace.chunk(), Duration::from_millis(20 * pace.chunk() as u64));
        }
        assert_eq!(pace.chunk(), SHORTEST, "a slow model");
        pace.note(3, Duration::from_secs(1));
        pace.note(1000, Duration::ZERO);
        assert!((SHORTEST..=LONGEST).contains(&pace.chunk()));
    }
}
