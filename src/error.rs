//! The one error type of the crate. Every message carries the value at fault.

use std::path::PathBuf;

/// The result of every fallible function in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Python exceptions and HTTP statuses are derived from the variant, in one
/// place each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read from disk.
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },

    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },

    /// A model file breaks the GGUF format or its own promises, or asks for something that is not
    /// there. `field` is the key, tensor or header part at fault.
    #[error("{path}: {field}: {message}")]
    Gguf { path: PathBuf, field: String, message: String },

    /// A setting of the engine is out of range.
    #[error("{field}: {message}")]
    Config { field: &'static str, message: String },

    /// A request asks for something outside what is allowed; `param` is the request's field.
    #[error("{param}: {message}")]
    InvalidRequest { param: String, message: String },

    /// The prompt does not fit into the context of one sequence. Tokens of long texts are not counted
    /// to the end: `n_prompt` is then what they are at least.
    #[error("the request exceeds the available context size: the prompt has {}{n_prompt} tokens, the context {n_ctx}",
        if *.at_least { "at least " } else { "" })]
    ContextExceeded { n_prompt: usize, n_ctx: usize, at_least: bool },

    /// The waiting queue is at its cap.
    #[error("the queue is full: {waiting} requests are waiting, {cap} are allowed")]
    QueueFull { waiting: usize, cap: usize },

    /// What is asked for is not there for this model.
    #[error("{0}")]
    Unsupported(String),

    /// The engine is shutting down or gone.
    #[error("the engine is shut down")]
    Closed,

    /// A fault of this program, not of the input.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Shorthand for [`Error::InvalidRequest`].
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest { param: param.into(), message: message.into() }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Internal(error.to_string())
    }
}
