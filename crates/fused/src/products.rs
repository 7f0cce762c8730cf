//! Weight gradients of walks: outer products of coefficients and cotangents, over live neurons only.
//!
//! The first stage has few weights, each with sixteen partial sums: a position at a time, live channels against the taps
//! of its patch. In later stages the coefficients are transposed, so that output channels lie in lanes and the sum over
//! rows becomes the loop; a cotangent is broadcast, and what it belongs to, a live input channel, is picked from a list.
//! [`crate::accumulate`] has the forms for images in lanes, where everything is live.

use crate::accumulate::{Accumulator, is_small};
use crate::buffer::Buffer;
use crate::geometry::{Field, Inputs, Live};
use crate::lanes::{Lanes, Task, WIDTH};
use crate::plan::Stage;
use crate::weights::padded;

/// Coefficients of a walk on the outputs of a stage.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub field: Field,
    pub live: &'a Live,
    /// Per position of the field: true if all live channels have all vectors; otherwise only unstable ones do, and the
    /// others the first plane.
    pub spread: Option<&'a [bool]>,
}

impl Left<'_> {
    /// The live channels of a position, and how many of them have all vectors.
    fn at(&self, stage: &Stage, y: usize, x: usize) -> (&[u16], usize) {
        let window = self.field.window;
        let position = (window.y + y) * stage.output.w + window.x + x;
        let live = self.live.at(position);
        match self.spread {
            Some(spread) if !spread[y * window.w + x] => (live, self.live.unstable_at(position).len()),
            _ => (live, live.len()),
        }
    }
}

/// Σ over positions and rows of left ⊗ right, for one stage and tile.
pub struct Products<'a> {
    pub sums: &'a mut Accumulator,
    pub index: usize,
    pub stage: &'a Stage,
    /// Coefficients; dead channels are zero, and there is slack.
    pub left: Left<'a>,
    /// Cotangents on the stage's input.
    pub right: Field,
    /// The channels of the input that matter.
    pub inputs: Inputs<'a>,
    /// The taps of a first stage's patch, in f32 from its corner.
    pub offsets: &'a [u32],
    /// Memory for a position's coefficients with channels in lanes.
    pub transposed: &'a mut Buffer,
}

impl Products<'_> {
    /// Adds them to the sums; channels have VP vectors, FIRST of them in the first plane.
    ///
    /// # Safety
    /// The machine has `S`; the fields hold their windows.
    pub unsafe fn add<S: Lanes, const VP: usize, const FIRST: usize>(self) {
        // SAFETY: passed on from the caller.
        unsafe {
            if self.stage.first && is_small(self.stage) {
                self.add_patches::<S, VP, FIRST>();
            } else {
                self.add_taps::<S, VP, FIRST>();
            }
        }
    }

    unsafe fn add_patches<S: Lanes, const VP: usize, const FIRST: usize>(self) {
        let Products { sums, index, stage, left, right, offsets, .. } = self;
        let row = padded(stage.output.c) * WIDTH;
        let output = sums.lanewise(index, offsets.len() * row);
        let window = left.field.window;
        for y in 0..window.h {
            for x in 0..window.w {
                let (live, full) = left.at(stage, y, x);
                let corner = (y * stage.stride[0] * right.window.w + x * stage.stride[1]) * stage.input.c;
                // SAFETY: lists name channels of the stage, the corner's patch lies in the right field.
                unsafe {
                    let left = left.field.data.add((y * window.w + x) * stage.output.c * VP * WIDTH);
                    let right = right.data.add(corner * VP * WIDTH);
                    S::run_task(Patch::<'_, VP, VP> { left, live: &live[..full], right, offsets, output, row });
                    if VP > FIRST {
                        let live = &live[full..];
                        S::run_task(Patch::<'_, FIRST, VP> { left, live, right, offsets, output, row });
                    }
                }
            }
        }
    }

    unsafe fn add_taps<S: Lanes, const VP: usize, const FIRST: usize>(self) {
        let Products { sums, index, stage, left, right, inputs, transposed, .. } = self;
        let (ci, co, row) = (stage.input.c, stage.output.c, padded(stage.output.c));
        let output = sums.sums.stages[index].signed.as_mut_ptr();
        let transposed = transposed.at_least(VP * WIDTH * row).as_mut_ptr();
        let (window, below) = (left.field.window, right.window);
        for y in 0..window.h {
            for x in 0..window.w {
                let (live, full) = left.at(stage, y, x);
                if live.is_empty() {
                    continue;
                }
                let vectors = if full == 0 { FIRST } else { VP };
                // SAFETY: the slack covers the channels that pad the last block.
                unsafe {
                    let source = left.field.data.add((y * window.w + x) * co * VP * WIDTH);
                    S::run(|| transpose_spot::<S, VP>(source, transposed, vectors, row));
                }
                for tap in 0..stage.taps() {
                    let (ky, kx) = (tap / stage.kernel[1], tap % stage.kernel[1]);
                    let reads = |axis: usize, place: usize, tap: usize, low: usize, count: usize| {
                        (place * stage.stride[axis] + tap * stage.dilation[axis])
                            .checked_sub(stage.offset()[axis] + low)
                            .filter(|&q| q < count)
                    };
                    let Some(qy) = reads(0, window.y + y, ky, below.y, below.h) else { continue };
                    let Some(qx) = reads(1, window.x + x, kx, below.x, below.w) else { continue };
                    let live = match inputs {
                        Inputs::Live(live) => live.at((below.y + qy) * stage.input.w + below.x + qx),
                        Inputs::All(list) => &list[..ci],
                        Inputs::Spread(..) => unreachable!("cotangents have all vectors"),
                    };
                    // SAFETY: the ranges stay in both windows.
                    unsafe {
                        S::run_task(Picked {
                            left: transposed,
                            row,
                            steps: vectors * WIDTH,
                            right: right.data.add((qy * below.w + qx) * ci * VP * WIDTH),
                            pitch: VP * WIDTH,
                            live,
                            output: output.add(tap * ci * row),
                        });
                    }
                }
            }
        }
    }
}

/// One position: V of PITCH vectors of the live channels against a patch.
#[derive(Clone, Copy)]
struct Patch<'a, const V: usize, const PITCH: usize> {
    left: *const f32,
    live: &'a [u16],
    right: *const f32,
    offsets: &'a [u32],
    /// `[tap][channel padded][16]`, `row` from one tap to the next.
    output: *mut f32,
    row: usize,
}

impl<const V: usize, const PITCH: usize> Task for Patch<'_, V, PITCH> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let most = if S::BLOCK[1] >= 8 { [4, 6] } else { [2, 3] };
        let (rows, columns) = (self.live.len().div_ceil(most[0]), self.offsets.len().div_ceil(most[1]));
        let mut channels = self.live;
        for i in 0..rows {
            let (block, rest) = channels.split_at(channels.len().div_ceil(rows - i));
            channels = rest;
            let mut first = 0;
            for j in 0..columns {
                let taps = (self.offsets.len() - first).div_ceil(columns - j);
                macro_rules! of_size {
                    ($($lefts:literal)*) => {
                        // SAFETY: lists and offsets lie in the caller's fields.
                        match (block.len(), taps) {
                            $(($lefts, 1) => unsafe { self.block::<S, $lefts, 1>(block, first) },
                            ($lefts, 2) => unsafe { self.block::<S, $lefts, 2>(block, first) },
                            ($lefts, 3) => unsafe { self.block::<S, $lefts, 3>(block, first) },
                            ($lefts, 4) => unsafe { self.block::<S, $lefts, 4>(block, first) },
                            ($lefts, 5) => unsafe { self.block::<S, $lefts, 5>(block, first) },
                            ($lefts, 6) => unsafe { self.block::<S, $lefts, 6>(block, first) },)*
                            _ => unreachable!("blocks have at most four channels and six taps"),
                        }
                    };
                }
                of_size!(1 2 3 4);
                first += taps;
            }
        }
    }
}

impl<const V: usize, const PITCH: usize> Patch<'_, V, PITCH> {
    #[inline(always)]
    unsafe fn block<S: Lanes, const NI: usize, const NJ: usize>(&self, channels: &[u16], first: usize) {
        // SAFETY: passed on from the caller.
        unsafe {
            let (mut lefts, mut places, mut rights) = ([self.left; NI], [self.output; NI], [self.right; NJ]);
            for i in 0..NI {
                let channel = usize::from(*channels.get_unchecked(i));
                lefts[i] = self.left.add(channel * PITCH * WIDTH);
                places[i] = self.output.add(first * self.row + channel * WIDTH);
            }
            for j in 0..NJ {
                rights[j] = self.right.add(*self.offsets.get_unchecked(first + j) as usize);
            }
            let mut sums = [[S::zero(); NJ]; NI];
            for i in 0..NI {
                for j in 0..NJ {
                    sums[i][j] = S::load(places[i].add(j * self.row));
                }
            }
            for v in 0..V {
                let mut values = [S::zero(); NI];
                for i in 0..NI {
                    values[i] = S::load(lefts[i].add(v * WIDTH));
                }
                for j in 0..NJ {
                    let factor = S::load(rights[j].add(v * WIDTH));
                    for i in 0..NI {
                        sums[i][j] = S::fma(values[i], factor, sums[i][j]);
                    }
                }
            }
            for i in 0..NI {
                for j in 0..NJ {
                    S::store(places[i].add(j * self.row), sums[i][j]);
                }
            }
        }
    }
}

/// The first `vectors` of a position's vectors, `[channel][VP][16]` to `[vectors·16][channel padded]`.
#[inline(always)]
unsafe fn transpose_spot<S: Lanes, const VP: usize>(source: *const f32, target: *mut f32, vectors: usize, row: usize) {
    for v in 0..vectors {
        for block in (0..row).step_by(WIDTH) {
            // SAFETY: passed on from the caller.
            unsafe {
                let from = source.add((block * VP + v) * WIDTH);
                S::transpose(from, VP * WIDTH, target.add(v * WIDTH * row + block), row);
            }
        }
    }
}

/// One position and tap: Σ over steps of a row of output channels times one value of each live input channel.
struct Picked<'a> {
    /// `[step][output channel padded]`, `row` apart.
    left: *const f32,
    row: usize,
    steps: usize,
    /// `[input channel][step]`, `pitch` apart.
    right: *const f32,
    pitch: usize,
    live: &'a [u16],
    /// `[input channel][output channel padded]`.
    output: *mut f32,
}

impl Task for Picked<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let large = S::BLOCK[1] >= 8;
        let most = if large { 8 } else { 4 };
        let blocks = self.live.len().div_ceil(most);
        let mut channels = self.live;
        for b in 0..blocks {
            let (block, rest) = channels.split_at(channels.len().div_ceil(blocks - b));
            channels = rest;
            let mut start = 0;
            while start < self.row {
                // Two vectors of output channels where there are as many and the register file holds them.
                let wide = large && start + 2 * WIDTH <= self.row;
                macro_rules! of_size {
                    ($($n:literal)*) => {
                        match block.len() {
                            // SAFETY: lists name channels of the caller's fields.
                            $($n if wide => unsafe { self.block::<S, 2, $n>(block, start) },
                            $n => unsafe { self.block::<S, 1, $n>(block, start) },)*
                            _ => unreachable!("blocks have at most eight channels"),
                        }
                    };
                }
                of_size!(1 2 3 4 5 6 7 8);
                start += if wide { 2 * WIDTH } else { WIDTH };
            }
        }
    }
}

impl Picked<'_> {
    #[inline(always)]
    unsafe fn block<S: Lanes, const NI: usize, const NJ: usize>(&self, channels: &[u16], start: usize) {
        // SAFETY: passed on from the caller.
        unsafe {
            let (mut rights, mut places) = ([self.right; NJ], [self.output; NJ]);
            for j in 0..NJ {
                let channel = usize::from(*channels.get_unchecked(j));
                rights[j] = self.right.add(channel * self.pitch);
                places[j] = self.output.add(channel * self.row + start);
            }
            let mut sums = [[S::zero(); NJ]; NI];
            let mut left = self.left.add(start);
            for step in 0..self.steps {
                let mut values = [S::zero(); NI];
                for i in 0..NI {
                    values[i] = S::load(left.add(i * WIDTH));
                }
                for j in 0..NJ {
                    let factor = S::splat(*rights[j].add(step));
                    for i in 0..NI {
                        sums[i][j] = S::fma(values[i], factor, sums[i][j]);
                    }
                }
                left = left.add(self.row);
            }
            for i in 0..NI {
                for j in 0..NJ {
                    let place = places[j].add(i * WIDTH);
                    S::store(place, S::add(S::load(place), sums[i][j]));
                }
            }
        }
    }
}
