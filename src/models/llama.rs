//! The llama family: Llama 1 to 3, SmolLM, Mistral and all who use its tensors' names.

use candle_core::Tensor;

use super::settings::DecoderSettings;
use super::weights::Weights;
use super::{Model, ModelInfo, StepInput};
use crate::error::Result;
use crate::gguf::GgufFile;
use crate::kv_cache::KvStore;
use crate::layers::{Attention, AttentionShape, Compute, Embedding, GatedMlp, Projection, Rope, RopeKind};

/// A llama: attention with rotary positions, gated feed-forward, pre-normalization.
pub struct Llama {
    info: ModelInfo,
    compute: Compute,
    shape: AttentionShape,
    rope: Rope,
    embedding: Embedding,
    layers: Vec<Layer>,
    head: Projection,
}

struct Layer {
    qkv: Projection,
    output: Projection,
    mlp: GatedMlp,
}

impl Llama {
    /// Loads the tensors of `file`.
    pub fn load(
        file: &GgufFile,
        info: ModelInfo,
        s: &DecoderSettings,
        compute: Compute,
        progress: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<Self> {
        let weights = Weights { file, pool: &compute.pool };
        let mut layers = Vec::new();
        for index in 0..s.n_layer {
            layers.push(Layer::load(&weights, s, index)?);
            progress((index + 1) as f32 / (s.n_layer + 1) as f32)?;
        }
        let embedding = weights.tensor("token_embd.weight", &[s.n_embd, s.n_vocab])?;
        // Without an output matrix of its own, the model uses its embeddings.
        let head = if file.tensor("output.weight").is_some() { "output" } else { "token_embd" };
        let head = Projection {
            norm: Some(weights.rms_norm("output_norm", s.n_embd, s.rms_eps)?),
            parts: vec![weights.linear(head, s.n_embd, s.n_vocab)?],
        };
        Ok(Self {
            info,
            shape: AttentionShape {
                n_head: s.n_head,
                n_head_kv: s.n_head_kv,
                dim_k: s.dim_k,
                dim_v: s.dim_v,
                scale: 1.0 / (s.dim_k as f32).sqrt(),
            },
            rope: Rope::new(RopeKind::Normal, s.n_rot, s.rope_base, &s.rope_scaling),
            embedding: Embedding::new(file, embedding),
            layers,
            head,
            compute,
        })
    }
}

impl Layer {
    fn load(weights: &Weights<'_>, s: &DecoderSettings, index: usize) -> Result<Self> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let linear = |part: &str, k: usize, n: usize| weights.linear(&name(part), k, n);
        Ok(Self {
            qkv: Projection {
                norm: Some(weights.rms_norm(&name("attn_norm"), s.n_embd, s.rms_eps)?),
                parts: vec![
                    linear("attn_q", s.n_embd, s.n_head * s.dim_k)?,
                    linear("attn_k", s.n_embd, s.n_head_kv * s.dim_k)?,
                    linear("attn_v", s.n_embd, s.n_head_kv * s.dim_v)?,
                ],
            },
            output: Projection::single(linear("attn_output", s.n_head * s.dim_v, s.n_embd)?),
            mlp: GatedMlp {
                gate_up: Projection {
                    norm: Some(weights.rms_norm(&name("ffn_norm"), s.n_embd, s.rms_eps)?),
                    parts: vec![linear("ffn_gate", s.n_embd, s.n_ff)?, linear("ffn_up", s.n_embd, s.n_ff)?],
                },
                down: Projection::single(linear("ffn_down", s.n_ff, s.n_embd)?),
            },
        })
    }
}

impl Model for Llama {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        let rope = self.rope.table(step.positions());
        let attention = Attention { shape: self.shape, step, rope: &rope, compute: &self.compute };
        let mut x = self.embedding.forward(&step.tokens)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&x, &self.compute)?;
            let attended = attention.forward(&qkv, cache.layer_mut(index))?;
            x = layer.output.forward_add(&attended, &x, &self.compute)?;
            x = layer.mlp.forward(&x, &self.compute)?;
        }
        if step.outputs.is_empty() {
            return Ok(Tensor::zeros((0, self.info.n_vocab), x.dtype(), x.device())?);
        }
        let wanted = step.select_outputs(&x)?;
        Ok(self.head.forward(&wanted, &self.compute)?)
    }
}
