//! Clean passes of whole batches: chunks in parallel, stages with large dense weights together.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::clean::chunk::{Activations, CleanCotangents};
use crate::net::Net;
use crate::net::accumulate::{Accumulator, GradientScratch};
use crate::net::dense::{self, Factors};
use crate::net::split::{GROUP, Section, image_chunk, slots};
use crate::simd::lanes::{Lanes, WIDTH};
use crate::simd::pool::Pool;

/// Free memory for clean passes of batches.
#[derive(Default)]
pub struct CleanScratch {
    pub activations: Pool<Activations>,
    pub cotangents: Pool<CleanCotangents>,
}

/// Logits of all images, and the activations if `keep`.
///
/// # Safety
/// The machine has `S`.
pub unsafe fn forward_all<S: Lanes>(
    scratch: &CleanScratch,
    net: &Net<'_>,
    inputs: &[f32],
    keep: bool,
) -> (Vec<f32>, Vec<Activations>) {
    // SAFETY: the caller's word.
    unsafe {
        if image_chunk(inputs.len() / net.plan.dimension) == WIDTH {
            forward::<S, 1>(scratch, net, inputs, keep)
        } else {
            forward::<S, 2>(scratch, net, inputs, keep)
        }
    }
}

unsafe fn forward<S: Lanes, const VP: usize>(
    scratch: &CleanScratch,
    net: &Net<'_>,
    inputs: &[f32],
    keep: bool,
) -> (Vec<f32>, Vec<Activations>) {
    let (d, classes, chunk) = (net.plan.dimension, net.plan.classes, VP * WIDTH);
    let sections = net.sections();
    // Chunks that must be in memory at once.
    let group = if sections.len() > 1 { GROUP } else { 1 };
    let mut logits = vec![0.0; inputs.len() / d * classes];
    let kept: Vec<Vec<Activations>> = inputs
        .par_chunks(group * chunk * d)
        .zip(logits.par_chunks_mut(group * chunk * classes))
        .map(|(inputs, logits)| {
            let mut group: Vec<Activations> = inputs.chunks(chunk * d).map(|_| scratch.activations.take()).collect();
            for section in &sections {
                match section {
                    Section::Chunks(stages) => {
                        let chunks = inputs.par_chunks(chunk * d).zip(logits.par_chunks_mut(chunk * classes));
                        group.par_iter_mut().zip(chunks).for_each(|(activations, (images, logits))| {
                            // SAFETY: the machine has `S`; sections come in order.
                            unsafe {
                                if stages.start == 0 {
                                    activations.load::<S, VP>(net, images);
                                }
                                activations.forward::<S, VP>(net, stages.clone());
                            }
                            if stages.end == net.plan.stages.len() {
                                activations.logits(net, VP, logits);
                            }
                        });
                    }
                    &Section::Dense(index, weights) => {
                        let maps: Vec<_> = group.iter_mut().map(|chunk| chunk.maps(net, index)).collect();
                        // SAFETY: the maps are sized.
                        unsafe { dense::apply::<S, _, 1, VP>(&net.plan.stages[index], weights, &maps) };
                    }
                }
            }
            if keep {
                return group;
            }
            group.into_iter().for_each(|activations| scratch.activations.give(activations));
            Vec::new()
        })
        .collect();
    (logits, kept.into_iter().flatten().collect())
}

/// Sums of a fixed set of chunks.
struct CleanSlot {
    accumulator: Option<Accumulator>,
    /// Index, cotangents and gradient of the images of each chunk.
    chunks: Vec<(usize, CleanCotangents, Option<Vec<f32>>)>,
}

/// Gradients of the sum of `cotangent` · logits: that of the dense stages' weights is written to `gradient`, the other
/// parameters' comes as sums; that of the images if `wants_input`.
///
/// # Safety
/// The machine has `S`; `chunks` are the batch's activations.
pub unsafe fn backward_all<S: Lanes>(
    scratch: &CleanScratch,
    gradients: &GradientScratch,
    net: &Net<'_>,
    chunks: &[Activations],
    batch: usize,
    cotangent: &[f32],
    gradient: Option<&mut [MaybeUninit<f32>]>,
    wants_input: bool,
) -> (Option<Accumulator>, Option<Vec<f32>>) {
    // SAFETY: the caller's word.
    unsafe {
        if image_chunk(batch) == WIDTH {
            backward::<S, 1>(scratch, gradients, net, chunks, batch, cotangent, gradient, wants_input)
        } else {
            backward::<S, 2>(scratch, gradients, net, chunks, batch, cotangent, gradient, wants_input)
        }
    }
}

unsafe fn backward<S: Lanes, const VP: usize>(
    scratch: &CleanScratch,
    gradients: &GradientScratch,
    net: &Net<'_>,
    chunks: &[Activations],
    batch: usize,
    cotangent: &[f32],
    mut gradient: Option<&mut [MaybeUninit<f32>]>,
    wants_input: bool,
) -> (Option<Accumulator>, Option<Vec<f32>>) {
    let (d, classes, chunk) = (net.plan.dimension, net.plan.classes, VP * WIDTH);
    let count = slots(net.plan, chunks.len());
    let mut slots: Vec<CleanSlot> = (0..count)
        .map(|slot| {
            let own = (slot..chunks.len()).step_by(count);
            let on_images = |index: usize| wants_input.then(|| vec![0.0; chunk.min(batch - index * chunk) * d]);
            let chunks = own.map(|index| (index, CleanCotangents::default(), on_images(index))).collect();
            CleanSlot { accumulator: gradient.is_some().then(|| gradients.accumulators.take()), chunks }
        })
        .collect();
    for section in net.sections().into_iter().rev() {
        match section {
            Section::Chunks(stages) => slots.par_iter_mut().for_each(|CleanSlot { accumulator, chunks: own }| {
                let (first, last) = (stages.start == 0, stages.end == net.plan.stages.len());
                if last {
                    accumulator.iter_mut().for_each(|accumulator| accumulator.reset(net, false));
                }
                for (index, cotangents, on_images) in own {
                    if last {
                        *cotangents = scratch.cotangents.take();
                        let range = *index * chunk * classes..batch.min((*index + 1) * chunk) * classes;
                        cotangents.start(net, VP, &cotangent[range]);
                    }
                    let (accumulator, on_images) = (accumulator.as_mut(), on_images.as_deref_mut());
                    // SAFETY: sections come in order.
                    unsafe {
                        cotangents.backward::<S, VP>(net, &chunks[*index], stages.clone(), accumulator, on_images);
                    }
                    if first {
                        scratch.cotangents.give(std::mem::take(cotangents));
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
                    let mut terms = vec![None; chunks.len()];
                    for slot in &mut slots {
                        for (chunk, cotangents, _) in &slot.chunks {
                            let (inputs, on) = (chunks[*chunk].input(index), cotangents.output());
                            terms[*chunk] = Some(Factors { inputs, cotangents: on, lanes: VP * WIDTH });
                            if let Some(accumulator) = &mut slot.accumulator {
                                let bias = &mut accumulator.sums.stages[index].bias;
                                // SAFETY: the map is the stage's.
                                unsafe { cotangents.add_bias::<S, VP>(net, index, bias) };
                            }
                        }
                    }
                    let terms: Vec<_> = terms.into_iter().flatten().collect();
                    let target = &mut gradient[range];
                    gradients.panels.with(|panels| {
                        // SAFETY: the maps are the stage's.
                        unsafe { dense::gradient::<S>(stage, weights, [&[], &terms], panels, target) };
                    });
                }
                let own = slots.iter_mut().flat_map(|slot| &mut slot.chunks);
                let maps: Vec<_> = own.map(|(chunk, own, _)| own.maps(net, &chunks[*chunk], index, VP)).collect();
                // SAFETY: the maps are sized.
                unsafe { dense::transpose::<S, _, 1, VP>(stage, weights, &maps) };
                slots.iter_mut().flat_map(|slot| &mut slot.chunks).for_each(|(_, own, _)| own.step());
            }
        }
    }
    let mut sums = Vec::new();
    let mut inputs = Vec::new();
    for slot in slots {
        sums.extend(slot.accumulator);
        inputs.extend(slot.chunks.into_iter().map(|(index, _, on_images)| (index, on_images)));
    }
    inputs.sort_by_key(|(index, _)| *index);
    let inputs = wants_input.then(|| inputs.into_iter().filter_map(|(_, g)| g).collect::<Vec<Vec<f32>>>().concat());
    (gradients.reduce(sums), inputs)
}
