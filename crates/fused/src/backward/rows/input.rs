//! The input set of one image in padded coordinates: the end of every walk.

use tightrope_engine::{Norm, Region};

use crate::backward::rows::tile::Sign;
use crate::net::Net;
use crate::net::plan::Window;
use crate::simd::lanes::{Lanes, RowValues, TALL, WIDTH};

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
    /// `pixels` is `[element of the window][P][T][16]`: P, and Q where `spread` says that there is one; or A_L alone.
    /// Over a box, signs `[T][element]` are stored in `signs` if given.
    ///
    /// # Safety
    /// The machine has `S`; `pixels` is aligned and holds the window.
    pub unsafe fn extremes<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *const f32,
        window: Window,
        spread: bool,
        values: &mut RowValues,
        signs: Option<&mut [Sign]>,
    ) {
        // SAFETY: passed on from the caller.
        let mut found = unsafe { self.over_box::<S, P, T>(pixels, window, spread, signs) };
        if let Some(ball) = &self.ball {
            // SAFETY: as above.
            let [center, norm] = unsafe { self.over_ball::<S, P, T>(ball, pixels, window, spread) };
            for lane in 0..TALL {
                let low = center[0][lane] - ball.epsilon * norm[0][lane];
                let high = center[1][lane] + ball.epsilon * norm[1][lane];
                found[0][lane] = if self.clipped { found[0][lane].max(low) } else { low };
                found[1][lane] = if self.clipped { found[1][lane].min(high) } else { high };
            }
        }
        for (values, found) in values.iter_mut().zip(&found).take(P) {
            values.iter_mut().zip(found).for_each(|(value, found)| *value += found);
        }
    }

    /// The extremes over the box.
    unsafe fn over_box<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *const f32,
        window: Window,
        spread: bool,
        signs: Option<&mut [Sign]>,
    ) -> RowValues {
        let mut found = [[0.0; TALL]; 2];
        let target = &mut found;
        // A call for each form: the compiler does not inline one that holds them all.
        // SAFETY: passed on from the caller.
        unsafe {
            match (signs, P == 2 && spread) {
                (Some(signs), true) => {
                    S::run(|| self.box_extremes::<S, P, T, true, true>(pixels, window, signs, target));
                }
                (Some(signs), false) => {
                    S::run(|| self.box_extremes::<S, P, T, false, true>(pixels, window, signs, target));
                }
                (None, true) => {
                    S::run(|| self.box_extremes::<S, P, T, true, false>(pixels, window, &mut [], target));
                }
                (None, false) => {
                    S::run(|| self.box_extremes::<S, P, T, false, false>(pixels, window, &mut [], target));
                }
            }
        }
        found
    }

    /// (A x₀, ‖A‖_q) over a ball.
    unsafe fn over_ball<S: Lanes, const P: usize, const T: usize>(
        &self,
        ball: &InputBall,
        pixels: *const f32,
        window: Window,
        spread: bool,
    ) -> [RowValues; 2] {
        let mut parts = [[[0.0; TALL]; 2]; 2];
        for v in 0..P {
            for t in 0..T {
                let [value, norm] = &mut parts;
                let targets = [&mut value[v][t * WIDTH..], &mut norm[v][t * WIDTH..]];
                // SAFETY: passed on from the caller.
                unsafe {
                    S::run(|| self.ball_parts::<S, P, T>(ball, pixels, window, spread, [v, t], targets));
                }
            }
        }
        parts
    }

    /// The extremes over the box, all planes in one pass so that their sums hide each other's latency.
    #[inline(always)]
    unsafe fn box_extremes<S: Lanes, const P: usize, const T: usize, const SPREAD: bool, const SIGNS: bool>(
        &self,
        pixels: *const f32,
        window: Window,
        signs: &mut [Sign],
        found: &mut RowValues,
    ) {
        let count = window.positions() * self.channels;
        debug_assert!(!SIGNS || signs.len() == T * count);
        // SAFETY: passed on from the caller; padded places lie in the map, signs are one per element and vector.
        unsafe {
            let mut value = [[S::zero(); 2]; 2];
            let mut reach = [[S::zero(); 2]; 2];
            let mut element = 0;
            for y in 0..window.h {
                let start = ((window.y + y) * self.row + window.x) * self.channels;
                for i in start..start + window.w * self.channels {
                    let center = S::splat(*self.center.get_unchecked(i));
                    let radius = S::splat(*self.radius.get_unchecked(i));
                    for t in 0..T {
                        let place = pixels.add((element * P * T + t) * WIDTH);
                        let p = S::load(place);
                        let (mut low, mut high) = (p, p);
                        value[0][t] = S::fma(p, center, value[0][t]);
                        if P == 2 && SPREAD {
                            let q = S::load(place.add(T * WIDTH));
                            (low, high) = (S::sub(p, q), S::add(p, q));
                            value[1][t] = S::fma(q, center, value[1][t]);
                            reach[1][t] = S::fma(S::abs(high), radius, reach[1][t]);
                        }
                        reach[0][t] = S::fma(S::abs(low), radius, reach[0][t]);
                        if SIGNS {
                            *signs.get_unchecked_mut(t * count + element) = [
                                S::negative_mask(low),
                                S::positive_mask(low),
                                S::negative_mask(high),
                                S::positive_mask(high),
                            ];
                        }
                    }
                    element += 1;
                }
            }
            for t in 0..T {
                let (p, q) = (value[0][t], value[1][t]);
                let high_reach = if P == 2 && SPREAD { reach[1][t] } else { reach[0][t] };
                S::store_any(found[0].as_mut_ptr().add(t * WIDTH), S::sub(S::sub(p, q), reach[0][t]));
                S::store_any(found[1].as_mut_ptr().add(t * WIDTH), S::add(S::add(p, q), high_reach));
            }
        }
    }

    /// (A x₀, ‖A‖_q) over a ball, of vector `t` of A_L (`v` = 0) or A_U (1), into sixteen lanes each.
    #[inline(always)]
    unsafe fn ball_parts<S: Lanes, const P: usize, const T: usize>(
        &self,
        ball: &InputBall,
        pixels: *const f32,
        window: Window,
        spread: bool,
        [v, t]: [usize; 2],
        targets: [&mut [f32]; 2],
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let (mut value, mut norm) = (S::zero(), S::zero());
            for (local, place) in self.elements(window) {
                let at = pixels.add((local * P * T + t) * WIDTH);
                let mut a = S::load(at);
                if P == 2 && spread {
                    let q = S::load(at.add(T * WIDTH));
                    a = if v == 0 { S::sub(a, q) } else { S::add(a, q) };
                }
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
            for (target, found) in targets.into_iter().zip([value, norm]) {
                S::store_any(target[..WIDTH].as_mut_ptr(), found);
            }
        }
    }

    /// The cotangents of a box's input coefficients, from their signs `[T][element]`, into `pixels` (P and Q for P = 2):
    /// the adjoint of [`InputSet::extremes`] for row cotangents `g` where the set's own gradient is not wanted.
    ///
    /// # Safety
    /// As [`InputSet::extremes`].
    #[inline(always)]
    pub unsafe fn signed_adjoint<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *mut f32,
        window: Window,
        g: &RowValues,
        signs: &[Sign],
    ) {
        let count = window.positions() * self.channels;
        debug_assert!(signs.len() == T * count);
        // SAFETY: passed on from the caller; signs are one per element and vector.
        unsafe {
            for (local, place) in self.elements(window) {
                let center = S::splat(self.center[place]);
                let radius = S::splat(self.radius[place]);
                for t in 0..T {
                    let sign = *signs.get_unchecked(t * count + local);
                    let at = pixels.add((local * P * T + t) * WIDTH);
                    store_cotangents::<S, P, T>(at, center, radius, g, t, sign);
                }
            }
        }
    }

    /// The adjoint of [`InputSet::extremes`]: replaces the coefficients in `pixels` by their cotangents for row
    /// cotangents `g`, and adds the set's own gradient. `spread` as there.
    ///
    /// # Safety
    /// As [`InputSet::extremes`].
    pub unsafe fn adjoint<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *mut f32,
        window: Window,
        spread: bool,
        g: &RowValues,
        mut gradient: Option<&mut InputGradient>,
    ) {
        let spread = P == 2 && spread;
        // SAFETY: passed on from the caller.
        unsafe {
            let Some(ball) = &self.ball else {
                S::run(|| self.box_adjoint::<S, P, T>(pixels, window, spread, g, gradient));
                return;
            };
            let boxed = self.over_box::<S, P, T>(pixels, window, spread, None);
            let [center, norm] = self.over_ball::<S, P, T>(ball, pixels, window, spread);
            let elements = window.positions() * self.channels;
            if P == 2 {
                S::run(|| mix_planes::<S, T, false>(pixels, elements, spread));
            }
            for v in 0..P {
                for row in 0..T * WIDTH {
                    let form = Form { pixels: pixels.add(v * T * WIDTH + row), stride: P * T * WIDTH, upper: v == 1 };
                    let values = [boxed[v][row], center[v][row], norm[v][row]];
                    self.lane_adjoint(ball, form, window, values, g[v][row], &mut gradient);
                }
            }
            if P == 2 {
                S::run(|| mix_planes::<S, T, true>(pixels, elements, true));
            }
        }
    }

    /// The adjoint over a box.
    #[inline(always)]
    unsafe fn box_adjoint<S: Lanes, const P: usize, const T: usize>(
        &self,
        pixels: *mut f32,
        window: Window,
        spread: bool,
        g: &RowValues,
        mut gradient: Option<&mut InputGradient>,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            for (local, place) in self.elements(window) {
                let center = S::splat(self.center[place]);
                let radius = S::splat(self.radius[place]);
                for t in 0..T {
                    let at = pixels.add((local * P * T + t) * WIDTH);
                    let p = S::load(at);
                    let q = if spread { S::load(at.add(T * WIDTH)) } else { S::zero() };
                    let [low, high] = [S::sub(p, q), S::add(p, q)];
                    let sign =
                        [S::negative_mask(low), S::positive_mask(low), S::negative_mask(high), S::positive_mask(high)];
                    store_cotangents::<S, P, T>(at, center, radius, g, t, sign);
                    if let Some(gradient) = gradient.as_deref_mut() {
                        for (v, a) in [low, high].into_iter().enumerate().take(P) {
                            let g = S::load_any(g[v].as_ptr().add(t * WIDTH));
                            let side = if v == 0 { -1.0 } else { 1.0 };
                            gradient.center[place] += S::sum(S::mul(g, a));
                            gradient.radius[place] += side * S::sum(S::mul(g, S::abs(a)));
                        }
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

/// Stores the cotangents of one element's coefficients, g·(x − r·sign) for A_L and g·(x + r·sign) for A_U; for P = 2 as
/// those of P and Q.
#[inline(always)]
unsafe fn store_cotangents<S: Lanes, const P: usize, const T: usize>(
    at: *mut f32,
    center: S::V,
    radius: S::V,
    g: &RowValues,
    t: usize,
    sign: Sign,
) {
    // SAFETY: the caller gives P·T vectors.
    unsafe {
        let minus = S::sub(S::zero(), radius);
        let slope = |negative: u16, positive: u16| S::select(positive, radius, S::select(negative, minus, S::zero()));
        let g_of = |v: usize| S::load_any(g[v].as_ptr().add(t * WIDTH));
        let low = S::mul(g_of(0), S::sub(center, slope(sign[0], sign[1])));
        if P == 1 {
            S::store(at, low);
            return;
        }
        let high = S::mul(g_of(1), S::add(center, slope(sign[2], sign[3])));
        S::store(at, S::add(low, high));
        S::store(at.add(T * WIDTH), S::sub(high, low));
    }
}

/// (P, Q) to (A_L, A_U) = (P − Q, P + Q), element by element, Q being 0 without `spread`; with `ADJOINT`, cotangents on (A_L, A_U) to those on (P, Q).
#[inline(always)]
unsafe fn mix_planes<S: Lanes, const T: usize, const ADJOINT: bool>(data: *mut f32, elements: usize, spread: bool) {
    for i in 0..elements {
        for t in 0..T {
            // SAFETY: the caller gives `elements` times two planes of T aligned vectors.
            unsafe {
                let place = data.add((2 * i * T + t) * WIDTH);
                let first = S::load(place);
                let second = if spread { S::load(place.add(T * WIDTH)) } else { S::zero() };
                let (sum, difference) = (S::add(first, second), S::sub(first, second));
                let (first, second) = if ADJOINT { (sum, S::sub(S::zero(), difference)) } else { (difference, sum) };
                S::store(place, first);
                S::store(place.add(T * WIDTH), second);
            }
        }
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
