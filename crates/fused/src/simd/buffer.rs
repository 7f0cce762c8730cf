//! Growable f32 memory aligned to cache lines.

use std::ops::{Deref, DerefMut};

use crate::simd::lanes::WIDTH;

/// Slack after a map: weight gradients read whole blocks of sixteen channels.
pub const SLACK: usize = 2 * WIDTH * WIDTH;

/// One cache line. Unaligned 64-byte loads would split lines, which costs a fifth of the kernels' speed.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; WIDTH]);

/// A 64-byte aligned vector of f32, in whole lines.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    /// `len` zeros, rounded up to whole lines.
    pub fn zeroed(len: usize) -> Self {
        Buffer { lines: vec![Line([0.0; WIDTH]); len.div_ceil(WIDTH)] }
    }

    /// Grows to at least `len` values and returns them; old contents stay, new ones are zero.
    pub fn at_least(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(WIDTH);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; WIDTH]));
        }
        self
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen f32 without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * WIDTH) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * WIDTH) }
    }
}
