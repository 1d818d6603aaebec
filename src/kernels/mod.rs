//! Arithmetic on slices: packed matrix products, attention over KV blocks, and the pool of
//! threads that runs them. Nothing here knows tensors, layers or models.
//!
//! Every output row is reduced in one fixed order, whatever the batch, the thread count or the
//! instruction set, and each step of it is one correctly rounded operation (fused multiply-add
//! among them), so the scalar twin of a kernel gives the same bits as its vector versions.

pub mod activations;
mod ahead;
mod aligned;
pub mod attention;
pub mod dispatch;
#[cfg(target_arch = "aarch64")]
mod dot_neon;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod gemm_avx2;
#[cfg(target_arch = "x86_64")]
mod gemm_avx512;
#[cfg(target_arch = "aarch64")]
mod gemm_neon;
mod gemm_scalar;
pub mod heap;
mod kv_format;
pub mod kv_memory;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod lanes_neon;
pub mod limits;
mod low_rank;
pub mod math;
pub mod memory;
mod pack;
pub mod packed;
pub mod pool;
mod prefetch;
mod quantize;
#[cfg(target_arch = "x86_64")]
mod quantize_panel;
pub mod rotary;
mod upcoming;

pub use activations::{Activations, Forms};
pub use dispatch::Simd;
pub use gemm::{Gate, Weight, gemm, gemm_gated, gemm_gelu};
pub use kv_format::{GROUP, Kind, KvFormat};
pub use limits::{Limits, MemoryProbe};
pub use low_rank::{LowRank, PartUpdates, RowUpdates, Tiles, add_low_rank};
pub use packed::Matrix;
pub use pool::Pool;
pub use upcoming::Upcoming;
