//! Bounds of whole batches by interval arithmetic alone: chunks in parallel, stages with large dense weights together.

use rayon::prelude::*;
use tightrope_engine::{Cotangents, Region};

use crate::bound::forward::ChunkBounds;
use crate::bound::job::BoundJob;
use crate::bound::scratch::StageBounds;
use crate::bound::sums::{ChunkRegion, Pulled, join_regions};
use crate::interval::chunk::{GivenCotangents, Interval, IntervalCotangents};
use crate::kernels::product::Maps;
use crate::net::Net;
use crate::net::accumulate::Accumulator;
use crate::net::dense;
use crate::net::exchange::{image_len, pack};
use crate::net::split::{GROUP, Section, image_chunk, slots};
use crate::simd::lanes::{Lanes, WIDTH};

/// Bounds of all chunks, and the interval passes if the job keeps what the adjoint needs.
///
/// # Safety
/// The machine has `S`.
pub unsafe fn bound_all<S: Lanes>(job: &BoundJob<'_>) -> (Vec<ChunkBounds>, Vec<Interval>) {
    // SAFETY: the caller's word.
    unsafe { if image_chunk(job.region.batch()) == WIDTH { bound::<S, 1>(job) } else { bound::<S, 2>(job) } }
}

unsafe fn bound<S: Lanes, const VP: usize>(job: &BoundJob<'_>) -> (Vec<ChunkBounds>, Vec<Interval>) {
    let (net, region, hidden, chunk) = (job.net, job.region, job.net.plan.hidden(), VP * WIDTH);
    let batch = region.batch();
    let chunks: Vec<[usize; 2]> = (0..batch).step_by(chunk).map(|first| [first, chunk.min(batch - first)]).collect();
    let sections = net.sections();
    // Chunks that must be in memory at once.
    let group = if sections.len() > 1 { GROUP } else { 1 };
    let results: Vec<(Vec<ChunkBounds>, Vec<Interval>)> = chunks
        .par_chunks(group)
        .map(|places| {
            let mut group: Vec<Interval> = places.iter().map(|_| job.scratch.intervals.take()).collect();
            let mut bounds: Vec<ChunkBounds> = places.iter().map(|_| ChunkBounds::default()).collect();
            for section in &sections {
                match section {
                    Section::Chunks(stages) => {
                        let places = places.par_iter().zip(&mut bounds);
                        group.par_iter_mut().zip(places).for_each(|(interval, (&place, bounds))| {
                            // SAFETY: the machine has `S`; sections come in order.
                            unsafe {
                                if stages.start == 0 {
                                    match job.images {
                                        Some(loaded) => {
                                            interval.share(net, &loaded[place[0] / chunk], region, VP, hidden);
                                        }
                                        None => interval.load::<S, VP>(net, region, place, hidden, job.layers),
                                    }
                                }
                                let hidden_stages = stages.start..stages.end.min(hidden);
                                interval.bound::<S, VP>(net, region, job.ball, hidden_stages, job.layers);
                                if stages.end > hidden {
                                    job.scratch.workers.with(|worker| {
                                        job.bound_by_interval::<S, VP>(interval, worker, place, bounds);
                                    });
                                }
                            }
                        });
                    }
                    // SAFETY: the maps are sized.
                    &Section::Dense(index, weights) => unsafe {
                        let stage = &net.plan.stages[index];
                        if job.layers {
                            let maps: Vec<_> = group.iter_mut().map(|chunk| chunk.maps::<true>(net, index)).collect();
                            dense::apply::<S, _, 2, VP>(stage, weights, &maps);
                        } else {
                            let maps: Vec<_> = group.iter_mut().map(|chunk| chunk.maps::<false>(net, index)).collect();
                            dense::apply::<S, _, 2, VP>(stage, weights, &maps);
                        }
                    },
                }
            }
            if job.keep {
                return (bounds, group);
            }
            group.into_iter().for_each(|interval| job.scratch.intervals.give(interval));
            (bounds, Vec::new())
        })
        .collect();
    let (mut bounds, mut intervals) = (Vec::new(), Vec::new());
    for (own, kept) in results {
        bounds.extend(own);
        intervals.extend(kept);
    }
    (bounds, intervals)
}

/// The images of all chunks, for [`BoundJob::images`].
///
/// # Safety
/// The machine has `S`.
pub unsafe fn load_all<S: Lanes>(net: &Net<'_>, region: &Region<f32>) -> Vec<Interval> {
    let (batch, chunk) = (region.batch(), image_chunk(region.batch()));
    let load = |first: usize| {
        let (place, mut interval) = ([first, chunk.min(batch - first)], Interval::default());
        // SAFETY: the caller's word.
        unsafe {
            if chunk == WIDTH {
                interval.load::<S, 1>(net, region, place, 0, false);
            } else {
                interval.load::<S, 2>(net, region, place, 0, false);
            }
        }
        interval
    };
    (0..batch).step_by(chunk).map(load).collect()
}

/// Sums of a fixed set of chunks.
struct IntervalSlot {
    accumulator: Option<Accumulator>,
    /// Index, cotangents and gradient of the region of each chunk.
    chunks: Vec<(usize, IntervalCotangents, Option<ChunkRegion>)>,
}

/// Gradients of the sum of cotangents · bounds: that of the dense stages' weights is written to `gradient`, the other
/// parameters' comes as sums; that of the regions if `wants_region`.
///
/// # Safety
/// The machine has `S`; `intervals` are the batch's interval passes.
pub unsafe fn pull_back_all<S: Lanes>(
    job: &BoundJob<'_>,
    intervals: &[Interval],
    cotangents: &Cotangents<f32>,
    gradient: Option<&mut [f32]>,
    wants_region: bool,
) -> Pulled {
    // SAFETY: the caller's word.
    unsafe {
        if image_chunk(job.region.batch()) == WIDTH {
            pull_back::<S, 1>(job, intervals, cotangents, gradient, wants_region)
        } else {
            pull_back::<S, 2>(job, intervals, cotangents, gradient, wants_region)
        }
    }
}

unsafe fn pull_back<S: Lanes, const VP: usize>(
    job: &BoundJob<'_>,
    intervals: &[Interval],
    cotangents: &Cotangents<f32>,
    mut gradient: Option<&mut [f32]>,
    wants_region: bool,
) -> Pulled {
    let (net, region, hidden, chunk) = (job.net, job.region, job.net.plan.hidden(), VP * WIDTH);
    let place = |index: usize| [index * chunk, chunk.min(region.batch() - index * chunk)];
    let given = if cotangents.layers.is_empty() { GivenCotangents::Activations } else { GivenCotangents::Both };
    let count = slots(net.plan, intervals.len());
    let mut slots: Vec<IntervalSlot> = (0..count)
        .map(|slot| {
            let on_region =
                |index: usize| wants_region.then(|| ChunkRegion::zeros(place(index)[1] * region.dimension()));
            let own = (slot..intervals.len()).step_by(count);
            let chunks = own.map(|index| (index, IntervalCotangents::default(), on_region(index))).collect();
            IntervalSlot { accumulator: gradient.is_some().then(|| job.gradients.accumulators.take()), chunks }
        })
        .collect();
    for section in net.sections().into_iter().rev() {
        match section {
            Section::Chunks(stages) => slots.par_iter_mut().for_each(|IntervalSlot { accumulator, chunks }| {
                let (first, last) = (stages.start == 0, stages.end > hidden);
                if last {
                    accumulator.iter_mut().for_each(|accumulator| accumulator.reset(net, true));
                }
                for (index, on, on_region) in chunks {
                    let (interval, place) = (&intervals[*index], place(*index));
                    // SAFETY: sections come in order.
                    unsafe {
                        if last {
                            *on = job.scratch.cotangents.take();
                            on.resize(net, hidden, VP);
                            if given == GivenCotangents::Both {
                                job.scratch.workers.with(|worker| {
                                    job.load_layers::<S, VP>(cotangents, place, &mut worker.on_bounds, on);
                                });
                            }
                            job.scratch.workers.with(|worker| {
                                let (part, accumulator) = (&mut worker.part, accumulator.as_mut());
                                job.interval_spec_adjoint::<S, VP>(interval, on, part, accumulator, place, cotangents);
                            });
                            interval.last_adjoint::<S, VP>(net, hidden - 1, on, given);
                        }
                        let mut sums = on_region.as_mut().map(ChunkRegion::sums);
                        interval.pull_back::<S, VP>(
                            net,
                            region,
                            place[1],
                            job.ball,
                            stages.start..stages.end.min(hidden),
                            on,
                            given,
                            accumulator.as_mut(),
                            sums.as_mut(),
                        );
                    }
                    if first {
                        job.scratch.cotangents.give(std::mem::take(on));
                    }
                }
                if first {
                    // SAFETY: the machine has `S`.
                    accumulator.iter_mut().for_each(|accumulator| unsafe { accumulator.finish::<S>() });
                }
            }),
            Section::Dense(index, weights) => {
                let stage = &net.plan.stages[index];
                if let (Some(gradient), Some((_, range))) = (gradient.as_deref_mut(), net.dense[index].clone()) {
                    let mut pairs = vec![None; intervals.len()];
                    for slot in &mut slots {
                        for (chunk, on, _) in &slot.chunks {
                            let inputs = intervals[*chunk].inputs(net, index).map(|field| field.data);
                            pairs[*chunk] =
                                Some([Maps { inputs, finish: () }, Maps { inputs: on.output(index), finish: () }]);
                            if let Some(accumulator) = &mut slot.accumulator {
                                // SAFETY: the cotangents are the stage's.
                                unsafe { on.add_bias::<S>(net, index, &mut accumulator.sums.stages[index].bias) };
                            }
                        }
                    }
                    let pairs: Vec<_> = pairs.into_iter().flatten().collect();
                    job.gradients.panels.with(|panels| {
                        // SAFETY: the maps are the stage's.
                        unsafe {
                            dense::gradient::<S, 2>(stage, weights, VP, &pairs, panels, &mut gradient[range]);
                        }
                    });
                }
                let own = slots.iter_mut().flat_map(|slot| &mut slot.chunks);
                // SAFETY: the maps are sized.
                unsafe {
                    if given == GivenCotangents::Activations {
                        let maps: Vec<_> =
                            own.map(|(chunk, on, _)| intervals[*chunk].adjoint_maps::<false>(net, index, on)).collect();
                        dense::transpose::<S, _, 2, VP>(stage, weights, &maps);
                    } else {
                        let maps: Vec<_> =
                            own.map(|(chunk, on, _)| intervals[*chunk].adjoint_maps::<true>(net, index, on)).collect();
                        dense::transpose::<S, _, 2, VP>(stage, weights, &maps);
                    }
                }
            }
        }
    }
    let (mut sums, mut regions) = (Vec::new(), Vec::new());
    for slot in slots {
        sums.extend(slot.accumulator);
        regions.extend(slot.chunks.into_iter().filter_map(|(index, _, own)| Some((index, job.finish_region(own)?))));
    }
    Pulled { sums: job.gradients.reduce(sums), region: wants_region.then(|| join_regions(regions)) }
}

impl BoundJob<'_> {
    /// The caller's cotangents on the pre-activations' bounds of one chunk, into lanes; `images` is memory.
    unsafe fn load_layers<S: Lanes, const VP: usize>(
        &self,
        cotangents: &Cotangents<f32>,
        [first, count]: [usize; 2],
        images: &mut StageBounds,
        on: &mut IntervalCotangents,
    ) {
        let stages = &self.net.plan.stages[..self.net.plan.hidden()];
        images.resize(stages.len());
        for (index, stage) in stages.iter().enumerate() {
            let len = image_len(stage.output) * WIDTH * VP;
            images.lower[index].at_least(len)[..len].fill(0.0);
            images.upper[index].at_least(len)[..len].fill(0.0);
        }
        for image in 0..count {
            let own = self.layer_cotangents(cotangents, first + image);
            for (index, stage) in stages.iter().enumerate() {
                let len = image_len(stage.output);
                let range = image * len..(image + 1) * len;
                images.lower[index][range.clone()].copy_from_slice(&own.lower[index][..len]);
                images.upper[index][range].copy_from_slice(&own.upper[index][..len]);
            }
        }
        for (index, stage) in stages.iter().enumerate() {
            // SAFETY: the lanes have slack, the images room for all lanes.
            unsafe {
                pack::<S, VP>(stage.output, &images.lower[index], &mut on.lower[index]);
                pack::<S, VP>(stage.output, &images.upper[index], &mut on.upper[index]);
            }
        }
    }
}
