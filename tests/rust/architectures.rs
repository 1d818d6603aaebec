//! A small decoder of each family against llama-server, and the promise of equal bits for what the embedded
//! model does not have: windows, normalized heads and outputs, fused matrices, biases.

#[allow(dead_code)] // other tests use the rest of it
mod support;

use std::path::{Path, PathBuf};

use rustllm::config::{CacheType, EngineConfig};
use rustllm::gguf::GgufFile;
use rustllm::models;
use serde_json::Value;
use support::Bench;

/// An answer of llama-server with the log probabilities of all tokens before each of its tokens.
struct Recorded {
    model: String,
    context: usize,
    prompt: Vec<u32>,
    answer: Vec<u32>,
    logprobs: Vec<Vec<f32>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/architectures")
}

fn recorded() -> Vec<Recorded> {
    let text = std::fs::read_to_string(folder().join("recorded.json")).expect("the recorded answers are there");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("they are a list");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let tokens = |value: &Value| list(value).iter().map(|token| token.as_u64().expect("a token") as u32).collect();
    let floats = |value: &Value| list(value).iter().map(|x| x.as_f64().expect("a number") as f32).collect();
    let read = |entry: &Value| Recorded {
        model: entry["model"].as_str().expect("a name").into(),
        context: entry["context"].as_u64().expect("a size") as usize,
        prompt: tokens(&entry["prompt"]),
        answer: tokens(&entry["answer"]),
        logprobs: list(&entry["logprobs"]).iter().map(floats).collect(),
    };
    entries.iter().map(read).collect()
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
    logits.iter().map(|x| x - largest - sum.ln() as f32).collect()
}

/// The largest difference to what llama-server has said, over all tokens after every position of its answer.
fn distance(recorded: &Recorded) -> f32 {
    let config = EngineConfig { n_ctx: recorded.context, ..EngineConfig::default() };
    let mut bench = Bench::open_as(&folder().join(&recorded.model), CacheType::F32, &config);
    let mut tokens = recorded.prompt.clone();
    let mut largest = 0.0f32;
    for (token, logprobs) in recorded.answer.iter().zip(&recorded.logprobs) {
        let found = log_softmax(&bench.logits(&tokens, 512));
        assert_eq!(found.len(), logprobs.len());
        largest = found.iter().zip(logprobs).map(|(a, b)| (a - b).abs()).fold(largest, f32::max);
        tokens.push(*token);
    }
    largest
}

#[test]
fn every_family_agrees_with_the_peer() {
    let recorded = recorded();
    for family in models::architectures().filter(|family| *family != "bert") {
        assert!(recorded.iter().any(|r| r.model == format!("{family}.gguf")), "{family} is recorded");
    }
    for recorded in &recorded {
        assert!(recorded.answer.len() >= 8, "{}", recorded.model);
        let found = distance(recorded);
        println!("{} at {}: {found:.1e}", recorded.model, recorded.context);
        assert!(found < 1e-3, "{} at {}: log probabilities differ by {found}", recorded.model, recorded.context);
    }
}

#[test]
fn bits_are_the_same_alone_in_a_batch_in_chunks_and_cached() {
    for model in ["qwen2", "qwen3", "gemma3", "phi3"] {
        let path = folder().join(format!("{model}.gguf"));
        support::check_invariance(&path, CacheType::F32, 300);
        support::check_invariance(&path, CacheType::F16, 75);
    }
}

#[test]
fn an_unknown_architecture_is_refused_with_the_known_ones() {
    let bytes = std::fs::read(folder().join("llama.gguf")).expect("the model is there");
    let at = bytes.windows(5).position(|window| window == b"llama").expect("the architecture comes first");
    let path = std::env::temp_dir().join(format!("rustllm-{}-mamba.gguf", std::process::id()));
    std::fs::write(&path, [&bytes[..at], b"mamba", &bytes[at + 5..]].concat()).expect("the file is written");
    let file = GgufFile::open(&path).expect("it opens");
    let error = models::load(&file, &EngineConfig::default(), &mut |_| true).err().expect("it is refused").to_string();
    std::fs::remove_file(&path).expect("it is removed");
    let says = "general.architecture: \"mamba\" is not supported; supported: llama, qwen2, qwen3, gemma3, phi3, bert";
    assert!(error.contains(says), "{error}");
}
