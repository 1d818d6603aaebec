//! The loop of the engine thread: receive, schedule, run, sample, publish.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::command::{CacheWork, Command, Request, Shared, SlotState};
use super::draw::own;
use super::embedding::{self, EmbeddingQueue, Input};
use super::generation::Generation;
use super::origin::Origin;
use super::output::{Event, Output};
use super::plan::StepPlan;
use super::runner::Runner;
use super::scheduler::Scheduler;
use super::sequence::{Sequence, SequenceId};
use super::stats::Stats;
use crate::config::Pooling;
use crate::error::{Error, Result};
use crate::sampling::{Breakers, Sampler};
use crate::tokenizer::Tokenizer;

/// How long a step waits for the readers of outputs that cannot keep up.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// Everything that the engine thread owns.
pub(super) struct EngineLoop {
    pub(super) shared: Arc<Shared>,
    pub(super) scheduler: Scheduler,
    pub(super) runner: Runner,
    pub(super) tokenizer: Arc<Tokenizer>,
    /// Answers that have not ended. The locks are for the threads that draw next tokens, each for an own one.
    pub(super) generations: HashMap<SequenceId, Mutex<Generation>>,
    embeddings: EmbeddingQueue,
    /// Of the latest request that asked for DRY.
    breakers: Option<Arc<Breakers>>,
    /// Work on the cache that waits for a slot to be free.
    deferred: Vec<(usize, CacheWork)>,
    pub(super) limits: Limits,
}

/// Sizes and settings that do not change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub n_slots: usize,
    /// Context tokens of a slot.
    pub n_ctx: usize,
    /// Tokens of a step.
    pub n_batch: usize,
    pub pooling: Pooling,
    /// Whether a full context drops old tokens and goes on.
    pub context_shift: bool,
}

impl EngineLoop {
    /// A loop without requests.
    pub fn new(
        shared: Arc<Shared>,
        scheduler: Scheduler,
        runner: Runner,
        tokenizer: Arc<Tokenizer>,
        limits: Limits,
    ) -> Self {
        let (generations, embeddings, deferred, breakers) = Default::default();
        Self { shared, scheduler, runner, tokenizer, generations, embeddings, breakers, deferred, limits }
    }

    /// Runs until it is told to shut down or every handle is gone.
    pub fn run(&mut self, commands: &Receiver<Command>) {
        while self.receive(commands) {
            let plan = self.scheduler.schedule();
            self.start_admitted(&plan);
            let began = Instant::now();
            match guarded(|| self.runner.run(&plan, &self.scheduler)) {
                Ok((logits, wanted)) => {
                    self.scheduler.commit(&plan, began.elapsed());
                    self.count_step(&plan);
                    self.report_progress(&plan);
                    self.sample(&plan, &logits, &wanted);
                }
                Err(error) => {
                    let copied = self.scheduler.take_back_copies(&plan);
                    self.fail_step(&plan, &error);
                    self.fail_slots(copied.into_iter(), &error);
                }
            }
            self.embed();
            self.publish_slots();
            self.wake();
            self.wait_for_readers();
        }
    }

    /// Lets whoever takes the outputs catch up. Tokens with hundreds of probabilities are drawn faster than
    /// they can be written, and would pile up for as long as their answers go on. The wait has an end, so
    /// that nobody who waits for the engine before taking outputs can hold it for good.
    fn wait_for_readers(&self) {
        let began = Instant::now();
        while self.shared.outputs.is_full() && began.elapsed() < MAX_WAIT {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tells whoever waits for outputs that there are some; once a step, however many they are.
    fn wake(&self) {
        self.shared.outputs.wake();
    }

    /// Takes waiting commands; sleeps while there is nothing to do. False at the end.
    fn receive(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            self.run_deferred();
            let command = if self.scheduler.is_idle() && self.embeddings.is_empty() {
                self.wake();
                commands.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                commands.try_recv()
            };
            match command {
                Ok(Command::Shutdown) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.handle(command),
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Submit { id, request, origin, arrived } => self.submit(id, *request, &origin, arrived),
            Command::Embed { id, request, adapters } => self.embeddings.push(id, *request, &adapters),
            Command::Abort(request) => {
                for id in self.scheduler.abort(request).into_iter().chain(self.embeddings.abort(request)) {
                    self.count(|stats| stats.ends.abort += 1);
                    self.forget(id);
                }
                self.publish_slots();
            }
            // A caller that has gone away needs no answer.
            Command::EndThought { request, reply } => drop(reply.send(Ok(self.end_thought(request)))),
            Command::Cache { slot: Some(slot), work } => self.deferred.push((slot, work)),
            Command::Cache { slot: None, work } => self.work_on_cache(work),
            Command::Score { tokens, first, reply } => drop(reply.send(self.score(&tokens, first))),
            Command::Logits { tokens, reply } => drop(reply.send(self.logits(&tokens))),
            Command::Bench { test, cost, reply } => drop(reply.send(self.bench(&test, &cost))),
            Command::Shutdown => {}
        }
    }

    fn end_thought(&mut self, request: u64) -> bool {
        let all = self.generations.iter_mut().filter(|(id, _)| id.request == request);
        all.fold(false, |any, (_, generation)| own(generation).end_thought() || any)
    }

    /// Does the work that waited for slots which are free now.
    fn run_deferred(&mut self) {
        for (slot, work) in std::mem::take(&mut self.deferred) {
            if self.scheduler.sequence(slot).is_some() {
                self.deferred.push((slot, work));
            } else {
                self.work_on_cache(work);
            }
        }
    }

    /// Blocks may have changed hands, which monitors want to see without waiting for a step.
    fn work_on_cache(&mut self, work: CacheWork) {
        work(&mut self.scheduler, &mut self.runner.store);
        self.count(|stats| stats.blocks_used = self.scheduler.pool().in_use());
    }

    fn submit(&mut self, request_id: u64, request: Request, origin: &Origin, arrived: Instant) {
        let Request { prompt, params, grammar, watch, whole } = request;
        let params = Arc::new(params);
        for choice in 0..params.n {
            let id = SequenceId { request: request_id, choice };
            let made = guarded(|| {
                let (grammar, watch) = (grammar.as_ref(), watch.as_ref());
                let mut sampler = Sampler::new(
                    &params,
                    choice,
                    &self.tokenizer,
                    &mut self.breakers,
                    self.limits.n_ctx,
                    self.runner.model.compute().simd,
                )?;
                prompt.iter().for_each(|token| sampler.accept_prompt(*token));
                Generation::new(&params, choice, sampler, grammar, watch)
            });
            match made {
                Ok(mut generation) => {
                    generation.arrived = arrived;
                    generation.held = whole.then(Vec::new);
                    self.generations.insert(id, Mutex::new(generation));
                    let mut sequence = Sequence::new(id, prompt.clone());
                    sequence = sequence.with_origin(origin.clone(), self.scheduler.pool_mut());
                    sequence.reuse = params.cache_prompt || choice > 0;
                    // The other choices have the same prompt.
                    sequence.score_from = params.prompt_logprobs.filter(|_| choice == 0).map(|_| 0);
                    sequence.wanted_slot = usize::try_from(params.id_slot).ok().filter(|_| choice == 0);
                    self.scheduler.submit(sequence);
                }
                Err(error) => self.end_with_error(id, &error.to_string()),
            }
        }
    }

    fn start_admitted(&mut self, plan: &StepPlan) {
        for (slot, id) in &plan.admitted {
            let Some(sequence) = self.scheduler.sequence(*slot) else { continue };
            let Some(generation) = self.generations.get_mut(id).map(own) else { continue };
            generation.start(sequence.n_cached);
            if generation.params.return_progress && !sequence.preempted {
                let event = Event::Progress(generation.progress(sequence));
                publish(&self.shared, *id, Some(*slot), event);
            }
        }
    }

    fn report_progress(&mut self, plan: &StepPlan) {
        for chunk in &plan.chunks {
            let Some(sequence) = self.scheduler.sequence(chunk.slot) else { continue };
            let Some(generation) = self.generations.get_mut(&sequence.id).map(own) else { continue };
            if generation.params.return_progress && sequence.n_generated() == 0 {
                let event = Event::Progress(generation.progress(sequence));
                publish(&self.shared, sequence.id, Some(chunk.slot), event);
            }
        }
    }

    /// A step that failed ends the sequences in it, and only those.
    pub(super) fn fail_step(&mut self, plan: &StepPlan, error: &Error) {
        self.fail_slots(plan.chunks.iter().map(|chunk| chunk.slot), error);
    }

    fn fail_slots(&mut self, slots: impl Iterator<Item = usize>, error: &Error) {
        for slot in slots {
            if let Some(sequence) = self.scheduler.sequence(slot) {
                self.end_slot_with_error(slot, sequence.id, error);
            }
        }
    }

    pub(super) fn end(&mut self, slot: usize, id: SequenceId, event: Event) {
        self.scheduler.finish(slot);
        publish(&self.shared, id, Some(slot), event);
        self.forget(id);
    }

    pub(super) fn end_slot_with_error(&mut self, slot: usize, id: SequenceId, error: &Error) {
        self.count(|stats| stats.ends.error += 1);
        self.end(slot, id, Event::Error(error.to_string()));
    }

    fn end_with_error(&mut self, id: SequenceId, message: &str) {
        self.count(|stats| stats.ends.error += 1);
        publish(&self.shared, id, None, Event::Error(message.to_owned()));
        self.forget(id);
    }

    fn forget(&mut self, id: SequenceId) {
        self.generations.remove(&id);
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Computes the next embeddings; those that find no free blocks wait.
    fn embed(&mut self) {
        let inputs = self.embeddings.take(self.scheduler.pool().available());
        if inputs.is_empty() {
            return;
        }
        let pooling = self.limits.pooling;
        let pool = self.scheduler.pool_mut();
        let step = embedding::plan(&inputs, pooling, pool);
        let rows = guarded(|| self.runner.vectors(&step, pooling, pool.len()));
        for sequence in step.sequences {
            sequence.blocks.into_iter().for_each(|block| pool.release(block));
        }
        match rows {
            Ok(rows) => self.publish_embeddings(inputs, rows, pooling),
            Err(error) => inputs.into_iter().for_each(|input| self.end_with_error(input.id, &error.to_string())),
        }
    }

    /// `rows` has one row for each of `inputs`, or one for each of their tokens.
    fn publish_embeddings(&mut self, inputs: Vec<Input>, rows: Vec<Vec<f32>>, pooling: Pooling) {
        let mut rows = rows.into_iter();
        for input in inputs {
            let n = if matches!(pooling, Pooling::None | Pooling::Mean) { input.tokens.len() } else { 1 };
            let own = rows.by_ref().take(n).collect();
            match embedding::pool(own, pooling, &input) {
                Ok(vectors) => {
                    publish(&self.shared, input.id, None, Event::Embedding(vectors));
                    self.forget(input.id);
                }
                Err(error) => self.end_with_error(input.id, &error.to_string()),
            }
        }
    }

    fn count(&self, take: impl FnOnce(&mut Stats)) {
        count(&self.shared, take);
    }

    /// Counts a step that was computed.
    fn count_step(&self, plan: &StepPlan) {
        if plan.chunks.is_empty() {
            return;
        }
        let lengths =
            plan.chunks.iter().filter_map(|chunk| self.scheduler.sequence(chunk.slot)).map(|s| s.tokens.len());
        let longest = lengths.max().unwrap_or(0) as u64;
        let pool = self.scheduler.pool();
        self.count(|stats| {
            stats.steps += 1;
            stats.step_slots += plan.chunks.len() as u64;
            stats.max_tokens = stats.max_tokens.max(longest);
            stats.preemptions = self.scheduler.n_preempted();
            stats.blocks = pool.capacity();
        });
    }

    fn publish_slots(&mut self) {
        self.count(|stats| stats.blocks_used = self.scheduler.pool().in_use());
        let mut slots = self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, state) in slots.iter_mut().enumerate().take(self.limits.n_slots) {
            *state = match self.scheduler.sequence(id) {
                None => SlotState { id, ..SlotState::default() },
                Some(sequence) => SlotState {
                    id,
                    request: Some(sequence.id.request),
                    n_tokens: sequence.n_taken(),
                    n_cached: sequence.n_cached,
                    n_processed: sequence.n_processed(),
                    n_decoded: sequence.n_generated(),
                    has_new_line: self.generations.get_mut(&sequence.id).map(own).is_some_and(|own| own.has_new_line()),
                },
            };
        }
    }

    /// Ends everything that waits or runs.
    pub fn fail_all(&mut self, reason: &str) {
        let ids: Vec<SequenceId> = self.generations.keys().copied().collect();
        let ids = ids.into_iter().chain(self.embeddings.clear());
        ids.for_each(|id| self.end_with_error(id, reason));
    }

    /// Answers a command that came too late.
    pub fn refuse(&mut self, command: Command) {
        match command {
            Command::Submit { id, request, .. } => {
                for choice in 0..request.params.n {
                    self.end_with_error(SequenceId { request: id, choice }, &Error::Closed.to_string());
                }
            }
            Command::Embed { id, request, .. } => {
                for choice in 0..request.inputs.len() {
                    self.end_with_error(SequenceId { request: id, choice }, &Error::Closed.to_string());
                }
            }
            Command::Score { reply, .. } | Command::Logits { reply, .. } => drop(reply.send(Err(Error::Closed))),
            Command::Bench { reply, .. } => drop(reply.send(Err(Error::Closed))),
            Command::EndThought { reply, .. } => drop(reply.send(Err(Error::Closed))),
            // Work that is dropped takes the sender of its answer along.
            Command::Abort(_) | Command::Cache { .. } | Command::Shutdown => {}
        }
    }
}

pub(super) fn publish(shared: &Shared, id: SequenceId, slot: Option<usize>, event: Event) {
    shared.outputs.push(Output { request: id.request, choice: id.choice, slot, event });
}

/// Takes something into the counts; the lock is free but while someone reads them.
pub(super) fn count(shared: &Shared, take: impl FnOnce(&mut Stats)) {
    take(&mut shared.stats.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Runs `work`; a panic in it becomes an error of the one request or step that it served.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Error::Internal(text.unwrap_or("a panic without a message").to_owned()))
    })
}
