//! BERT (Devlin et al. 2018) and what is published in its shape: MiniLM, BGE, their rerankers.

use candle_core::{Device, Tensor};

use super::settings::EncoderSettings;
use super::weights::Weights;
use super::{Model, ModelInfo, StepInput};
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::kv_cache::KvStore;
use crate::layers::{
    Attention, AttentionShape, Buffer, Compute, Embedding, LayerNorm, Linear, Mlp, Positions, Projection, Rope,
    RopeKind, RopeScaling, visit_rows,
};

/// An encoder: attention in both directions, absolute positions, normalization after each sum.
pub struct Bert {
    info: ModelInfo,
    compute: Compute,
    shape: AttentionShape,
    /// Turns nothing; positions are in the embeddings.
    rope: Rope,
    embedding: Embedding,
    /// Vectors of positions with that of the first token type, which is all that inference uses.
    positions: Positions,
    norm: LayerNorm,
    layers: Vec<Layer>,
    classifier: Option<Classifier>,
    buffers: Buffers,
}

/// Rows of the running step.
struct Buffers {
    x: Buffer,
    qkv: Buffer,
    attended: Buffer,
}

struct Layer {
    qkv: Projection,
    output: Projection,
    attention_norm: LayerNorm,
    mlp: Mlp,
    output_norm: LayerNorm,
}

/// From a vector to the scores of classes; the first step ends in a hyperbolic tangent.
struct Classifier {
    dense: Option<Projection>,
    output: Projection,
}

impl Bert {
    /// Loads the tensors of `file`.
    pub fn load(
        file: &GgufFile,
        info: ModelInfo,
        s: &EncoderSettings,
        compute: Compute,
        progress: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<Self> {
        let weights = Weights { file, pool: &compute.pool, adapters: &[] };
        let mut layers = Vec::new();
        for index in 0..s.n_layer {
            layers.push(Layer::load(&weights, s, index)?);
            progress((index + 1) as f32 / (s.n_layer + 1) as f32)?;
        }
        let embedding = weights.tensor("token_embd.weight", &[s.n_embd, s.n_vocab])?;
        let types = file.dequantize(weights.tensor("token_types.weight", &[s.n_embd, s.n_types])?);
        let mut table = file.dequantize(weights.tensor("position_embd.weight", &[s.n_embd, s.n_ctx_train])?);
        for row in table.chunks_exact_mut(s.n_embd) {
            row.iter_mut().zip(&types).for_each(|(x, first)| *x += first);
        }
        let width = |n| Buffer::new(n, &Device::Cpu);
        Ok(Self {
            buffers: Buffers { x: width(s.n_embd)?, qkv: width(3 * s.n_embd)?, attended: width(s.n_embd)? },
            shape: AttentionShape {
                n_head: s.n_head,
                n_head_kv: s.n_head,
                dim_k: s.n_embd / s.n_head,
                dim_v: s.n_embd / s.n_head,
                scale: 1.0 / ((s.n_embd / s.n_head) as f32).sqrt(),
                window: usize::MAX,
            },
            rope: Rope::new(RopeKind::Normal, 0, 1.0, &RopeScaling::None),
            embedding: Embedding::new(file, embedding),
            positions: Positions { table, width: s.n_embd },
            norm: weights.layer_norm("token_embd_norm", s.n_embd, s.eps)?,
            classifier: Classifier::load(&weights, s)?,
            layers,
            info,
            compute,
        })
    }
}

impl Layer {
    fn load(weights: &Weights<'_>, s: &EncoderSettings, index: usize) -> Result<Self> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let linear = |part: &str, k: usize, n: usize| weights.linear(&name(part), k, n);
        let fused = weights.file.tensor(&name("attn_qkv.weight")).is_some();
        let parts: &[&str] = if fused { &["attn_qkv"] } else { &["attn_q", "attn_k", "attn_v"] };
        let n = 3 * s.n_embd / parts.len();
        Ok(Self {
            qkv: Projection {
                name: "qkv",
                norm: None,
                parts: parts.iter().map(|part| linear(part, s.n_embd, n)).collect::<Result<_>>()?,
            },
            output: Projection::single("output", linear("attn_output", s.n_embd, s.n_embd)?),
            attention_norm: weights.layer_norm(&name("attn_output_norm"), s.n_embd, s.eps)?,
            mlp: Mlp {
                up: Projection::single("up", linear("ffn_up", s.n_embd, s.n_ff)?),
                down: linear("ffn_down", s.n_ff, s.n_embd)?,
            },
            output_norm: weights.layer_norm(&name("layer_output_norm"), s.n_embd, s.eps)?,
        })
    }
}

impl Classifier {
    /// The head, where the file has one.
    fn load(weights: &Weights<'_>, s: &EncoderSettings) -> Result<Option<Self>> {
        if s.n_classes == 0 {
            return Ok(None);
        }
        let single = |name, linear: Linear| Projection::single(name, linear);
        let has_dense = weights.file.tensor("cls.weight").is_some();
        let dense = has_dense.then(|| weights.linear("cls", s.n_embd, s.n_embd)).transpose()?;
        Ok(Some(Self {
            dense: dense.map(|linear| single("classifier", linear)),
            output: single("scores", weights.linear("cls.output", s.n_embd, s.n_classes)?),
        }))
    }
}

impl Model for Bert {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn compute(&self) -> &Compute {
        &self.compute
    }

    fn forward(&mut self, _: &StepInput, _: &mut KvStore) -> Result<Tensor> {
        Err(Error::Unsupported("the model is an encoder: it gives embeddings, it cannot continue a text".into()))
    }

    fn hidden(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        let Self { compute, buffers, .. } = self;
        let rope = self.rope.table(step.positions());
        let spans = Attention::spans(step, false);
        let attention = Attention { shape: self.shape, spans: &spans, norms: None, rope: &rope, compute };
        let x = buffers.x.rows(step.tokens.len())?;
        let qkv = buffers.qkv.rows(step.tokens.len())?;
        let attended = buffers.attended.rows(step.tokens.len())?;
        compute.profile.time("embedding", || self.embedding.write(&step.tokens, &x, compute))?;
        compute.profile.time("positions", || self.positions.add(step.positions(), &x))?;
        self.norm.write(&x, compute)?;
        for layer in &self.layers {
            layer.qkv.write(&x, &qkv, compute)?;
            // Keys and values are of use within the step alone, so all layers write to the same place.
            attention.write(&qkv, &attended, cache.layer_mut(0))?;
            layer.output.add(&attended, &x, compute)?;
            layer.attention_norm.write(&x, compute)?;
            layer.mlp.add(&x, compute)?;
            layer.output_norm.write(&x, compute)?;
        }
        step.select_outputs(&x)
    }

    fn classify(&mut self, vectors: &Tensor) -> Result<Tensor> {
        let Some(classifier) = &self.classifier else {
            return Err(Error::Unsupported("the model has no classification head (cls.output.weight)".into()));
        };
        let zeros = |n: usize| Tensor::zeros((vectors.dim(0)?, n), vectors.dtype(), vectors.device());
        let scores = zeros(classifier.output.n())?;
        match &classifier.dense {
            None => classifier.output.write(vectors, &scores, &self.compute)?,
            Some(dense) => {
                let inner = zeros(dense.n())?;
                dense.write(vectors, &inner, &self.compute)?;
                visit_rows(&inner, |_, row| row.iter_mut().for_each(|x| *x = x.tanh()))?;
                classifier.output.write(&inner, &scores, &self.compute)?;
            }
        }
        Ok(scores)
    }
}
