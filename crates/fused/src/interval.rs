//! The interval domain (IBP, Gowal et al. 2018), sixteen or thirty-two images in lanes.
//!
//! Affine: c' = W c + b, r' = |W| r. ReLU: both ends clamped at 0. The first stage is exact for every
//! region; back-substitution starts from it, so all methods run this pass at least that far.

use tightrope_engine::Region;

use crate::accumulate::{Accumulator, Of};
use crate::ball::BallRows;
use crate::block::Segment;
use crate::buffer::Buffer;
use crate::clean::SLACK;
use crate::geometry::Field;
use crate::lanes::{Lanes, WIDTH};
use crate::net::{Net, Normalise, load_images, store_cotangents, sum_channels};
use crate::plan::Window;

/// Interval bounds of one chunk of images.
#[derive(Default)]
pub struct Interval {
    /// Centre and radius of each stage's input, `[position][channel][VP][16]`.
    pub center: Vec<Buffer>,
    pub radius: Vec<Buffer>,
    /// Bounds of each hidden stage's output, the pre-activations.
    pub lower: Vec<Buffer>,
    pub upper: Vec<Buffer>,
    /// Ball centres, where the region is a ball.
    ball: Buffer,
    /// One position's centre, radius and ball value, before the bias.
    scratch: [Buffer; 3],
    segments: Vec<Segment>,
}

// SAFETY: segments are rebuilt before every use; between calls their pointers are only stale numbers.
unsafe impl Send for Interval {}

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
    work: [Buffer; 2],
    segments: Vec<Segment>,
}

// SAFETY: as for `Interval`.
unsafe impl Send for IntervalCotangents {}

/// Per-image sums for the region's gradient, `[count, d]` each, added to.
pub struct RegionSums<'a> {
    pub center: &'a mut [f32],
    pub radius: &'a mut [f32],
}

impl Interval {
    /// Bounds the first `depth` ≥ 1 stages, which must be hidden ones, for `count` ≤ 16·VP images of `region` from
    /// `first` on.
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
        let epsilon = region.ball.as_ref().map_or(0.0, |ball| ball.epsilon);
        for index in 0..depth {
            let stage = &net.plan.stages[index];
            let position = stage.output.c * VP * WIDTH;
            let total = stage.output.positions() * position + SLACK;
            self.lower[index].at_least(total);
            self.upper[index].at_least(total);
            self.center[index + 1].at_least(total);
            self.radius[index + 1].at_least(total);
            for y in 0..stage.output.h {
                for x in 0..stage.output.w {
                    let place = y * stage.output.w + x;
                    // SAFETY: the position lies in the maps.
                    unsafe {
                        if index == 0 && rows.is_some() {
                            self.first_ball::<S, VP>(net, rows, region.clipped, epsilon, [y, x]);
                        } else {
                            self.bound_at::<S, VP>(net, index, [y, x]);
                        }
                        let at = place * position;
                        S::run(|| {
                            rectify::<S>(
                                self.lower[index].as_ptr().add(at),
                                self.upper[index].as_ptr().add(at),
                                self.center[index + 1].as_mut_ptr().add(at),
                                self.radius[index + 1].as_mut_ptr().add(at),
                                stage.output.c * VP,
                            );
                        });
                    }
                }
            }
        }
    }

    fn inputs(&self, net: &Net<'_>, index: usize) -> [Field; 2] {
        let [h, w] = net.plan.stages[index].input_side();
        let window = Window { y: 0, x: 0, h, w };
        [Field { data: self.center[index].as_ptr(), window }, Field { data: self.radius[index].as_ptr(), window }]
    }

    /// lower, upper = W c + b ∓ |W| r at one position.
    unsafe fn bound_at<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, index: usize, [y, x]: [usize; 2]) {
        let stage = &net.plan.stages[index];
        let size = stage.output.c * VP * WIDTH;
        let [center, radius] = self.inputs(net, index);
        let at = (y * stage.output.w + x) * size;
        // SAFETY: `forward` sized the buffers.
        unsafe {
            let lower = self.lower[index].as_mut_ptr().add(at);
            let upper = self.upper[index].as_mut_ptr().add(at);
            let (signed, absolute) = (&net.weights.signed[index], &net.weights.absolute[index]);
            net.apply_at::<S, VP>(index, signed, center, [y, x], lower, &mut self.segments);
            net.apply_at::<S, VP>(index, absolute, radius, [y, x], upper, &mut self.segments);
            S::run(|| {
                for c in 0..stage.output.c {
                    let bias = S::splat(signed.bias[c]);
                    for v in 0..VP {
                        let place = (c * VP + v) * WIDTH;
                        let center = S::add(S::load(lower.add(place)), bias);
                        let radius = S::load(upper.add(place));
                        S::store(lower.add(place), S::sub(center, radius));
                        S::store(upper.add(place), S::add(center, radius));
                    }
                }
            });
        }
    }

    /// The first stage over a ball, met with the box where the ball is clipped.
    unsafe fn first_ball<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        rows: Option<&BallRows>,
        clipped: bool,
        epsilon: f32,
        [y, x]: [usize; 2],
    ) {
        let stage = &net.plan.stages[0];
        let size = stage.output.c * VP * WIDTH;
        let index = (y * stage.output.w + x) * stage.output.c;
        let [boxed, _] = self.inputs(net, 0);
        let center = Field { data: self.ball.as_ptr(), ..boxed };
        // SAFETY: `forward` sized the buffers.
        unsafe {
            let ball = self.scratch[2].at_least(size).as_mut_ptr();
            net.apply_at::<S, VP>(0, &net.weights.signed[0], center, [y, x], ball, &mut self.segments);
            if clipped {
                self.bound_at::<S, VP>(net, 0, [y, x]);
            }
            let lower = self.lower[0].as_mut_ptr().add(index * VP * WIDTH);
            let upper = self.upper[0].as_mut_ptr().add(index * VP * WIDTH);
            let norms = rows.map_or(&[][..], |rows| &rows.norms[index..]);
            S::run(|| {
                for c in 0..stage.output.c {
                    let bias = S::splat(net.weights.signed[0].bias[c]);
                    let radius = S::splat(epsilon * norms[c]);
                    for v in 0..VP {
                        let place = (c * VP + v) * WIDTH;
                        let value = S::add(S::load(ball.add(place)), bias);
                        let (mut low, mut high) = (S::sub(value, radius), S::add(value, radius));
                        if clipped {
                            low = S::max(low, S::load(lower.add(place)));
                            high = S::min(high, S::load(upper.add(place)));
                        }
                        S::store(lower.add(place), low);
                        S::store(upper.add(place), high);
                    }
                }
            });
        }
    }

    /// Pulls cotangents on the bounds of the first `depth` stages back to the weights and the region.
    ///
    /// # Safety
    /// The machine has `S`; `self` holds the forward pass of the same images.
    pub unsafe fn backward<S: Lanes, const VP: usize>(
        &mut self,
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
        let [mut g_center, mut g_radius] = std::mem::take(&mut cotangents.work);
        // Cotangents on centre and radius of the stage above's input, if any.
        let mut above: Option<(*const f32, *const f32)> =
            (given != Given::Bounds).then_some((cotangents.center.as_ptr(), cotangents.radius.as_ptr()));
        for index in (0..depth).rev() {
            let stage = &net.plan.stages[index];
            let vectors = stage.output.len() * VP;
            let (lower, upper) = (cotangents.lower[index].as_mut_ptr(), cotangents.upper[index].as_mut_ptr());
            // SAFETY: all buffers hold the stage's map; the machine is the caller's word.
            unsafe {
                if let Some((center, radius)) = above {
                    let (l, u) = (self.lower[index].as_ptr(), self.upper[index].as_ptr());
                    let overwrite = given == Given::Activations;
                    S::run(|| rectify_adjoint::<S>(l, u, center, radius, lower, upper, vectors, overwrite));
                }
                if index == 0 {
                    break;
                }
                // From the ends to centre and radius, in place.
                S::run(|| ends_adjoint::<S>(lower, upper, vectors));
                let window = Window::all(stage.output);
                let left = [Field { data: lower, window }, Field { data: upper, window }];
                if let Some(accumulator) = accumulator.as_deref_mut() {
                    let right = self.inputs(net, index);
                    accumulator.add::<S>(stage, index, Of::Signed, VP, left[0], right[0]);
                    accumulator.add::<S>(stage, index, Of::Absolute, VP, left[1], right[1]);
                    let bias = &mut accumulator.sums.stages[index].bias;
                    sum_channels::<S, VP>(lower, stage.output.positions(), stage.output.c, bias);
                }
                let size = stage.input.c * VP * WIDTH;
                let total = stage.input.positions() * size + SLACK;
                let targets = [g_center.at_least(total).as_mut_ptr(), g_radius.at_least(total).as_mut_ptr()];
                for y in 0..stage.input.h {
                    for x in 0..stage.input.w {
                        let place = (y * stage.input.w + x) * size;
                        let weights = [&net.weights.signed[index], &net.weights.absolute[index]];
                        for part in 0..2 {
                            let target = targets[part].add(place);
                            let segments = &mut cotangents.segments;
                            net.transpose_at::<S, VP>(index, weights[part], left[part], [y, x], target, segments);
                        }
                    }
                }
                above = Some((targets[0], targets[1]));
            }
        }
        // SAFETY: as above.
        unsafe {
            match rows {
                None => self.first_box_backward::<S, VP>(net, cotangents, accumulator, sums),
                Some(rows) => {
                    self.first_ball_backward::<S, VP>(net, region, count, rows, cotangents, accumulator, sums)
                }
            }
        }
        cotangents.work = [g_center, g_radius];
    }

    unsafe fn first_box_backward<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        cotangents: &mut IntervalCotangents,
        accumulator: Option<&mut Accumulator>,
        sums: Option<&mut RegionSums<'_>>,
    ) {
        let stage = &net.plan.stages[0];
        let (lower, upper) = (cotangents.lower[0].as_mut_ptr(), cotangents.upper[0].as_mut_ptr());
        let window = Window::all(stage.output);
        let left = [Field { data: lower, window }, Field { data: upper, window }];
        let right = self.inputs(net, 0);
        // SAFETY: the caller's word, as in `backward`.
        unsafe {
            S::run(|| ends_adjoint::<S>(lower, upper, stage.output.len() * VP));
            if let Some(accumulator) = accumulator {
                accumulator.add::<S>(stage, 0, Of::Signed, VP, left[0], right[0]);
                accumulator.add::<S>(stage, 0, Of::Absolute, VP, left[1], right[1]);
                let bias = &mut accumulator.sums.stages[0].bias;
                sum_channels::<S, VP>(lower, stage.output.positions(), stage.output.c, bias);
            }
            if let Some(sums) = sums {
                let size = net.input_len(0) * VP * WIDTH;
                let parts = [
                    (&net.weights.signed[0], lower, Normalise::Point, &mut *sums.center),
                    (&net.weights.absolute[0], upper, Normalise::Radius, &mut *sums.radius),
                ];
                for (weights, source, how, target) in parts {
                    let pixels = self.scratch[0].at_least(size);
                    pixels[..size].fill(0.0);
                    net.scatter_patches::<S, VP>(weights, source, pixels.as_mut_ptr());
                    store_cotangents(net, pixels, VP, how, target);
                }
            }
        }
    }

    unsafe fn first_ball_backward<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        region: &Region<f32>,
        count: usize,
        rows: &BallRows,
        cotangents: &mut IntervalCotangents,
        mut accumulator: Option<&mut Accumulator>,
        mut sums: Option<&mut RegionSums<'_>>,
    ) {
        let stage = &net.plan.stages[0];
        let total = stage.output.len() * VP * WIDTH;
        let epsilon = region.ball.as_ref().map_or(0.0, |ball| ball.epsilon);
        // Cotangents that belong to the ball's bounds; those of the box's stay where they are.
        let mut low = Buffer::zeroed(total + SLACK);
        let mut high = Buffer::zeroed(total + SLACK);
        if region.clipped {
            let (mut kept_low, mut kept_high) = (Buffer::zeroed(total), Buffer::zeroed(total));
            kept_low[..total].copy_from_slice(&self.lower[0][..total]);
            kept_high[..total].copy_from_slice(&self.upper[0][..total]);
            for y in 0..stage.output.h {
                for x in 0..stage.output.w {
                    // SAFETY: the position lies in the map. Afterwards `lower`/`upper` hold the box's own bounds.
                    unsafe { self.bound_at::<S, VP>(net, 0, [y, x]) };
                }
            }
            for i in 0..total {
                // The box gave the bound only where it is strictly better than the ball.
                let ball = self.ball_value(net, rows, epsilon, i, VP);
                if ball[0] >= self.lower[0][i] {
                    low[i] = std::mem::take(&mut cotangents.lower[0][i]);
                }
                if ball[1] <= self.upper[0][i] {
                    high[i] = std::mem::take(&mut cotangents.upper[0][i]);
                }
            }
            self.lower[0][..total].copy_from_slice(&kept_low[..total]);
            self.upper[0][..total].copy_from_slice(&kept_high[..total]);
            // SAFETY: as in `backward`.
            unsafe {
                self.first_box_backward::<S, VP>(net, cotangents, accumulator.as_deref_mut(), sums.as_deref_mut());
            }
        } else {
            low[..total].copy_from_slice(&cotangents.lower[0][..total]);
            high[..total].copy_from_slice(&cotangents.upper[0][..total]);
        }
        let d = net.plan.dimension;
        let mut on_norm = vec![0.0; stage.output.len()];
        for (element, on_norm) in on_norm.iter_mut().enumerate() {
            for image in 0..count {
                let i = element * VP * WIDTH + image;
                let g = high[i] - low[i];
                *on_norm += g;
                if let Some(sums) = sums.as_deref_mut() {
                    sums.radius[image * d] += g * rows.norms[element];
                }
            }
        }
        let window = Window::all(stage.output);
        let right = Field { data: self.ball.as_ptr(), window: self.inputs(net, 0)[0].window };
        // SAFETY: as in `backward`.
        unsafe {
            S::run(|| ends_adjoint::<S>(low.as_mut_ptr(), high.as_mut_ptr(), stage.output.len() * VP));
            if let Some(accumulator) = accumulator {
                let left = Field { data: low.as_ptr(), window };
                accumulator.add::<S>(stage, 0, Of::Signed, VP, left, right);
                let gradient = &mut accumulator.sums.stages[0];
                rows.add_gradient(net, epsilon, &on_norm, &mut gradient.signed);
                sum_channels::<S, VP>(low.as_ptr(), stage.output.positions(), stage.output.c, &mut gradient.bias);
            }
            if let Some(sums) = sums {
                let size = net.input_len(0) * VP * WIDTH;
                let pixels = self.scratch[0].at_least(size);
                pixels[..size].fill(0.0);
                net.scatter_patches::<S, VP>(&net.weights.signed[0], low.as_ptr(), pixels.as_mut_ptr());
                store_cotangents(net, pixels, VP, Normalise::Point, sums.center);
            }
        }
    }

    /// Bounds of one first-stage output over the ball alone, recomputed for one lane.
    fn ball_value(&self, net: &Net<'_>, rows: &BallRows, epsilon: f32, i: usize, vp: usize) -> [f32; 2] {
        let stage = &net.plan.stages[0];
        let (element, inner) = (i / (vp * WIDTH), i % (vp * WIDTH));
        let (position, channel) = (element / stage.output.c, element % stage.output.c);
        let row = stage.input_side()[1];
        let (y, x) = (position / stage.output.w * stage.stride[0], position % stage.output.w * stage.stride[1]);
        let corner = (y * row + x) * stage.input.c;
        let stride = crate::weights::padded(stage.output.c);
        let mut value = net.weights.signed[0].bias[channel];
        for (e, offset) in crate::geometry::patch_offsets(stage, row).into_iter().enumerate() {
            let place = (corner + offset as usize) * vp * WIDTH + inner;
            value += net.weights.signed[0].forward[e * stride + channel] * self.ball[place];
        }
        let radius = epsilon * rows.norms[element];
        [value - radius, value + radius]
    }
}

/// Centre and radius of max(0, [l, u]).
#[inline(always)]
unsafe fn rectify<S: Lanes>(lower: *const f32, upper: *const f32, center: *mut f32, radius: *mut f32, vectors: usize) {
    // SAFETY: the caller gives four maps of `vectors` aligned vectors.
    unsafe {
        let half = S::splat(0.5);
        for i in (0..vectors * WIDTH).step_by(WIDTH) {
            let l = S::max(S::zero(), S::load(lower.add(i)));
            let u = S::max(S::zero(), S::load(upper.add(i)));
            S::store(center.add(i), S::mul(S::add(l, u), half));
            S::store(radius.add(i), S::mul(S::sub(u, l), half));
        }
    }
}

/// Adds the cotangents on centre and radius of the activation to those on the pre-activation's ends, or overwrites these.
#[inline(always)]
unsafe fn rectify_adjoint<S: Lanes>(
    lower: *const f32,
    upper: *const f32,
    g_center: *const f32,
    g_radius: *const f32,
    g_lower: *mut f32,
    g_upper: *mut f32,
    vectors: usize,
    overwrite: bool,
) {
    // SAFETY: the caller gives six maps of `vectors` aligned vectors.
    unsafe {
        let half = S::splat(0.5);
        for i in (0..vectors * WIDTH).step_by(WIDTH) {
            let (c, r) = (S::load(g_center.add(i)), S::load(g_radius.add(i)));
            let low = S::mul(S::sub(c, r), half);
            let high = S::mul(S::add(c, r), half);
            let low = S::where_positive(S::load(lower.add(i)), low, S::zero());
            let high = S::where_positive(S::load(upper.add(i)), high, S::zero());
            let (low, high) = if overwrite {
                (low, high)
            } else {
                (S::add(S::load(g_lower.add(i)), low), S::add(S::load(g_upper.add(i)), high))
            };
            S::store(g_lower.add(i), low);
            S::store(g_upper.add(i), high);
        }
    }
}

/// (g_l, g_u) to (g_c, g_r) = (g_l + g_u, g_u − g_l), in place.
#[inline(always)]
unsafe fn ends_adjoint<S: Lanes>(lower: *mut f32, upper: *mut f32, vectors: usize) {
    // SAFETY: the caller gives two maps of `vectors` aligned vectors.
    unsafe {
        for i in (0..vectors * WIDTH).step_by(WIDTH) {
            let (l, u) = (S::load(lower.add(i)), S::load(upper.add(i)));
            S::store(lower.add(i), S::add(l, u));
            S::store(upper.add(i), S::sub(u, l));
        }
    }
}
