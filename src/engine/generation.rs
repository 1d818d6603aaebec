//! The answer of one sequence: drawing tokens, turning them into text, knowing when to end.

use std::sync::Arc;
use std::time::Instant;

use super::output::{Finish, Progress, StopType, Timings, TokenReport};
use super::sequence::Sequence;
use super::stats::Stats;
use super::stop::{self, StopMatcher};
use crate::config::SamplingParams;
use crate::error::Result;
use crate::grammar::{CompiledGrammar, Matcher, Scan, Watch};
use crate::sampling::Sampler;
use crate::tokenizer::{StreamDecoder, Tokenizer};

/// Sampler, grammar and text of one choice.
pub struct Generation {
    pub params: Arc<SamplingParams>,
    sampler: Sampler,
    matcher: Option<Matcher>,
    /// Looks for thoughts and for the place where the grammar starts.
    scan: Option<Scan>,
    /// Tokens to come whatever the model says, the next one last.
    forced: Vec<u32>,
    decoder: StreamDecoder,
    stop: StopMatcher,
    seed: u32,
    n_predicted: usize,
    has_new_line: bool,
    /// Whether text had to make room for more.
    truncated: bool,
    /// Reports that wait for the answer's end, where it is wanted whole.
    pub held: Option<Vec<TokenReport>>,
    /// When the request arrived.
    pub arrived: Instant,
    /// When it got its slot.
    started: Option<Instant>,
    /// When its first token was drawn.
    prompt_done: Option<Instant>,
    /// When its latest token was drawn.
    latest: Option<Instant>,
    new_line_at: Option<Instant>,
    n_cached: usize,
}

/// Why a sequence ends, as far as the text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub kind: StopType,
    pub word: String,
    pub truncated: bool,
}

/// Tokens after which an answer without a limit ends, where the context does not end it: more than any
/// client waits for, and an end to those that wait for nothing.
const ENDLESS: usize = 1 << 20;

impl Stop {
    fn limit(truncated: bool) -> Self {
        Self { kind: StopType::Limit, word: String::new(), truncated }
    }
}

impl Generation {
    /// The start of choice `choice`, whose `sampler` knows the prompt. `params.seed` is resolved already.
    pub fn new(
        params: &Arc<SamplingParams>,
        choice: usize,
        sampler: Sampler,
        grammar: Option<&Arc<CompiledGrammar>>,
        watch: Option<&Arc<Watch>>,
    ) -> Result<Self> {
        Ok(Self {
            sampler,
            matcher: grammar.map(CompiledGrammar::matcher).transpose()?,
            scan: watch.map(Scan::new),
            forced: Vec::new(),
            decoder: StreamDecoder::default(),
            stop: StopMatcher::new(&params.stop),
            seed: params.seed.wrapping_add(u32::try_from(choice).unwrap_or(u32::MAX)),
            params: Arc::clone(params),
            n_predicted: 0,
            has_new_line: false,
            truncated: false,
            held: None,
            arrived: Instant::now(),
            started: None,
            prompt_done: None,
            latest: None,
            new_line_at: None,
            n_cached: 0,
        })
    }

    /// Notes that the sequence got its slot, with `n_cached` prompt tokens from the cache.
    pub fn start(&mut self, n_cached: usize) {
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.n_cached = n_cached;
        }
    }

    /// Draws the next token from `logits` and takes it into the text. `n_computed` tokens are in
    /// the cache, `n_ctx` fit. Returns the report and, if this was the last, why.
    pub fn next(
        &mut self,
        logits: &mut [f32],
        sequence: &Sequence,
        tokenizer: &Tokenizer,
        n_ctx: usize,
    ) -> Result<(TokenReport, Option<Stop>)> {
        self.force(logits, tokenizer);
        let waiting = self.scan.as_ref().is_some_and(Scan::is_waiting);
        let is_short = self.n_predicted < self.params.min_tokens;
        if is_short && (waiting || self.matcher.is_none()) {
            self.forbid_ends(logits, tokenizer);
        }
        let sampled = self.sampler.sample(logits, self.matcher.as_mut().filter(|_| !waiting))?;
        self.prompt_done.get_or_insert_with(Instant::now);
        self.n_predicted += 1;
        let is_stop = self.params.stop_token_ids.contains(&sampled.token);
        let shows = self.params.include_stop_str_in_output;
        let is_named = is_stop && shows || self.params.preserved_tokens.contains(&sampled.token);
        let bytes: &[u8] = if is_stop && !shows { &[] } else { tokenizer.token_bytes(sampled.token, is_named) };
        self.scan(bytes)?;
        let piece = self.decoder.push(bytes);
        let mut scan = if is_short { stop::Scan { text: piece.clone(), word: None } } else { self.stop.push(&piece) };
        if piece.contains('\n') {
            self.has_new_line = true;
            self.new_line_at.get_or_insert_with(Instant::now);
        }
        let word = scan.word.map(|index| self.params.stop[index].clone());
        if let Some(word) = word.as_ref().filter(|_| shows) {
            scan.text.push_str(word);
        }
        let is_end = is_stop || tokenizer.is_eog(sampled.token);
        let stop = self.judge(word, is_end, sequence.tokens.len() + 1 >= n_ctx);
        let report = TokenReport {
            token: sampled.token,
            text: scan.text,
            prob: sampled.prob,
            top: sampled.top,
            timings: self.timings(sequence),
        };
        Ok((report, stop))
    }

    /// What is to be published of the newest token: it alone, or nothing before the last one and then all.
    pub fn report(&mut self, report: TokenReport, is_last: bool) -> Option<Vec<TokenReport>> {
        let Some(held) = &mut self.held else { return Some(vec![report]) };
        held.push(report);
        is_last.then(|| std::mem::take(held))
    }

    /// Has the thought that is being written closed. False where there is none.
    pub fn end_thought(&mut self) -> bool {
        self.scan.as_mut().is_some_and(Scan::end_thought)
    }

    /// Leaves no token possible that would end the answer.
    fn forbid_ends(&self, logits: &mut [f32], tokenizer: &Tokenizer) {
        for token in tokenizer.eog_tokens().iter().chain(&self.params.stop_token_ids) {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Leaves a single token possible where a thought that took too long is to be closed.
    fn force(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) {
        // A character that is not complete yet would be lost.
        if self.forced.is_empty()
            && !self.decoder.is_pending()
            && let Some(close) = self.scan.as_ref().and_then(Scan::overdue)
        {
            self.forced = tokenizer.encode(&close, false, true);
            self.forced.reverse();
        }
        if let Some(token) = self.forced.pop()
            && let Some(logit) = logits.get(token as usize).copied()
        {
            logits.fill(f32::NEG_INFINITY);
            logits[token as usize] = if logit.is_finite() { logit } else { 0.0 };
        }
    }

    /// Looks at the text of one token, and starts the grammar where its place has come.
    fn scan(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(scan) = &mut self.scan else {
            return Ok(());
        };
        let matcher = &mut self.matcher;
        scan.push(bytes, |rest| matcher.as_mut().map_or(Ok(true), |matcher| matcher.begin_with(rest)))
    }

    /// Whether the answer is complete. Where several reasons hold, llama-server's order decides:
    /// end token, then full context, then stop string, then limits.
    fn judge(&self, word: Option<String>, eog: bool, context_full: bool) -> Option<Stop> {
        if eog {
            return Some(Stop { kind: StopType::Eos, word: String::new(), truncated: false });
        }
        if context_full {
            return Some(Stop::limit(true));
        }
        if let Some(word) = word {
            return Some(Stop { kind: StopType::Word, word, truncated: false });
        }
        let limit = usize::try_from(self.params.n_predict).unwrap_or(ENDLESS);
        let budget_spent = self.n_predicted >= limit;
        (budget_spent || self.is_out_of_time()).then(|| Stop::limit(false))
    }

    /// Whether the text so far has a line break.
    #[must_use]
    pub fn has_new_line(&self) -> bool {
        self.has_new_line
    }

    fn is_out_of_time(&self) -> bool {
        let limit = u128::try_from(self.params.t_max_predict_ms).unwrap_or(0);
        let elapsed = self.prompt_done.map_or(0, |at| at.elapsed().as_millis());
        limit > 0 && self.new_line_at.is_some() && elapsed > limit
    }

    /// Which tokens make room in a full context of which `n_computed` are in the cache: how many stay
    /// at the start, and how many behind them go.
    pub fn shift(&mut self, n_prompt: usize, n_computed: usize, n_ctx: usize, adds_bos: bool) -> (usize, usize) {
        self.truncated = true;
        let n_keep = usize::try_from(self.params.n_keep).map_or(n_prompt, |n| n);
        let n_keep = n_keep.saturating_add(usize::from(adds_bos)).min(n_ctx.saturating_sub(4));
        let n_left = n_computed.saturating_sub(n_keep);
        let n_discard = if self.params.n_discard > 0 { self.params.n_discard } else { n_left / 2 };
        (n_keep, n_discard.clamp(1, n_left.max(1)))
    }

    /// How far the prompt of `sequence` is.
    #[must_use]
    pub fn progress(&self, sequence: &Sequence) -> Progress {
        Progress {
            total: sequence.n_prompt,
            cache: self.n_cached,
            processed: sequence.n_computed.min(sequence.n_prompt),
            ms: self.started.map_or(0.0, |at| at.elapsed().as_secs_f64() * 1e3),
        }
    }

    /// The end, after the last token.
    pub fn finish(&mut self, stop: Stop, sequence: &Sequence, slot: usize) -> Finish {
        let mut text = String::new();
        if stop.kind != StopType::Word {
            // A character cut off by the end of the answer is shown as U+FFFD.
            let rest = self.decoder.finish();
            let scan = self.stop.push(&rest);
            text = scan.text + &self.stop.finish();
        }
        Finish {
            stop_type: stop.kind,
            stopping_word: stop.word,
            text,
            truncated: stop.truncated || self.truncated,
            has_new_line: self.has_new_line,
            tokens_cached: sequence.n_computed,
            slot,
            seed: self.seed,
            timings: self.timings(sequence),
        }
    }

    /// The end of a request that asked for no tokens.
    pub fn finish_empty(&mut self, sequence: &Sequence, slot: usize) -> Finish {
        self.prompt_done.get_or_insert_with(Instant::now);
        self.finish(Stop::limit(false), sequence, slot)
    }

    /// Counts the token that was just drawn, and with the first one the prompt.
    pub fn count_token(&mut self, sequence: &Sequence, stats: &mut Stats) {
        let now = Instant::now();
        stats.predicted_tokens += 1;
        if let Some(before) = self.latest.replace(now) {
            let seconds = (now - before).as_secs_f64();
            stats.predicted_seconds += seconds;
            stats.inter_token.observe(seconds);
        } else {
            stats.time_to_first_token.observe((now - self.arrived).as_secs_f64());
            self.count_prompt(sequence, stats);
        }
    }

    /// Counts the prompt, which is computed.
    pub fn count_prompt(&self, sequence: &Sequence, stats: &mut Stats) {
        let timings = self.timings(sequence);
        let seconds = timings.prompt_ms / 1e3;
        stats.prompt_tokens += timings.prompt_n as u64;
        stats.prompt_seconds += seconds;
        stats.cache_queries += (timings.prompt_n + timings.cache_n) as u64;
        stats.cache_hits += timings.cache_n as u64;
        stats.prefill.observe(seconds);
        let started = self.started.unwrap_or(self.arrived);
        stats.queue.observe((started - self.arrived).as_secs_f64());
        stats.prompt_lengths.observe((timings.prompt_n + timings.cache_n) as f64);
    }

    /// Counts the end of a whole answer.
    pub fn count_end(&self, kind: StopType, stats: &mut Stats) {
        match kind {
            StopType::Eos | StopType::Word => stats.ends.stop += 1,
            StopType::Limit => stats.ends.length += 1,
        }
        let seconds = |from: Option<Instant>| from.map_or(0.0, |from| from.elapsed().as_secs_f64());
        stats.whole.observe(seconds(Some(self.arrived)));
        stats.decode.observe(seconds(self.prompt_done));
        stats.answer_lengths.observe(self.n_predicted as f64);
    }

    fn timings(&self, sequence: &Sequence) -> Timings {
        let started = self.started.unwrap_or_else(Instant::now);
        let prompt_done = self.prompt_done.unwrap_or_else(Instant::now);
        Timings {
            cache_n: self.n_cached,
            prompt_n: sequence.n_prompt - self.n_cached,
            prompt_ms: (prompt_done - started).as_secs_f64() * 1e3,
            predicted_n: self.n_predicted,
            predicted_ms: prompt_done.elapsed().as_secs_f64() * 1e3,
        }
    }
}
