//! LoRA adapters: what they compute is what dense weights W + scale · alpha / rank · B A would, to the bit
//! whatever else runs, and files that do not fit are refused by name.

#[path = "support/model_file.rs"]
#[allow(dead_code)] // other tests use the rest of it
mod model_file;
#[allow(dead_code)] // as above
mod support;

use std::path::{Path, PathBuf};

use model_file::{ModelFile, Tensor, Value, text};
use rustllm::config::{Adapters, CacheType, EngineConfig, LoraScale};
use rustllm::gguf::GgufFile;
use rustllm::models::{self, Adapter};
use support::{Bench, Seq, assert_same_bits};

const PARTS: [&str; 8] = ["attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// A file that is gone with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("rustllm-{}-{name}.gguf", std::process::id()));
        std::fs::write(&path, bytes).expect("the scratch file is written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the scratch file is there");
    }
}

fn numbers(n: u64, seed: u64, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 2.0 * size
    };
    (0..n).map(|_| next()).collect()
}

fn floats(name: &str, dims: &[u64], values: &[f32]) -> Tensor {
    let data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Tensor { name: name.into(), dims: dims.into(), ty: 0, data, offset: None }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// An adapter with a pair for each of `targets`, tensors of a model with their shapes.
fn adapter(targets: &[(String, Vec<u64>)], rank: u64, alpha: Option<f32>, seed: u64) -> ModelFile {
    let mut keys = vec![
        ("general.type".to_owned(), text("adapter")),
        ("general.architecture".to_owned(), text("llama")),
        ("adapter.type".to_owned(), text("lora")),
    ];
    keys.extend(alpha.map(|alpha| ("adapter.lora.alpha".to_owned(), Value::F32(alpha))));
    let mut tensors = Vec::new();
    for (index, (name, dims)) in targets.iter().enumerate() {
        let (a, b) = match name.as_str() {
            "token_embd.weight" => ([rank, dims[1]], [rank, dims[0]]),
            _ => ([dims[0], rank], [rank, dims[1]]),
        };
        for (suffix, dims, more) in [("lora_a", a, 0), ("lora_b", b, 1)] {
            let values = numbers(dims[0] * dims[1], seed * 1000 + 2 * index as u64 + more, 0.3);
            tensors.push(floats(&format!("{name}.{suffix}"), &dims, &values));
        }
    }
    ModelFile { keys, tensors }
}

/// What `adapter` can change in `model`.
fn targets(model: &ModelFile) -> Vec<(String, Vec<u64>)> {
    let is_target = |name: &str| {
        ["token_embd.weight", "output.weight"].contains(&name)
            || PARTS.iter().any(|part| name == format!("blk.0.{part}.weight"))
    };
    let wanted = model.tensors.iter().filter(|tensor| is_target(&tensor.name));
    wanted.map(|tensor| (tensor.name.clone(), tensor.dims.clone())).collect()
}

/// A little model with weights of any size, and a head of its own.
fn little_llama() -> ModelFile {
    little(ModelFile::llama())
}

fn little(mut model: ModelFile) -> ModelFile {
    let head = model.tensor("token_embd.weight").dims.clone();
    model.tensors.push(floats("output.weight", &head, &[0.0; 8 * 32]));
    for (index, tensor) in model.tensors.iter_mut().enumerate() {
        let n = tensor.dims.iter().product();
        // Norms are around 1, so that what comes out of them is not small.
        let middle = if tensor.dims.len() == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> = numbers(n, 7 + index as u64, 0.4).into_iter().map(|x| middle + x).collect();
        *tensor = floats(&tensor.name, &tensor.dims, &values);
    }
    model
}

/// The model with the update of `adapter` added to its weights in f64.
fn merged(model: &ModelFile, adapter: &ModelFile, factor: f64) -> ModelFile {
    let mut out = model.clone();
    for pair in adapter.tensors.chunks_exact(2) {
        let name = pair[0].name.strip_suffix(".lora_a").expect("pairs are in order");
        let (a, b, rank) = (values(&pair[0]), values(&pair[1]), pair[1].dims[0] as usize);
        let tensor = out.tensor(name);
        let (k, mut weights) = (tensor.dims[0] as usize, values(tensor));
        for (at, weight) in weights.iter_mut().enumerate() {
            let (row, column) = (at / k, at % k);
            let product = |r: usize| match name {
                "token_embd.weight" => f64::from(b[column * rank + r]) * f64::from(a[row * rank + r]),
                _ => f64::from(b[row * rank + r]) * f64::from(a[r * k + column]),
            };
            *weight = (f64::from(*weight) + factor * (0..rank).map(product).sum::<f64>()) as f32;
        }
        *tensor = floats(name, &tensor.dims.clone(), &weights);
    }
    out
}

fn scales(pairs: &[(usize, f32)]) -> Adapters {
    let scales: Vec<LoraScale> = pairs.iter().map(|(id, scale)| LoraScale { id: *id as i64, scale: *scale }).collect();
    Adapters::new(&scales, 8).expect("scales in range")
}

fn bench(model: &Path, cache: CacheType, lora: &[&Scratch]) -> Bench {
    Bench::open_with(model, cache, lora.iter().map(|file| file.0.clone()).collect())
}

fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn assert_close(got: &[f32], want: &[f32], what: &str) {
    let size = want.iter().fold(1.0f32, |size, x| size.max(x.abs()));
    let difference = largest_difference(got, want);
    assert!(difference <= 2e-5 * size, "{what}: {difference} of {size}");
}

const TOKENS: [u32; 12] = [1, 3, 7, 4, 5, 6, 3, 2, 5, 5, 7, 3];

/// Each target by itself, so that none can hide behind another, then all together.
fn check_dense(family: &str, model: &ModelFile, n_targets: usize) {
    let file = Scratch::new(&format!("{family}-oracle"), &model.bytes());
    let base = bench(&file.0, CacheType::F32, &[]).logits(&TOKENS, 5);
    let all = targets(model);
    assert_eq!(all.len(), n_targets);
    let mut groups: Vec<Vec<(String, Vec<u64>)>> = all.iter().map(|target| vec![target.clone()]).collect();
    groups.push(all);
    for (index, group) in groups.iter().enumerate() {
        for (rank, alpha, scale, factor) in
            [(1, None, 1.0, 1.0), (4, Some(8.0), 0.5, 1.0), (5, Some(16.0), 1.0, 3.2), (20, Some(20.0), -0.5, -0.5)]
        {
            let what = format!("{family}: {} and others, rank {rank}", group[0].0);
            let mut adapter = adapter(group, rank, alpha, index as u64 + 1);
            adapter.set("general.architecture", text(family));
            let lora = Scratch::new(&format!("{family}-oracle-lora"), &adapter.bytes());
            let dense = Scratch::new(&format!("{family}-oracle-dense"), &merged(model, &adapter, factor).bytes());
            let want = bench(&dense.0, CacheType::F32, &[]).logits(&TOKENS, 5);
            let mut adapted = bench(&file.0, CacheType::F32, &[&lora]);
            let got = adapted.logits_with(&TOKENS, 5, &scales(&[(0, scale)]));
            assert_close(&got, &want, &what);
            assert!(largest_difference(&got, &base) > 1e-3, "{what}: it changes something");
            assert_same_bits(&adapted.logits(&TOKENS, 5), &base, "the same engine without the adapter");
        }
    }
}

#[test]
fn an_adapter_is_its_dense_update() {
    check_dense("llama", &little_llama(), 9);
}

#[test]
fn so_it_is_where_matrices_are_fused() {
    check_dense("phi3", &little(ModelFile::phi3()), 6);
}

#[test]
fn so_it_is_where_outputs_are_normalized() {
    check_dense("gemma3", &little(ModelFile::gemma3()), 9);
}

#[test]
fn adapters_add_up() {
    let model = little_llama();
    let file = Scratch::new("sum", &model.bytes());
    let (first, second) = (adapter(&targets(&model), 3, Some(6.0), 1), adapter(&targets(&model), 6, None, 2));
    let dense = merged(&merged(&model, &first, 0.7 * 2.0), &second, -0.4);
    let dense = Scratch::new("sum-dense", &dense.bytes());
    let want = bench(&dense.0, CacheType::F32, &[]).logits(&TOKENS, 12);
    let loras = [Scratch::new("sum-1", &first.bytes()), Scratch::new("sum-2", &second.bytes())];
    let mut adapted = bench(&file.0, CacheType::F32, &[&loras[0], &loras[1]]);
    assert_close(&adapted.logits_with(&TOKENS, 12, &scales(&[(0, 0.7), (1, -0.4)])), &want, "both");
}

/// A head that shares the table of the embeddings stays as it is.
#[test]
fn an_adapter_of_shared_embeddings_changes_the_input() {
    let mut model = little_llama();
    model.tensors.retain(|tensor| tensor.name != "output.weight");
    let table = model.tensor("token_embd.weight").clone();
    let adapter = adapter(&[(table.name.clone(), table.dims.clone())], 4, None, 5);
    let mut dense = merged(&model, &adapter, 1.5);
    dense.tensors.push(Tensor { name: "output.weight".into(), ..table });
    let [model, dense] = [("tied", model), ("tied-dense", dense)].map(|(name, file)| Scratch::new(name, &file.bytes()));
    let lora = Scratch::new("tied-lora", &adapter.bytes());
    let want = bench(&dense.0, CacheType::F32, &[]).logits(&TOKENS, 12);
    let got = bench(&model.0, CacheType::F32, &[&lora]).logits_with(&TOKENS, 12, &scales(&[(0, 1.5)]));
    assert_close(&got, &want, "shared embeddings");
}

/// A pair in another type gives what its decoded numbers give.
#[test]
fn every_type_of_tensors_is_read() {
    let model = little_llama();
    let file = Scratch::new("types", &model.bytes());
    // Rows of whole blocks: 32 columns in both matrices.
    let target = [("blk.0.attn_q.weight".to_owned(), vec![32, 32])];
    let plain = adapter(&target, 32, Some(2.0), 3);
    let encoded = |ty: u32, bytes_of: fn(&[f32]) -> Vec<u8>, decode: fn(f32) -> f32| {
        let mut other = plain.clone();
        let mut rounded = plain.clone();
        for (tensor, rounded) in other.tensors.iter_mut().zip(&mut rounded.tensors) {
            let numbers = values(tensor);
            (tensor.ty, tensor.data) = (ty, bytes_of(&numbers));
            *rounded = floats(&rounded.name, &rounded.dims, &numbers.into_iter().map(decode).collect::<Vec<_>>());
        }
        [other, rounded].map(|file| file.bytes())
    };
    let halves = |x: &[f32]| x.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
    let brains = |x: &[f32]| x.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
    // Blocks of 32 with the scale 1/512, which is exact.
    let ints = |x: &[f32]| {
        let block = |x: &[f32]| {
            let scale = half::f16::from_f32(1.0 / 512.0).to_le_bytes();
            scale.into_iter().chain(x.iter().map(|x| (x * 256.0).round() as i8 as u8)).collect::<Vec<u8>>()
        };
        x.chunks_exact(32).flat_map(block).collect()
    };
    let cases = [
        ("F16", encoded(1, halves, |x| half::f16::from_f32(x).to_f32())),
        ("BF16", encoded(30, brains, |x| half::bf16::from_f32(x).to_f32())),
        ("Q8_0", encoded(8, ints, |x| (x * 256.0).round() / 512.0)),
    ];
    for (name, files) in cases {
        let [got, want] = files.map(|bytes| {
            let lora = Scratch::new("types-lora", &bytes);
            bench(&file.0, CacheType::F32, &[&lora]).logits_with(&TOKENS, 12, &scales(&[(0, 1.0)]))
        });
        assert_same_bits(&got, &want, name);
    }
}

/// What adapters of the file at `path` can change, with the shapes.
fn targets_of(path: &Path) -> Vec<(String, Vec<u64>)> {
    let file = GgufFile::open(path).expect("the model opens");
    let is_target =
        |name: &str| name == "token_embd.weight" || PARTS.iter().any(|p| name.ends_with(&format!(".{p}.weight")));
    let shape = |dims: &[usize]| dims.iter().map(|dim| *dim as u64).collect();
    let wanted = file.tensors().iter().filter(|tensor| is_target(&tensor.name));
    wanted.map(|tensor| (tensor.name.clone(), shape(&tensor.dims))).collect()
}

fn prompt(seed: u64, len: u64, n_vocab: usize) -> Vec<u32> {
    numbers(len, seed, 0.5).into_iter().map(|x| ((x + 0.5) * (n_vocab - 1) as f32) as u32).collect()
}

/// Sequences with no, one and two adapters, alone and in one batch, at different paces.
fn check_bits(path: &Path, cache: CacheType, len: u64) {
    let files: Vec<Scratch> = [(4, 1), (19, 2)]
        .map(|(rank, seed)| {
            let small = adapter(&targets_of(path), rank, Some(0.5), seed);
            Scratch::new(&format!("bits-{len}-{rank}"), &small.bytes())
        })
        .into();
    let mut plain = bench(path, cache, &[]);
    let mut bench = bench(path, cache, &[&files[0], &files[1]]);
    let n_vocab = bench.model.info().n_vocab;
    let mixes = [&[][..], &[(0, 1.0)], &[(0, 0.5)], &[(1, 1.0)], &[(0, 1.0), (1, -0.5)], &[], &[(1, 1.0)], &[(1, 1.0)]];
    let jobs: Vec<(Vec<u32>, Adapters)> = mixes
        .iter()
        .enumerate()
        .map(|(index, mix)| (prompt(index as u64 + 1, len + 7 * index as u64, n_vocab), scales(mix)))
        .collect();
    let alone: Vec<Vec<f32>> = jobs.iter().map(|(tokens, adapters)| bench.logits_with(tokens, 512, adapters)).collect();
    for (index, (tokens, adapters)) in jobs.iter().enumerate() {
        assert!(alone[index].iter().all(|x| x.is_finite()));
        for chunk in [1, 7, 32] {
            let chunked = bench.logits_with(tokens, chunk, adapters);
            assert_same_bits(&chunked, &alone[index], &format!("{adapters:?} in chunks of {chunk}"));
        }
        if adapters.is_empty() {
            assert_same_bits(&plain.logits(tokens, 512), &alone[index], "an engine that knows no adapters");
        }
    }
    let same_tokens = bench.logits_with(&jobs[0].0, 512, &jobs[1].1);
    assert!(largest_difference(&same_tokens, &alone[0]) > 1e-3, "adapters change something");

    let mut seqs: Vec<Seq> = jobs.iter().map(|(tokens, adapters)| bench.sequence_with(tokens, adapters)).collect();
    let mut last: Vec<Vec<f32>> = vec![Vec::new(); seqs.len()];
    for step in 0.. {
        let part = |index: usize, seq: &Seq| (seq.tokens.len() - seq.n_past).min(1 + (5 * index + 3 * step) % 13);
        let mut indexes = Vec::new();
        let mut parts: Vec<(&mut Seq, usize)> = Vec::new();
        for (index, seq) in seqs.iter_mut().enumerate() {
            let n = part(index, seq);
            if n > 0 {
                indexes.push(index);
                parts.push((seq, n));
            }
        }
        if parts.is_empty() {
            break;
        }
        for (index, logits) in indexes.into_iter().zip(bench.step(&mut parts)) {
            last[index] = logits;
        }
    }
    for (index, logits) in last.iter().enumerate() {
        assert_same_bits(logits, &alone[index], &format!("sequence {index} in a batch of {}", mixes.len()));
    }
}

#[test]
fn any_mix_of_adapters_gives_the_bits_of_each_alone() {
    check_bits(&support::stories(), CacheType::F32, 60);
    check_bits(&support::stories(), CacheType::F16, 61);
}

#[test]
fn so_do_quantized_weights() {
    check_bits(&support::smollm2(), CacheType::F16, 20);
}

/// The error of opening an adapter for the little llama, or nothing.
fn refusal(bytes: &[u8], name: &str) -> Option<String> {
    let file = Scratch::new(&format!("{name}-model"), &little_llama().bytes());
    let lora = Scratch::new(name, bytes);
    let model = GgufFile::open(&file.0).expect("the model opens");
    let error = Adapter::open(&lora.0, &model).err()?.to_string();
    assert!(error.contains(&format!("-{name}.gguf: ")), "{error}");
    Some(error)
}

/// `name: what is done to an adapter of two tensors => parts of the message`
macro_rules! refused {
    ($($name:ident: $break:expr => $says:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let q = ("blk.0.attn_q.weight".to_owned(), vec![32, 32]);
                let down = ("blk.0.ffn_down.weight".to_owned(), vec![64, 32]);
                let mut file = adapter(&[q, down], 4, Some(8.0), 1);
                let name = concat!("adapter-", stringify!($name));
                assert_eq!(refusal(&file.bytes(), name), None);
                let break_it: fn(&mut ModelFile) = $break;
                break_it(&mut file);
                let error = refusal(&file.bytes(), name).expect("it is refused");
                for part in $says {
                    assert!(error.contains(part), "{part:?} is not in {error:?}");
                }
            }
        )*
    };
}

refused! {
    a_model: |f| f.set("general.type", text("model")) => ["general.type: \"model\" is not allowed", "\"adapter\""];
    no_type: |f| f.remove("general.type") => ["general.type: the key is missing"];
    another_kind: |f| f.set("adapter.type", text("control")) => ["adapter.type: \"control\"", "\"lora\""];
    another_architecture: |f| f.set("general.architecture", text("gemma")) => ["architecture: \"gemma\"", "\"llama\""];
    alpha_of_another_type: |f| f.set("adapter.lora.alpha", text("8")) => ["adapter.lora.alpha: string is not allowed"];
    alpha_not_finite: |f| f.set("adapter.lora.alpha", Value::F32(f32::INFINITY)) => ["adapter.lora.alpha: inf"];
    switched_on_by_text: |f| f.set("adapter.alora.invocation_tokens", Value::I32s(vec![1])) =>
        ["adapter.alora.invocation_tokens: ", "not supported"];
    a_without_b: |f| f.tensors.retain(|t| t.name != "blk.0.attn_q.weight.lora_b") =>
        ["blk.0.attn_q.weight.lora_a: its partner blk.0.attn_q.weight.lora_b is missing"];
    b_without_a: |f| f.tensors.retain(|t| t.name != "blk.0.attn_q.weight.lora_a") =>
        ["blk.0.attn_q.weight.lora_b: its partner blk.0.attn_q.weight.lora_a is missing"];
    no_tensors: |f| f.tensors.clear() => ["no pair of tensors"];
    another_suffix: |f| f.tensors.push(Tensor::of_floats("blk.0.attn_q.bias", &[32])) =>
        ["blk.0.attn_q.bias: its name does not end in .lora_a"];
    a_layer_too_many: |f| for (suffix, _) in [("a", 0), ("b", 1)] {
        f.tensor(&format!("blk.0.attn_q.weight.lora_{suffix}")).name = format!("blk.1.attn_q.weight.lora_{suffix}");
    } => ["blk.1.attn_q.weight.lora_a: the model has no tensor blk.1.attn_q.weight"];
    a_tensor_that_stays: |f| for suffix in ["a", "b"] {
        f.tensor(&format!("blk.0.attn_q.weight.lora_{suffix}")).name = format!("blk.0.attn_norm.weight.lora_{suffix}");
    } => ["adapters cannot change blk.0.attn_norm.weight", "attn_q, attn_k"];
    another_width: |f| f.tensors[0] = Tensor::of_floats("blk.0.attn_q.weight.lora_a", &[16, 4]) =>
        ["blk.0.attn_q.weight.lora_a: the pair's shapes are [16, 4] and [4, 32]", "[32, RANK] and [RANK, 32]"];
    ranks_that_differ: |f| f.tensors[1] = Tensor::of_floats("blk.0.attn_q.weight.lora_b", &[5, 32]) =>
        ["[32, 4] and [5, 32]"];
    another_height: |f| f.tensors[3] = Tensor::of_floats("blk.0.ffn_down.weight.lora_b", &[4, 33]) =>
        ["blk.0.ffn_down.weight.lora_a: the pair's shapes are [64, 4] and [4, 33]", "[64, RANK] and [RANK, 32]"];
    three_dimensions: |f| f.tensors[0].dims = vec![32, 2, 2] => ["[32, 2, 2] and [4, 32]", "two dimensions"];
    a_rank_beyond_measure: |f| {
        f.tensors[0] = Tensor::of_floats("blk.0.attn_q.weight.lora_a", &[32, 4097]);
        f.tensors[1] = Tensor::of_floats("blk.0.attn_q.weight.lora_b", &[4097, 32]);
    } => ["its rank 4097 is too large; allowed: up to 4096"];
    a_number_that_is_none: |f| f.tensors[2].data[8..12].copy_from_slice(&f32::NAN.to_le_bytes()) =>
        ["blk.0.ffn_down.weight.lora_a: NaN at element 2"];
    an_infinite_b: |f| f.tensors[3].data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()) =>
        ["blk.0.ffn_down.weight.lora_b: inf at element 0"];
}

#[test]
fn trained_norms_are_passed_over() {
    let mut file = adapter(&[("blk.0.attn_q.weight".to_owned(), vec![32, 32])], 4, None, 1);
    file.tensors.push(Tensor::of_floats("blk.0.attn_norm.weight", &[32]));
    assert_eq!(refusal(&file.bytes(), "norms"), None);
}

#[test]
fn encoders_take_none() {
    let model = Scratch::new("bert", &ModelFile::bert().bytes());
    let config = EngineConfig { model: model.0.clone(), lora: vec![model.0.clone()], ..EngineConfig::default() };
    let file = GgufFile::open(&model.0).expect("the model opens");
    let error = models::load(&file, &config, &mut |_| true).err().expect("it is refused").to_string();
    assert_eq!(
        error,
        "lora: adapters are not supported for the architecture bert; supported: llama, qwen2, qwen3, gemma3, phi3"
    );
}

/// Bytes of the tensors' data of an adapter for the little llama, each filled up to 32.
fn little_data(bytes: &[u8]) -> usize {
    let file = Scratch::new("data", bytes);
    let opened = GgufFile::open(&file.0).expect("the adapter opens");
    opened.tensors().iter().map(|tensor| tensor.bytes.next_multiple_of(32)).sum()
}

/// Broken files are refused or run, but never panic.
#[test]
fn flipped_bytes_never_panic() {
    let model = Scratch::new("flip-model", &little_llama().bytes());
    let file = GgufFile::open(&model.0).expect("the model opens");
    let bytes = adapter(&targets(&little_llama()), 4, Some(8.0), 1).bytes();
    let header = bytes.len() - little_data(&bytes);
    let mut random = numbers(1 << 16, 3, 0.5).into_iter().map(|x| x + 0.5);
    let mut next = |n: usize| (random.next().expect("enough numbers") * n as f32) as usize % n;
    for _ in 0..800 {
        let mut broken = bytes.clone();
        for _ in 0..1 + next(3) {
            broken[next(header)] = next(256) as u8;
        }
        let lora = Scratch::new("flip", &broken);
        if Adapter::open(&lora.0, &file).is_ok() {
            let logits = bench(&model.0, CacheType::F32, &[&lora]).logits_with(&TOKENS, 12, &scales(&[(0, 1.0)]));
            assert_eq!(logits.len(), 8);
        }
    }
}
