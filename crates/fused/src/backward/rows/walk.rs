//! Back-substitution (CROWN/DeepPoly) of a tile of sixteen or thirty-two rows, from its stage to the pixels in one go.
//!
//! Rows, the neurons being bounded, lie in lanes; a coefficient tensor is `[position][channel][plane][T][16]`
//! over the receptive window of the rows, small enough for the first- or second-level cache. One
//! step is transposed stage → ReLU relaxation → constants, position by position, and the last one
//! scatters straight to the pixels, so that the large tensor of the first stage never exists.
//!
//! The coefficients of the lower and upper bounds are kept as A_L = P − Q and A_U = P + Q from the rows down to the
//! pixels. Q starts at unstable neurons and spreads downwards from them: where there is none above, a position costs one
//! plane instead of two (see [`crate::backward::rows::relax`]). With one plane only A_L is walked.
//!
//! P counts the planes, T the vectors of rows: with T = 2 everything that is done per position and
//! channel (lists, broadcasts of lines and weights) serves thirty-two rows instead of sixteen.

use crate::backward::products::{ProductScratch, Products};
use crate::backward::rows::input::InputSet;
use crate::backward::rows::lines::Lines;
use crate::backward::rows::relax::{relax_rows, relax_spread};
use crate::backward::rows::terms::WholeMaps;
use crate::backward::rows::tile::{Keep, Pixels, Tile};
use crate::kernels::gather::{Outputs, Segment, Summands, Term, Terms, gather, gather_part};
use crate::net::Net;
use crate::net::geometry::{Field, Inputs, patch_offsets, transpose_segments};
use crate::net::plan::Window;
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, RowValues, TALL, WIDTH};

/// What the walks of one image share.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    pub net: &'a Net<'a>,
    /// Lines of the stages bounded so far.
    pub lines: &'a [Lines],
    pub input: &'a InputSet,
}

/// From so many coefficients on, the rows of a stage are asked for a position ahead: lines that lie far apart in a large
/// matrix are not found by the machine itself.
const FAR: usize = 1 << 18;

/// [`gather`] of the first of two planes of T vectors.
#[inline(always)]
pub unsafe fn gather_first<S: Lanes, const T: usize>(
    source: impl Summands,
    stride: usize,
    output: *mut f32,
    outputs: Outputs<'_>,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        match T {
            1 => gather_part::<S, _, 1, 2>(source, stride, output, outputs),
            _ => gather_part::<S, _, 2, 4>(source, stride, output, outputs),
        }
    }
}

/// [`gather`] with P·T vectors per channel.
#[inline(always)]
pub unsafe fn gather_rows<S: Lanes, const P: usize, const T: usize>(
    source: impl Summands,
    stride: usize,
    output: *mut f32,
    outputs: Outputs<'_>,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        match P * T {
            1 => gather::<S, 1>(source, stride, output, outputs),
            2 => gather::<S, 2>(source, stride, output, outputs),
            _ => gather::<S, 4>(source, stride, output, outputs),
        }
    }
}

/// Memory of one walk, all of it: reused from tile to tile and image to image.
#[derive(Default)]
pub struct WalkScratch {
    /// Post-relaxation coefficients per stage.
    pub coefficients: Vec<Buffer>,
    /// Cotangents of the pre-relaxation coefficients per stage.
    pub cotangents: Vec<Buffer>,
    /// Coefficients of the pixels, then their cotangents.
    pub pixels: Buffer,
    spot: Buffer,
    pub segments: Vec<Segment>,
    /// Sums shared by the tiles of an image, between `start` and `stop`.
    pub whole: WholeMaps,
    offsets: Vec<u32>,
    pub products: ProductScratch,
    /// The sum of the first stage over its patch, the same at all positions; cut short where terms are too small for it.
    pub patch: Vec<Term>,
    offsets_for: Option<([usize; 2], [usize; 2], [usize; 4])>,
    /// Windows per stage, filled by the forward walk.
    pub windows: Vec<Window>,
    /// Per stage and position of its window: true if Q reaches it from above.
    pub spread: Vec<Vec<bool>>,
    /// True if Q reaches the pixels.
    pub pixels_spread: bool,
    pub pixel_window: Option<Window>,
}

// SAFETY: segments are rebuilt before every use; between calls their pointers are only stale numbers.
unsafe impl Send for WalkScratch {}

impl WalkScratch {
    fn prepare(&mut self, net: &Net<'_>, tile: &Tile, vp: usize) {
        let stages = &net.plan.stages;
        self.coefficients.resize_with(stages.len(), Buffer::default);
        self.cotangents.resize_with(stages.len(), Buffer::default);
        self.spread.resize_with(stages.len(), Vec::new);
        self.windows.resize(stages.len(), Window { y: 0, x: 0, h: 0, w: 0 });
        let mut window = Window { y: tile.position[0], x: tile.position[1], h: 1, w: 1 };
        for index in (0..tile.stage).rev() {
            window = stages[index + 1].input_window(window);
            self.windows[index] = window;
        }
        let pixel_window = stages[0].input_window(window);
        // The scratch outlives a network, so the key is everything the offsets depend on.
        let [inputs, outputs] = [stages[0].input.c, stages[0].output.c];
        let key = Some((stages[0].kernel, stages[0].dilation, [inputs, outputs, pixel_window.w, vp]));
        if self.offsets_for != key {
            self.offsets_for = key;
            let offsets = patch_offsets(&stages[0], pixel_window.w);
            self.offsets.clear();
            self.offsets.extend(offsets.iter().map(|o| o * (vp * WIDTH) as u32));
            self.patch.clear();
            let terms = offsets.iter().enumerate();
            let terms = terms.map(|(e, &o)| Term::new(o as usize, e * padded(outputs) / WIDTH));
            self.patch.extend(terms.map_while(|term| term));
        }
        self.pixel_window = Some(pixel_window);
    }

    /// Walks `tile` down and returns the minimum (0) and, for P = 2, maximum (1) of each row, without the rows' own bias.
    ///
    /// # Safety
    /// The machine has `S`; the tile's rows are aligned, hold the stage's window and are 16·T.
    pub unsafe fn forward<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        keep: Keep,
        ends: Pixels<'_>,
    ) -> RowValues {
        let net = image.net;
        self.prepare(net, tile, P * T);
        let Some(pixel_window) = self.pixel_window else { unreachable!("prepare sets the window") };
        let pixels = pixel_window.positions() * net.plan.stages[0].input.c * P * T * WIDTH;
        self.pixels.at_least(pixels + SLACK);
        self.pixels_spread = false;
        let scatters = !matches!(ends, Pixels::Skip);
        if scatters {
            let elements = pixels / (P * T * WIDTH);
            let data = self.pixels.as_mut_ptr();
            // SAFETY: the buffer holds the window. A Q gets its zeros when there is one.
            unsafe { S::run(|| clear_plane::<S, P, T>(data, elements)) };
        }
        let mut constants = [[0.0; TALL]; 2];
        for index in (usize::from(!scatters)..tile.stage).rev() {
            // SAFETY: passed on from the caller; the stages above are walked.
            unsafe {
                let band = self.windows[index];
                self.walk_band::<S, P, T>(image, tile, index, band, keep, scatters && index == 0, &mut constants);
            }
        }
        let signs = match ends {
            Pixels::Bound => None,
            Pixels::Record(signs) => Some(signs),
            Pixels::Skip => return constants,
        };
        // SAFETY: the pixel buffer holds the window.
        unsafe {
            let (data, spread) = (self.pixels.as_ptr(), self.pixels_spread);
            image.input.extremes::<S, P, T>(data, pixel_window, spread, &mut constants, signs);
        }
        constants
    }

    /// One step down: the coefficients on the activations of stage `index`, at the positions of `band`, which is the
    /// window or some of its rows; those of the first stage go on to the pixels if it `scatters`.
    ///
    /// # Safety
    /// As [`WalkScratch::forward`]; the stages above are walked.
    pub unsafe fn walk_band<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        index: usize,
        band: Window,
        keep: Keep,
        scatters: bool,
        constants: &mut RowValues,
    ) {
        let net = image.net;
        let stage = &net.plan.stages[index];
        let lines = &image.lines[index];
        let size = stage.output.c * P * T * WIDTH;
        let first = index + 1 == tile.stage;
        let far = first && tile.stride * self.windows[index].positions() * stage.output.c > FAR;
        let zero = keep != Keep::Nothing && !Products::by_lists(stage);
        let resident = keep != Keep::Nothing || index > 0;
        let base = if resident {
            self.coefficients[index].at_least(band.positions() * size + SLACK).as_mut_ptr()
        } else {
            self.spot.at_least(size).as_mut_ptr()
        };
        let mut spread = std::mem::take(&mut self.spread[index]);
        spread.clear();
        let whole = self.whole.serve(net, &self.windows[..tile.stage], P * T);
        let tabulated = P == 2 && T == S::GROUPS && !first && whole && {
            let field = self.coefficients[index + 1].as_ptr();
            let above = &self.spread[index + 1];
            // SAFETY: the stage above has its coefficients, at all positions.
            unsafe { self.whole.prepare_down(net, image.lines, index, field, above, &mut self.segments) }
        };
        for y in band.y..band.y + band.h {
            for x in band.x..band.x + band.w {
                let position = y * stage.output.w + x;
                let local = (y - band.y) * band.w + (x - band.x);
                let live = lines.live.at(position);
                let unstable = lines.live.unstable_at(position).len();
                let at = lines.at(position);
                // SAFETY: windows bound all places; lists name channels of the stage.
                let spread_here = unsafe {
                    let spot = if resident { base.add(local * size) } else { base };
                    if zero && unstable < stage.output.c {
                        S::run(|| fill_zero::<S>(spot, size / WIDTH));
                    }
                    let spread_here = if first {
                        let rows = tile.rows.add(tile.element(net, [y, x]) * tile.stride);
                        if far {
                            let next = rows.wrapping_add(stage.output.c * tile.stride);
                            S::run(|| prefetch_rows::<S, T>(next, tile.stride, stage.output.c));
                        }
                        S::run(|| relax_rows::<S, P, T>(rows, tile.stride, spot, at, live, unstable, constants));
                        false
                    } else {
                        let spread_here =
                            self.transposed_spot::<S, P, T>(image, index, [y, x], [zero, tabulated], spot);
                        if spread_here {
                            S::run(|| relax_spread::<S, T>(spot, at, live, unstable, constants));
                        } else {
                            let stride = P * T * WIDTH;
                            S::run(|| relax_rows::<S, P, T>(spot, stride, spot, at, live, unstable, constants));
                        }
                        spread_here
                    };
                    if scatters {
                        let full = if spread_here { live.len() } else { unstable };
                        self.scatter::<S, P, T>(net, spot, live, full, [y, x]);
                    }
                    spread_here
                };
                spread.push(spread_here);
            }
        }
        self.spread[index] = spread;
    }

    /// The transposed stage above `index`, at one position: coefficients on the activation. True if they have a Q.
    unsafe fn transposed_spot<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        image: Image<'_>,
        index: usize,
        position: [usize; 2],
        [zero, tabulated]: [bool; 2],
        spot: *mut f32,
    ) -> bool {
        let stage = &image.net.plan.stages[index + 1];
        let place = position[0] * stage.input.w + position[1];
        let live = image.lines[index].live.at(place);
        let stride = padded(stage.input.c);
        let weight = image.net.weights.signed[index + 1].transposed.as_ptr();
        // Picking outputs costs a single vector per channel more than computing a few in vain, where they may be anything.
        let picking_is_dearer = P * T == 1 && live.len() * 4 >= stage.input.c * 3 && !zero;
        let all = live.len() == stage.input.c || picking_is_dearer;
        let outputs = if all { Outputs::All(stage.input.c) } else { Outputs::Listed(live) };
        if P == 2 && T == S::GROUPS && tabulated {
            let terms = self.whole.down(index, place, self.coefficients[index + 1].as_ptr(), weight);
            let spread = !terms.full.is_empty();
            // SAFETY: passed on from `forward`.
            unsafe {
                if spread {
                    gather_rows::<S, P, T>(terms, stride, spot, outputs);
                } else {
                    gather_first::<S, T>(Terms { full: terms.half, half: &[], ..terms }, stride, spot, outputs);
                }
            }
            return spread;
        }
        let output = Field { data: self.coefficients[index + 1].as_ptr(), window: self.windows[index + 1] };
        let above = &image.lines[index + 1].live;
        let inputs = if P == 2 { Inputs::Spread(above, &self.spread[index + 1]) } else { Inputs::Live(above) };
        let taps = &image.net.taps[index + 1];
        transpose_segments(stage, taps, weight, stride, output, P * T, position, inputs, &mut self.segments);
        let spread = P == 2 && self.segments.iter().any(|segment| segment.full > 0);
        // SAFETY: passed on from `forward`.
        unsafe {
            if P == 2 && !spread {
                for segment in &mut self.segments {
                    (segment.full, segment.half) = (segment.half, 0);
                }
                gather_first::<S, T>(&self.segments[..], stride, spot, outputs);
            } else {
                gather_rows::<S, P, T>(&self.segments[..], stride, spot, outputs);
            }
        }
        spread
    }

    /// Adds one position's patch to the pixels; the first `full` live channels have a Q.
    unsafe fn scatter<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        net: &Net<'_>,
        spot: *const f32,
        live: &[u16],
        full: usize,
        [y, x]: [usize; 2],
    ) {
        let stage = &net.plan.stages[0];
        let (Some(pixels), window) = (self.pixel_window, self.windows[0]) else { return };
        let corner = (y - window.y) * stage.stride[0] * pixels.w + (x - window.x) * stage.stride[1];
        if P == 2 && full > 0 && !self.pixels_spread {
            self.pixels_spread = true;
            let elements = pixels.positions() * stage.input.c;
            // SAFETY: the buffer holds the window, and every element a second plane.
            unsafe {
                let second = self.pixels.as_mut_ptr().add(T * WIDTH);
                S::run(|| clear_plane::<S, P, T>(second, elements));
            }
        }
        let stride = padded(stage.taps() * stage.input.c);
        let outputs = Outputs::Patch(&self.offsets);
        // SAFETY: passed on from `forward`.
        unsafe {
            let output = self.pixels.as_mut_ptr().add(corner * stage.input.c * P * T * WIDTH);
            let weight = net.weights.signed[0].patch.as_ptr();
            let segment = |input: *const f32, full| Segment { input, weight, list: live.as_ptr(), full, half: 0 };
            let all = segment(spot, live.len());
            if P == 1 {
                gather_rows::<S, P, T>(&[all][..], stride, output, outputs);
                return;
            }
            // A plane at a time: blocks of twice as many taps, and half as many loops whose ends are mispredicted.
            gather_first::<S, T>(&[all][..], stride, output, outputs);
            if full > 0 {
                let second = segment(spot.add(T * WIDTH), full);
                gather_first::<S, T>(&[second][..], stride, output.add(T * WIDTH), outputs);
            }
        }
    }
}

/// Asks for the rows' coefficients of one position.
#[inline(always)]
unsafe fn prefetch_rows<S: Lanes, const T: usize>(rows: *const f32, stride: usize, channels: usize) {
    for channel in 0..channels {
        for t in 0..T {
            // SAFETY: a prefetch needs no memory behind its address.
            unsafe { S::prefetch(rows.wrapping_add(channel * stride + t * WIDTH)) };
        }
    }
}

/// Zeros for one plane of every element.
#[inline(always)]
unsafe fn clear_plane<S: Lanes, const P: usize, const T: usize>(plane: *mut f32, elements: usize) {
    for element in 0..elements {
        for t in 0..T {
            // SAFETY: the caller gives `elements` of P·T vectors.
            unsafe { S::store(plane.add((element * P * T + t) * WIDTH), S::zero()) };
        }
    }
}

#[inline(always)]
unsafe fn fill_zero<S: Lanes>(place: *mut f32, vectors: usize) {
    for i in 0..vectors {
        // SAFETY: the caller gives `vectors` aligned vectors.
        unsafe { S::store(place.add(i * WIDTH), S::zero()) };
    }
}
