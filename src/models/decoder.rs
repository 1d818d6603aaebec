//! The llama family: Llama 1 to 3, SmolLM, Mistral and all who use its tensors' names.

use candle_core::{Device, Tensor};

use super::settings::DecoderSettings;
use super::weights::Weights;
use super::{Adapter, Model, ModelInfo, StepInput};
use crate::error::Result;
use crate::gguf::GgufFile;
use crate::kv_cache::KvStore;
use crate::layers::{
    Attention, AttentionShape, Buffer, Compute, Embedding, GatedMlp, Projection, Rope, RopeKind, visit_rows,
};

/// A llama: attention with rotary positions, gated feed-forward, pre-normalization.
pub struct Llama {
    info: ModelInfo,
    compute: Compute,
    shape: AttentionShape,
    rope: Rope,
    embedding: Embedding,
    layers: Vec<Layer>,
    head: Projection,
    buffers: Buffers,
}

/// Rows of the running step.
struct Buffers {
    /// The residual stream.
    x: Buffer,
    /// Queries, keys and values of a layer.
    qkv: Buffer,
    /// What its attention gives.
    attended: Buffer,
    /// One row for each that is wanted.
    logits: Buffer,
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
        let weights = Weights { file, pool: &compute.pool, adapters: &info.adapters };
        let mut layers = Vec::new();
        for index in 0..s.n_layer {
            layers.push(Layer::load(&weights, s, index)?);
            progress((index + 1) as f32 / (s.n_layer + 1) as f32)?;
        }
        let updates = info.adapters.iter().map(Adapter::embedding_update).collect();
        let table = weights.tensor("token_embd.weight", &[s.n_embd, s.n_vocab])?;
        let embedding = Embedding::new(file, table).with_updates(updates);
        // Without an output matrix of its own, the model uses its embeddings.
        let head = if file.tensor("output.weight").is_some() { "output" } else { "token_embd" };
        let head = Projection {
            name: "head",
            norm: Some(weights.rms_norm("output_norm", s.n_embd, s.rms_eps)?),
            parts: vec![weights.linear(head, s.n_embd, s.n_vocab)?],
        };
        let width = |n| Buffer::new(n, &Device::Cpu);
        Ok(Self {
            buffers: Buffers {
                x: width(s.n_embd)?,
                qkv: width(layers.first().map_or(0, |layer| layer.qkv.n()))?,
                attended: width(s.n_head * s.dim_v)?,
                logits: width(head.n())?,
            },
            info,
            shape: AttentionShape {
                n_head: s.n_head,
                n_head_kv: s.n_head_kv,
                dim_k: s.dim_k,
                dim_v: s.dim_v,
                scale: 1.0 / (s.dim_k as f32).sqrt(),
            },
            rope: Rope::new(RopeKind::Normal, s.n_rot, s.rope_base, &s.rope_scaling),
            embedding,
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
                name: "qkv",
                norm: Some(weights.rms_norm(&name("attn_norm"), s.n_embd, s.rms_eps)?),
                parts: vec![
                    linear("attn_q", s.n_embd, s.n_head * s.dim_k)?,
                    linear("attn_k", s.n_embd, s.n_head_kv * s.dim_k)?,
                    linear("attn_v", s.n_embd, s.n_head_kv * s.dim_v)?,
                ],
            },
            output: Projection::single("output", linear("attn_output", s.n_head * s.dim_v, s.n_embd)?),
            mlp: GatedMlp {
                gate_up: Projection {
                    name: "gate, up",
                    norm: Some(weights.rms_norm(&name("ffn_norm"), s.n_embd, s.rms_eps)?),
                    parts: vec![linear("ffn_gate", s.n_embd, s.n_ff)?, linear("ffn_up", s.n_embd, s.n_ff)?],
                },
                down: linear("ffn_down", s.n_ff, s.n_embd)?,
            },
        })
    }
}

impl Model for Llama {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        let x = self.run_layers(step, cache)?;
        let logits = self.buffers.logits.rows(step.outputs.len())?;
        if !step.outputs.is_empty() {
            let x = step.select_outputs(&x)?;
            self.head.write(&x, &logits, &self.compute)?;
            self.head.adapt(&x, &logits, &step.adapted_outputs(), &self.compute)?;
        }
        Ok(logits)
    }

    fn hidden(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        let x = self.run_layers(step, cache)?;
        let hidden = step.select_outputs(&x)?;
        if let Some(norm) = &self.head.norm {
            let mut row = vec![0.0; self.info.n_embd];
            visit_rows(&hidden, |_, out| {
                row.copy_from_slice(out);
                norm.apply(&row, out);
            })?;
        }
        Ok(hidden)
    }
}

impl Llama {
    /// The residual stream of all rows after the last layer.
    fn run_layers(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        let Self { compute, buffers, .. } = self;
        let rope = self.rope.table(step.positions());
        let attention = Attention { shape: self.shape, step, rope: &rope, causal: true, compute };
        let x = buffers.x.rows(step.tokens.len())?;
        let qkv = buffers.qkv.rows(step.tokens.len())?;
        let attended = buffers.attended.rows(step.tokens.len())?;
        let adapted = &step.adapted;
        compute.profile.time("embedding", || self.embedding.write(&step.tokens, &x, compute))?;
        self.embedding.adapt(&step.tokens, &x, adapted, compute)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let layer_cache = cache.layer_mut(index);
            attention.prefetch(&layer_cache);
            compute.pool.will_read(layer.output.parts[0].matrix.bytes());
            layer.qkv.write(&x, &qkv, compute)?;
            layer.qkv.adapt(&x, &qkv, adapted, compute)?;
            attention.write(&qkv, &attended, layer_cache)?;
            layer.output.add(&attended, &x, compute)?;
            layer.output.adapt(&attended, &x, adapted, compute)?;
            layer.mlp.add(&x, adapted, compute)?;
        }
        Ok(x)
    }
}
