//! Settings as plain values with their `validate()`: [`EngineConfig`] for a process,
//! [`SamplingParams`] for a request with the [`Adapters`] that it runs with, [`Pooling`] and [`Normalize`] for embeddings. Validation is written here once, so that HTTP, the Python
//! API and batch jobs refuse the same things with the same words.

mod embedding;
mod engine;
mod lora;
mod sampling;

pub use embedding::{Normalize, Pooling};
pub use engine::{CacheType, EngineConfig, Fit};
pub use lora::{Adapters, LoraScale, MAX_ADAPTERS};
pub use sampling::{LogitBias, Mirostat, SAMPLER_NAMES, SamplerKind, SamplingParams};
