//! Settings as plain values with their `validate()`: [`EngineConfig`] for a process,
//! [`SamplingParams`] for a request, [`Pooling`] and [`Normalize`] for embeddings. Validation is written here once, so that HTTP, the Python
//! API and batch jobs refuse the same things with the same words.

mod embedding;
mod engine;
mod sampling;

pub use embedding::{Normalize, Pooling};
pub use engine::{CacheType, EngineConfig};
pub use sampling::{LogitBias, Mirostat, SAMPLER_NAMES, SamplerKind, SamplingParams};
