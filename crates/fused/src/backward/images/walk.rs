//! Back-substitution of margins of a packet: sixteen images in lanes.
//!
//! Ten margins fill ten of sixteen lanes if rows lie in lanes, and every image's tile loads all weights anew. With images
//! in lanes no lane is wasted, one broadcast weight serves sixteen images and up to five margins, and lines come as
//! vectors. The margin of the label with itself is left out: an image has one margin for each rival of its own label, and
//! its weights are a lane permutation away. In exchange a neuron is skipped only if it is inactive in all sixteen images. Lower bounds over boxes only.
//!
//! A coefficient tensor is `[position][channel][VP][16 images]`, VP being the margins walked together.

use crate::backward::images::constants::{Constants, PLAIN};
use crate::backward::images::lines::PacketLines;
use crate::backward::products::{ProductScratch, Products};
use crate::interval::margins::{Labels, Margins, rival};
use crate::kernels::gather::{Outputs, Segment, gather};
use crate::net::Net;
use crate::net::geometry::{Field, Inputs, patch_offsets, transpose_segments};
use crate::net::plan::{Plan, Window};
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

/// Largest coefficient tensor of a group of margins, in f32: 32 MB. Far beyond the second-level cache, but a second group of
/// margins would stream all weights again.
pub const LARGEST: usize = 1 << 23;

/// Margins that a walk takes together at most.
pub const TOGETHER: usize = 5;

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

/// What a walk leaves for its adjoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// The coefficients of all stages but the first, by far the largest, and of the pixels.
    Later,
    /// All coefficients.
    All,
}

/// Coefficients of one group of margins; with zeros for dead neurons where the adjoint reads them, if they are kept for it.
#[derive(Default)]
pub struct Coefficients {
    /// Behind the relaxation, per stage, `[position][channel][VP][16]`.
    pub stages: Vec<Buffer>,
    /// Of the padded input, `[pixel][VP][16]`.
    pub pixels: Buffer,
}

/// Memory of the walks of one worker.
#[derive(Default)]
pub struct PacketWalk {
    /// Coefficients of the first stage that nobody keeps.
    band: Buffer,
    pub segments: Vec<Segment>,
    offsets: Vec<u32>,
    /// What the offsets were made for: the scratch outlives a network.
    offsets_for: Option<([usize; 2], [usize; 2], [usize; 3])>,
    /// Windows per stage of a walk of neurons.
    pub windows: Vec<Window>,
    pub products: ProductScratch,
}

// SAFETY: segments are rebuilt before every use; between calls their pointers are only stale numbers.
unsafe impl Send for PacketWalk {}

/// Margins that are walked together: the first, how many (1, 2, 4 or 5). An image's margins are numbered by the label's
/// rivals, see [`rival`].
pub type Group = (usize, usize);

/// All margins in groups.
pub fn groups<S: Lanes>(plan: &Plan) -> Vec<Group> {
    let margins = plan.classes.saturating_sub(1);
    let largest = plan.stages[..plan.hidden()].iter().map(|stage| stage.output.len()).max().unwrap_or(1);
    let sizes = if S::GROUPS == 1 { &[2, 1][..] } else { &[5, 4, 2, 1] };
    let sizes: Vec<usize> = sizes.iter().copied().filter(|size| size * largest * WIDTH <= LARGEST).collect();
    let mut groups = Vec::new();
    let mut first = 0;
    while first < margins {
        let rest = margins - first;
        // Few large groups: nine margins as 5 + 4, six as 4 + 2, because one alone costs nearly as much as two.
        let fits = |size: &usize| *size <= rest && (*size < 5 || !matches!(rest - size, 1 | 3));
        let size = sizes.iter().copied().find(fits).unwrap_or(1);
        groups.push((first, size));
        first += size;
    }
    groups
}

/// The last stage's rows W_y − W_j of a group of margins: where y and j are found.
#[derive(Clone, Copy)]
pub struct MarginRows<S: Lanes, const VP: usize> {
    own: Labels<S, 1>,
    rivals: [Labels<S, 1>; VP],
}

impl<S: Lanes, const VP: usize> MarginRows<S, VP> {
    /// The margins `first .. first + VP` of every image; an image that does not exist has rows 0.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn new(margins: Margins<'_>, first: usize) -> Self {
        let mut classes = [[0; WIDTH]; VP];
        for (v, classes) in classes.iter_mut().enumerate() {
            for (class, &label) in classes.iter_mut().zip(margins.labels) {
                *class = rival(label, first + v);
            }
        }
        let images = margins.labels.len();
        // SAFETY: the caller's word.
        unsafe {
            S::run(|| {
                let own = Labels::new(margins.labels);
                let mut rivals = [own; VP];
                for v in 0..VP {
                    rivals[v] = Labels::new(&classes[v][..images]);
                }
                MarginRows { own, rivals }
            })
        }
    }

    /// The rows' coefficients for the elements `start + live`.
    #[inline(always)]
    unsafe fn load(&self, margins: Margins<'_>, start: usize, live: &[u16], spot: *mut f32) {
        let stride = padded(margins.classes);
        // SAFETY: lists name elements of the last stage's input.
        unsafe {
            for &channel in live {
                let channel = usize::from(channel);
                let row = margins.last.forward.as_ptr().add((start + channel) * stride);
                let [own] = self.own.weights(row, stride);
                for v in 0..VP {
                    let [other] = self.rivals[v].weights(row, stride);
                    S::store(spot.add((channel * VP + v) * WIDTH), S::sub(own, other));
                }
            }
        }
    }
}

/// The relaxation of one coefficient, and what the constant gains: a' = min(a,0)·λ_u + max(a,0)·λ_l, and
/// min(a,0)·μ_u + a'·b. The zeros come first, so that NaN passes through.
#[inline(always)]
pub unsafe fn relaxed<S: Lanes>(a: S::V, [upper, lower, intercept, bias]: [S::V; 4], sum: &mut S::V) -> S::V {
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
    /// Lower bounds of one group's margins, without the last bias; `coefficients` are overwritten with what is kept.
    ///
    /// # Safety
    /// The machine has `S`; lines and input of the scene are in place.
    pub unsafe fn bound<S: Lanes>(
        &mut self,
        scene: Scene<'_>,
        (first, size): Group,
        keep: Keep,
        coefficients: &mut Coefficients,
    ) -> [[f32; WIDTH]; TOGETHER] {
        // SAFETY: passed on from the caller.
        unsafe {
            match size {
                5 => self.forward(scene, &MarginRows::<S, 5>::new(scene.margins, first), keep, coefficients),
                4 => self.forward(scene, &MarginRows::<S, 4>::new(scene.margins, first), keep, coefficients),
                2 => self.forward(scene, &MarginRows::<S, 2>::new(scene.margins, first), keep, coefficients),
                _ => self.forward(scene, &MarginRows::<S, 1>::new(scene.margins, first), keep, coefficients),
            }
        }
    }

    /// Walks the margins `rows` to the pixels; returns their minima without the last bias.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`].
    pub unsafe fn forward<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        rows: &MarginRows<S, VP>,
        keep: Keep,
        coefficients: &mut Coefficients,
    ) -> [[f32; WIDTH]; TOGETHER] {
        let net = scene.net;
        let hidden = net.plan.hidden();
        let whole = net.plan.stages[0].input_map();
        self.prepare(net, VP, whole);
        let Coefficients { stages, pixels } = coefficients;
        stages.resize_with(hidden.max(stages.len()), Buffer::default);
        let len = net.input_len(0) * VP * WIDTH;
        pixels.at_least(len + SLACK)[..len].fill(0.0);
        let mut constants = Constants::zero();
        for index in (0..hidden).rev() {
            let stage = &net.plan.stages[index];
            let size = stage.output.c * VP * WIDTH;
            let resident = keep == Keep::All || index > 0;
            let above = stages.get(index + 1).map_or(std::ptr::null(), |above| above.as_ptr());
            let base = if resident {
                stages[index].at_least(stage.output.positions() * size + SLACK).as_mut_ptr()
            } else {
                self.band.at_least(size).as_mut_ptr()
            };
            for position in 0..stage.output.positions() {
                // SAFETY: all places lie in the maps of the stage.
                unsafe {
                    let spot = if resident { base.add(position * size) } else { base };
                    let zero = keep != Keep::Nothing && resident;
                    self.at_position(scene, rows, [index, position], above, spot, zero, &mut constants);
                    if index == 0 {
                        self.scatter::<S, VP>(scene, position, spot, pixels.as_mut_ptr(), whole);
                    }
                }
            }
        }
        // SAFETY: the pixels hold the padded input.
        unsafe { S::run(|| extremes::<S, VP>(scene, pixels.as_ptr(), whole, &mut constants)) };
        constants.total()
    }

    /// Makes ready for walks of so many margins to the pixels in `window`.
    pub fn prepare(&mut self, net: &Net<'_>, margins: usize, window: Window) {
        let first = &net.plan.stages[0];
        let key = Some((first.kernel, first.dilation, [first.input.c, margins, window.w]));
        if self.offsets_for != key {
            self.offsets_for = key;
            self.offsets.clear();
            let offsets = patch_offsets(first, window.w);
            self.offsets.extend(offsets.iter().map(|o| o * (margins * WIDTH) as u32));
        }
    }

    /// Adds to the pixels in `window` what the coefficients `spot` of one position of the first stage make of them.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`]; the walk is prepared for VP margins and the window, which the pixels hold.
    pub unsafe fn scatter<S: Lanes, const VP: usize>(
        &self,
        scene: Scene<'_>,
        position: usize,
        spot: *const f32,
        pixels: *mut f32,
        window: Window,
    ) {
        let stage = &scene.net.plan.stages[0];
        let (y, x) = (position / stage.output.w, position % stage.output.w);
        let corner = (y * stage.stride[0] - window.y) * window.w + x * stage.stride[1] - window.x;
        let live = scene.lines[0].live.at(position);
        let weight = scene.net.weights.signed[0].patch.as_ptr();
        let segment = Segment { input: spot, weight, list: live.as_ptr(), full: live.len(), half: 0 };
        let stride = padded(stage.taps() * stage.input.c);
        // SAFETY: passed on from the caller.
        unsafe {
            let output = pixels.add(corner * stage.input.c * VP * WIDTH);
            gather::<S, VP>(&[segment][..], stride, output, Outputs::Patch(&self.offsets));
        }
    }

    /// The first stage's coefficients in a band of whole rows of positions once more, as if they had been kept.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`]; those of the second stage are kept.
    pub unsafe fn first_band<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        rows: &MarginRows<S, VP>,
        band: Window,
        kept: &Coefficients,
    ) -> *const f32 {
        let size = scene.net.plan.stages[0].output.c * VP * WIDTH;
        let base = self.band.at_least(band.positions() * size + SLACK).as_mut_ptr();
        let above = kept.stages.get(1).map_or(std::ptr::null(), |above| above.as_ptr());
        let mut constants = Constants::zero();
        for i in 0..band.positions() {
            // SAFETY: the band has room for its positions.
            unsafe {
                let place = [0, band.y * band.w + i];
                self.at_position(scene, rows, place, above, base.add(i * size), true, &mut constants);
            }
        }
        base
    }

    /// Coefficients of one position of stage `index`, `above` being those of the stage above; dead ones are zeroed, if
    /// `zero`, where the adjoint reads them.
    unsafe fn at_position<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        rows: &MarginRows<S, VP>,
        [index, position]: [usize; 2],
        above: *const f32,
        spot: *mut f32,
        zero: bool,
        constants: &mut Constants,
    ) {
        let Scene { net, lines, .. } = scene;
        let stage = &net.plan.stages[index];
        let channels = stage.output.c;
        let live = lines[index].live.at(position);
        let bias = &net.weights.signed[index].bias;
        // SAFETY: passed on from the caller.
        unsafe {
            if zero && live.len() < channels && !Products::by_lists(stage) {
                std::slice::from_raw_parts_mut(spot, channels * VP * WIDTH).fill(0.0);
            }
            self.arrive(scene, rows, [index, position], above, spot);
            let line = lines[index].line.as_ptr().add(position * channels * 2 * WIDTH);
            S::run(|| relax::<S, VP>(line, bias, live, spot, constants));
        }
    }

    /// Coefficients on the activations of one position of stage `index`, `above` being those on the pre-activations of the
    /// stage above: of live neurons alone.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`]; `spot` has room for the position.
    pub unsafe fn arrive<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        rows: &MarginRows<S, VP>,
        [index, position]: [usize; 2],
        above: *const f32,
        spot: *mut f32,
    ) {
        let stage = &scene.net.plan.stages[index];
        let live = scene.lines[index].live.at(position);
        // SAFETY: passed on from the caller.
        unsafe {
            if index + 1 == scene.net.plan.hidden() {
                S::run(|| rows.load(scene.margins, position * stage.output.c, live, spot));
            } else {
                let place = [position / stage.output.w, position % stage.output.w];
                let window = Window::all(scene.net.plan.stages[index + 1].output);
                self.transposed::<S, VP>(scene, index, place, live, Field { data: above, window }, spot);
            }
        }
    }

    /// The transposed stage above `index`, at one position, `above` holding its coefficients.
    ///
    /// # Safety
    /// As [`PacketWalk::arrive`].
    pub unsafe fn transposed<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        index: usize,
        position: [usize; 2],
        live: &[u16],
        above: Field,
        spot: *mut f32,
    ) {
        let stage = &scene.net.plan.stages[index + 1];
        let stride = padded(stage.input.c);
        let weight = scene.net.weights.signed[index + 1].transposed.as_ptr();
        let inputs = Inputs::Live(&scene.lines[index + 1].live);
        let taps = &scene.net.taps[index + 1];
        transpose_segments(stage, taps, weight, stride, above, VP, position, inputs, &mut self.segments);
        let all = live.len() == stage.input.c;
        let outputs = if all { Outputs::All(stage.input.c) } else { Outputs::Listed(live) };
        // SAFETY: passed on from `forward`.
        unsafe { gather::<S, VP>(&self.segments[..], stride, spot, outputs) }
    }
}

/// The relaxation at one position, in place.
#[inline(always)]
unsafe fn relax<S: Lanes, const VP: usize>(
    line: *const f32,
    bias: &[f32],
    live: &[u16],
    spot: *mut f32,
    constants: &mut Constants,
) {
    // SAFETY: lists name channels of the position.
    unsafe {
        for live in live.chunks(PLAIN) {
            let mut sums = [S::zero(); VP];
            relax_channels::<S, VP>(line, bias, live, spot, &mut sums);
            constants.add::<S, VP>(sums);
        }
    }
}

/// The relaxation of some channels at one position, in place; what the constants gain is added to `sums`, plainly.
///
/// # Safety
/// The machine has `S`; lists name channels of the position, whose lines and coefficients are at `line` and `spot`.
#[inline(always)]
pub unsafe fn relax_channels<S: Lanes, const VP: usize>(
    line: *const f32,
    bias: &[f32],
    live: &[u16],
    spot: *mut f32,
    sums: &mut [S::V; VP],
) {
    // SAFETY: the caller's word.
    unsafe {
        for &channel in live {
            let channel = usize::from(channel);
            let [upper, lower, intercept] = line_at::<S>(line.add(2 * channel * WIDTH));
            let line = [upper, lower, intercept, S::splat(bias[channel])];
            for v in 0..VP {
                let place = spot.add((channel * VP + v) * WIDTH);
                S::store(place, relaxed::<S>(S::load(place), line, &mut sums[v]));
            }
        }
    }
}

/// Adds the minima of the linear forms of the pixels in `window` over the boxes.
#[inline(always)]
pub unsafe fn extremes<S: Lanes, const VP: usize>(
    scene: Scene<'_>,
    pixels: *const f32,
    window: Window,
    constants: &mut Constants,
) {
    let stage = &scene.net.plan.stages[0];
    let (row, channels) = (stage.input_side()[1], stage.input.c);
    // A window as wide as the map is one run.
    let (runs, len) = if window.w == row { (1, window.h * row) } else { (window.h, window.w) };
    // SAFETY: the maps hold the padded input, and the pixels the window.
    unsafe {
        for run in 0..runs {
            let (at, len) = (((window.y + run) * row + window.x) * channels * WIDTH, len * channels);
            let (centers, radii) = (scene.center.as_ptr().add(at), scene.radius.as_ptr().add(at));
            let pixels = pixels.add(run * len * VP * WIDTH);
            for start in (0..len).step_by(PLAIN) {
                let (mut value, mut reach) = ([S::zero(); VP], [S::zero(); VP]);
                for e in start..len.min(start + PLAIN) {
                    let (center, radius) = (S::load(centers.add(e * WIDTH)), S::load(radii.add(e * WIDTH)));
                    for v in 0..VP {
                        let a = S::load(pixels.add((e * VP + v) * WIDTH));
                        value[v] = S::fma(a, center, value[v]);
                        reach[v] = S::fma(S::abs(a), radius, reach[v]);
                    }
                }
                for v in 0..VP {
                    value[v] = S::sub(value[v], reach[v]);
                }
                constants.add::<S, VP>(value);
            }
        }
    }
}
