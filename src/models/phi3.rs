//! Phi 3 to 4 (Microsoft 2024), the dense ones: a llama with fused matrices.
//!
//! Files name a window of attention, which llama.cpp leaves out for this family, since the numbers in many
//! files are wrong; so do we, and answers agree.

use super::decoder::Wiring;
use super::settings::DecoderSettings;
use crate::error::Result;
use crate::gguf::Metadata;
use crate::layers::RopeKind;

/// The way of Phi 3.
pub fn wiring(_: &Metadata, s: &DecoderSettings) -> Result<Wiring> {
    Ok(Wiring { rope: RopeKind::Neox, gates_in_up: true, ..Wiring::llama(s) })
}
