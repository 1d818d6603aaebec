//! Where a step's time goes, when `RUSTLLM_PROFILE` is set.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The parts of a step, in the order of their first use, with calls and time on the calling thread.
#[derive(Debug)]
pub struct Profile {
    parts: Option<Mutex<Vec<Part>>>,
}

#[derive(Debug)]
struct Part {
    name: &'static str,
    calls: u64,
    time: Duration,
}

impl Profile {
    /// On where the environment has `RUSTLLM_PROFILE`; off, it costs one branch a part.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { parts: std::env::var_os("RUSTLLM_PROFILE").map(|_| Mutex::default()) }
    }

    /// Runs `work` as part `name` of the step.
    pub fn time<R>(&self, name: &'static str, work: impl FnOnce() -> R) -> R {
        let Some(parts) = &self.parts else { return work() };
        let start = Instant::now();
        let result = work();
        let time = start.elapsed();
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.iter_mut().find(|part| part.name == name) {
            part.calls += 1;
            part.time += time;
        } else {
            parts.push(Part { name, calls: 1, time });
        }
        result
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parts) = &self.parts else { return Ok(()) };
        let parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        let total: Duration = parts.iter().map(|part| part.time).sum();
        writeln!(f, "{:<20} {:>10} {:>12} {:>10} {:>7}", "part of a step", "calls", "total ms", "µs a call", "share")?;
        for part in parts.iter() {
            let ms = part.time.as_secs_f64() * 1e3;
            let share = part.time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
            let each = ms * 1e3 / part.calls as f64;
            writeln!(f, "{:<20} {:>10} {ms:>12.2} {each:>10.2} {:>6.1}%", part.name, part.calls, share * 100.0)?;
        }
        Ok(())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if self.parts.is_some() {
            eprint!("{self}");
        }
    }
}
