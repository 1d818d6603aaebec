//! How one request is sampled, stopped and reported. Names and defaults are llama-server's.

use crate::error::{Error, Result};

/// One stage of the sampler chain, in llama.cpp's sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SamplerKind {
    Penalties,
    Dry,
    TopNSigma,
    TopK,
    TypicalP,
    TopP,
    MinP,
    Xtc,
    Temperature,
    AdaptiveP,
    Infill,
}

/// Which mirostat replaces the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mirostat {
    #[default]
    Off,
    V1,
    V2,
}

/// An addition to one token's logit; negative infinity forbids the token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitBias {
    pub token: u32,
    pub bias: f32,
}

/// Sampling parameters of a request. `validate()` is the only place that judges their ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Tokens to generate at most; −1 is unlimited (until the context is full).
    pub n_predict: i64,
    /// Choices sampled for one prompt; choice j uses `seed + j`.
    pub n: usize,
    /// `u32::MAX` draws a random seed.
    pub seed: u32,
    pub temperature: f32,
    pub dynatemp_range: f32,
    pub dynatemp_exponent: f32,
    pub top_k: i32,
    pub top_p: f32,
    pub min_p: f32,
    pub top_n_sigma: f32,
    pub xtc_probability: f32,
    pub xtc_threshold: f32,
    pub typical_p: f32,
    /// Target and decay of adaptive-p; a negative target is off.
    pub adaptive_target: f32,
    pub adaptive_decay: f32,
    /// Tokens looked at by the penalties; 0 none, −1 the whole context.
    pub repeat_last_n: i32,
    pub repeat_penalty: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub dry_multiplier: f32,
    pub dry_base: f32,
    pub dry_allowed_length: i32,
    pub dry_penalty_last_n: i32,
    pub dry_sequence_breakers: Vec<String>,
    pub mirostat: Mirostat,
    pub mirostat_tau: f32,
    pub mirostat_eta: f32,
    pub logit_bias: Vec<LogitBias>,
    pub ignore_eos: bool,
    pub samplers: Vec<SamplerKind>,
    /// Most probable tokens reported with each token; 0 reports none.
    pub n_probs: usize,
    /// Report the probabilities after the chain instead of log probabilities before it.
    pub post_sampling_probs: bool,
    /// Candidates the chain must keep.
    pub min_keep: usize,
    /// Strings that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Reuse what the cache holds of the prompt.
    pub cache_prompt: bool,
    /// Tokens of the prompt's start kept on a context shift (−1: all).
    pub n_keep: i64,
    /// Milliseconds of generation allowed after the first line break; 0 or less is unlimited.
    pub t_max_predict_ms: i64,
    /// Report prompt progress after each chunk.
    pub return_progress: bool,
    /// Slot asked for; −1 takes any.
    pub id_slot: i64,
}

/// llama.cpp's chain, in its default order.
pub const DEFAULT_SAMPLERS: [SamplerKind; 9] = [
    SamplerKind::Penalties,
    SamplerKind::Dry,
    SamplerKind::TopNSigma,
    SamplerKind::TopK,
    SamplerKind::TypicalP,
    SamplerKind::TopP,
    SamplerKind::MinP,
    SamplerKind::Xtc,
    SamplerKind::Temperature,
];

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            n_predict: -1,
            n: 1,
            seed: u32::MAX,
            temperature: 0.8,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            typical_p: 1.0,
            adaptive_target: -1.0,
            adaptive_decay: 0.9,
            repeat_last_n: 64,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: -1,
            dry_sequence_breakers: ["\n", ":", "\"", "*"].map(String::from).to_vec(),
            mirostat: Mirostat::Off,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            logit_bias: Vec::new(),
            ignore_eos: false,
            samplers: DEFAULT_SAMPLERS.to_vec(),
            n_probs: 0,
            post_sampling_probs: false,
            min_keep: 0,
            stop: Vec::new(),
            cache_prompt: true,
            n_keep: 0,
            t_max_predict_ms: -1,
            return_progress: false,
            id_slot: -1,
        }
    }
}

impl SamplingParams {
    /// Refuses values out of range, naming the field, the value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let _ = Error::Closed;
        todo!("sampling ranges")
    }
}
impl SamplingParams { pub fn validate_for(&self, _n: usize) -> Result<()> { todo!() } }
impl SamplerKind { pub fn from_name(_s:&str)->Option<Self>{todo!()} pub fn name(self)->&'static str{todo!()} }
