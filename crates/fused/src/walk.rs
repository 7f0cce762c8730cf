//! Back-substitution (CROWN/DeepPoly) of a tile of sixteen or thirty-two rows, from its stage to the pixels in one go.
//!
//! Rows, the neurons being bounded, lie in lanes; a coefficient tensor is `[position][channel][plane][T][16]`
//! over the receptive window of the rows, small enough for the first- or second-level cache. One
//! step is transposed stage → ReLU relaxation → constants, position by position, and the last one
//! scatters straight to the pixels, so that the large tensor of the first stage never exists.
//!
//! The two planes are the coefficients of the lower and upper bounds, A_L and A_U. The first
//! relaxation turns one tensor (the rows of W) into two; until the second one they are kept as
//! A_L = P − Q and A_U = P + Q with P = A·m and Q = |A|·d, because Q exists for unstable neurons
//! only: a stably active neuron costs one plane instead of two. With one plane only A_L is walked.
//!
//! P counts the planes, T the vectors of rows: with T = 2 everything that is done per position and
//! channel (lists, broadcasts of lines and weights) serves thirty-two rows instead of sixteen.

use crate::block::{Outputs, Segment, gather};
use crate::buffer::Buffer;
use crate::clean::SLACK;
use crate::geometry::{Field, Inputs, patch_offsets, transpose_segments};
use crate::input::InputSet;
use crate::lanes::{Lanes, WIDTH};
use crate::lines::{Line, Lines};
use crate::net::Net;
use crate::plan::Window;
use crate::weights::padded;

/// What the walks of one image share.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    pub net: &'a Net<'a>,
    /// Lines of the stages bounded so far.
    pub lines: &'a [Lines],
    pub input: &'a InputSet,
}

/// Most rows of a tile.
pub const TALL: usize = 2 * WIDTH;

/// One value per bound (minimum, maximum) and row.
pub type RowValues = [[f32; TALL]; 2];

/// Rows on the output of a stage.
#[derive(Clone, Copy)]
pub struct Tile {
    /// The rows' stage; its weights are the rows.
    pub stage: usize,
    /// Their position.
    pub position: [usize; 2],
    /// Coefficients `[tap][c_in][stride]`, the first 16·T of each being the rows.
    pub rows: *const f32,
    pub stride: usize,
    /// True for T = 2, thirty-two rows.
    pub tall: bool,
}

/// [`gather`] with P·T vectors per channel.
#[inline(always)]
pub unsafe fn gather_rows<S: Lanes, const P: usize, const T: usize>(
    segments: &[Segment],
    stride: usize,
    output: *mut f32,
    outputs: Outputs<'_>,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        match P * T {
            1 => gather::<S, 1>(segments, stride, output, outputs),
            2 => gather::<S, 2>(segments, stride, output, outputs),
            _ => gather::<S, 4>(segments, stride, output, outputs),
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
    offsets: Vec<u32>,
    offsets_for: Option<([usize; 2], [usize; 2], [usize; 3])>,
    /// Windows per stage, filled by the forward walk.
    pub windows: Vec<Window>,
    pub pixel_window: Option<Window>,
}

// SAFETY: segments are rebuilt before every use; between calls their pointers are only stale numbers.
unsafe impl Send for WalkScratch {}

impl Tile {
    /// First coefficient of input position (`y`, `x`) in `rows`, in units of `stride`.
    pub fn element(&self, net: &Net<'_>, [y, x]: [usize; 2]) -> usize {
        let stage = &net.plan.stages[self.stage];
        let ty = y + stage.pad[0] - self.position[0] * stage.stride[0];
        let tx = x + stage.pad[1] - self.position[1] * stage.stride[1];
        (ty * stage.kernel[1] + tx) * stage.input.c
    }
}

impl WalkScratch {
    fn prepare(&mut self, net: &Net<'_>, tile: &Tile, vp: usize) {
        let stages = &net.plan.stages;
        self.coefficients.resize_with(stages.len(), Buffer::default);
        self.cotangents.resize_with(stages.len(), Buffer::default);
        self.windows.resize(stages.len(), Window { y: 0, x: 0, h: 0, w: 0 });
        let mut window = Window { y: tile.position[0], x: tile.position[1], h: 1, w: 1 };
        for index in (0..tile.stage).rev() {
            window = stages[index + 1].input_window(window);
            self.windows[index] = window;
        }
        let pixel_window = stages[0].input_window(window);
        // The scratch outlives a network, so the key is everything the offsets depend on.
        let key = Some((stages[0].kernel, stages[0].dilation, [stages[0].input.c, pixel_window.w, vp]));
        if self.offsets_for != key {
            self.offsets_for = key;
            self.offsets.clear();
            self.offsets.extend(patch_offsets(&stages[0], pixel_window.w).iter().map(|o| o * (vp * WIDTH) as u32));
        }
        self.pixel_window = Some(pixel_window);
    }

    /// Walks `tile` down and returns the minimum (0) and, for P = 2, maximum (1) of each row, without the rows' own bias.
    ///
    /// With `keep`, the coefficients of every stage and of the pixels stay for the adjoint, with zeros for dead neurons.
    ///
    /// # Safety
    /// The machine has `S`; the tile's rows are aligned, hold the stage's window and are 16·T.
    pub unsafe fn forward<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        keep: bool,
    ) -> RowValues {
        let net = image.net;
        self.prepare(net, tile, P * T);
        let Some(pixel_window) = self.pixel_window else { unreachable!("prepare sets the window") };
        let elements = pixel_window.positions() * net.plan.stages[0].input.c;
        let pixels = elements * P * T * WIDTH;
        self.pixels.at_least(pixels + SLACK)[..pixels].fill(0.0);
        let mut constants = [[0.0; TALL]; 2];
        for index in (0..tile.stage).rev() {
            let stage = &net.plan.stages[index];
            let window = self.windows[index];
            let lines = &image.lines[index];
            let size = stage.output.c * P * T * WIDTH;
            let first = index + 1 == tile.stage;
            let resident = keep || index > 0;
            let base = if resident {
                self.coefficients[index].at_least(window.positions() * size + SLACK).as_mut_ptr()
            } else {
                self.spot.at_least(size).as_mut_ptr()
            };
            for y in window.y..window.y + window.h {
                for x in window.x..window.x + window.w {
                    let position = y * stage.output.w + x;
                    let local = (y - window.y) * window.w + (x - window.x);
                    let live = lines.live.at(position);
                    let unstable = lines.live.unstable_at(position).len();
                    let line = &lines.line[position * stage.output.c..][..stage.output.c];
                    // SAFETY: windows bound all places; lists name channels of the stage.
                    unsafe {
                        let spot = if resident { base.add(local * size) } else { base };
                        if keep && unstable < stage.output.c {
                            S::run(|| fill_zero::<S>(spot, size / WIDTH));
                        }
                        if first {
                            let rows = tile.rows.add(tile.element(net, [y, x]) * tile.stride);
                            S::run(|| {
                                relax_rows::<S, P, T>(rows, tile.stride, spot, line, live, unstable, &mut constants);
                            });
                        } else {
                            self.transposed_spot::<S, P, T>(image, tile, index, [y, x], keep, spot);
                            let split = P == 2 && index + 2 == tile.stage;
                            S::run(|| relax::<S, P, T>(spot, split, line, live, unstable, &mut constants));
                        }
                        if index == 0 {
                            self.scatter::<S, P, T>(net, spot, live, if first { unstable } else { live.len() }, [y, x]);
                        }
                    }
                }
            }
            if first && P == 2 {
                join(&mut constants);
            }
        }
        // SAFETY: the pixel buffer holds the window.
        unsafe {
            let data = self.pixels.as_mut_ptr();
            S::run(|| {
                if P == 2 && tile.stage == 1 {
                    mix_planes::<S, T, false>(data, elements);
                }
                image.input.extremes::<S, P, T>(data, pixel_window, &mut constants);
            });
        }
        constants
    }

    /// The transposed stage above `index`, at one position: coefficients on the activation.
    unsafe fn transposed_spot<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        index: usize,
        position: [usize; 2],
        keep: bool,
        spot: *mut f32,
    ) {
        let stage = &image.net.plan.stages[index + 1];
        let live = image.lines[index].live.at(position[0] * stage.input.w + position[1]);
        let stride = padded(stage.input.c);
        let weight = image.net.weights.signed[index + 1].transposed.as_ptr();
        let output = Field { data: self.coefficients[index + 1].as_ptr(), window: self.windows[index + 1] };
        let above = &image.lines[index + 1].live;
        let inputs = if P == 2 && index + 2 == tile.stage { Inputs::HalfIfActive(above) } else { Inputs::Live(above) };
        transpose_segments(stage, &image.net.links[index + 1], weight, stride, output, P * T, position, inputs, &mut self.segments);
        // Picking outputs costs a single vector per channel more than computing a few in vain; what is kept must be 0 there.
        let picking_is_dearer = P * T == 1 && live.len() * 4 >= stage.input.c * 3 && !keep;
        let all = live.len() == stage.input.c || picking_is_dearer;
        let outputs = if all { Outputs::All(stage.input.c) } else { Outputs::Listed(live) };
        // SAFETY: passed on from `forward`.
        unsafe { gather_rows::<S, P, T>(&self.segments, stride, spot, outputs) }
    }

    /// Adds one position's patch to the pixels.
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
        // With one plane every channel is full.
        let full = if P == 1 { live.len() } else { full };
        let segment = Segment {
            input: spot,
            weight: net.weights.signed[0].patch.as_ptr(),
            list: live.as_ptr(),
            full,
            half: live.len() - full,
        };
        // SAFETY: passed on from `forward`.
        unsafe {
            let output = self.pixels.as_mut_ptr().add(corner * stage.input.c * P * T * WIDTH);
            let stride = padded(stage.taps() * stage.input.c);
            gather_rows::<S, P, T>(&[segment], stride, output, Outputs::Patch(&self.offsets));
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

/// (P, Q) to (P − Q, P + Q), for the constants of a tile.
fn join(planes: &mut RowValues) {
    for lane in 0..TALL {
        let (p, q) = (planes[0][lane], planes[1][lane]);
        (planes[0][lane], planes[1][lane]) = (p - q, p + q);
    }
}

/// (P, Q) to (A_L, A_U) = (P − Q, P + Q), element by element; with `ADJOINT`, cotangents on (A_L, A_U) to those on (P, Q).
#[inline(always)]
pub unsafe fn mix_planes<S: Lanes, const T: usize, const ADJOINT: bool>(data: *mut f32, elements: usize) {
    for i in 0..elements {
        for t in 0..T {
            // SAFETY: the caller gives `elements` times two planes of T aligned vectors.
            unsafe {
                let place = data.add((2 * i * T + t) * WIDTH);
                let (first, second) = (S::load(place), S::load(place.add(T * WIDTH)));
                let (sum, difference) = (S::add(first, second), S::sub(first, second));
                let (first, second) = if ADJOINT { (sum, S::sub(S::zero(), difference)) } else { (difference, sum) };
                S::store(place, first);
                S::store(place.add(T * WIDTH), second);
            }
        }
    }
}

/// A tile's constants in registers, `[plane][T]`.
#[derive(Clone, Copy)]
struct Constants<S: Lanes>([[S::V; 2]; 2]);

impl<S: Lanes> Constants<S> {
    #[inline(always)]
    unsafe fn load(values: &RowValues) -> Self {
        // SAFETY: two vectors per plane; the machine is the caller's word.
        unsafe {
            let plane = |v: usize| [S::load_any(values[v].as_ptr()), S::load_any(values[v].as_ptr().add(WIDTH))];
            Constants([plane(0), plane(1)])
        }
    }

    #[inline(always)]
    unsafe fn store(self, values: &mut RowValues) {
        for v in 0..2 {
            for t in 0..2 {
                // SAFETY: as above.
                unsafe { S::store_any(values[v].as_mut_ptr().add(t * WIDTH), self.0[v][t]) };
            }
        }
    }
}

/// The first relaxation of a walk at one position: rows to P and Q (P = 2) or A_L (P = 1).
///
/// The constants gain P·b and Q·b with half the intercepts, in P/Q form for P = 2.
#[inline(always)]
pub unsafe fn relax_rows<S: Lanes, const P: usize, const T: usize>(
    rows: *const f32,
    stride: usize,
    spot: *mut f32,
    line: &[Line],
    live: &[u16],
    unstable: usize,
    constants: &mut RowValues,
) {
    // SAFETY: the caller's lists name channels of the spot, the rows and the lines.
    unsafe {
        let mut sums = Constants::<S>::load(constants);
        for &channel in live.get_unchecked(..unstable) {
            let channel = usize::from(channel);
            let line = line.get_unchecked(channel);
            let [m, d, e, g] = [line.m, line.d, line.e, line.g].map(|x| S::splat(x));
            for t in 0..T {
                let a = S::load(rows.add(channel * stride + t * WIDTH));
                let size = S::abs(a);
                let place = spot.add((channel * P * T + t) * WIDTH);
                sums.0[0][t] = S::fma(a, e, sums.0[0][t]);
                if P == 2 {
                    S::store(place, S::mul(a, m));
                    S::store(place.add(T * WIDTH), S::mul(size, d));
                    sums.0[1][t] = S::fma(size, g, sums.0[1][t]);
                } else {
                    S::store(place, S::sub(S::mul(a, m), S::mul(size, d)));
                    sums.0[0][t] = S::fnma(size, g, sums.0[0][t]);
                }
            }
        }
        for &channel in live.get_unchecked(unstable..) {
            let channel = usize::from(channel);
            let bias = S::splat(line.get_unchecked(channel).bias);
            for t in 0..T {
                let a = S::load(rows.add(channel * stride + t * WIDTH));
                S::store(spot.add((channel * P * T + t) * WIDTH), a);
                sums.0[0][t] = S::fma(a, bias, sums.0[0][t]);
            }
        }
        sums.store(constants);
    }
}

/// A later relaxation at one position, in place; `split` says that the planes come as P and Q.
#[inline(always)]
unsafe fn relax<S: Lanes, const P: usize, const T: usize>(
    spot: *mut f32,
    split: bool,
    line: &[Line],
    live: &[u16],
    unstable: usize,
    constants: &mut RowValues,
) {
    // SAFETY: the caller's lists name channels of the spot and the lines.
    unsafe {
        let mut sums = Constants::<S>::load(constants);
        for (i, &channel) in live.iter().enumerate() {
            let channel = usize::from(channel);
            let line = line.get_unchecked(channel);
            let place = spot.add(channel * P * T * WIDTH);
            if P == 2 && split {
                for t in 0..T {
                    let low = place.add(t * WIDTH);
                    let high = low.add(T * WIDTH);
                    let (p, q) = (S::load(low), S::load(high));
                    S::store(low, S::sub(p, q));
                    S::store(high, S::add(p, q));
                }
            }
            if i >= unstable {
                let bias = S::splat(line.bias);
                for v in 0..P {
                    for t in 0..T {
                        let a = S::load(place.add((v * T + t) * WIDTH));
                        sums.0[v][t] = S::fma(a, bias, sums.0[v][t]);
                    }
                }
                continue;
            }
            let [m, d, e, g] = [line.m, line.d, line.e, line.g].map(|x| S::splat(x));
            for v in 0..P {
                for t in 0..T {
                    let at = place.add((v * T + t) * WIDTH);
                    let a = S::load(at);
                    let size = S::abs(a);
                    let sum = S::fma(a, e, sums.0[v][t]);
                    // Not fused: where λ_l = 0 the two products are equal and must cancel exactly, because the
                    // adjoint reads the sign of the result.
                    if v == 0 {
                        S::store(at, S::sub(S::mul(a, m), S::mul(size, d)));
                        sums.0[v][t] = S::fnma(size, g, sum);
                    } else {
                        S::store(at, S::add(S::mul(a, m), S::mul(size, d)));
                        sums.0[v][t] = S::fma(size, g, sum);
                    }
                }
            }
        }
        sums.store(constants);
    }
}
