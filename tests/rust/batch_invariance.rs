//! The promise that a request's logits have the same bits alone, in a batch, in chunks of any
//! size and on cached blocks.

mod support;

use std::path::Path;

use rustllm::config::CacheType;
use support::{Bench, Seq, assert_same_bits};

fn prompt(seed: u32, len: usize, n_vocab: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % n_vocab as u32
    };
    (0..len).map(|_| next()).collect()
}

fn check(path: &Path, cache: CacheType, len: usize) {
    let mut bench = Bench::open(path, cache);
    let n_vocab = bench.model.info().n_vocab;
    let tokens = prompt(1, len, n_vocab);
    let alone = bench.logits(&tokens, 512);
    assert!(alone.iter().all(|x| x.is_finite()));
    assert!(alone.iter().any(|x| *x != alone[0]), "logits differ between tokens");

    for chunk in [1, 7, 32] {
        let chunked = bench.logits(&tokens, chunk);
        assert_same_bits(&chunked, &alone, &format!("chunks of {chunk}"));
    }

    // In a batch of 8, each at another place and at another pace.
    let others: Vec<Vec<u32>> = (2..9).map(|seed| prompt(seed, 20 + 9 * seed as usize, n_vocab)).collect();
    let mut seqs: Vec<Seq> = others.iter().map(|tokens| bench.sequence(tokens)).collect();
    seqs.insert(3, bench.sequence(&tokens));
    let mut last = Vec::new();
    while seqs[3].n_past < len {
        let part = |seq: &Seq| (seq.tokens.len() - seq.n_past).min(11);
        let mut parts: Vec<(&mut Seq, usize)> = seqs
            .iter_mut()
            .map(|seq| {
                let n = part(seq);
                (seq, n)
            })
            .filter(|(_, n)| *n > 0)
            .collect();
        let at = parts.iter().position(|(seq, _)| seq.tokens == tokens).expect("it is still running");
        last = bench.step(&mut parts).swap_remove(at);
    }
    assert_same_bits(&last, &alone, "in a batch of 8");

    // On blocks of another sequence: whole ones shared, the last one copied in part.
    let mut first = bench.sequence(&tokens);
    bench.step(&mut [(&mut first, len)]);
    let mut second = bench.sequence(&tokens);
    let shared = (len - 1) / 32;
    let rest = len - 1 - shared * 32;
    bench.store.copy_prefix(first.blocks[shared], second.blocks[shared], rest);
    second.blocks[..shared].copy_from_slice(&first.blocks[..shared]);
    second.n_past = len - 1;
    let cached = bench.step(&mut [(&mut second, 1)]).remove(0);
    assert_same_bits(&cached, &alone, "on cached blocks");
}

#[test]
fn f32_weights() {
    // Longer than a partition of attention's keys.
    check(&support::stories(), CacheType::F32, 300);
    check(&support::stories(), CacheType::F16, 300);
}

#[test]
fn quantized_weights() {
    let path = support::smollm2();
    check(&path, CacheType::F16, 75);
    check(&path, CacheType::Q8_0, 75);
}

#[test]
fn the_story_model_tells_its_story() {
    // "Once upon a time" as the model's own tokens, continued greedily.
    let mut bench = Bench::open(&support::stories(), CacheType::F32);
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
