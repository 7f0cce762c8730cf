//! The adjoint of a walk: the tile is walked down once more, then back up with cotangents.
//!
//! Nothing is stored between the passes but the bounds; the coefficients of a tile are recomputed
//! into the same scratch. Cotangents of coefficients travel by the stage itself (the transpose of its
//! transpose), those of weights are outer products of coefficients and cotangents, those of slopes
//! and intercepts gather in lanes per neuron and are summed once per image and stage.
//! Only post-relaxation coefficients are kept: min(a, 0) = min(a', 0)/λ_u.

use crate::accumulate::Accumulator;
use crate::block::Outputs;
use crate::buffer::Buffer;
use crate::clean::SLACK;
use crate::geometry::{Field, Inputs, apply_segments};
use crate::input::InputGradient;
use crate::lanes::{Lanes, WIDTH};
use crate::relax::{Given, relax_adjoint, rows_adjoint, split};
use crate::signs::Sign;
use crate::slopes::{Before, slope_adjoint};
use crate::walk::{Image, Keep, Pixels, RowValues, Tile, WalkScratch, gather_first, gather_rows};
use crate::walk_products::{Left, Products};
use crate::weights::padded;

/// Lane-wise sums of the cotangents of λ_u and μ_u, `[position][channel][2][16]`, per stage.
#[derive(Default)]
pub struct NeuronSums {
    pub stages: Vec<Buffer>,
    /// The same for λ_l, `[position][channel][16]`, if they are wanted; else empty.
    pub slopes: Vec<Buffer>,
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
    /// With the `signs` of its input coefficients, `[T][element]`, the tile is not walked to the pixels again.
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
        signs: Option<&[Sign]>,
        sinks: &mut Sinks<'_>,
    ) {
        let net = image.net;
        let planes = if P == 2 { split(g) } else { *g };
        // SAFETY: passed on from the caller; all places below lie in the windows of the forward walk.
        unsafe {
            let known = signs.filter(|_| sinks.input.is_none());
            let ends = if known.is_some() { Pixels::Skip } else { Pixels::Bound };
            let slopes_wanted = !sinks.neurons.slopes.is_empty();
            let keep = if slopes_wanted { Keep::All } else { Keep::Results };
            self.forward::<S, P, T>(image, tile, keep, ends);
            let Some(pixel_window) = self.pixel_window else { unreachable!("the forward walk sets the window") };
            let (pixels, spread) = (self.pixels.as_mut_ptr(), self.pixels_spread);
            let gradient = sinks.input.as_deref_mut();
            match known {
                Some(signs) => S::run(|| image.input.signed_adjoint::<S, P, T>(pixels, pixel_window, g, signs)),
                None => image.input.adjoint::<S, P, T>(pixels, pixel_window, spread, g, gradient),
            }
            let mut right = Field { data: pixels.cast_const(), window: pixel_window };
            for index in 0..tile.stage {
                let stage = &net.plan.stages[index];
                let window = self.windows[index];
                let lines = &image.lines[index];
                let first = index + 1 == tile.stage;
                let size = stage.output.c * P * T * WIDTH;
                let coefficients = Field { data: self.coefficients[index].as_ptr(), window };
                if let Some(weights) = sinks.weights.as_deref_mut() {
                    let spread = if P == 2 { Some(&self.spread[index][..]) } else { None };
                    let left = Left { field: coefficients, live: &lines.live, spread };
                    let products = Products {
                        sums: weights,
                        index,
                        stage,
                        left,
                        right,
                        inputs: match index {
                            0 => Inputs::All(&net.identity),
                            _ => Inputs::Live(&image.lines[index - 1].live),
                        },
                        scratch: &mut self.products,
                    };
                    match (P, T) {
                        (1, 1) => products.add::<S, 1, 1>(),
                        (1, _) => products.add::<S, 2, 2>(),
                        (_, 1) => products.add::<S, 2, 1>(),
                        _ => products.add::<S, 4, 2>(),
                    }
                    let bias = &mut weights.sums.stages[index].bias;
                    S::run(|| {
                        add_bias_gradient::<S, P, T>(
                            coefficients.data,
                            window.positions(),
                            stage.output.c,
                            &planes,
                            bias,
                        );
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
                let tabulated = P == 2
                    && T == S::GROUPS
                    && self.whole.serve(net, &self.windows[..tile.stage], P * T)
                    && self.whole.prepare_up(net, image.lines, index, right.data, &mut self.segments);
                for y in window.y..window.y + window.h {
                    for x in window.x..window.x + window.w {
                        let position = y * stage.output.w + x;
                        let local = (y - window.y) * window.w + (x - window.x);
                        let live = lines.live.at(position);
                        let unstable = lines.live.unstable_at(position).len();
                        let at = lines.at(position);
                        let spread = self.spread[index][local];
                        let spot = cotangents.add(local * size);
                        if !first {
                            S::run(|| zero_dead::<S>(spot, size / WIDTH, live.len() == stage.output.c));
                        }
                        if !tabulated {
                            apply_segments(stage, weight, stride, right, P * T, [y, x], inputs, &mut self.segments);
                        }
                        let outputs = |channels: &'_ [u16]| match channels.len() == stage.output.c {
                            true => Outputs::All(channels.len()),
                            // SAFETY: lists outlive this position.
                            false => Outputs::Listed(std::slice::from_raw_parts(channels.as_ptr(), channels.len())),
                        };
                        // Neurons without a Q have no cotangent on one.
                        let full = if P == 1 || spread { live.len() } else { unstable };
                        if P == 2 && T == S::GROUPS && tabulated {
                            let terms = self.whole.up(index, position, right.data, weight);
                            gather_rows::<S, P, T>(terms, stride, spot, outputs(&live[..full]));
                            gather_first::<S, T>(terms, stride, spot, outputs(&live[full..]));
                        } else {
                            gather_rows::<S, P, T>(&self.segments[..], stride, spot, outputs(&live[..full]));
                            gather_first::<S, T>(&self.segments[..], stride, spot, outputs(&live[full..]));
                        }
                        let given = Given {
                            rows: g,
                            planes: &planes,
                            neurons: neurons.add(position * stage.output.c * 2 * WIDTH),
                        };
                        if slopes_wanted {
                            let before = if first {
                                let coefficients = tile.rows.add(tile.element(net, [y, x]) * tile.stride);
                                Before { coefficients, stride: tile.stride, spread: false }
                            } else {
                                let coefficients = self.before[index].as_ptr().add(local * size);
                                Before { coefficients, stride: P * T * WIDTH, spread }
                            };
                            let sums = sinks.neurons.slopes[index].as_mut_ptr().add(position * stage.output.c * WIDTH);
                            let unstable = &live[..unstable];
                            S::run(|| slope_adjoint::<S, P, T>(before, spot, at, unstable, g, sums));
                        }
                        if first {
                            let element = tile.element(net, [y, x]);
                            let rows = tile.rows.add(element * tile.stride);
                            let sink = row_sink.add(element * row_sink_stride);
                            let strides = [tile.stride, row_sink_stride];
                            S::run(|| {
                                rows_adjoint::<S, P, T>(rows, sink, strides, spot, at, live, unstable, given);
                            });
                        } else {
                            let kept = coefficients.data.add(local * size);
                            S::run(|| relax_adjoint::<S, P, T>(kept, spot, spread, at, live, unstable, given));
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
