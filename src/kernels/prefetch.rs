//! Asking for memory before it is used. Any address may be named: a prefetch reads nothing that the
//! program can see.

/// Asks for the cache line of `address`, close to the core.
#[inline(always)]
pub fn near(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and it may name any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: every AArch64 processor has the instruction, and it may name any address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for the cache line of `address`, into the second level.
#[inline(always)]
pub fn second_level(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `near`.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as in `near`.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{0}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for the cache line of `address`, which will be written.
#[inline(always)]
pub fn for_writing(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: x86-64 processors have the instruction or skip it, and it may name any address.
    unsafe {
        std::arch::asm!("prefetchw [{0}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as in `near`.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{0}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}
