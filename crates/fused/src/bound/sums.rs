//! What the adjoints of bounds find: gradient sums of workers, and gradients of regions.

use tightrope_engine::{Cotangents, RegionGradient};

use crate::backward::rows::adjoint::NeuronSums;
use crate::backward::rows::input::InputGradient;
use crate::bound::job::BoundJob;
use crate::interval::chunk::RegionSums;
use crate::net::accumulate::Accumulator;
use crate::net::exchange::{add_planes, image_len};
use crate::simd::buffer::Buffer;

/// One part's sums: a share of the tiles of each image.
pub struct PartSums {
    pub accumulator: Option<Accumulator>,
    pub neurons: NeuronSums,
    pub input: Option<InputGradient>,
}

/// All sums of one worker; parts are added in order.
pub struct Sums {
    pub parts: Vec<PartSums>,
}

/// Gradient of one chunk's regions, `[count, d]`.
pub struct ChunkRegion {
    pub center: Vec<f32>,
    pub radius: Vec<f32>,
}

impl ChunkRegion {
    /// No gradient of `len` elements.
    pub fn zeros(len: usize) -> Self {
        ChunkRegion { center: vec![0.0; len], radius: vec![0.0; len] }
    }

    /// Where an interval pass adds its share.
    pub fn sums(&mut self) -> RegionSums<'_> {
        RegionSums { center: &mut self.center, radius: &mut self.radius }
    }
}

impl Sums {
    /// Zero sums for `job` in memory that `free` gives; without an accumulator there is no gradient of θ.
    pub fn new(job: &BoundJob<'_>, mut free: impl FnMut() -> (Option<Accumulator>, NeuronSums)) -> Self {
        let absolute = job.interval_depth() > 0;
        let parts = (0..job.parts.max(1)).map(|_| {
            let (mut accumulator, neurons) = free();
            accumulator.iter_mut().for_each(|accumulator| accumulator.reset(job.net, absolute));
            PartSums { accumulator, neurons, input: None }
        });
        Sums { parts: parts.collect() }
    }
}

/// Cotangents on one image's pre-activation bounds, per hidden stage, `[position][channel padded]`.
pub struct BoundCotangents {
    pub lower: Vec<Buffer>,
    pub upper: Vec<Buffer>,
}

/// What the adjoint of a batch finds: sums for θ, and gradients of regions if wanted.
pub struct Pulled {
    pub sums: Option<Accumulator>,
    pub region: Option<RegionGradient<f32>>,
}

/// Chunks' gradients in order.
pub fn join_regions(mut regions: Vec<(usize, ChunkRegion)>) -> RegionGradient<f32> {
    regions.sort_by_key(|(index, _)| *index);
    let mut total = RegionGradient { center: Vec::new(), radius: Vec::new() };
    for (_, region) in regions {
        total.center.extend(region.center);
        total.radius.extend(region.radius);
    }
    total
}

impl BoundJob<'_> {
    /// An unclipped ball has one radius; its gradient stands in element 0.
    pub fn finish_region(&self, mut gradient: Option<ChunkRegion>) -> Option<ChunkRegion> {
        if let (Some(gradient), Some(_), false) = (&mut gradient, &self.region.ball, self.region.clipped) {
            for radius in gradient.radius.chunks_exact_mut(self.net.plan.dimension) {
                radius[1..].fill(0.0);
            }
        }
        gradient
    }

    /// The caller's cotangents on one sample's pre-activation bounds.
    pub fn layer_cotangents(&self, cotangents: &Cotangents<f32>, sample: usize) -> BoundCotangents {
        let plan = self.net.plan;
        let hidden = &plan.stages[..plan.hidden()];
        let zeros = || hidden.iter().map(|stage| Buffer::zeroed(image_len(stage.output))).collect::<Vec<_>>();
        let mut result = BoundCotangents { lower: zeros(), upper: zeros() };
        for layer in &cotangents.layers {
            let node = layer.node;
            if let Some(index) = hidden.iter().position(|stage| stage.node == node) {
                let grid = hidden[index].output;
                let range = sample * grid.len()..(sample + 1) * grid.len();
                add_planes(grid, &layer.lower[range.clone()], &mut result.lower[index]);
                add_planes(grid, &layer.upper[range], &mut result.upper[index]);
            }
        }
        result
    }
}
