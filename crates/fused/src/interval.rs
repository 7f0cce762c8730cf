//! The interval domain (IBP, Gowal et al. 2018), sixteen or thirty-two images in lanes.
//!
//! Affine: c' = W c + b, r' = |W| r. ReLU: both ends clamped at 0. The first stage is exact for every
//! region; back-substitution starts from it, so all methods run this pass at least that far.

use tightrope_engine::Region;

use crate::accumulate::{Accumulator, Of};
use crate::ball::BallRows;
use crate::buffer::Buffer;
use crate::clean::SLACK;
use crate::finish::{Ends, IntervalMasked, Rectified};
use crate::geometry::Field;
use crate::lanes::{Lanes, WIDTH};
use crate::net::{Net, Normalise, load_images, sum_lanes};
use crate::plan::Window;
use crate::product::{Finish, Packed, product};

/// Interval bounds of one chunk of images.
#[derive(Default)]
pub struct Interval {
    /// Centre and radius of each stage's input, `[position][channel][VP][16]`.
    pub center: Vec<Buffer>,
    pub radius: Vec<Buffer>,
    /// Bounds of each hidden stage's output, the pre-activations, where they are asked for.
    pub lower: Vec<Buffer>,
    pub upper: Vec<Buffer>,
    /// Ball centres, where the region is a ball.
    pub ball: Buffer,
}

/// Which cotangents an interval pass starts its adjoint with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Those on the bounds.
    Bounds,
    /// Those on the last activations; what stands for the bounds is overwritten unread.
    Activations,
    /// Both.
    Both,
}

/// Cotangents of an interval pass.
#[derive(Default)]
pub struct IntervalCotangents {
    /// On the bounds of each hidden stage, `[position][channel][VP][16]`; zero where nothing flows.
    pub lower: Vec<Buffer>,
    pub upper: Vec<Buffer>,
    /// On the centre and radius of the last bounded stage's activations, if the specification used them.
    pub center: Buffer,
    pub radius: Buffer,
    /// On one stage's biases, lane by lane.
    pub bias: Buffer,
    /// On the pixels.
    pub pixels: Buffer,
}

/// Per-image sums for the region's gradient, `[count, d]` each, added to.
pub struct RegionSums<'a> {
    pub center: &'a mut [f32],
    pub radius: &'a mut [f32],
}

impl Interval {
    /// Bounds the first `depth` ≥ 1 stages, which must be hidden ones, for `count` ≤ 16·VP images of `region` from
    /// `first` on. Without `ends`, pre-activations are not stored.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn forward<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        region: &Region<f32>,
        [first, count]: [usize; 2],
        rows: Option<&BallRows>,
        depth: usize,
        ends: bool,
    ) {
        let d = net.plan.dimension;
        let images = first * d..(first + count) * d;
        for list in [&mut self.center, &mut self.radius, &mut self.lower, &mut self.upper] {
            list.resize_with(depth + 1, Buffer::default);
        }
        let size = net.input_len(0) * VP * WIDTH;
        self.center[0].at_least(size + SLACK);
        self.radius[0].at_least(size + SLACK);
        // SAFETY: buffers are sized to their maps here and below; the machine is the caller's word.
        unsafe {
            load_images::<S, VP>(net, &region.center[images.clone()], Normalise::Point, &mut self.center[0]);
            load_images::<S, VP>(net, &region.radius[images.clone()], Normalise::Radius, &mut self.radius[0]);
            if let Some(ball) = &region.ball {
                self.ball.at_least(size + SLACK);
                load_images::<S, VP>(net, &ball.center[images], Normalise::Point, &mut self.ball);
            }
        }
        for index in 0..depth {
            let stage = &net.plan.stages[index];
            let total = stage.output.len() * VP * WIDTH + SLACK;
            self.center[index + 1].at_least(total);
            self.radius[index + 1].at_least(total);
            let rows = if index == 0 { rows } else { None };
            let ends = ends || rows.is_some();
            if ends {
                self.lower[index].at_least(total);
                self.upper[index].at_least(total);
            }
            // SAFETY: the maps are sized.
            unsafe {
                match rows {
                    Some(rows) => self.forward_ball::<S, VP>(net, rows, region),
                    None if ends => self.forward_stage::<S, VP, true>(net, index),
                    None => self.forward_stage::<S, VP, false>(net, index),
                }
            }
        }
    }

    unsafe fn forward_stage<S: Lanes, const VP: usize, const ENDS: bool>(&mut self, net: &Net<'_>, index: usize) {
        let size = net.plan.stages[index].output.c * VP * WIDTH;
        let targets = self.rectified::<ENDS>(net, index);
        // SAFETY: `forward` sized the maps; positions lie in them.
        unsafe {
            self.each_position::<S, _, VP>(net, index, |position| targets.at(position * size));
        }
    }

    /// The maps that a stage's bounds go to.
    pub fn rectified<const ENDS: bool>(&mut self, net: &Net<'_>, index: usize) -> Rectified<ENDS> {
        let (lower, upper) = (self.lower[index].as_mut_ptr(), self.upper[index].as_mut_ptr());
        let ends = Ends { bias: net.weights.signed[index].bias.as_ptr(), lower, upper };
        let (center, radius) = (self.center[index + 1].as_mut_ptr(), self.radius[index + 1].as_mut_ptr());
        Rectified { ends, center, radius }
    }

    /// Finishes W c and |W| r at every position of a stage's output with what `finish` gives for it.
    ///
    /// # Safety
    /// The machine has `S`; the maps hold the stage.
    pub unsafe fn each_position<S: Lanes, F: Finish<S, 2, VP>, const VP: usize>(
        &self,
        net: &Net<'_>,
        index: usize,
        finish: impl Fn(usize) -> F,
    ) {
        let stage = &net.plan.stages[index];
        let [center, radius] = [self.center[index].as_ptr(), self.radius[index].as_ptr()];
        let weights = [&net.weights.signed[index], &net.weights.absolute[index]].map(|w| w.forward.as_ptr());
        for y in 0..stage.output.h {
            for x in 0..stage.output.w {
                let (span, input, weight) = net.taps[index].apply(stage, VP, [y, x]);
                // SAFETY: the span stays in the maps.
                unsafe {
                    let weights = Packed(weights.map(|w| w.add(weight)));
                    let finish = finish(y * stage.output.w + x);
                    product::<S, _, _, 2, VP>(
                        &span,
                        [center.add(input), radius.add(input)],
                        weights,
                        [0, stage.output.c],
                        finish,
                    );
                }
            }
        }
    }

    pub fn inputs(&self, net: &Net<'_>, index: usize) -> [Field; 2] {
        let [h, w] = net.plan.stages[index].input_side();
        let window = Window { y: 0, x: 0, h, w };
        [Field { data: self.center[index].as_ptr(), window }, Field { data: self.radius[index].as_ptr(), window }]
    }

    /// Pulls cotangents on the bounds of the first `depth` stages back to the weights and the region.
    ///
    /// # Safety
    /// The machine has `S`; `self` holds the forward pass of the same images.
    pub unsafe fn backward<S: Lanes, const VP: usize>(
        &self,
        net: &Net<'_>,
        region: &Region<f32>,
        count: usize,
        rows: Option<&BallRows>,
        depth: usize,
        cotangents: &mut IntervalCotangents,
        given: Given,
        mut accumulator: Option<&mut Accumulator>,
        sums: Option<&mut RegionSums<'_>>,
    ) {
        // SAFETY: all buffers hold the stages' maps; the machine is the caller's word.
        unsafe {
            if given == Given::Activations {
                self.last_adjoint::<S, VP, false>(net, depth - 1, cotangents, true);
            } else {
                self.last_adjoint::<S, VP, true>(net, depth - 1, cotangents, given == Given::Both);
            }
            for index in (1..depth).rev() {
                let window = Window::all(net.plan.stages[index].output);
                let left = [&cotangents.lower[index], &cotangents.upper[index]]
                    .map(|buffer| Field { data: buffer.as_ptr(), window });
                if let Some(accumulator) = accumulator.as_deref_mut() {
                    let (stage, right) = (&net.plan.stages[index], self.inputs(net, index));
                    accumulator.add::<S>(stage, index, Of::Signed, VP, left[0], right[0]);
                    accumulator.add::<S>(stage, index, Of::Absolute, VP, left[1], right[1]);
                    sum_lanes::<S>(&cotangents.bias, &mut accumulator.sums.stages[index].bias);
                }
                if given == Given::Activations {
                    self.stage_adjoint::<S, VP, false>(net, index, cotangents);
                } else {
                    self.stage_adjoint::<S, VP, true>(net, index, cotangents);
                }
            }
            match rows {
                None => self.first_box_backward::<S, VP>(net, cotangents, accumulator, sums),
                Some(rows) => self.backward_ball::<S, VP>(net, region, count, rows, cotangents, accumulator, sums),
            }
        }
    }

    /// Where the cotangents of a stage's pre-activations go, given those of its activations.
    fn masked<const ADD: bool>(&self, cotangents: &mut IntervalCotangents, index: usize) -> IntervalMasked<ADD> {
        IntervalMasked {
            center: self.center[index + 1].as_ptr(),
            radius: self.radius[index + 1].as_ptr(),
            g_value: cotangents.lower[index].as_mut_ptr(),
            g_reach: cotangents.upper[index].as_mut_ptr(),
            bias: cotangents.bias.as_mut_ptr(),
        }
    }

    /// The last bounded stage's cotangents, from its ends if `ADD` and from its activations if `activations`.
    unsafe fn last_adjoint<S: Lanes, const VP: usize, const ADD: bool>(
        &self,
        net: &Net<'_>,
        index: usize,
        cotangents: &mut IntervalCotangents,
        activations: bool,
    ) {
        let grid = net.plan.stages[index].output;
        cotangents.clear_bias(grid.c);
        let targets = self.masked::<ADD>(cotangents, index);
        let [center, radius] = [cotangents.center.as_ptr(), cotangents.radius.as_ptr()];
        // SAFETY: passed on from the caller.
        unsafe {
            S::run(|| {
                for position in 0..grid.positions() {
                    let at = position * grid.c * VP * WIDTH;
                    for c in 0..grid.c {
                        let mut g = [[S::zero(); VP]; 2];
                        if activations {
                            for v in 0..VP {
                                let place = at + (c * VP + v) * WIDTH;
                                (g[0][v], g[1][v]) = (S::load(center.add(place)), S::load(radius.add(place)));
                            }
                        }
                        Finish::<S, 2, VP>::finish(targets.at(at), c, g);
                    }
                }
            });
        }
    }

    /// From the cotangents of stage `index` to those of the stage before.
    unsafe fn stage_adjoint<S: Lanes, const VP: usize, const ADD: bool>(
        &self,
        net: &Net<'_>,
        index: usize,
        cotangents: &mut IntervalCotangents,
    ) {
        let stage = &net.plan.stages[index];
        let grid = stage.input;
        cotangents.clear_bias(grid.c);
        let targets = self.masked::<ADD>(cotangents, index - 1);
        let weights = [&net.weights.signed[index], &net.weights.absolute[index]].map(|w| w.transposed.as_ptr());
        let from = [cotangents.lower[index].as_ptr(), cotangents.upper[index].as_ptr()];
        for y in 0..grid.h {
            for x in 0..grid.w {
                let (span, output, weight) = net.taps[index].transpose(stage, VP, [y, x]);
                // SAFETY: the span stays in the maps.
                unsafe {
                    let weights = Packed(weights.map(|w| w.add(weight)));
                    let finish = targets.at((y * grid.w + x) * grid.c * VP * WIDTH);
                    product::<S, _, _, 2, VP>(&span, from.map(|map| map.add(output)), weights, [0, grid.c], finish);
                }
            }
        }
    }

    /// The first stage over a box: cotangents on W c + b and |W| r to the weights and the region.
    ///
    /// # Safety
    /// As [`Interval::backward`].
    pub unsafe fn first_box_backward<S: Lanes, const VP: usize>(
        &self,
        net: &Net<'_>,
        cotangents: &mut IntervalCotangents,
        accumulator: Option<&mut Accumulator>,
        sums: Option<&mut RegionSums<'_>>,
    ) {
        let stage = &net.plan.stages[0];
        let window = Window::all(stage.output);
        let maps = [cotangents.lower[0].as_ptr(), cotangents.upper[0].as_ptr()];
        let right = self.inputs(net, 0);
        // SAFETY: the caller's word, as in `backward`.
        unsafe {
            if let Some(accumulator) = accumulator {
                accumulator.add::<S>(stage, 0, Of::Signed, VP, Field { data: maps[0], window }, right[0]);
                accumulator.add::<S>(stage, 0, Of::Absolute, VP, Field { data: maps[1], window }, right[1]);
                sum_lanes::<S>(&cotangents.bias, &mut accumulator.sums.stages[0].bias);
            }
            if let Some(sums) = sums {
                let parts = [
                    (&net.weights.signed[0], maps[0], Normalise::Point, &mut *sums.center),
                    (&net.weights.absolute[0], maps[1], Normalise::Radius, &mut *sums.radius),
                ];
                for (weights, map, how, target) in parts {
                    net.input_cotangents::<S, VP>(weights, map, &mut cotangents.pixels, how, target);
                }
            }
        }
    }
}

impl IntervalCotangents {
    /// Zeros for the lanes of `channels` biases.
    pub fn clear_bias(&mut self, channels: usize) {
        self.bias.at_least(channels * WIDTH)[..channels * WIDTH].fill(0.0);
    }
}
