//! From logits to one token: llama.cpp's sampler chain, order, defaults and random generator.
//!
//! [`Sampler::sample`] puts all tokens into [`candidates`], lets each stage of the request's chain
//! change or drop some ([`penalties`], [`dry`], [`truncate`], [`temperature`], [`infill`]) and
//! lets [`draw`] choose. Each stage that draws has a generator of its own ([`rng`]), seeded with
//! the request's seed, so the same seed gives the same text.

mod breakers;
mod candidates;
mod draw;
mod dry;
mod infill;
mod peaks;
mod penalties;
mod probs;
mod rng;
mod temperature;
#[cfg(test)]
mod tests;
mod truncate;

use std::sync::Arc;

use crate::config::{LogitBias, Mirostat, SamplerKind, SamplingParams};
use crate::error::{Error, Result};
use crate::grammar::{Matcher, TokenMask};
use crate::kernels::Simd;
use crate::tokenizer::{TokenId, Tokenizer};
pub use breakers::Breakers;
use candidates::Candidates;
use draw::{Adaptive, Draw};
use dry::Dry;
use peaks::Peaks;
use penalties::Penalties;
use rng::Mt19937;

/// A token with its (log) probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenProb {
    pub token: TokenId,
    /// Log probability before the chain, or the probability after it (`post_sampling_probs`).
    pub value: f32,
}

/// A token with its log probability before any chain, and its place among all tokens: the most probable is 1.
/// `top` holds the most probable tokens, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    pub prob: TokenProb,
    pub rank: usize,
    pub top: Vec<TokenProb>,
}

/// The place of `token` in `logits`, with the `n` most probable. Refuses logits that are no numbers.
pub fn rank(logits: &[f32], token: TokenId, n: usize) -> Result<Ranked> {
    if !logits.iter().fold(true, |all, logit| all & peaks::may_be(*logit)) {
        return Err(wrong_logit(logits));
    }
    let (prob, mut top) = probs::before(logits, token, n);
    top.truncate(n);
    let own = logits[token as usize];
    // Equal ones count as more probable, as in vLLM.
    Ok(Ranked { prob, rank: logits.iter().filter(|logit| **logit >= own).count(), top })
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
pub struct Sampler {
    params: SamplingParams,
    tokenizer: Arc<Tokenizer>,
    biases: Vec<LogitBias>,
    stages: Vec<SamplerKind>,
    simd: Simd,
    /// Where the chain keeps a few best before it needs all candidates: how many, and the stages
    /// after that.
    shortcut: Option<(usize, usize)>,
    penalties: Penalties,
    dry: Option<Dry>,
    xtc: Mt19937,
    last_stage: Draw,
    candidates: Candidates,
    /// Of the newest row.
    peaks: Peaks,
}

impl Sampler {
    /// The chain of choice `choice`, whose seed is `params.seed + choice`; a random seed must be
    /// resolved before. `n_ctx` is what −1 means for the history of penalties,
    /// `latest` the breakers of DRY that were looked for last.
    pub fn new(
        params: &SamplingParams,
        choice: usize,
        tokenizer: &Arc<Tokenizer>,
        latest: &mut Option<Arc<Breakers>>,
        n_ctx: usize,
        simd: Simd,
    ) -> Result<Self> {
        let seed = params.seed.wrapping_add(choice as u32);
        let rng = || Mt19937::new(seed);
        let mut biases = params.logit_bias.clone();
        if params.ignore_eos {
            let ends = tokenizer.eog_tokens().iter();
            biases.extend(ends.map(|token| LogitBias { token: *token, bias: f32::NEG_INFINITY }));
        }
        let (tau, eta, mu) = (params.mirostat_tau, params.mirostat_eta, 2.0 * params.mirostat_tau);
        let n_vocab = tokenizer.vocab_size();
        let adaptive = params.samplers.contains(&SamplerKind::AdaptiveP);
        let draw = match params.mirostat {
            Mirostat::V1 => Draw::Mirostat1 { tau, eta, mu, n_vocab, rng: rng() },
            Mirostat::V2 => Draw::Mirostat2 { tau, eta, mu, rng: rng() },
            Mirostat::Off if adaptive => {
                Draw::Adaptive(Adaptive::new(params.adaptive_target, params.adaptive_decay, rng()))
            }
            Mirostat::Off => Draw::Plain(rng()),
        };
        let last_n = usize::try_from(params.repeat_last_n).unwrap_or(n_ctx);
        // Mirostat replaces all stages but the temperature.
        let stages =
            if params.mirostat == Mirostat::Off { params.samplers.clone() } else { vec![SamplerKind::Temperature] };
        let dry = stages.contains(&SamplerKind::Dry).then(|| Dry::new(params, tokenizer, latest, n_ctx)).flatten();
        Ok(Self {
            shortcut: shortcut(&stages, params, dry.is_some(), n_vocab),
            penalties: Penalties::new(last_n, params.repeat_penalty, params.frequency_penalty, params.presence_penalty),
            dry,
            xtc: rng(),
            params: params.clone(),
            tokenizer: Arc::clone(tokenizer),
            biases,
            stages,
            last_stage: draw,
            candidates: Candidates::default(),
            peaks: Peaks::default(),
            simd,
        })
    }

    /// Feeds a token into the history (penalties, DRY).
    pub fn accept_prompt(&mut self, token: TokenId) {
        self.penalties.accept(token);
        if let Some(dry) = &mut self.dry {
            dry.accept(token);
        }
    }

    /// Draws the next token from `logits` (one row, vocabulary long) and accepts it into the
    /// history and the grammar. With a grammar, a free draw comes first; only if it does not fit
    /// are the candidates masked and drawn from again.
    pub fn sample(&mut self, logits: &mut [f32], mut grammar: Option<&mut Matcher>) -> Result<Sampled> {
        if !self.peaks.find(logits, self.simd) {
            return Err(wrong_logit(logits));
        }
        let mut index = self.draw(logits, None);
        if let Some(grammar) = grammar.as_deref_mut()
            && !grammar.allows(self.candidates.items[index].token)
        {
            let mask = grammar.mask()?;
            index = self.draw(logits, Some(mask));
            let token = self.candidates.items[index].token;
            if !mask.is_allowed(token) {
                return Err(Error::Internal("the grammar allows no token here".into()));
            }
        }
        let token = self.candidates.items[index].token;
        let (prob, top) = self.probabilities(token, logits);
        self.last_stage.accept();
        self.accept_prompt(token);
        if let Some(grammar) = grammar {
            grammar.accept(token)?;
        }
        Ok(Sampled { token, prob, top })
    }

    /// One draw from all of `logits`, or of the tokens in `mask`; they are as before afterwards.
    fn draw(&mut self, logits: &mut [f32], mask: Option<&TokenMask>) -> usize {
        let Some((k, stage)) = self.shortcut else {
            self.candidates.reset(logits);
            let is_forbidden = |token| mask.is_some_and(|mask| !mask.is_allowed(token));
            let forbidden = self.candidates.items.iter_mut().filter(|item| is_forbidden(item.token));
            forbidden.for_each(|item| item.logit = f32::NEG_INFINITY);
            return self.run_chain(0, mask);
        };
        // What the stages before change are single logits: they are changed in place and put back.
        let mut changed: Vec<(usize, f32)> = Vec::new();
        let mut change = |logits: &mut [f32], token: TokenId, logit: f32| {
            changed.push((token as usize, std::mem::replace(&mut logits[token as usize], logit)));
        };
        for bias in &self.biases {
            change(logits, bias.token, biased(logits[bias.token as usize], bias.bias));
        }
        if self.stages[..stage].contains(&SamplerKind::Penalties) && !self.penalties.is_off() {
            for token in self.penalties.tokens() {
                change(logits, token, self.penalties.penalized(token, logits[token as usize]));
            }
        }
        match mask {
            None => {
                self.peaks.look_again(logits, changed.iter().map(|(token, _)| *token), self.simd);
                self.candidates.reset_best(logits, k, &mut self.peaks);
            }
            Some(mask) => self.candidates.reset_best_allowed(logits, k, mask.as_slice()),
        }
        changed.into_iter().rev().for_each(|(token, logit)| logits[token] = logit);
        self.run_chain(stage, mask)
    }

    /// Runs the stages from `first` on, biases before the first of all, and draws.
    fn run_chain(&mut self, first: usize, mask: Option<&TokenMask>) -> usize {
        let end = self.tokenizer.eot().or(self.tokenizer.eos());
        let may_end = mask.is_none_or(|mask| end.is_none_or(|end| mask.is_allowed(end)));
        let (c, p) = (&mut self.candidates, &self.params);
        for bias in self.biases.iter().filter(|_| first == 0) {
            let item = &mut c.items[bias.token as usize];
            item.logit = biased(item.logit, bias.bias);
        }
        for stage in &self.stages[first..] {
            match stage {
                SamplerKind::Penalties => self.penalties.apply(c),
                SamplerKind::Dry => self.dry.iter().for_each(|dry| dry.apply(c)),
                SamplerKind::TopNSigma => truncate::top_n_sigma(c, p.top_n_sigma),
                SamplerKind::TopK => truncate::top_k(c, p.top_k),
                SamplerKind::TypicalP => truncate::typical(c, p.typical_p, p.min_keep),
                SamplerKind::TopP => truncate::top_p(c, p.top_p, p.min_keep),
                SamplerKind::MinP => truncate::min_p(c, p.min_p, p.min_keep),
                SamplerKind::Xtc => truncate::xtc(c, p.xtc_probability, p.xtc_threshold, p.min_keep, &mut self.xtc),
                SamplerKind::Temperature if p.mirostat != Mirostat::Off => temperature::temperature(c, p.temperature),
                SamplerKind::Temperature => {
                    temperature::dynamic(c, p.temperature, p.dynatemp_range, p.dynatemp_exponent);
                }
                SamplerKind::Infill => infill::infill(c, &self.tokenizer, may_end),
                // It draws, and so comes last wherever it is named.
                SamplerKind::AdaptiveP => {}
            }
        }
        c.leave_one();
        self.last_stage.draw(c)
    }

    fn probabilities(&self, token: TokenId, logits: &[f32]) -> (Option<TokenProb>, Vec<TokenProb>) {
        match self.params.n_probs {
            0 => (None, Vec::new()),
            n if self.params.post_sampling_probs => probs::after(&self.candidates, token, n),
            n => {
                let (own, top) = probs::before(logits, token, n);
                (Some(own), top)
            }
        }
    }
}

/// Names the first of `logits` of which a chain could make nothing.
fn wrong_logit(logits: &[f32]) -> Error {
    let at = logits.iter().position(|logit| !peaks::may_be(*logit)).unwrap_or(0);
    Error::Internal(format!("the model gave {} as the logit of token {at}", logits[at]))
}

/// A logit with a bias. Nothing is infinitely probable: two such ones would leave no probability a number.
fn biased(logit: f32, bias: f32) -> f32 {
    (logit + bias).min(f32::MAX)
}

/// Where a chain begins with stages that are off or change single logits only, and then keeps the k
/// best: k, and the index of the stage after it. What ends with the best one alone needs no stage more.
fn shortcut(stages: &[SamplerKind], p: &SamplingParams, dry: bool, n_vocab: usize) -> Option<(usize, usize)> {
    let is_off = |stage: &SamplerKind| match stage {
        SamplerKind::Dry => !dry,
        SamplerKind::TopNSigma => p.top_n_sigma <= 0.0,
        SamplerKind::TypicalP => p.typical_p >= 1.0,
        SamplerKind::TopP => p.top_p >= 1.0,
        SamplerKind::MinP => p.min_p <= 0.0,
        SamplerKind::Xtc => p.xtc_probability <= 0.0 || p.xtc_threshold > 0.5,
        _ => false,
    };
    let changes_single_logits = |stage: &SamplerKind| *stage == SamplerKind::Penalties || is_off(stage);
    let at = stages.iter().take_while(|stage| changes_single_logits(stage)).count();
    // Penalties must not be applied twice where a chain names them twice: the slow way does that.
    if stages[..at].iter().filter(|stage| **stage == SamplerKind::Penalties).count() > 1 {
        return None;
    }
    use SamplerKind::{MinP, Temperature, TopK, TopNSigma, TopP};
    let keeps_the_best = |stage: &SamplerKind| matches!(stage, TopNSigma | TopK | TopP | MinP | Temperature);
    let is_greedy = p.mirostat == Mirostat::Off && p.temperature <= 0.0 && p.dynatemp_range <= 0.0;
    let rest = &stages[at..];
    if is_greedy && rest.contains(&Temperature) && rest.iter().all(|stage| is_off(stage) || keeps_the_best(stage)) {
        return Some((1, stages.len()));
    }
    let k = usize::try_from(p.top_k).ok().filter(|k| (1..n_vocab / 4).contains(k))?;
    (rest.first() == Some(&TopK)).then_some((k, at + 1))
}
