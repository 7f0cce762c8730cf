//! Bounds of one chunk of samples: the domains composed into the named relaxations.

use tightrope_engine::Final;

use crate::backward::rows::input::InputSet;
use crate::bound::job::{BoundJob, walks};
use crate::bound::scratch::{PacketTape, StageBounds, Worker};
use crate::interval::chunk::Interval;
use crate::interval::rows;
use crate::net::Net;
use crate::net::exchange::{image_len, to_planes, unpack};
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
    /// The walks behind an interval pass over the whole batch, if the adjoint needs them.
    pub packet: Option<PacketTape>,
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
            // All bounds are with images in lanes.
            let in_lanes = !walks(self.relaxation) || self.narrow == self.net.plan.hidden();
            let ready = in_packet && in_lanes;
            let by_image = !ready || self.layers || self.keep && walks(self.relaxation);
            if by_image {
                self.unpack_interval::<S, VP>(&worker.interval, &mut bounds);
            }
            if self.narrow > 0 {
                self.bound_narrow::<S>(worker, &mut bounds, count, by_image);
            }
            for image in 0..if ready { 0 } else { count } {
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

    /// Bounds of one chunk behind its interval pass: by interval arithmetic alone, or margins walked in a packet.
    ///
    /// # Safety
    /// The machine has `S`; the interval pass holds the chunk.
    pub unsafe fn bound_behind_interval<S: Lanes, const VP: usize>(
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
        if self.relaxation.last() == Final::Backward {
            // SAFETY: the interval pass stored the ends; packets have sixteen images.
            unsafe { self.walk_packet::<S>(interval, [first, count], result) };
            return;
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

    /// Appends the bounds of a tile of specification rows, of which only those that exist.
    pub fn push_rows(&self, tile: usize, [lower, upper]: [&[f32]; 2], result: &mut ChunkBounds) {
        let rows = (self.specification.rows() - tile * WIDTH).min(WIDTH);
        result.lower.extend_from_slice(&lower[..rows]);
        if self.upper {
            result.upper.extend_from_slice(&upper[..rows]);
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
