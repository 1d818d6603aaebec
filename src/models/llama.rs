//! Llama 1 to 3, SmolLM, Mistral and all who use their tensors' names.

use super::decoder::Wiring;
use super::settings::DecoderSettings;
use crate::error::Result;
use crate::gguf::Metadata;

/// The way of Llama.
pub fn wiring(_: &Metadata, s: &DecoderSettings) -> Result<Wiring> {
    Ok(Wiring::llama(s))
}
