//! The parts that models are wired from; each exists once. All are candle operations in
//! place on f32 tensors `[rows, width]`, whose CPU side calls [`crate::kernels`].

mod adapters;
mod attention;
mod buffer;
mod context;
mod embedding;
mod linear;
mod mlp;
mod norm;
mod profile;
mod rope;

pub use adapters::{AdaptedRows, Scaling, Update};
pub use attention::{Attention, AttentionShape, QueryKeyNorms};
pub use buffer::{Buffer, visit_rows, visit_rows_with};
pub use context::Compute;
pub use embedding::{Embedding, EmbeddingUpdate, Positions};
pub use linear::{Linear, Projection};
pub use mlp::{GatedMlp, Mlp};
pub use norm::{LayerNorm, RmsNorm};
pub use profile::Profile;
pub use rope::{Rope, RopeKind, RopeScaling, RopeTable};
