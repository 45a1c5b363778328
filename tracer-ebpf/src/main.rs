//! The kernel programs of why502. `programs` holds them; the ABI is this package's library.
#![cfg_attr(
    target_arch = "bpf",
    expect(unstable_features, reason = "as in aya-ebpf itself"),
    feature(asm_experimental_arch)
)]
#![no_std]
#![no_main]

mod programs;

/// The verifier refuses a program that could reach this.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
