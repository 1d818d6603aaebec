//! What each fuzz target checks of an input. The targets are in `fuzz_targets`; `tests/rust/fuzz_inputs.rs` runs the
//! committed inputs through the same checks without a fuzzer.

pub mod gbnf;
pub mod gguf;
pub mod json_schema;
pub mod sampling;
pub mod slot_file;
mod text;
pub mod tokenizer;

mod model {
    /// The model that comes with the package.
    pub const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/rustllm/models/stories260K.gguf");
}
