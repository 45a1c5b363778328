//! The first bytes that the current call moved, on the stack: read once, looked at, and kept if a message
//! begins with them.
//!
//! The kernel checks the target of each copy from user memory, and one within a map takes it longer than
//! the copy itself (`__check_object_size` of
//! <https://github.com/torvalds/linux/blob/v6.18/mm/usercopy.c>); the stack is told at once.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_probe_read_user, bpf_tail_call},
};

use super::{
    globals::{never, snaplen},
    user::Current,
};

/// Most responses of a proxy's backend are longer and their heads are not; more does not fit on the stack
/// with what is called from here (512 bytes in all, before 6.13).
const WORDS: usize = 20;
/// Most bytes that are read so.
pub(crate) const FIRST_MAX: u32 = (WORDS * size_of::<u64>()) as u32;

pub(crate) struct First {
    words: [u64; WORDS],
    /// Valid bytes; the others are zero.
    pub(crate) len: u32,
}

/// Has the program's stack on that of the thread. From 6.13 on a larger one lies elsewhere, where the check
/// takes as long as the copy; that is never done to a program with a tail call in it
/// (<https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/verifier.c>, `check_max_stack_depth`). This
/// one is gone before the program runs.
#[inline(always)]
pub(crate) fn on_thread_stack(ctx: &impl EbpfContext) {
    if never() {
        // SAFETY: not reached.
        unsafe { bpf_tail_call(ctx.as_ptr(), core::ptr::null_mut(), 0) };
    }
}

/// For each word; a loop would become a call of `memset` or `memcpy`, which go byte by byte, or an access
/// at a variable place of the stack, which verifiers before 5.12 refuse.
macro_rules! each_word {
    ($n:ident => $do:expr) => {
        each_word!(@ $n => $do; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
    };
    (@ $n:ident => $do:expr; $($index:literal)*) => {
        $({ let $n: usize = $index; $do; })*
    };
}

impl First {
    /// Reads what the current call moved, `total` bytes; `None` if it cannot be read.
    #[inline(always)]
    pub(crate) fn read<'a>(
        into: &'a mut MaybeUninit<Self>,
        current: &Current,
        total: u64,
    ) -> Option<&'a Self> {
        let first = into.as_mut_ptr();
        // SAFETY: within the value.
        let words = unsafe { (&raw mut (*first).words).cast::<u64>() };
        // SAFETY: as above.
        each_word!(n => unsafe { words.add(n).write_volatile(0) });
        let mut size = if current.first.len < total {
            current.first.len
        } else {
            total
        };
        if size > u64::from(snaplen()) {
            size = u64::from(snaplen());
        }
        if size > u64::from(FIRST_MAX) {
            size = u64::from(FIRST_MAX);
        }
        // Older verifiers (before 6.8) know nothing of a copy that the compiler put on the stack before
        // the check, so the value that is handed on is checked once more.
        // SAFETY: a local variable.
        let size = unsafe { (&raw const size).read_volatile() };
        if size == 0 || size > u64::from(FIRST_MAX) {
            return None;
        }
        // SAFETY: `size` is at most that of the words; the helper checks the source.
        let failed = unsafe {
            bpf_probe_read_user(words.cast(), size as u32, current.first.base as *const _)
        };
        if failed != 0 {
            return None;
        }
        // SAFETY: both fields are written.
        unsafe {
            (*first).len = size as u32;
            Some(&*first)
        }
    }

    /// The first four bytes.
    #[inline(always)]
    pub(crate) fn word(&self) -> u32 {
        self.words[0] as u32
    }

    /// Do they end with a blank line? `region`: where they were written.
    #[inline(always)]
    pub(crate) fn ends_head(&self, region: *const u8) -> bool {
        let len = self.len as usize;
        if !(4..=FIRST_MAX as usize).contains(&len) {
            return false;
        }
        // SAFETY: within the region, which holds more than FIRST_MAX bytes.
        let last = unsafe { region.add(len - 4).cast::<u32>().read_unaligned() };
        last == u32::from_ne_bytes(*b"\r\n\r\n")
    }

    /// Writes them to a region of a map value, line by line of the cache; behind `len` there are zeroes up
    /// to the end of the last line.
    #[inline(always)]
    pub(crate) fn write(&self, region: *mut u8) {
        let region = region.cast::<u64>();
        macro_rules! line {
            ($($n:literal)*) => {
                // SAFETY: behind a region of snaplen bytes, which is not less than `len`, there is room for APPEND_MAX.
                $(unsafe { region.add($n).write_volatile(self.words[$n]) };)*
            };
        }
        line!(0 1 2 3 4 5 6 7);
        if self.len <= 64 {
            return;
        }
        line!(8 9 10 11 12 13 14 15);
        if self.len <= 128 {
            return;
        }
        line!(16 17 18 19);
    }
}
