//! The adjoint of one image's bounds by walks, rows in lanes.

use rayon::prelude::*;
use tightrope_engine::{Cotangents, Intermediate};

use crate::backward::rows::adjoint::Sinks;
use crate::backward::rows::input::InputSet;
use crate::backward::rows::lines::{Lines, is_unstable, pull_back};
use crate::backward::rows::set::RowSet;
use crate::backward::rows::tile::Sign;
use crate::backward::rows::walk::Image;
use crate::bound::hybrid::Hybrid;
use crate::bound::job::{BoundJob, SHARED, walks};
use crate::bound::scratch::{PartScratch, StageBounds, Worker};
use crate::bound::sums::{BoundCotangents, PartSums, Sums};
use crate::net::exchange::image_len;
use crate::net::geometry::Live;
use crate::net::plan::Stage;
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, RowValues, TALL, WIDTH};

/// One image of a chunk and its bounds.
#[derive(Clone, Copy)]
pub struct WalkedImage<'a> {
    pub input: &'a InputSet,
    /// The bounds that the ReLUs used, of every image of the chunk.
    pub used: &'a StageBounds,
    /// Those of the interval pass.
    pub intervals: &'a StageBounds,
    /// The image's number in the chunk, and in the batch.
    pub place: [usize; 2],
    /// True if the specification was walked with the rest of its packet.
    pub in_packet: bool,
}

impl BoundJob<'_> {
    /// Walks backward through one image: leaves in `on_bounds` what belongs to the interval pass.
    ///
    /// # Safety
    /// The machine has `S`; the image's bounds hold every image of the chunk.
    pub unsafe fn image_adjoint<S: Lanes>(
        &self,
        image: WalkedImage<'_>,
        worker: &mut Worker,
        sums: &mut Sums,
        cotangents: &Cotangents<f32>,
        on_bounds: &mut BoundCotangents,
    ) {
        let plan = self.net.plan;
        let WalkedImage { input, used, intervals, place: [place, sample], in_packet } = image;
        let Worker { lines, hybrid, part, .. } = worker;
        lines.resize_with(plan.hidden(), Lines::default);
        if self.hybrid() {
            hybrid.start(self.net);
            hybrid.start_adjoint(self.net);
        }
        // The last stage's lines serve the specification only.
        let lined = plan.hidden() - usize::from(in_packet);
        for (index, stage) in plan.stages[..lined].iter().enumerate() {
            let mut ends = used.of_image(image_len(stage.output), index, place);
            if self.hybrid() {
                // SAFETY: the machine is the caller's word.
                unsafe { hybrid.carry::<S>(self.net, index) };
                ends = hybrid.leave(stage, index, ends);
            }
            let bias = &self.net.weights.signed[index].bias;
            // SAFETY: bounds and biases hold the stage.
            unsafe { lines[index].build::<S>(stage, bias, ends, self.parallel()) };
        }
        // SAFETY: the machine is the caller's word.
        unsafe { self.start_neurons::<S>(&lines[..lined], sums) };
        // SAFETY: lines of all stages are built.
        unsafe {
            let context = Image { net: self.net, lines, input };
            for tile in 0..if in_packet { 0 } else { self.specification.tiles() } {
                if let Some(g) = self.spec_cotangents(cotangents, sample, tile) {
                    self.spec_tile_adjoint::<S>(context, hybrid, part, &mut sums.parts[0], [sample, tile], &g);
                }
            }
        }
        for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate().rev() {
            let len = image_len(stage.output);
            let own = used.of_image(len, index, place);
            let (on_lower, on_upper) = (&mut on_bounds.lower[index][..], &mut on_bounds.upper[index][..]);
            if index < lined {
                // SAFETY: the sums hold two vectors per neuron, the bounds every position.
                unsafe { lines_adjoint::<S>(stage, &lines[index].live, own, &sums.parts, index, [on_lower, on_upper]) };
            }
            if self.hybrid() {
                hybrid.leave_adjoint(stage, index, own, on_upper);
            }
            if index == 0 || !walks(self.relaxation) {
                continue;
            }
            let on_walk = self.walk_share(own, intervals.of_image(len, index, place), [on_lower, on_upper]);
            if self.hybrid() {
                let on_weights = sums.parts[0].accumulator.as_mut().map(|a| &mut a.sums.stages[index].signed);
                let on_bounds = on_walk.each_ref().map(|g| &g[..]);
                // SAFETY: the sums have the order of the weights.
                unsafe { hybrid.carry_adjoint::<S>(self.net, index, on_bounds, on_weights) };
            }
            let context = Image { net: self.net, lines: &lines[..index], input };
            // SAFETY: the lines of all stages before are built.
            unsafe {
                let signs = used.signs.get(place).filter(|_| index >= self.narrow).map(|stages| &stages[index][..]);
                self.stage_adjoint::<S>(context, index, part, sums, &on_walk, signs);
            }
        }
    }

    /// Makes room for the sums of the neurons with `lines`, stage by stage, and zeros those that are read.
    unsafe fn start_neurons<S: Lanes>(&self, lines: &[Lines], sums: &mut Sums) {
        let plan = self.net.plan;
        let stages = &plan.stages[..lines.len()];
        for part in &mut sums.parts {
            part.neurons.stages.resize_with(plan.hidden(), Buffer::default);
            for ((stage, lines), neurons) in stages.iter().zip(lines).zip(&mut part.neurons.stages) {
                neurons.at_least(stage.output.len() * 2 * WIDTH);
                // SAFETY: two vectors per neuron.
                unsafe { clear::<S>(&lines.live, neurons.as_mut_ptr()) };
            }
        }
    }

    /// What the walks take of the cotangents `on` a stage's bounds; the rest stays for the interval pass.
    fn walk_share(
        &self,
        [lower, upper]: [&[f32]; 2],
        [interval_lower, interval_upper]: [&[f32]; 2],
        [on_lower, on_upper]: [&mut [f32]; 2],
    ) -> [Vec<f32>; 2] {
        let mut on_walk = [vec![0.0; lower.len()], vec![0.0; lower.len()]];
        for i in 0..lower.len() {
            let (mut low, mut high) = (std::mem::take(&mut on_lower[i]), std::mem::take(&mut on_upper[i]));
            match self.relaxation.intermediate() {
                Intermediate::BackwardIfUnstable => {
                    if !is_unstable(interval_lower[i], interval_upper[i]) {
                        // Kept interval bounds carry no gradient, by definition of the method.
                        (low, high) = (0.0, 0.0);
                    }
                }
                Intermediate::Intersection => {
                    if lower[i] == interval_lower[i] {
                        on_lower[i] = std::mem::take(&mut low);
                    }
                    if upper[i] == interval_upper[i] {
                        on_upper[i] = std::mem::take(&mut high);
                    }
                }
                Intermediate::Interval | Intermediate::Backward => {}
            }
            (on_walk[0][i], on_walk[1][i]) = (low, high);
        }
        on_walk
    }

    unsafe fn spec_tile_adjoint<S: Lanes>(
        &self,
        image: Image<'_>,
        hybrid: &mut Hybrid,
        part: &mut PartScratch,
        sums: &mut PartSums,
        [sample, tile]: [usize; 2],
        g: &RowValues,
    ) {
        let size = self.specification.elements * WIDTH;
        // SAFETY: rows and their cotangents hold the last stage's window.
        unsafe {
            self.specification.fill::<S>(sample, tile, &mut part.rows);
            let spec = self.specification_tile(&part.rows);
            part.row_cotangents.at_least(size)[..size].fill(0.0);
            let sink = part.row_cotangents.as_mut_ptr();
            let mut sinks =
                Sinks { weights: sums.accumulator.as_mut(), neurons: &mut sums.neurons, input: sums.input.as_mut() };
            if g[1].iter().any(|&g| g != 0.0) {
                part.walk.adjoint::<S, 2, 1>(image, &spec, g, sink, WIDTH, None, &mut sinks);
            } else {
                part.walk.adjoint::<S, 1, 1>(image, &spec, g, sink, WIDTH, None, &mut sinks);
            }
            if self.hybrid() {
                let last = &self.net.plan.stages[self.net.plan.hidden()];
                hybrid.widen_rows_adjoint::<S>(last, part.rows.as_ptr(), g, sink);
            }
            if let Some(accumulator) = &mut sums.accumulator {
                let mut constants = [0.0; WIDTH];
                (0..WIDTH).for_each(|lane| constants[lane] = g[0][lane] + g[1][lane]);
                let last = &mut accumulator.sums.stages[self.net.plan.hidden()];
                self.specification.adjoint::<S>(sample, tile, &part.row_cotangents, &constants, last);
            }
        }
    }

    /// Tiles of one stage's rows, those without a cotangent left out (every stable neuron has none).
    unsafe fn stage_adjoint<S: Lanes>(
        &self,
        image: Image<'_>,
        index: usize,
        part: &mut PartScratch,
        sums: &mut Sums,
        g: &[Vec<f32>; 2],
        signs: Option<&[Sign]>,
    ) {
        let row = padded(self.net.plan.stages[index].output.c);
        let tiles = RowSet::tiles(self.net, index, S::GROUPS, |position, c| {
            let i = position * row + c;
            g[0][i] != 0.0 || g[1][i] != 0.0
        });
        // SAFETY: passed on from `image_adjoint`.
        unsafe {
            let pitch = if tiles.len() >= SHARED { 2 * S::GROUPS } else { 0 };
            if sums.parts.len() == 1 {
                part.walk.whole.start(pitch);
                for set in &tiles {
                    self.tile_adjoint::<S>(image, index, part, &mut sums.parts[0], set, g, signs);
                }
                part.walk.whole.stop();
                return;
            }
            let share = tiles.len().div_ceil(sums.parts.len()).max(1);
            tiles.par_chunks(share).zip(sums.parts.par_iter_mut()).for_each(|(sets, sums)| {
                self.with_part(|part| {
                    part.walk.whole.start(pitch);
                    sets.iter().for_each(|set| self.tile_adjoint::<S>(image, index, part, sums, set, g, signs));
                    part.walk.whole.stop();
                });
            });
        }
    }

    unsafe fn tile_adjoint<S: Lanes>(
        &self,
        image: Image<'_>,
        index: usize,
        part: &mut PartScratch,
        sums: &mut PartSums,
        set: &RowSet,
        g: &[Vec<f32>; 2],
        signs: Option<&[Sign]>,
    ) {
        let stage = &self.net.plan.stages[index];
        let (stride, elements) = (padded(stage.output.c), stage.taps() * stage.input.c);
        let mut lanes = [[0.0; TALL]; 2];
        set.each(stage.output.c, |lane, c| {
            let i = set.position() * stride + c;
            (lanes[0][lane], lanes[1][lane]) = (g[0][i], g[1][i]);
        });
        let tile = set.tile(self.net, index, &mut part.rows);
        let size = elements * set.width();
        let (sink, sink_stride) = match (set, &mut sums.accumulator) {
            (RowSet::Block { start, .. }, Some(accumulator)) => {
                (accumulator.sums.stages[index].signed[*start..].as_mut_ptr(), stride)
            }
            _ => {
                part.row_cotangents.at_least(size)[..size].fill(0.0);
                (part.row_cotangents.as_mut_ptr(), set.width())
            }
        };
        let mut sinks =
            Sinks { weights: sums.accumulator.as_mut(), neurons: &mut sums.neurons, input: sums.input.as_mut() };
        // SAFETY: tile and sink hold the stage's window.
        unsafe {
            let known = signs
                .zip(self.signs.as_ref())
                .map(|(signs, layout)| layout.collect::<S>(index, set, signs, &mut part.signs));
            if tile.tall {
                part.walk.adjoint::<S, 2, 2>(image, &tile, &lanes, sink, sink_stride, known, &mut sinks);
            } else {
                part.walk.adjoint::<S, 2, 1>(image, &tile, &lanes, sink, sink_stride, known, &mut sinks);
            }
        }
        if let Some(accumulator) = &mut sums.accumulator {
            let stage_sums = &mut accumulator.sums.stages[index];
            set.scatter(self.net, index, &part.row_cotangents, stage_sums);
            set.each(stage.output.c, |lane, c| stage_sums.bias[c] += lanes[0][lane] + lanes[1][lane]);
        }
    }
}

/// Carries the cotangents of a stage's lines, which all `parts` have sums of, to the bounds behind them.
///
/// # Safety
/// The machine has `S`; the sums hold two vectors per neuron, the bounds and the cotangents every position.
unsafe fn lines_adjoint<S: Lanes>(
    stage: &Stage,
    live: &Live,
    [lower, upper]: [&[f32]; 2],
    parts: &[PartSums],
    index: usize,
    [on_lower, on_upper]: [&mut [f32]; 2],
) {
    let row = padded(stage.output.c);
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            for position in 0..stage.output.positions() {
                for &channel in live.unstable_at(position) {
                    let channel = usize::from(channel);
                    let place = (position * stage.output.c + channel) * 2 * WIDTH;
                    let i = position * row + channel;
                    let (mut slope, mut intercept) = (0.0, 0.0);
                    for part in parts {
                        let neuron = part.neurons.stages[index].as_ptr().add(place);
                        slope += S::sum(S::load(neuron));
                        intercept += S::sum(S::load(neuron.add(WIDTH)));
                    }
                    let (low, high) = pull_back(lower[i], upper[i], slope, intercept);
                    on_lower[i] += low;
                    on_upper[i] += high;
                }
            }
        });
    }
}

/// Zeros for the sums of all unstable neurons, `[position][channel][2][16]`; nobody reads the others.
unsafe fn clear<S: Lanes>(live: &Live, neurons: *mut f32) {
    // SAFETY: the caller gives room for all neurons.
    unsafe {
        S::run(|| {
            for position in 0..live.count.len() {
                for &channel in live.unstable_at(position) {
                    let place = neurons.add((position * live.channels + usize::from(channel)) * 2 * WIDTH);
                    S::store(place, S::zero());
                    S::store(place.add(WIDTH), S::zero());
                }
            }
        });
    }
}
