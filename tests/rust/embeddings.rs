//! The promise that a text's embedding has the same bits alone and in any company, and what the engine
//! makes of requests for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustllm::config::{EngineConfig, Normalize, Pooling};
use rustllm::engine::{EmbeddingRequest, Engine, Event};
use rustllm::error::Error;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert").join(name)
}

/// The decoder that comes with the package.
fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python/rustllm/models/stories260K.gguf")
}

fn minilm() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".models/all-MiniLM-L6-v2.F16.gguf");
    assert!(path.exists(), "{} is missing: `make models` fetches it", path.display());
    path
}

fn engine(path: &Path, change: impl FnOnce(&mut EngineConfig)) -> Engine {
    let mut config = EngineConfig { model: path.to_owned(), n_threads: 2, ..EngineConfig::default() };
    change(&mut config);
    Engine::load(&config, &mut |_| true).expect("the model loads")
}

fn request(inputs: Vec<Vec<u32>>) -> EmbeddingRequest {
    EmbeddingRequest { inputs, normalize: Normalize::default(), dimensions: None, lora: Vec::new() }
}

/// The vectors of each of `n` inputs of a request.
fn vectors(engine: &Engine, id: u64, n: usize) -> Vec<Vec<Vec<f32>>> {
    let mut found = HashMap::new();
    while found.len() < n {
        std::thread::yield_now();
        for output in engine.drain() {
            assert_eq!(output.request, id);
            match output.event {
                Event::Embedding(vectors) => assert!(found.insert(output.choice, vectors).is_none()),
                other => panic!("{other:?}"),
            }
        }
    }
    (0..n).map(|index| found.remove(&index).expect("each input is answered once")).collect()
}

fn embed(engine: &Engine, inputs: Vec<Vec<u32>>) -> Vec<Vec<Vec<f32>>> {
    let n = inputs.len();
    let id = engine.embed(request(inputs)).expect("it is accepted");
    vectors(engine, id, n)
}

/// Texts of many lengths: less than a block, whole blocks, more than a partition of attention's keys.
fn inputs(n_vocab: usize) -> Vec<Vec<u32>> {
    let lens = [3usize, 32, 1, 300, 64, 17, 5, 256, 33, 2, 2, 120];
    lens.iter()
        .enumerate()
        .map(|(i, len)| (0..*len).map(|j| ((i * 131 + j * 7919) % n_vocab) as u32).collect())
        .collect()
}

fn check(path: &Path, pooling: Option<Pooling>) {
    let engine = engine(path, |config| config.pooling = pooling);
    let inputs = inputs(engine.info().n_vocab);
    let together = embed(&engine, inputs.clone());
    for (index, input) in inputs.iter().enumerate() {
        let alone = embed(&engine, vec![input.clone()]).remove(0);
        assert_eq!(alone.len(), if engine.pooling() == Pooling::None { input.len() } else { 1 });
        for (alone, together) in alone.iter().zip(&together[index]) {
            let bits = |vector: &[f32]| vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(together), bits(alone), "input {index} of {}", path.display());
        }
    }
    assert!(together[0] != together[1], "vectors differ between texts");
    let mut reversed = embed(&engine, inputs.into_iter().rev().collect());
    reversed.reverse();
    assert!(reversed == together, "the order of a request does not matter");
}

#[test]
fn encoders_give_the_same_bits_in_any_company() {
    for pooling in [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last] {
        check(&data("cls.gguf"), Some(pooling));
        check(&data("rank.gguf"), Some(pooling));
    }
    check(&data("rank.gguf"), None);
    check(&minilm(), None);
}

#[test]
fn decoders_give_embeddings_too() {
    for pooling in [Pooling::None, Pooling::Mean, Pooling::Last] {
        check(&stories(), Some(pooling));
    }
}

#[test]
fn threads_do_not_matter() {
    let one = engine(&data("cls.gguf"), |config| config.n_threads = 1);
    let many = engine(&data("cls.gguf"), |config| config.n_threads = 3);
    let inputs = inputs(one.info().n_vocab);
    assert!(embed(&one, inputs.clone()) == embed(&many, inputs));
}

#[test]
fn vectors_are_normalized_and_cut_as_asked() {
    let engine = engine(&data("cls.gguf"), |_| ());
    let ask = |normalize: i64, dimensions| {
        let normalize = Normalize::new(normalize, "n").expect("it is allowed");
        let request = EmbeddingRequest { normalize, dimensions, ..request(vec![vec![2, 7, 3]]) };
        let id = engine.embed(request).expect("it is accepted");
        vectors(&engine, id, 1).remove(0).remove(0)
    };
    let raw = ask(-1, None);
    let norm = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(norm(&raw) > 2.0);
    assert!((norm(&ask(2, None)) - 1.0).abs() < 1e-6);
    let cut = ask(2, Some(10));
    assert_eq!(cut.len(), 10);
    let norm = norm(&raw[..10]);
    for (cut, raw) in cut.iter().zip(&raw) {
        assert!((cut - raw / norm).abs() < 1e-6);
    }
}

fn refusal<T>(result: Result<T, Error>) -> String {
    result.err().expect("it is refused").to_string()
}

#[test]
fn what_cannot_be_embedded_is_refused_by_name() {
    let engine = engine(&data("cls.gguf"), |config| config.n_batch = 100);
    let n_ctx = engine.n_ctx();
    assert_eq!((n_ctx, engine.max_embedding_tokens()), (320, 100));
    let ask = |inputs| refusal(engine.embed(request(inputs)));
    assert_eq!(ask(vec![]), "input: it is empty; at least one text is needed");
    assert_eq!(ask(vec![vec![1], vec![]]), "input[1]: it is empty; at least one token is needed");
    assert!(ask(vec![vec![1], vec![99]]).starts_with("input[1]: token id 99 is out of range; allowed: 0 to "));
    assert_eq!(
        ask(vec![vec![1; 101]]),
        "input[0]: it has 101 tokens, which are computed at once; allowed: up to 100 (-b)"
    );
    assert!(ask(vec![vec![1; 321]]).contains("the prompt has 321 tokens, the context 320"));
    for dimensions in [0, -1, 65, i64::MAX] {
        let request = EmbeddingRequest { dimensions: Some(dimensions), ..request(vec![vec![1]]) };
        let want = format!("dimensions: {dimensions} is out of range; allowed: 1 to 64");
        assert_eq!(refusal(engine.embed(request)), want);
    }
    let encoder = "bert is an encoder: it gives embeddings, it cannot continue a text";
    assert_eq!(refusal(engine.logits(vec![1])), encoder);
    assert_eq!(refusal(engine.score(vec![1, 2], 1)), encoder);
}

#[test]
fn the_context_of_an_encoder_ends_with_its_positions() {
    let engine = engine(&data("cls.gguf"), |config| config.n_ctx = 4096);
    assert_eq!(engine.n_ctx(), 320);
    assert_eq!(embed(&engine, vec![vec![1; 320]]).len(), 1);
    assert!(refusal(engine.embed(request(vec![vec![1; 321]]))).contains("the context 320"));
}

#[test]
fn rank_pooling_needs_a_head() {
    let config = EngineConfig { model: stories(), pooling: Some(Pooling::Rank), ..EngineConfig::default() };
    let message = refusal(Engine::load(&config, &mut |_| true));
    assert!(message.starts_with("pooling: rank needs a model with a classification head"), "{message}");
}

#[test]
fn an_abort_ends_a_long_request_and_the_queue_is_bounded() {
    let engine = engine(&data("cls.gguf"), |config| config.max_queue = 10);
    let long = engine.embed(request(vec![vec![5; 300]; 2000])).expect("a queue with room takes it whole");
    let refused = engine.embed(request(vec![vec![1]]));
    assert!(matches!(refused, Err(Error::QueueFull { .. })), "{refused:?}");
    engine.abort(long);
    // The abort is handled before the next request that gets in.
    let next = loop {
        match engine.embed(request(vec![vec![2, 9, 3]])) {
            Ok(id) => break id,
            Err(Error::QueueFull { .. }) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    };
    let mut answered = 0;
    loop {
        let outputs = engine.drain();
        answered += outputs.iter().filter(|output| output.request == long).count();
        if outputs.iter().any(|output| output.request == next) {
            break;
        }
        std::thread::yield_now();
    }
    assert!(answered < 2000, "the rest was dropped");
    assert_eq!(engine.queue_length(), 0);
}

#[test]
fn a_shutdown_answers_everyone() {
    let engine = engine(&data("cls.gguf"), |_| ());
    let id = engine.embed(request(vec![vec![5; 300]; 300])).expect("it is accepted");
    engine.shutdown();
    let outputs = engine.drain();
    assert_eq!(outputs.len(), 300);
    assert!(outputs.iter().all(|output| output.request == id));
    assert!(outputs.iter().any(|output| matches!(&output.event, Event::Error(why) if why.contains("shut down"))));
}

#[test]
fn pairs_are_put_together_as_the_file_says() {
    let engine = engine(&data("rank.gguf"), |_| ());
    let tokenizer = engine.tokenizer();
    let (the, cat) = (tokenizer.encode("the", false, false), tokenizer.encode("cat", false, false));
    assert_eq!(tokenizer.encode_pair("the", "cat"), [&[2][..], &the[..], &[3], &cat[..], &[3]].concat());
    assert_eq!(
        tokenizer.encode_pair("[SEP]", ""),
        [&[2][..], &tokenizer.encode("[SEP]", false, false), &[3, 3]].concat()
    );
    assert!(!tokenizer.encode_pair("[SEP]", "")[1..3].contains(&3), "texts cannot end their part");
}
