//! Read-only globals, set by the loader before verification: the verifier sees constants and prunes.

use tracer_ebpf::{Config, Offsets};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;

#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    snaplen: 512,
    sample_every: 0,
    status: [0; 10],
};

/// The offsets of this kernel. Volatile, so that the compiler does not fold the defaults in.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of the program, never written after load.
        unsafe {
            core::ptr::read_volatile(
                $crate::programs::globals::offsets()
                    .cast::<u8>()
                    .add(core::mem::offset_of!(tracer_ebpf::Offsets, $field))
                    .cast::<u32>(),
            )
        }
    };
}
pub(crate) use offset;

#[inline(always)]
pub(crate) fn offsets() -> *const Offsets {
    &raw const OFFSETS
}

#[inline(always)]
pub(crate) fn snaplen() -> u32 {
    // SAFETY: a static of the program, never written after load.
    unsafe { core::ptr::read_volatile(&raw const CONFIG.snaplen) }
}

#[inline(always)]
pub(crate) fn sample_every() -> u32 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const CONFIG.sample_every) }
}

/// Is this status to be reported?
#[inline(always)]
pub(crate) fn status_watched(status: u16) -> bool {
    let word = (status / 64) as usize;
    if word >= 10 {
        return false;
    }
    // SAFETY: the index was checked; a static of the program, never written after load.
    let bits =
        unsafe { core::ptr::read_volatile((&raw const CONFIG.status).cast::<u64>().add(word)) };
    bits >> (status % 64) & 1 != 0
}

/// Never true, which the verifier knows and the compiler does not.
#[inline(always)]
pub(crate) fn never() -> bool {
    // The loader refuses such a length.
    snaplen() == 0
}
