//! Bounds of whole batches by interval arithmetic, alone or with margins walked in packets behind it: chunks in parallel,
//! stages with large dense weights together.

use std::mem::MaybeUninit;

use rayon::prelude::*;
use tightrope_engine::{Cotangents, Final, Region};

use crate::backward::images::adjoint::OnInputs;
use crate::bound::forward::ChunkBounds;
use crate::bound::job::BoundJob;
use crate::bound::scratch::{PacketTape, StageBounds};
use crate::bound::sums::{ChunkRegion, Pulled, join_regions};
use crate::interval::chunk::{GivenCotangents, Interval, IntervalCotangents};
use crate::net::Net;
use crate::net::accumulate::Accumulator;
use crate::net::dense::{self, Factors};
use crate::net::exchange::{image_len, pack};
use crate::net::split::{GROUP, Section, bound_chunk, image_chunk, slots};
use crate::simd::lanes::{Lanes, WIDTH};

/// Bounds of all chunks, and the interval passes if the job keeps what the adjoint needs.
///
/// # Safety
/// The machine has `S`.
pub unsafe fn bound_all<S: Lanes>(job: &BoundJob<'_>) -> (Vec<ChunkBounds>, Vec<Interval>) {
    // SAFETY: the caller's word.
    unsafe {
        if bound_chunk(job.relaxation, job.region.batch()) == WIDTH { bound::<S, 1>(job) } else { bound::<S, 2>(job) }
    }
}

unsafe fn bound<S: Lanes, const VP: usize>(job: &BoundJob<'_>) -> (Vec<ChunkBounds>, Vec<Interval>) {
    let (net, region, hidden, chunk) = (job.net, job.region, job.net.plan.hidden(), VP * WIDTH);
    let batch = region.batch();
    let chunks: Vec<[usize; 2]> = (0..batch).step_by(chunk).map(|first| [first, chunk.min(batch - first)]).collect();
    let sections = net.sections();
    // Walks start from the ends.
    let ends = job.layers || job.relaxation.last() == Final::Backward;
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
                                        None => interval.load::<S, VP>(net, region, place, hidden, ends),
                                    }
                                }
                                let hidden_stages = stages.start..stages.end.min(hidden);
                                interval.bound::<S, VP>(net, region, job.ball, hidden_stages, ends);
                                if stages.end > hidden {
                                    job.scratch.workers.with(|worker| {
                                        job.bound_behind_interval::<S, VP>(interval, worker, place, bounds);
                                    });
                                }
                            }
                        });
                    }
                    // SAFETY: the maps are sized.
                    &Section::Dense(index, weights) => unsafe {
                        let stage = &net.plan.stages[index];
                        if ends {
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
    chunks: Vec<ChunkAdjoint>,
}

/// One chunk's cotangents.
struct ChunkAdjoint {
    index: usize,
    on: IntervalCotangents,
    on_region: Option<ChunkRegion>,
    /// What its walks leave for the gradients of dense stages.
    on_inputs: Vec<OnInputs>,
}

/// Gradients of the sum of cotangents · bounds: that of the dense stages' weights is written to `gradient`, the other
/// parameters' comes as sums; that of the regions if `wants_region`.
///
/// # Safety
/// The machine has `S`; `intervals` are the batch's interval passes, `packets` the walks behind them, if there are any.
pub unsafe fn pull_back_all<S: Lanes>(
    job: &BoundJob<'_>,
    intervals: &[Interval],
    packets: &[PacketTape],
    cotangents: &Cotangents<f32>,
    gradient: Option<&mut [MaybeUninit<f32>]>,
    wants_region: bool,
) -> Pulled {
    // SAFETY: the caller's word.
    unsafe {
        if bound_chunk(job.relaxation, job.region.batch()) == WIDTH {
            pull_back::<S, 1>(job, intervals, packets, cotangents, gradient, wants_region)
        } else {
            pull_back::<S, 2>(job, intervals, packets, cotangents, gradient, wants_region)
        }
    }
}

unsafe fn pull_back<S: Lanes, const VP: usize>(
    job: &BoundJob<'_>,
    intervals: &[Interval],
    packets: &[PacketTape],
    cotangents: &Cotangents<f32>,
    mut gradient: Option<&mut [MaybeUninit<f32>]>,
    wants_region: bool,
) -> Pulled {
    let (net, region, hidden, chunk) = (job.net, job.region, job.net.plan.hidden(), VP * WIDTH);
    let place = |index: usize| [index * chunk, chunk.min(region.batch() - index * chunk)];
    let given = match job.relaxation.last() {
        Final::Interval if cotangents.layers.is_empty() => GivenCotangents::Activations,
        Final::Interval => GivenCotangents::Both,
        // Walks start from the bounds, and nothing reads the last activations.
        Final::Backward => GivenCotangents::Bounds,
    };
    let count = slots(net.plan, intervals.len());
    let mut slots: Vec<IntervalSlot> = (0..count)
        .map(|slot| {
            let on_region =
                |index: usize| wants_region.then(|| ChunkRegion::zeros(place(index)[1] * region.dimension()));
            let own = (slot..intervals.len()).step_by(count);
            let chunks = own.map(|index| ChunkAdjoint {
                index,
                on: IntervalCotangents::default(),
                on_region: on_region(index),
                on_inputs: Vec::new(),
            });
            let chunks = chunks.collect();
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
                for ChunkAdjoint { index, on, on_region, on_inputs } in chunks {
                    let (interval, place) = (&intervals[*index], place(*index));
                    // SAFETY: sections come in order.
                    unsafe {
                        if last {
                            *on = job.scratch.cotangents.take();
                            on.resize(net, hidden, VP);
                            if !cotangents.layers.is_empty() {
                                job.scratch.workers.with(|worker| {
                                    job.load_layers::<S, VP>(cotangents, place, &mut worker.on_bounds, on);
                                });
                            }
                            if given == GivenCotangents::Bounds {
                                let (packet, region) = (&packets[*index], on_region.as_mut());
                                let accumulator = accumulator.as_mut();
                                *on_inputs =
                                    job.climb_packet::<S>(interval, packet, on, accumulator, place, cotangents, region);
                            } else {
                                job.with_part(|part| {
                                    let accumulator = accumulator.as_mut();
                                    job.interval_spec_adjoint::<S, VP>(
                                        interval,
                                        on,
                                        part,
                                        accumulator,
                                        place,
                                        cotangents,
                                    );
                                });
                            }
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
                    let mut terms: Vec<[Vec<Factors>; 2]> = vec![Default::default(); intervals.len()];
                    for IntervalSlot { accumulator, chunks } in &mut slots {
                        for ChunkAdjoint { index: chunk, on, on_inputs, .. } in chunks {
                            let inputs = intervals[*chunk].inputs(net, index).map(|field| field.data);
                            let [signed, absolute] = [0, 1].map(|plane| Factors {
                                inputs: inputs[plane],
                                cotangents: on.output(index)[plane],
                                lanes: VP * WIDTH,
                            });
                            let own = on_inputs.iter().filter(|own| own.stage == index).map(|own| Factors {
                                inputs: own.map.as_ptr(),
                                cotangents: packets[*chunk].walks[own.group].stages[index].as_ptr(),
                                lanes: own.lanes,
                            });
                            terms[*chunk] = [vec![absolute], std::iter::once(signed).chain(own).collect()];
                            if let Some(accumulator) = accumulator {
                                // SAFETY: the cotangents are the stage's.
                                unsafe { on.add_bias::<S>(net, index, &mut accumulator.sums.stages[index].bias) };
                            }
                        }
                    }
                    let [absolute, signed] = [0, 1].map(|part| -> Vec<Factors> {
                        terms.iter().flat_map(|terms| terms[part].iter().copied()).collect()
                    });
                    job.gradients.panels.with(|panels| {
                        let target = &mut gradient[range];
                        // SAFETY: the maps are the stage's.
                        unsafe { dense::gradient::<S>(stage, weights, [&absolute, &signed], panels, target) };
                    });
                    for own in slots.iter_mut().flat_map(|slot| &mut slot.chunks) {
                        for done in own.on_inputs.extract_if(.., |own| own.stage == index) {
                            job.scratch.maps.give(done.map);
                        }
                    }
                }
                let own = slots.iter_mut().flat_map(|slot| &mut slot.chunks);
                // SAFETY: the maps are sized.
                unsafe {
                    if given == GivenCotangents::Activations {
                        let maps: Vec<_> = own
                            .map(|own| intervals[own.index].adjoint_maps::<false>(net, index, &mut own.on))
                            .collect();
                        dense::transpose::<S, _, 2, VP>(stage, weights, &maps);
                    } else {
                        let maps: Vec<_> =
                            own.map(|own| intervals[own.index].adjoint_maps::<true>(net, index, &mut own.on)).collect();
                        dense::transpose::<S, _, 2, VP>(stage, weights, &maps);
                    }
                }
            }
        }
    }
    let (mut sums, mut regions) = (Vec::new(), Vec::new());
    for slot in slots {
        sums.extend(slot.accumulator);
        regions.extend(slot.chunks.into_iter().filter_map(|own| Some((own.index, job.finish_region(own.on_region)?))));
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
