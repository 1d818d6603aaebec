//! Qwen 3 (Qwen Team 2025), the dense ones: Qwen 2 with normalized heads instead of biases.

use super::decoder::Wiring;
use super::settings::DecoderSettings;
use crate::error::Result;
use crate::gguf::Metadata;
use crate::layers::RopeKind;

/// The way of Qwen 3.
pub fn wiring(_: &Metadata, s: &DecoderSettings) -> Result<Wiring> {
    Ok(Wiring { rope: RopeKind::Neox, normalizes_heads: true, ..Wiring::llama(s) })
}
