//! Which instruction set the kernels use, decided once at run time.

use crate::error::{Error, Result};

/// An instruction set that this machine has. All give the same bits.
///
/// Values come from [`Simd::available`], [`Simd::parse`] and [`Simd::from_environment`] alone, which
/// ask the processor, so that whoever holds one may run that set's instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Simd(Set);

/// The instruction sets with kernels of their own, whether or not the machine has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// NEON, with the dot products of Armv8.2 where there are any.
    Neon,
    /// Plain Rust, compiled for the target's baseline.
    Scalar,
}

/// All sets, best first.
const SETS: [Set; 4] = [Set::Avx512, Set::Avx2, Set::Neon, Set::Scalar];

/// The environment variable that asks for less than the best.
const VARIABLE: &str = "RUSTLLM_SIMD";

impl Simd {
    /// Plain Rust, which every machine runs.
    pub const SCALAR: Self = Self(Set::Scalar);

    /// The best that the machine has.
    #[must_use]
    pub fn best() -> Self {
        *Self::available().first().expect("the portable code is always there")
    }

    /// The sets that this machine has, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        SETS.into_iter().filter(|set| set.is_available()).map(Self).collect()
    }

    /// The one that `RUSTLLM_SIMD` names (`avx512`, `avx2`, `neon`, `scalar`), and the best where it is
    /// empty or not set. Refused are names that are none and sets that the machine lacks: who measures one
    /// set must not be given another.
    pub fn from_environment() -> Result<Self> {
        match std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
            Some(name) => Self::parse(&name.to_string_lossy()),
            None => Ok(Self::best()),
        }
    }

    /// The set with a name, if this machine has it.
    pub fn parse(name: &str) -> Result<Self> {
        let sets = Self::available();
        sets.iter().copied().find(|simd| simd.name() == name).ok_or_else(|| {
            let known = SETS.iter().any(|set| set.name() == name);
            let fault = if known { "is not in this machine's processor" } else { "is no instruction set" };
            let allowed: Vec<&str> = sets.iter().map(|simd| simd.name()).collect();
            let message = format!("{name:?} {fault}; allowed: {}", allowed.join(", "));
            Error::Config { field: VARIABLE, message }
        })
    }

    /// What [`Self::parse`] takes: `avx512`, `avx2`, `neon` or `scalar`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Which set it is, for kernels to choose by.
    #[inline(always)]
    pub(super) const fn set(self) -> Set {
        self.0
    }

    /// Whether the set is AVX2 of a processor that has `vpdpbusd` without AVX-512 as well: its matrix
    /// products are other ones then.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn has_avx_vnni(self) -> bool {
        self.0 == Set::Avx2 && is_x86_feature_detected!("avxvnni")
    }

    /// Whether the set is NEON of a processor that has the dot products of Armv8.2 as well: its matrix
    /// products are other ones then.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(super) fn has_dot_products(self) -> bool {
        self.0 == Set::Neon && std::arch::is_aarch64_feature_detected!("dotprod")
    }

    /// Runs `work` compiled for this instruction set, so that its plain loops become vectors. What
    /// it calls must be inlined into it for that.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: values of this type name what the processor has.
            Set::Avx512 => unsafe { run_avx512(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx2 => unsafe { run_avx2(work) },
            // NEON is part of AArch64's baseline.
            _ => work(),
        }
    }
}

impl std::fmt::Debug for Simd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Set {
    fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
        }
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
            Self::Neon => false,
            Self::Scalar => true,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        match self {
            Self::Avx512 | Self::Avx2 => false,
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Scalar => true,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Self::Scalar
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_the_sets_of_this_machine() {
        let sets = Simd::available();
        assert_eq!((sets[0], sets[sets.len() - 1]), (Simd::best(), Simd::SCALAR));
        for simd in sets {
            assert_eq!(Simd::parse(simd.name()).expect("an available set"), simd);
        }
    }

    #[test]
    fn a_set_that_the_machine_lacks_cannot_be_had() {
        for set in SETS.into_iter().filter(|set| !set.is_available()) {
            let error = Simd::parse(set.name()).expect_err("a missing set").to_string();
            assert!(error.contains("not in this machine's processor"), "{error}");
        }
        for name in ["", "AVX2", "sse9"] {
            let error = Simd::parse(name).expect_err("no name").to_string();
            assert!(error.starts_with(&format!("RUSTLLM_SIMD: {name:?} is no instruction set; allowed: ")), "{error}");
            assert!(error.ends_with("scalar"), "{error}");
        }
    }
}
