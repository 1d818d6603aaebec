//! The promise that a request's logits have the same bits alone, in a batch, in chunks of any
//! size and on cached blocks.

#[allow(dead_code)] // other tests use the rest of it
mod support;

use rustllm::config::CacheType;

#[test]
fn f32_weights() {
    // Longer than a partition of attention's keys.
    support::check_invariance(&support::stories(), CacheType::F32, 300);
    support::check_invariance(&support::stories(), CacheType::F16, 300);
}

#[test]
fn quantized_weights() {
    let path = support::smollm2();
    support::check_invariance(&path, CacheType::F16, 75);
    support::check_invariance(&path, CacheType::Q8_0, 75);
}

#[test]
fn the_story_model_tells_its_story() {
    // "Once upon a time" as the model's own tokens, continued greedily.
    let mut bench = support::Bench::open(&support::stories(), CacheType::F32);
    let mut tokens = vec![1, 403, 407, 261, 378];
    for _ in 0..29 {
        let logits = bench.logits(&tokens, 64);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("logits");
        tokens.push(best as u32);
    }
    let file = rustllm::gguf::GgufFile::open(support::stories()).expect("the model opens");
    let pieces = file.metadata().strings("tokenizer.ggml.tokens").expect("strings").expect("tokens");
    let text: String = tokens[1..].iter().map(|token| pieces[*token as usize].replace('▁', " ")).collect();
    assert_eq!(
        text,
        " Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day"
    );
}
