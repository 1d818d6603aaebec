//! Settings as plain values with their `validate()`: [`EngineConfig`] for a process,
//! [`SamplingParams`] for a request. Validation is written here once, so that HTTP, the Python
//! API and batch jobs refuse the same things with the same words.

mod engine;
mod sampling;

pub use engine::{CacheType, EngineConfig};
pub use sampling::{LogitBias, Mirostat, SamplerKind, SamplingParams};
