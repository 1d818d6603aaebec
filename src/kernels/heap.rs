//! Memory that was freed and that the allocator still holds.

/// Gives it back to the system, where the allocator can. Loading a model frees some megabytes between
/// what stays, which glibc would keep forever.
pub fn release() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes its own locks, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
