//! What is asked about the bounds of a batch.

use tightrope_engine::{BoundRequest, Final, Intermediate, LowerSlope, Region, Relaxation, SlopeAscent, Spec};

use crate::backward::rows::signs::SignLayout;
use crate::backward::rows::tile::Tile;
use crate::bound::scratch::{BoundScratch, PartScratch};
use crate::interval::ball_rows::BallRows;
use crate::interval::chunk::Interval;
use crate::interval::margins::Margins;
use crate::net::Net;
use crate::net::accumulate::GradientScratch;
use crate::net::plan::Plan;
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
    /// Factor of the upper ends of unstable ReLUs, 1 but for interval arithmetic alone.
    pub shrinkage: f32,
    /// How the slopes of margins are optimised, if they are: margins over boxes from below, in packets.
    pub ascent: Option<SlopeAscent>,
    /// True if the batch goes from stage to stage as a whole, see [`passes_whole`].
    pub whole: bool,
    /// Bound the specification from above as well.
    pub upper: bool,
    /// Return the bounds of the pre-activations.
    pub layers: bool,
    /// Keep what the adjoint needs.
    pub keep: bool,
    /// Stages bounded with images in lanes, see [`crate::bound::narrow::narrow_stages`].
    pub narrow: usize,
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

/// Most coefficients that a walk keeps per image for its adjoint, in f32: a megabyte.
const KEPT: usize = 1 << 18;

/// Most coefficients of the first stage that a batch's walks keep as well, in f32: eight megabytes, which a third-level cache
/// holds. More would come back from memory no sooner than they are made again.
const KEPT_FIRST: usize = 1 << 21;

/// True if a batch's margins by `crown-ibp` are walked in packets between a whole interval pass and its adjoint, which keep
/// what they find: enough images to fill the lanes, and coefficients that are no more than a megabyte per image. Else chunks
/// go through everything by themselves.
fn walks_packets(plan: &Plan, region: &Region<f32>, spec: &Spec<f32>, upper: bool) -> bool {
    let later = plan.stages[..plan.hidden()].iter().skip(1).map(|stage| stage.output.len()).sum::<usize>();
    matches!(spec, Spec::Margins { .. })
        && !upper
        && region.ball.is_none()
        && plan.hidden() > 0
        && region.batch() >= WIDTH
        && (later + plan.dimension) * plan.classes <= KEPT
}

/// True if a batch goes from stage to stage as a whole, chunks in parallel and large dense stages in one go, in θ's order.
pub fn passes_whole(request: BoundRequest, plan: &Plan, region: &Region<f32>, spec: &Spec<f32>) -> bool {
    match (request.relaxation.last(), request.relaxation.intermediate()) {
        (Final::Interval, _) => true,
        (Final::Backward, Intermediate::Interval) => {
            request.climbs().is_none() && walks_packets(plan, region, spec, request.upper)
        }
        (Final::Backward, Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable) => {
            false
        }
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

    /// Whether values are hybrid zonotopes: the walks follow forms through stable neurons alone.
    pub fn hybrid(&self) -> bool {
        self.relaxation.boxes_errors()
    }

    /// Whether both lines of an unstable ReLU have one slope. (Hybrid zonotopes, whose lines are constant, show none to the
    /// walks.)
    pub fn parallel(&self) -> bool {
        match self.relaxation.lower_slope() {
            Some(LowerSlope::Parallel) => true,
            Some(LowerSlope::Adaptive | LowerSlope::Constant) | None => false,
        }
    }

    /// True if walks that are kept have the first stage's coefficients.
    pub fn keeps_first(&self) -> bool {
        let plan = self.net.plan;
        self.region.batch() * plan.stages[0].output.len() * plan.classes <= KEPT_FIRST
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
