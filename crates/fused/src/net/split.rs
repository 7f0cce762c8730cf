//! How a batch is split: chunks of images, slots of gradient sums, parts of walks, bands of rows, sections of stages.
//!
//! None of it depends on the number of threads, so results do not either.

use std::ops::Range;

use tightrope_engine::{Final, Intermediate, Relaxation};

use crate::net::Net;
use crate::net::plan::Plan;
use crate::simd::lanes::WIDTH;

/// Most gradient accumulators for one batch; bounds their memory.
const SLOTS: usize = 16;
/// The same for networks of more than [`LARGE`] parameters.
const SLOTS_LARGE: usize = 4;
const LARGE: usize = 1 << 22;
/// From so many parameters on, adding up one more gradient costs as much as a margin or two.
const MANY: usize = 1 << 20;
/// Below this many chunks an image's tiles are divided as well.
pub const BUSY: usize = 8;

/// Chunks that pass dense stages together where nothing is kept; bounds the memory.
pub const GROUP: usize = 8;

/// Images in lanes for a batch.
pub fn image_chunk(batch: usize) -> usize {
    if batch > WIDTH { 2 * WIDTH } else { WIDTH }
}

/// Images of one chunk of bounds.
pub fn bound_chunk(relaxation: Relaxation, batch: usize) -> usize {
    match (relaxation.last(), relaxation.intermediate()) {
        (Final::Interval, _) => image_chunk(batch),
        // The interval pass is a good part of the work: fill its lanes.
        (Final::Backward, Intermediate::Interval) if batch >= WIDTH => WIDTH,
        (Final::Backward, _) if batch >= BUSY * WIDTH => WIDTH,
        (Final::Backward, _) => batch.div_ceil(SLOTS).clamp(1, WIDTH),
    }
}

/// Gradient accumulators for so many chunks.
pub fn slots(plan: &Plan, chunks: usize) -> usize {
    chunks.min(if parameters(plan) > LARGE { SLOTS_LARGE } else { SLOTS })
}

fn parameters(plan: &Plan) -> usize {
    plan.stages.iter().map(|s| s.taps() * s.input.c * s.output.c).sum()
}

/// Parts that the walks of each of so many chunks are divided into: tiles, or for `crown-ibp` groups of margins, of which
/// there are few. Every part has gradient sums of its own.
pub fn parts(plan: &Plan, relaxation: Relaxation, chunks: usize) -> usize {
    if chunks >= BUSY {
        return 1;
    }
    match (relaxation.last(), relaxation.intermediate()) {
        (Final::Interval, _) => 1,
        (Final::Backward, Intermediate::Interval) => {
            BUSY.div_ceil(chunks).min(if parameters(plan) > MANY { 2 } else { 3 })
        }
        (Final::Backward, Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable) => {
            BUSY.div_ceil(chunks)
        }
    }
}

/// Bands of rows that each of so many chunks is divided into.
pub fn bands(chunks: usize) -> usize {
    (BUSY / chunks).max(1)
}

/// Stages that a batch takes in one go.
pub enum Section<'a> {
    /// Each chunk of images by itself.
    Chunks(Range<usize>),
    /// All chunks together, divided by outputs: the stage and its weights.
    Dense(usize, &'a [f32]),
}

impl<'a> Net<'a> {
    /// The stages in order, cut at those that a batch's chunks pass together.
    pub fn sections(&self) -> Vec<Section<'a>> {
        let mut sections = Vec::new();
        let mut start = 0;
        for (index, dense) in self.dense.iter().enumerate() {
            if let Some((weights, _)) = dense {
                sections.extend([Section::Chunks(start..index), Section::Dense(index, weights)]);
                start = index + 1;
            }
        }
        sections.push(Section::Chunks(start..self.plan.stages.len()));
        sections
    }
}
