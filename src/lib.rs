//! rustllm serves language models from GGUF files.
//!
//! The crate holds everything that happens per token; HTTP, chat templates and tool calls live in
//! the Python package of the same name. Key types, in the order a request meets them:
//!
//! - [`gguf::GgufFile`] reads a model file, [`tokenizer::Tokenizer`] its vocabulary.
//! - [`models::Model`] runs one step over a batch of sequences.
//! - [`config::SamplingParams`] says how to sample, [`grammar::GrammarCompiler`] what may be said.
//! - [`engine::Engine`] owns one thread that schedules, runs, samples and publishes.

pub mod config;
pub mod error;

pub mod gguf;
pub mod tokenizer;

pub mod kernels;
pub mod kv_cache;
pub mod layers;
pub mod models;

pub mod grammar;
pub mod sampling;

pub mod engine;

#[cfg(feature = "python")]
mod python;

pub use error::{Error, Result};
