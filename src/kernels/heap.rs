//! Memory that was freed and that the allocator still holds.

/// Bytes from which a block is mapped on its own, and unmapped when it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 1 << 20;

/// Free bytes at a heap's end from which they are given back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SPARE: libc::c_int = 4 << 20;

/// Has large blocks given back as soon as they are freed, from now on. glibc raises the size that is large to that of
/// what was freed last, up to 32 MiB, and then keeps such blocks in the heap of each thread that had one.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes its own locks, and touches no memory that is in use.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
    }
}

/// Gives it back to the system, where the allocator can. Loading a model frees some megabytes between
/// what stays, which glibc would keep forever.
pub fn release() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes its own locks, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
