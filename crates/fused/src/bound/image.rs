//! Bounds of one image by walks, rows in lanes.

use rayon::prelude::*;
use tightrope_engine::Intermediate;

use crate::backward::rows::input::InputSet;
use crate::backward::rows::lines::{Lines, is_unstable};
use crate::backward::rows::set::RowSet;
use crate::backward::rows::tile::{Keep, Pixels, Sign};
use crate::backward::rows::walk::Image;
use crate::bound::forward::ChunkBounds;
use crate::bound::job::{BoundJob, SHARED, walks};
use crate::bound::scratch::{PartScratch, StageBounds, Worker};
use crate::net::exchange::image_len;
use crate::net::weights::padded;
use crate::simd::lanes::{Lanes, RowValues};

impl BoundJob<'_> {
    /// Bounds every hidden stage of one image but the narrow ones, which are bounded already, and builds its lines, the last ones
    /// only if the specification walks with rows in lanes.
    ///
    /// # Safety
    /// The machine has `S`; `bounds` hold the interval pass of every image of the chunk.
    pub unsafe fn bound_stages<S: Lanes>(
        &self,
        worker: &mut Worker,
        input: &InputSet,
        image: usize,
        bounds: &mut StageBounds,
        in_packet: bool,
    ) {
        let plan = self.net.plan;
        worker.lines.resize_with(plan.hidden(), Lines::default);
        if self.hybrid() {
            worker.hybrid.start(self.net);
        }
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
            if index > 0 && index >= self.narrow && walks(self.relaxation) {
                let context = Image { net: self.net, lines: &worker.lines[..index], input };
                let signs = bounds.signs.get_mut(image).map(|stages| &mut stages[index]);
                // SAFETY: the lines of all stages before are built.
                unsafe { self.bound_stage::<S>(context, index, &mut worker.part, lower, upper, signs) };
            }
            let mut ends = [&*lower, &*upper];
            if self.hybrid() {
                // SAFETY: the machine is the caller's word.
                unsafe { worker.hybrid.carry::<S>(self.net, index) };
                worker.hybrid.widen([lower, upper]);
                ends = worker.hybrid.leave(stage, index, [lower, upper]);
            }
            if !in_packet || index + 1 < plan.hidden() {
                let bias = &self.net.weights.signed[index].bias;
                // SAFETY: bounds and biases hold the stage.
                unsafe { worker.lines[index].build::<S>(stage, bias, ends, self.parallel()) };
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

    /// Bounds of the specification of one image, appended to `result`.
    ///
    /// # Safety
    /// The machine has `S`; the lines of all stages are built.
    pub unsafe fn bound_by_walk<S: Lanes>(
        &self,
        worker: &mut Worker,
        input: &InputSet,
        sample: usize,
        result: &mut ChunkBounds,
    ) {
        let image = Image { net: self.net, lines: &worker.lines, input };
        let last = &self.net.plan.stages[self.net.plan.hidden()];
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
                if self.hybrid() {
                    worker.hybrid.widen_rows::<S>(last, part.rows.as_ptr(), &mut values);
                }
                for plane in &mut values {
                    plane.iter_mut().zip(&constants).for_each(|(v, c)| *v += c);
                }
                values
            };
            self.push_rows(tile, [&values[0], &values[1]], result);
        }
    }
}
