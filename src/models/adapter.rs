//! LoRA adapters as GGUF files, in the form of llama.cpp's `convert_lora_to_gguf.py`: pairs `NAME.lora_a`
//! and `NAME.lora_b` for tensors NAME of a model, and `adapter.lora.alpha`.

use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};
use crate::gguf::{GgufFile, TensorInfo};
use crate::kernels::{LowRank, Tiles};
use crate::layers::{EmbeddingUpdate, Scaling, Update};

/// The table of tokens, whose pair is the other way round: A has a row for each token.
const EMBEDDING: &str = "token_embd.weight";

/// Tensors that an adapter can change, beside those of a layer.
const TARGETS: [&str; 2] = [EMBEDDING, "output.weight"];

/// Parts of a layer that an adapter can change.
const LAYER_TARGETS: [&str; 8] =
    ["attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// Ranks far above those in use.
const MAX_RANK: usize = 4096;

/// An adapter that fits to a model.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub file: GgufFile,
    /// What it is for, as the file says.
    pub task_name: String,
    /// What prompts for it begin with, as the file says.
    pub prompt_prefix: String,
    alpha: f32,
}

impl Adapter {
    /// Opens `path` and checks it against `model`: its kind, its architecture, and of each tensor the name,
    /// the partner, the shape and the numbers.
    pub fn open(path: &Path, model: &GgufFile) -> Result<Self> {
        let file = GgufFile::open(path)?;
        let m = file.metadata();
        let expect = |key: &str, wanted: &str| match m.require(key, m.str(key))? {
            found if found == wanted => Ok(()),
            found => {
                let shown: String = found.chars().take(60).collect();
                Err(m.error(key, format!("{shown:?} is not allowed here; expected: {wanted:?}")))
            }
        };
        expect("general.type", "adapter")?;
        expect("adapter.type", "lora")?;
        expect("general.architecture", model.metadata().str("general.architecture")?.unwrap_or_default())?;
        let invocation = "adapter.alora.invocation_tokens";
        if m.get(invocation).is_some() {
            return Err(m.error(invocation, "adapters that a text switches on (aLoRA) are not supported"));
        }
        let text = |key: &str| Ok::<_, Error>(m.str(key)?.unwrap_or_default().to_owned());
        let adapter = Self {
            alpha: m.f32("adapter.lora.alpha")?.unwrap_or(0.0),
            task_name: text("adapter.lora.task_name")?,
            prompt_prefix: text("adapter.lora.prompt_prefix")?,
            file: file.clone(),
        };
        let mut n_pairs = 0;
        for tensor in file.tensors() {
            n_pairs += usize::from(adapter.check(tensor, model)?);
        }
        if n_pairs == 0 {
            return Err(m.error("tensor count", "it has no pair of tensors (.lora_a, .lora_b), so it changes nothing"));
        }
        Ok(adapter)
    }

    /// Checks a tensor, and with an A its whole pair. Whether it was an A.
    fn check(&self, tensor: &TensorInfo, model: &GgufFile) -> Result<bool> {
        let error = |message: String| self.file.metadata().error(&tensor.name, message);
        let (name, partner) = match (tensor.name.strip_suffix(".lora_a"), tensor.name.strip_suffix(".lora_b")) {
            (Some(name), _) => (name, format!("{name}.lora_b")),
            (_, Some(name)) => (name, format!("{name}.lora_a")),
            // llama.cpp passes over norms that were trained with the adapter; so its answers are without them.
            _ if tensor.name.ends_with("_norm.weight") => return Ok(false),
            _ => return Err(error("its name does not end in .lora_a, .lora_b or _norm.weight".into())),
        };
        let Some(partner) = self.file.tensor(&partner) else {
            return Err(error(format!("its partner {partner} is missing")));
        };
        if !is_target(name) {
            let allowed = format!("{}, and of a layer {}", TARGETS.join(", "), LAYER_TARGETS.join(", "));
            return Err(error(format!("adapters cannot change {name}; they can change {allowed}")));
        }
        let Some(base) = model.tensor(name) else {
            return Err(error(format!("the model has no tensor {name}; is the adapter for another model?")));
        };
        self.file.check_finite(tensor)?;
        if tensor.name.ends_with(".lora_b") {
            return Ok(false);
        }
        let (&[k, n], &[a_k, rank], &[b_k, b_n]) = (&base.dims[..], &tensor.dims[..], &partner.dims[..]) else {
            return Err(error(format!(
                "the pair's shapes are {:?} and {:?}; expected two dimensions each",
                tensor.dims, partner.dims
            )));
        };
        let (rank, fits, expected) = if name == EMBEDDING {
            (a_k, rank == n && b_k == a_k && b_n == k, format!("[RANK, {n}] and [RANK, {k}]"))
        } else {
            (rank, a_k == k && b_k == rank && b_n == n, format!("[{k}, RANK] and [RANK, {n}]"))
        };
        if !fits {
            let (a, b) = (&tensor.dims, &partner.dims);
            return Err(error(format!(
                "the pair's shapes are {a:?} and {b:?}; for this model they must be {expected}"
            )));
        }
        if rank > MAX_RANK {
            return Err(error(format!("its rank {rank} is too large; allowed: up to {MAX_RANK}")));
        }
        Ok(true)
    }

    fn pair(&self, name: &str) -> Option<(&TensorInfo, &TensorInfo)> {
        self.file.tensor(&format!("{name}.lora_a")).zip(self.file.tensor(&format!("{name}.lora_b")))
    }

    /// What it adds to rows `rows` of the matrix `name`. An update of the embeddings is one of what goes in: a head that
    /// shares their table stays as it is, as in training.
    #[must_use]
    pub fn update(&self, name: &str, rows: Range<usize>) -> Option<Update> {
        let (a, b) = self.pair(name).filter(|_| name != EMBEDDING)?;
        let low_rank = LowRank::new(self.tiles(a, 0..a.dims[1]), self.tiles(b, rows));
        Some(Update { low_rank, scaling: Scaling { alpha: self.alpha, rank: a.dims[1] } })
    }

    /// What it adds to the vectors of tokens.
    #[must_use]
    pub fn embedding_update(&self) -> Option<EmbeddingUpdate> {
        let (a, b) = self.pair(EMBEDDING)?;
        let scaling = Scaling { alpha: self.alpha, rank: a.dims[0] };
        Some(EmbeddingUpdate::new(&self.file, a, self.tiles(b, 0..b.dims[1]), scaling))
    }

    fn tiles(&self, tensor: &TensorInfo, rows: Range<usize>) -> Tiles {
        let (k, values) = (tensor.dims[0], self.file.dequantize(tensor));
        Tiles::pack(rows.len(), k, &values[rows.start * k..rows.end * k])
    }
}

fn is_target(name: &str) -> bool {
    let part = || {
        let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let is_number = !layer.is_empty() && layer.bytes().all(|byte| byte.is_ascii_digit());
        part.strip_suffix(".weight").filter(|_| is_number)
    };
    TARGETS.contains(&name) || part().is_some_and(|part| LAYER_TARGETS.contains(&part))
}
