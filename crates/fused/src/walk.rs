//! Back-substitution (CROWN/DeepPoly) of a tile of sixteen rows, from its stage to the pixels in one go.
//!
//! Rows, the neurons being bounded, lie in lanes; a coefficient tensor is `[position][channel][plane][16]`
//! over the receptive window of the rows, small enough for the first- or second-level cache. One
//! step is transposed stage → ReLU relaxation → constants, position by position, and the last one
//! scatters straight to the pixels, so that the large tensor of the first stage never exists.
//!
//! The two planes are the coefficients of the lower and upper bounds, A_L and A_U. The first
//! relaxation turns one tensor (the rows of W) into two; until the second one they are kept as
//! A_L = P − Q and A_U = P + Q with P = A·m and Q = |A|·d, because Q exists for unstable neurons
//! only: a stably active neuron costs one plane instead of two. With VP = 1 only A_L is walked.

use crate::block::{Segment, Target, gather};
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

/// Sixteen rows on the output of a stage.
#[derive(Clone, Copy)]
pub struct Tile {
    /// The rows' stage; its weights are the rows.
    pub stage: usize,
    /// Their position.
    pub position: [usize; 2],
    /// Coefficients `[tap][c_in][stride]`, the first sixteen of each being the rows.
    pub rows: *const f32,
    pub stride: usize,
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

    /// Walks `tile` down and returns the minimum (0) and, for VP = 2, maximum (1) of each row, without the rows' own bias.
    ///
    /// With `keep`, the coefficients of every stage and of the pixels stay for the adjoint, with zeros for dead neurons.
    ///
    /// # Safety
    /// The machine has `S`; the tile's rows are aligned and hold the stage's window.
    pub unsafe fn forward<S: Lanes, const VP: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        keep: bool,
    ) -> [[f32; WIDTH]; 2] {
        let net = image.net;
        self.prepare(net, tile, VP);
        let Some(pixel_window) = self.pixel_window else { unreachable!("prepare sets the window") };
        let pixels = pixel_window.positions() * net.plan.stages[0].input.c * VP * WIDTH;
        self.pixels.at_least(pixels + SLACK)[..pixels].fill(0.0);
        let mut constants = [[0.0; WIDTH]; 2];
        for index in (0..tile.stage).rev() {
            let stage = &net.plan.stages[index];
            let window = self.windows[index];
            let lines = &image.lines[index];
            let size = stage.output.c * VP * WIDTH;
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
                    let line = &lines.line[position * stage.output.c..];
                    // SAFETY: windows bound all places; lists name channels of the stage.
                    unsafe {
                        let spot = if resident { base.add(local * size) } else { base };
                        if keep {
                            S::run(|| fill_zero::<S>(spot, size / WIDTH));
                        }
                        if first {
                            let rows = tile.rows.add(tile.element(net, [y, x]) * tile.stride);
                            S::run(|| {
                                relax_rows::<S, VP>(rows, tile.stride, spot, line, live, unstable, &mut constants);
                            });
                        } else {
                            self.transposed_spot::<S, VP>(image, tile, index, [y, x], live, spot);
                            let split = VP == 2 && index + 2 == tile.stage;
                            S::run(|| relax::<S, VP>(spot, split, line, live, unstable, &mut constants));
                        }
                        if index == 0 {
                            self.scatter::<S, VP>(net, spot, live, if first { unstable } else { live.len() }, [y, x]);
                        }
                    }
                }
            }
            if first && VP == 2 {
                join(&mut constants);
            }
        }
        // SAFETY: the pixel buffer holds the window.
        unsafe {
            let data = self.pixels.as_mut_ptr();
            let vectors = pixels / WIDTH;
            S::run(|| {
                if VP == 2 && tile.stage == 1 {
                    join_planes::<S>(data, vectors / 2);
                }
                image.input.extremes::<S, VP>(data, pixel_window, &mut constants);
            });
        }
        constants
    }

    /// The transposed stage above `index`, at one position: coefficients on the activation.
    unsafe fn transposed_spot<S: Lanes, const VP: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        index: usize,
        position: [usize; 2],
        live: &[u16],
        spot: *mut f32,
    ) {
        let stage = &image.net.plan.stages[index + 1];
        let stride = padded(stage.input.c);
        let weight = image.net.weights.signed[index + 1].transposed.as_ptr();
        let output = Field { data: self.coefficients[index + 1].as_ptr(), window: self.windows[index + 1] };
        let above = &image.lines[index + 1].live;
        let inputs = if VP == 2 && index + 2 == tile.stage { Inputs::FirstOnly(above) } else { Inputs::Live(above) };
        transpose_segments(stage, weight, stride, output, VP, position, inputs, &mut self.segments);
        let target = Target { output: spot, outputs: live, offsets: &image.net.offsets[VP - 1] };
        // SAFETY: passed on from `forward`.
        unsafe { gather::<S, VP, false>(&self.segments, stride, target) }
    }

    /// Adds one position's patch to the pixels.
    unsafe fn scatter<S: Lanes, const VP: usize>(
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
        let n = stage.taps() * stage.input.c;
        // With one vector per channel every channel is full.
        let full = if VP == 1 { live.len() } else { full };
        let segment = Segment {
            input: spot,
            weight: net.weights.signed[0].patch.as_ptr(),
            list: live.as_ptr(),
            full,
            first_only: live.len() - full,
        };
        // SAFETY: passed on from `forward`.
        unsafe {
            let output = self.pixels.as_mut_ptr().add(corner * stage.input.c * VP * WIDTH);
            let target = Target { output, outputs: &net.identity[..n], offsets: &self.offsets };
            gather::<S, VP, true>(&[segment], padded(n), target);
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
fn join(planes: &mut [[f32; WIDTH]; 2]) {
    for lane in 0..WIDTH {
        let (p, q) = (planes[0][lane], planes[1][lane]);
        (planes[0][lane], planes[1][lane]) = (p - q, p + q);
    }
}

/// (P, Q) to (P − Q, P + Q), vector pair by vector pair.
#[inline(always)]
unsafe fn join_planes<S: Lanes>(data: *mut f32, pairs: usize) {
    for i in 0..pairs {
        // SAFETY: the caller gives `pairs` pairs of aligned vectors.
        unsafe {
            let place = data.add(2 * i * WIDTH);
            let (p, q) = (S::load(place), S::load(place.add(WIDTH)));
            S::store(place, S::sub(p, q));
            S::store(place.add(WIDTH), S::add(p, q));
        }
    }
}

/// The first relaxation of a walk at one position: rows to P and Q (VP = 2) or A_L (VP = 1).
///
/// The constants gain P·b and Q·b with half the intercepts, in P/Q form for VP = 2.
#[inline(always)]
unsafe fn relax_rows<S: Lanes, const VP: usize>(
    rows: *const f32,
    stride: usize,
    spot: *mut f32,
    line: &[Line],
    live: &[u16],
    unstable: usize,
    constants: &mut [[f32; WIDTH]; 2],
) {
    // SAFETY: the caller's lists name channels of the spot, the rows and the lines.
    unsafe {
        let mut p_sum = S::load_any(constants[0].as_ptr());
        let mut q_sum = S::load_any(constants[1].as_ptr());
        for (i, &channel) in live.iter().enumerate() {
            let channel = usize::from(channel);
            let line = line.get_unchecked(channel);
            let a = S::load(rows.add(channel * stride));
            let place = spot.add(channel * VP * WIDTH);
            if i >= unstable {
                S::store(place, a);
                p_sum = S::fma(a, S::splat(line.bias), p_sum);
                continue;
            }
            let size = S::abs(a);
            let p = S::mul(a, S::splat(line.m));
            if VP == 2 {
                S::store(place, p);
                S::store(place.add(WIDTH), S::mul(size, S::splat(line.d)));
                p_sum = S::fma(a, S::splat(line.e), p_sum);
                q_sum = S::fma(size, S::splat(line.g), q_sum);
            } else {
                S::store(place, S::sub(p, S::mul(size, S::splat(line.d))));
                p_sum = S::fma(a, S::splat(line.e), p_sum);
                p_sum = S::fnma(size, S::splat(line.g), p_sum);
            }
        }
        S::store_any(constants[0].as_mut_ptr(), p_sum);
        S::store_any(constants[1].as_mut_ptr(), q_sum);
    }
}

/// A later relaxation at one position, in place; `split` says that the planes come as P and Q.
#[inline(always)]
unsafe fn relax<S: Lanes, const VP: usize>(
    spot: *mut f32,
    split: bool,
    line: &[Line],
    live: &[u16],
    unstable: usize,
    constants: &mut [[f32; WIDTH]; 2],
) {
    // SAFETY: the caller's lists name channels of the spot and the lines.
    unsafe {
        let mut low_sum = S::load_any(constants[0].as_ptr());
        let mut high_sum = S::load_any(constants[1].as_ptr());
        for (i, &channel) in live.iter().enumerate() {
            let channel = usize::from(channel);
            let line = line.get_unchecked(channel);
            let place = spot.add(channel * VP * WIDTH);
            let mut low = S::load(place);
            let mut high = low;
            if VP == 2 {
                high = S::load(place.add(WIDTH));
                if split {
                    (low, high) = (S::sub(low, high), S::add(low, high));
                }
            }
            if i >= unstable {
                let bias = S::splat(line.bias);
                S::store(place, low);
                low_sum = S::fma(low, bias, low_sum);
                if VP == 2 {
                    S::store(place.add(WIDTH), high);
                    high_sum = S::fma(high, bias, high_sum);
                }
                continue;
            }
            let [m, d, e, g] = [line.m, line.d, line.e, line.g].map(|x| S::splat(x));
            let size = S::abs(low);
            // Not fused: where λ_l = 0 the two products are equal and must cancel exactly, because the
            // adjoint reads the sign of the result.
            S::store(place, S::sub(S::mul(low, m), S::mul(size, d)));
            low_sum = S::fnma(size, g, S::fma(low, e, low_sum));
            if VP == 2 {
                let size = S::abs(high);
                S::store(place.add(WIDTH), S::add(S::mul(high, m), S::mul(size, d)));
                high_sum = S::fma(size, g, S::fma(high, e, high_sum));
            }
        }
        S::store_any(constants[0].as_mut_ptr(), low_sum);
        S::store_any(constants[1].as_mut_ptr(), high_sum);
    }
}
