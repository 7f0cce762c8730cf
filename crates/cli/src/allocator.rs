//! Memory that runs out ends the command with a message and an error's exit code instead of a crash.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator, which tells before it fails.
pub struct Telling;

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
        let _ = write!(text, "error: out of memory: {} kB more are needed", wanted / 1000);
        if let Some(used) = in_use() {
            let _ = write!(text, ", beside the {used} kB in use");
        }
        let _ = writeln!(
            text,
            "; free memory or raise its limit (ulimit -v), or ask for less: a smaller --batch, --limit or network, or fewer \
             --threads"
        );
        let _ = std::io::stderr().write_all(&text.bytes[..text.length]);
    }
    std::process::exit(crate::FAILURE.into())
}

/// Kilobytes that the process uses, where the system tells.
fn in_use() -> Option<u64> {
    let mut bytes = [0; 4096];
    let length = File::open("/proc/self/status").and_then(|mut file| file.read(&mut bytes)).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

// SAFETY: every call is passed on to the system's allocator as it came; a failure never returns.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        there(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        there(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        there(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn there(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() {
        out_of_memory(size);
    }
    pointer
}
