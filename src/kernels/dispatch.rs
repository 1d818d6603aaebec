//! Which instruction set the kernels use, decided once at run time.

use std::sync::OnceLock;

/// An instruction set with kernels of its own. All give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simd {
    /// AVX-512 with VNNI.
    Avx512,
    /// Plain Rust, compiled for the target's baseline.
    Scalar,
}

impl Simd {
    /// The best that the machine has, or what `RUSTLLM_SIMD` (`avx512`, `scalar`) forces.
    #[must_use]
    pub fn get() -> Self {
        static CHOICE: OnceLock<Simd> = OnceLock::new();
        *CHOICE.get_or_init(|| match std::env::var("RUSTLLM_SIMD").as_deref() {
            Ok("scalar") => Self::Scalar,
            _ if has_avx512() => Self::Avx512,
            _ => Self::Scalar,
        })
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}
