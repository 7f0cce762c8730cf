//! The interval domain's first stage over ℓ2 and ℓ1 balls, met with the box where the ball is clipped.

use tightrope_engine::Region;

use crate::interval::ball_rows::BallRows;
use crate::interval::chunk::{Interval, IntervalCotangents, RegionSums};
use crate::kernels::finish::{Ends, RectifiedBall};
use crate::kernels::product::Maps;
use crate::net::Net;
use crate::net::accumulate::{Accumulator, Of, sum_channels};
use crate::net::dense::Columns;
use crate::net::geometry::{Field, patch_offsets};
use crate::net::images::Normalise;
use crate::net::plan::Window;
use crate::net::sweep;
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

impl Interval {
    /// Bounds the first stage.
    ///
    /// # Safety
    /// The machine has `S`; the maps are sized and the images loaded.
    pub unsafe fn forward_ball<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        rows: &BallRows,
        region: &Region<f32>,
    ) {
        let stage = &net.plan.stages[0];
        let epsilon = region.ball.as_ref().map_or(0.0, |ball| ball.epsilon);
        let rectified = self.maps::<true>(net, 0).finish;
        let weights = Columns { data: net.weights.signed[0].forward.as_ptr(), next: padded(stage.output.c) };
        let finish = RectifiedBall { rectified, norms: rows.norms.as_ptr(), epsilon, clipped: region.clipped };
        // SAFETY: the maps hold the stage.
        unsafe {
            if region.clipped {
                self.each_position::<S, _, VP>(net, 0, rectified.ends);
            }
            sweep::apply::<S, _, _, 1, VP>(net, 0, weights, Maps { inputs: [self.ball()], finish });
        }
    }

    /// The adjoint, for cotangents on W c + b and |W| r of the bounds that [`Interval::forward_ball`] found.
    ///
    /// # Safety
    /// As [`Interval::backward`].
    pub unsafe fn backward_ball<S: Lanes, const VP: usize>(
        &self,
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
        // Cotangents on the ends that the ball gave, as those on value and reach; the box's stay where they are.
        let (mut on_value, mut on_reach) = (Buffer::zeroed(total + SLACK), Buffer::zeroed(total + SLACK));
        if region.clipped {
            let (mut lower, mut upper) = (Buffer::zeroed(total), Buffer::zeroed(total));
            let bias = net.weights.signed[0].bias.as_ptr();
            let (lower_map, upper_map) = (lower.as_mut_ptr(), upper.as_mut_ptr());
            let ends = Ends { channels: stage.output.c, bias, lower: lower_map, upper: upper_map };
            // SAFETY: the buffers hold the stage's map.
            unsafe { self.each_position::<S, _, VP>(net, 0, ends) };
            for i in 0..total {
                let (value, reach) = (cotangents.lower[0][i], cotangents.upper[0][i]);
                let (mut low, mut high) = (0.5 * (value - reach), 0.5 * (value + reach));
                let (mut ball_low, mut ball_high) = (0.0, 0.0);
                // The box gave the bound only where it is strictly better than the ball.
                let ball = self.ball_value(net, rows, epsilon, i, VP);
                if ball[0] >= lower[i] {
                    std::mem::swap(&mut low, &mut ball_low);
                }
                if ball[1] <= upper[i] {
                    std::mem::swap(&mut high, &mut ball_high);
                }
                (cotangents.lower[0][i], cotangents.upper[0][i]) = (low + high, high - low);
                (on_value[i], on_reach[i]) = (ball_low + ball_high, ball_high - ball_low);
            }
            cotangents.bias[..net.bands * stage.output.c * WIDTH].fill(0.0);
            for (i, g) in cotangents.lower[0][..total].chunks_exact(WIDTH).enumerate() {
                let lanes = &mut cotangents.bias[i / VP % stage.output.c * WIDTH..][..WIDTH];
                lanes.iter_mut().zip(g).for_each(|(t, g)| *t += g);
            }
            // SAFETY: as in `backward`.
            unsafe {
                self.first_box_backward::<S, VP>(net, cotangents, accumulator.as_deref_mut(), sums.as_deref_mut());
            }
        } else {
            on_value[..total].copy_from_slice(&cotangents.lower[0][..total]);
            on_reach[..total].copy_from_slice(&cotangents.upper[0][..total]);
        }
        let d = net.plan.dimension;
        let mut on_norm = vec![0.0; stage.output.len()];
        for (element, on_norm) in on_norm.iter_mut().enumerate() {
            for image in 0..count {
                let g = on_reach[element * VP * WIDTH + image];
                *on_norm += g;
                if let Some(sums) = sums.as_deref_mut() {
                    sums.radius[image * d] += g * rows.norms[element];
                }
            }
        }
        let window = Window::all(stage.output);
        let right = Field { data: self.ball(), window: self.inputs(net, 0)[0].window };
        // SAFETY: as in `backward`.
        unsafe {
            if let Some(accumulator) = accumulator {
                let left = Field { data: on_value.as_ptr(), window };
                accumulator.add::<S>(stage, 0, Of::Signed, VP, left, right);
                let gradient = &mut accumulator.sums.stages[0];
                rows.add_gradient(net, epsilon, &on_norm, &mut gradient.signed);
                sum_channels::<S, VP>(on_value.as_ptr(), stage.output.positions(), stage.output.c, &mut gradient.bias);
            }
            if let Some(sums) = sums {
                let (patch, pixels) = (&net.weights.signed[0].patch, &mut cotangents.pixels);
                net.input_cotangents::<S, VP>(patch, on_value.as_ptr(), pixels, Normalise::Point, sums.center);
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
        let stride = padded(stage.output.c);
        let mut value = net.weights.signed[0].bias[channel];
        for (e, offset) in patch_offsets(stage, row).into_iter().enumerate() {
            let place = (corner + offset as usize) * vp * WIDTH + inner;
            // SAFETY: the balls' map holds every patch.
            let pixel = unsafe { *self.ball().add(place) };
            value += net.weights.signed[0].forward[e * stride + channel] * pixel;
        }
        let radius = epsilon * rows.norms[element];
        [value - radius, value + radius]
    }
}
