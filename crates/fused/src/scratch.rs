//! All free memory of an engine: it grows to what the calls need and is reused.

use crate::bound::scratch::BoundScratch;
use crate::clean::batch::CleanScratch;
use crate::net::accumulate::GradientScratch;
use crate::net::weights::Weights;
use crate::normed::NormedScratch;
use crate::simd::pool::Pool;

/// Memory of one worker's members.
#[derive(Default)]
pub struct MemberScratch {
    pub delta: Vec<f32>,
    pub theta: Vec<f32>,
    pub weights: Weights,
}

/// Free memory, by who needs it.
#[derive(Default)]
pub struct Scratch {
    pub weights: Pool<Weights>,
    pub clean: CleanScratch,
    pub normed: NormedScratch,
    pub bounds: BoundScratch,
    pub gradients: GradientScratch,
    pub members: Pool<MemberScratch>,
}
