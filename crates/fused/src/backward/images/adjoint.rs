//! The adjoint of [`crate::backward::images::walk`]: a group of margins goes back up with cotangents.
//!
//! The coefficients are those that the walk kept, the first stage's made again a band of rows at a time and used while they
//! are in the cache; where nothing was kept, the group is walked down once more.

use crate::backward::images::lines::PacketLines;
use crate::backward::images::walk::{Coefficients, Group, Keep, MarginRows, PacketWalk, Scene, TOGETHER, line_at};
use crate::backward::products::{Left, Products};
use crate::interval::margins::rival;
use crate::kernels::gather::{Outputs, gather, gather_rows};
use crate::net::accumulate::Accumulator;
use crate::net::geometry::{Field, Inputs, apply_segments};
use crate::net::plan::Window;
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};
use crate::simd::pool::Pool;

/// Largest band of the first stage's coefficients, in f32: 256 KB, so that it stays in the second-level cache beside their
/// cotangents.
const BAND: usize = 1 << 16;

/// Cotangents on a group's coefficients of the inputs of a stage whose weights' gradient the batch makes in one go.
pub struct OnInputs {
    pub stage: usize,
    /// Number of the group.
    pub group: usize,
    /// Margins times sixteen images.
    pub lanes: usize,
    /// `[position][channel][lanes]`.
    pub map: Buffer,
}

/// Memory of the adjoint of one worker, and what it finds besides the weights' gradients.
#[derive(Default)]
pub struct PacketAdjoint {
    /// Cotangents of λ_u and μ_u per stage, `[position][channel][2][16]`, of live neurons only.
    neurons: Vec<Buffer>,
    /// True if there are any.
    any: bool,
    /// Cotangents of the pre-relaxation coefficients per stage.
    cotangents: Vec<Buffer>,
    /// Those of the pixels.
    pixels: Buffer,
    /// Cotangents of W_y, `[element][16]`.
    on_label: Buffer,
    /// Sums per channel, `[channel][16]`.
    bias: Buffer,
    /// Gradients with respect to the padded input's centre and radius, `[pixel][16]`, if wanted.
    pub region: Option<[Buffer; 2]>,
    /// For the stages that [`crate::net::dense`] covers, in order of groups.
    pub on_inputs: Vec<OnInputs>,
}

/// Where the coefficients come from.
pub enum Source<'a> {
    /// Walks that kept the later stages, or all if `complete`, per group.
    Kept { walks: &'a [Coefficients], complete: bool },
    /// Walks that are made now, in this memory.
    Walked(&'a mut Coefficients),
}

/// One group's share of an adjoint.
struct Climb<'a> {
    scene: Scene<'a>,
    group: usize,
    first: usize,
    /// Cotangents of the margins.
    g: [[f32; WIDTH]; TOGETHER],
    coefficients: &'a Coefficients,
    /// True if the first stage's are there as well.
    complete: bool,
    /// True if the first stage is pulled back a band at a time.
    banded: bool,
    weights: Option<&'a mut Accumulator>,
    maps: &'a Pool<Buffer>,
}

impl PacketAdjoint {
    /// Pulls cotangents `g` (`[image][class]`, on lower bounds) of some groups, which come with their numbers, back to the
    /// weights, and as far as the lines. Maps that outlive the call come from `maps`.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`].
    pub unsafe fn run<S: Lanes>(
        &mut self,
        walk: &mut PacketWalk,
        mut source: Source<'_>,
        scene: Scene<'_>,
        g: &[f32],
        mut weights: Option<&mut Accumulator>,
        groups: impl Iterator<Item = (usize, Group)>,
        region_wanted: bool,
        maps: &Pool<Buffer>,
    ) {
        let plan = scene.net.plan;
        let hidden = plan.hidden();
        self.neurons.resize_with(hidden.max(self.neurons.len()), Buffer::default);
        self.cotangents.resize_with(hidden.max(self.cotangents.len()), Buffer::default);
        for (neurons, stage) in self.neurons.iter_mut().zip(&plan.stages[..hidden]) {
            neurons.at_least(stage.output.len() * 2 * WIDTH);
        }
        self.any = false;
        self.on_inputs.clear();
        let labels = scene.margins.elements * WIDTH;
        self.on_label.at_least(labels)[..labels].fill(0.0);
        let pixels = scene.net.input_len(0) * WIDTH;
        self.region = region_wanted.then(|| [Buffer::zeroed(pixels), Buffer::zeroed(pixels)]);
        let classes = scene.margins.classes;
        for (group, (first, size)) in groups {
            let mut rows = [[0.0; WIDTH]; TOGETHER];
            for (v, row) in rows.iter_mut().enumerate().take(size) {
                for (image, &label) in scene.margins.labels.iter().enumerate() {
                    row[image] = g[image * classes + rival(label, first + v)];
                }
            }
            if rows.iter().flatten().all(|&g| g == 0.0) {
                continue;
            }
            let (coefficients, complete, banded) = match &mut source {
                Source::Kept { walks, complete } => (&walks[group], *complete, true),
                Source::Walked(memory) => {
                    // SAFETY: passed on from the caller.
                    unsafe { walk.bound::<S>(scene, (first, size), Keep::All, memory) };
                    (&**memory, true, false)
                }
            };
            let weights = weights.as_deref_mut();
            let climb = Climb { scene, group, first, g: rows, coefficients, complete, banded, weights, maps };
            // SAFETY: passed on from the caller.
            unsafe {
                match size {
                    5 => self.group::<S, 5>(walk, climb),
                    4 => self.group::<S, 4>(walk, climb),
                    2 => self.group::<S, 2>(walk, climb),
                    _ => self.group::<S, 1>(walk, climb),
                }
            }
            self.any = true;
        }
    }

    /// Carries on what [`PacketAdjoint::run`] found: to the labels' weights, and to the bounds behind the lines, which
    /// `bounds` and `on_bounds` hold per stage, `[position][channel][16]`; the latter are added to if `add`, else written.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`].
    pub unsafe fn finish<S: Lanes>(
        &self,
        scene: Scene<'_>,
        weights: Option<&mut Accumulator>,
        bounds: [&[Buffer]; 2],
        on_bounds: [&mut [Buffer]; 2],
        add: bool,
    ) {
        let plan = scene.net.plan;
        let hidden = plan.hidden();
        let [g_lower, g_upper] = on_bounds;
        if !self.any {
            for (index, stage) in plan.stages[..hidden].iter().enumerate().filter(|_| !add) {
                g_lower[index][..stage.output.len() * WIDTH].fill(0.0);
                g_upper[index][..stage.output.len() * WIDTH].fill(0.0);
            }
            return;
        }
        if let Some(weights) = weights {
            let last = &mut weights.sums.stages[hidden];
            let stride = padded(scene.margins.classes);
            for (image, &label) in scene.margins.labels.iter().enumerate() {
                for e in 0..scene.margins.elements {
                    last.signed[e * stride + label] += self.on_label[e * WIDTH + image];
                }
            }
        }
        let [lower, upper] = bounds;
        for (index, stage) in plan.stages[..hidden].iter().enumerate() {
            let on = [&mut g_lower[index][..], &mut g_upper[index][..]];
            // SAFETY: all maps hold the stage.
            unsafe {
                PacketLines::pull_back::<S>(stage, [&lower[index], &upper[index]], &self.neurons[index], on, add);
            }
        }
    }

    unsafe fn group<S: Lanes, const VP: usize>(&mut self, walk: &mut PacketWalk, climb: Climb<'_>) {
        let Climb { scene, group, first, g, coefficients, complete, banded, mut weights, maps } = climb;
        let (net, g) = (scene.net, &g);
        let hidden = net.plan.hidden();
        // SAFETY: passed on from the caller; all places below lie in the maps of the walk.
        unsafe {
            let rows = MarginRows::<S, VP>::new(scene.margins, first);
            let beside = labels_beside(scene, first);
            let pixels = self.pixels.at_least(net.input_len(0) * VP * WIDTH + SLACK).as_mut_ptr();
            let region = self.region.as_mut().map(|[center, radius]| [center.as_mut_ptr(), radius.as_mut_ptr()]);
            S::run(|| input_adjoint::<S, VP>(scene, coefficients.pixels.as_ptr(), pixels, g, region));
            let [h, w] = net.plan.stages[0].input_side();
            let mut right = Field { data: pixels.cast_const(), window: Window { y: 0, x: 0, h, w } };
            for index in 0..hidden {
                let stage = &net.plan.stages[index];
                let (channels, size) = (stage.output.c, stage.output.c * VP * WIDTH);
                // The batch makes the next stage's gradient in one go, from whole maps.
                let outlives = weights.is_some() && net.dense.get(index + 1).is_some_and(Option::is_some);
                if outlives {
                    self.cotangents[index] = maps.take();
                }
                let total = stage.output.positions() * size + SLACK;
                let cotangents = self.cotangents[index].at_least(total).as_mut_ptr();
                let neurons = self.neurons[index].as_mut_ptr();
                let sums = self.bias.at_least(channels * WIDTH);
                sums.fill(0.0);
                let sums = sums.as_mut_ptr();
                let copies = &net.weights.signed[index];
                // Of a large dense stage there is one copy, whose rows are outputs.
                let as_rows = net.dense[index].is_some();
                let (weight, stride, tap) = if as_rows {
                    (copies.transposed.as_ptr(), padded(stage.input.c), channels * padded(stage.input.c))
                } else {
                    (copies.forward.as_ptr(), padded(channels), stage.input.c * padded(channels))
                };
                let inputs = match index {
                    0 => Inputs::All(net.identity),
                    _ => Inputs::Live(&scene.lines[index - 1].live),
                };
                let (made, banded) = (index == 0 && !complete, index == 0 && banded);
                let high = if banded { (BAND / (stage.output.w * size)).max(1) } else { stage.output.h };
                for y in (0..stage.output.h).step_by(high) {
                    let band = Window { y, h: high.min(stage.output.h - y), ..Window::all(stage.output) };
                    let data = if made {
                        walk.first_band(scene, &rows, band, coefficients)
                    } else {
                        coefficients.stages[index].as_ptr().add(y * stage.output.w * size)
                    };
                    if let Some(weights) = weights.as_deref_mut().filter(|_| net.dense[index].is_none()) {
                        let field = Field { data, window: band };
                        let products = Products {
                            sums: weights,
                            index,
                            stage,
                            left: Left { field, live: &scene.lines[index].live, spread: None },
                            right,
                            inputs,
                            scratch: &mut walk.products,
                        };
                        products.add::<S, VP, VP>();
                    }
                    for i in 0..band.positions() {
                        let position = y * stage.output.w + i;
                        let place = [position / stage.output.w, position % stage.output.w];
                        let live = scene.lines[index].live.at(position);
                        let all = live.len() == channels;
                        let spot = cotangents.add(position * size);
                        if outlives && !all {
                            std::slice::from_raw_parts_mut(spot, size).fill(0.0);
                        }
                        apply_segments(stage, weight, tap, right, VP, place, inputs, &mut walk.segments);
                        if as_rows {
                            gather_rows::<S, VP>(&walk.segments, stride, spot, live);
                        } else {
                            let outputs = if all { Outputs::All(channels) } else { Outputs::Listed(live) };
                            gather::<S, VP>(&walk.segments[..], stride, spot, outputs);
                        }
                        let start = position * channels;
                        let neurons = neurons.add(start * 2 * WIDTH);
                        let line = scene.lines[index].line.as_ptr().add(start * 2 * WIDTH);
                        let kept = data.add(i * size);
                        let bias = &net.weights.signed[index].bias;
                        let add = self.any;
                        S::run(|| relax_adjoint::<S, VP>(kept, spot, line, bias, live, g, neurons, sums, add));
                        if index + 1 == hidden {
                            let on_label = self.on_label.as_mut_ptr().add(start * WIDTH);
                            S::run(|| label_adjoint::<S, VP>(spot, live, on_label));
                            if let Some(weights) = weights.as_deref_mut() {
                                let stride = padded(scene.margins.classes);
                                let sums = weights.sums.stages[hidden].signed.as_mut_ptr().add(start * stride + first);
                                S::run(|| class_adjoint::<S, VP>(spot, live, &beside, sums, stride));
                            }
                        }
                    }
                }
                if let Some(weights) = weights.as_deref_mut() {
                    let bias = &mut weights.sums.stages[index].bias;
                    S::run(|| {
                        for (c, target) in bias.iter_mut().enumerate().take(channels) {
                            *target += S::sum(S::load(sums.add(c * WIDTH)));
                        }
                    });
                }
                right = Field { data: cotangents.cast_const(), window: Window::all(stage.output) };
                if outlives {
                    let map = std::mem::take(&mut self.cotangents[index]);
                    self.on_inputs.push(OnInputs { stage: index + 1, group, lanes: VP * WIDTH, map });
                }
            }
        }
    }
}

/// For each class from `first` on the images whose label comes after it, and those whose label comes before it, as bits.
fn labels_beside(scene: Scene<'_>, first: usize) -> [[u16; 2]; TOGETHER + 1] {
    let mut masks = [[0; 2]; TOGETHER + 1];
    for (v, [after, before]) in masks.iter_mut().enumerate() {
        for (image, &label) in scene.margins.labels.iter().enumerate() {
            *after |= u16::from(label > first + v) << image;
            *before |= u16::from(label < first + v) << image;
        }
    }
    masks
}

/// Coefficients of the pixels to their cotangents g·(x − r·sign a), and the boxes' own gradient.
#[inline(always)]
unsafe fn input_adjoint<S: Lanes, const VP: usize>(
    scene: Scene<'_>,
    coefficients: *const f32,
    pixels: *mut f32,
    g: &[[f32; WIDTH]; TOGETHER],
    region: Option<[*mut f32; 2]>,
) {
    // SAFETY: the maps hold the padded input.
    unsafe {
        for e in 0..scene.net.input_len(0) {
            let center = S::load(scene.center.as_ptr().add(e * WIDTH));
            let radius = S::load(scene.radius.as_ptr().add(e * WIDTH));
            for v in 0..VP {
                let g = S::load_any(g[v].as_ptr());
                let place = (e * VP + v) * WIDTH;
                let a = S::load(coefficients.add(place));
                S::store(pixels.add(place), S::mul(g, S::sub(center, S::signed_by(a, radius))));
                if let Some([on_center, on_radius]) = region {
                    let (on_center, on_radius) = (on_center.add(e * WIDTH), on_radius.add(e * WIDTH));
                    S::store(on_center, S::fma(g, a, S::load(on_center)));
                    S::store(on_radius, S::fnma(g, S::abs(a), S::load(on_radius)));
                }
            }
        }
    }
}

/// Adjoint of the relaxation at one position, in place on `spot`; `kept` are the results. What `neurons` hold is added to if
/// `add`, else overwritten.
#[inline(always)]
unsafe fn relax_adjoint<S: Lanes, const VP: usize>(
    kept: *const f32,
    spot: *mut f32,
    line: *const f32,
    bias: &[f32],
    live: &[u16],
    g: &[[f32; WIDTH]; TOGETHER],
    neurons: *mut f32,
    sums: *mut f32,
    add: bool,
) {
    // SAFETY: lists name channels of the position.
    unsafe {
        let mut rows = [S::zero(); VP];
        for v in 0..VP {
            rows[v] = S::load_any(g[v].as_ptr());
        }
        for &channel in live {
            let channel = usize::from(channel);
            let [upper, lower, intercept] = line_at::<S>(line.add(2 * channel * WIDTH));
            // Where λ_u = 0 the result is 0 as well, and min(a, 0) does not matter.
            let inverse = S::where_positive(upper, S::div(S::splat(1.0), upper), S::zero());
            let b = S::splat(bias[channel]);
            let (on_slope, on_intercept) = (neurons.add(2 * channel * WIDTH), neurons.add((2 * channel + 1) * WIDTH));
            let (mut slope, mut height) = (S::zero(), S::zero());
            if add {
                (slope, height) = (S::load(on_slope), S::load(on_intercept));
            }
            let mut on_bias = S::load(sums.add(channel * WIDTH));
            for v in 0..VP {
                let place = spot.add((channel * VP + v) * WIDTH);
                let result = S::load(kept.add((channel * VP + v) * WIDTH));
                let cotangent = S::fma(rows[v], b, S::load(place));
                on_bias = S::fma(rows[v], result, on_bias);
                // The coefficient had the sign of the result, and the upper line where that is negative.
                let negative = S::mul(S::min(S::zero(), result), inverse);
                slope = S::fma(cotangent, negative, slope);
                height = S::fma(rows[v], negative, height);
                let bent = S::fma(cotangent, upper, S::mul(rows[v], intercept));
                S::store(place, S::where_negative(result, bent, S::mul(cotangent, lower)));
            }
            S::store(on_slope, slope);
            S::store(on_intercept, height);
            S::store(sums.add(channel * WIDTH), on_bias);
        }
    }
}

/// The cotangents of W_y − W_j, summed over j, belong to W_y.
#[inline(always)]
unsafe fn label_adjoint<S: Lanes, const VP: usize>(spot: *const f32, live: &[u16], on_label: *mut f32) {
    // SAFETY: lists name channels of the position.
    unsafe {
        for &channel in live {
            let channel = usize::from(channel);
            let target = on_label.add(channel * WIDTH);
            let mut sum = S::load(target);
            for v in 0..VP {
                sum = S::add(sum, S::load(spot.add((channel * VP + v) * WIDTH)));
            }
            S::store(target, sum);
        }
    }
}

/// The same, summed over images and negated, belong to W_j: of a group's margins to the classes from its first on, depending on
/// which side the images' labels lie.
#[inline(always)]
unsafe fn class_adjoint<S: Lanes, const VP: usize>(
    spot: *const f32,
    live: &[u16],
    beside: &[[u16; 2]; TOGETHER + 1],
    sums: *mut f32,
    stride: usize,
) {
    // SAFETY: lists name channels of the position; the sums are rows of the last stage.
    unsafe {
        for &channel in live {
            let channel = usize::from(channel);
            let row = spot.add(channel * VP * WIDTH);
            // A class has the number of its margin where the label comes after it, and the next one where it comes before.
            let mut next = S::zero();
            for v in 0..VP {
                let own = S::load(row.add(v * WIDTH));
                let [after, before] = beside[v];
                let sum = S::select(after, own, S::select(before, next, S::zero()));
                *sums.add(channel * stride + v) -= S::sum(sum);
                next = own;
            }
            *sums.add(channel * stride + VP) -= S::sum(S::select(beside[VP][1], next, S::zero()));
        }
    }
}
