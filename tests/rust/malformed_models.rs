//! Broken model files: each is refused with an error that names the file, or runs; none panics.

use std::path::PathBuf;

use rustllm::config::{CacheType, EngineConfig};
use rustllm::gguf::GgufFile;
use rustllm::kv_cache::KvStore;
use rustllm::models::{self, SequenceRows, StepInput};
use rustllm::tokenizer::Tokenizer;

/// Where the tensors' data starts, about: everything before it is header.
const HEADER_BYTES: usize = 14_000;

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("rustllm-{}-{name}.gguf", std::process::id()))
}

/// Loads `bytes` as a model and, where it loads, runs a step. The error's text, if it is refused.
fn load(bytes: &[u8], name: &str) -> Option<String> {
    let path = scratch(name);
    std::fs::write(&path, bytes).expect("the scratch file is written");
    let outcome = (|| {
        let file = GgufFile::open(&path)?;
        Tokenizer::from_gguf(file.metadata())?;
        let config = EngineConfig { n_threads: 1, ..EngineConfig::default() };
        let mut model = models::load(&file, &config, &mut |_| true)?;
        let mut cache = KvStore::new(model.info(), CacheType::F16, CacheType::F16)?;
        cache.reserve(1)?;
        let sequences = vec![SequenceRows { row: 0, n_tokens: 1, n_past: 0, blocks: vec![0] }];
        model
            .forward(&StepInput { tokens: vec![0], sequences, outputs: vec![0], ..StepInput::default() }, &mut cache)?;
        Ok::<(), rustllm::Error>(())
    })();
    std::fs::remove_file(&path).expect("the scratch file is removed");
    outcome.err().map(|error| error.to_string())
}

fn model() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/python/rustllm/models/stories260K.gguf"))
        .expect("the embedded model is there")
}

fn random(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    }
}

#[test]
fn the_whole_file_loads() {
    assert_eq!(load(&model(), "whole"), None);
}

#[test]
fn every_truncation_is_refused_by_name() {
    let bytes = model();
    let ends = (0..HEADER_BYTES).step_by(37).chain((HEADER_BYTES..bytes.len()).step_by(9_973));
    for end in ends {
        let error = load(&bytes[..end], "cut").unwrap_or_else(|| panic!("{end} bytes load"));
        assert!(error.contains("rustllm-"), "{end}: {error}");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let bytes = model();
    let mut next = random(11);
    for _ in 0..500 {
        let mut broken = bytes.clone();
        for _ in 0..1 + next() % 3 {
            let at = next() % HEADER_BYTES;
            broken[at] = next() as u8;
        }
        load(&broken, "flip");
    }
}

#[test]
fn header_classes_are_named() {
    let bytes = model();
    let patched = |at: usize, patch: &[u8]| {
        let mut broken = bytes.clone();
        broken[at..at + patch.len()].copy_from_slice(patch);
        load(&broken, "class").expect("it is refused")
    };
    assert!(patched(0, b"GGML").contains("magic"));
    assert!(patched(4, &9u32.to_le_bytes()).contains("version: 9"));
    assert!(patched(4, &3u32.to_be_bytes()).contains("big-endian"));
    for count in [u64::from(u32::MAX), 1 << 63, u64::MAX] {
        assert!(patched(8, &count.to_le_bytes()).contains(&format!("tensor count: the count {count}")));
        assert!(patched(16, &count.to_le_bytes()).contains(&format!("metadata count: the count {count}")));
        assert!(patched(24, &count.to_le_bytes()).contains(&count.to_string()));
    }
    assert!(load(b"", "class").is_some());
}
