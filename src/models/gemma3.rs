//! Gemma 3 (Gemma Team 2025): most layers see a window, heads and outputs are normalized, gates pass
//! through GELU, and the tokens' vectors are scaled by the root of their width.

use super::decoder::{LocalLayers, Wiring};
use super::settings::{DecoderSettings, window};
use crate::error::Result;
use crate::gguf::Metadata;
use crate::kernels::Gate;
use crate::layers::RopeKind;

/// One layer in six sees everything.
const PERIOD: usize = 6;

/// Layers of the model of 27 billion parameters, whose scores are scaled by the width of the model's heads
/// as if they had all of it, not by that of the heads.
const LAYERS_27B: usize = 62;

/// Base frequency of local layers where the file has none.
const LOCAL_ROPE_BASE: f32 = 10_000.0;

/// The way of Gemma 3.
pub fn wiring(m: &Metadata, s: &DecoderSettings) -> Result<Wiring> {
    let head = if s.n_layer == LAYERS_27B { s.n_embd / s.n_head } else { s.dim_k };
    let local = |window| -> Result<LocalLayers> {
        let rope_base = m.f32("gemma3.rope.freq_base_swa")?.unwrap_or(LOCAL_ROPE_BASE);
        if rope_base <= 1.0 {
            return Err(m.error("gemma3.rope.freq_base_swa", format!("{rope_base} is not allowed; allowed: above 1")));
        }
        Ok(LocalLayers { window, rope_base, period: PERIOD })
    };
    Ok(Wiring {
        rope: RopeKind::Neox,
        attention_scale: 1.0 / (head as f32).sqrt(),
        normalizes_heads: true,
        normalizes_outputs: true,
        gate: Gate::Gelu,
        embedding_scale: (s.n_embd as f32).sqrt(),
        local: window(m, "gemma3")?.map(local).transpose()?,
        ..Wiring::llama(s)
    })
}
