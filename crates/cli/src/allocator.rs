//! Memory that runs out ends the command with a message and an error's exit code instead of a crash.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The system's allocator, which tells before it fails.
pub struct Telling;

/// Bytes in use.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Set by the thread that tells first; others fail silently meanwhile.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Room for the message, since there is none elsewhere.
struct Text {
    bytes: [u8; 320],
    length: usize,
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = &mut self.bytes[self.length..];
        let count = text.len().min(room.len());
        room[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}

/// Ends the process; nothing here allocates.
#[cold]
fn out_of_memory(wanted: usize) -> ! {
    if !TOLD.swap(true, Ordering::SeqCst) {
        let mut text = Text { bytes: [0; 320], length: 0 };
        let used = USED.load(Ordering::Relaxed);
        let _ = writeln!(
            text,
            "error: out of memory: {} kB more are needed, beside the {} kB in use; free memory or raise its limit (ulimit -v), \
             or ask for less: a smaller --batch, --limit or network, or fewer --threads",
            wanted / 1000,
            used / 1000
        );
        let _ = std::io::stderr().write_all(&text.bytes[..text.length]);
    }
    std::process::exit(crate::FAILURE.into())
}

// SAFETY: every call is passed on to the system's allocator as it came; a failure never returns.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        kept(unsafe { System.alloc(layout) }, layout.size(), 0)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        kept(unsafe { System.alloc_zeroed(layout) }, layout.size(), 0)
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        kept(unsafe { System.realloc(pointer, layout, size) }, size, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn kept(pointer: *mut u8, size: usize, before: usize) -> *mut u8 {
    if pointer.is_null() {
        out_of_memory(size);
    }
    USED.fetch_add(size, Ordering::Relaxed);
    USED.fetch_sub(before, Ordering::Relaxed);
    pointer
}
