//! How one request is sampled, stopped and reported. Names and defaults are llama-server's.

use super::lora::{self, LoraScale};
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
    /// Report the log probabilities of the prompt's tokens, with so many of the most probable at each place.
    pub prompt_logprobs: Option<i64>,
    /// Report the probabilities after the chain instead of log probabilities before it.
    pub post_sampling_probs: bool,
    /// Candidates the chain must keep.
    pub min_keep: usize,
    /// Strings that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the answer as the model's own end does; their text is not part of it.
    pub stop_token_ids: Vec<u32>,
    /// Leave what ended the answer, a stop string or token, in the text.
    pub include_stop_str_in_output: bool,
    /// Tokens before which nothing but a limit ends an answer; a grammar's end goes before it.
    pub min_tokens: usize,
    /// Special tokens whose names are part of the text.
    pub preserved_tokens: Vec<u32>,
    /// Reuse what the cache holds of the prompt.
    pub cache_prompt: bool,
    /// Texts of other salts share nothing in the cache with this one.
    pub cache_salt: String,
    /// Tokens of the prompt's start kept on a context shift (−1: all).
    pub n_keep: i64,
    /// Tokens dropped on a context shift; 0 is half of those that are not kept.
    pub n_discard: usize,
    /// Milliseconds of generation allowed after the first line break; 0 or less is unlimited.
    pub t_max_predict_ms: i64,
    /// Report prompt progress after each chunk.
    pub return_progress: bool,
    /// Slot asked for; −1 takes any.
    pub id_slot: i64,
    /// Adapters with their weights; those that are not named are off.
    pub lora: Vec<LoraScale>,
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
            dry_penalty_last_n: 64,
            dry_sequence_breakers: ["\n", ":", "\"", "*"].map(String::from).to_vec(),
            mirostat: Mirostat::Off,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            logit_bias: Vec::new(),
            ignore_eos: false,
            stop_token_ids: Vec::new(),
            include_stop_str_in_output: false,
            min_tokens: 0,
            samplers: DEFAULT_SAMPLERS.to_vec(),
            n_probs: 0,
            prompt_logprobs: None,
            post_sampling_probs: false,
            min_keep: 0,
            stop: Vec::new(),
            preserved_tokens: Vec::new(),
            cache_prompt: true,
            cache_salt: String::new(),
            n_keep: 0,
            n_discard: 0,
            t_max_predict_ms: -1,
            return_progress: false,
            id_slot: -1,
            lora: Vec::new(),
        }
    }
}

/// Caps that bound the memory and the time of one request.
const MAX_CHOICES: usize = 128;
const MAX_PROBS: usize = 1024;
/// Over all tokens of a prompt; some hundred bytes each on their way out.
const MAX_PROMPT_PROBS: usize = 1 << 18;
const MAX_STOP_STRINGS: usize = 64;
const MAX_PRESERVED: usize = 256;
const MAX_STOP_BYTES: usize = 4096;
const MAX_BIASES: usize = 65_536;
const MAX_BREAKERS: usize = 64;
const MAX_SALT_BYTES: usize = 1024;
const MAX_SAMPLERS: usize = 64;
/// Beyond any penalty or tau that has an effect, far from overflow.
const MAX_STRENGTH: f32 = 1e6;

/// A number's field: its name, how it is read, the least and the most that it may be.
type Number<T> = (&'static str, fn(&SamplingParams) -> T, T, T);

const UNLIMITED: f32 = f32::MAX;
const FLOATS: [Number<f32>; 18] = [
    ("temperature", |p| p.temperature, -UNLIMITED, MAX_STRENGTH),
    ("dynatemp_range", |p| p.dynatemp_range, -UNLIMITED, MAX_STRENGTH),
    ("dynatemp_exponent", |p| p.dynatemp_exponent, 0.0, 1e3),
    ("top_p", |p| p.top_p, 0.0, UNLIMITED),
    ("min_p", |p| p.min_p, 0.0, 1.0),
    ("top_n_sigma", |p| p.top_n_sigma, -UNLIMITED, UNLIMITED),
    ("xtc_probability", |p| p.xtc_probability, 0.0, 1.0),
    ("xtc_threshold", |p| p.xtc_threshold, 0.0, UNLIMITED),
    ("typical_p", |p| p.typical_p, 0.0, UNLIMITED),
    ("adaptive_target", |p| p.adaptive_target, -UNLIMITED, 1.0),
    ("adaptive_decay", |p| p.adaptive_decay, 0.0, 0.99),
    ("repeat_penalty", |p| p.repeat_penalty, 1e-3, 1e3),
    ("presence_penalty", |p| p.presence_penalty, -1e3, 1e3),
    ("frequency_penalty", |p| p.frequency_penalty, -1e3, 1e3),
    ("dry_multiplier", |p| p.dry_multiplier, 0.0, 1e3),
    ("dry_base", |p| p.dry_base, 0.0, 1e3),
    ("mirostat_tau", |p| p.mirostat_tau, 0.0, 1e3),
    ("mirostat_eta", |p| p.mirostat_eta, 0.0, 1e3),
];

const MANY: i128 = i32::MAX as i128;
const INTEGERS: [Number<i128>; 15] = [
    ("n_predict", |p| p.n_predict.into(), -1, MANY),
    ("n", |p| p.n as i128, 1, MAX_CHOICES as i128),
    ("seed", |p| p.seed.into(), 0, u32::MAX as i128),
    ("top_k", |p| p.top_k.into(), i32::MIN as i128, MANY),
    ("repeat_last_n", |p| p.repeat_last_n.into(), -1, MANY),
    ("dry_allowed_length", |p| p.dry_allowed_length.into(), 0, MANY),
    ("dry_penalty_last_n", |p| p.dry_penalty_last_n.into(), -1, MANY),
    ("n_probs", |p| p.n_probs as i128, 0, MAX_PROBS as i128),
    ("prompt_logprobs", |p| p.prompt_logprobs.unwrap_or(0).into(), 0, MAX_PROBS as i128),
    ("min_keep", |p| p.min_keep as i128, 0, MANY),
    ("min_tokens", |p| p.min_tokens as i128, 0, MANY),
    ("n_keep", |p| p.n_keep.into(), -1, MANY),
    ("n_discard", |p| p.n_discard as i128, 0, MANY),
    ("t_max_predict_ms", |p| p.t_max_predict_ms.into(), -1, MANY),
    ("id_slot", |p| p.id_slot.into(), -1, 1023),
];

impl SamplingParams {
    /// Refuses values out of range, naming the field, the value and what is allowed. Values with a
    /// defined meaning of "off" (temperature ≤ 0, top_p ≥ 1, top_k ≤ 0, −1 for unlimited) pass.
    pub fn validate(&self) -> Result<()> {
        for (name, read, least, most) in FLOATS {
            if !(least..=most).contains(&read(self)) {
                return Err(out_of_range(name, read(self), &float_range(least, most)));
            }
        }
        for (name, read, least, most) in INTEGERS {
            if !(least..=most).contains(&read(self)) {
                return Err(out_of_range(name, read(self), &format!("{least} to {most}")));
            }
        }
        self.validate_lists()
    }

    /// What a number may be, for values that its type does not even hold.
    #[must_use]
    pub fn allowed(field: &str) -> Option<String> {
        let float = FLOATS.iter().find(|row| row.0 == field).map(|row| float_range(row.2, row.3));
        let integer = INTEGERS.iter().find(|row| row.0 == field).map(|row| format!("{} to {}", row.2, row.3));
        let token = ["stop_token_ids", "preserved_tokens"].contains(&field).then(|| "token ids, from 0 on".to_owned());
        float.or(integer).or(token)
    }

    /// The stages of these names, in order. Unknown ones are skipped, as llama-server skips them.
    pub fn samplers_of(names: &[String]) -> Result<Vec<SamplerKind>> {
        check_length("samplers", names.len(), MAX_SAMPLERS)?;
        Ok(names.iter().filter_map(|name| SamplerKind::from_name(name)).collect())
    }

    fn validate_lists(&self) -> Result<()> {
        lora::validate(&self.lora)?;
        let lengths = [
            ("stop", self.stop.len(), MAX_STOP_STRINGS),
            ("stop_token_ids", self.stop_token_ids.len(), MAX_STOP_STRINGS),
            ("preserved_tokens", self.preserved_tokens.len(), MAX_PRESERVED),
            ("logit_bias", self.logit_bias.len(), MAX_BIASES),
            ("dry_sequence_breakers", self.dry_sequence_breakers.len(), MAX_BREAKERS),
            ("samplers", self.samplers.len(), MAX_SAMPLERS),
        ];
        for (name, len, cap) in lengths {
            check_length(name, len, cap)?;
        }
        let strings = self.stop.iter().map(|s| ("stop", s));
        let strings = strings.chain(self.dry_sequence_breakers.iter().map(|s| ("dry_sequence_breakers", s)));
        for (name, text) in strings {
            if text.len() > MAX_STOP_BYTES {
                let message = format!("a string of {} bytes; allowed: up to {MAX_STOP_BYTES}", text.len());
                return Err(Error::invalid(name, message));
            }
        }
        if self.cache_salt.len() > MAX_SALT_BYTES {
            let message = format!("a string of {} bytes; allowed: up to {MAX_SALT_BYTES}", self.cache_salt.len());
            return Err(Error::invalid("cache_salt", message));
        }
        match self.logit_bias.iter().find(|bias| bias.bias.is_nan() || bias.bias == f32::INFINITY) {
            Some(bias) => {
                let message =
                    format!("{} for token {} is not allowed; allowed: numbers below infinity", bias.bias, bias.token);
                Err(Error::invalid("logit_bias", message))
            }
            None => Ok(()),
        }
    }

    /// [`Self::validate`] for what depends on the prompt's length.
    pub fn validate_for_prompt(&self, n_prompt: usize) -> Result<()> {
        let Some(n) = self.prompt_logprobs else { return Ok(()) };
        let each = usize::try_from(n).unwrap_or(0) + 1;
        if n_prompt.saturating_mul(each) <= MAX_PROMPT_PROBS {
            return Ok(());
        }
        let most = (MAX_PROMPT_PROBS / n_prompt).checked_sub(1);
        let allowed = most.map_or("shorter prompts".into(), |most| format!("up to {most}"));
        Err(Error::invalid("prompt_logprobs", format!("{n} for {n_prompt} tokens is too much; allowed: {allowed}")))
    }

    /// [`Self::validate`] for what depends on the vocabulary.
    pub fn validate_for(&self, n_vocab: usize) -> Result<()> {
        let biased = self.logit_bias.iter().map(|bias| ("logit_bias", bias.token));
        let preserved = self.preserved_tokens.iter().map(|token| ("preserved_tokens", *token));
        let stops = self.stop_token_ids.iter().map(|token| ("stop_token_ids", *token));
        match biased.chain(preserved).chain(stops).find(|(_, token)| *token as usize >= n_vocab) {
            Some((name, token)) => Err(out_of_range(name, token, &format!("token ids 0 to {}", n_vocab - 1))),
            None => Ok(()),
        }
    }
}

fn check_length(name: &str, len: usize, cap: usize) -> Result<()> {
    if len <= cap {
        return Ok(());
    }
    Err(Error::invalid(name, format!("it has {len} entries; allowed: up to {cap}")))
}

fn float_range(least: f32, most: f32) -> String {
    match (least == -f32::MAX, most == f32::MAX) {
        (true, true) => "finite numbers".into(),
        (true, false) => format!("up to {most}"),
        (false, true) => format!("{least} and above"),
        (false, false) => format!("{least} to {most}"),
    }
}

fn out_of_range(param: &str, value: impl std::fmt::Display, allowed: &str) -> Error {
    Error::invalid(param, format!("{value} is out of range; allowed: {allowed}"))
}

/// The stages of the chain: (stage, name, other names, letter).
pub const SAMPLER_NAMES: [(SamplerKind, &str, &[&str], char); 11] = [
    (SamplerKind::Penalties, "penalties", &[], 'e'),
    (SamplerKind::Dry, "dry", &[], 'd'),
    (SamplerKind::TopNSigma, "top_n_sigma", &["top-n-sigma"], 's'),
    (SamplerKind::TopK, "top_k", &["top-k"], 'k'),
    (SamplerKind::TypicalP, "typ_p", &["typical_p", "typical", "typical-p", "typ-p", "typ"], 'y'),
    (SamplerKind::TopP, "top_p", &["top-p", "nucleus"], 'p'),
    (SamplerKind::MinP, "min_p", &["min-p"], 'm'),
    (SamplerKind::Xtc, "xtc", &[], 'x'),
    (SamplerKind::Temperature, "temperature", &["temp"], 't'),
    (SamplerKind::Infill, "infill", &[], 'i'),
    (SamplerKind::AdaptiveP, "adaptive_p", &["adaptive-p"], 'a'),
];

impl SamplerKind {
    /// The stage that llama-server calls `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        SAMPLER_NAMES.iter().find(|row| row.1 == name || row.2.contains(&name)).map(|row| row.0)
    }

    /// The stage of a letter of llama-server's `--sampling-seq`.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        SAMPLER_NAMES.iter().find(|row| row.3 == letter).map(|row| row.0)
    }

    /// llama-server's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        SAMPLER_NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut SamplingParams)) -> String {
        let mut params = SamplingParams::default();
        change(&mut params);
        params.validate().expect_err("it is refused").to_string()
    }

    #[test]
    fn messages_name_field_value_and_range() {
        assert_eq!(refused(|p| p.min_p = 2.0), "min_p: 2 is out of range; allowed: 0 to 1");
        assert_eq!(refused(|p| p.top_p = -0.1), "top_p: -0.1 is out of range; allowed: 0 and above");
        assert_eq!(refused(|p| p.n_predict = -2), "n_predict: -2 is out of range; allowed: -1 to 2147483647");
        assert!(refused(|p| p.temperature = f32::NAN).starts_with("temperature: NaN"));
        assert!(refused(|p| p.repeat_penalty = 1e30).starts_with("repeat_penalty: 1"));
        assert!(refused(|p| p.n = 1 << 63).starts_with("n: 9223372036854775808 is out of range; allowed: 1 to 128"));
        assert!(refused(|p| p.n = 1_000_000_000).starts_with("n: 1000000000"));
        assert!(refused(|p| p.stop = vec!["x".into(); 500_000]).starts_with("stop: it has 500000 entries"));
        assert!(refused(|p| p.stop = vec!["x".repeat(1 << 20)]).contains("1048576 bytes"));
        let lora = |scale| vec![LoraScale { id: 0, scale: 1.0 }, LoraScale { id: 1, scale }];
        let message = refused(|p| p.lora = lora(f32::INFINITY));
        assert_eq!(message, "lora[1].scale: inf is out of range; allowed: -10000 to 10000");
        assert!(refused(|p| p.lora = lora(f32::NAN)).starts_with("lora[1].scale: NaN"));
        assert!(refused(|p| p.lora = vec![LoraScale { id: 0, scale: 0.0 }; 257]).contains("257 entries"));
        let range = "is out of range; allowed: 0 to 1024";
        assert_eq!(refused(|p| p.prompt_logprobs = Some(-1)), format!("prompt_logprobs: -1 {range}"));
        assert_eq!(refused(|p| p.prompt_logprobs = Some(1025)), format!("prompt_logprobs: 1025 {range}"));
    }

    #[test]
    fn log_probabilities_of_a_prompt_are_bounded_in_all() {
        let params = SamplingParams { prompt_logprobs: Some(20), ..SamplingParams::default() };
        let refused = |n| params.validate_for_prompt(n).expect_err("it is refused").to_string();
        assert!(params.validate_for_prompt(12_483).is_ok());
        assert_eq!(refused(13_000), "prompt_logprobs: 20 for 13000 tokens is too much; allowed: up to 19");
        assert_eq!(refused(1 << 20), "prompt_logprobs: 20 for 1048576 tokens is too much; allowed: shorter prompts");
        assert!(SamplingParams::default().validate_for_prompt(usize::MAX).is_ok());
    }

    #[test]
    fn values_that_mean_off_are_served() {
        let off =
            SamplingParams { temperature: -1.0, top_p: 1.5, top_k: -3, n_predict: -1, ..SamplingParams::default() };
        assert!(off.validate().is_ok());
        let bias = LogitBias { token: 512, bias: 1.0 };
        let params = SamplingParams { logit_bias: vec![bias], ..SamplingParams::default() };
        assert!(params.validate_for(513).is_ok() && params.validate_for(512).is_err());
    }

    #[test]
    fn names_go_both_ways() {
        for (kind, name, others, letter) in SAMPLER_NAMES {
            assert_eq!(SamplerKind::from_name(name), Some(kind));
            assert!(others.iter().all(|other| SamplerKind::from_name(other) == Some(kind)));
            assert_eq!(SamplerKind::from_letter(letter), Some(kind));
            assert_eq!(kind.name(), name);
        }
    }
}
