//! What the engine publishes about a sequence.

use crate::sampling::{Ranked, TokenProb};
use crate::tokenizer::TokenId;

/// One event of one choice of a request.
#[derive(Debug, Clone)]
pub struct Output {
    pub request: u64,
    pub choice: usize,
    /// Where it runs; none for what ended before it got a slot.
    pub slot: Option<usize>,
    pub event: Event,
}

/// What happened. After `Embedding`, `Done` or `Error` nothing follows for the choice.
#[derive(Debug, Clone)]
pub enum Event {
    Progress(Progress),
    /// The next token of a prompt that is scored; all but the first are, in order, before the answer.
    Prompt(Box<Ranked>),
    /// The next tokens: one, or all of an answer that is wanted whole.
    Tokens(Vec<TokenReport>),
    Done(Box<Finish>),
    /// The vector of a text, or those of its tokens without pooling.
    Embedding(Vec<Vec<f32>>),
    Error(String),
}

/// How far the prompt is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Prompt tokens in all.
    pub total: usize,
    /// Of these, taken from the cache.
    pub cache: usize,
    /// Of these, in the cache now.
    pub processed: usize,
    /// Milliseconds since the sequence started.
    pub ms: f64,
}

/// A drawn token and the text that became complete with it.
#[derive(Debug, Clone)]
pub struct TokenReport {
    pub token: TokenId,
    pub text: String,
    /// Set when `n_probs > 0`.
    pub prob: Option<TokenProb>,
    pub top: Vec<TokenProb>,
    pub timings: Timings,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopType {
    /// An end-of-generation token was drawn.
    Eos,
    /// A stop string came up.
    Word,
    /// `n_predict`, the context or the time limit was reached.
    Limit,
}

impl StopType {
    /// llama-server's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Word => "word",
            Self::Limit => "limit",
        }
    }
}

/// The end of a sequence.
#[derive(Debug, Clone)]
pub struct Finish {
    pub stop_type: StopType,
    pub stopping_word: String,
    /// Text that was held back and turned out not to be a stop string.
    pub text: String,
    /// Whether the context was full.
    pub truncated: bool,
    pub has_new_line: bool,
    /// Tokens of prompt and answer in the cache.
    pub tokens_cached: usize,
    pub slot: usize,
    /// The seed of this choice.
    pub seed: u32,
    pub timings: Timings,
}

/// Counts and durations of a sequence so far; milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// Prompt tokens taken from the cache.
    pub cache_n: usize,
    /// Prompt tokens computed.
    pub prompt_n: usize,
    pub prompt_ms: f64,
    pub predicted_n: usize,
    pub predicted_ms: f64,
}
