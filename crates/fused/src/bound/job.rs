//! What is asked about the bounds of a batch.

use tightrope_engine::{Intermediate, LowerSlope, Region, Relaxation, Spec};

use crate::backward::rows::signs::SignLayout;
use crate::backward::rows::tile::Tile;
use crate::bound::scratch::{BoundScratch, PartScratch};
use crate::interval::ball_rows::BallRows;
use crate::interval::chunk::Interval;
use crate::interval::margins::Margins;
use crate::net::Net;
use crate::net::accumulate::GradientScratch;
use crate::net::spec::Specification;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::WIDTH;

/// From so many tiles on they share tables of sums.
pub const SHARED: usize = 4;

/// What is asked about a batch.
pub struct BoundJob<'a> {
    pub net: &'a Net<'a>,
    pub region: &'a Region<f32>,
    pub specification: Specification<'a>,
    pub relaxation: Relaxation,
    /// Bound the specification from above as well.
    pub upper: bool,
    /// Return the bounds of the pre-activations.
    pub layers: bool,
    /// Keep what the adjoint needs.
    pub keep: bool,
    pub ball: Option<&'a BallRows>,
    /// How signs are recorded, if they are.
    pub signs: Option<SignLayout>,
    /// The chunks' images where members of a population share them; for interval arithmetic alone.
    pub images: Option<&'a [Interval]>,
    /// Parts that the tiles of one image, or the margins of one chunk, are divided into, at most; fixed by the batch, not
    /// the threads.
    pub parts: usize,
    /// Free memory for bounds, and for gradients of weights.
    pub scratch: &'a BoundScratch,
    pub gradients: &'a GradientScratch,
}

/// True for the methods that bound intermediate layers by walks.
pub fn walks(relaxation: Relaxation) -> bool {
    match relaxation.intermediate() {
        Intermediate::Interval => false,
        Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable => true,
    }
}

impl BoundJob<'_> {
    /// Stages that the interval pass must bound.
    pub fn interval_depth(&self) -> usize {
        match self.relaxation.intermediate() {
            Intermediate::Backward => 1,
            Intermediate::Interval | Intermediate::Intersection | Intermediate::BackwardIfUnstable => {
                self.net.plan.hidden()
            }
        }
    }

    /// Whether both lines of an unstable ReLU have one slope. (Constant lines have, but are left to the reference engine.)
    pub fn parallel(&self) -> bool {
        match self.relaxation.lower_slope() {
            Some(LowerSlope::Parallel) => true,
            Some(LowerSlope::Adaptive | LowerSlope::Constant) | None => false,
        }
    }

    /// The margins of samples `first ..`, if margins are what is asked for.
    pub fn margins(&self, first: usize, count: usize) -> Option<Margins<'_>> {
        let Specification { spec, last, elements, classes } = self.specification;
        let Spec::Margins { labels } = spec else { return None };
        Some(Margins { last, elements, classes, labels: &labels[first..first + count] })
    }

    /// The tile of specification rows in `rows`.
    pub fn specification_tile(&self, rows: &Buffer) -> Tile {
        Tile { stage: self.net.plan.hidden(), position: [0, 0], rows: rows.as_ptr(), stride: WIDTH, tall: false }
    }

    /// Runs `work` with walk memory from the pool.
    pub fn with_part<R>(&self, work: impl FnOnce(&mut PartScratch) -> R) -> R {
        self.scratch.parts.with(work)
    }
}
