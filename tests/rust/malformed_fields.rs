//! One thing wrong with a model file at a time: each is refused when the model is loaded, with an
//! error that names the file, the field and the value.

#[path = "support/model_file.rs"]
mod model_file;

use model_file::{ModelFile, Tensor, Value, text, texts};
use rustllm::config::EngineConfig;
use rustllm::engine::Engine;

/// Loads the file as a server does. The error's text, if it is refused.
fn load(bytes: &[u8], name: &str) -> Option<String> {
    let path = std::env::temp_dir().join(format!("rustllm-{}-{name}.gguf", std::process::id()));
    std::fs::write(&path, bytes).expect("the scratch file is written");
    let config = EngineConfig { model: path.clone(), n_threads: 1, ..EngineConfig::default() };
    let outcome = Engine::load(&config, &mut |_| true);
    std::fs::remove_file(&path).expect("the scratch file is removed");
    outcome.err().map(|error| error.to_string())
}

fn assert_refused(file: &ModelFile, name: &str, says: &[&str]) {
    let error = load(&file.bytes(), name).unwrap_or_else(|| panic!("{name} loads"));
    let file_name = format!("-{name}.gguf: ");
    for part in std::iter::once(file_name.as_str()).chain(says.iter().copied()) {
        assert!(error.contains(part), "{name}: {part:?} is not in {error:?}");
    }
}

/// `name: the file, what is done to it => parts of the message`
macro_rules! refused {
    ($($name:ident: $base:ident, $break:expr => $says:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let mut file = ModelFile::$base();
                let break_it: fn(&mut ModelFile) = $break;
                break_it(&mut file);
                assert_refused(&file, stringify!($name), &$says);
            }
        )*
    };
}

#[test]
fn the_whole_files_load() {
    assert_eq!(load(&ModelFile::llama().bytes(), "llama"), None);
    assert_eq!(load(&ModelFile::byte_pairs().bytes(), "byte_pairs"), None);
    assert_eq!(load(&ModelFile::bert().bytes(), "bert"), None);
    assert_eq!(load(&ModelFile::gemma3().bytes(), "gemma3"), None);
    assert_eq!(load(&ModelFile::phi3().bytes(), "phi3"), None);
}

// The header and its values.
refused! {
    alignment_0: llama, |f| f.set("general.alignment", Value::U32(0)) => ["general.alignment: 0 is not allowed"];
    alignment_3: llama, |f| f.set("general.alignment", Value::U32(3)) => ["general.alignment: 3 is not allowed"];
    alignment_huge: llama, |f| f.set("general.alignment", Value::U64(1 << 63)) =>
        ["general.alignment: 9223372036854775808 is not allowed"];
    alignment_of_another_type: llama, |f| f.set("general.alignment", text("32")) =>
        ["general.alignment: string is not allowed", "integer"];
    duplicate_key: llama, |f| f.keys.push(("llama.block_count".into(), Value::U32(1))) =>
        ["llama.block_count: the key occurs twice"];
    duplicate_tensor: llama, |f| f.tensors.push(f.tensors[3].clone()) =>
        ["blk.0.attn_q.weight: the tensor occurs twice"];
    empty_key: llama, |f| f.keys.push((String::new(), Value::U32(1))) => ["metadata key: the name", "has 0 bytes"];
    nested_array: llama, |f| {
        let inner = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
        f.set("llama.nested", Value::Raw(9, inner));
    } => ["llama.nested: arrays of arrays are not supported"];
    array_of_2_to_the_60: llama, |f| {
        let header = [4u32.to_le_bytes().as_slice(), &(1u64 << 60).to_le_bytes()].concat();
        f.set("llama.big", Value::Raw(9, header));
    } => ["llama.big: the count 1152921504606846976 is more than the rest of the file can hold"];
    string_of_2_to_the_60: llama, |f| f.set("llama.big", Value::Raw(8, (1u64 << 60).to_le_bytes().into())) =>
        ["llama.big: the count 1152921504606846976 is more than the rest of the file can hold"];
    unknown_value_type: llama, |f| f.set("llama.odd", Value::Raw(13, vec![0; 8])) =>
        ["llama.odd: value type 13 is unknown"];
    unknown_array_type: llama, |f| f.set("llama.odd", Value::Raw(9, [[99, 0, 0, 0].as_slice(), &[0; 8]].concat())) =>
        ["llama.odd: array type 99 is unknown"];
    bool_of_2: llama, |f| f.set("tokenizer.ggml.add_bos_token", Value::Bool(2)) =>
        ["tokenizer.ggml.add_bos_token: 2 is not a bool"];
}

// The directory of tensors.
refused! {
    dimension_of_2_to_the_63: llama, |f| f.tensor("output_norm.weight").dims = vec![1 << 63] =>
        ["output_norm.weight: the shape [9223372036854775808] is too large"];
    dimensions_that_wrap: llama, |f| f.tensor("output_norm.weight").dims = vec![1 << 32, 1 << 32] =>
        ["output_norm.weight: the shape [4294967296, 4294967296] is empty or too large"];
    dimension_of_0: llama, |f| f.tensor("output_norm.weight").dims = vec![0] =>
        ["output_norm.weight: the shape [0] is empty"];
    no_dimensions: llama, |f| f.tensor("output_norm.weight").dims = vec![] =>
        ["output_norm.weight: 0 dimensions; allowed: 1 to 4"];
    five_dimensions: llama, |f| f.tensor("output_norm.weight").dims = vec![2; 5] =>
        ["output_norm.weight: 5 dimensions; allowed: 1 to 4"];
    unknown_tensor_type: llama, |f| f.tensor("output_norm.weight").ty = 99 =>
        ["output_norm.weight: tensor type 99 is not supported", "Q4_K"];
    rows_that_are_no_blocks: llama, |f| {
        let norm = f.tensor("output_norm.weight");
        (norm.ty, norm.dims) = (12, vec![32]);
    } => ["output_norm.weight: rows of 32 elements do not divide into Q4_K blocks of 256"];
    offset_past_the_end: llama, |f| f.tensor("output_norm.weight").offset = Some(1 << 40) =>
        ["output_norm.weight: its data (offset 1099511627776, 128 bytes) ends after the file"];
    offset_that_wraps: llama, |f| f.tensor("output_norm.weight").offset = Some(u64::MAX - 31) =>
        ["output_norm.weight: its data (offset 18446744073709551584"];
    offset_out_of_line: llama, |f| f.tensor("output_norm.weight").offset = Some(8) =>
        ["output_norm.weight: offset 8 is not a multiple of the alignment 32"];
    overlapping_tensors: llama, |f| f.tensor("output_norm.weight").offset = Some(0) =>
        ["its data overlaps that of"];
}

// What a llama asks of its file.
refused! {
    missing_architecture: llama, |f| f.remove("general.architecture") => ["general.architecture: the key is missing"];
    unknown_architecture: llama, |f| f.set("general.architecture", text("mamba")) =>
        ["general.architecture: \"mamba\" is not supported", "llama"];
    architecture_of_another_type: llama, |f| f.set("general.architecture", Value::U32(7)) =>
        ["general.architecture: 7 is not allowed here; expected: string"];
    missing_width: llama, |f| f.remove("llama.embedding_length") => ["llama.embedding_length: the key is missing"];
    heads_0: llama, |f| f.set("llama.attention.head_count", Value::U32(0)) =>
        ["llama.attention.head_count: 0 is out of range"];
    heads_negative: llama, |f| f.set("llama.attention.head_count", Value::I32(-4)) =>
        ["llama.attention.head_count: -4 is not allowed"];
    heads_that_do_not_divide: llama, |f| f.set("llama.attention.head_count", Value::U32(6)) =>
        ["llama.attention.head_count: 6 heads do not divide the width 32"];
    key_heads_0: llama, |f| f.set("llama.attention.head_count_kv", Value::U32(0)) =>
        ["llama.attention.head_count_kv: 0 is out of range"];
    key_heads_that_do_not_divide: llama, |f| f.set("llama.attention.head_count_kv", Value::U32(3)) =>
        ["llama.attention.head_count_kv: 3 key-value heads do not divide 4 heads"];
    layers_0: llama, |f| f.set("llama.block_count", Value::U32(0)) => ["llama.block_count: 0 is out of range"];
    layers_of_2_to_the_32: llama, |f| f.set("llama.block_count", Value::U64(1 << 32)) =>
        ["llama.block_count: 4294967296 is out of range"];
    width_of_2_to_the_63: llama, |f| f.set("llama.embedding_length", Value::U64(1 << 63)) =>
        ["llama.embedding_length: 9223372036854775808 is out of range"];
    context_0: llama, |f| f.set("llama.context_length", Value::U32(0)) => ["llama.context_length: 0 is out of range"];
    rotation_that_is_odd: llama, |f| f.set("llama.rope.dimension_count", Value::U32(7)) =>
        ["llama.rope.dimension_count: 7 is not allowed; allowed: even, up to 8"];
    epsilon_that_is_no_number: llama, |f| f.set("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN)) =>
        ["llama.attention.layer_norm_rms_epsilon: NaN is not allowed"];
    epsilon_below_0: llama, |f| f.set("llama.attention.layer_norm_rms_epsilon", Value::F32(-1.0)) =>
        ["llama.attention.layer_norm_rms_epsilon: -1 is not allowed"];
    rope_base_0: llama, |f| f.set("llama.rope.freq_base", Value::F32(0.0)) =>
        ["llama.rope.freq_base: 0 is not allowed"];
    rope_scaling_unknown: llama, |f| f.set("llama.rope.scaling.type", text("spiral")) =>
        ["llama.rope.scaling.type: \"spiral\" is not supported"];
    rope_factor_0: llama, |f| f.set("llama.rope.scaling.factor", Value::F32(0.0)) =>
        ["llama.rope.scaling.factor: 0 is not allowed"];
    local_rope_base_1: gemma3, |f| f.set("gemma3.rope.freq_base_swa", Value::F32(1.0)) =>
        ["gemma3.rope.freq_base_swa: 1 is not allowed"];
    window_of_another_type: gemma3, |f| f.set("gemma3.attention.sliding_window", Value::F32(4.0)) =>
        ["gemma3.attention.sliding_window: 4 is not allowed here", "integer"];
    missing_head_norm: gemma3, |f| f.tensors.retain(|tensor| tensor.name != "blk.0.attn_k_norm.weight") =>
        ["blk.0.attn_k_norm.weight: the tensor is missing"];
    head_norm_of_another_width: gemma3, |f| *f.tensor("blk.0.attn_q_norm.weight") =
        Tensor::of_floats("blk.0.attn_q_norm.weight", &[16]) =>
        ["blk.0.attn_q_norm.weight: its shape is [16]", "[8]"];
    half_a_fused_matrix: phi3, |f| *f.tensor("blk.0.ffn_up.weight") =
        Tensor::of_floats("blk.0.ffn_up.weight", &[32, 64]) =>
        ["blk.0.ffn_up.weight: its shape is [32, 64]", "[32, 128]"];
    long_rope_without_long_factors: phi3, |f| {
        f.set("phi3.rope.scaling.original_context_length", Value::U32(32));
        f.tensors.push(Tensor::of_floats("rope_factors_short.weight", &[4]));
    } => ["rope_factors_long.weight: the tensor is missing"];
    long_rope_factor_0: phi3, |f| {
        let mut factors = Tensor::of_floats("rope_factors_short.weight", &[4]);
        factors.data.fill(0);
        f.tensors.push(factors);
    } => ["rope_factors_short.weight: factor 0 is not allowed"];
    original_context_0: phi3, |f| {
        f.set("phi3.rope.scaling.original_context_length", Value::U32(0));
        f.tensors.push(Tensor::of_floats("rope_factors_short.weight", &[4]));
    } => ["phi3.rope.scaling.original_context_length: 0 is out of range"];
    rope_factors_0: llama, |f| {
        let mut factors = Tensor::of_floats("rope_freqs.weight", &[4]);
        factors.data.fill(0);
        f.tensors.push(factors);
    } => ["rope_freqs.weight: factor 0 is not allowed"];
    missing_layer: llama, |f| f.set("llama.block_count", Value::U32(2)) =>
        ["blk.1.attn_norm.weight: the tensor is missing"];
    missing_embedding: llama, |f| f.tensors.retain(|tensor| tensor.name != "token_embd.weight") =>
        ["token_embd.weight: the tensor is missing"];
    missing_tensor: llama, |f| f.tensors.retain(|tensor| tensor.name != "blk.0.ffn_up.weight") =>
        ["blk.0.ffn_up.weight: the tensor is missing"];
    wrong_shape: llama, |f| f.tensor("blk.0.attn_k.weight").dims = vec![16, 32] =>
        ["blk.0.attn_k.weight: its shape is [16, 32]; the model's settings ask for [32, 16]"];
    wrong_rank: llama, |f| f.tensor("blk.0.attn_norm.weight").dims = vec![16, 2] =>
        ["blk.0.attn_norm.weight: its shape is [16, 2]"];
    embedding_of_fewer_rows_than_tokens: llama, |f| f.tensor("token_embd.weight").dims = vec![32, 7] =>
        ["token_embd.weight: the model has 7 rows, the vocabulary 8 tokens"];
    weight_that_is_no_number: llama, |f| f.tensor("blk.0.ffn_up.weight").data[40..44].fill(0xff) =>
        ["blk.0.ffn_up.weight: NaN at element 10 is not allowed"];
    norm_that_is_infinite: llama, |f| {
        f.tensor("output_norm.weight").data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    } => ["output_norm.weight: inf at element 0 is not allowed"];
    scale_that_is_no_number: llama, |f| {
        let up = f.tensor("blk.0.ffn_up.weight");
        (up.ty, up.data) = (2, vec![0; 64 * 18]);
        up.data[36..38].copy_from_slice(&[0xff, 0x7f]);
    } => ["blk.0.ffn_up.weight: NaN at element 64 is not allowed"];
}

// The vocabulary.
refused! {
    missing_tokenizer: llama, |f| f.remove("tokenizer.ggml.model") => ["tokenizer.ggml.model: the key is missing"];
    unknown_tokenizer: llama, |f| f.set("tokenizer.ggml.model", text("bytes")) =>
        ["tokenizer.ggml.model: \"bytes\" is not supported"];
    unknown_pre_tokenizer: byte_pairs, |f| f.set("tokenizer.ggml.pre", text("mine")) =>
        ["tokenizer.ggml.pre: \"mine\" is not supported"];
    missing_vocabulary: llama, |f| f.remove("tokenizer.ggml.tokens") => ["tokenizer.ggml.tokens: the key is missing"];
    empty_vocabulary: llama, |f| f.set("tokenizer.ggml.tokens", texts(&[])) => ["tokenizer.ggml.tokens: 0 tokens"];
    vocabulary_of_numbers: llama, |f| f.set("tokenizer.ggml.tokens", Value::I32s(vec![1; 8])) =>
        ["tokenizer.ggml.tokens: array of integers is not allowed"];
    missing_scores: llama, |f| f.remove("tokenizer.ggml.scores") => ["tokenizer.ggml.scores: the key is missing"];
    too_few_scores: llama, |f| f.set("tokenizer.ggml.scores", Value::F32s(vec![0.0; 7])) =>
        ["tokenizer.ggml.scores: 7 values for 8 tokens"];
    score_that_is_no_number: llama, |f| f.set("tokenizer.ggml.scores", Value::F32s(vec![f32::NAN; 8])) =>
        ["tokenizer.ggml.scores: the score of token 0 is not a number"];
    too_few_types: llama, |f| f.set("tokenizer.ggml.token_type", Value::I32s(vec![1; 3])) =>
        ["tokenizer.ggml.token_type: 3 values for 8 tokens"];
    unknown_type: llama, |f| f.set("tokenizer.ggml.token_type", Value::I32s(vec![9; 8])) =>
        ["tokenizer.ggml.token_type: type 9 of token 0 is unknown"];
    bos_past_the_vocabulary: llama, |f| f.set("tokenizer.ggml.bos_token_id", Value::U32(8)) =>
        ["tokenizer.ggml.bos_token_id: 8 is out of range; allowed: 0 to 7"];
    eos_past_the_vocabulary: llama, |f| f.set("tokenizer.ggml.eos_token_id", Value::U32(1 << 31)) =>
        ["tokenizer.ggml.eos_token_id: 2147483648 is out of range"];
    eot_past_the_vocabulary: llama, |f| f.set("tokenizer.ggml.eot_token_id", Value::U32(99)) =>
        ["tokenizer.ggml.eot_token_id: 99 is out of range"];
    eom_past_the_vocabulary: llama, |f| f.set("tokenizer.ggml.eom_token_id", Value::U32(99)) =>
        ["tokenizer.ggml.eom_token_id: 99 is out of range"];
    fim_past_the_vocabulary: llama, |f| f.set("tokenizer.ggml.fim_pad_token_id", Value::U32(99)) =>
        ["tokenizer.ggml.fim_pad_token_id: 99 is out of range"];
    unknown_past_the_vocabulary: llama, |f| f.set("tokenizer.ggml.unknown_token_id", Value::U32(8)) =>
        ["tokenizer.ggml.unknown_token_id: 8 is out of range"];
    bos_below_0: llama, |f| f.set("tokenizer.ggml.bos_token_id", Value::I32(-1)) =>
        ["tokenizer.ggml.bos_token_id: -1 is not allowed"];
    missing_merges: byte_pairs, |f| f.remove("tokenizer.ggml.merges") => ["tokenizer.ggml.merges: the key is missing"];
    merge_of_one_part: byte_pairs, |f| f.set("tokenizer.ggml.merges", texts(&["ab"])) =>
        ["tokenizer.ggml.merges: merge 0 (\"ab\") has no second part"];
    merge_that_names_no_token: byte_pairs, |f| f.set("tokenizer.ggml.merges", texts(&["a b", "x y"])) =>
        ["tokenizer.ggml.merges: merge 1 (\"x y\") names a text that is not a token"];
    merge_to_no_token: byte_pairs, |f| f.set("tokenizer.ggml.merges", texts(&["a c"])) =>
        ["tokenizer.ggml.merges: merge 0 (\"a c\") names a text that is not a token"];
    merges_of_numbers: byte_pairs, |f| f.set("tokenizer.ggml.merges", Value::I32s(vec![1])) =>
        ["tokenizer.ggml.merges: array of integers is not allowed"];
}

// Encoders.
refused! {
    bert_without_types: bert, |f| f.remove("tokenizer.ggml.token_type_count") =>
        ["tokenizer.ggml.token_type_count: the key is missing"];
    bert_types_0: bert, |f| f.set("tokenizer.ggml.token_type_count", Value::U32(0)) =>
        ["tokenizer.ggml.token_type_count: 0 is out of range"];
    bert_types_of_another_number: bert, |f| f.set("tokenizer.ggml.token_type_count", Value::U32(3)) =>
        ["token_types.weight: its shape is [32, 2]", "[32, 3]"];
    bert_that_looks_back_only: bert, |f| f.set("bert.attention.causal", Value::Bool(1)) =>
        ["bert.attention.causal: true is not supported; supported: false"];
    bert_pooling_unknown: bert, |f| f.set("bert.pooling_type", Value::U32(5)) =>
        ["bert.pooling_type: 5 is unknown; known: 0 (none), 1 (mean), 2 (cls), 3 (last), 4 (rank)"];
    bert_heads: bert, |f| f.set("bert.attention.head_count", Value::U32(5)) =>
        ["bert.attention.head_count: 5 heads do not divide the width 32"];
    bert_epsilon_below_0: bert, |f| f.set("bert.attention.layer_norm_epsilon", Value::F32(-1.0)) =>
        ["bert.attention.layer_norm_epsilon: -1 is not allowed"];
    bert_without_epsilon: bert, |f| f.remove("bert.attention.layer_norm_epsilon") =>
        ["bert.attention.layer_norm_epsilon: the key is missing"];
    bert_with_fewer_positions: bert, |f| f.set("bert.context_length", Value::U32(17)) =>
        ["position_embd.weight: its shape is [32, 16]", "[32, 17]"];
    bert_without_bias_of_a_norm: bert, |f| f.tensors.retain(|t| t.name != "blk.0.attn_output_norm.bias") =>
        ["blk.0.attn_output_norm.bias: the tensor is missing"];
    bert_head_of_another_width: bert, |f| f.tensor("cls.output.weight").dims = vec![16, 4] =>
        ["cls.output.weight: its shape is [16, 4]; expected [32, number of classes]"];
    bert_with_a_nan: bert, |f| f.tensor("position_embd.weight").data[..4].fill(0xff) =>
        ["position_embd.weight"];
}

/// Merges always make a longer text, so that a list that leads back to its start ends all the same.
#[test]
fn merges_in_a_circle_end() {
    let mut file = ModelFile::byte_pairs();
    file.set("tokenizer.ggml.merges", texts(&["ab c", "a bc", "b c", "a b", "a b"]));
    assert_eq!(load(&file.bytes(), "circle"), None);
}

#[test]
fn every_truncation_is_refused_by_name() {
    let file = ModelFile::llama();
    let bytes = file.bytes();
    // Each byte of the header, and some of the data.
    let data: usize = file.tensors.iter().map(|tensor| tensor.data.len()).sum();
    let header = bytes.len() - data;
    for end in (0..header).chain((header..bytes.len()).step_by(997)) {
        let error = load(&bytes[..end], "cut").unwrap_or_else(|| panic!("{end} bytes load"));
        assert!(error.contains("-cut.gguf"), "{end}: {error}");
    }
}
