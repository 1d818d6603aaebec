//! Which instruction set the kernels use, decided once at run time.

use std::sync::OnceLock;

/// An instruction set with kernels of its own. All give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simd {
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// AVX2 with FMA and F16C.
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

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx2 = || avx2() && is_x86_feature_detected!("f16c");
        match self {
            Self::Avx512 => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Avx2 => avx2(),
            Self::Scalar => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Scalar
    }

    /// Runs `work` compiled for this instruction set, so that its plain loops become vectors. What
    /// it calls must be inlined into it for that.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: values of this type name what the processor has, see `available`.
            Self::Avx512 => unsafe { run_avx512(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 => unsafe { run_avx2(work) },
            _ => work(),
        }
    }
}

/// # Safety
/// The processor must have these features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn run_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// # Safety
/// The processor must have these features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
