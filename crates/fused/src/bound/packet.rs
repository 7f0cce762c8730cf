//! Margins of a packet, sixteen images in lanes: when they are walked so, from which bounds, and what flows back to them.

use rayon::prelude::*;
use tightrope_engine::{Cotangents, Final, Spec};

use crate::backward::images::adjoint::{OnInputs, Source};
use crate::backward::images::lines::PacketLines;
use crate::backward::images::walk::{Coefficients, Group, Keep, Scene, groups};
use crate::bound::forward::ChunkBounds;
use crate::bound::job::{BoundJob, walks};
use crate::bound::scratch::{PacketScratch, PacketTape, PartScratch, StageBounds, Worker};
use crate::bound::sums::{BoundCotangents, ChunkRegion, Sums};
use crate::interval::chunk::{Interval, IntervalCotangents};
use crate::net::accumulate::Accumulator;
use crate::net::exchange::{image_len, pack, unpack};
use crate::net::images::{Normalise, store_cotangents};
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

/// Bounds of all hidden stages, `[position][channel][16]`, and where their cotangents go: added if `add`, else written.
struct Ends<'a> {
    bounds: [&'a [Buffer]; 2],
    on: [&'a mut [Buffer]; 2],
    add: bool,
}

impl BoundJob<'_> {
    /// True if the specification of a chunk of `count` samples is walked as a packet, with images in lanes: margins from
    /// below over boxes along adaptive lines, if that takes no more vectors than rows in lanes would, or slopes are optimised.
    pub fn in_packet(&self, count: usize) -> bool {
        let classes = self.specification.classes;
        matches!(self.specification.spec, Spec::Margins { .. })
            && !self.upper
            && self.region.ball.is_none()
            && self.relaxation.last() == Final::Backward
            && !self.parallel()
            && !self.hybrid()
            && self.net.plan.hidden() > 0
            && (self.ascent.is_some() || count * self.specification.tiles() >= classes)
    }

    /// The lines of all stages with images in lanes but the first `done`, which have theirs: from the walks' bounds in
    /// `images`, or from the interval pass.
    unsafe fn packet_lines<S: Lanes>(
        &self,
        packet: &mut PacketScratch,
        interval: &Interval,
        images: &StageBounds,
        [done, count]: [usize; 2],
    ) {
        let plan = self.net.plan;
        packet.lines.resize_with(plan.hidden().max(packet.lines.len()), PacketLines::default);
        packet.bounds.resize(plan.hidden());
        let PacketScratch { lines, bounds, staging, .. } = packet;
        for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate().skip(done) {
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
        let Worker { packet, interval, .. } = worker;
        // SAFETY: the interval pass holds the images, `images` their bounds.
        let scene = unsafe {
            self.packet_lines::<S>(packet, interval, images, [self.narrow, count]);
            let (center, radius) = (&interval.center[0], &interval.radius[0]);
            Scene { net: self.net, lines: &packet.lines, margins, center, radius }
        };
        // SAFETY: lines and input are in place.
        unsafe { self.walk_groups::<S>(scene, None, lower) };
    }

    /// Walks all margins of a packet and appends their lower bounds; `kept` is there for the coefficients of each group.
    unsafe fn walk_groups<S: Lanes>(
        &self,
        scene: Scene<'_>,
        kept: Option<&mut Vec<Coefficients>>,
        lower: &mut Vec<f32>,
    ) {
        let groups = groups::<S>(self.net.plan);
        let memory: Vec<Option<&mut Coefficients>> = match kept {
            Some(kept) => {
                kept.resize_with(groups.len().max(kept.len()), Coefficients::default);
                kept.iter_mut().take(groups.len()).map(Some).collect()
            }
            None => groups.iter().map(|_| None).collect(),
        };
        let keep = if self.keeps_first() { Keep::All } else { Keep::Later };
        let walk = |(&group, kept): (&Group, Option<&mut Coefficients>)| {
            self.with_part(|part| {
                let PartScratch { packet_walk, coefficients, packet_ascent, .. } = part;
                // SAFETY: lines and input are in place.
                unsafe {
                    if let Some(ascent) = self.ascent {
                        return packet_ascent.bound::<S>(packet_walk, scene, group, ascent);
                    }
                    match kept {
                        Some(kept) => packet_walk.bound::<S>(scene, group, keep, kept),
                        None => packet_walk.bound::<S>(scene, group, Keep::Nothing, coefficients),
                    }
                }
            })
        };
        let found: Vec<_> = if self.parts <= 1 {
            groups.iter().zip(memory).map(walk).collect()
        } else {
            groups.par_iter().zip(memory).map(walk).collect()
        };
        let mut values = vec![[0.0; WIDTH]; scene.margins.classes.saturating_sub(1)];
        for (&(first, size), found) in groups.iter().zip(&found) {
            values[first..first + size].copy_from_slice(&found[..size]);
        }
        scene.margins.append(&values, lower);
    }

    /// Walks the margins of one packet behind an interval pass over the whole batch.
    ///
    /// # Safety
    /// The machine has `S`; the interval pass holds the packet and its ends.
    pub unsafe fn walk_packet<S: Lanes>(
        &self,
        interval: &Interval,
        [first, count]: [usize; 2],
        result: &mut ChunkBounds,
    ) {
        let Some(margins) = self.margins(first, count) else { return };
        let plan = self.net.plan;
        let mut packet = self.scratch.packets.take();
        let PacketTape { lines, walks } = &mut packet;
        lines.resize_with(plan.hidden().max(lines.len()), PacketLines::default);
        // SAFETY: the interval pass holds all stages.
        unsafe {
            for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate() {
                lines[index].build::<S>(stage, &interval.lower[index], &interval.upper[index]);
            }
            let (center, radius) = (&interval.center[0], &interval.radius[0]);
            let scene = Scene { net: self.net, lines, margins, center, radius };
            self.walk_groups::<S>(scene, self.keep.then_some(walks), &mut result.lower);
        }
        if self.keep {
            result.packet = Some(packet);
        } else {
            self.scratch.packets.give(packet);
        }
    }

    /// The adjoint of [`BoundJob::walk_packet`]: cotangents on the ends of the interval pass, added to those in `on` if the
    /// caller gives any on layers, and what the dense stages' gradients need.
    ///
    /// # Safety
    /// The machine has `S`; interval pass and tape are the packet's.
    pub unsafe fn climb_packet<S: Lanes>(
        &self,
        interval: &Interval,
        packet: &PacketTape,
        on: &mut IntervalCotangents,
        accumulator: Option<&mut Accumulator>,
        [first, count]: [usize; 2],
        cotangents: &Cotangents<f32>,
        region: Option<&mut ChunkRegion>,
    ) -> Vec<OnInputs> {
        let Some(margins) = self.margins(first, count) else { return Vec::new() };
        let (center, radius) = (&interval.center[0], &interval.radius[0]);
        let scene = Scene { net: self.net, lines: &packet.lines, margins, center, radius };
        let classes = margins.classes;
        let g = &cotangents.lower[first * classes..(first + count) * classes];
        let ends = Ends {
            bounds: [&interval.lower, &interval.upper],
            on: [&mut on.lower, &mut on.upper],
            add: !cotangents.layers.is_empty(),
        };
        let parts = self.parts.min(groups::<S>(self.net.plan).len()).max(1);
        let mut others: Vec<Accumulator> = Vec::new();
        let mut accumulators: Vec<Option<&mut Accumulator>> = Vec::new();
        if let Some(first) = accumulator {
            others.extend((1..parts).map(|_| self.gradients.accumulators.take()));
            others.iter_mut().for_each(|other| other.reset(self.net, true));
            // SAFETY: passed on from the caller.
            let found = unsafe {
                accumulators.push(Some(&mut *first));
                accumulators.extend(others.iter_mut().map(Some));
                self.climb_groups::<S>(scene, Some(&packet.walks), g, accumulators, ends, region)
            };
            for mut other in others {
                // SAFETY: the machine has `S`.
                unsafe { other.finish::<S>() };
                first.sums.add(&other.sums);
                self.gradients.accumulators.give(other);
            }
            return found;
        }
        accumulators.resize_with(parts, || None);
        // SAFETY: passed on from the caller.
        unsafe { self.climb_groups::<S>(scene, Some(&packet.walks), g, accumulators, ends, region) }
    }

    /// Pulls the cotangents `g` of a packet's margins back, a share of the groups to each of `accumulators`, from walks that
    /// were kept or are made once more.
    unsafe fn climb_groups<S: Lanes>(
        &self,
        scene: Scene<'_>,
        kept: Option<&[Coefficients]>,
        g: &[f32],
        mut accumulators: Vec<Option<&mut Accumulator>>,
        ends: Ends<'_>,
        region: Option<&mut ChunkRegion>,
    ) -> Vec<OnInputs> {
        let groups = groups::<S>(self.net.plan);
        accumulators.truncate(groups.len().max(1));
        let parts = accumulators.len();
        let run = |(index, accumulator): (usize, &mut Option<&mut Accumulator>)| {
            let mut part = self.scratch.parts.take();
            let own = groups.iter().copied().enumerate().skip(index).step_by(parts);
            let PartScratch { packet_walk, packet_adjoint, coefficients, .. } = &mut part;
            let kept = kept.map(|walks| Source::Kept { walks, complete: self.keeps_first() });
            let source = kept.unwrap_or(Source::Walked(coefficients));
            let (weights, wanted, maps) = (accumulator.as_deref_mut(), region.is_some(), &self.scratch.maps);
            // SAFETY: passed on from the caller.
            unsafe { packet_adjoint.run::<S>(packet_walk, source, scene, g, weights, own, wanted, maps) };
            part
        };
        let mut found: Vec<PartScratch> = Vec::new();
        if parts == 1 {
            found.extend(accumulators.iter_mut().enumerate().map(run));
        } else {
            accumulators.par_iter_mut().enumerate().map(run).collect_into_vec(&mut found);
        }
        let Ends { bounds, on: [lower, upper], mut add } = ends;
        for part in &found {
            let weights = accumulators[0].as_deref_mut();
            // SAFETY: all maps hold the stages.
            unsafe { part.packet_adjoint.finish::<S>(scene, weights, bounds, [&mut *lower, &mut *upper], add) };
            add = true;
        }
        if let Some(accumulator) = &mut accumulators[0] {
            scene.margins.add_bias(g, &mut accumulator.sums.stages[self.net.plan.hidden()].bias);
        }
        if let Some(gradient) = region {
            for [center, radius] in found.iter().filter_map(|part| part.packet_adjoint.region.as_ref()) {
                // SAFETY: the maps have lanes for a packet's images.
                unsafe {
                    store_cotangents::<S, 1>(self.net, center, Normalise::Point, &mut gradient.center);
                    store_cotangents::<S, 1>(self.net, radius, Normalise::Radius, &mut gradient.radius);
                }
            }
        }
        let mut on_inputs = Vec::new();
        for mut part in found {
            on_inputs.append(&mut part.packet_adjoint.on_inputs);
            self.scratch.parts.give(part);
        }
        on_inputs
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
        let Worker { packet, interval, .. } = worker;
        // SAFETY: the interval pass holds the images, `used` their bounds.
        unsafe {
            self.packet_lines::<S>(packet, interval, used, [0, count]);
            let PacketScratch { lines, bounds, on_bounds, staging } = packet;
            on_bounds.resize(plan.hidden());
            for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate() {
                let size = stage.output.len() * WIDTH + SLACK;
                on_bounds.lower[index].at_least(size);
                on_bounds.upper[index].at_least(size);
            }
            let (center, radius) = (&interval.center[0], &interval.radius[0]);
            let scene = Scene { net: self.net, lines, margins, center, radius };
            let bounds = if walks(self.relaxation) {
                [&bounds.lower[..], &bounds.upper[..]]
            } else {
                [&interval.lower[..], &interval.upper[..]]
            };
            let rows = self.specification.rows();
            let g = &cotangents.lower[first * rows..(first + count) * rows];
            let accumulators = sums.parts.iter_mut().map(|part| part.accumulator.as_mut()).collect();
            let ends = Ends { bounds, on: [&mut on_bounds.lower, &mut on_bounds.upper], add: false };
            self.climb_groups::<S>(scene, None, g, accumulators, ends, gradient);
            for (index, stage) in plan.stages[..plan.hidden()].iter().enumerate() {
                let len = WIDTH * image_len(stage.output);
                for lanes in [&mut on_bounds.lower[index], &mut on_bounds.upper[index]] {
                    unpack::<S, 1>(stage.output, lanes, staging.at_least(len));
                    lanes.at_least(len)[..len].copy_from_slice(&staging[..len]);
                }
            }
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
