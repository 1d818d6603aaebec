//! Qwen 1.5 to 2.5 (Qwen Team 2024): a llama whose queries, keys and values have biases, which files of
//! any family may have, and whose heads are rotated by halves.

use super::decoder::Wiring;
use super::settings::DecoderSettings;
use crate::error::Result;
use crate::gguf::Metadata;
use crate::layers::RopeKind;

/// The way of Qwen 2.
pub fn wiring(_: &Metadata, s: &DecoderSettings) -> Result<Wiring> {
    Ok(Wiring { rope: RopeKind::Neox, ..Wiring::llama(s) })
}
