//! Margins of a packet, sixteen images in lanes: when they are walked so, from which bounds, and what flows back to them.

use rayon::prelude::*;
use tightrope_engine::{Cotangents, Final, Spec};

use crate::backward::images::adjoint::PacketAdjoint;
use crate::backward::images::lines::PacketLines;
use crate::backward::images::walk::{Group, PacketWalk, Scene, groups};
use crate::bound::job::{BoundJob, walks};
use crate::bound::scratch::{PacketScratch, PartScratch, StageBounds, Worker};
use crate::bound::sums::{BoundCotangents, ChunkRegion, PartSums, Sums};
use crate::interval::chunk::Interval;
use crate::net::exchange::{image_len, pack, unpack};
use crate::net::images::{Normalise, store_cotangents};
use crate::simd::buffer::SLACK;
use crate::simd::lanes::{Lanes, WIDTH};

impl BoundJob<'_> {
    /// True if the specification of a chunk of `count` samples is walked as a packet, with images in lanes: margins from
    /// below over boxes along adaptive lines, if that takes no more vectors than rows in lanes would.
    pub fn in_packet(&self, count: usize) -> bool {
        let classes = self.specification.classes;
        matches!(self.specification.spec, Spec::Margins { .. })
            && !self.upper
            && self.region.ball.is_none()
            && self.relaxation.last() == Final::Backward
            && !self.parallel()
            && self.net.plan.hidden() > 0
            && count * self.specification.tiles() >= classes
    }

    /// The lines of all stages with images in lanes: from the walks' bounds in `images`, or from the interval pass.
    unsafe fn packet_lines<S: Lanes>(
        &self,
        packet: &mut PacketScratch,
        interval: &Interval,
        images: &StageBounds,
        count: usize,
    ) {
        let plan = self.net.plan;
        packet.lines.resize_with(plan.hidden().max(packet.lines.len()), PacketLines::default);
        packet.bounds.resize(plan.hidden());
        let PacketScratch { lines, bounds, staging, .. } = packet;
        for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate() {
            // SAFETY: all maps hold the stage, for sixteen images.
            unsafe {
                if !walks(self.relaxation) {
                    lines[index].build::<S>(stage, &interval.lower[index], &interval.upper[index]);
                    continue;
                }
                let (len, size) = (image_len(stage.output), stage.output.len() * WIDTH + SLACK);
                for (images, lanes) in [
                    (&images.lower[index], bounds.lower[index].at_least(size)),
                    (&images.upper[index], bounds.upper[index].at_least(size)),
                ] {
                    let staging = &mut staging.at_least(WIDTH * len)[..WIDTH * len];
                    // Images that do not exist get bounds 0: what stands there from before may be no number.
                    staging[..count * len].copy_from_slice(&images[..count * len]);
                    staging[count * len..].fill(0.0);
                    pack::<S, 1>(stage.output, staging, lanes);
                }
                lines[index].build::<S>(stage, &bounds.lower[index], &bounds.upper[index]);
            }
        }
    }

    /// Lower bounds of a chunk's margins, appended to `lower`.
    pub unsafe fn bound_packet<S: Lanes>(
        &self,
        worker: &mut Worker,
        images: &StageBounds,
        [first, count]: [usize; 2],
        lower: &mut Vec<f32>,
    ) {
        let Some(margins) = self.margins(first, count) else { return };
        let Worker { packet, interval, part, .. } = worker;
        // SAFETY: the interval pass holds the images, `images` their bounds.
        let scene = unsafe {
            self.packet_lines::<S>(packet, interval, images, count);
            let (center, radius) = (&interval.center[0], &interval.radius[0]);
            Scene { net: self.net, lines: &packet.lines, margins, center, radius }
        };
        let groups = groups::<S>(self.net.plan);
        let mut values = vec![[0.0; WIDTH]; margins.classes];
        // SAFETY: lines and input are in place.
        let walk = |walk: &mut PacketWalk, group: Group| unsafe { walk.bound::<S>(scene, group) };
        let found: Vec<_> = if self.parts <= 1 {
            groups.iter().map(|&group| walk(&mut part.packet_walk, group)).collect()
        } else {
            groups.par_iter().map(|&group| self.with_part(|part| walk(&mut part.packet_walk, group))).collect()
        };
        for (&(first, size), found) in groups.iter().zip(&found) {
            values[first..first + size].copy_from_slice(&found[..size]);
        }
        margins.append(&values, lower);
    }

    /// Pulls the margins' cotangents back with images in lanes; leaves those on the bounds in the worker's memory, image
    /// by image.
    pub unsafe fn packet_adjoint<S: Lanes>(
        &self,
        worker: &mut Worker,
        sums: &mut Sums,
        used: &StageBounds,
        [first, count]: [usize; 2],
        cotangents: &Cotangents<f32>,
        gradient: Option<&mut ChunkRegion>,
    ) {
        let Some(margins) = self.margins(first, count) else { return };
        let plan = self.net.plan;
        let Worker { packet, interval, part, .. } = worker;
        // SAFETY: the interval pass holds the images, `used` their bounds.
        unsafe {
            self.packet_lines::<S>(packet, interval, used, count);
            let PacketScratch { lines, bounds, on_bounds, staging } = packet;
            on_bounds.resize(plan.hidden());
            for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate() {
                let size = stage.output.len() * WIDTH + SLACK;
                on_bounds.lower[index].at_least(size)[..size].fill(0.0);
                on_bounds.upper[index].at_least(size)[..size].fill(0.0);
            }
            let (center, radius) = (&interval.center[0], &interval.radius[0]);
            let scene = Scene { net: self.net, lines, margins, center, radius };
            let behind = if walks(self.relaxation) {
                [&bounds.lower[..], &bounds.upper[..]]
            } else {
                [&interval.lower[..], &interval.upper[..]]
            };
            let rows = self.specification.rows();
            let g = &cotangents.lower[first * rows..(first + count) * rows];
            let region_wanted = gradient.is_some();
            let groups = groups::<S>(plan);
            let parts = sums.parts.len();
            let run = |part: &mut PartScratch, index: usize, sums: &mut PartSums| {
                let own = groups.iter().copied().skip(index).step_by(parts);
                let PartScratch { packet_walk, packet_adjoint, .. } = part;
                packet_adjoint.run::<S>(packet_walk, scene, g, sums.accumulator.as_mut(), own, region_wanted);
            };
            // Their memory goes back to the pool when what they found is carried on.
            let mut others: Vec<PartScratch> = Vec::new();
            let found: Vec<&PacketAdjoint> = if parts == 1 {
                run(part, 0, &mut sums.parts[0]);
                vec![&part.packet_adjoint]
            } else {
                let shares = sums.parts.par_iter_mut().enumerate();
                shares
                    .map(|(index, sums)| {
                        let mut part = self.scratch.parts.take();
                        run(&mut part, index, sums);
                        part
                    })
                    .collect_into_vec(&mut others);
                others.iter().map(|part| &part.packet_adjoint).collect()
            };
            for adjoint in &found {
                let weights = sums.parts[0].accumulator.as_mut();
                let on = [&mut on_bounds.lower[..], &mut on_bounds.upper[..]];
                adjoint.finish::<S>(scene, weights, behind, on);
            }
            if let Some(accumulator) = &mut sums.parts[0].accumulator {
                margins.add_bias(g, &mut accumulator.sums.stages[plan.hidden()].bias);
            }
            for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate() {
                let len = WIDTH * image_len(stage.output);
                for lanes in [&mut on_bounds.lower[index], &mut on_bounds.upper[index]] {
                    unpack::<S, 1>(stage.output, lanes, staging.at_least(len));
                    lanes.at_least(len)[..len].copy_from_slice(&staging[..len]);
                }
            }
            if let Some(gradient) = gradient {
                for [center, radius] in found.iter().filter_map(|adjoint| adjoint.region.as_ref()) {
                    store_cotangents(self.net, center, 1, Normalise::Point, &mut gradient.center);
                    store_cotangents(self.net, radius, 1, Normalise::Radius, &mut gradient.radius);
                }
            }
            others.into_iter().for_each(|part| self.scratch.parts.give(part));
        }
    }

    /// Adds what [`BoundJob::packet_adjoint`] found for one image.
    pub fn add_packet(&self, packet: &PacketScratch, image: usize, on_bounds: &mut BoundCotangents) {
        for (index, stage) in self.net.plan.stages[..self.net.plan.hidden()].iter().enumerate() {
            let len = image_len(stage.output);
            let (lower, upper) = (&mut on_bounds.lower[index], &mut on_bounds.upper[index]);
            for (target, source) in [(lower, &packet.on_bounds.lower[index]), (upper, &packet.on_bounds.upper[index])] {
                let source = &source[image * len..(image + 1) * len];
                target.iter_mut().zip(source).for_each(|(t, s)| *t += s);
            }
        }
    }
}
