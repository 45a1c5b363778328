//! Memory that only the start needed.

/// Gives back to the kernel what reading BTF left free: some 20 MB in many small pieces, which the
/// allocator would keep for as long as the process lives.
#[cfg(target_env = "gnu")]
pub(super) fn give_back() {
    // SAFETY: malloc_trim(3) takes no pointer, touches free memory only, and may be called by any thread.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other allocators give it back by themselves, or cannot be told.
#[cfg(not(target_env = "gnu"))]
pub(super) const fn give_back() {}
