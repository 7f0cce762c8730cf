//! The interval part of hybrid zonotopes (Mirman et al. 2018), image by image.
//!
//! A value is a form, which walks follow through stable neurons alone, plus an interval q ± e. Affine layers make it
//! W q ± |W| e, since biases belong to the forms; stably active ReLUs pass it on; an unstable one drops its form and makes
//! it [0, u], that is q = e = u/2. To walks, such a neuron is as good as inactive.

use crate::backward::rows::lines::is_unstable;
use crate::net::Net;
use crate::net::exchange::image_len;
use crate::net::plan::Stage;
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, RowValues, WIDTH};

/// q and e of a map, `[position][channel padded]`, or cotangents on them.
type Part = [Buffer; 2];

/// The interval part of one image.
#[derive(Default)]
pub struct Hybrid {
    /// Before the ReLU of the stage at hand.
    before: Part,
    /// Behind the ReLU of each hidden stage.
    after: Vec<Part>,
    /// Bounds for the lines of the stage at hand.
    settled: [Buffer; 2],
    /// Cotangents on `before` and `after`.
    on_before: Part,
    on_after: Vec<Part>,
}

/// The taps of the window of output (`y`, `x`) that lie in the map: their number and position.
#[inline(always)]
fn taps(stage: &Stage, [y, x]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    let place = move |axis: usize, output: usize, step: usize, side: usize| {
        let padded = output * stage.stride[axis] + step * stage.dilation[axis];
        padded.checked_sub(stage.pad[axis]).filter(|&place| place < side)
    };
    (0..stage.taps()).filter_map(move |tap| {
        let row = place(0, y, tap / stage.kernel[1], stage.input.h)?;
        let column = place(1, x, tap % stage.kernel[1], stage.input.w)?;
        Some((tap, row * stage.input.w + column))
    })
}

/// The part with `len` elements each, all 0.
fn clear(part: &mut Part, len: usize) {
    part.iter_mut().for_each(|values| values.at_least(len)[..len].fill(0.0));
}

impl Hybrid {
    /// Room for a network.
    pub fn start(&mut self, net: &Net<'_>) {
        self.after.resize_with(net.plan.hidden(), Part::default);
    }

    /// Carries the part to the pre-activations of hidden stage `index`.
    ///
    /// # Safety
    /// The machine has `S`; weights are packed for walks of rows.
    pub unsafe fn carry<S: Lanes>(&mut self, net: &Net<'_>, index: usize) {
        let stage = &net.plan.stages[index];
        clear(&mut self.before, image_len(stage.output));
        let Some(from) = index.checked_sub(1).map(|below| &self.after[below]) else { return };
        let (inputs, row, width) = (stage.input.c, padded(stage.input.c), padded(stage.output.c));
        let weights = net.weights.signed[index].forward.as_ptr();
        let [on_q, on_e] = self.before.each_mut().map(|values| values.as_mut_ptr());
        // SAFETY: weights are `[tap][c_in][c_out padded]`, and the maps hold both sides of the stage.
        unsafe {
            S::run(|| {
                for output in 0..stage.output.positions() {
                    let place = [output / stage.output.w, output % stage.output.w];
                    for (tap, position) in taps(stage, place) {
                        for i in 0..inputs {
                            let (q, e) = (from[0][position * row + i], from[1][position * row + i]);
                            if e == 0.0 {
                                continue;
                            }
                            let (q, e) = (S::splat(q), S::splat(e));
                            for block in (0..width).step_by(WIDTH) {
                                let w = S::load(weights.add((tap * inputs + i) * width + block));
                                let (on_q, on_e) = (on_q.add(output * width + block), on_e.add(output * width + block));
                                S::store(on_q, S::fma(w, q, S::load(on_q)));
                                S::store(on_e, S::fma(S::abs(w), e, S::load(on_e)));
                            }
                        }
                    }
                }
            });
        }
    }

    /// Adds the part of the stage at hand to the bounds of its forms.
    pub fn widen(&self, [lower, upper]: [&mut [f32]; 2]) {
        let [q, e] = &self.before;
        for (((lower, upper), q), e) in lower.iter_mut().zip(upper).zip(q.iter()).zip(e.iter()) {
            *lower += q - e;
            *upper += q + e;
        }
    }

    /// Goes through the ReLU of stage `index`, whose bounds are whole; returns the bounds that its lines shall have.
    pub fn leave(&mut self, stage: &Stage, index: usize, [lower, upper]: [&[f32]; 2]) -> [&[f32]; 2] {
        let len = image_len(stage.output);
        let [q, e] = self.after[index].each_mut().map(|values| &mut values.at_least(len)[..len]);
        let [low, high] = self.settled.each_mut().map(|values| &mut values.at_least(len)[..len]);
        for i in 0..len {
            (low[i], high[i]) = (lower[i], upper[i]);
            (q[i], e[i]) = if is_unstable(lower[i], upper[i]) {
                (low[i], high[i]) = (-1.0, -1.0);
                (0.5 * upper[i], 0.5 * upper[i])
            } else if lower[i] >= 0.0 {
                (self.before[0][i], self.before[1][i])
            } else {
                (0.0, 0.0)
            };
        }
        [low, high]
    }

    /// Adds the part of specification rows, `[element][16]` on the input of `last`, to the bounds of their forms.
    ///
    /// # Safety
    /// The machine has `S`; the rows hold the input of the last stage.
    pub unsafe fn widen_rows<S: Lanes>(&self, last: &Stage, rows: *const f32, values: &mut RowValues) {
        let Some(from) = self.after.last() else { return };
        // SAFETY: the rows are the caller's word.
        unsafe {
            S::run(|| {
                let (mut q, mut e) = (S::zero(), S::zero());
                for (element, i) in elements(last) {
                    let a = S::load(rows.add(element * WIDTH));
                    q = S::fma(a, S::splat(from[0][i]), q);
                    e = S::fma(S::abs(a), S::splat(from[1][i]), e);
                }
                let [lower, upper] = values.each_mut().map(|values| values.as_mut_ptr());
                S::store_any(lower, S::add(S::load_any(lower), S::sub(q, e)));
                S::store_any(upper, S::add(S::load_any(upper), S::add(q, e)));
            });
        }
    }

    /// Makes room for cotangents.
    pub fn start_adjoint(&mut self, net: &Net<'_>) {
        self.on_after.resize_with(net.plan.hidden(), Part::default);
        for (stage, part) in net.plan.stages.iter().zip(&mut self.on_after) {
            clear(part, image_len(stage.output));
        }
    }

    /// The adjoint of [`Hybrid::widen_rows`] for cotangents `g` on the bounds: adds those of the rows to `on_rows`.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn widen_rows_adjoint<S: Lanes>(
        &mut self,
        last: &Stage,
        rows: *const f32,
        g: &RowValues,
        on_rows: *mut f32,
    ) {
        let (Some(from), Some(on)) = (self.after.last(), self.on_after.last_mut()) else { return };
        // SAFETY: the rows are the caller's word.
        unsafe {
            S::run(|| {
                let (lower, upper) = (S::load_any(g[0].as_ptr()), S::load_any(g[1].as_ptr()));
                let (g_q, g_e) = (S::add(lower, upper), S::sub(upper, lower));
                for (element, i) in elements(last) {
                    let (a, target) = (S::load(rows.add(element * WIDTH)), on_rows.add(element * WIDTH));
                    on[0][i] += S::sum(S::mul(a, g_q));
                    on[1][i] += S::sum(S::mul(S::abs(a), g_e));
                    let on_a = S::signed_by(a, S::mul(g_e, S::splat(from[1][i])));
                    S::store(target, S::add(S::load(target), S::fma(g_q, S::splat(from[0][i]), on_a)));
                }
            });
        }
    }

    /// The adjoint of [`Hybrid::leave`]: adds to the cotangents on the stage's upper bounds.
    pub fn leave_adjoint(&mut self, stage: &Stage, index: usize, [lower, upper]: [&[f32]; 2], on_upper: &mut [f32]) {
        let len = image_len(stage.output);
        clear(&mut self.on_before, len);
        let [on_q, on_e] = &self.on_after[index];
        for i in 0..len {
            if is_unstable(lower[i], upper[i]) {
                on_upper[i] += 0.5 * (on_q[i] + on_e[i]);
            } else if lower[i] >= 0.0 {
                (self.on_before[0][i], self.on_before[1][i]) = (on_q[i], on_e[i]);
            }
        }
    }

    /// The adjoint of [`Hybrid::widen`] and [`Hybrid::carry`] for cotangents on the bounds of stage `index`, after
    /// [`Hybrid::leave_adjoint`]: adds the cotangents of its weights to `on_weights`.
    ///
    /// # Safety
    /// As [`Hybrid::carry`]; `on_weights` are as many.
    pub unsafe fn carry_adjoint<S: Lanes>(
        &mut self,
        net: &Net<'_>,
        index: usize,
        [lower, upper]: [&[f32]; 2],
        on_weights: Option<&mut Buffer>,
    ) {
        let Hybrid { after, on_before, on_after, .. } = self;
        let stage = &net.plan.stages[index];
        for i in 0..image_len(stage.output) {
            on_before[0][i] += lower[i] + upper[i];
            on_before[1][i] += upper[i] - lower[i];
        }
        let (from, on_from) = (&after[index - 1], &mut on_after[index - 1]);
        let (inputs, row, width) = (stage.input.c, padded(stage.input.c), padded(stage.output.c));
        let weights = net.weights.signed[index].forward.as_ptr();
        let on_weights = on_weights.map(|values| values.as_mut_ptr());
        let [g_q, g_e] = on_before.each_ref().map(|values| values.as_ptr());
        // SAFETY: as in `carry`.
        unsafe {
            S::run(|| {
                for output in 0..stage.output.positions() {
                    let (g_q, g_e) = (g_q.add(output * width), g_e.add(output * width));
                    let place = [output / stage.output.w, output % stage.output.w];
                    for (tap, position) in taps(stage, place) {
                        for i in 0..inputs {
                            let (place, kernel) = (position * row + i, (tap * inputs + i) * width);
                            let (q, e) = (from[0][place], from[1][place]);
                            let (mut on_q, mut on_e) = (S::zero(), S::zero());
                            for block in (0..width).step_by(WIDTH) {
                                let w = S::load(weights.add(kernel + block));
                                let (g_q, g_e) = (S::load(g_q.add(block)), S::load(g_e.add(block)));
                                on_q = S::fma(w, g_q, on_q);
                                on_e = S::fma(S::abs(w), g_e, on_e);
                                // Where e is 0, so is q.
                                if let Some(on_weights) = on_weights.filter(|_| e != 0.0) {
                                    let target = on_weights.add(kernel + block);
                                    let on_w = S::signed_by(w, S::mul(g_e, S::splat(e)));
                                    S::store(target, S::add(S::load(target), S::fma(g_q, S::splat(q), on_w)));
                                }
                            }
                            on_from[0][place] += S::sum(on_q);
                            on_from[1][place] += S::sum(on_e);
                        }
                    }
                }
            });
        }
    }
}

/// The elements of the last stage's input in the order of its weights, with their places in a padded map.
#[inline(always)]
fn elements(last: &Stage) -> impl Iterator<Item = (usize, usize)> {
    let (channels, row) = (last.input.c, padded(last.input.c));
    (0..last.input.len()).map(move |element| (element, element / channels * row + element % channels))
}
