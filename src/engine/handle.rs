//! What other threads hold of the engine: submit, abort, drain.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use super::bench::{BenchRun, BenchTest, Cost};
use super::command::{CacheWork, Command, Request, Shared, SlotState};
use super::layout::Layout;
use super::origin::{Origin, Salts};
use super::output::Output;
use super::output_queue::OutputQueue;
use super::runner::Runner;
use super::scheduler::Scheduler;
use super::slot_file;
use super::stats::Stats;
use super::step::{EngineLoop, Limits};
use crate::config::{Adapters, CacheType, EngineConfig, Pooling};
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::grammar::GrammarCompiler;
use crate::kernels::{heap, memory};
use crate::kv_cache::{BLOCK_TOKENS, BlockPool, KvStore};
use crate::models::{self, Model, ModelInfo};
use crate::tokenizer::Tokenizer;

/// Text of which every token is counted, however few fit: it takes less than a tenth of a second.
const COUNTED_BYTES: usize = 1 << 20;

/// A loaded model with its running thread. All methods may be called from any thread.
pub struct Engine {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) next_id: AtomicU64,
    tokenizer: Arc<Tokenizer>,
    grammars: GrammarCompiler,
    file: GgufFile,
    info: ModelInfo,
    n_ctx: usize,
    n_ctx_wanted: usize,
    n_blocks: usize,
    n_slots: usize,
    pub(super) n_batch: usize,
    pooling: Pooling,
    max_in_flight: usize,
    cache_types: [CacheType; 2],
    block_bytes: usize,
    salts: Salts,
    fingerprint: OnceLock<u64>,
    adapter_fingerprints: OnceLock<Vec<u64>>,
}

impl Engine {
    /// Loads the model of `config` and starts the engine's thread. `progress` gets 0.0 to 1.0.
    pub fn load(config: &EngineConfig, progress: &mut dyn FnMut(f32) -> bool) -> Result<Self> {
        config.validate()?;
        let mut file = GgufFile::open(&config.model)?;
        let tokenizer = Arc::new(Tokenizer::from_gguf(file.metadata())?);
        file.forget_vocabulary();
        let model = models::load(&file, config, progress)?;
        Self::start(config, file, tokenizer, model)
    }

    /// Starts the thread of an engine for `model`, which is that of `file`.
    pub(super) fn start(
        config: &EngineConfig,
        file: GgufFile,
        tokenizer: Arc<Tokenizer>,
        model: Box<dyn Model>,
    ) -> Result<Self> {
        let info = model.info().clone();
        if info.n_vocab < tokenizer.vocab_size() {
            let message =
                format!("the model has {} rows, the vocabulary {} tokens", info.n_vocab, tokenizer.vocab_size());
            return Err(file.metadata().error("token_embd.weight", message));
        }
        let pooling = config.pooling.unwrap_or(info.pooling);
        if config.pooling == Some(Pooling::Rank) && info.n_classes == 0 {
            let message = "rank needs a model with a classification head (cls.output.weight); this one has none";
            return Err(Error::Config { field: "pooling", message: message.into() });
        }
        // An encoder's cache lives for one step, where f16 would save nothing.
        let types = if info.generates { [config.cache_type_k, config.cache_type_v] } else { [CacheType::F32; 2] };
        let store = KvStore::new(&info, types[0], types[1])?;
        let block_bytes = store.block_bytes();
        // What loading has freed is there for the cache.
        heap::release();
        let Layout { n_slots, n_ctx, n_ctx_wanted, n_blocks } =
            Layout::new(config, &info, block_bytes, memory::available())?;
        let pool = BlockPool::new(n_blocks, config.prefix_cache);
        let shared = Arc::new(Shared {
            outputs: OutputQueue::new()?,
            in_flight: AtomicUsize::new(0),
            alive: RwLock::new(true),
            slots: Mutex::new((0..n_slots).map(|id| SlotState { id, ..SlotState::default() }).collect()),
            stats: Mutex::new(Stats::default()),
        });
        let (commands, receiver) = channel();
        let engine_loop = EngineLoop::new(
            Arc::clone(&shared),
            Scheduler::new(n_slots, config.n_batch, pool),
            Runner { model, store },
            Arc::clone(&tokenizer),
            Limits { n_slots, n_ctx, n_batch: config.n_batch, pooling, context_shift: config.context_shift },
        );
        let grammars = GrammarCompiler::new(&tokenizer, config.max_mask_ms);
        heap::release();
        Ok(Self {
            thread: Mutex::new(Some(spawn(engine_loop, receiver, Arc::clone(&shared))?)),
            shared,
            commands,
            next_id: AtomicU64::new(1),
            grammars,
            tokenizer,
            file,
            info,
            n_ctx,
            n_ctx_wanted,
            n_blocks,
            n_slots,
            n_batch: config.n_batch,
            pooling,
            max_in_flight: config.max_queue.saturating_add(n_slots),
            cache_types: types,
            block_bytes,
            salts: Salts::default(),
            fingerprint: OnceLock::new(),
            adapter_fingerprints: OnceLock::new(),
        })
    }

    /// Queues a request and returns its id; its outputs arrive through [`Self::drain`].
    pub fn submit(&self, mut request: Request) -> Result<u64> {
        self.check_generates()?;
        request.params.validate()?;
        request.params.validate_for(self.info.n_vocab)?;
        let adapters = Adapters::new(&request.params.lora, self.info.adapters.len())?;
        let origin = Origin { adapters, salt: self.salt(&request.params.cache_salt) };
        request.watch.as_ref().map_or(Ok(()), |watch| watch.validate())?;
        self.check_prompt(&request.prompt)?;
        request.params.validate_for_prompt(request.prompt.len())?;
        if request.params.id_slot >= self.n_slots as i64 {
            let message =
                format!("{} is out of range; allowed: -1 (any) to {}", request.params.id_slot, self.n_slots - 1);
            return Err(Error::invalid("id_slot", message));
        }
        if request.params.seed == u32::MAX {
            request.params.seed = random_seed();
        }
        self.admit(request.params.n)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(Command::Submit { id, request: Box::new(request), origin, arrived: Instant::now() })?;
        Ok(id)
    }

    /// Frees the sequences of a request within one step. Unknown ids are ignored.
    pub fn abort(&self, request: u64) {
        // A closed engine has freed everything already.
        let _ = self.send(Command::Abort(request));
    }

    /// Has the thoughts closed that a request is writing; false where it writes none. Waits for the step
    /// that runs.
    pub fn end_thought(&self, request: u64) -> Result<bool> {
        self.ask(|reply| Command::EndThought { request, reply })
    }

    /// All waiting outputs, in order. Never blocks.
    #[must_use]
    pub fn drain(&self) -> Vec<Output> {
        self.drain_some(usize::MAX)
    }

    /// The next `most` waiting outputs, in order; where there are more, the descriptor stays readable. Never blocks.
    #[must_use]
    pub fn drain_some(&self, most: usize) -> Vec<Output> {
        self.shared.outputs.take(most)
    }

    /// A descriptor that is readable while outputs are waiting.
    #[must_use]
    pub fn fileno(&self) -> i32 {
        self.shared.outputs.fileno()
    }

    /// Log probabilities of `tokens[first..]`, each given all before it, in an independent sequence.
    pub fn score(&self, tokens: Vec<u32>, first: usize) -> Result<Vec<f32>> {
        self.check_generates()?;
        self.check_tokens("tokens", &tokens)?;
        if first == 0 || first > tokens.len() {
            return Err(Error::invalid("first", format!("{first} is out of range; allowed: 1 to {}", tokens.len())));
        }
        self.ask(|reply| Command::Score { tokens, first, reply })
    }

    /// The logits after the last of `tokens`.
    pub fn logits(&self, tokens: Vec<u32>) -> Result<Vec<f32>> {
        self.check_generates()?;
        self.check_tokens("tokens", &tokens)?;
        self.ask(|reply| Command::Logits { tokens, reply })
    }

    /// Measures `test` on the engine's thread.
    pub fn bench(&self, test: BenchTest) -> Result<BenchRun> {
        self.check_generates()?;
        test.validate(self.n_ctx.saturating_mul(self.n_slots))?;
        let cost = Cost::of(&self.file);
        self.ask(|reply| Command::Bench { test, cost, reply })
    }

    /// Each slot's state after the latest step.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotState> {
        self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sequences that wait for a slot.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        let running = self.slots().iter().filter(|slot| slot.request.is_some()).count();
        self.shared.in_flight.load(Ordering::Relaxed).saturating_sub(running)
    }

    /// False once the engine's thread has ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        *self.shared.alive.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread; what runs ends with an error. May be called more than once.
    pub fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread catches its own panics; there is nothing left to report here.
            let _ = thread.join();
            // Weights and cache went with it; a server that sleeps wants their memory back.
            heap::release();
        }
    }

    /// The model's tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Compiles grammars for this model's vocabulary.
    #[must_use]
    pub fn grammars(&self) -> &GrammarCompiler {
        &self.grammars
    }

    /// The model file.
    #[must_use]
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// Shapes and sizes of the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Context tokens of one slot.
    #[must_use]
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Context tokens of one slot that the settings ask for. There are fewer where memory is short.
    #[must_use]
    pub fn n_ctx_wanted(&self) -> usize {
        self.n_ctx_wanted
    }

    /// Tokens that the cache has room for, over all sequences and what is kept for reuse.
    #[must_use]
    pub fn n_cache_tokens(&self) -> usize {
        self.n_blocks.saturating_mul(BLOCK_TOKENS)
    }

    /// Number of slots.
    #[must_use]
    pub fn n_slots(&self) -> usize {
        self.n_slots
    }

    /// Refuses a prompt of these texts where it is certainly too long, before time and memory are
    /// spent on its tokens. Up to [`COUNTED_BYTES`], prompts are tokenized to tell their length.
    pub fn check_texts(&self, texts: &[&str]) -> Result<()> {
        if texts.iter().map(|text| text.len()).sum::<usize>() <= COUNTED_BYTES {
            return Ok(());
        }
        let n_prompt = texts.iter().map(|text| self.tokenizer.at_least(text)).sum();
        if n_prompt < self.n_ctx {
            return Ok(());
        }
        Err(Error::ContextExceeded { n_prompt, n_ctx: self.n_ctx, at_least: true })
    }

    /// How the vectors of a text become one.
    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    fn check_generates(&self) -> Result<()> {
        if self.info.generates {
            return Ok(());
        }
        let message =
            format!("{} is an encoder: it gives embeddings, it cannot continue a text", self.info.architecture);
        Err(Error::Unsupported(message))
    }

    fn check_prompt(&self, prompt: &[u32]) -> Result<()> {
        match self.check_tokens("prompt", prompt) {
            // One token of the context is for the answer.
            Ok(()) if prompt.len() >= self.n_ctx => {
                Err(Error::ContextExceeded { n_prompt: prompt.len(), n_ctx: self.n_ctx, at_least: false })
            }
            result => result,
        }
    }

    pub(super) fn check_tokens(&self, param: &str, tokens: &[u32]) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::invalid(param, "it is empty; at least one token is needed"));
        }
        if tokens.len() > self.n_ctx {
            return Err(Error::ContextExceeded { n_prompt: tokens.len(), n_ctx: self.n_ctx, at_least: false });
        }
        match tokens.iter().find(|token| **token as usize >= self.info.n_vocab) {
            Some(token) => Err(Error::invalid(
                param,
                format!("token id {token} is out of range; allowed: 0 to {}", self.info.n_vocab - 1),
            )),
            None => Ok(()),
        }
    }

    /// Counts `n` more sequences in, unless the queue is full.
    pub(super) fn admit(&self, n: usize) -> Result<()> {
        let cap = self.max_in_flight;
        let counted = self.shared.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            // A request of many choices is taken whole once there is any room.
            (now < cap).then_some(now + n)
        });
        match counted {
            Ok(_) => Ok(()),
            Err(now) => Err(Error::QueueFull { waiting: now.saturating_sub(self.n_slots), cap: cap - self.n_slots }),
        }
    }

    /// Does `work` on the engine's thread, between two steps; with a slot, once that is free.
    pub(super) fn on_cache<T: Send + 'static>(
        &self,
        slot: Option<usize>,
        work: impl FnOnce(&mut Scheduler, &mut KvStore) -> T + Send + 'static,
    ) -> Result<T> {
        // Whoever no longer waits for the answer needs none.
        let work = move |reply: Sender<Result<T>>| -> CacheWork {
            Box::new(move |scheduler, store| drop(reply.send(Ok(work(scheduler, store)))))
        };
        self.ask(|reply| Command::Cache { slot, work: work(reply) })
    }

    /// Types of keys and values, and bytes of a block over all layers.
    pub(super) fn cache_layout(&self) -> ([CacheType; 2], usize) {
        (self.cache_types, self.block_bytes)
    }

    /// The number of a salt in this engine.
    pub(super) fn salt(&self, salt: &str) -> u64 {
        self.salts.number(salt)
    }

    /// Tells this model from others.
    pub(super) fn fingerprint(&self) -> u64 {
        *self.fingerprint.get_or_init(|| slot_file::fingerprint(&self.file))
    }

    /// Tells each adapter from others.
    pub(super) fn adapter_fingerprints(&self) -> &[u64] {
        let all = || self.info.adapters.iter().map(|adapter| slot_file::fingerprint(&adapter.file)).collect();
        self.adapter_fingerprints.get_or_init(all)
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = channel();
        self.send(command(reply))?;
        answer.recv().map_err(|_| Error::Closed)?
    }

    pub(super) fn send(&self, command: Command) -> Result<()> {
        // Held until the command is in the queue, so that the thread's end finds all of them.
        let alive = self.shared.alive.read().unwrap_or_else(PoisonError::into_inner);
        if !*alive {
            return Err(Error::Closed);
        }
        self.commands.send(command).map_err(|_| Error::Closed)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn spawn(mut engine_loop: EngineLoop, receiver: Receiver<Command>, shared: Arc<Shared>) -> Result<JoinHandle<()>> {
    let body = move || {
        // Requests are guarded one by one inside; a panic that gets here is a fault of the loop
        // itself, after which nobody may wait for an answer.
        let outcome = catch_unwind(AssertUnwindSafe(|| engine_loop.run(&receiver)));
        *shared.alive.write().unwrap_or_else(PoisonError::into_inner) = false;
        let reason = if outcome.is_ok() { "the engine is shut down" } else { "the engine failed" };
        engine_loop.fail_all(reason);
        // Commands that were sent meanwhile would wait for ever; there are no later ones.
        for command in receiver.try_iter() {
            engine_loop.refuse(command);
        }
        shared.outputs.wake_anyway();
    };
    std::thread::Builder::new()
        .name("rustllm-engine".into())
        .spawn(body)
        .map_err(|error| Error::Internal(format!("cannot start the engine thread: {error}")))
}

/// A seed from the system's entropy, never the value that asks for one.
fn random_seed() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0u8) >> 32) as u32 % u32::MAX
}
