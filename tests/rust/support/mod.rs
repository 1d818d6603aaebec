//! Models and sequences for the integration tests.

use std::path::{Path, PathBuf};

use rustllm::config::{Adapters, CacheType, EngineConfig};
use rustllm::gguf::GgufFile;
use rustllm::kv_cache::{BLOCK_TOKENS, KvStore};
use rustllm::models::{self, Model, SequenceRows, StepInput};

/// The model that comes with the package.
pub fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python/rustllm/models/stories260K.gguf")
}

/// SmolLM2, where `make models` has put it.
pub fn smollm2() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is missing: `make models` fetches it", path.display());
    path
}

/// A model with its cache, driven step by step.
pub struct Bench {
    pub model: Box<dyn Model>,
    pub store: KvStore,
    next_block: u32,
}

/// A sequence of a [`Bench`].
pub struct Seq {
    pub tokens: Vec<u32>,
    pub n_past: usize,
    pub blocks: Vec<u32>,
    pub adapters: Adapters,
}

impl Bench {
    pub fn open(path: &Path, cache: CacheType) -> Self {
        Self::open_with(path, cache, Vec::new())
    }

    /// With LoRA adapters.
    pub fn open_with(path: &Path, cache: CacheType, lora: Vec<PathBuf>) -> Self {
        Self::open_as(path, cache, &EngineConfig { lora, ..EngineConfig::default() })
    }

    /// With the settings of an engine.
    pub fn open_as(path: &Path, cache: CacheType, config: &EngineConfig) -> Self {
        let config = EngineConfig { model: path.to_owned(), ..config.clone() };
        let file = GgufFile::open(path).expect("the model opens");
        let model = models::load(&file, &config, &mut |_| true).expect("the model loads");
        let store = KvStore::new(model.info(), cache, cache).expect("the cache fits");
        Self { model, store, next_block: 0 }
    }

    pub fn sequence(&mut self, tokens: &[u32]) -> Seq {
        self.sequence_with(tokens, &Adapters::default())
    }

    pub fn sequence_with(&mut self, tokens: &[u32], adapters: &Adapters) -> Seq {
        // Blocks in descending order, so that nothing depends on their being adjacent.
        let n = tokens.len().div_ceil(BLOCK_TOKENS) as u32;
        let blocks = (self.next_block..self.next_block + n).rev().collect();
        self.next_block += n;
        self.store.reserve(self.next_block as usize).expect("the cache grows");
        Seq { tokens: tokens.to_vec(), n_past: 0, blocks, adapters: adapters.clone() }
    }

    /// Runs the next `n` tokens of each sequence in one step; the last row's logits of each.
    pub fn step(&mut self, parts: &mut [(&mut Seq, usize)]) -> Vec<Vec<f32>> {
        let mut step = StepInput::default();
        for (seq, n) in parts.iter() {
            let row = step.tokens.len();
            step.tokens.extend_from_slice(&seq.tokens[seq.n_past..seq.n_past + n]);
            step.sequences.push(SequenceRows { row, n_tokens: *n, n_past: seq.n_past, blocks: seq.blocks.clone() });
            step.outputs.push(row + n - 1);
            step.adapt_last(*n, &seq.adapters);
        }
        let logits = self.model.forward(&step, &mut self.store).expect("the step runs");
        parts.iter_mut().for_each(|(seq, n)| seq.n_past += *n);
        logits.to_vec2().expect("logits are rows of f32")
    }

    /// The logits after all of `tokens`, computed alone in chunks of `chunk`.
    pub fn logits(&mut self, tokens: &[u32], chunk: usize) -> Vec<f32> {
        self.logits_with(tokens, chunk, &Adapters::default())
    }

    pub fn logits_with(&mut self, tokens: &[u32], chunk: usize, adapters: &Adapters) -> Vec<f32> {
        let mut seq = self.sequence_with(tokens, adapters);
        let mut last = Vec::new();
        while seq.n_past < tokens.len() {
            let n = chunk.min(tokens.len() - seq.n_past);
            last = self.step(&mut [(&mut seq, n)]).remove(0);
        }
        last
    }
}

/// Equality to the bit, with the first difference in the message.
pub fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    if let Some(i) = (0..got.len()).find(|i| got[*i].to_bits() != want[*i].to_bits()) {
        panic!("{what}: logit {i} is {} instead of {}", got[i], want[i]);
    }
}

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

/// The promise that a request's logits have the same bits alone, in a batch, in chunks of any size and on
/// cached blocks.
pub fn check_invariance(path: &Path, cache: CacheType, len: usize) {
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
