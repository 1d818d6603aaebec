//! Hyperparameters that most families of decoders, and those of encoders, share, read and checked once.

use crate::config::{EngineConfig, Pooling};
use crate::error::Result;
use crate::gguf::{GgufFile, Metadata};
use crate::layers::RopeScaling;

/// Sizes and constants of a decoder.
#[derive(Debug, Clone)]
pub struct DecoderSettings {
    pub n_ctx_train: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_ff: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub dim_k: usize,
    pub dim_v: usize,
    pub n_rot: usize,
    pub rms_eps: f32,
    pub rope_base: f32,
    pub rope_scaling: RopeScaling,
    pub n_vocab: usize,
}

/// Caps far above any real model, so that products of sizes stay far below overflow.
const MAX_WIDTH: usize = 1 << 24;
const MAX_LAYERS: usize = 4096;
const MAX_CONTEXT: usize = 1 << 31;

impl DecoderSettings {
    /// Reads the keys under `arch.`; what depends on how long sequences can become depends on `config`.
    pub fn read(file: &GgufFile, arch: &str, config: &EngineConfig) -> Result<Self> {
        let m = file.metadata();
        let key = |name: &str| format!("{arch}.{name}");
        let size = |name: &str, max: usize| bounded(m, &key(name), max);
        let n_embd = size("embedding_length", MAX_WIDTH)?;
        let n_head = size("attention.head_count", MAX_WIDTH)?;
        let n_ctx_train = size("context_length", MAX_CONTEXT)?;
        let optional = |name: &str, default: usize| match m.get(&key(name)) {
            None => Ok(default),
            Some(_) => bounded(m, &key(name), MAX_WIDTH),
        };
        let n_head_kv = optional("attention.head_count_kv", n_head)?;
        if n_head % n_head_kv != 0 {
            let message = format!("{n_head_kv} key-value heads do not divide {n_head} heads");
            return Err(m.error(key("attention.head_count_kv"), message));
        }
        if m.get(&key("attention.key_length")).is_none() && n_embd % n_head != 0 {
            return Err(
                m.error(key("attention.head_count"), format!("{n_head} heads do not divide the width {n_embd}"))
            );
        }
        let dim_k = optional("attention.key_length", n_embd / n_head)?;
        let n_rot = optional("rope.dimension_count", dim_k)?;
        if n_rot % 2 != 0 || n_rot > dim_k {
            return Err(
                m.error(key("rope.dimension_count"), format!("{n_rot} is not allowed; allowed: even, up to {dim_k}"))
            );
        }
        let rms_eps =
            m.require(&key("attention.layer_norm_rms_epsilon"), m.f32(&key("attention.layer_norm_rms_epsilon")))?;
        if rms_eps < 0.0 {
            let message = format!("{rms_eps} is not allowed; allowed: 0 or above");
            return Err(m.error(key("attention.layer_norm_rms_epsilon"), message));
        }
        let rope_base = m.f32(&key("rope.freq_base"))?.unwrap_or(10_000.0);
        if rope_base <= 1.0 {
            return Err(m.error(key("rope.freq_base"), format!("{rope_base} is not allowed; allowed: above 1")));
        }
        Ok(Self {
            n_ctx_train,
            n_embd,
            n_layer: size("block_count", MAX_LAYERS)?,
            n_ff: size("feed_forward_length", MAX_WIDTH)?,
            n_head,
            n_head_kv,
            dim_k,
            dim_v: optional("attention.value_length", n_embd / n_head)?,
            n_rot,
            rms_eps,
            rope_base,
            rope_scaling: rope_scaling(file, arch, n_rot, (n_ctx_train, config.sequence_context(n_ctx_train)))?,
            n_vocab: vocabulary_rows(file, n_embd)?,
        })
    }
}

/// Sizes and constants of an encoder.
#[derive(Debug, Clone)]
pub struct EncoderSettings {
    pub n_ctx_train: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_ff: usize,
    pub n_head: usize,
    pub eps: f32,
    pub n_vocab: usize,
    pub n_types: usize,
    /// Scores of the classification head; 0 where there is none.
    pub n_classes: usize,
}

impl EncoderSettings {
    /// Reads the keys under `arch.`.
    pub fn read(file: &GgufFile, arch: &str) -> Result<Self> {
        let m = file.metadata();
        let key = |name: &str| format!("{arch}.{name}");
        let size = |name: &str, max: usize| bounded(m, &key(name), max);
        let n_embd = size("embedding_length", MAX_WIDTH)?;
        let n_head = size("attention.head_count", MAX_WIDTH)?;
        if n_embd % n_head != 0 {
            let message = format!("{n_head} heads do not divide the width {n_embd}");
            return Err(m.error(key("attention.head_count"), message));
        }
        if m.bool(&key("attention.causal"))? == Some(true) {
            return Err(m.error(key("attention.causal"), "true is not supported; supported: false"));
        }
        let eps = m.require(&key("attention.layer_norm_epsilon"), m.f32(&key("attention.layer_norm_epsilon")))?;
        if eps < 0.0 {
            let message = format!("{eps} is not allowed; allowed: 0 or above");
            return Err(m.error(key("attention.layer_norm_epsilon"), message));
        }
        Ok(Self {
            n_ctx_train: size("context_length", MAX_CONTEXT)?,
            n_embd,
            n_layer: size("block_count", MAX_LAYERS)?,
            n_ff: size("feed_forward_length", MAX_WIDTH)?,
            n_head,
            eps,
            n_vocab: vocabulary_rows(file, n_embd)?,
            n_types: bounded(m, "tokenizer.ggml.token_type_count", MAX_WIDTH)?,
            n_classes: class_rows(file, n_embd)?,
        })
    }
}

/// How the file says that vectors of a text's tokens become one.
pub fn pooling(file: &GgufFile, arch: &str) -> Result<Pooling> {
    let (m, key) = (file.metadata(), format!("{arch}.pooling_type"));
    let Some(number) = m.u64(&key)? else { return Ok(Pooling::None) };
    Pooling::from_number(number).ok_or_else(|| {
        m.error(key, format!("{number} is unknown; known: 0 (none), 1 (mean), 2 (cls), 3 (last), 4 (rank)"))
    })
}

/// Scores that the classification head gives; 0 without one.
fn class_rows(file: &GgufFile, n_embd: usize) -> Result<usize> {
    let name = "cls.output.weight";
    match file.tensor(name).map(|tensor| tensor.dims.as_slice()) {
        None => Ok(0),
        Some([width, rows]) if *width == n_embd && *rows > 0 => Ok(*rows),
        Some(dims) => {
            Err(file.metadata().error(name, format!("its shape is {dims:?}; expected [{n_embd}, number of classes]")))
        }
    }
}

/// A size from 1 to `max`.
fn bounded(m: &Metadata, key: &str, max: usize) -> Result<usize> {
    let value = m.require(key, m.usize(key))?;
    if (1..=max).contains(&value) {
        Ok(value)
    } else {
        Err(m.error(key, format!("{value} is out of range; allowed: 1 to {max}")))
    }
}

/// Rows of the embedding table, which decide the size of the vocabulary.
fn vocabulary_rows(file: &GgufFile, n_embd: usize) -> Result<usize> {
    let m = file.metadata();
    let name = "token_embd.weight";
    match file.tensor(name).map(|tensor| tensor.dims.as_slice()) {
        Some([width, rows]) if *width == n_embd => Ok(*rows),
        Some(dims) => Err(m.error(name, format!("its shape is {dims:?}; expected [{n_embd}, vocabulary]"))),
        None => Err(m.error(name, "the tensor is missing")),
    }
}

/// The window of local layers, where the file names one that is not without bounds.
pub fn window(m: &Metadata, arch: &str) -> Result<Option<usize>> {
    let key = format!("{arch}.attention.sliding_window");
    Ok(m.usize(&key)?.filter(|window| *window > 0))
}

/// How positions beyond the training context are treated, in sequences of up to `n_ctx` tokens.
fn rope_scaling(
    file: &GgufFile,
    arch: &str,
    n_rot: usize,
    (n_ctx_train, n_ctx): (usize, usize),
) -> Result<RopeScaling> {
    let m = file.metadata();
    let key = |name: &str| format!("{arch}.rope.scaling.{name}");
    let original_context = key("original_context_length");
    if file.tensor("rope_freqs.weight").is_some() {
        return Ok(RopeScaling::Factors { factors: rope_factors(file, "rope_freqs.weight", n_rot)?, magnitude: 1.0 });
    }
    if file.tensor("rope_factors_short.weight").is_some() {
        let original = match m.get(&original_context) {
            None => n_ctx_train,
            Some(_) => bounded(m, &original_context, MAX_CONTEXT)?,
        };
        let name = if n_ctx > original { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        let magnitude = m.f32(&key("attn_factor"))?.unwrap_or(1.0);
        return Ok(RopeScaling::Factors { factors: rope_factors(file, name, n_rot)?, magnitude });
    }
    // Old files have a key of their own for the linear factor.
    let old = m.f32(&format!("{arch}.rope.scale_linear"))?;
    let factor = m.f32(&key("factor"))?.or(old).unwrap_or(1.0);
    if factor <= 0.0 {
        return Err(m.error(key("factor"), format!("{factor} is not allowed; allowed: above 0")));
    }
    match m.str(&key("type"))?.unwrap_or(if factor == 1.0 { "none" } else { "linear" }) {
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear(factor)),
        "yarn" => Ok(RopeScaling::Yarn {
            factor,
            original_context: bounded(m, &original_context, MAX_CONTEXT)?,
            beta_fast: m.f32(&key("yarn_beta_fast"))?.unwrap_or(32.0),
            beta_slow: m.f32(&key("yarn_beta_slow"))?.unwrap_or(1.0),
            attention_factor: m.f32(&key("attn_factor"))?.unwrap_or(1.0),
        }),
        other => Err(m.error(key("type"), format!("{other:?} is not supported; supported: none, linear, yarn"))),
    }
}

/// What the frequencies of rotated pairs are divided by.
fn rope_factors(file: &GgufFile, name: &str, n_rot: usize) -> Result<Vec<f32>> {
    let m = file.metadata();
    let tensor = file.tensor(name).ok_or_else(|| m.error(name, "the tensor is missing"))?;
    if tensor.n_elements() != n_rot / 2 {
        let message = format!("it has {} factors; expected {}", tensor.n_elements(), n_rot / 2);
        return Err(m.error(name, message));
    }
    file.check_finite(tensor)?;
    let factors = file.dequantize(tensor);
    match factors.iter().find(|factor| **factor <= 0.0) {
        None => Ok(factors),
        Some(factor) => Err(m.error(name, format!("factor {factor} is not allowed; allowed: above 0"))),
    }
}
