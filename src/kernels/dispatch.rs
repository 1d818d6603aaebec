//! Which instruction set the kernels use, decided once at run time.

use std::sync::OnceLock;

/// An instruction set with kernels of its own. All give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simd {
    /// AVX-512 with VNNI.
    Avx512,
    /// AVX2: the portable code, compiled for it.
    Avx2,
    /// Plain Rust, compiled for the target's baseline.
    Scalar,
}

impl Simd {
    /// The best that the machine has; `RUSTLLM_SIMD` (`avx512`, `avx2`, `scalar`) asks for less.
    #[must_use]
    pub fn get() -> Self {
        static CHOICE: OnceLock<Simd> = OnceLock::new();
        *CHOICE.get_or_init(|| match std::env::var("RUSTLLM_SIMD").as_deref() {
            Ok("scalar") => Self::Scalar,
            Ok("avx2") if Self::Avx2.is_available() => Self::Avx2,
            _ => *Self::available().first().expect("the portable code is always there"),
        })
    }

    /// The sets that this machine has, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        [Self::Avx512, Self::Avx2, Self::Scalar].into_iter().filter(|simd| simd.is_available()).collect()
    }

    fn is_available(self) -> bool {
        match self {
            Self::Avx512 => has_avx512(),
            Self::Avx2 => has_avx2(),
            Self::Scalar => true,
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}
