//! Model files made in memory: a whole little llama, to break one thing of.

/// A value of the key-value part, as the file stores it.
#[derive(Clone)]
pub enum Value {
    U32(u32),
    U64(u64),
    I32(i32),
    F32(f32),
    Bool(u8),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    /// A type number and bytes that need not fit to it.
    Raw(u32, Vec<u8>),
}

pub fn text(text: &str) -> Value {
    Value::Text(text.into())
}

pub fn texts(texts: &[&str]) -> Value {
    Value::Texts(texts.iter().map(|text| (*text).into()).collect())
}

/// A tensor with its data.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub ty: u32,
    pub data: Vec<u8>,
    /// Where the directory says that the data is, if not where it is.
    pub offset: Option<u64>,
}

/// The parts of a file.
#[derive(Clone)]
pub struct ModelFile {
    pub keys: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
}

const ALIGNMENT: usize = 32;
const WIDTH: u64 = 32;
const HIDDEN: u64 = 64;
const TOKENS: [&str; 8] = ["<unk>", "<s>", "</s>", "\u{2581}a", "b", "c", "\u{2581}", "a"];

impl ModelFile {
    /// A llama of one layer, 32 wide, with 4 heads, 2 key-value heads and 8 tokens.
    pub fn llama() -> Self {
        let rows = TOKENS.len() as u64;
        let keys = [
            ("general.architecture", text("llama")),
            ("llama.context_length", Value::U32(64)),
            ("llama.embedding_length", Value::U32(WIDTH as u32)),
            ("llama.block_count", Value::U32(1)),
            ("llama.feed_forward_length", Value::U32(HIDDEN as u32)),
            ("llama.attention.head_count", Value::U32(4)),
            ("llama.attention.head_count_kv", Value::U32(2)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", texts(&TOKENS)),
            ("tokenizer.ggml.scores", Value::F32s(vec![0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0])),
            ("tokenizer.ggml.token_type", Value::I32s(vec![2, 3, 3, 1, 1, 1, 1, 1])),
        ];
        let shapes: [(&str, &[u64]); 11] = [
            ("token_embd.weight", &[WIDTH, rows]),
            ("output_norm.weight", &[WIDTH]),
            ("blk.0.attn_norm.weight", &[WIDTH]),
            ("blk.0.attn_q.weight", &[WIDTH, WIDTH]),
            ("blk.0.attn_k.weight", &[WIDTH, WIDTH / 2]),
            ("blk.0.attn_v.weight", &[WIDTH, WIDTH / 2]),
            ("blk.0.attn_output.weight", &[WIDTH, WIDTH]),
            ("blk.0.ffn_norm.weight", &[WIDTH]),
            ("blk.0.ffn_gate.weight", &[WIDTH, HIDDEN]),
            ("blk.0.ffn_up.weight", &[WIDTH, HIDDEN]),
            ("blk.0.ffn_down.weight", &[HIDDEN, WIDTH]),
        ];
        Self {
            keys: keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            tensors: shapes.iter().map(|(name, dims)| Tensor::of_floats(name, dims)).collect(),
        }
    }

    /// The same with a byte-pair vocabulary.
    pub fn byte_pairs() -> Self {
        let mut file = Self::llama();
        file.set("tokenizer.ggml.model", text("gpt2"));
        file.set("tokenizer.ggml.tokens", texts(&["<|endoftext|>", "a", "b", "c", "ab", "abc", "bc", "d"]));
        file.set("tokenizer.ggml.token_type", Value::I32s(vec![3, 1, 1, 1, 1, 1, 1, 1]));
        file.set("tokenizer.ggml.merges", texts(&["a b", "ab c", "b c"]));
        file
    }

    /// The llama as a Phi, whose matrices are fused: of queries, keys and values, and of gates and ups.
    pub fn phi3() -> Self {
        let mut file = Self::of_family("phi3");
        for (parts, whole) in [(&["attn_q", "attn_k", "attn_v"][..], "attn_qkv"), (&["ffn_gate", "ffn_up"], "ffn_up")] {
            let names: Vec<String> = parts.iter().map(|part| format!("blk.0.{part}.weight")).collect();
            let rows = names.iter().map(|name| file.tensor(name).dims[1]).sum();
            file.tensors.retain(|tensor| !names.contains(&tensor.name));
            file.tensors.push(Tensor::of_floats(&format!("blk.0.{whole}.weight"), &[WIDTH, rows]));
        }
        file
    }

    /// The llama as a Gemma, which normalizes heads and what layers give, with a window.
    pub fn gemma3() -> Self {
        let mut file = Self::of_family("gemma3");
        file.set("gemma3.attention.sliding_window", Value::U32(4));
        for (name, n) in [("attn_q_norm", 8), ("attn_k_norm", 8), ("post_attention_norm", 32), ("post_ffw_norm", 32)] {
            file.tensors.push(Tensor::of_floats(&format!("blk.0.{name}.weight"), &[n]));
        }
        file
    }

    /// The llama with the names of another family.
    fn of_family(family: &str) -> Self {
        let mut file = Self::llama();
        for (key, _) in &mut file.keys {
            if let Some(name) = key.strip_prefix("llama.") {
                *key = format!("{family}.{name}");
            }
        }
        file.set("general.architecture", text(family));
        file
    }

    /// A BERT of one layer, 32 wide, with 4 heads, 8 tokens and a head that gives two scores.
    pub fn bert() -> Self {
        let rows = TOKENS.len() as u64;
        let keys = [
            ("general.architecture", text("bert")),
            ("bert.context_length", Value::U32(16)),
            ("bert.embedding_length", Value::U32(WIDTH as u32)),
            ("bert.block_count", Value::U32(1)),
            ("bert.feed_forward_length", Value::U32(HIDDEN as u32)),
            ("bert.attention.head_count", Value::U32(4)),
            ("bert.attention.layer_norm_epsilon", Value::F32(1e-12)),
            ("bert.attention.causal", Value::Bool(0)),
            ("bert.pooling_type", Value::U32(1)),
            ("tokenizer.ggml.token_type_count", Value::U32(2)),
            ("tokenizer.ggml.model", text("bert")),
            ("tokenizer.ggml.tokens", texts(&TOKENS)),
        ];
        let shapes: [(&str, &[u64]); 25] = [
            ("token_embd.weight", &[WIDTH, rows]),
            ("token_types.weight", &[WIDTH, 2]),
            ("position_embd.weight", &[WIDTH, 16]),
            ("token_embd_norm.weight", &[WIDTH]),
            ("token_embd_norm.bias", &[WIDTH]),
            ("blk.0.attn_q.weight", &[WIDTH, WIDTH]),
            ("blk.0.attn_q.bias", &[WIDTH]),
            ("blk.0.attn_k.weight", &[WIDTH, WIDTH]),
            ("blk.0.attn_k.bias", &[WIDTH]),
            ("blk.0.attn_v.weight", &[WIDTH, WIDTH]),
            ("blk.0.attn_v.bias", &[WIDTH]),
            ("blk.0.attn_output.weight", &[WIDTH, WIDTH]),
            ("blk.0.attn_output.bias", &[WIDTH]),
            ("blk.0.attn_output_norm.weight", &[WIDTH]),
            ("blk.0.attn_output_norm.bias", &[WIDTH]),
            ("blk.0.ffn_up.weight", &[WIDTH, HIDDEN]),
            ("blk.0.ffn_up.bias", &[HIDDEN]),
            ("blk.0.ffn_down.weight", &[HIDDEN, WIDTH]),
            ("blk.0.ffn_down.bias", &[WIDTH]),
            ("blk.0.layer_output_norm.weight", &[WIDTH]),
            ("blk.0.layer_output_norm.bias", &[WIDTH]),
            ("cls.weight", &[WIDTH, WIDTH]),
            ("cls.bias", &[WIDTH]),
            ("cls.output.weight", &[WIDTH, 2]),
            ("cls.output.bias", &[2]),
        ];
        Self {
            keys: keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            tensors: shapes.iter().map(|(name, dims)| Tensor::of_floats(name, dims)).collect(),
        }
    }

    /// Sets a key, in its place if it is there.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.keys.iter_mut().find(|row| row.0 == key) {
            Some(row) => row.1 = value,
            None => self.keys.push((key.into(), value)),
        }
    }

    pub fn remove(&mut self, key: &str) {
        self.keys.retain(|row| row.0 != key);
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("the tensor is there")
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            put_text(&mut out, key);
            value.put(&mut out);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            put_text(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.ty.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend(data);
        out
    }
}

impl Tensor {
    pub fn of_floats(name: &str, dims: &[u64]) -> Self {
        let n: u64 = dims.iter().product();
        let data = (0..n).flat_map(|i| (((i * 7 + 3) % 11) as f32 * 0.05 - 0.25).to_le_bytes()).collect();
        Self { name: name.into(), dims: dims.into(), ty: 0, data, offset: None }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// An array's element type and length.
fn put_array(out: &mut Vec<u8>, ty: u32, n: usize) {
    out.extend(9u32.to_le_bytes());
    out.extend(ty.to_le_bytes());
    out.extend((n as u64).to_le_bytes());
}

impl Value {
    fn put(&self, out: &mut Vec<u8>) {
        let mut scalar = |ty: u32, bytes: &[u8]| {
            out.extend(ty.to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Self::U32(v) => scalar(4, &v.to_le_bytes()),
            Self::I32(v) => scalar(5, &v.to_le_bytes()),
            Self::F32(v) => scalar(6, &v.to_le_bytes()),
            Self::Bool(v) => scalar(7, &[*v]),
            Self::U64(v) => scalar(10, &v.to_le_bytes()),
            Self::Raw(ty, bytes) => scalar(*ty, bytes),
            Self::Text(v) => {
                out.extend(8u32.to_le_bytes());
                put_text(out, v);
            }
            Self::Texts(v) => {
                put_array(out, 8, v.len());
                v.iter().for_each(|text| put_text(out, text));
            }
            Self::I32s(v) => {
                put_array(out, 5, v.len());
                v.iter().for_each(|x| out.extend(x.to_le_bytes()));
            }
            Self::F32s(v) => {
                put_array(out, 6, v.len());
                v.iter().for_each(|x| out.extend(x.to_le_bytes()));
            }
        }
    }
}
