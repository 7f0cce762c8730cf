//! Bounds of whole batches and their adjoints, chunks in parallel.

use rayon::prelude::*;
use tightrope_engine::{Cotangents, Wants};

use crate::bound::forward::ChunkBounds;
use crate::bound::interval;
use crate::bound::job::BoundJob;
use crate::bound::scratch::StageBounds;
use crate::bound::sums::{ChunkRegion, Pulled, Sums, join_regions};
use crate::interval::chunk::Interval;
use crate::net::accumulate::Accumulator;
use crate::net::split::{bound_chunk, slots};
use crate::simd::lanes::Lanes;

/// Sums of one slot, and the gradients of the regions of each of its chunks.
type SlotResult = (Vec<Accumulator>, Vec<(usize, ChunkRegion)>);

unsafe fn bound_chunks<S: Lanes>(job: &BoundJob<'_>) -> Vec<ChunkBounds> {
    let batch = job.region.batch();
    let chunk = bound_chunk(job.relaxation, batch);
    (0..batch.div_ceil(chunk))
        .into_par_iter()
        .map(|index| {
            let first = index * chunk;
            let count = chunk.min(batch - first);
            job.scratch.workers.with(|worker| {
                // SAFETY: the machine has `S`; a chunk has at most 16 images.
                unsafe { job.bound::<S, 1>(worker, first, count) }
            })
        })
        .collect()
}

/// Pulls cotangents back through all chunks of a bound by walks; `kept` are the bounds that they found.
pub(crate) unsafe fn pull_back_chunks<S: Lanes>(
    job: &BoundJob<'_>,
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
            let mut sums =
                Sums::new(job, || (wants.theta.then(|| job.gradients.accumulators.take()), job.scratch.neurons.take()));
            let mut gradients = Vec::new();
            job.scratch.workers.with(|worker| {
                for index in (slot..chunks).step_by(slots) {
                    let first = index * chunk;
                    let place = [first, chunk.min(batch - first)];
                    let kept = kept.get(index).and_then(Option::as_ref);
                    // SAFETY: as in the forward pass.
                    let found =
                        unsafe { job.pull_back::<S, 1>(worker, &mut sums, place, kept, cotangents, wants.input) };
                    gradients.extend(found.map(|region| (index, region)));
                }
            });
            let finished = sums.parts.into_iter().filter_map(|part| {
                job.scratch.neurons.give(part.neurons);
                let mut accumulator = part.accumulator?;
                // SAFETY: the machine has `S`.
                unsafe { accumulator.finish::<S>() };
                Some(accumulator)
            });
            (finished.collect(), gradients)
        })
        .collect();
    let (mut sums, mut regions) = (Vec::new(), Vec::new());
    for (slot, gradients) in results {
        sums.extend(slot);
        regions.extend(gradients);
    }
    Pulled { sums: job.gradients.reduce(sums), region: wants.input.then(|| join_regions(regions)) }
}

/// Bounds of all chunks, and the interval passes that the adjoint of a whole batch needs.
pub(crate) unsafe fn bound_all<S: Lanes>(job: &BoundJob<'_>) -> (Vec<ChunkBounds>, Vec<Interval>) {
    // SAFETY: the machine has `S`.
    unsafe {
        if job.whole {
            return interval::bound_all::<S>(job);
        }
        (bound_chunks::<S>(job), Vec::new())
    }
}
