//! The adjoint of the bounds of one chunk of samples.

use tightrope_engine::{Cotangents, Final};

use crate::backward::rows::input::InputSet;
use crate::bound::image_adjoint::WalkedImage;
use crate::bound::job::{BoundJob, walks};
use crate::bound::scratch::{PartScratch, StageBounds, Worker};
use crate::bound::sums::{ChunkRegion, Sums};
use crate::interval::chunk::{GivenCotangents, Interval, IntervalCotangents};
use crate::interval::margins::OnMargins;
use crate::interval::rows;
use crate::net::accumulate::Accumulator;
use crate::net::exchange::{image_len, pack};
use crate::simd::buffer::SLACK;
use crate::simd::lanes::{Lanes, RowValues, TALL, WIDTH};

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
                    let input = &InputSet::new(self.net, self.region, first + image);
                    sums.parts.iter_mut().for_each(|p| p.input = region_wanted.then(|| input.gradient()));
                    let place = [image, first + image];
                    let walked = WalkedImage { input, used, intervals: &intervals, place, in_packet };
                    self.image_adjoint::<S>(walked, worker, sums, cotangents, &mut on_bounds);
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
    pub fn spec_cotangents(&self, cotangents: &Cotangents<f32>, sample: usize, tile: usize) -> Option<RowValues> {
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
