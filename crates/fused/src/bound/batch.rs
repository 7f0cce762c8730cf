//! A batch cut into chunks of images: how large, how many gradient sums, and bounds and adjoints over all of them.
//!
//! Neither depends on the number of threads, so results do not either.

use rayon::prelude::*;
use tightrope_engine::{Cotangents, LayerSlopes, RegionGradient, Relaxation, Wants};

use crate::backward::rows::slopes::{ChunkSlopes, join};
use crate::bound::adjoint::{ChunkRegion, Sums};
use crate::bound::forward::{ChunkBounds, Job, StageBounds};
use crate::bound::interval;
use crate::engine::{Pool, give, take, with};
use crate::interval::chunk::Interval;
use crate::net::accumulate::Accumulator;
use crate::net::plan::Plan;
use crate::simd::lanes::{Lanes, WIDTH};

/// Most gradient accumulators for one batch; bounds their memory.
const SLOTS: usize = 16;
/// The same for networks of more than [`LARGE`] parameters.
const SLOTS_LARGE: usize = 4;
const LARGE: usize = 1 << 22;
/// From so many parameters on, adding up one more gradient costs as much as a margin or two.
const MANY: usize = 1 << 20;
/// Below this many chunks an image's tiles are divided as well.
pub(crate) const BUSY: usize = 8;

/// Sums of one slot, and the gradients of regions and slopes of each of its chunks.
type SlotResult = (Vec<Accumulator>, Vec<(usize, (Option<ChunkRegion>, ChunkSlopes))>);

/// Images in lanes for a batch.
pub(crate) fn image_chunk(batch: usize) -> usize {
    if batch > WIDTH { 2 * WIDTH } else { WIDTH }
}

/// Images of one chunk of bounds.
pub(crate) fn bound_chunk(relaxation: Relaxation, batch: usize) -> usize {
    match relaxation {
        Relaxation::Ibp => image_chunk(batch),
        // The interval pass is a good part of the work: fill its lanes.
        Relaxation::CrownIbp if batch >= WIDTH => WIDTH,
        _ if batch >= BUSY * WIDTH => WIDTH,
        _ => batch.div_ceil(SLOTS).clamp(1, WIDTH),
    }
}

/// Gradient accumulators for so many chunks.
pub(crate) fn slots(plan: &Plan, chunks: usize) -> usize {
    chunks.min(if parameters(plan) > LARGE { SLOTS_LARGE } else { SLOTS })
}

fn parameters(plan: &Plan) -> usize {
    plan.stages.iter().map(|s| s.taps() * s.input.c * s.output.c).sum()
}

/// Parts that the walks of each of so many chunks are divided into: tiles, or for `crown-ibp` groups of margins, of which
/// there are few. Every part has gradient sums of its own.
pub(crate) fn parts(plan: &Plan, relaxation: Relaxation, chunks: usize) -> usize {
    match relaxation {
        _ if chunks >= BUSY => 1,
        Relaxation::Ibp => 1,
        Relaxation::CrownIbp => BUSY.div_ceil(chunks).min(if parameters(plan) > MANY { 2 } else { 3 }),
        _ => BUSY.div_ceil(chunks),
    }
}

/// Bands of rows that each of so many chunks is divided into.
pub(crate) fn bands(chunks: usize) -> usize {
    (BUSY / chunks).max(1)
}

/// Sums slots in order; their memory goes back to the pool, but for the first's, which holds the total.
pub(crate) fn reduce(pool: &Pool, slots: Vec<Accumulator>) -> Option<Accumulator> {
    let mut slots = slots.into_iter();
    let mut total = slots.next()?;
    for slot in slots {
        total.sums.add(&slot.sums);
        give(&pool.accumulators, slot);
    }
    Some(total)
}

unsafe fn bound_chunks<S: Lanes>(pool: &Pool, job: &Job<'_>) -> Vec<ChunkBounds> {
    let batch = job.region.batch();
    let chunk = bound_chunk(job.relaxation, batch);
    (0..batch.div_ceil(chunk))
        .into_par_iter()
        .map(|index| {
            let first = index * chunk;
            let count = chunk.min(batch - first);
            with(&pool.workers, |worker| {
                // SAFETY: the machine has `S`; a chunk has at most 16 images.
                unsafe { job.bound::<S, 1>(worker, first, count) }
            })
        })
        .collect()
}

/// What the adjoint of a batch finds: sums for θ, and gradients of regions and slopes if wanted.
pub(crate) struct Pulled {
    pub sums: Option<Accumulator>,
    pub region: Option<RegionGradient<f32>>,
    pub slopes: Option<Vec<LayerSlopes<f32>>>,
}

/// Pulls cotangents back through all chunks of a bound by walks; `kept` are the bounds that they found.
pub(crate) unsafe fn pull_back_chunks<S: Lanes>(
    pool: &Pool,
    job: &Job<'_>,
    kept: &[Option<StageBounds>],
    cotangents: &Cotangents<f32>,
    wants: Wants,
) -> Pulled {
    let batch = job.region.batch();
    let chunk = bound_chunk(job.relaxation, batch);
    let chunks = batch.div_ceil(chunk);
    let slots = slots(job.net.plan, chunks);
    let results: Vec<SlotResult> = (0..slots)
        .into_par_iter()
        .map(|slot| {
            let mut sums = Sums::new(job, || (wants.theta.then(|| take(&pool.accumulators)), take(&pool.neurons)));
            let mut gradients = Vec::new();
            with(&pool.workers, |worker| {
                for index in (slot..chunks).step_by(slots) {
                    let first = index * chunk;
                    let place = [first, chunk.min(batch - first)];
                    let kept = kept.get(index).and_then(Option::as_ref);
                    // SAFETY: as in the forward pass.
                    let found =
                        unsafe { job.pull_back::<S, 1>(worker, &mut sums, place, kept, cotangents, wants.input) };
                    gradients.push((index, found));
                }
            });
            let finished = sums.parts.into_iter().filter_map(|part| {
                give(&pool.neurons, part.neurons);
                let mut accumulator = part.accumulator?;
                // SAFETY: the machine has `S`.
                unsafe { accumulator.finish::<S>() };
                Some(accumulator)
            });
            (finished.collect(), gradients)
        })
        .collect();
    let (mut sums, mut regions, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
    for (slot, gradients) in results {
        sums.extend(slot);
        for (index, (region, of_slopes)) in gradients {
            regions.extend(region.map(|region| (index, region)));
            slopes.push((index, of_slopes));
        }
    }
    Pulled {
        sums: reduce(pool, sums),
        region: wants.input.then(|| join_regions(regions)),
        slopes: wants.slopes.then(|| join(job.net.plan, slopes)),
    }
}

/// Chunks' gradients in order.
pub(crate) fn join_regions(mut regions: Vec<(usize, ChunkRegion)>) -> RegionGradient<f32> {
    regions.sort_by_key(|(index, _)| *index);
    let mut total = RegionGradient { center: Vec::new(), radius: Vec::new() };
    for (_, region) in regions {
        total.center.extend(region.center);
        total.radius.extend(region.radius);
    }
    total
}

/// Bounds of all chunks, and the interval passes that the adjoint of interval arithmetic needs.
pub(crate) unsafe fn bound_all<S: Lanes>(pool: &Pool, job: &Job<'_>) -> (Vec<ChunkBounds>, Vec<Interval>) {
    // SAFETY: the machine has `S`.
    unsafe {
        if job.relaxation == Relaxation::Ibp {
            return interval::bound_all::<S>(pool, job);
        }
        (bound_chunks::<S>(pool, job), Vec::new())
    }
}
