//! Model architectures: wiring of `layers/`, one file a family.
//!
//! A decoder's file says in what it differs from Llama ([`decoder::Wiring`]), and stands in [`DECODERS`];
//! what is no such decoder implements [`Model`] itself. `docs/architectures.md` says how to add one.

mod adapter;
mod bert;
mod decoder;
mod gemma3;
mod llama;
mod phi3;
mod qwen2;
mod qwen3;
mod settings;
mod weights;

use candle_core::Tensor;

pub use adapter::Adapter;

use crate::config::{Adapters, EngineConfig, Pooling};
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, Metadata};
use crate::kv_cache::KvStore;
use crate::layers::{AdaptedRows, Compute};
use decoder::{Decoder, Wiring};
use settings::{DecoderSettings, EncoderSettings};

/// How a family reads what is its own from a file's metadata.
type ReadWiring = fn(&Metadata, &DecoderSettings) -> Result<Wiring>;

/// Decoders by the name that files give their architecture.
const DECODERS: [(&str, ReadWiring); 5] = [
    ("llama", llama::wiring),
    ("qwen2", qwen2::wiring),
    ("qwen3", qwen3::wiring),
    ("gemma3", gemma3::wiring),
    ("phi3", phi3::wiring),
];

const ENCODER: &str = "bert";

/// Names of the architectures that can be loaded.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    DECODERS.iter().map(|(name, _)| *name).chain([ENCODER])
}

/// What [`architectures`] gives, for messages.
fn listed(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// What the rest of the engine needs to know of a model.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    pub architecture: String,
    pub n_vocab: usize,
    pub n_ctx_train: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim_k: usize,
    pub head_dim_v: usize,
    pub n_params: u64,
    /// Bytes of all tensors in the file.
    pub size: u64,
    /// Whether a text can be continued; encoders only give vectors, of whole sequences in one step.
    pub generates: bool,
    /// Layers whose keys and values are kept apart: all, or one that an encoder's layers share.
    pub n_layer_cache: usize,
    /// How the file says that the vectors of a text become one.
    pub pooling: Pooling,
    /// Scores of the classification head; 0 without one.
    pub n_classes: usize,
    /// LoRA adapters that steps may name, by their place.
    pub adapters: Vec<Adapter>,
}

/// One sequence's part of a step: rows `row .. row + n_tokens` of the batch.
#[derive(Debug, Clone)]
pub struct SequenceRows {
    pub row: usize,
    pub n_tokens: usize,
    /// Tokens of this sequence already in the cache; the first row has this position.
    pub n_past: usize,
    /// Physical KV blocks of the sequence in order, enough for `n_past + n_tokens`.
    pub blocks: Vec<u32>,
}

/// A step as plain data.
#[derive(Debug, Clone, Default)]
pub struct StepInput {
    pub tokens: Vec<u32>,
    pub sequences: Vec<SequenceRows>,
    /// Rows whose logits are wanted, ascending.
    pub outputs: Vec<usize>,
    /// Rows that run with adapters, ascending; the others run with the model as it is.
    pub adapted: Vec<AdaptedRows>,
}

/// A loaded model. One engine thread owns it.
pub trait Model: Send {
    fn info(&self) -> &ModelInfo;
    /// The threads and the instructions that it computes with.
    fn compute(&self) -> &Compute;
    /// Runs all rows, writes their keys and values to `cache` and returns logits
    /// `[outputs.len(), n_vocab]` in f32, which the next call overwrites. Each row's bits do not
    /// depend on what else is in the step.
    fn forward(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor>;
    /// Runs all rows as [`Self::forward`] does and returns the vectors `[outputs.len(), n_embd]` of the
    /// wanted ones after the last normalization.
    fn hidden(&mut self, step: &StepInput, cache: &mut KvStore) -> Result<Tensor>;
    /// The scores `[rows, n_classes]` that the classification head gives to vectors `[rows, n_embd]`.
    fn classify(&mut self, _vectors: &Tensor) -> Result<Tensor> {
        Err(Error::Unsupported(format!("{} has no classification head", self.info().architecture)))
    }
}

impl StepInput {
    /// The position of each row in its sequence.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.sequences.iter().flat_map(|sequence| sequence.n_past..sequence.n_past + sequence.n_tokens)
    }

    /// Says that the last `n` rows run with `adapters`, which must be the model's.
    pub fn adapt_last(&mut self, n: usize, adapters: &Adapters) {
        let end = self.tokens.len();
        match self.adapted.last_mut() {
            _ if adapters.is_empty() => {}
            // Neighbours with the same adapters share the passes over their matrices.
            Some(last) if last.rows.end == end - n && last.adapters == *adapters => last.rows.end = end,
            _ => self.adapted.push(AdaptedRows { rows: end - n..end, adapters: adapters.clone() }),
        }
    }

    /// [`Self::adapted`] for the rows of [`Self::select_outputs`].
    #[must_use]
    pub fn adapted_outputs(&self) -> Vec<AdaptedRows> {
        let place = |row: usize| self.outputs.partition_point(|output| *output < row);
        let of = |AdaptedRows { rows, adapters }: &AdaptedRows| AdaptedRows {
            rows: place(rows.start)..place(rows.end),
            adapters: adapters.clone(),
        };
        self.adapted.iter().map(of).filter(|adapted| !adapted.rows.is_empty()).collect()
    }

    /// The rows of `x` whose logits are wanted.
    pub fn select_outputs(&self, x: &Tensor) -> Result<Tensor> {
        let rows: Vec<u32> = self.outputs.iter().map(|row| *row as u32).collect();
        Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?)
    }
}

/// Loads the model of a file; `progress` gets 0.0 to 1.0 and returns false to stop.
pub fn load(file: &GgufFile, config: &EngineConfig, progress: &mut dyn FnMut(f32) -> bool) -> Result<Box<dyn Model>> {
    let metadata = file.metadata();
    let arch = metadata.require("general.architecture", metadata.str("general.architecture"))?;
    let mut progress = |fraction: f32| {
        if progress(fraction) { Ok(()) } else { Err(Error::Internal("loading was stopped".into())) }
    };
    progress(0.0)?;
    let compute = Compute::new(config.n_threads)?;
    let decoder = DECODERS.iter().find(|(name, _)| *name == arch);
    let model: Box<dyn Model> = if let Some((_, wiring)) = decoder {
        let settings = DecoderSettings::read(file, arch, config)?;
        let wiring = wiring(metadata, &settings)?;
        let adapters = config.lora.iter().map(|path| Adapter::open(path, file)).collect::<Result<_>>()?;
        let info = ModelInfo { adapters, ..ModelInfo::of_decoder(file, arch, &settings)? };
        Box::new(Decoder::load(file, info, (&settings, &wiring), compute, &mut progress)?)
    } else if arch == ENCODER {
        if !config.lora.is_empty() {
            let supported = listed(DECODERS.iter().map(|(name, _)| *name));
            let message = format!("adapters are not supported for the architecture bert; supported: {supported}");
            return Err(Error::Config { field: "lora", message });
        }
        let settings = EncoderSettings::read(file, arch)?;
        let info = ModelInfo::of_encoder(file, arch, &settings)?;
        Box::new(bert::Bert::load(file, info, &settings, compute, &mut progress)?)
    } else {
        let known = listed(architectures());
        return Err(metadata.error("general.architecture", format!("{arch:?} is not supported; supported: {known}")));
    };
    file.release_pages();
    model.info().adapters.iter().for_each(|adapter| adapter.file.release_pages());
    progress(1.0)?;
    Ok(model)
}

impl ModelInfo {
    fn of_decoder(file: &GgufFile, arch: &str, s: &DecoderSettings) -> Result<Self> {
        Ok(Self {
            architecture: arch.to_owned(),
            n_vocab: s.n_vocab,
            n_ctx_train: s.n_ctx_train,
            n_embd: s.n_embd,
            n_layer: s.n_layer,
            n_head: s.n_head,
            n_head_kv: s.n_head_kv,
            head_dim_k: s.dim_k,
            head_dim_v: s.dim_v,
            n_params: n_params(file),
            size: size(file),
            generates: true,
            n_layer_cache: s.n_layer,
            pooling: settings::pooling(file, arch)?,
            n_classes: 0,
            adapters: Vec::new(),
        })
    }

    fn of_encoder(file: &GgufFile, arch: &str, s: &EncoderSettings) -> Result<Self> {
        Ok(Self {
            architecture: arch.to_owned(),
            n_vocab: s.n_vocab,
            n_ctx_train: s.n_ctx_train,
            n_embd: s.n_embd,
            n_layer: s.n_layer,
            n_head: s.n_head,
            n_head_kv: s.n_head,
            head_dim_k: s.n_embd / s.n_head,
            head_dim_v: s.n_embd / s.n_head,
            n_params: n_params(file),
            size: size(file),
            generates: false,
            n_layer_cache: 1,
            pooling: settings::pooling(file, arch)?,
            n_classes: s.n_classes,
            adapters: Vec::new(),
        })
    }
}

fn n_params(file: &GgufFile) -> u64 {
    file.tensors().iter().map(|tensor| tensor.n_elements() as u64).sum()
}

/// Bytes of all tensors.
fn size(file: &GgufFile) -> u64 {
    file.tensors().iter().map(|tensor| tensor.bytes as u64).sum()
}
