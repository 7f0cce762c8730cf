//! The adjoint of a walk: the tile is walked down once more, then back up with cotangents.
//!
//! Nothing is stored between the passes but the bounds; the coefficients of a tile are recomputed
//! into the same scratch. Cotangents of coefficients travel by the stage itself (the transpose of its
//! transpose), those of weights are outer products of coefficients and cotangents, those of slopes
//! and intercepts gather in lanes per neuron and are summed once per image and stage.
//! Only post-relaxation coefficients are kept: min(a, 0) = min(a', 0)/λ_u.

use crate::accumulate::{Accumulator, Of};
use crate::block::Outputs;
use crate::buffer::Buffer;
use crate::clean::SLACK;
use crate::geometry::{Field, Inputs, apply_segments};
use crate::input::InputGradient;
use crate::lanes::{Lanes, WIDTH};
use crate::lines::Line;
use crate::walk::{Image, RowValues, TALL, Tile, WalkScratch, gather_rows, mix_planes};
use crate::weights::padded;

/// Lane-wise sums of the cotangents of λ_u and μ_u, `[position][channel][2][16]`, per stage.
#[derive(Default)]
pub struct NeuronSums {
    pub stages: Vec<Buffer>,
}

/// Where a walk's adjoint adds what it finds.
pub struct Sinks<'a> {
    pub weights: Option<&'a mut Accumulator>,
    pub neurons: &'a mut NeuronSums,
    pub input: Option<&'a mut InputGradient>,
}

impl WalkScratch {
    /// Pulls row cotangents `g` (on minima and maxima) of `tile` back.
    ///
    /// Adds the cotangents of the rows themselves to `row_sink`, laid out as the tile's rows with its own stride.
    ///
    /// # Safety
    /// As [`WalkScratch::forward`]; the sink holds the stage's window.
    pub unsafe fn adjoint<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        g: &RowValues,
        row_sink: *mut f32,
        row_sink_stride: usize,
        sinks: &mut Sinks<'_>,
    ) {
        let net = image.net;
        // SAFETY: passed on from the caller; all places below lie in the windows of the forward walk.
        unsafe {
            self.forward::<S, P, T>(image, tile, true);
            let Some(pixel_window) = self.pixel_window else { unreachable!("the forward walk sets the window") };
            let pixels = self.pixels.as_mut_ptr();
            S::run(|| {
                image.input.adjoint::<S, P, T>(pixels, pixel_window, g, sinks.input.as_deref_mut());
                if P == 2 && tile.stage == 1 {
                    let count = pixel_window.positions() * net.plan.stages[0].input.c;
                    mix_planes::<S, T, true>(pixels, count);
                }
            });
            let mut right = Field { data: pixels.cast_const(), window: pixel_window };
            for index in 0..tile.stage {
                let stage = &net.plan.stages[index];
                let window = self.windows[index];
                let lines = &image.lines[index];
                let first = index + 1 == tile.stage;
                let size = stage.output.c * P * T * WIDTH;
                let left = Field { data: self.coefficients[index].as_ptr(), window };
                if let Some(weights) = sinks.weights.as_deref_mut() {
                    weights.add::<S>(stage, index, Of::Signed, P * T, left, right);
                    let g_planes = if first && P == 2 { split(g) } else { *g };
                    let bias = &mut weights.sums.stages[index].bias;
                    S::run(|| {
                        add_bias_gradient::<S, P, T>(left.data, window.positions(), stage.output.c, &g_planes, bias);
                    });
                }
                let neurons = sinks.neurons.stages[index].as_mut_ptr();
                let cotangents = self.cotangents[index].at_least(window.positions() * size + SLACK).as_mut_ptr();
                let inputs = match index {
                    0 => Inputs::All(&net.identity),
                    _ => Inputs::Live(&image.lines[index - 1].live),
                };
                let stride = padded(stage.output.c);
                let weight = net.weights.signed[index].forward.as_ptr();
                for y in window.y..window.y + window.h {
                    for x in window.x..window.x + window.w {
                        let position = y * stage.output.w + x;
                        let local = (y - window.y) * window.w + (x - window.x);
                        let live = lines.live.at(position);
                        let unstable = lines.live.unstable_at(position).len();
                        let line = &lines.line[position * stage.output.c..];
                        let spot = cotangents.add(local * size);
                        if !first {
                            S::run(|| zero_dead::<S>(spot, size / WIDTH, live.len() == stage.output.c));
                        }
                        apply_segments(stage, weight, stride, right, P * T, [y, x], inputs, &mut self.segments);
                        let all = live.len() == stage.output.c;
                        let outputs = if all { Outputs::All(live.len()) } else { Outputs::Listed(live) };
                        gather_rows::<S, P, T>(&self.segments, stride, spot, outputs);
                        let here = neurons.add(position * stage.output.c * 2 * WIDTH);
                        if first {
                            let element = tile.element(net, [y, x]);
                            let rows = tile.rows.add(element * tile.stride);
                            let sink = row_sink.add(element * row_sink_stride);
                            S::run(|| {
                                let strides = [tile.stride, row_sink_stride];
                                rows_adjoint::<S, P, T>(rows, sink, strides, spot, line, live, unstable, g, here);
                            });
                        } else {
                            let split = P == 2 && index + 2 == tile.stage;
                            let kept = left.data.add(local * size);
                            S::run(|| {
                                relax_adjoint::<S, P, T>(kept, spot, split, line, live, unstable, g, here);
                            });
                        }
                    }
                }
                right = Field { data: cotangents.cast_const(), window };
            }
        }
    }
}

#[inline(always)]
unsafe fn zero_dead<S: Lanes>(place: *mut f32, vectors: usize, all_live: bool) {
    if !all_live {
        for i in 0..vectors {
            // SAFETY: the caller gives `vectors` aligned vectors.
            unsafe { S::store(place.add(i * WIDTH), S::zero()) };
        }
    }
}

/// Cotangents on (A_L, A_U) = (P − Q, P + Q) to those on (P, Q).
fn split(g: &RowValues) -> RowValues {
    let mut planes = [[0.0; TALL]; 2];
    for lane in 0..TALL {
        planes[0][lane] = g[0][lane] + g[1][lane];
        planes[1][lane] = g[1][lane] - g[0][lane];
    }
    planes
}

/// The constants hold coefficient · bias: the bias gains Σ g · coefficient.
#[inline(always)]
unsafe fn add_bias_gradient<S: Lanes, const P: usize, const T: usize>(
    coefficients: *const f32,
    positions: usize,
    channels: usize,
    g: &RowValues,
    bias: &mut [f32],
) {
    for (c, target) in bias.iter_mut().enumerate().take(channels) {
        // SAFETY: the caller gives `positions · channels` spots of P·T aligned vectors.
        unsafe {
            let mut sums = [[S::zero(); 2]; 2];
            for position in 0..positions {
                let place = coefficients.add((position * channels + c) * P * T * WIDTH);
                for v in 0..P {
                    for t in 0..T {
                        sums[v][t] = S::add(sums[v][t], S::load(place.add((v * T + t) * WIDTH)));
                    }
                }
            }
            let mut total = S::zero();
            for v in 0..P {
                for t in 0..T {
                    total = S::fma(sums[v][t], S::load_any(g[v].as_ptr().add(t * WIDTH)), total);
                }
            }
            *target += S::sum(total);
        }
    }
}

/// Adjoint of the first relaxation: `spot` holds the cotangents of P and Q (or A_L), `sink` gains those of the rows.
#[inline(always)]
unsafe fn rows_adjoint<S: Lanes, const P: usize, const T: usize>(
    rows: *const f32,
    sink: *mut f32,
    [stride, sink_stride]: [usize; 2],
    spot: *const f32,
    line: &[Line],
    live: &[u16],
    unstable: usize,
    g: &RowValues,
    neurons: *mut f32,
) {
    // SAFETY: the caller's lists name channels of rows, sink, spot, lines and neurons.
    unsafe {
        let half = S::splat(0.5);
        let g_of = |v: usize, t: usize| if v < P { S::load_any(g[v].as_ptr().add(t * WIDTH)) } else { S::zero() };
        for (i, &channel) in live.iter().enumerate() {
            let channel = usize::from(channel);
            let line = line.get_unchecked(channel);
            let bias = S::splat(line.bias);
            let place = spot.add(channel * P * T * WIDTH);
            let target = sink.add(channel * sink_stride);
            if i >= unstable {
                for t in 0..T {
                    // P = a and no Q: the constants of both bounds hold a·b.
                    let g_both = S::add(g_of(0, t), g_of(1, t));
                    let target = target.add(t * WIDTH);
                    let low = S::load(place.add(t * WIDTH));
                    S::store(target, S::add(S::load(target), S::fma(g_both, bias, low)));
                }
                continue;
            }
            let [lower, upper, intercept] = [line.lower_slope, line.upper_slope, line.intercept].map(|x| S::splat(x));
            let sums = neurons.add(channel * 2 * WIDTH);
            let (mut slope, mut height) = (S::load(sums), S::load(sums.add(WIDTH)));
            for t in 0..T {
                let (g_low, g_high) = (g_of(0, t), g_of(1, t));
                let a = S::load(rows.add(channel * stride + t * WIDTH));
                let mut low = S::load(place.add(t * WIDTH));
                let mut high = S::zero();
                if P == 2 {
                    let (p, q) = (low, S::load(place.add((T + t) * WIDTH)));
                    low = S::mul(S::sub(p, q), half);
                    high = S::mul(S::add(p, q), half);
                }
                low = S::fma(g_low, bias, low);
                let negative = S::min(a, S::zero());
                slope = S::fma(low, negative, slope);
                height = S::fma(g_low, negative, height);
                let bent = S::fma(low, upper, S::mul(g_low, intercept));
                let mut result = S::where_negative(a, bent, S::mul(low, lower));
                if P == 2 {
                    high = S::fma(g_high, bias, high);
                    let positive = S::max(a, S::zero());
                    slope = S::fma(high, positive, slope);
                    height = S::fma(g_high, positive, height);
                    let bent = S::fma(high, upper, S::mul(g_high, intercept));
                    result = S::add(result, S::where_positive(a, bent, S::mul(high, lower)));
                }
                let target = target.add(t * WIDTH);
                S::store(target, S::add(S::load(target), result));
            }
            S::store(sums, slope);
            S::store(sums.add(WIDTH), height);
        }
    }
}

/// Adjoint of a later relaxation, in place on `spot`: cotangents of the results to those of the coefficients
/// (as P and Q if `split_above`); `kept` are the results.
#[inline(always)]
unsafe fn relax_adjoint<S: Lanes, const P: usize, const T: usize>(
    kept: *const f32,
    spot: *mut f32,
    split_above: bool,
    line: &[Line],
    live: &[u16],
    unstable: usize,
    g: &RowValues,
    neurons: *mut f32,
) {
    // SAFETY: the caller's lists name channels of kept, spot, lines and neurons.
    unsafe {
        let g_of = |v: usize, t: usize| S::load_any(g[v].as_ptr().add(t * WIDTH));
        for (i, &channel) in live.iter().enumerate() {
            let channel = usize::from(channel);
            let line = line.get_unchecked(channel);
            let bias = S::splat(line.bias);
            let spot = spot.add(channel * P * T * WIDTH);
            let kept = kept.add(channel * P * T * WIDTH);
            for v in 0..P {
                for t in 0..T {
                    let place = spot.add((v * T + t) * WIDTH);
                    S::store(place, S::fma(g_of(v, t), bias, S::load(place)));
                }
            }
            if i < unstable {
                let [lower, upper, intercept] =
                    [line.lower_slope, line.upper_slope, line.intercept].map(|x| S::splat(x));
                let inverse = S::splat(1.0 / line.upper_slope);
                let sums = neurons.add(channel * 2 * WIDTH);
                let (mut slope, mut height) = (S::load(sums), S::load(sums.add(WIDTH)));
                for v in 0..P {
                    for t in 0..T {
                        let place = spot.add((v * T + t) * WIDTH);
                        let (cotangent, result) = (S::load(place), S::load(kept.add((v * T + t) * WIDTH)));
                        // The coefficient had the sign of the result, and the upper line where that sign calls for it.
                        let bent_part = if v == 0 { S::min(result, S::zero()) } else { S::max(result, S::zero()) };
                        let bent_part = S::mul(bent_part, inverse);
                        slope = S::fma(cotangent, bent_part, slope);
                        height = S::fma(g_of(v, t), bent_part, height);
                        let bent = S::fma(cotangent, upper, S::mul(g_of(v, t), intercept));
                        let straight = S::mul(cotangent, lower);
                        let chosen = if v == 0 {
                            S::where_negative(result, bent, straight)
                        } else {
                            S::where_positive(result, bent, straight)
                        };
                        S::store(place, chosen);
                    }
                }
                S::store(sums, slope);
                S::store(sums.add(WIDTH), height);
            }
            if P == 2 && split_above {
                for t in 0..T {
                    let low = spot.add(t * WIDTH);
                    let high = low.add(T * WIDTH);
                    let (l, h) = (S::load(low), S::load(high));
                    S::store(low, S::add(l, h));
                    S::store(high, S::sub(h, l));
                }
            }
        }
    }
}
