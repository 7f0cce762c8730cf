//! Memory for the bounds of a batch: of its workers and of the parts that they divide their walks into.

use crate::backward::images::adjoint::PacketAdjoint;
use crate::backward::images::ascent::PacketAscent;
use crate::backward::images::lines::PacketLines;
use crate::backward::images::walk::{Coefficients, PacketWalk};
use crate::backward::rows::adjoint::NeuronSums;
use crate::backward::rows::lines::Lines;
use crate::backward::rows::tile::Sign;
use crate::backward::rows::walk::WalkScratch;
use crate::bound::hybrid::Hybrid;
use crate::interval::chunk::{Interval, IntervalCotangents};
use crate::simd::buffer::Buffer;
use crate::simd::pool::Pool;

/// One part's memory for walks.
#[derive(Default)]
pub struct PartScratch {
    pub walk: WalkScratch,
    pub packet_walk: PacketWalk,
    /// Coefficients of a group of margins that nobody keeps.
    pub coefficients: Coefficients,
    pub packet_adjoint: PacketAdjoint,
    pub packet_ascent: PacketAscent,
    pub rows: Buffer,
    pub row_cotangents: Buffer,
    /// Signs of the tile at hand.
    pub signs: Vec<Sign>,
}

/// Memory of one worker.
#[derive(Default)]
pub struct Worker {
    pub interval: Interval,
    pub cotangents: IntervalCotangents,
    pub lines: Vec<Lines>,
    pub hybrid: Hybrid,
    pub part: PartScratch,
    /// The interval pass's bounds image by image, then the walks'.
    pub bounds: StageBounds,
    /// Cotangents on them.
    pub on_bounds: StageBounds,
    pub packet: PacketScratch,
}

/// Memory for walks with images in lanes.
#[derive(Default)]
pub struct PacketScratch {
    pub lines: Vec<PacketLines>,
    /// The walks' bounds, and cotangents on them, `[position][channel][16]`.
    pub bounds: StageBounds,
    pub on_bounds: StageBounds,
    /// Sixteen images' maps.
    pub staging: Buffer,
}

/// What the walks of one packet's margins leave for their adjoint.
#[derive(Default)]
pub struct PacketTape {
    pub lines: Vec<PacketLines>,
    /// Per group of margins.
    pub walks: Vec<Coefficients>,
}

/// Bounds of the pre-activations per hidden stage, `[image][position][channel padded]`.
#[derive(Default)]
pub struct StageBounds {
    pub lower: Vec<Buffer>,
    pub upper: Vec<Buffer>,
    /// Signs of the walks' input coefficients per image and stage, where they are recorded.
    pub signs: Vec<Vec<Vec<Sign>>>,
}

impl StageBounds {
    /// Room for `stages` stages at least; memory already there stays.
    pub fn resize(&mut self, stages: usize) {
        let count = stages.max(self.lower.len());
        self.lower.resize_with(count, Buffer::default);
        self.upper.resize_with(count, Buffer::default);
    }

    /// Lower and upper bounds of stage `index` of one image, whose map has `len` elements.
    pub fn of_image(&self, len: usize, index: usize, image: usize) -> [&[f32]; 2] {
        [&self.lower[index], &self.upper[index]].map(|bounds| &bounds[image * len..(image + 1) * len])
    }
}

/// Free memory for the bounds of batches.
#[derive(Default)]
pub struct BoundScratch {
    pub workers: Pool<Worker>,
    pub parts: Pool<PartScratch>,
    pub intervals: Pool<Interval>,
    pub packets: Pool<PacketTape>,
    /// Cotangents on inputs of dense stages.
    pub maps: Pool<Buffer>,
    pub cotangents: Pool<IntervalCotangents>,
    /// Signs of an image's walks, per stage.
    pub signs: Pool<Vec<Vec<Sign>>>,
    pub neurons: Pool<NeuronSums>,
}
