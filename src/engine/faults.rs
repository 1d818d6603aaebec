//! Faults of a model: a thread of the pool that panics in the middle of a step ends the sequences of that step,
//! logits that are no numbers end their own; those that come after get what they always get. And an engine that ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::{Engine, Event, Request};
use crate::config::{EngineConfig, SamplingParams};
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::kv_cache::KvStore;
use crate::layers::{Compute, visit_rows};
use crate::models::{self, Model, ModelInfo, StepInput};
use crate::tokenizer::Tokenizer;

#[derive(Clone, Copy)]
enum Fault {
    /// A worker panics.
    Panic,
    /// The first row of logits is NaN.
    Nan,
}

/// A model with a fault in the pass that is counted down to.
struct Faulty {
    model: Box<dyn Model>,
    fault: Fault,
    passes_left: Arc<AtomicUsize>,
}

impl Model for Faulty {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn compute(&self) -> &Compute {
        self.model.compute()
    }

    fn forward(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        // What a pass has written before it fails must do no harm.
        let logits = self.model.forward(step, cache)?;
        if self.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            match self.fault {
                Fault::Panic => self.compute().pool.run(64, &|piece| assert!(piece != 40, "a fault in a piece")),
                Fault::Nan => visit_rows(&logits, |row, logits| {
                    if row == 0 {
                        logits[7] = f32::NAN;
                    }
                })?,
            }
        }
        Ok(logits)
    }

    fn hidden(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        self.model.hidden(step, cache)
    }
}

fn faulty_engine(fault: Fault) -> (Engine, Arc<AtomicUsize>) {
    let config = EngineConfig {
        model: concat!(env!("CARGO_MANIFEST_DIR"), "/python/rustllm/models/stories260K.gguf").into(),
        n_parallel: Some(2),
        n_threads: 3,
        ..EngineConfig::default()
    };
    let file = GgufFile::open(&config.model).expect("it is there");
    let tokenizer = Arc::new(Tokenizer::from_gguf(file.metadata()).expect("it has a vocabulary"));
    let model = models::load(&file, &config, &mut |_| true).expect("it loads");
    let passes_left = Arc::new(AtomicUsize::new(usize::MAX));
    let model = Box::new(Faulty { model, fault, passes_left: Arc::clone(&passes_left) });
    (Engine::start(&config, file, tokenizer, model).expect("it starts"), passes_left)
}

fn submit(engine: &Engine) -> u64 {
    let params = SamplingParams { n_predict: 20, temperature: 0.0, ignore_eos: true, ..SamplingParams::default() };
    let prompt = (0..30).map(|i| 3 + i * 7 % 500).collect();
    engine.submit(Request { prompt, params, grammar: None, watch: None, whole: false }).expect("it is accepted")
}

/// The tokens of each request and the error that ended it, if any.
fn answers(engine: &Engine, requests: &[u64]) -> Vec<(Vec<u32>, Option<String>)> {
    let mut answers = vec![(Vec::new(), None); requests.len()];
    let mut ended = 0;
    while ended < requests.len() {
        for output in engine.drain() {
            let at = requests.iter().position(|id| *id == output.request).expect("it is one of these");
            match output.event {
                Event::Tokens(reports) => answers[at].0.extend(reports.iter().map(|report| report.token)),
                Event::Done(_) => ended += 1,
                Event::Error(message) => {
                    answers[at].1 = Some(message);
                    ended += 1;
                }
                _ => {}
            }
        }
        std::thread::yield_now();
    }
    answers
}

#[test]
fn a_worker_that_panics_ends_the_requests_of_its_step() {
    let (engine, passes_left) = faulty_engine(Fault::Panic);
    let whole = answers(&engine, &[submit(&engine)]).remove(0);
    assert_eq!((whole.0.len(), &whole.1), (20, &None));
    for pass in 1..=30 {
        passes_left.store(pass, Ordering::Relaxed);
        let both = answers(&engine, &[submit(&engine), submit(&engine)]);
        let failed: Vec<_> = both.iter().filter(|(_, error)| error.is_some()).collect();
        // One alone may have ended before the pass that failed.
        assert!(!failed.is_empty() || pass > 20, "{pass}");
        for (tokens, error) in &both {
            assert!(error.as_ref().is_none_or(|error| error.contains("panicked")), "{error:?}");
            assert_eq!(tokens[..], whole.0[..tokens.len()]);
        }
        passes_left.store(usize::MAX, Ordering::Relaxed);
        assert_eq!(answers(&engine, &[submit(&engine)])[0], whole);
        // Slots are published after the outputs of a step, which were polled.
        let began = Instant::now();
        while engine.slots().iter().any(|slot| slot.request.is_some()) {
            assert!(began.elapsed() < Duration::from_secs(10), "a slot is still held");
            std::thread::yield_now();
        }
    }
}

#[test]
fn logits_that_are_no_numbers_end_their_own_request() {
    let (engine, passes_left) = faulty_engine(Fault::Nan);
    let whole = answers(&engine, &[submit(&engine)]).remove(0);
    for pass in 1..=15 {
        passes_left.store(pass, Ordering::Relaxed);
        let both = answers(&engine, &[submit(&engine), submit(&engine)]);
        let (failed, right): (Vec<_>, Vec<_>) = both.iter().partition(|(_, error)| error.is_some());
        assert_eq!((failed.len(), right.len()), (1, 1), "{pass}");
        assert!(failed[0].1.as_ref().is_some_and(|error| error.contains("NaN as the logit of token 7")), "{failed:?}");
        assert_eq!(failed[0].0[..], whole.0[..failed[0].0.len()]);
        assert_eq!(*right[0], whole);
        assert_eq!(answers(&engine, &[submit(&engine)])[0], whole);
    }
}

/// Whatever is sent while an engine ends is answered: with what it asked for, or with the error that it is too late.
#[test]
fn requests_at_the_end_are_answered() {
    for round in 0..20 {
        let (engine, _) = faulty_engine(Fault::Nan);
        let accepted = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..2).map(|_| scope.spawn(|| submit_until_closed(&engine))).collect();
            std::thread::sleep(Duration::from_micros(200 * round));
            engine.shutdown();
            clients.into_iter().flat_map(|client| client.join().expect("it ends")).collect::<Vec<_>>()
        });
        assert!(!engine.is_alive());
        let ended = answers(&engine, &accepted);
        assert!(ended.iter().all(|(tokens, error)| tokens.len() == 20 || error.is_some()), "{ended:?}");
    }
}

/// The requests that were taken.
fn submit_until_closed(engine: &Engine) -> Vec<u64> {
    let mut taken = Vec::new();
    loop {
        let params = SamplingParams { n_predict: 20, ignore_eos: true, ..SamplingParams::default() };
        match engine.submit(Request { prompt: vec![3, 4], params, grammar: None, watch: None, whole: false }) {
            Ok(id) => taken.push(id),
            Err(Error::QueueFull { .. }) => std::thread::yield_now(),
            Err(Error::Closed) => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}
