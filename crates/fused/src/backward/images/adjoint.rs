//! The adjoint of [`crate::backward::images::walk`]: a group of margins is walked down once more, then back up with
//! cotangents.

use crate::backward::images::lines::PacketLines;
use crate::backward::images::walk::{Group, PacketWalk, Scene, line_at};
use crate::backward::products::{Left, Products};
use crate::kernels::gather::{Outputs, gather};
use crate::net::accumulate::Accumulator;
use crate::net::geometry::{Field, Inputs, apply_segments};
use crate::net::plan::Window;
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

/// Memory of the adjoint of one worker, and what it finds besides the weights' gradients.
#[derive(Default)]
pub struct PacketAdjoint {
    /// Cotangents of λ_u and μ_u per stage, `[position][channel][2][16]`.
    neurons: Vec<Buffer>,
    /// Cotangents of the pre-relaxation coefficients per stage.
    cotangents: Vec<Buffer>,
    /// Cotangents of W_y, `[element][16]`.
    on_label: Buffer,
    /// Sums per channel, `[channel][16]`.
    bias: Buffer,
    /// Gradients with respect to the padded input's centre and radius, `[pixel][16]`, if wanted.
    pub region: Option<[Buffer; 2]>,
}

impl PacketAdjoint {
    /// Pulls cotangents `g` (`[image][class]`, on lower bounds) of some groups back to the weights, and as far as the lines.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`].
    pub unsafe fn run<S: Lanes>(
        &mut self,
        walk: &mut PacketWalk,
        scene: Scene<'_>,
        g: &[f32],
        mut weights: Option<&mut Accumulator>,
        groups: impl Iterator<Item = Group>,
        region_wanted: bool,
    ) {
        let plan = scene.net.plan;
        let hidden = plan.hidden();
        self.neurons.resize_with(hidden.max(self.neurons.len()), Buffer::default);
        self.cotangents.resize_with(hidden.max(self.cotangents.len()), Buffer::default);
        for (neurons, stage) in self.neurons.iter_mut().zip(&plan.stages[..hidden]) {
            let len = stage.output.len() * 2 * WIDTH;
            neurons.at_least(len)[..len].fill(0.0);
        }
        let labels = scene.margins.elements * WIDTH;
        self.on_label.at_least(labels)[..labels].fill(0.0);
        let pixels = scene.net.input_len(0) * WIDTH;
        self.region = region_wanted.then(|| [Buffer::zeroed(pixels), Buffer::zeroed(pixels)]);
        let classes = scene.margins.classes;
        for (first, size) in groups {
            let mut rows = [[0.0; WIDTH]; 4];
            for (v, row) in rows.iter_mut().enumerate().take(size) {
                for (image, &label) in scene.margins.labels.iter().enumerate() {
                    // The margin of the label with itself is the constant 0.
                    let own = label == first + v;
                    row[image] = if own { 0.0 } else { g[image * classes + first + v] };
                }
            }
            if rows.iter().flatten().all(|&g| g == 0.0) {
                continue;
            }
            let sink = weights.as_deref_mut();
            // SAFETY: passed on from the caller.
            unsafe {
                match size {
                    4 => self.group::<S, 4>(walk, scene, first, &rows, sink),
                    2 => self.group::<S, 2>(walk, scene, first, &rows, sink),
                    _ => self.group::<S, 1>(walk, scene, first, &rows, sink),
                }
            }
        }
    }

    /// Carries on what [`PacketAdjoint::run`] found: to the labels' weights, and to the bounds behind the lines, which
    /// `bounds` and `on_bounds` hold per stage, `[position][channel][16]`; the latter are added to.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`].
    pub unsafe fn finish<S: Lanes>(
        &self,
        scene: Scene<'_>,
        weights: Option<&mut Accumulator>,
        bounds: [&[Buffer]; 2],
        on_bounds: [&mut [Buffer]; 2],
    ) {
        let plan = scene.net.plan;
        let hidden = plan.hidden();
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
        let [g_lower, g_upper] = on_bounds;
        for (index, stage) in plan.stages[..hidden].iter().enumerate() {
            let on = [&mut g_lower[index][..], &mut g_upper[index][..]];
            // SAFETY: all maps hold the stage.
            unsafe {
                PacketLines::pull_back::<S>(stage, [&lower[index], &upper[index]], &self.neurons[index], on);
            }
        }
    }

    unsafe fn group<S: Lanes, const VP: usize>(
        &mut self,
        walk: &mut PacketWalk,
        scene: Scene<'_>,
        first: usize,
        g: &[[f32; WIDTH]; 4],
        mut weights: Option<&mut Accumulator>,
    ) {
        let net = scene.net;
        let hidden = net.plan.hidden();
        // SAFETY: passed on from the caller; all places below lie in the maps of the forward walk.
        unsafe {
            walk.forward::<S, VP>(scene, first, true);
            let pixels = walk.pixels.as_mut_ptr();
            let region = self.region.as_mut().map(|[center, radius]| [center.as_mut_ptr(), radius.as_mut_ptr()]);
            S::run(|| input_adjoint::<S, VP>(scene, pixels, g, region));
            let [h, w] = net.plan.stages[0].input_side();
            let mut right = Field { data: pixels.cast_const(), window: Window { y: 0, x: 0, h, w } };
            for index in 0..hidden {
                let stage = &net.plan.stages[index];
                let window = Window::all(stage.output);
                let (channels, size) = (stage.output.c, stage.output.c * VP * WIDTH);
                let left = Field { data: walk.coefficients[index].as_ptr(), window };
                if let Some(weights) = weights.as_deref_mut() {
                    let products = Products {
                        sums: weights,
                        index,
                        stage,
                        left: Left { field: left, live: &scene.lines[index].live, spread: None },
                        right,
                        inputs: match index {
                            0 => Inputs::All(net.identity),
                            _ => Inputs::Live(&scene.lines[index - 1].live),
                        },
                        scratch: &mut walk.products,
                    };
                    products.add::<S, VP, VP>();
                }
                let total = stage.output.positions() * size + SLACK;
                let cotangents = self.cotangents[index].at_least(total).as_mut_ptr();
                let neurons = self.neurons[index].as_mut_ptr();
                let sums = self.bias.at_least(channels * WIDTH);
                sums.fill(0.0);
                let sums = sums.as_mut_ptr();
                let stride = padded(channels);
                let weight = net.weights.signed[index].forward.as_ptr();
                let inputs = match index {
                    0 => Inputs::All(net.identity),
                    _ => Inputs::Live(&scene.lines[index - 1].live),
                };
                for position in 0..stage.output.positions() {
                    let place = [position / stage.output.w, position % stage.output.w];
                    let live = scene.lines[index].live.at(position);
                    let all = live.len() == channels;
                    let spot = cotangents.add(position * size);
                    apply_segments(stage, weight, stride, right, VP, place, inputs, &mut walk.segments);
                    let outputs = if all { Outputs::All(channels) } else { Outputs::Listed(live) };
                    gather::<S, VP>(&walk.segments[..], stride, spot, outputs);
                    let start = position * channels;
                    let neurons = neurons.add(start * 2 * WIDTH);
                    let line = scene.lines[index].line.as_ptr().add(start * 2 * WIDTH);
                    let kept = left.data.add(position * size);
                    let bias = &net.weights.signed[index].bias;
                    S::run(|| relax_adjoint::<S, VP>(kept, spot, line, bias, live, g, neurons, sums));
                    if index + 1 == hidden {
                        let on_label = self.on_label.as_mut_ptr().add(start * WIDTH);
                        S::run(|| label_adjoint::<S, VP>(spot, live, on_label));
                        if let Some(weights) = weights.as_deref_mut() {
                            let stride = padded(scene.margins.classes);
                            let sums = weights.sums.stages[hidden].signed.as_mut_ptr().add(start * stride + first);
                            S::run(|| class_adjoint::<S, VP>(spot, live, sums, stride));
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
                right = Field { data: cotangents.cast_const(), window };
            }
        }
    }
}

/// Coefficients of the pixels to their cotangents g·(x − r·sign a), and the boxes' own gradient.
#[inline(always)]
unsafe fn input_adjoint<S: Lanes, const VP: usize>(
    scene: Scene<'_>,
    pixels: *mut f32,
    g: &[[f32; WIDTH]; 4],
    region: Option<[*mut f32; 2]>,
) {
    // SAFETY: the maps hold the padded input.
    unsafe {
        for e in 0..scene.net.input_len(0) {
            let center = S::load(scene.center.as_ptr().add(e * WIDTH));
            let radius = S::load(scene.radius.as_ptr().add(e * WIDTH));
            for v in 0..VP {
                let g = S::load_any(g[v].as_ptr());
                let place = pixels.add((e * VP + v) * WIDTH);
                let a = S::load(place);
                S::store(place, S::mul(g, S::sub(center, S::signed_by(a, radius))));
                if let Some([on_center, on_radius]) = region {
                    let (on_center, on_radius) = (on_center.add(e * WIDTH), on_radius.add(e * WIDTH));
                    S::store(on_center, S::fma(g, a, S::load(on_center)));
                    S::store(on_radius, S::fnma(g, S::abs(a), S::load(on_radius)));
                }
            }
        }
    }
}

/// Adjoint of the relaxation at one position, in place on `spot`; `kept` are the results.
#[inline(always)]
unsafe fn relax_adjoint<S: Lanes, const VP: usize>(
    kept: *const f32,
    spot: *mut f32,
    line: *const f32,
    bias: &[f32],
    live: &[u16],
    g: &[[f32; WIDTH]; 4],
    neurons: *mut f32,
    sums: *mut f32,
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
            let (mut slope, mut height) = (S::load(on_slope), S::load(on_intercept));
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

/// The same, summed over images and negated, belong to W_j.
#[inline(always)]
unsafe fn class_adjoint<S: Lanes, const VP: usize>(spot: *const f32, live: &[u16], sums: *mut f32, stride: usize) {
    // SAFETY: lists name channels of the position; the sums are rows of the last stage.
    unsafe {
        for &channel in live {
            let channel = usize::from(channel);
            for v in 0..VP {
                *sums.add(channel * stride + v) -= S::sum(S::load(spot.add((channel * VP + v) * WIDTH)));
            }
        }
    }
}
