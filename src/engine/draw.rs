//! Drawing the tokens of a step. Its rows of logits do not depend on each other, so that all threads work on
//! them; what comes of each is published afterwards, in the order of the rows.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::generation::{Generation, Stop};
use super::output::{Event, TokenReport};
use super::plan::{StepPlan, Wanted};
use super::runner::Logits;
use super::scheduler::Scheduler;
use super::sequence::SequenceId;
use super::step::{EngineLoop, count, guarded, publish};
use crate::error::Result;
use crate::sampling::{self, Ranked};
use crate::tokenizer::{TokenId, Tokenizer};

/// A row of logits with what is made of it.
struct Row {
    slot: usize,
    id: SequenceId,
    work: Work,
}

enum Work {
    /// The next token is drawn.
    Draw(Option<Result<(TokenReport, Option<Stop>)>>),
    /// The cache was filled with the prompt, and no token is wanted.
    Fill,
    /// `token` of a prompt is ranked, with the `n` most probable ones.
    Rank { token: TokenId, n: usize, ranked: Option<Result<Ranked>> },
}

/// What all rows share.
#[derive(Clone, Copy)]
struct Known<'a> {
    scheduler: &'a Scheduler,
    generations: &'a HashMap<SequenceId, Mutex<Generation>>,
    tokenizer: &'a Tokenizer,
    n_ctx: usize,
}

impl Row {
    fn compute(&mut self, logits: &mut [f32], known: Known) {
        match &mut self.work {
            Work::Draw(drawn) => {
                let Some(sequence) = known.scheduler.sequence(self.slot) else { return };
                let Some(generation) = known.generations.get(&self.id) else { return };
                let mut generation = generation.lock().unwrap_or_else(PoisonError::into_inner);
                *drawn = Some(guarded(|| generation.next(logits, sequence, known.tokenizer, known.n_ctx)));
            }
            Work::Fill => {}
            Work::Rank { token, n, ranked } => *ranked = Some(guarded(|| sampling::rank(logits, *token, *n))),
        }
    }
}

/// An answer, by whoever has it alone.
pub(super) fn own(generation: &mut Mutex<Generation>) -> &mut Generation {
    generation.get_mut().unwrap_or_else(PoisonError::into_inner)
}

impl EngineLoop {
    /// Makes of each row of `logits` what is `wanted` of it.
    pub(super) fn sample(&mut self, plan: &StepPlan, logits: &Logits, wanted: &[Wanted]) {
        let mut rows: Vec<Option<Row>> = wanted.iter().map(|wanted| self.row(*wanted)).collect();
        let n_ctx = if self.limits.context_shift { usize::MAX } else { self.limits.n_ctx };
        let (scheduler, generations, tokenizer) = (&self.scheduler, &self.generations, &*self.tokenizer);
        let known = Known { scheduler, generations, tokenizer, n_ctx };
        let outcome = logits.visit_with(&mut rows, &self.runner.model.compute().pool, |row, logits| {
            row.iter_mut().for_each(|row| row.compute(logits, known));
        });
        match outcome {
            Ok(()) => rows.into_iter().flatten().for_each(|row| self.publish_row(row)),
            Err(error) => self.fail_step(plan, &error),
        }
    }

    fn row(&mut self, wanted: Wanted) -> Option<Row> {
        let (Wanted::Next { slot } | Wanted::Score { slot, .. }) = wanted;
        let sequence = self.scheduler.sequence(slot)?;
        let params = &own(self.generations.get_mut(&sequence.id)?).params;
        let work = match wanted {
            Wanted::Next { .. } if params.n_predict == 0 => Work::Fill,
            Wanted::Next { .. } => Work::Draw(None),
            Wanted::Score { position, .. } => {
                let n = params.prompt_logprobs.map_or(0, |n| usize::try_from(n).unwrap_or(0));
                Work::Rank { token: sequence.tokens[position + 1], n, ranked: None }
            }
        };
        Some(Row { slot, id: sequence.id, work })
    }

    /// Publishes what came of a row.
    fn publish_row(&mut self, Row { slot, id, work }: Row) {
        // A row before it may have ended the sequence.
        let Some(sequence) = self.scheduler.sequence(slot).filter(|sequence| sequence.id == id) else { return };
        match work {
            Work::Fill => {
                let Some(generation) = self.generations.get_mut(&id).map(own) else { return };
                let finish = generation.finish_empty(sequence, slot);
                count(&self.shared, |stats| {
                    generation.count_prompt(sequence, stats);
                    generation.count_end(finish.stop_type, stats);
                });
                self.end(slot, id, Event::Done(Box::new(finish)));
            }
            Work::Draw(Some(Ok((report, stop)))) => self.publish_token(slot, id, report, stop),
            Work::Rank { ranked: Some(Ok(ranked)), .. } => {
                publish(&self.shared, id, Some(slot), Event::Prompt(Box::new(ranked)));
            }
            Work::Draw(Some(Err(error))) | Work::Rank { ranked: Some(Err(error)), .. } => {
                self.end_slot_with_error(slot, id, &error);
            }
            // Without logits there was nothing to compute.
            Work::Draw(None) | Work::Rank { ranked: None, .. } => {}
        }
    }

    /// Publishes the next token of a sequence; ends it where it ends.
    fn publish_token(&mut self, slot: usize, id: SequenceId, report: TokenReport, stop: Option<Stop>) {
        let Some(sequence) = self.scheduler.sequence(slot) else { return };
        let Some(generation) = self.generations.get_mut(&id).map(own) else { return };
        let token = report.token;
        count(&self.shared, |stats| generation.count_token(sequence, stats));
        if let Some(reports) = generation.report(report, stop.is_some()) {
            publish(&self.shared, id, Some(slot), Event::Tokens(reports));
        }
        match stop {
            None => {
                self.scheduler.append(slot, token);
                self.shift_if_full(slot);
            }
            Some(stop) => {
                let finish = generation.finish(stop, sequence, slot);
                count(&self.shared, |stats| generation.count_end(finish.stop_type, stats));
                self.end(slot, id, Event::Done(Box::new(finish)));
            }
        }
    }

    /// Makes room where the context is full, as llama-server does: the first `n_keep` tokens stay, and
    /// of the others the older half goes. Without context shift the answer has ended before.
    fn shift_if_full(&mut self, slot: usize) {
        let Some(sequence) = self.scheduler.sequence(slot) else { return };
        if sequence.tokens.len() < self.limits.n_ctx {
            return;
        }
        let Some(generation) = self.generations.get_mut(&sequence.id).map(own) else { return };
        let (n_keep, n_discard) =
            generation.shift(sequence.n_prompt, sequence.n_computed, self.limits.n_ctx, self.tokenizer.adds_bos());
        self.scheduler.shift(slot, n_keep, n_discard);
    }
}
