//! The adjoint of a walk: the tile is walked down once more, then back up with cotangents.
//!
//! Nothing is stored between the passes but the bounds; the coefficients of a tile are recomputed
//! into the same scratch. Cotangents of coefficients travel by the stage itself (the transpose of its
//! transpose), those of weights are outer products of coefficients and cotangents, those of slopes
//! and intercepts gather in lanes per neuron and are summed once per image and stage.
//! Only post-relaxation coefficients are kept: min(a, 0) = min(a', 0)/λ_u.

use crate::backward::products::{Left, Products, add_bias_gradient};
use crate::backward::rows::input::InputGradient;
use crate::backward::rows::relax::{RelaxCotangents, relax_adjoint, rows_adjoint, split};
use crate::backward::rows::tile::{Keep, Pixels, Sign, Tile};
use crate::backward::rows::walk::{Image, WalkScratch, gather_first, gather_rows};
use crate::kernels::gather::{Outputs, Terms};
use crate::net::accumulate::Accumulator;
use crate::net::geometry::{Field, Inputs, apply_segments};
use crate::net::plan::Window;
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, RowValues, TALL, WIDTH};

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

/// Most coefficients of a band of the first stage, in f32: they are made anew, used and forgotten in the cache.
const BAND: usize = 1 << 16;

/// Where the cotangents of a tile's rows are added.
#[derive(Clone, Copy)]
struct RowSink {
    /// Laid out as the rows, with a stride of its own.
    cotangents: *mut f32,
    stride: usize,
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
            let keep = Keep::Results;
            self.forward::<S, P, T>(image, tile, keep, ends);
            let Some(pixel_window) = self.pixel_window else { unreachable!("the forward walk sets the window") };
            let (pixels, spread) = (self.pixels.as_mut_ptr(), self.pixels_spread);
            let gradient = sinks.input.as_deref_mut();
            match known {
                Some(signs) => S::run(|| image.input.signed_adjoint::<S, P, T>(pixels, pixel_window, g, signs)),
                None => image.input.adjoint::<S, P, T>(pixels, pixel_window, spread, g, gradient),
            }
            let mut right = Field { data: pixels.cast_const(), window: pixel_window };
            let sink = RowSink { cotangents: row_sink, stride: row_sink_stride };
            for index in 0..tile.stage {
                let window = self.windows[index];
                let row = window.w * net.plan.stages[index].output.c * P * T * WIDTH;
                let walked = index > 0 || known.is_none();
                let high = if walked { window.h } else { (BAND / row.max(1)).max(1) };
                for top in (0..window.h).step_by(high.max(1)) {
                    let band = Window { y: window.y + top, h: high.min(window.h - top), ..window };
                    if !walked {
                        let mut constants = [[0.0; TALL]; 2];
                        self.walk_band::<S, P, T>(image, tile, index, band, keep, false, &mut constants);
                    }
                    self.band_adjoint::<S, P, T>(image, tile, index, band, right, [g, &planes], sink, sinks);
                }
                right = Field { data: self.cotangents[index].as_ptr(), window };
            }
        }
    }

    /// One step up: from the cotangents `right` on the input of stage `index` to those on its pre-activations, at the
    /// positions of `band`, whose coefficients are in place; weights, biases and lines gain theirs.
    unsafe fn band_adjoint<S: Lanes, const P: usize, const T: usize>(
        &mut self,
        image: Image<'_>,
        tile: &Tile,
        index: usize,
        band: Window,
        right: Field,
        [g, planes]: [&RowValues; 2],
        sink: RowSink,
        sinks: &mut Sinks<'_>,
    ) {
        let net = image.net;
        let stage = &net.plan.stages[index];
        let window = self.windows[index];
        let lines = &image.lines[index];
        let first = index + 1 == tile.stage;
        let size = stage.output.c * P * T * WIDTH;
        let coefficients = Field { data: self.coefficients[index].as_ptr(), window: band };
        let inputs = match index {
            0 => Inputs::All(net.identity),
            _ => Inputs::Live(&image.lines[index - 1].live),
        };
        // SAFETY: passed on from `adjoint`; all places below lie in the windows of the forward walk.
        unsafe {
            if let Some(weights) = sinks.weights.as_deref_mut() {
                let spread = if P == 2 { Some(&self.spread[index][..]) } else { None };
                let left = Left { field: coefficients, live: &lines.live, spread };
                let bias = &mut weights.sums.stages[index].bias;
                add_bias_gradient::<S, P, T>(stage, left, planes, &mut self.products, bias);
                let products =
                    Products { sums: weights, index, stage, left, right, inputs, scratch: &mut self.products };
                match (P, T) {
                    (1, 1) => products.add::<S, 1, 1>(),
                    (1, _) => products.add::<S, 2, 2>(),
                    (_, 1) => products.add::<S, 2, 1>(),
                    _ => products.add::<S, 4, 2>(),
                }
            }
            let neurons = sinks.neurons.stages[index].as_mut_ptr();
            let cotangents = self.cotangents[index].at_least(window.positions() * size + SLACK).as_mut_ptr();
            let stride = padded(stage.output.c);
            let weight = net.weights.signed[index].forward.as_ptr();
            let patched = index == 0 && self.patch.len() == stage.taps() * stage.input.c;
            let tabulated = P == 2
                && T == S::GROUPS
                && (patched
                    || self.whole.serve(net, &self.windows[..tile.stage], P * T)
                        && self.whole.prepare_up(net, image.lines, index, right.data, &mut self.segments));
            for y in band.y..band.y + band.h {
                for x in band.x..band.x + band.w {
                    let position = y * stage.output.w + x;
                    let local = (y - band.y) * band.w + (x - band.x);
                    let live = lines.live.at(position);
                    let unstable = lines.live.unstable_at(position).len();
                    let at = lines.at(position);
                    let spread = self.spread[index][local];
                    let spot = cotangents.add(((y - window.y) * window.w + (x - window.x)) * size);
                    if !tabulated {
                        let tap = stage.input.c * stride;
                        apply_segments(stage, weight, tap, right, P * T, [y, x], inputs, &mut self.segments);
                    }
                    let outputs = |channels: &'_ [u16]| match channels.len() == stage.output.c {
                        true => Outputs::All(channels.len()),
                        // SAFETY: lists outlive this position.
                        false => Outputs::Listed(std::slice::from_raw_parts(channels.as_ptr(), channels.len())),
                    };
                    // Neurons without a Q have no cotangent on one.
                    let full = if P == 1 || spread { live.len() } else { unstable };
                    if P == 2 && T == S::GROUPS && tabulated {
                        let terms = if patched {
                            let down = y * stage.stride[0] - right.window.y;
                            let corner = down * right.window.w + x * stage.stride[1] - right.window.x;
                            let input = right.data.add(corner * stage.input.c * P * T * WIDTH);
                            Terms { input, weight, full: &self.patch, half: &[] }
                        } else {
                            self.whole.up(index, position, right.data, weight)
                        };
                        gather_rows::<S, P, T>(terms, stride, spot, outputs(&live[..full]));
                        gather_first::<S, T>(terms, stride, spot, outputs(&live[full..]));
                    } else {
                        gather_rows::<S, P, T>(&self.segments[..], stride, spot, outputs(&live[..full]));
                        gather_first::<S, T>(&self.segments[..], stride, spot, outputs(&live[full..]));
                    }
                    let given = RelaxCotangents {
                        rows: g,
                        planes,
                        neurons: neurons.add(position * stage.output.c * 2 * WIDTH),
                    };
                    if first {
                        let element = tile.element(net, [y, x]);
                        let rows = tile.rows.add(element * tile.stride);
                        let target = sink.cotangents.add(element * sink.stride);
                        let strides = [tile.stride, sink.stride];
                        S::run(|| {
                            rows_adjoint::<S, P, T>(rows, target, strides, spot, at, live, unstable, given);
                        });
                    } else {
                        let kept = coefficients.data.add(local * size);
                        S::run(|| relax_adjoint::<S, P, T>(kept, spot, spread, at, live, unstable, given));
                    }
                }
            }
        }
    }
}
