//! The input set of one image in padded coordinates: the end of every walk.

use tightrope_engine::{Norm, Region};

use crate::lanes::{Lanes, WIDTH};
use crate::net::Net;
use crate::plan::Window;
use crate::walk::RowValues;

/// A ball in normalised, padded coordinates: {c + s∘δ : ‖δ‖_p ≤ ε}.
pub struct InputBall {
    norm: Norm,
    epsilon: f32,
    center: Vec<f32>,
    scale: Vec<f32>,
}

/// One image's input set. The padding has centre and radius 0, so no walk ever tests for edges, and
/// clipping to the data range costs nothing because the radius is per element anyway.
pub struct InputSet {
    center: Vec<f32>,
    radius: Vec<f32>,
    ball: Option<InputBall>,
    clipped: bool,
    row: usize,
    channels: usize,
}

/// Gradient sums of one image's region in padded coordinates.
#[derive(Default)]
pub struct InputGradient {
    pub center: Vec<f32>,
    pub radius: Vec<f32>,
    pub epsilon: f32,
}

impl InputSet {
    /// The set of sample `sample`.
    pub fn new(net: &Net<'_>, region: &Region<f32>, sample: usize) -> Self {
        let d = net.plan.dimension;
        let n = net.input_len(0);
        let range = sample * d..(sample + 1) * d;
        let spread = |values: &[f32], map: &dyn Fn(usize, f32) -> f32| {
            let mut out = vec![0.0; n];
            for (e, &value) in values.iter().enumerate() {
                if let Some(place) = net.pixel(e) {
                    out[place] = map(e, value);
                }
            }
            out
        };
        let normal = net.plan.normalisation.as_ref();
        let point = |e: usize, x: f32| normal.map_or(x, |(scale, shift)| x * scale[e] + shift[e]);
        let width = |e: usize, r: f32| normal.map_or(r, |(scale, _)| r * scale[e].abs());
        let ball = region.ball.as_ref().map(|ball| InputBall {
            norm: ball.norm,
            epsilon: ball.epsilon,
            center: spread(&ball.center[range.clone()], &point),
            scale: spread(&vec![1.0; d], &|e, _| normal.map_or(1.0, |(scale, _)| scale[e])),
        });
        InputSet {
            center: spread(&region.center[range.clone()], &point),
            radius: spread(&region.radius[range], &width),
            ball,
            clipped: region.clipped,
            row: net.plan.stages[0].input_side()[1],
            channels: net.plan.stages[0].input.c,
        }
    }

    /// Runs over the window's elements: (place in the window's map, padded place).
    fn elements(&self, window: Window) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (row, channels) = (self.row, self.channels);
        (0..window.h).flat_map(move |y| {
            let start = ((window.y + y) * row + window.x) * channels;
            (0..window.w * channels).map(move |i| (y * window.w * channels + i, start + i))
        })
    }

    /// Adds the minimum (plane 0) and maximum (plane 1) of the linear forms over the set to `values`.
    ///
    /// `pixels` is `[element of the window][P][T][16]`: lower coefficients, then upper ones.
    ///
    /// # Safety
    /// The machine has `S`; `pixels` is aligned and holds the window.
    #[inline(always)]
    pub unsafe fn extremes<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *const f32,
        window: Window,
        values: &mut RowValues,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let boxed = self.box_extremes::<S, P, T>(pixels, window);
            for v in 0..P {
                for t in 0..T {
                    let found = match &self.ball {
                        None => boxed[v][t],
                        Some(ball) => {
                            let (value, norm) = self.ball_parts::<S>(ball, pixels, window, [v * T + t, P * T]);
                            let reach = S::mul(S::splat(ball.epsilon), norm);
                            let round = if v == 0 { S::sub(value, reach) } else { S::add(value, reach) };
                            match (self.clipped, v) {
                                (false, _) => round,
                                (true, 0) => S::max(boxed[v][t], round),
                                (true, _) => S::min(boxed[v][t], round),
                            }
                        }
                    };
                    let place = values[v].as_mut_ptr().add(t * WIDTH);
                    S::store_any(place, S::add(S::load_any(place), found));
                }
            }
        }
    }

    /// The extremes over the box, `[plane][T]`, all planes in one pass so that their sums hide each other's latency.
    #[inline(always)]
    unsafe fn box_extremes<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *const f32,
        window: Window,
    ) -> [[S::V; 2]; 2] {
        // SAFETY: passed on from the caller; padded places lie in the map.
        unsafe {
            let mut value = [[S::zero(); 2]; 2];
            let mut reach = [[S::zero(); 2]; 2];
            let mut place = pixels;
            for y in 0..window.h {
                let start = ((window.y + y) * self.row + window.x) * self.channels;
                for i in start..start + window.w * self.channels {
                    let center = S::splat(*self.center.get_unchecked(i));
                    let radius = S::splat(*self.radius.get_unchecked(i));
                    for v in 0..P {
                        for t in 0..T {
                            let a = S::load(place.add((v * T + t) * WIDTH));
                            value[v][t] = S::fma(a, center, value[v][t]);
                            reach[v][t] = S::fma(S::abs(a), radius, reach[v][t]);
                        }
                    }
                    place = place.add(P * T * WIDTH);
                }
            }
            for t in 0..T {
                value[0][t] = S::sub(value[0][t], reach[0][t]);
                value[1][t] = S::add(value[1][t], reach[1][t]);
            }
            value
        }
    }

    /// (A x₀, ‖A‖_q) over a ball, of vector `which` among the `vectors` of an element.
    #[inline(always)]
    unsafe fn ball_parts<S: Lanes>(
        &self,
        ball: &InputBall,
        pixels: *const f32,
        window: Window,
        [which, vectors]: [usize; 2],
    ) -> (S::V, S::V) {
        // SAFETY: passed on from the caller.
        unsafe {
            let (mut value, mut norm) = (S::zero(), S::zero());
            for (local, place) in self.elements(window) {
                let a = S::load(pixels.add((local * vectors + which) * WIDTH));
                value = S::fma(a, S::splat(ball.center[place]), value);
                let a = S::abs(S::mul(a, S::splat(ball.scale[place])));
                norm = match ball.norm {
                    Norm::L2 => S::fma(a, a, norm),
                    Norm::L1 => S::max(norm, a),
                    Norm::Inf => S::add(norm, a),
                };
            }
            if ball.norm == Norm::L2 {
                norm = S::sqrt(norm);
            }
            (value, norm)
        }
    }

    /// The adjoint of [`InputSet::extremes`]: replaces the coefficients in `pixels` by their cotangents for row
    /// cotangents `g`, and adds the set's own gradient.
    ///
    /// # Safety
    /// As [`InputSet::extremes`].
    #[inline(always)]
    pub unsafe fn adjoint<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *mut f32,
        window: Window,
        g: &RowValues,
        mut gradient: Option<&mut InputGradient>,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let Some(ball) = &self.ball else {
                for (local, place) in self.elements(window) {
                    let center = S::splat(self.center[place]);
                    for v in 0..P {
                        for t in 0..T {
                            let g = S::load_any(g[v].as_ptr().add(t * WIDTH));
                            // The sign of −|a| r for minima, +|a| r for maxima.
                            let side = if v == 0 { -1.0 } else { 1.0 };
                            let at = pixels.add(((local * P + v) * T + t) * WIDTH);
                            let a = S::load(at);
                            let r = S::splat(side * self.radius[place]);
                            let minus = S::sub(S::zero(), r);
                            let slope = S::where_positive(a, r, S::where_negative(a, minus, S::zero()));
                            S::store(at, S::mul(g, S::add(center, slope)));
                            if let Some(gradient) = gradient.as_deref_mut() {
                                gradient.center[place] += S::sum(S::mul(g, a));
                                gradient.radius[place] += side * S::sum(S::mul(g, S::abs(a)));
                            }
                        }
                    }
                }
                return;
            };
            let boxed = self.box_extremes::<S, P, T>(pixels, window);
            for v in 0..P {
                for t in 0..T {
                    let (value, norm) = self.ball_parts::<S>(ball, pixels, window, [v * T + t, P * T]);
                    let mut lanes = [[0.0; WIDTH]; 3];
                    for (target, source) in lanes.iter_mut().zip([boxed[v][t], value, norm]) {
                        S::store_any(target.as_mut_ptr(), source);
                    }
                    for lane in 0..WIDTH {
                        let first = pixels.add((v * T + t) * WIDTH + lane);
                        let form = Form { pixels: first, stride: P * T * WIDTH, upper: v == 1 };
                        let [boxed, value, norm] = [0, 1, 2].map(|part: usize| lanes[part][lane]);
                        let g = g[v][t * WIDTH + lane];
                        self.lane_adjoint(ball, form, window, [boxed, value, norm], g, &mut gradient);
                    }
                }
            }
        }
    }

    /// One form's adjoint over a ball, plain: balls are no training case.
    unsafe fn lane_adjoint(
        &self,
        ball: &InputBall,
        form: Form,
        window: Window,
        [boxed, value, norm]: [f32; 3],
        g: f32,
        gradient: &mut Option<&mut InputGradient>,
    ) {
        let side = if form.upper { 1.0 } else { -1.0 };
        let round = value + side * ball.epsilon * norm;
        let use_box = self.clipped && if form.upper { boxed < round } else { boxed > round };
        let mut peak_seen = false;
        if let (false, Some(gradient)) = (use_box, gradient.as_deref_mut()) {
            gradient.epsilon += side * g * norm;
        }
        for (local, place) in self.elements(window) {
            // SAFETY: the caller's window.
            let at = unsafe { &mut *form.pixels.add(local * form.stride) };
            let a = *at;
            let scaled = a * ball.scale[place];
            let direction = match ball.norm {
                _ if use_box => 0.0,
                Norm::L2 if norm > 0.0 => scaled / norm,
                Norm::L1 if !peak_seen && scaled.abs() == norm && norm > 0.0 => {
                    peak_seen = true;
                    scaled.signum()
                }
                Norm::Inf if scaled != 0.0 => scaled.signum(),
                _ => 0.0,
            };
            let (center, reach) = if use_box {
                let sign = if a == 0.0 { 0.0 } else { a.signum() };
                (self.center[place], sign * self.radius[place])
            } else {
                (ball.center[place], ball.epsilon * direction * ball.scale[place])
            };
            *at = g * (center + side * reach);
            if let Some(gradient) = gradient.as_deref_mut() {
                gradient.center[place] += g * a;
                if use_box {
                    gradient.radius[place] += side * g * a.abs();
                }
            }
        }
    }

    /// Zero sums for this set.
    pub fn gradient(&self) -> InputGradient {
        InputGradient { center: vec![0.0; self.center.len()], radius: vec![0.0; self.center.len()], epsilon: 0.0 }
    }
}

/// One lane of the coefficients.
#[derive(Clone, Copy)]
struct Form {
    pixels: *mut f32,
    stride: usize,
    upper: bool,
}

impl InputGradient {
    /// Adds the sums to one image's gradient `[d]` each.
    pub fn store(&self, net: &Net<'_>, center: &mut [f32], radius: &mut [f32]) {
        for e in 0..net.plan.dimension {
            if let Some(place) = net.pixel(e) {
                let scale = net.plan.normalisation.as_ref().map_or(1.0, |(scale, _)| scale[e]);
                center[e] += scale * self.center[place];
                radius[e] += scale.abs() * self.radius[place];
            }
        }
        radius[0] += self.epsilon;
    }
}
