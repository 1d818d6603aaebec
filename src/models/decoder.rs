//! Decoders: attention over what came before with rotary positions, then a gated feed-forward layer, each
//! behind a normalization and added to the stream. What sets the families apart is their [`Wiring`].

use candle_core::{Device, Tensor};

use super::settings::DecoderSettings;
use super::weights::Weights;
use super::{Adapter, Model, ModelInfo, StepInput};
use crate::error::Result;
use crate::gguf::GgufFile;
use crate::kernels::Gate;
use crate::kernels::attention::Spans;
use crate::kv_cache::KvStore;
use crate::layers::{
    Attention, AttentionShape, Buffer, Compute, Embedding, GatedMlp, Projection, QueryKeyNorms, RmsNorm, Rope,
    RopeKind, RopeScaling, RopeTable, visit_rows,
};

/// What a family does in its own way. A new family is a file that gives one.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// Which elements of a head are rotated together.
    pub rope: RopeKind,
    /// Factor of the scores of queries and keys.
    pub attention_scale: f32,
    /// Whether queries and keys are normalized head by head (`attn_q_norm`, `attn_k_norm`).
    pub normalizes_heads: bool,
    /// Whether what attention and the feed-forward layer give is normalized before it is added
    /// (`post_attention_norm`, `post_ffw_norm`).
    pub normalizes_outputs: bool,
    /// What the gates of the feed-forward layer pass through.
    pub gate: Gate,
    /// Whether `ffn_up` has the rows of the gates first and then its own.
    pub gates_in_up: bool,
    /// Factor of the tokens' vectors.
    pub embedding_scale: f32,
    /// Layers that see a window alone, where there are any.
    pub local: Option<LocalLayers>,
}

/// Layers whose rows see the last keys alone.
#[derive(Debug, Clone, Copy)]
pub struct LocalLayers {
    /// Keys that a row sees, its own included.
    pub window: usize,
    /// Base frequency of their rotation, which is never scaled.
    pub rope_base: f32,
    /// Every so many layers, the last one sees everything; the others are local.
    pub period: usize,
}

impl LocalLayers {
    fn contains(&self, layer: usize) -> bool {
        !(layer + 1).is_multiple_of(self.period)
    }
}

impl Wiring {
    /// The way of Llama, from which the others depart.
    #[must_use]
    pub fn llama(s: &DecoderSettings) -> Self {
        Self {
            rope: RopeKind::Normal,
            attention_scale: 1.0 / (s.dim_k as f32).sqrt(),
            normalizes_heads: false,
            normalizes_outputs: false,
            gate: Gate::Silu,
            gates_in_up: false,
            embedding_scale: 1.0,
            local: None,
        }
    }
}

/// A loaded decoder.
pub struct Decoder {
    info: ModelInfo,
    compute: Compute,
    everything: Sight,
    /// What local layers see.
    nearby: Option<Sight>,
    embedding: Embedding,
    layers: Vec<Layer>,
    head: Projection,
    buffers: Buffers,
}

/// How far layers see, and how they tell positions.
struct Sight {
    shape: AttentionShape,
    rope: Rope,
}

/// Rows of the running step.
struct Buffers {
    /// The residual stream.
    x: Buffer,
    /// Queries, keys and values of a layer.
    qkv: Buffer,
    /// What its attention gives.
    attended: Buffer,
    /// What is normalized before it is added to the stream.
    branch: Buffer,
    /// One row for each that is wanted.
    logits: Buffer,
}

struct Layer {
    is_local: bool,
    qkv: Projection,
    head_norms: Option<QueryKeyNorms>,
    output: Projection,
    output_norm: Option<RmsNorm>,
    mlp: GatedMlp,
    mlp_norm: Option<RmsNorm>,
}

impl Decoder {
    /// Loads the tensors of `file`.
    pub fn load(
        file: &GgufFile,
        info: ModelInfo,
        (s, wiring): (&DecoderSettings, &Wiring),
        compute: Compute,
        progress: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<Self> {
        let weights = Weights { file, pool: &compute.pool, adapters: &info.adapters };
        let mut layers = Vec::new();
        for index in 0..s.n_layer {
            layers.push(Layer::load(&weights, s, wiring, index)?);
            progress((index + 1) as f32 / (s.n_layer + 1) as f32)?;
        }
        let updates = info.adapters.iter().map(Adapter::embedding_update).collect();
        let table = weights.tensor("token_embd.weight", &[s.n_embd, s.n_vocab])?;
        let embedding = Embedding::new(file, table).with_updates(updates).with_scale(wiring.embedding_scale);
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
                branch: width(s.n_embd)?,
                logits: width(head.n())?,
            },
            info,
            everything: Sight::new(s, wiring, None),
            nearby: wiring.local.map(|local| Sight::new(s, wiring, Some(local))),
            embedding,
            layers,
            head,
            compute,
        })
    }
}

impl Sight {
    fn new(s: &DecoderSettings, wiring: &Wiring, local: Option<LocalLayers>) -> Self {
        let shape = AttentionShape {
            n_head: s.n_head,
            n_head_kv: s.n_head_kv,
            dim_k: s.dim_k,
            dim_v: s.dim_v,
            scale: wiring.attention_scale,
            window: local.map_or(usize::MAX, |local| local.window),
        };
        let rope = match local {
            None => Rope::new(wiring.rope, s.n_rot, s.rope_base, &s.rope_scaling),
            Some(local) => Rope::new(wiring.rope, s.n_rot, local.rope_base, &RopeScaling::None),
        };
        Self { shape, rope }
    }

    fn attention<'a>(&self, spans: &'a Spans<'a>, rope: &'a RopeTable, compute: &'a Compute) -> Attention<'a> {
        Attention { shape: self.shape, spans, norms: None, rope, compute }
    }
}

impl Layer {
    fn load(weights: &Weights<'_>, s: &DecoderSettings, wiring: &Wiring, index: usize) -> Result<Self> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let linear = |part: &str, k: usize, n: usize| weights.linear(&name(part), k, n);
        let norm_if = |wanted: bool, part: &str, n: usize| {
            wanted.then(|| weights.rms_norm(&name(part), n, s.rms_eps)).transpose()
        };
        let (n_q, n_k, n_v) = (s.n_head * s.dim_k, s.n_head_kv * s.dim_k, s.n_head_kv * s.dim_v);
        let is_fused = weights.file.tensor(&name("attn_qkv.weight")).is_some();
        let query_norm = norm_if(wiring.normalizes_heads, "attn_q_norm", s.dim_k)?;
        let key_norm = norm_if(wiring.normalizes_heads, "attn_k_norm", s.dim_k)?;
        Ok(Self {
            is_local: wiring.local.is_some_and(|local| local.contains(index)),
            qkv: Projection {
                name: "qkv",
                norm: Some(weights.rms_norm(&name("attn_norm"), s.n_embd, s.rms_eps)?),
                parts: if is_fused {
                    vec![linear("attn_qkv", s.n_embd, n_q + n_k + n_v)?]
                } else {
                    vec![
                        linear("attn_q", s.n_embd, n_q)?,
                        linear("attn_k", s.n_embd, n_k)?,
                        linear("attn_v", s.n_embd, n_v)?,
                    ]
                },
            },
            head_norms: query_norm.zip(key_norm).map(|(query, key)| QueryKeyNorms { query, key }),
            output: Projection::single("output", linear("attn_output", s.n_head * s.dim_v, s.n_embd)?),
            output_norm: norm_if(wiring.normalizes_outputs, "post_attention_norm", s.n_embd)?,
            mlp: GatedMlp {
                gate: wiring.gate,
                gate_up: Projection {
                    name: "gate, up",
                    norm: Some(weights.rms_norm(&name("ffn_norm"), s.n_embd, s.rms_eps)?),
                    parts: if wiring.gates_in_up {
                        weights.halves(&name("ffn_up"), s.n_embd, s.n_ff)?.into()
                    } else {
                        vec![linear("ffn_gate", s.n_embd, s.n_ff)?, linear("ffn_up", s.n_embd, s.n_ff)?]
                    },
                },
                down: linear("ffn_down", s.n_ff, s.n_embd)?,
            },
            mlp_norm: norm_if(wiring.normalizes_outputs, "post_ffw_norm", s.n_embd)?,
        })
    }
}

impl Model for Decoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn compute(&self) -> &Compute {
        &self.compute
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

impl Decoder {
    /// The residual stream of all rows after the last layer.
    fn run_layers(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor> {
        let Self { compute, buffers, everything, nearby, .. } = self;
        let rope = everything.rope.table(step.positions());
        let local_rope = nearby.as_ref().map(|sight| sight.rope.table(step.positions()));
        let spans = Attention::spans(step, true);
        let far = everything.attention(&spans, &rope, compute);
        let near = nearby.as_ref().zip(local_rope.as_ref());
        let near = near.map(|(sight, rope)| sight.attention(&spans, rope, compute));
        let n_rows = step.tokens.len();
        let x = buffers.x.rows(n_rows)?;
        let qkv = buffers.qkv.rows(n_rows)?;
        let attended = buffers.attended.rows(n_rows)?;
        let branch = buffers.branch.rows(n_rows)?;
        let adapted = &step.adapted;
        compute.profile.time("embedding", || self.embedding.write(&step.tokens, &x, compute))?;
        self.embedding.adapt(&step.tokens, &x, adapted, compute)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let attention = near.filter(|_| layer.is_local).unwrap_or(far);
            let attention = Attention { norms: layer.head_norms.as_ref(), ..attention };
            let layer_cache = cache.layer_mut(index);
            attention.prefetch(&layer_cache);
            let next = self.layers.get(index + 1).map_or(&self.head, |layer| &layer.qkv);
            compute.pool.will_read(layer.output.upcoming());
            layer.qkv.write(&x, &qkv, compute)?;
            layer.qkv.adapt(&x, &qkv, adapted, compute)?;
            attention.write(&qkv, &attended, layer_cache)?;
            compute.pool.will_read(layer.mlp.upcoming());
            match &layer.output_norm {
                None => {
                    layer.output.add(&attended, &x, compute)?;
                    layer.output.adapt(&attended, &x, adapted, compute)?;
                }
                Some(norm) => {
                    layer.output.write(&attended, &branch, compute)?;
                    layer.output.adapt(&attended, &branch, adapted, compute)?;
                    norm.add(&branch, &x, compute)?;
                }
            }
            match &layer.mlp_norm {
                None => layer.mlp.add(&x, adapted, next.upcoming(), compute)?,
                Some(norm) => {
                    layer.mlp.write(&x, &branch, adapted, next.upcoming(), compute)?;
                    norm.add(&branch, &x, compute)?;
                }
            }
        }
        Ok(x)
    }
}
