//! What goes between the engine's thread and everyone else.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use super::bench::{BenchRun, BenchTest, Cost};
use super::embedding::EmbeddingRequest;
use super::origin::Origin;
use super::output_queue::OutputQueue;
use super::scheduler::Scheduler;
use super::stats::Stats;
use crate::config::{Adapters, SamplingParams};
use crate::error::Result;
use crate::grammar::{CompiledGrammar, Watch};
use crate::kv_cache::KvStore;

/// A request as the engine takes it.
pub struct Request {
    pub prompt: Vec<u32>,
    pub params: SamplingParams,
    pub grammar: Option<Arc<CompiledGrammar>>,
    /// Thoughts, and the place where the grammar starts if it is not the start.
    pub watch: Option<Arc<Watch>>,
    /// Whether each choice's tokens are wanted together, once it has ended: that wakes nobody before.
    pub whole: bool,
}

/// What a slot is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotState {
    pub id: usize,
    /// The request that it runs, if any.
    pub request: Option<u64>,
    /// Tokens of prompt and answer that it has taken in.
    pub n_tokens: usize,
    /// Prompt tokens that came from the cache.
    pub n_cached: usize,
    /// Prompt tokens computed so far.
    pub n_processed: usize,
    pub n_decoded: usize,
    /// Whether its answer has a line break.
    pub has_new_line: bool,
}

/// Between the engine thread and everyone else.
pub(super) struct Shared {
    pub outputs: OutputQueue,
    /// Sequences submitted and not ended.
    pub in_flight: AtomicUsize,
    /// Whether commands are taken.
    pub alive: RwLock<bool>,
    pub slots: Mutex<Vec<SlotState>>,
    pub stats: Mutex<Stats>,
}

/// Work on the cache that is done on the engine's thread, between two steps.
pub(super) type CacheWork = Box<dyn FnOnce(&mut Scheduler, &mut KvStore) + Send>;

/// What the engine thread is told.
pub(super) enum Command {
    Submit {
        id: u64,
        request: Box<Request>,
        origin: Origin,
        arrived: Instant,
    },
    Embed {
        id: u64,
        request: Box<EmbeddingRequest>,
        adapters: Adapters,
    },
    Abort(u64),
    /// Closes the thoughts of a request; whether it was writing any.
    EndThought {
        request: u64,
        reply: Sender<Result<bool>>,
    },
    /// Log probabilities of tokens[first..], or (with `first` at the end) the last logits.
    Score {
        tokens: Vec<u32>,
        first: usize,
        reply: Sender<Result<Vec<f32>>>,
    },
    Logits {
        tokens: Vec<u32>,
        reply: Sender<Result<Vec<f32>>>,
    },
    /// Work on the cache, once `slot`, if one is named, is free.
    Cache {
        slot: Option<usize>,
        work: CacheWork,
    },
    /// Measures forward passes; what runs meanwhile waits.
    Bench {
        test: BenchTest,
        cost: Cost,
        reply: Sender<Result<BenchRun>>,
    },
    Shutdown,
}
