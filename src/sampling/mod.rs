//! From logits to one token: llama.cpp's sampler chain, order, defaults and random generator.

use crate::config::SamplingParams;
use crate::error::Result;
use crate::grammar::Matcher;
use crate::tokenizer::{TokenId, Tokenizer};

/// A token with its (log) probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenProb {
    pub token: TokenId,
    /// Log probability before the chain, or the probability after it (`post_sampling_probs`).
    pub value: f32,
}

/// A sampled token. `top` holds the `n_probs` most probable tokens, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    pub token: TokenId,
    /// Set when `n_probs > 0`.
    pub prob: Option<TokenProb>,
    pub top: Vec<TokenProb>,
}

/// The chain of one sequence with its state (history, generators, mirostat's mu).
pub struct Sampler {}

#[allow(unused_variables)]
impl Sampler {
    /// `choice` is j of `n`: its seed is `params.seed + j`. A random seed must be resolved before.
    pub fn new(params: &SamplingParams, choice: usize, tokenizer: &Tokenizer, n_ctx: usize) -> Result<Self> { todo!() }
    /// Feeds a prompt token into the history (penalties, DRY).
    pub fn accept_prompt(&mut self, token: TokenId) { todo!() }
    /// Draws the next token from `logits` (one row, vocabulary long; scratch, may be changed) and
    /// accepts it into the history and the grammar.
    pub fn sample(&mut self, logits: &mut [f32], grammar: Option<&mut Matcher>) -> Result<Sampled> { todo!() }
}
