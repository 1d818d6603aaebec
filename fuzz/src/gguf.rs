//! Any bytes as a model file: refused with an error, or everything in it can be read, and a model
//! that loads can run a step.
use std::io::Write;

use rustllm::config::{CacheType, EngineConfig};
use rustllm::gguf::GgufFile;
use rustllm::kv_cache::KvStore;
use rustllm::models::{self, SequenceRows, StepInput};
use rustllm::tokenizer::Tokenizer;

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file");
    file.write_all(data).expect("the scratch file takes the bytes");
    let Ok(gguf) = GgufFile::open(file.path()) else { return };
    for tensor in gguf.tensors() {
        assert_eq!(gguf.dequantize(tensor).len(), tensor.n_elements());
    }
    let _ = Tokenizer::from_gguf(gguf.metadata());
    let config = EngineConfig { n_threads: 1, ..EngineConfig::default() };
    let Ok(mut model) = models::load(&gguf, &config, &mut |_| true) else { return };
    let Ok(mut cache) = KvStore::new(model.info(), CacheType::F16, CacheType::F16) else { return };
    if cache.block_bytes() > 1 << 20 || cache.reserve(1).is_err() {
        return;
    }
    let sequences = vec![SequenceRows { row: 0, n_tokens: 1, n_past: 0, blocks: vec![0] }];
    let step = StepInput { tokens: vec![0], sequences, outputs: vec![0], ..StepInput::default() };
    if model.info().generates {
        model.forward(&step, &mut cache).expect("a model that loads runs a step");
    }
    let vectors = model.hidden(&step, &mut cache).expect("a model that loads gives vectors");
    if model.info().n_classes > 0 {
        model.classify(&vectors).expect("a model with a head gives scores");
    }
}
