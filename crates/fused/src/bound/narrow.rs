//! Bounds of narrow stages of a packet by walks with sixteen images in lanes.

use tightrope_engine::{Intermediate, LowerSlope, Region, Relaxation};

use crate::backward::images::neurons::Neurons;
use crate::backward::images::walk::{LARGEST, Scene};
use crate::backward::rows::lines::is_unstable;
use crate::bound::job::{BoundJob, walks};
use crate::bound::scratch::{PartScratch, StageBounds, Worker};
use crate::interval::margins::Margins;
use crate::net::exchange::{image_len, unpack};
use crate::net::plan::{Plan, Stage};
use crate::net::spec::Specification;
use crate::net::split::bound_chunk;
use crate::simd::buffer::SLACK;
use crate::simd::lanes::{Lanes, WIDTH};

/// Most channels of a narrow stage.
const CHANNELS: usize = 4;

/// Rows that are walked together at most: two channels from both sides.
const ROWS: usize = 4;

/// How many stages of such a batch are bounded with images in lanes: the first, which needs no walk, and the narrow ones behind
/// it, if there are any. Over boxes and along adaptive lines alone.
pub fn narrow_stages(plan: &Plan, relaxation: Relaxation, region: &Region<f32>) -> usize {
    let adaptive = relaxation.lower_slope() == Some(LowerSlope::Adaptive) && !relaxation.boxes_errors();
    if !walks(relaxation) || !adaptive || region.ball.is_some() || plan.hidden() == 0 {
        return 0;
    }
    let images = bound_chunk(relaxation, region.batch());
    let narrow = |stage: &&Stage| {
        let channels = stage.output.c;
        channels <= CHANNELS && images >= 2 * channels && stage.input.len() * ROWS * WIDTH <= LARGEST
    };
    match plan.stages[1..plan.hidden()].iter().take_while(narrow).count() {
        0 => 0,
        stages => 1 + stages,
    }
}

impl BoundJob<'_> {
    /// Bounds and lines of a packet's narrow stages; the bounds image by image as well, if `by_image`.
    ///
    /// # Safety
    /// The machine has `S`; the worker's interval pass holds the images, and `bounds` have room for them if `by_image`.
    pub unsafe fn bound_narrow<S: Lanes>(
        &self,
        worker: &mut Worker,
        bounds: &mut StageBounds,
        count: usize,
        by_image: bool,
    ) {
        let Specification { last, elements, classes, .. } = self.specification;
        // Neurons are none's rivals.
        let margins = Margins { last, elements, classes, labels: &[] };
        let plan = self.net.plan;
        let Worker { packet, interval, part, .. } = worker;
        packet.lines.resize_with(plan.hidden().max(packet.lines.len()), Default::default);
        packet.bounds.resize(plan.hidden());
        for (index, stage) in plan.stages[..self.narrow].iter().enumerate() {
            // SAFETY: all maps hold the stage, for sixteen images.
            unsafe {
                if index == 0 {
                    packet.lines[0].build::<S>(stage, &interval.lower[0], &interval.upper[0]);
                    continue;
                }
                let (done, rest) = packet.lines.split_at_mut(index);
                let (center, radius) = (&interval.center[0], &interval.radius[0]);
                let scene = Scene { net: self.net, lines: done, margins, center, radius };
                let size = stage.output.len() * WIDTH;
                let lower = packet.bounds.lower[index].at_least(size + SLACK);
                let upper = packet.bounds.upper[index].at_least(size + SLACK);
                if index < self.interval_depth() {
                    lower[..size].copy_from_slice(&interval.lower[index][..size]);
                    upper[..size].copy_from_slice(&interval.upper[index][..size]);
                }
                self.walk_neurons::<S>(part, scene, index, [lower, upper]);
                rest[0].build::<S>(stage, lower, upper);
                if !by_image {
                    continue;
                }
                let len = image_len(stage.output);
                for (lanes, images) in [(&*lower, &mut bounds.lower[index]), (upper, &mut bounds.upper[index])] {
                    let staging = packet.staging.at_least(WIDTH * len);
                    unpack::<S, 1>(stage.output, lanes, staging);
                    images[..count * len].copy_from_slice(&staging[..count * len]);
                }
            }
        }
    }

    /// Bounds of all neurons of one stage, `[position][channel][16]`, which come with the interval pass's where the method uses
    /// them.
    unsafe fn walk_neurons<S: Lanes>(
        &self,
        part: &mut PartScratch,
        scene: Scene<'_>,
        index: usize,
        [lower, upper]: [&mut [f32]; 2],
    ) {
        let stage = &self.net.plan.stages[index];
        let bias = &self.net.weights.signed[index].bias;
        let intermediate = self.relaxation.intermediate();
        let channels = stage.output.c;
        let PartScratch { packet_walk, coefficients, .. } = part;
        for position in 0..stage.output.positions() {
            let mut first = 0;
            while first < channels {
                let neurons =
                    Neurons { stage: index, position: [position / stage.output.w, position % stage.output.w], first };
                let together = if S::GROUPS > 1 && first + 1 < channels { 2 } else { 1 };
                let start = (position * channels + first) * WIDTH;
                let range = start..start + together * WIDTH;
                first += together;
                let mut ends = lower[range.clone()].iter().zip(&upper[range.clone()]);
                if intermediate == Intermediate::BackwardIfUnstable && !ends.any(|(&l, &u)| is_unstable(l, u)) {
                    continue;
                }
                // SAFETY: passed on from the caller; the channels exist.
                let rows = unsafe {
                    match together {
                        2 => packet_walk.neurons::<S, 4>(scene, neurons, coefficients),
                        _ => packet_walk.neurons::<S, 2>(scene, neurons, coefficients),
                    }
                };
                for (channel, rows) in rows.chunks(2).take(together).enumerate() {
                    let at = start + channel * WIDTH;
                    let bias = bias[neurons.first + channel];
                    // SAFETY: a vector of each end.
                    unsafe {
                        let ends = [lower.as_mut_ptr().add(at), upper.as_mut_ptr().add(at)];
                        S::run(|| settle::<S>(intermediate, [&rows[0], &rows[1]], bias, ends));
                    }
                }
            }
        }
    }
}

/// What becomes of one neuron's bounds `ends` where its walks have found the minima `rows` of its row and of the row's negation.
#[inline(always)]
unsafe fn settle<S: Lanes>(intermediate: Intermediate, rows: [&[f32; WIDTH]; 2], bias: f32, ends: [*mut f32; 2]) {
    // SAFETY: the caller gives a vector of each end.
    unsafe {
        let bias = S::splat(bias);
        let low = S::add(S::load_any(rows[0].as_ptr()), bias);
        let high = S::sub(bias, S::load_any(rows[1].as_ptr()));
        let [lower, upper] = ends.map(|end| S::load(end));
        let [low, high] = match intermediate {
            Intermediate::Interval | Intermediate::Backward => [low, high],
            Intermediate::Intersection => [S::max(low, lower), S::min(high, upper)],
            Intermediate::BackwardIfUnstable => {
                let open = |walked: S::V, known: S::V| {
                    S::where_negative(lower, S::where_positive(upper, walked, known), known)
                };
                [open(low, lower), open(high, upper)]
            }
        };
        S::store(ends[0], low);
        S::store(ends[1], high);
    }
}
