//! Bounds of one chunk of samples: the domains composed into the named relaxations.

use rayon::prelude::*;
use tightrope_engine::Intermediate;

use crate::backward::rows::input::InputSet;
use crate::backward::rows::lines::{Lines, is_unstable};
use crate::backward::rows::set::RowSet;
use crate::backward::rows::tile::{Keep, Pixels, RowValues, Sign};
use crate::backward::rows::walk::Image;
use crate::bound::job::{BoundJob, SHARED, walks};
use crate::bound::scratch::{PartScratch, StageBounds, Worker};
use crate::interval::chunk::Interval;
use crate::interval::rows;
use crate::net::Net;
use crate::net::exchange::{image_len, to_planes, unpack};
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// Bounds of one chunk.
#[derive(Default)]
pub struct ChunkBounds {
    pub lower: Vec<f32>,
    pub upper: Vec<f32>,
    /// Per hidden stage, lower and upper `[image][channel][height][width]`.
    pub layers: Vec<[Vec<f32>; 2]>,
    /// Bounds the ReLUs used, if the adjoint needs them.
    pub kept: Option<StageBounds>,
}

impl BoundJob<'_> {
    /// Bounds of samples `first .. first + count`.
    ///
    /// # Safety
    /// The machine has `S`; `count` ≤ 16·VP.
    pub unsafe fn bound<S: Lanes, const VP: usize>(
        &self,
        worker: &mut Worker,
        first: usize,
        count: usize,
    ) -> ChunkBounds {
        let mut result = ChunkBounds::default();
        // SAFETY: the machine and the chunk's size are the caller's word.
        unsafe {
            let depth = self.interval_depth();
            worker.interval.forward::<S, VP>(self.net, self.region, [first, count], self.ball, depth);
            let in_packet = self.in_packet(count);
            let mut bounds = std::mem::take(&mut worker.bounds);
            if !in_packet || walks(self.relaxation) || self.layers {
                self.unpack_interval::<S, VP>(&worker.interval, &mut bounds);
            }
            for image in 0..count {
                if in_packet && !walks(self.relaxation) {
                    break;
                }
                let input = InputSet::new(self.net, self.region, first + image);
                self.bound_stages::<S>(worker, &input, image, &mut bounds, in_packet);
                if !in_packet {
                    self.bound_by_walk::<S>(worker, &input, first + image, &mut result);
                }
            }
            if in_packet {
                self.bound_packet::<S>(worker, &bounds, [first, count], &mut result.lower);
            }
            if self.layers {
                self.export_layers(&bounds, count, &mut result);
            }
            result.kept = (self.keep && walks(self.relaxation)).then(|| shrink(self.net, &mut bounds, count));
            worker.bounds = bounds;
        }
        result
    }

    /// The interval pass's bounds, image by image; room for those of deeper stages.
    pub unsafe fn unpack_interval<S: Lanes, const VP: usize>(&self, interval: &Interval, bounds: &mut StageBounds) {
        bounds.resize(self.net.plan.hidden());
        for index in 0..self.net.plan.hidden() {
            let grid = self.net.plan.stages[index].output;
            for (lanes, images) in [(&interval.lower, &mut bounds.lower), (&interval.upper, &mut bounds.upper)] {
                let buffer = images[index].at_least(image_len(grid) * WIDTH * VP);
                if index < self.interval_depth() {
                    // SAFETY: the interval pass sized its maps with slack.
                    unsafe { unpack::<S, VP>(grid, &lanes[index], buffer) };
                }
            }
        }
    }

    fn export_layers(&self, bounds: &StageBounds, count: usize, result: &mut ChunkBounds) {
        for index in 0..self.net.plan.hidden() {
            let grid = self.net.plan.stages[index].output;
            let len = image_len(grid);
            let export = |buffer: &Buffer| {
                let mut planes = Vec::with_capacity(count * grid.len());
                (0..count).for_each(|image| to_planes(grid, &buffer[image * len..][..len], &mut planes));
                planes
            };
            result.layers.push([export(&bounds.lower[index]), export(&bounds.upper[index])]);
        }
    }

    /// Bounds of one chunk by interval arithmetic alone.
    ///
    /// # Safety
    /// The machine has `S`; the interval pass holds the chunk.
    pub unsafe fn bound_by_interval<S: Lanes, const VP: usize>(
        &self,
        interval: &Interval,
        worker: &mut Worker,
        [first, count]: [usize; 2],
        result: &mut ChunkBounds,
    ) {
        if self.layers {
            // SAFETY: the interval pass stored the ends.
            unsafe { self.unpack_interval::<S, VP>(interval, &mut worker.bounds) };
            self.export_layers(&worker.bounds, count, result);
        }
        let rows = &mut worker.part.rows;
        if let Some(margins) = self.margins(first, count) {
            let upper = self.upper.then_some(&mut result.upper);
            // SAFETY: the interval pass holds the images.
            unsafe { margins.bound::<S, VP>(interval, rows, &mut result.lower, upper) };
            return;
        }
        for image in 0..count {
            for tile in 0..self.specification.tiles() {
                // SAFETY: the interval pass holds the image.
                let values = unsafe {
                    let constants = self.specification.fill::<S>(first + image, tile, rows);
                    let elements = self.specification.elements;
                    rows::bound_rows::<S>(rows, interval, elements, VP, image, &constants)
                };
                self.push_rows(tile, [&values[0], &values[1]], result);
            }
        }
    }

    fn push_rows(&self, tile: usize, [lower, upper]: [&[f32]; 2], result: &mut ChunkBounds) {
        let rows = (self.specification.rows() - tile * WIDTH).min(WIDTH);
        result.lower.extend_from_slice(&lower[..rows]);
        if self.upper {
            result.upper.extend_from_slice(&upper[..rows]);
        }
    }

    /// Bounds every hidden stage of one image and builds its lines, the last ones only if the specification walks with
    /// rows in lanes.
    unsafe fn bound_stages<S: Lanes>(
        &self,
        worker: &mut Worker,
        input: &InputSet,
        image: usize,
        bounds: &mut StageBounds,
        in_packet: bool,
    ) {
        let plan = self.net.plan;
        worker.lines.resize_with(plan.hidden(), Lines::default);
        if let Some(layout) = &self.signs {
            let mut stages = self.scratch.signs.take();
            layout.make_room(&mut stages);
            bounds.signs.resize_with(image, Vec::new);
            bounds.signs.push(stages);
        }
        for index in 0..plan.hidden() {
            let stage = &plan.stages[index];
            let len = image_len(stage.output);
            let range = image * len..(image + 1) * len;
            let lower = &mut bounds.lower[index][range.clone()];
            let upper = &mut bounds.upper[index][range];
            if index > 0 && walks(self.relaxation) {
                let context = Image { net: self.net, lines: &worker.lines[..index], input };
                let signs = bounds.signs.get_mut(image).map(|stages| &mut stages[index]);
                // SAFETY: the lines of all stages before are built.
                unsafe { self.bound_stage::<S>(context, index, &mut worker.part, lower, upper, signs) };
            }
            if !in_packet || index + 1 < plan.hidden() {
                let bias = &self.net.weights.signed[index].bias;
                // SAFETY: bounds and biases hold the stage.
                unsafe { worker.lines[index].build::<S>(stage, bias, lower, upper) };
            }
        }
    }

    /// Walks the rows of one stage; `lower` and `upper` come with the interval bounds where the method uses them.
    unsafe fn bound_stage<S: Lanes>(
        &self,
        image: Image<'_>,
        index: usize,
        part: &mut PartScratch,
        lower: &mut [f32],
        upper: &mut [f32],
        signs: Option<&mut Vec<Sign>>,
    ) {
        let stage = &self.net.plan.stages[index];
        let intermediate = self.relaxation.intermediate();
        let row = padded(stage.output.c);
        let tiles = RowSet::tiles(self.net, index, S::GROUPS, |position, c| {
            let i = position * row + c;
            intermediate != Intermediate::BackwardIfUnstable || is_unstable(lower[i], upper[i])
        });
        let mut ends: Vec<Pixels<'_>> = match (&self.signs, signs) {
            (Some(layout), Some(signs)) => {
                layout.divide(index, &tiles, signs).into_iter().map(Pixels::Record).collect()
            }
            _ => tiles.iter().map(|_| Pixels::Bound).collect(),
        };
        // Tiles of the same lines share the sums' tables, if there are enough of them.
        let pitch = if tiles.len() >= SHARED { 2 * S::GROUPS } else { 0 };
        let walk = |part: &mut PartScratch, (set, ends): (&RowSet, &mut Pixels<'_>)| {
            let tile = set.tile(self.net, index, &mut part.rows);
            let ends = std::mem::replace(ends, Pixels::Bound);
            // SAFETY: the tile's rows are the stage's weights.
            unsafe {
                if tile.tall {
                    part.walk.forward::<S, 2, 2>(image, &tile, Keep::Nothing, ends)
                } else {
                    part.walk.forward::<S, 2, 1>(image, &tile, Keep::Nothing, ends)
                }
            }
        };
        let values: Vec<RowValues> = if self.parts <= 1 {
            part.walk.whole.start(pitch);
            let values = tiles.iter().zip(&mut ends).map(|job| walk(part, job)).collect();
            part.walk.whole.stop();
            values
        } else {
            let share = tiles.len().div_ceil(self.parts).max(1);
            let shares: Vec<Vec<_>> = tiles
                .par_chunks(share)
                .zip(ends.par_chunks_mut(share))
                .map(|(sets, ends)| {
                    self.with_part(|part| {
                        part.walk.whole.start(pitch);
                        let values = sets.iter().zip(ends).map(|job| walk(part, job)).collect();
                        part.walk.whole.stop();
                        values
                    })
                })
                .collect();
            shares.concat()
        };
        let bias = &self.net.weights.signed[index].bias;
        for (set, values) in tiles.iter().zip(&values) {
            set.each(stage.output.c, |lane, c| {
                let i = set.position() * row + c;
                let (low, high) = (values[0][lane] + bias[c], values[1][lane] + bias[c]);
                match intermediate {
                    Intermediate::Intersection => {
                        lower[i] = lower[i].max(low);
                        upper[i] = upper[i].min(high);
                    }
                    // A whole block may be walked for the sake of some of its rows.
                    Intermediate::BackwardIfUnstable if !is_unstable(lower[i], upper[i]) => {}
                    Intermediate::Interval | Intermediate::Backward | Intermediate::BackwardIfUnstable => {
                        (lower[i], upper[i]) = (low, high)
                    }
                }
            });
        }
    }

    unsafe fn bound_by_walk<S: Lanes>(
        &self,
        worker: &mut Worker,
        input: &InputSet,
        sample: usize,
        result: &mut ChunkBounds,
    ) {
        let image = Image { net: self.net, lines: &worker.lines, input };
        for tile in 0..self.specification.tiles() {
            let part = &mut worker.part;
            // SAFETY: all lines are built; the rows hold the last stage's window.
            let values = unsafe {
                let constants = self.specification.fill::<S>(sample, tile, &mut part.rows);
                let spec = self.specification_tile(&part.rows);
                let mut values = if self.upper {
                    part.walk.forward::<S, 2, 1>(image, &spec, Keep::Nothing, Pixels::Bound)
                } else {
                    part.walk.forward::<S, 1, 1>(image, &spec, Keep::Nothing, Pixels::Bound)
                };
                for plane in &mut values {
                    plane.iter_mut().zip(&constants).for_each(|(v, c)| *v += c);
                }
                values
            };
            self.push_rows(tile, [&values[0], &values[1]], result);
        }
    }
}

/// Only the images that exist.
fn shrink(net: &Net<'_>, bounds: &mut StageBounds, count: usize) -> StageBounds {
    let cut = |buffers: &[Buffer]| {
        let hidden = net.plan.hidden();
        let cut = buffers[..hidden].iter().enumerate().map(|(index, buffer)| {
            let len = count * image_len(net.plan.stages[index].output);
            let mut kept = Buffer::zeroed(len);
            kept[..len].copy_from_slice(&buffer[..len]);
            kept
        });
        cut.collect()
    };
    let signs = std::mem::take(&mut bounds.signs);
    StageBounds { lower: cut(&bounds.lower), upper: cut(&bounds.upper), signs }
}
