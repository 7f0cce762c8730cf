//! Back-substitution of margins of a packet: sixteen images in lanes.
//!
//! Ten margins fill ten of sixteen lanes if rows lie in lanes, and every image's tile loads all weights anew. With images
//! in lanes no lane is wasted, one broadcast weight serves sixteen images and up to four margins, and lines come as
//! vectors. In exchange a neuron is skipped only if it is inactive in all sixteen images. Lower bounds over boxes only.
//!
//! A coefficient tensor is `[position][channel][VP][16 images]`, VP being the margins walked together.

use crate::backward::images::lines::PacketLines;
use crate::backward::products::{ProductScratch, Products};
use crate::interval::margins::{Labels, Margins};
use crate::kernels::gather::{Outputs, Segment, gather};
use crate::net::Net;
use crate::net::geometry::{Field, Inputs, patch_offsets, transpose_segments};
use crate::net::plan::{Plan, Window};
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

/// Largest coefficient tensor of a group of margins, in f32: 32 MB. Far beyond the second-level cache, but a second group of
/// margins would stream all weights again.
const LARGEST: usize = 1 << 23;

/// Margins that a walk takes together at most.
pub const TOGETHER: usize = 4;

/// What the walks of one chunk of images share.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub net: &'a Net<'a>,
    pub lines: &'a [PacketLines],
    pub margins: Margins<'a>,
    /// Centre and radius of the padded input, `[pixel][16]`.
    pub center: &'a [f32],
    pub radius: &'a [f32],
}

/// Memory of the walks of one worker.
#[derive(Default)]
pub struct PacketWalk {
    /// Post-relaxation coefficients per stage.
    pub coefficients: Vec<Buffer>,
    /// Coefficients of the pixels, then their cotangents.
    pub pixels: Buffer,
    spot: Buffer,
    pub segments: Vec<Segment>,
    offsets: Vec<u32>,
    pub products: ProductScratch,
}

// SAFETY: segments are rebuilt before every use; between calls their pointers are only stale numbers.
unsafe impl Send for PacketWalk {}

/// Margins that are walked together: first class, how many (1, 2 or 4).
pub type Group = (usize, usize);

/// All classes in groups.
pub fn groups<S: Lanes>(plan: &Plan) -> Vec<Group> {
    let largest = plan.stages[..plan.hidden()].iter().map(|stage| stage.output.len()).max().unwrap_or(1);
    let most = [4, 2, 1].into_iter().find(|n| *n <= 2 * S::GROUPS && n * largest * WIDTH <= LARGEST).unwrap_or(1);
    let mut groups = Vec::new();
    let mut first = 0;
    while first < plan.classes {
        let rest = plan.classes - first;
        let size = [4, 2, 1].into_iter().find(|n| *n <= most && *n <= rest).unwrap_or(1);
        groups.push((first, size));
        first += size;
    }
    groups
}

/// The relaxation of one coefficient, and what the constant gains: a' = min(a,0)·λ_u + max(a,0)·λ_l, and
/// min(a,0)·μ_u + a'·b. The zeros come first, so that NaN passes through.
#[inline(always)]
unsafe fn relaxed<S: Lanes>(a: S::V, [upper, lower, intercept, bias]: [S::V; 4], sum: &mut S::V) -> S::V {
    // SAFETY: the machine is the caller's word.
    unsafe {
        let (negative, positive) = (S::min(S::zero(), a), S::max(S::zero(), a));
        let result = S::fma(negative, upper, S::mul(positive, lower));
        *sum = S::fma(result, bias, S::fma(negative, intercept, *sum));
        result
    }
}

/// λ_u, λ_l, μ_u of one neuron.
#[inline(always)]
pub unsafe fn line_at<S: Lanes>(line: *const f32) -> [S::V; 3] {
    // SAFETY: the caller gives two aligned vectors.
    unsafe {
        let upper = S::load(line);
        let over_half = S::sub(upper, S::splat(0.5));
        [upper, S::where_positive(over_half, S::splat(1.0), S::zero()), S::load(line.add(WIDTH))]
    }
}

impl PacketWalk {
    /// Lower bounds of one group's margins, without the last bias.
    ///
    /// # Safety
    /// The machine has `S`; lines and input of the scene are in place.
    pub unsafe fn bound<S: Lanes>(&mut self, scene: Scene<'_>, (first, size): Group) -> [[f32; WIDTH]; TOGETHER] {
        // SAFETY: passed on from the caller.
        unsafe {
            match size {
                4 => self.forward::<S, 4>(scene, first, false),
                2 => self.forward::<S, 2>(scene, first, false),
                _ => self.forward::<S, 1>(scene, first, false),
            }
        }
    }

    /// Walks the margins of classes `first .. first + VP` to the pixels; returns their minima without the last bias.
    ///
    /// With `keep`, all coefficients stay for the adjoint, with zeros for dead neurons where it reads them.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`].
    pub unsafe fn forward<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        first: usize,
        keep: bool,
    ) -> [[f32; WIDTH]; TOGETHER] {
        let Scene { net, lines, margins, .. } = scene;
        let hidden = net.plan.hidden();
        let row = net.plan.stages[0].input_side()[1];
        self.offsets.clear();
        self.offsets.extend(patch_offsets(&net.plan.stages[0], row).iter().map(|o| o * (VP * WIDTH) as u32));
        self.coefficients.resize_with(hidden.max(self.coefficients.len()), Buffer::default);
        let pixels = net.input_len(0) * VP * WIDTH;
        self.pixels.at_least(pixels + SLACK)[..pixels].fill(0.0);
        let mut constants = [[0.0; WIDTH]; TOGETHER];
        for index in (0..hidden).rev() {
            let stage = &net.plan.stages[index];
            let (channels, size) = (stage.output.c, stage.output.c * VP * WIDTH);
            let resident = keep || index > 0;
            let base = if resident {
                self.coefficients[index].at_least(stage.output.positions() * size + SLACK).as_mut_ptr()
            } else {
                self.spot.at_least(size).as_mut_ptr()
            };
            let zero = keep && !Products::by_lists(stage);
            let bias = &net.weights.signed[index].bias;
            for position in 0..stage.output.positions() {
                let place = [position / stage.output.w, position % stage.output.w];
                let live = lines[index].live.at(position);
                // SAFETY: all places lie in the maps of the stage.
                unsafe {
                    let spot = if resident { base.add(position * size) } else { base };
                    if zero && live.len() < channels {
                        std::slice::from_raw_parts_mut(spot, size).fill(0.0);
                    }
                    if index + 1 == hidden {
                        S::run(|| rows::<S, VP>(margins, first, position * channels, live, spot));
                    } else {
                        self.transposed::<S, VP>(scene, index, place, live, spot);
                    }
                    let line = lines[index].line.as_ptr().add(position * channels * 2 * WIDTH);
                    S::run(|| relax::<S, VP>(line, bias, live, spot, &mut constants));
                    if index == 0 {
                        let corner = (place[0] * stage.stride[0] * row + place[1] * stage.stride[1]) * stage.input.c;
                        let segment = Segment {
                            input: spot,
                            weight: net.weights.signed[0].patch.as_ptr(),
                            list: live.as_ptr(),
                            full: live.len(),
                            half: 0,
                        };
                        let output = self.pixels.as_mut_ptr().add(corner * VP * WIDTH);
                        let stride = padded(stage.taps() * stage.input.c);
                        gather::<S, VP>(&[segment][..], stride, output, Outputs::Patch(&self.offsets));
                    }
                }
            }
        }
        // SAFETY: the pixels hold the padded input.
        unsafe { S::run(|| extremes::<S, VP>(scene, self.pixels.as_ptr(), &mut constants)) };
        constants
    }

    /// The transposed stage above `index`, at one position.
    unsafe fn transposed<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        index: usize,
        position: [usize; 2],
        live: &[u16],
        spot: *mut f32,
    ) {
        let stage = &scene.net.plan.stages[index + 1];
        let stride = padded(stage.input.c);
        let weight = scene.net.weights.signed[index + 1].transposed.as_ptr();
        let output = Field { data: self.coefficients[index + 1].as_ptr(), window: Window::all(stage.output) };
        let inputs = Inputs::Live(&scene.lines[index + 1].live);
        transpose_segments(
            stage,
            &scene.net.taps[index + 1],
            weight,
            stride,
            output,
            VP,
            position,
            inputs,
            &mut self.segments,
        );
        let all = live.len() == stage.input.c;
        let outputs = if all { Outputs::All(stage.input.c) } else { Outputs::Listed(live) };
        // SAFETY: passed on from `forward`.
        unsafe { gather::<S, VP>(&self.segments[..], stride, spot, outputs) }
    }
}

/// W_y − W_j for the elements `start + live`, j = `first .. first + VP`.
#[inline(always)]
unsafe fn rows<S: Lanes, const VP: usize>(
    margins: Margins<'_>,
    first: usize,
    start: usize,
    live: &[u16],
    spot: *mut f32,
) {
    let stride = padded(margins.classes);
    // SAFETY: lists name elements of the last stage's input.
    unsafe {
        let labels = Labels::<S, 1>::new(margins.labels);
        for &channel in live {
            let channel = usize::from(channel);
            let row = margins.last.forward.as_ptr().add((start + channel) * stride);
            let [own] = labels.weights(row, stride);
            for v in 0..VP {
                S::store(spot.add((channel * VP + v) * WIDTH), S::sub(own, S::splat(*row.add(first + v))));
            }
        }
    }
}

/// The relaxation at one position, in place.
#[inline(always)]
unsafe fn relax<S: Lanes, const VP: usize>(
    line: *const f32,
    bias: &[f32],
    live: &[u16],
    spot: *mut f32,
    constants: &mut [[f32; WIDTH]; TOGETHER],
) {
    // SAFETY: lists name channels of the position.
    unsafe {
        let mut sums = [S::zero(); VP];
        for v in 0..VP {
            sums[v] = S::load_any(constants[v].as_ptr());
        }
        for &channel in live {
            let channel = usize::from(channel);
            let [upper, lower, intercept] = line_at::<S>(line.add(2 * channel * WIDTH));
            let line = [upper, lower, intercept, S::splat(bias[channel])];
            for v in 0..VP {
                let place = spot.add((channel * VP + v) * WIDTH);
                S::store(place, relaxed::<S>(S::load(place), line, &mut sums[v]));
            }
        }
        for v in 0..VP {
            S::store_any(constants[v].as_mut_ptr(), sums[v]);
        }
    }
}

/// Adds the minima of the linear forms over the boxes.
#[inline(always)]
unsafe fn extremes<S: Lanes, const VP: usize>(
    scene: Scene<'_>,
    pixels: *const f32,
    constants: &mut [[f32; WIDTH]; TOGETHER],
) {
    // SAFETY: the maps hold the padded input.
    unsafe {
        let (mut value, mut reach) = ([S::zero(); VP], [S::zero(); VP]);
        for e in 0..scene.net.input_len(0) {
            let center = S::load(scene.center.as_ptr().add(e * WIDTH));
            let radius = S::load(scene.radius.as_ptr().add(e * WIDTH));
            for v in 0..VP {
                let a = S::load(pixels.add((e * VP + v) * WIDTH));
                value[v] = S::fma(a, center, value[v]);
                reach[v] = S::fma(S::abs(a), radius, reach[v]);
            }
        }
        for v in 0..VP {
            let place = constants[v].as_mut_ptr();
            S::store_any(place, S::add(S::load_any(place), S::sub(value[v], reach[v])));
        }
    }
}
