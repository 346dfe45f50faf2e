//! Proof by linking that `wire`, `bpf` and `engine` need no std.
//!
//! This library has a panic handler of its own. If anything below pulled std in, there would be
//! two, and the build would fail with "duplicate lang item `panic_impl`". So the whole check is
//! that `cargo build --manifest-path nostd-check/Cargo.toml` succeeds.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};

use bpf as _;
use engine as _;
use wire as _;

/// An allocator that is always empty: nothing here is ever run.
struct Never;

// SAFETY: a null pointer is how an allocator says that there is no memory, and there is nothing to
// give back.
unsafe impl GlobalAlloc for Never {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _pointer: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Never = Never;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
