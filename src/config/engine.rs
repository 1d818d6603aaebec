//! Settings of one engine, fixed for its lifetime.

use std::path::PathBuf;

use super::{MAX_ADAPTERS, Pooling};
use crate::error::{Error, Result};
use crate::grammar::MASK_MS;

/// Element type of the cached keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheType {
    F16,
    F32,
    /// Int8 with one f16 scale per 32 values of a head, as in the GGUF type of that name.
    Q8_0,
}

impl CacheType {
    /// Parses llama-server's name for the type (`f16`, `f32`, `q8_0`).
    pub fn from_name(field: &'static str, name: &str) -> Result<Self> {
        match name {
            "f16" => Ok(Self::F16),
            "f32" => Ok(Self::F32),
            "q8_0" => Ok(Self::Q8_0),
            other => {
                Err(Error::Config { field, message: format!("{other:?} is not a cache type; allowed: f16, f32, q8_0") })
            }
        }
    }
}

/// How the cache is fitted into memory. The names are those of llama-server's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Whether it is: a context without room is shortened or refused, and the cache stops growing where memory ends.
    pub enabled: bool,
    /// Bytes that are left for others; `None` is a gibibyte, but at most an eighth of what there is.
    pub target: Option<u64>,
    /// Tokens to which a context is shortened at most.
    pub min_ctx: usize,
    /// Whether a context without room is shortened, not refused. `None`: if it is the model's own.
    pub shortens: Option<bool>,
}

impl Default for Fit {
    fn default() -> Self {
        Self { enabled: true, target: None, min_ctx: 4096, shortens: None }
    }
}

impl Fit {
    /// Of `available` bytes, those that the cache may take.
    #[must_use]
    pub fn room(&self, available: u64) -> u64 {
        available.saturating_sub(self.target.unwrap_or_else(|| (1 << 30).min(available / 8)))
    }
}

/// Slots when their number is not given.
const AUTO_SLOTS: usize = 4;

/// How a model is loaded and run. Defaults are llama-server's.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The GGUF file.
    pub model: PathBuf,
    /// Context tokens over all slots; 0 takes the model's own.
    pub n_ctx: usize,
    /// Slots; `None` means 4.
    pub n_parallel: Option<usize>,
    /// What of the memory the cache may take.
    pub fit: Fit,
    /// Whether the slots share `n_ctx` instead of dividing it. `None`: they do if `n_parallel` is `None`.
    pub kv_unified: Option<bool>,
    /// Most prompt tokens computed in one step; each running answer adds its next token.
    pub n_batch: usize,
    /// Compute threads; 0 takes the number of cores.
    pub n_threads: usize,
    pub cache_type_k: CacheType,
    pub cache_type_v: CacheType,
    /// Requests that may wait for a slot.
    pub max_queue: usize,
    /// Milliseconds of work that the mask of a grammar may take in one step.
    pub max_mask_ms: u32,
    /// Whether finished sequences stay cached for later prompts.
    pub prefix_cache: bool,
    /// How the vectors of a text become one; `None` is what the file says.
    pub pooling: Option<Pooling>,
    /// Whether a full context drops old tokens and goes on, instead of ending the answer.
    pub context_shift: bool,
    /// LoRA adapters, GGUF files; a request names them by their place.
    pub lora: Vec<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            n_ctx: 0,
            fit: Fit::default(),
            n_parallel: None,
            kv_unified: None,
            n_batch: 2048,
            n_threads: 0,
            cache_type_k: CacheType::F16,
            cache_type_v: CacheType::F16,
            max_queue: 512,
            max_mask_ms: MASK_MS,
            prefix_cache: true,
            pooling: None,
            context_shift: false,
            lora: Vec::new(),
        }
    }
}

impl EngineConfig {
    /// Context tokens over all slots, for a model that was trained with `n_ctx_train`.
    #[must_use]
    pub fn total_context(&self, n_ctx_train: usize) -> usize {
        if self.n_ctx == 0 { n_ctx_train } else { self.n_ctx }
    }

    /// Slots.
    #[must_use]
    pub fn n_slots(&self) -> usize {
        self.n_parallel.unwrap_or(AUTO_SLOTS)
    }

    /// Context tokens of one sequence, for a model that was trained with `n_ctx_train`.
    #[must_use]
    pub fn sequence_context(&self, n_ctx_train: usize) -> usize {
        let total = self.total_context(n_ctx_train);
        let is_shared = self.kv_unified.unwrap_or(self.n_parallel.is_none());
        if is_shared { total } else { (total / self.n_slots()).max(1) }
    }

    /// Refuses settings out of range, naming the field, the value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, field: &'static str, value: usize, allowed: &str| {
            if ok {
                Ok(())
            } else {
                Err(Error::Config { field, message: format!("{value} is out of range; allowed: {allowed}") })
            }
        };
        check(self.n_batch >= 1 && self.n_batch <= 65_536, "n_batch", self.n_batch, "1 to 65536")?;
        check(self.n_threads <= 1024, "n_threads", self.n_threads, "0 (all cores) to 1024")?;
        check(self.max_queue <= 1_000_000, "max_queue", self.max_queue, "0 to 1000000")?;
        check((1..=1000).contains(&self.max_mask_ms), "max_mask_ms", self.max_mask_ms as usize, "1 to 1000")?;
        check(self.lora.len() <= MAX_ADAPTERS, "lora", self.lora.len(), &format!("up to {MAX_ADAPTERS} adapters"))?;
        if let Some(n) = self.n_parallel {
            check((1..=1024).contains(&n), "n_parallel", n, "1 to 1024")?;
        }
        Ok(())
    }
}
