//! α-CROWN of margins with images in lanes: each margin's own lower slopes, climbed by projected Adam.
//!
//! A step is a walk down, as in [`crate::backward::images::walk`] but along slopes of each margin's own, and the same map run
//! forwards from the minimiser along the lines that the coefficients chose. There the derivative of the bound with respect to
//! the slope of a neuron with coefficient a is max(a, 0) times the neuron's value (Wang et al. 2021).

use tightrope_engine::{AdamStep, SlopeAscent};

use crate::backward::images::constants::{Constants, PLAIN};
use crate::backward::images::walk::{Group, MarginRows, PacketWalk, Scene, TOGETHER, extremes, line_at, relaxed};
use crate::kernels::gather::{Outputs, gather};
use crate::net::geometry::{Field, Inputs, apply_segments};
use crate::net::plan::Window;
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

/// Memory of the ascents of one worker; all maps but that of the pixels are per stage, `[position][channel][VP][16]`.
#[derive(Default)]
pub struct PacketAscent {
    /// Lower slopes.
    slopes: Vec<Buffer>,
    /// Running means of the gradients and of their squares, `[position][channel][VP][2][16]`.
    moments: Vec<Buffer>,
    /// Coefficients on the activations.
    before: Vec<Buffer>,
    /// Those on the pre-activations on the way down, the activations' relaxed values on the way up.
    maps: Vec<Buffer>,
    /// Coefficients of the padded input, then the minimiser, `[pixel][VP][16]`.
    pixels: Buffer,
}

/// One group of margins at work.
struct Climb<'a, S: Lanes, const VP: usize> {
    scene: Scene<'a>,
    rows: MarginRows<S, VP>,
}

impl PacketAscent {
    /// The best lower bounds of one group's margins that the ascent meets, without the last bias.
    ///
    /// # Safety
    /// As [`PacketWalk::bound`]; every stage has its `forward` weights.
    pub unsafe fn bound<S: Lanes>(
        &mut self,
        walk: &mut PacketWalk,
        scene: Scene<'_>,
        (first, size): Group,
        ascent: SlopeAscent,
    ) -> [[f32; WIDTH]; TOGETHER] {
        // SAFETY: passed on from the caller.
        unsafe {
            match size {
                5 => self.group::<S, 5>(walk, scene, first, ascent),
                4 => self.group::<S, 4>(walk, scene, first, ascent),
                2 => self.group::<S, 2>(walk, scene, first, ascent),
                _ => self.group::<S, 1>(walk, scene, first, ascent),
            }
        }
    }

    unsafe fn group<S: Lanes, const VP: usize>(
        &mut self,
        walk: &mut PacketWalk,
        scene: Scene<'_>,
        first: usize,
        ascent: SlopeAscent,
    ) -> [[f32; WIDTH]; TOGETHER] {
        // SAFETY: passed on from the caller.
        unsafe {
            self.start::<S, VP>(scene);
            let climb = Climb { scene, rows: MarginRows::<S, VP>::new(scene.margins, first) };
            walk.prepare(scene.net, VP, scene.net.plan.stages[0].input_map());
            let mut best = self.down(walk, &climb);
            for step in 0..ascent.steps {
                self.up(walk, &climb, ascent.step(step));
                for (best, found) in best.iter_mut().flatten().zip(self.down(walk, &climb).iter().flatten()) {
                    // What is no number must show.
                    if *found > *best || found.is_nan() {
                        *best = *found;
                    }
                }
            }
            best
        }
    }

    /// Room for all maps, slopes by the rule of least area, no moments.
    unsafe fn start<S: Lanes, const VP: usize>(&mut self, scene: Scene<'_>) {
        let plan = scene.net.plan;
        let hidden = plan.hidden();
        for maps in [&mut self.slopes, &mut self.moments, &mut self.before, &mut self.maps] {
            maps.resize_with(hidden.max(maps.len()), Buffer::default);
        }
        self.pixels.at_least(scene.net.input_len(0) * VP * WIDTH + SLACK);
        for (index, stage) in plan.stages[..hidden].iter().enumerate() {
            let neurons = stage.output.len();
            let len = neurons * VP * WIDTH;
            self.before[index].at_least(len + SLACK);
            self.maps[index].at_least(len + SLACK);
            self.moments[index].at_least(2 * len)[..2 * len].fill(0.0);
            let slopes = self.slopes[index].at_least(len).as_mut_ptr();
            let line = scene.lines[index].line.as_ptr();
            // SAFETY: all maps hold the stage's neurons.
            unsafe {
                S::run(|| {
                    for i in 0..neurons {
                        let [_, lower, _] = line_at::<S>(line.add(2 * i * WIDTH));
                        for v in 0..VP {
                            S::store(slopes.add((i * VP + v) * WIDTH), lower);
                        }
                    }
                });
            }
        }
    }

    /// Walks the margins to the pixels along the slopes; returns their minima without the last bias.
    unsafe fn down<S: Lanes, const VP: usize>(
        &mut self,
        walk: &mut PacketWalk,
        climb: &Climb<'_, S, VP>,
    ) -> [[f32; WIDTH]; TOGETHER] {
        let Climb { scene, rows } = climb;
        let plan = scene.net.plan;
        let whole = plan.stages[0].input_map();
        let mut constants = Constants::zero();
        let pixels = scene.net.input_len(0) * VP * WIDTH;
        self.pixels[..pixels].fill(0.0);
        let pixels = self.pixels.as_mut_ptr();
        for index in (0..plan.hidden()).rev() {
            let stage = &plan.stages[index];
            let size = stage.output.c * VP * WIDTH;
            let above = self.maps.get(index + 1).map_or(std::ptr::null(), |above| above.as_ptr());
            let bias = &scene.net.weights.signed[index].bias;
            for position in 0..stage.output.positions() {
                // SAFETY: all places lie in the maps of the stage.
                unsafe {
                    let before = self.before[index].as_mut_ptr().add(position * size);
                    let behind = self.maps[index].as_mut_ptr().add(position * size);
                    walk.arrive(*scene, rows, [index, position], above, before);
                    let live = scene.lines[index].live.at(position);
                    let line = scene.lines[index].line.as_ptr().add(position * stage.output.c * 2 * WIDTH);
                    let slopes = self.slopes[index].as_ptr().add(position * size);
                    S::run(|| relax::<S, VP>([line, slopes, before], bias, live, behind, &mut constants));
                    if index == 0 {
                        walk.scatter::<S, VP>(*scene, position, behind, pixels, whole);
                    }
                }
            }
        }
        // SAFETY: the pixels hold the padded input.
        unsafe { S::run(|| extremes::<S, VP>(*scene, pixels, whole, &mut constants)) };
        constants.total()
    }

    /// Runs the stages forwards from the minimiser and moves the slopes by one step.
    unsafe fn up<S: Lanes, const VP: usize>(
        &mut self,
        walk: &mut PacketWalk,
        climb: &Climb<'_, S, VP>,
        step: AdamStep,
    ) {
        let scene = climb.scene;
        let net = scene.net;
        let pixels = self.pixels.as_mut_ptr();
        let mut right = Field { data: pixels.cast_const(), window: net.plan.stages[0].input_map() };
        // SAFETY: passed on from the caller; all places below lie in the maps of the walk.
        unsafe {
            S::run(|| minimisers::<S, VP>(scene, pixels));
            for (index, stage) in net.plan.stages[..net.plan.hidden()].iter().enumerate() {
                let (channels, size) = (stage.output.c, stage.output.c * VP * WIDTH);
                let (weight, stride) = (net.weights.signed[index].forward.as_ptr(), padded(channels));
                let bias = &net.weights.signed[index].bias;
                let inputs = match index {
                    0 => Inputs::All(net.identity),
                    _ => Inputs::Live(&scene.lines[index - 1].live),
                };
                let values = self.maps[index].as_mut_ptr();
                for position in 0..stage.output.positions() {
                    let place = [position / stage.output.w, position % stage.output.w];
                    let live = scene.lines[index].live.at(position);
                    let outputs = if live.len() == channels { Outputs::All(channels) } else { Outputs::Listed(live) };
                    let spot = values.add(position * size);
                    let tap = stage.input.c * stride;
                    apply_segments(stage, weight, tap, right, VP, place, inputs, &mut walk.segments);
                    gather::<S, VP>(&walk.segments[..], stride, spot, outputs);
                    let line = scene.lines[index].line.as_ptr().add(position * channels * 2 * WIDTH);
                    let before = self.before[index].as_ptr().add(position * size);
                    let slopes = self.slopes[index].as_mut_ptr().add(position * size);
                    let moments = self.moments[index].as_mut_ptr().add(2 * position * size);
                    S::run(|| rise::<S, VP>([line, before], bias, live, [spot, slopes, moments], step));
                }
                right = Field { data: values.cast_const(), window: Window::all(stage.output) };
            }
        }
    }
}

/// The relaxation at one position along the margins' own slopes.
#[inline(always)]
unsafe fn relax<S: Lanes, const VP: usize>(
    [line, slopes, before]: [*const f32; 3],
    bias: &[f32],
    live: &[u16],
    behind: *mut f32,
    constants: &mut Constants,
) {
    // SAFETY: lists name channels of the position.
    unsafe {
        for live in live.chunks(PLAIN) {
            let mut sums = [S::zero(); VP];
            for &channel in live {
                let channel = usize::from(channel);
                let [upper, _, intercept] = line_at::<S>(line.add(2 * channel * WIDTH));
                let bias = S::splat(bias[channel]);
                for v in 0..VP {
                    let place = (channel * VP + v) * WIDTH;
                    let line = [upper, S::load(slopes.add(place)), intercept, bias];
                    S::store(behind.add(place), relaxed::<S>(S::load(before.add(place)), line, &mut sums[v]));
                }
            }
            constants.add::<S, VP>(sums);
        }
    }
}

/// Coefficients of the pixels to the point of the boxes where their forms are least.
#[inline(always)]
unsafe fn minimisers<S: Lanes, const VP: usize>(scene: Scene<'_>, pixels: *mut f32) {
    // SAFETY: the maps hold the padded input.
    unsafe {
        for e in 0..scene.net.input_len(0) {
            let center = S::load(scene.center.as_ptr().add(e * WIDTH));
            let radius = S::load(scene.radius.as_ptr().add(e * WIDTH));
            for v in 0..VP {
                let place = pixels.add((e * VP + v) * WIDTH);
                S::store(place, S::sub(center, S::signed_by(S::load(place), radius)));
            }
        }
    }
}

/// At one position: sums over the inputs in `spot` become values of the activations along the chosen lines, and the slopes
/// of unstable neurons take their step.
#[inline(always)]
unsafe fn rise<S: Lanes, const VP: usize>(
    [line, before]: [*const f32; 2],
    bias: &[f32],
    live: &[u16],
    [spot, slopes, moments]: [*mut f32; 3],
    step: AdamStep,
) {
    // SAFETY: lists name channels of the position.
    unsafe {
        let (one, tiny) = (S::splat(1.0), S::splat(AdamStep::TINY));
        let [mean_decay, square_decay] = [AdamStep::MEAN_DECAY, AdamStep::SQUARE_DECAY].map(|d| S::splat(d));
        let [mean_share, square_share] =
            [1.0 - AdamStep::MEAN_DECAY, 1.0 - AdamStep::SQUARE_DECAY].map(|d| S::splat(d));
        let (rate, square_scale) = (S::splat(step.rate * step.mean_scale), S::splat(step.square_scale));
        for &channel in live {
            let channel = usize::from(channel);
            let [upper, _, intercept] = line_at::<S>(line.add(2 * channel * WIDTH));
            let bias = S::splat(bias[channel]);
            let open = S::positive_mask(intercept) != 0;
            for v in 0..VP {
                let place = (channel * VP + v) * WIDTH;
                let a = S::load(before.add(place));
                let z = S::add(S::load(spot.add(place)), bias);
                let slope = S::load(slopes.add(place));
                let above = S::fma(upper, z, intercept);
                S::store(spot.add(place), S::where_negative(a, above, S::mul(slope, z)));
                if !open {
                    continue;
                }
                let gradient = S::mul(S::max(S::zero(), a), z);
                let gradient = S::where_positive(intercept, gradient, S::zero());
                let moment = moments.add(2 * place);
                let mean = S::fma(mean_decay, S::load(moment), S::mul(mean_share, gradient));
                let squares = S::mul(square_share, S::mul(gradient, gradient));
                let square = S::fma(square_decay, S::load(moment.add(WIDTH)), squares);
                S::store(moment, mean);
                S::store(moment.add(WIDTH), square);
                let by = S::div(S::mul(rate, mean), S::add(S::sqrt(S::mul(square, square_scale)), tiny));
                S::store(slopes.add(place), S::min(one, S::max(S::zero(), S::add(slope, by))));
            }
        }
    }
}
