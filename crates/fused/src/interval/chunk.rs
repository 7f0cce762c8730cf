//! The interval domain (IBP, Gowal et al. 2018), sixteen or thirty-two images in lanes.
//!
//! Affine: c' = W c + b, r' = |W| r. ReLU: both ends clamped at 0, the upper one shrunk if asked. The first stage is exact
//! for every region; back-substitution starts from it, so all methods run this pass at least that far.

use std::ops::Range;

use tightrope_engine::Region;

use crate::interval::ball_rows::BallRows;
use crate::kernels::finish::{Ends, IntervalMasked, Rectified};
use crate::kernels::product::{Finish, Maps, Panels};
use crate::net::Net;
use crate::net::accumulate::{Accumulator, Of, sum_lanes};
use crate::net::geometry::Field;
use crate::net::images::{Normalise, load_images};
use crate::net::plan::{Grid, Window};
use crate::net::sweep;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

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
    ball: Buffer,
    /// Maps of the box's centre and radius and the ball's centre that the first stage reads: this pass's own, or those
    /// shared by the members of a population.
    images: [Address; 3],
    /// Factor of the upper ends of unstable ReLUs; images loaded or shared set it to 1.
    pub shrinkage: f32,
}

/// The address of a map; whoever loads or shares images sets it anew.
#[derive(Clone, Copy)]
struct Address(*const f32);

impl Default for Address {
    fn default() -> Self {
        Address(std::ptr::null())
    }
}

// SAFETY: only a number until the unsafe functions that read it, whose callers vouch for the images.
unsafe impl Send for Address {}
unsafe impl Sync for Address {}

/// Which cotangents an interval pass starts its adjoint with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum GivenCotangents {
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
    /// On one stage's biases, `[band][channel][16]`.
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
    /// `first` on, and stores the pre-activations' ends.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn forward<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        region: &Region<f32>,
        place: [usize; 2],
        rows: Option<&BallRows>,
        depth: usize,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            self.load::<S, VP>(net, region, place, depth, true);
            self.bound::<S, VP>(net, region, rows, 0..depth, true);
        }
    }

    /// Loads the images and makes room for `depth` stages, with the pre-activations' ends if `ends`.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn load<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        region: &Region<f32>,
        [first, count]: [usize; 2],
        depth: usize,
        ends: bool,
    ) {
        self.make_room(net, region, VP, depth, ends);
        let d = net.plan.dimension;
        let images = first * d..(first + count) * d;
        let size = net.input_len(0) * VP * WIDTH + SLACK;
        let (center, radius) = (self.center[0].at_least(size), self.radius[0].at_least(size));
        // SAFETY: the buffers hold the map; the machine is the caller's word.
        unsafe {
            load_images::<S, VP>(net, &region.center[images.clone()], Normalise::Point, center);
            load_images::<S, VP>(net, &region.radius[images.clone()], Normalise::Radius, radius);
            if let Some(ball) = &region.ball {
                load_images::<S, VP>(net, &ball.center[images], Normalise::Point, self.ball.at_least(size));
            }
        }
        self.images = [&self.center[0], &self.radius[0], &self.ball].map(|map| Address(map.as_ptr()));
    }

    /// As [`Interval::load`], but with the images that `loaded` has, which must stay where they are.
    pub fn share(&mut self, net: &Net<'_>, loaded: &Interval, region: &Region<f32>, vp: usize, depth: usize) {
        self.make_room(net, region, vp, depth, false);
        self.images = loaded.images;
    }

    fn make_room(&mut self, net: &Net<'_>, region: &Region<f32>, vp: usize, depth: usize, ends: bool) {
        self.shrinkage = 1.0;
        for list in [&mut self.center, &mut self.radius, &mut self.lower, &mut self.upper] {
            list.resize_with(depth + 1, Buffer::default);
        }
        for (index, stage) in net.plan.stages[..depth].iter().enumerate() {
            let total = stage.output.len() * vp * WIDTH + SLACK;
            self.center[index + 1].at_least(total);
            self.radius[index + 1].at_least(total);
            if ends || (index == 0 && region.ball.is_some()) {
                self.lower[index].at_least(total);
                self.upper[index].at_least(total);
            }
        }
    }

    /// Centre and radius of a stage's input.
    fn input(&self, index: usize) -> [*const f32; 2] {
        if index == 0 {
            return [self.images[0].0, self.images[1].0];
        }
        [self.center[index].as_ptr(), self.radius[index].as_ptr()]
    }

    /// The balls' centres.
    pub fn ball(&self) -> *const f32 {
        self.images[2].0
    }

    /// Bounds `stages`; stores the pre-activations' ends if `ends`.
    ///
    /// # Safety
    /// The machine has `S`; the images are loaded, the stages before bounded.
    pub unsafe fn bound<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        region: &Region<f32>,
        rows: Option<&BallRows>,
        stages: Range<usize>,
        ends: bool,
    ) {
        for index in stages {
            // SAFETY: the maps are sized.
            unsafe {
                match rows {
                    Some(rows) if index == 0 => self.forward_ball::<S, VP>(net, rows, region),
                    _ if ends => {
                        let finish = self.maps::<true>(net, index).finish;
                        self.each_position::<S, _, VP>(net, index, finish);
                    }
                    _ => {
                        let finish = self.maps::<false>(net, index).finish;
                        self.each_position::<S, _, VP>(net, index, finish);
                    }
                }
            }
        }
    }

    /// Inputs of a stage and the maps that its bounds go to.
    pub fn maps<const ENDS: bool>(&mut self, net: &Net<'_>, index: usize) -> Maps<Rectified<ENDS>, 2> {
        let (lower, upper) = (self.lower[index].as_mut_ptr(), self.upper[index].as_mut_ptr());
        let bias = net.weights.signed[index].bias.as_ptr();
        let ends = Ends { channels: net.plan.stages[index].output.c, bias, lower, upper };
        let (center, radius) = (self.center[index + 1].as_mut_ptr(), self.radius[index + 1].as_mut_ptr());
        Maps { inputs: self.input(index), finish: Rectified { ends, center, radius, shrinkage: self.shrinkage } }
    }

    /// Finishes W c and |W| r at every position of a stage's output.
    ///
    /// # Safety
    /// The machine has `S`; the maps hold the stage.
    pub unsafe fn each_position<S: Lanes, F: Finish<S, 2, VP>, const VP: usize>(
        &self,
        net: &Net<'_>,
        index: usize,
        finish: F,
    ) {
        let stage = &net.plan.stages[index];
        let weights = Panels { data: net.weights.signed[index].apply.as_ptr(), rows: stage.taps() * stage.input.c };
        let inputs = self.input(index);
        // SAFETY: passed on from the caller.
        unsafe { sweep::apply::<S, _, F, 2, VP>(net, index, weights, Maps { inputs, finish }) }
    }

    /// The fields of a stage's inputs.
    pub fn inputs(&self, net: &Net<'_>, index: usize) -> [Field; 2] {
        let [h, w] = net.plan.stages[index].input_side();
        let window = Window { y: 0, x: 0, h, w };
        self.input(index).map(|data| Field { data, window })
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
        given: GivenCotangents,
        accumulator: Option<&mut Accumulator>,
        sums: Option<&mut RegionSums<'_>>,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            self.last_adjoint::<S, VP>(net, depth - 1, cotangents, given);
            self.pull_back::<S, VP>(net, region, count, rows, 0..depth, cotangents, given, accumulator, sums);
        }
    }

    /// The same for cotangents on W c + b and |W| r of the last of `stages`; to those of the stage before the first.
    ///
    /// # Safety
    /// As [`Interval::backward`].
    pub unsafe fn pull_back<S: Lanes, const VP: usize>(
        &self,
        net: &Net<'_>,
        region: &Region<f32>,
        count: usize,
        rows: Option<&BallRows>,
        stages: Range<usize>,
        cotangents: &mut IntervalCotangents,
        given: GivenCotangents,
        mut accumulator: Option<&mut Accumulator>,
        mut sums: Option<&mut RegionSums<'_>>,
    ) {
        for index in stages.rev() {
            let (accumulator, sums) = (accumulator.as_deref_mut(), sums.as_deref_mut());
            // SAFETY: all buffers hold the stages' maps; the machine is the caller's word.
            unsafe {
                match rows {
                    Some(rows) if index == 0 => {
                        self.backward_ball::<S, VP>(net, region, count, rows, cotangents, accumulator, sums);
                    }
                    _ if index == 0 => self.first_box_backward::<S, VP>(net, cotangents, accumulator, sums),
                    _ => {
                        self.add_gradient::<S>(net, index, VP, cotangents, accumulator);
                        if given == GivenCotangents::Activations {
                            let maps = self.adjoint_maps::<false>(net, index, cotangents);
                            sweep::transpose::<S, _, 2, VP>(net, index, maps);
                        } else {
                            let maps = self.adjoint_maps::<true>(net, index, cotangents);
                            sweep::transpose::<S, _, 2, VP>(net, index, maps);
                        }
                    }
                }
            }
        }
    }

    /// Adds the gradient of a stage's parameters.
    unsafe fn add_gradient<S: Lanes>(
        &self,
        net: &Net<'_>,
        index: usize,
        vp: usize,
        cotangents: &IntervalCotangents,
        accumulator: Option<&mut Accumulator>,
    ) {
        let Some(accumulator) = accumulator else { return };
        let (stage, right) = (&net.plan.stages[index], self.inputs(net, index));
        let window = Window::all(stage.output);
        let [value, reach] = cotangents.output(index).map(|data| Field { data, window });
        // SAFETY: maps are whole and have slack.
        unsafe {
            accumulator.add::<S>(stage, index, Of::Signed, vp, value, right[0]);
            accumulator.add::<S>(stage, index, Of::Absolute, vp, reach, right[1]);
            cotangents.add_bias::<S>(net, index, &mut accumulator.sums.stages[index].bias);
        }
    }

    /// Cotangents on the output of stage `index` and where those of the stage before go.
    pub fn adjoint_maps<const ADD: bool>(
        &self,
        net: &Net<'_>,
        index: usize,
        cotangents: &mut IntervalCotangents,
    ) -> Maps<IntervalMasked<ADD>, 2> {
        let inputs = cotangents.output(index);
        Maps { inputs, finish: self.masked(net, cotangents, index - 1) }
    }

    /// Where the cotangents of a stage's pre-activations go, given those of its activations.
    fn masked<const ADD: bool>(
        &self,
        net: &Net<'_>,
        cotangents: &mut IntervalCotangents,
        index: usize,
    ) -> IntervalMasked<ADD> {
        let channels = net.plan.stages[index].output.c;
        let lanes = net.bands * channels * WIDTH;
        cotangents.bias.at_least(lanes)[..lanes].fill(0.0);
        IntervalMasked {
            channels,
            center: self.center[index + 1].as_ptr(),
            radius: self.radius[index + 1].as_ptr(),
            g_value: cotangents.lower[index].as_mut_ptr(),
            g_reach: cotangents.upper[index].as_mut_ptr(),
            bias: cotangents.bias.as_mut_ptr(),
            shrinkage: self.shrinkage,
        }
    }

    /// The last bounded stage's cotangents, from what is given to those on W c + b and |W| r.
    ///
    /// # Safety
    /// As [`Interval::backward`].
    pub unsafe fn last_adjoint<S: Lanes, const VP: usize>(
        &self,
        net: &Net<'_>,
        index: usize,
        cotangents: &mut IntervalCotangents,
        given: GivenCotangents,
    ) {
        let grid = net.plan.stages[index].output;
        // SAFETY: passed on from the caller.
        unsafe {
            if given == GivenCotangents::Activations {
                let finish = self.masked::<false>(net, cotangents, index);
                S::run(|| each_element::<S, _, VP>(grid, Some([&cotangents.center, &cotangents.radius]), finish));
                return;
            }
            let finish = self.masked::<true>(net, cotangents, index);
            let activations = (given == GivenCotangents::Both).then_some([&cotangents.center, &cotangents.radius]);
            S::run(|| each_element::<S, _, VP>(grid, activations, finish));
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
        // SAFETY: the caller's word, as in `backward`.
        unsafe {
            self.add_gradient::<S>(net, 0, VP, cotangents, accumulator);
            let Some(sums) = sums else { return };
            let [value, reach] = cotangents.output(0);
            let (pixels, weights) = (&mut cotangents.pixels, net.weights);
            net.input_cotangents::<S, VP>(&weights.signed[0].patch, value, pixels, Normalise::Point, sums.center);
            net.input_cotangents::<S, VP>(&weights.absolute_patch, reach, pixels, Normalise::Radius, sums.radius);
        }
    }
}

impl IntervalCotangents {
    /// Makes room for `depth` stages.
    pub fn resize(&mut self, net: &Net<'_>, depth: usize, vp: usize) {
        let count = depth.max(self.lower.len());
        self.lower.resize_with(count, Buffer::default);
        self.upper.resize_with(count, Buffer::default);
        for (index, stage) in net.plan.stages[..depth].iter().enumerate() {
            let size = stage.output.len() * vp * WIDTH + SLACK;
            self.lower[index].at_least(size);
            self.upper[index].at_least(size);
        }
    }

    /// Those on W c + b and |W| r of a stage, once they are known.
    pub fn output(&self, index: usize) -> [*const f32; 2] {
        [self.lower[index].as_ptr(), self.upper[index].as_ptr()]
    }

    /// Adds the gradient of a stage's bias to `target`.
    ///
    /// # Safety
    /// The machine has `S`; the stage's cotangents were the last ones found.
    pub unsafe fn add_bias<S: Lanes>(&self, net: &Net<'_>, index: usize, target: &mut [f32]) {
        // SAFETY: the lanes hold all bands.
        unsafe { sum_lanes::<S>(&self.bias, net.bands, net.plan.stages[index].output.c, target) }
    }
}

/// Gives `finish` every element's values in two maps, or zeros.
#[inline(always)]
unsafe fn each_element<S: Lanes, F: Finish<S, 2, VP>, const VP: usize>(
    grid: Grid,
    maps: Option<[&Buffer; 2]>,
    finish: F,
) {
    for position in 0..grid.positions() {
        for c in 0..grid.c {
            // SAFETY: the maps hold the grid.
            unsafe {
                let mut values = [[S::zero(); VP]; 2];
                for (values, map) in values.iter_mut().zip(maps.iter().flatten()) {
                    for v in 0..VP {
                        values[v] = S::load(map.as_ptr().add(((position * grid.c + c) * VP + v) * WIDTH));
                    }
                }
                finish.finish(position, c, values);
            }
        }
    }
}
