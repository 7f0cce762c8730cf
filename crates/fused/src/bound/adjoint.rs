//! The adjoint of the bounds of one chunk of samples.

use rayon::prelude::*;
use tightrope_engine::{Cotangents, Final, Intermediate};

use crate::backward::rows::adjoint::Sinks;
use crate::backward::rows::input::InputSet;
use crate::backward::rows::lines::{Lines, is_unstable, pull_back};
use crate::backward::rows::set::RowSet;
use crate::backward::rows::tile::{RowValues, Sign, TALL};
use crate::backward::rows::walk::Image;
use crate::bound::job::{BoundJob, SHARED, walks};
use crate::bound::scratch::{PartScratch, StageBounds, Worker};
use crate::bound::sums::{BoundCotangents, ChunkRegion, PartSums, Sums};
use crate::interval::chunk::{GivenCotangents, Interval, IntervalCotangents};
use crate::interval::margins::OnMargins;
use crate::interval::rows;
use crate::net::accumulate::Accumulator;
use crate::net::exchange::{image_len, pack};
use crate::net::geometry::Live;
use crate::net::weights::padded;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

impl BoundJob<'_> {
    /// Pulls the batch's `cotangents` back through samples `first .. first + count`.
    ///
    /// `kept` are the bounds kept by [`BoundJob::bound`] for methods that walk. Adds to `sums` and returns
    /// the gradients of the regions if `region_wanted`.
    ///
    /// # Safety
    /// The machine has `S`; `count` ≤ 16·VP.
    pub unsafe fn pull_back<S: Lanes, const VP: usize>(
        &self,
        worker: &mut Worker,
        sums: &mut Sums,
        [first, count]: [usize; 2],
        kept: Option<&StageBounds>,
        cotangents: &Cotangents<f32>,
        region_wanted: bool,
    ) -> Option<ChunkRegion> {
        let plan = self.net.plan;
        let depth = self.interval_depth();
        let d = plan.dimension;
        let mut gradient = region_wanted.then(|| ChunkRegion::zeros(count * d));
        // SAFETY: the machine and the chunk's size are the caller's word; buffers are sized below.
        unsafe {
            worker.interval.forward::<S, VP>(self.net, self.region, [first, count], self.ball, depth);
            let in_packet = self.in_packet(count);
            let mut intervals = std::mem::take(&mut worker.bounds);
            self.unpack_interval::<S, VP>(&worker.interval, &mut intervals);
            // Cotangents on the interval bounds, image by image.
            let mut on_intervals = std::mem::take(&mut worker.on_bounds);
            on_intervals.resize(depth);
            for index in 0..depth {
                let len = image_len(plan.stages[index].output) * WIDTH * VP;
                for buffer in [&mut on_intervals.lower[index], &mut on_intervals.upper[index]] {
                    buffer.at_least(len)[..len].fill(0.0);
                }
            }
            if in_packet {
                let used = kept.unwrap_or(&intervals);
                self.packet_adjoint::<S>(worker, sums, used, [first, count], cotangents, gradient.as_mut());
            }
            for image in 0..count {
                let mut on_bounds = self.layer_cotangents(cotangents, first + image);
                if in_packet {
                    self.add_packet(&worker.packet, image, &mut on_bounds);
                }
                if walks(self.relaxation) || (self.relaxation.last() == Final::Backward && !in_packet) {
                    let used = kept.unwrap_or(&intervals);
                    let input = InputSet::new(self.net, self.region, first + image);
                    sums.parts.iter_mut().for_each(|p| p.input = region_wanted.then(|| input.gradient()));
                    let sample = [image, first + image];
                    let on = &mut on_bounds;
                    self.image_adjoint::<S>(worker, sums, &input, used, &intervals, sample, cotangents, on, in_packet);
                    if let Some(gradient) = &mut gradient {
                        let range = image * d..(image + 1) * d;
                        for part in &sums.parts {
                            if let Some(input) = &part.input {
                                let center = &mut gradient.center[range.clone()];
                                input.store(self.net, center, &mut gradient.radius[range.clone()]);
                            }
                        }
                    }
                }
                for index in 0..depth {
                    let len = image_len(plan.stages[index].output);
                    let range = image * len..(image + 1) * len;
                    on_intervals.lower[index][range.clone()].copy_from_slice(&on_bounds.lower[index][..len]);
                    on_intervals.upper[index][range].copy_from_slice(&on_bounds.upper[index][..len]);
                }
            }
            self.interval_adjoint::<S, VP>(worker, sums, count, &on_intervals, gradient.as_mut());
            worker.bounds = intervals;
            worker.on_bounds = on_intervals;
        }
        self.finish_region(gradient)
    }

    /// The specification's cotangents of one tile and sample, or `None` if all are 0.
    fn spec_cotangents(&self, cotangents: &Cotangents<f32>, sample: usize, tile: usize) -> Option<RowValues> {
        let rows = self.specification.rows();
        let start = sample * rows + tile * WIDTH;
        let lanes = (rows - tile * WIDTH).min(WIDTH);
        let mut g = [[0.0; TALL]; 2];
        g[0][..lanes].copy_from_slice(&cotangents.lower[start..start + lanes]);
        if !cotangents.upper.is_empty() {
            g[1][..lanes].copy_from_slice(&cotangents.upper[start..start + lanes]);
        }
        g.iter().flatten().any(|&g| g != 0.0).then_some(g)
    }

    /// Pulls the specification's cotangents back to the last activations of an interval pass.
    ///
    /// # Safety
    /// The machine has `S`; the interval pass holds the chunk.
    pub unsafe fn interval_spec_adjoint<S: Lanes, const VP: usize>(
        &self,
        interval: &Interval,
        targets: &mut IntervalCotangents,
        part: &mut PartScratch,
        mut accumulator: Option<&mut Accumulator>,
        [first, count]: [usize; 2],
        cotangents: &Cotangents<f32>,
    ) {
        let last = self.net.plan.hidden();
        if let Some(margins) = self.margins(first, count) {
            let range = first * margins.classes..(first + count) * margins.classes;
            let upper = if cotangents.upper.is_empty() { &[][..] } else { &cotangents.upper[range.clone()] };
            let on = OnMargins { lower: &cotangents.lower[range], upper };
            let sums = accumulator.map(|a| &mut a.sums.stages[last]);
            // SAFETY: the interval pass holds the images.
            unsafe { margins.adjoint::<S, VP>(interval, on, &mut part.rows, targets, sums) };
            return;
        }
        let size = self.specification.elements * VP * WIDTH;
        for buffer in [&mut targets.center, &mut targets.radius] {
            buffer.at_least(size + SLACK)[..size].fill(0.0);
        }
        for image in 0..count {
            for tile in 0..self.specification.tiles() {
                let Some(g) = self.spec_cotangents(cotangents, first + image, tile) else { continue };
                let sums = accumulator.as_mut().map(|a| &mut a.sums.stages[last]);
                // SAFETY: the interval pass holds the image; the buffers are sized above.
                unsafe {
                    let place = [image, first + image, tile];
                    let rows = [&mut part.rows, &mut part.row_cotangents];
                    rows::rows_adjoint::<S>(self.specification, interval, targets, VP, place, &g, rows, sums);
                }
            }
        }
    }

    /// Walks backward through one image: leaves in `on_bounds` what belongs to the interval pass.
    unsafe fn image_adjoint<S: Lanes>(
        &self,
        worker: &mut Worker,
        sums: &mut Sums,
        input: &InputSet,
        used: &StageBounds,
        intervals: &StageBounds,
        [image, sample]: [usize; 2],
        cotangents: &Cotangents<f32>,
        on_bounds: &mut BoundCotangents,
        in_packet: bool,
    ) {
        let plan = self.net.plan;
        let Worker { lines, part, .. } = worker;
        lines.resize_with(plan.hidden(), Lines::default);
        let slice = |bounds: &StageBounds, index: usize| {
            let len = image_len(plan.stages[index].output);
            (
                bounds.lower[index].as_ptr().wrapping_add(image * len),
                bounds.upper[index].as_ptr().wrapping_add(image * len),
                len,
            )
        };
        // The last stage's lines serve the specification only.
        let lined = plan.hidden() - usize::from(in_packet);
        for index in 0..lined {
            let stage = &plan.stages[index];
            let (lower, upper, len) = slice(used, index);
            // SAFETY: bounds hold every image of the chunk.
            let (lower, upper) =
                unsafe { (std::slice::from_raw_parts(lower, len), std::slice::from_raw_parts(upper, len)) };
            // SAFETY: bounds and biases hold the stage.
            unsafe {
                let bias = &self.net.weights.signed[index].bias;
                lines[index].build::<S>(stage, bias, lower, upper);
            }
        }
        for part in &mut sums.parts {
            part.neurons.stages.resize_with(plan.hidden(), Buffer::default);
            for (stage, neurons) in plan.stages[..lined].iter().zip(&mut part.neurons.stages) {
                neurons.at_least(stage.output.len() * 2 * WIDTH);
            }
            for (lines, neurons) in lines[..lined].iter().zip(&mut part.neurons.stages) {
                // SAFETY: two vectors per neuron.
                unsafe { clear::<S>(&lines.live, neurons.as_mut_ptr()) };
            }
        }
        // SAFETY: lines of all stages are built.
        unsafe {
            let context = Image { net: self.net, lines, input };
            for tile in 0..if in_packet { 0 } else { self.specification.tiles() } {
                if let Some(g) = self.spec_cotangents(cotangents, sample, tile) {
                    self.spec_tile_adjoint::<S>(context, part, &mut sums.parts[0], [sample, tile], &g);
                }
            }
        }
        for index in (0..plan.hidden()).rev() {
            let stage = &plan.stages[index];
            let row = padded(stage.output.c);
            let (lower, upper, len) = slice(used, index);
            // SAFETY: as above.
            let (lower, upper) =
                unsafe { (std::slice::from_raw_parts(lower, len), std::slice::from_raw_parts(upper, len)) };
            let (g_lower, g_upper) = (&mut on_bounds.lower[index], &mut on_bounds.upper[index]);
            if index < lined {
                // SAFETY: the sums hold two vectors per neuron, the bounds every position.
                unsafe {
                    S::run(|| {
                        for position in 0..stage.output.positions() {
                            for &channel in lines[index].live.unstable_at(position) {
                                let channel = usize::from(channel);
                                let place = (position * stage.output.c + channel) * 2 * WIDTH;
                                let i = position * row + channel;
                                let (mut slope, mut intercept) = (0.0, 0.0);
                                for part in &sums.parts {
                                    let neuron = part.neurons.stages[index].as_ptr().add(place);
                                    slope += S::sum(S::load(neuron));
                                    intercept += S::sum(S::load(neuron.add(WIDTH)));
                                }
                                let (low, high) = pull_back(lower[i], upper[i], slope, intercept);
                                g_lower[i] += low;
                                g_upper[i] += high;
                            }
                        }
                    });
                }
            }
            if index == 0 || !walks(self.relaxation) {
                continue;
            }
            let (interval_lower, interval_upper, _) = slice(intervals, index);
            // SAFETY: as above.
            let (interval_lower, interval_upper) = unsafe {
                (std::slice::from_raw_parts(interval_lower, len), std::slice::from_raw_parts(interval_upper, len))
            };
            // What the walks take; the rest stays for the interval pass.
            let mut on_walk = [vec![0.0; len], vec![0.0; len]];
            for i in 0..len {
                let (mut low, mut high) = (std::mem::take(&mut g_lower[i]), std::mem::take(&mut g_upper[i]));
                match self.relaxation.intermediate() {
                    Intermediate::BackwardIfUnstable => {
                        if !is_unstable(interval_lower[i], interval_upper[i]) {
                            // Kept interval bounds carry no gradient, by definition of the method.
                            (low, high) = (0.0, 0.0);
                        }
                    }
                    Intermediate::Intersection => {
                        if lower[i] == interval_lower[i] {
                            g_lower[i] = std::mem::take(&mut low);
                        }
                        if upper[i] == interval_upper[i] {
                            g_upper[i] = std::mem::take(&mut high);
                        }
                    }
                    Intermediate::Interval | Intermediate::Backward => {}
                }
                (on_walk[0][i], on_walk[1][i]) = (low, high);
            }
            let context = Image { net: self.net, lines: &lines[..index], input };
            // SAFETY: the lines of all stages before are built.
            unsafe {
                let signs = used.signs.get(image).map(|stages| &stages[index][..]);
                self.stage_adjoint::<S>(context, index, part, sums, &on_walk, signs);
            }
        }
    }

    unsafe fn spec_tile_adjoint<S: Lanes>(
        &self,
        image: Image<'_>,
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

    unsafe fn interval_adjoint<S: Lanes, const VP: usize>(
        &self,
        worker: &mut Worker,
        sums: &mut Sums,
        count: usize,
        on_intervals: &StageBounds,
        gradient: Option<&mut ChunkRegion>,
    ) {
        let plan = self.net.plan;
        let depth = self.interval_depth();
        let Worker { interval, cotangents, .. } = worker;
        cotangents.resize(self.net, depth, VP);
        for index in 0..depth {
            let grid = plan.stages[index].output;
            // SAFETY: the lanes have slack, the images room for all lanes.
            unsafe {
                pack::<S, VP>(grid, &on_intervals.lower[index], &mut cotangents.lower[index]);
                pack::<S, VP>(grid, &on_intervals.upper[index], &mut cotangents.upper[index]);
            }
        }
        let accumulator = sums.parts[0].accumulator.as_mut();
        let mut region_sums = gradient.map(ChunkRegion::sums);
        // SAFETY: the interval pass of the same images is in place.
        unsafe {
            interval.backward::<S, VP>(
                self.net,
                self.region,
                count,
                self.ball,
                depth,
                cotangents,
                GivenCotangents::Bounds,
                accumulator,
                region_sums.as_mut(),
            );
        }
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
