//! The parts that models are wired from; each exists once. All are candle custom operations over
//! f32 tensors `[rows, width]` whose CPU side calls [`crate::kernels`].

mod attention;
mod context;
mod embedding;
mod linear;
mod mlp;
mod norm;
mod rope;

pub use attention::{Attention, AttentionShape};
pub use context::Compute;
pub use embedding::Embedding;
pub use linear::{Linear, Projection};
pub use mlp::GatedMlp;
pub use norm::RmsNorm;
pub use rope::{Rope, RopeKind, RopeScaling, RopeTable};
