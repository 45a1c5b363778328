//! Globals. Most are read-only, set by the loader before verification: the verifier sees constants and prunes.

use core::cell::UnsafeCell;

use tracer_ebpf::{Config, Offsets, load::Standby};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;

#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    snaplen: 512,
    sample_every: 0,
    standby: 0,
    pad: 0,
    status: [0; 10],
};

#[repr(transparent)]
struct Shared([UnsafeCell<u32>; Standby::LEN]);

// SAFETY: each place is read and written as a whole.
unsafe impl Sync for Shared {}

/// The only one that changes; by its section user space finds it.
#[unsafe(no_mangle)]
static STANDBY: Shared = Shared([const { UnsafeCell::new(0) }; Standby::LEN]);

/// The value of that place.
#[inline(always)]
pub(crate) fn standby(place: Standby) -> u32 {
    // SAFETY: see `Shared`.
    unsafe { STANDBY.0[place as usize].get().read_volatile() }
}

/// Sets it.
#[inline(always)]
pub(crate) fn set_standby(place: Standby, value: u32) {
    // SAFETY: see `Shared`.
    unsafe { STANDBY.0[place as usize].get().write_volatile(value) };
}

/// The period of now, see [`Standby::Epoch`].
#[inline(always)]
pub(crate) fn epoch() -> u32 {
    standby(Standby::Epoch)
}

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

/// May payload go unseen for a while?
#[inline(always)]
pub(crate) fn may_stand_by() -> bool {
    watched_processes() != 0
}

/// The `load::process_filter_bit` of the processes whose clients are looked at meanwhile.
#[inline(always)]
pub(crate) fn watched_processes() -> u32 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const CONFIG.standby) }
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
