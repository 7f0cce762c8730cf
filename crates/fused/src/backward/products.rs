//! Weight gradients of walks: outer products of coefficients and cotangents, over live neurons only.
//!
//! The first stage has few weights, each with sixteen partial sums: a channel at a time, over the positions where it is
//! live, with all taps of its patch in registers. In later stages the coefficients are transposed, so that output
//! channels lie in lanes and the sum over rows becomes the loop; a cotangent is broadcast, and what it belongs to, a live
//! input channel, is picked from a list. [`crate::net::accumulate`] has the forms for images in lanes, where everything is
//! live.

use crate::net::accumulate::{Accumulator, is_small};
use crate::net::geometry::{Field, Inputs, Live};
use crate::net::plan::Stage;
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, RowValues, Task, WIDTH};

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
    /// Coefficients; dead channels are zero but for stages [`by_lists`](Products::by_lists), and there is slack.
    pub left: Left<'a>,
    /// Cotangents on the stage's input.
    pub right: Field,
    /// The channels of the input that matter.
    pub inputs: Inputs<'a>,
    pub scratch: &'a mut ProductScratch,
}

/// Memory of one worker.
#[derive(Default)]
pub struct ProductScratch {
    /// A position's coefficients with channels in lanes.
    transposed: Buffer,
    /// Per channel the positions of a band where it is live, as places in both fields.
    places: Vec<(u32, u32)>,
    /// How many of them have all vectors, and how many only the first plane; these stand after a gap.
    counts: Vec<[usize; 2]>,
}

/// Largest band of cotangents, in f32: two thirds of a first-level cache.
const BAND: usize = 1 << 13;

impl Products<'_> {
    /// True if nothing but listed coefficients of the stage's outputs is read; else dead ones must be zero.
    pub fn by_lists(stage: &Stage) -> bool {
        stage.first && is_small(stage) && stage.dilation == [1, 1]
    }

    /// Adds them to the sums; channels have VP vectors, FIRST of them in the first plane.
    ///
    /// # Safety
    /// The machine has `S`; the fields hold their windows.
    pub unsafe fn add<S: Lanes, const VP: usize, const FIRST: usize>(self) {
        // Rows whose window lies in the padding have no coefficients.
        if self.left.field.window.positions() == 0 {
            return;
        }
        // SAFETY: passed on from the caller.
        unsafe {
            if Products::by_lists(self.stage) {
                self.add_patches::<S, VP, FIRST>();
            } else {
                self.add_taps::<S, VP, FIRST>();
            }
        }
    }

    unsafe fn add_patches<S: Lanes, const VP: usize, const FIRST: usize>(self) {
        let Products { sums, index, stage, left, right, scratch, .. } = self;
        let (channels, row) = (stage.output.c, padded(stage.output.c) * WIDTH);
        let output = sums.lanewise(index, stage.taps() * stage.input.c * row);
        let window = left.field.window;
        let element = VP * WIDTH;
        let pixel_row = right.window.w * stage.input.c * element;
        // As many rows of positions at once as the cache holds pixels for.
        let high = (BAND / pixel_row).saturating_sub(stage.kernel[0]) / stage.stride[0] + 1;
        let room = 2 * high * window.w;
        scratch.places.resize(room * channels, (0, 0));
        for top in (0..window.h).step_by(high) {
            scratch.counts.clear();
            scratch.counts.resize(channels, [0; 2]);
            for y in top..window.h.min(top + high) {
                for x in 0..window.w {
                    let (live, full) = left.at(stage, y, x);
                    let down = (window.y + y) * stage.stride[0] - right.window.y;
                    let corner = down * pixel_row + x * stage.stride[1] * stage.input.c * element;
                    for (i, &channel) in live.iter().enumerate() {
                        let channel = usize::from(channel);
                        let place = ((y * window.w + x) * channels + channel) * element;
                        let part = usize::from(i >= full);
                        let count = &mut scratch.counts[channel][part];
                        scratch.places[channel * room + part * room / 2 + *count] = (place as u32, corner as u32);
                        *count += 1;
                    }
                }
            }
            for (channel, &[full, first]) in scratch.counts.iter().enumerate() {
                let (all, planes) = scratch.places[channel * room..(channel + 1) * room].split_at(room / 2);
                if full + first == 0 {
                    continue;
                }
                // SAFETY: the places lie in the fields, a patch and a channel's sums in theirs.
                unsafe {
                    S::run_task(Patch::<'_, VP, FIRST> {
                        left: left.field.data,
                        right: right.data,
                        full: &all[..full],
                        first: &planes[..first],
                        pixel_row,
                        shape: [stage.kernel[0], stage.kernel[1] * stage.input.c],
                        output: output.add(channel * WIDTH),
                        row,
                    });
                }
            }
        }
    }

    unsafe fn add_taps<S: Lanes, const VP: usize, const FIRST: usize>(self) {
        let Products { sums, index, stage, left, right, inputs, scratch } = self;
        let (ci, co, row) = (stage.input.c, stage.output.c, padded(stage.output.c));
        let output = sums.sums.stages[index].signed.as_mut_ptr();
        let transposed = scratch.transposed.at_least(VP * WIDTH * row).as_mut_ptr();
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
                        S::run_task(PickedInputs {
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

/// The constants hold coefficient · bias: the bias gains Σ g · coefficient, `g` being that of the planes.
///
/// # Safety
/// The machine has `S`; the field has P·T vectors per channel, and all of its window.
pub unsafe fn add_bias_gradient<S: Lanes, const P: usize, const T: usize>(
    stage: &Stage,
    left: Left<'_>,
    g: &RowValues,
    scratch: &mut ProductScratch,
    bias: &mut [f32],
) {
    let channels = stage.output.c;
    let sums = scratch.transposed.at_least(channels * WIDTH).as_mut_ptr();
    // SAFETY: the lists name channels, the sums hold a vector for each.
    unsafe {
        S::run(|| {
            let mut factors = [[S::zero(); 2]; 2];
            for v in 0..P {
                for t in 0..T {
                    factors[v][t] = S::load_any(g[v].as_ptr().add(t * WIDTH));
                }
            }
            (0..channels).for_each(|c| S::store(sums.add(c * WIDTH), S::zero()));
            let mut spot = left.field.data;
            for y in 0..left.field.window.h {
                for x in 0..left.field.window.w {
                    let (live, full) = left.at(stage, y, x);
                    for (i, &channel) in live.iter().enumerate() {
                        let channel = usize::from(channel);
                        let place = spot.add(channel * P * T * WIDTH);
                        let sum = sums.add(channel * WIDTH);
                        let mut total = S::load(sum);
                        for t in 0..T {
                            total = S::fma(S::load(place.add(t * WIDTH)), factors[0][t], total);
                        }
                        if P == 2 && i < full {
                            for t in 0..T {
                                total = S::fma(S::load(place.add((T + t) * WIDTH)), factors[1][t], total);
                            }
                        }
                        S::store(sum, total);
                    }
                    spot = spot.add(channels * P * T * WIDTH);
                }
            }
            for (c, bias) in bias.iter_mut().enumerate().take(channels) {
                *bias += S::sum(S::load(sums.add(c * WIDTH)));
            }
        });
    }
}

/// One channel against its patches: all VP vectors at some positions, the FIRST of them at others.
#[derive(Clone, Copy)]
struct Patch<'a, const VP: usize, const FIRST: usize> {
    left: *const f32,
    right: *const f32,
    full: &'a [(u32, u32)],
    first: &'a [(u32, u32)],
    /// From one row of pixels to the next.
    pixel_row: usize,
    /// Rows of a patch and elements of a row.
    shape: [usize; 2],
    /// `[tap]`, `row` apart.
    output: *mut f32,
    row: usize,
}

impl<const VP: usize, const FIRST: usize> Task for Patch<'_, VP, FIRST> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let [rows, columns] = self.shape;
        let mut y = 0;
        while y < rows {
            let high = (rows - y).div_ceil((rows - y).div_ceil(S::PATCH[0]));
            let mut x = 0;
            while x < columns {
                let wide = (columns - x).div_ceil((columns - x).div_ceil(S::PATCH[1]));
                macro_rules! of_size {
                    ($($rows:literal)*) => {
                        // SAFETY: the caller's places and sums.
                        match (high, wide) {
                            $(($rows, 1) => unsafe { self.block::<S, $rows, 1>(y, x) },
                            ($rows, 2) => unsafe { self.block::<S, $rows, 2>(y, x) },
                            ($rows, 3) => unsafe { self.block::<S, $rows, 3>(y, x) },
                            ($rows, 4) => unsafe { self.block::<S, $rows, 4>(y, x) },
                            ($rows, 5) => unsafe { self.block::<S, $rows, 5>(y, x) },)*
                            _ => unreachable!("blocks have at most five rows and columns"),
                        }
                    };
                }
                of_size!(1 2 3 4 5);
                x += wide;
            }
            y += high;
        }
    }
}

impl<const VP: usize, const FIRST: usize> Patch<'_, VP, FIRST> {
    /// The taps from row `y` and element `x` on.
    #[inline(always)]
    unsafe fn block<S: Lanes, const R: usize, const C: usize>(&self, y: usize, x: usize) {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = [[S::zero(); C]; R];
            let right = self.right.add(y * self.pixel_row + x * VP * WIDTH);
            for &(place, corner) in self.full {
                for v in 0..VP {
                    self.step::<S, R, C>(place as usize, right.add(corner as usize), v, &mut sums);
                }
            }
            for &(place, corner) in self.first {
                for v in 0..FIRST {
                    self.step::<S, R, C>(place as usize, right.add(corner as usize), v, &mut sums);
                }
            }
            for i in 0..R {
                for j in 0..C {
                    let place = self.output.add(((y + i) * self.shape[1] + x + j) * self.row);
                    S::store(place, S::add(S::load(place), sums[i][j]));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn step<S: Lanes, const R: usize, const C: usize>(
        &self,
        place: usize,
        corner: *const f32,
        v: usize,
        sums: &mut [[S::V; C]; R],
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let value = S::load(self.left.add(place + v * WIDTH));
            for i in 0..R {
                let pixels = corner.add(i * self.pixel_row + v * WIDTH);
                for j in 0..C {
                    sums[i][j] = S::fma(value, S::load(pixels.add(j * VP * WIDTH)), sums[i][j]);
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
struct PickedInputs<'a> {
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

impl Task for PickedInputs<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        // One vector of output channels and two steps at once, or two vectors: enough sums to hide their latency.
        let (large, wide) = (S::BLOCK[1] >= 8, self.row.is_multiple_of(2 * WIDTH));
        let most = match (large, wide) {
            (true, false) => 11,
            (true, true) => 8,
            _ => 3,
        };
        let blocks = self.live.len().div_ceil(most);
        let mut channels = self.live;
        for b in 0..blocks {
            let (block, rest) = channels.split_at(channels.len().div_ceil(blocks - b));
            channels = rest;
            macro_rules! of_size {
                ($($n:literal)*) => {
                    match block.len() {
                        // SAFETY: lists name channels of the caller's fields.
                        $($n => unsafe {
                            for start in (0..self.row).step_by(if wide { 2 * WIDTH } else { WIDTH }) {
                                if wide {
                                    self.block::<S, 2, 1, $n>(block, start);
                                } else {
                                    self.block::<S, 1, 2, $n>(block, start);
                                }
                            }
                        },)*
                        _ => unreachable!("blocks have at most eleven channels"),
                    }
                };
            }
            of_size!(1 2 3 4 5 6 7 8 9 10 11);
        }
    }
}

impl PickedInputs<'_> {
    /// NI vectors of output channels from `start` on, NJ input channels, U steps at once, which divides their number.
    #[inline(always)]
    unsafe fn block<S: Lanes, const NI: usize, const U: usize, const NJ: usize>(&self, channels: &[u16], start: usize) {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut rights = [self.right; NJ];
            for j in 0..NJ {
                rights[j] = self.right.add(usize::from(*channels.get_unchecked(j)) * self.pitch);
            }
            let mut sums = [[[S::zero(); NJ]; NI]; U];
            let mut left = self.left.add(start);
            for step in (0..self.steps).step_by(U) {
                for u in 0..U {
                    let mut values = [S::zero(); NI];
                    for i in 0..NI {
                        values[i] = S::load(left.add(i * WIDTH));
                    }
                    for j in 0..NJ {
                        let factor = S::splat(*rights[j].add(step + u));
                        for i in 0..NI {
                            sums[u][i][j] = S::fma(values[i], factor, sums[u][i][j]);
                        }
                    }
                    left = left.add(self.row);
                }
            }
            for i in 0..NI {
                for j in 0..NJ {
                    let channel = usize::from(*channels.get_unchecked(j));
                    let place = self.output.add(channel * self.row + start + i * WIDTH);
                    let mut sum = S::load(place);
                    for u in 0..U {
                        sum = S::add(sum, sums[u][i][j]);
                    }
                    S::store(place, sum);
                }
            }
        }
    }
}
