//! Clean passes in which batch norms take the batch's own statistics, and their adjoint through those statistics.
//!
//! For n values x of a channel with mean m and variance v, s = 1/√(v+ε) and y = w·s·(x−m) + β. With cotangents g on y and
//! ḡ = Σg, ĝ = Σg·(x−m), those on β, w, m and v are ḡ, s·ĝ, M = −w·s·ḡ and V = −½·w·s³·ĝ, to which whoever used m and v
//! elsewhere adds; x has w·s·g + M/n + 2·V·(x−m)/n. A bias of the layer before moves m and nothing else: its gradient is
//! what others have added to M.
//!
//! The chunks of a batch go from stage to stage together, as every batch norm waits for them all.

use std::mem::MaybeUninit;

use rayon::prelude::*;
use tightrope_network::{BatchNorm, Network};

use crate::net::Net;
use crate::net::accumulate::{Accumulator, GradientScratch};
use crate::net::dense::{self, Factors};
use crate::net::split::{image_chunk, slots};
use crate::net::sweep;
use crate::normed::NormedScratch;
use crate::normed::chunk::{NormedActivations, NormedCotangents};
use crate::normed::folding::{Channel, channels};
use crate::normed::kernels::{Line, Return};
use crate::simd::lanes::{Lanes, WIDTH};

/// What a pass leaves behind.
pub struct BatchRecord {
    pub chunks: Vec<NormedActivations>,
    pub batch: usize,
    pub statistics: Vec<f32>,
}

/// A pass of a network at θ.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub scratch: &'a NormedScratch,
    pub net: &'a Net<'a>,
    pub network: &'a Network,
    pub theta: &'a [f32],
}

/// Logits of `inputs`, which are some, and what the adjoint needs.
///
/// # Safety
/// The machine has `S`.
pub unsafe fn forward_all<S: Lanes>(pass: Pass<'_>, inputs: &[f32]) -> (Vec<f32>, BatchRecord) {
    // SAFETY: the caller's word.
    unsafe {
        if image_chunk(inputs.len() / pass.net.plan.dimension) == WIDTH {
            pass.forward::<S, 1>(inputs)
        } else {
            pass.forward::<S, 2>(inputs)
        }
    }
}

/// Cotangents on what a pass gave.
#[derive(Clone, Copy)]
pub struct BatchCotangents<'a> {
    /// On the logits.
    pub logits: &'a [f32],
    /// On the statistics, laid out as the buffers; empty for none.
    pub statistics: &'a [f32],
}

/// Gradients of a batch norm's numbers, and of the bias of the layer before it.
pub struct NormGradients<'a> {
    pub norm: &'a BatchNorm,
    pub weight: Vec<f32>,
    pub summand: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What [`backward_all`] returns.
pub struct Pulled<'a> {
    /// Sums for all but the batch norms and the dense stages' weights.
    pub sums: Option<Accumulator>,
    /// By stage.
    pub norms: Vec<Option<NormGradients<'a>>>,
    /// On the images `[N, d]`, if wanted.
    pub inputs: Option<Vec<f32>>,
}

/// Pulls cotangents back through a pass; the gradient of the dense stages' weights is written to `gradient`.
///
/// # Safety
/// The machine has `S`; the record is of the same pass.
pub unsafe fn backward_all<'a, S: Lanes>(
    pass: Pass<'a>,
    scratch: &GradientScratch,
    record: &BatchRecord,
    cotangents: BatchCotangents<'_>,
    gradient: Option<&mut [MaybeUninit<f32>]>,
    wants_input: bool,
) -> Pulled<'a> {
    // SAFETY: the caller's word.
    unsafe {
        if image_chunk(record.batch) == WIDTH {
            pass.backward::<S, 1>(scratch, record, cotangents, gradient, wants_input)
        } else {
            pass.backward::<S, 2>(scratch, record, cotangents, gradient, wants_input)
        }
    }
}

/// Sums of a fixed set of chunks.
struct Slot {
    accumulator: Option<Accumulator>,
    /// Index, cotangents and gradient of the images of each chunk.
    chunks: Vec<(usize, NormedCotangents, Option<Vec<f32>>)>,
}

impl<'a> Pass<'a> {
    unsafe fn forward<S: Lanes, const VP: usize>(self, inputs: &[f32]) -> (Vec<f32>, BatchRecord) {
        let net = self.net;
        let (d, classes, chunk) = (net.plan.dimension, net.plan.classes, VP * WIDTH);
        let batch = inputs.len() / d;
        let images = |index: usize| chunk.min(batch - index * chunk);
        let mut chunks: Vec<NormedActivations> = inputs.chunks(chunk * d).map(|_| self.scratch.chunks.take()).collect();
        let mut statistics = vec![0.0; self.network.buffers().total()];
        // The batch norm that the chunks have yet to pass.
        let mut waiting: Option<(usize, Vec<Line>)> = None;
        for (index, stage) in net.plan.stages.iter().enumerate() {
            let dense = &net.dense[index];
            chunks.par_iter_mut().zip(inputs.par_chunks(chunk * d)).for_each(|(chunk, inputs)| {
                // SAFETY: the machine has `S`; stages come in order.
                unsafe {
                    if index == 0 {
                        chunk.load::<S, VP>(net, inputs);
                    }
                    if let Some((before, lines)) = &waiting {
                        chunk.normalise::<S, VP>(net, *before, lines);
                    }
                    if dense.is_none() {
                        chunk.apply::<S, VP>(net, index);
                    }
                }
            });
            waiting = None;
            if let Some((weights, _)) = dense {
                // SAFETY: the maps are sized.
                unsafe {
                    if stage.norm.is_some() {
                        let maps: Vec<_> = chunks.iter_mut().map(|chunk| chunk.maps(net, index, VP)).collect();
                        dense::apply::<S, _, 1, VP>(stage, weights, &maps);
                    } else {
                        let maps: Vec<_> = chunks.iter_mut().map(|chunk| chunk.activations.maps(net, index)).collect();
                        dense::apply::<S, _, 1, VP>(stage, weights, &maps);
                    }
                }
            }
            if let Some(norm) = &stage.norm {
                // SAFETY: the stage was applied.
                let moments = chunks.par_iter_mut().map(|chunk| unsafe { chunk.moments::<S, VP>(net, index) });
                let moments: Vec<_> = moments.collect();
                let positions = stage.output.positions();
                let parts = moments.iter().enumerate().map(|(index, part)| ((images(index) * positions) as f64, part));
                self.merge(norm, parts, &mut statistics);
                waiting = Some((index, self.lines(norm, &statistics)));
            }
        }
        let mut logits = vec![0.0; batch * classes];
        chunks.par_iter_mut().zip(logits.par_chunks_mut(chunk * classes)).for_each(|(chunk, logits)| {
            if let Some((last, lines)) = &waiting {
                // SAFETY: the machine has `S`; the stage was applied.
                unsafe { chunk.normalise::<S, VP>(net, *last, lines) };
            }
            chunk.activations.logits(net, VP, logits);
        });
        (logits, BatchRecord { chunks, batch, statistics })
    }

    /// Puts mean and variance of all parts into `statistics`, from the number of values, the means and the sums of squared
    /// distances of each.
    fn merge<'m>(
        &self,
        norm: &BatchNorm,
        parts: impl Iterator<Item = (f64, &'m Vec<[f64; 2]>)> + Clone,
        statistics: &mut [f32],
    ) {
        let layout = self.network.buffers();
        let n: f64 = parts.clone().map(|(n, _)| n).sum();
        for c in 0..norm.channels {
            let mean = parts.clone().map(|(own, moments)| own * moments[c][0]).sum::<f64>() / n;
            let squares = parts.clone().map(|(own, moments)| moments[c][1] + own * (moments[c][0] - mean).powi(2));
            layout.slice_mut(statistics, norm.mean)[c] = mean as f32;
            layout.slice_mut(statistics, norm.variance)[c] = (squares.sum::<f64>() / n) as f32;
        }
    }

    fn channels(&self, norm: &BatchNorm, statistics: &[f32]) -> Vec<Channel> {
        channels(self.network, norm, self.theta, statistics)
    }

    fn lines(&self, norm: &BatchNorm, statistics: &[f32]) -> Vec<Line> {
        let line = |channel: &Channel| Line {
            mean: channel.mean as f32,
            factor: channel.factor() as f32,
            summand: channel.summand as f32,
        };
        self.channels(norm, statistics).iter().map(line).collect()
    }

    unsafe fn backward<S: Lanes, const VP: usize>(
        self,
        scratch: &GradientScratch,
        record: &BatchRecord,
        cotangents: BatchCotangents<'_>,
        mut gradient: Option<&mut [MaybeUninit<f32>]>,
        wants_input: bool,
    ) -> Pulled<'a> {
        let (net, chunks, batch) = (self.net, &record.chunks, record.batch);
        let (d, classes, chunk) = (net.plan.dimension, net.plan.classes, VP * WIDTH);
        let count = slots(net.plan, chunks.len());
        let mut slots: Vec<Slot> = (0..count)
            .map(|slot| {
                let own = (slot..chunks.len()).step_by(count);
                let on_images = |index: usize| wants_input.then(|| vec![0.0; chunk.min(batch - index * chunk) * d]);
                let chunks = own.map(|index| (index, self.scratch.cotangents.take(), on_images(index))).collect();
                Slot { accumulator: gradient.is_some().then(|| scratch.accumulators.take()), chunks }
            })
            .collect();
        slots.par_iter_mut().for_each(|Slot { accumulator, chunks }| {
            accumulator.iter_mut().for_each(|accumulator| accumulator.reset(net, false));
            for (index, own, _) in chunks {
                let range = *index * chunk * classes..batch.min((*index + 1) * chunk) * classes;
                own.clean.start(net, VP, &cotangents.logits[range]);
            }
        });
        let means: Vec<Vec<f32>> = net.plan.stages.iter().map(|stage| self.mean(stage, &record.statistics)).collect();
        let mut norms: Vec<Option<NormGradients<'a>>> = net.plan.stages.iter().map(|_| None).collect();
        for (index, stage) in net.plan.stages.iter().enumerate().rev() {
            let mut returns = None;
            if let Some(norm) = &stage.norm {
                // SAFETY: the maps are the stage's.
                let sums = unsafe { sums::<S, VP>(net, chunks, &mut slots, index, &means[index]) };
                let values = batch * stage.output.positions();
                let (gradients, lines) = self.through(norm, &record.statistics, cotangents, &sums, values as f64);
                (norms[index], returns) = (Some(gradients), Some(lines));
            }
            let dense = net.dense[index].clone();
            slots.par_iter_mut().for_each(|Slot { accumulator, chunks: own }| {
                for (chunk, cotangents, on_images) in own {
                    let chunk = &chunks[*chunk];
                    // SAFETY: stages come in order.
                    unsafe {
                        match &returns {
                            Some(returns) => cotangents.go_back::<S, VP>(net, chunk, index, returns),
                            None => accumulator.iter_mut().for_each(|accumulator| {
                                let bias = &mut accumulator.sums.stages[index].bias;
                                cotangents.clean.add_bias::<S, VP>(net, index, bias);
                            }),
                        }
                        if dense.is_some() {
                            continue;
                        }
                        if let Some(accumulator) = accumulator {
                            cotangents.clean.add_weights::<S, VP>(net, &chunk.activations, index, accumulator);
                        }
                        if index > 0 {
                            let maps = cotangents.maps(net, chunk, index, &means[index - 1], VP);
                            sweep::transpose::<S, _, 1, VP>(net, index, maps);
                            cotangents.clean.step();
                        } else if let Some(on_images) = on_images {
                            cotangents.clean.add_inputs::<S, VP>(net, on_images);
                        }
                    }
                }
            });
            let Some((weights, range)) = dense else { continue };
            if let Some(gradient) = gradient.as_deref_mut() {
                let mut terms = vec![None; chunks.len()];
                for (chunk, cotangents, _) in slots.iter().flat_map(|slot| &slot.chunks) {
                    let (inputs, on) = (chunks[*chunk].activations.input(index), cotangents.clean.output());
                    terms[*chunk] = Some(Factors { inputs, cotangents: on, lanes: VP * WIDTH });
                }
                let terms: Vec<_> = terms.into_iter().flatten().collect();
                scratch.panels.with(|panels| {
                    // SAFETY: the maps are the stage's.
                    unsafe { dense::gradient::<S>(stage, weights, [&[], &terms], panels, &mut gradient[range]) };
                });
            }
            let own = slots.iter_mut().flat_map(|slot| &mut slot.chunks);
            let maps: Vec<_> =
                own.map(|(chunk, own, _)| own.maps(net, &chunks[*chunk], index, &means[index - 1], VP)).collect();
            // SAFETY: the maps are sized.
            unsafe { dense::transpose::<S, _, 1, VP>(stage, weights, &maps) };
            slots.iter_mut().flat_map(|slot| &mut slot.chunks).for_each(|(_, own, _)| own.clean.step());
        }
        let (mut sums, mut inputs) = (Vec::new(), Vec::new());
        for Slot { accumulator, chunks } in slots {
            // SAFETY: the machine has `S`.
            sums.extend(accumulator.map(|mut accumulator| unsafe {
                accumulator.finish::<S>();
                accumulator
            }));
            for (index, cotangents, on_images) in chunks {
                self.scratch.cotangents.give(cotangents);
                inputs.push((index, on_images));
            }
        }
        inputs.sort_by_key(|(index, _)| *index);
        let inputs = wants_input.then(|| inputs.into_iter().filter_map(|(_, g)| g).collect::<Vec<Vec<f32>>>().concat());
        Pulled { sums: scratch.reduce(sums), norms, inputs }
    }

    /// The mean of each channel before a stage's batch norm; zeros where there is none.
    fn mean(&self, stage: &crate::net::plan::Stage, statistics: &[f32]) -> Vec<f32> {
        match &stage.norm {
            Some(norm) => self.network.buffers().slice(statistics, norm.mean).to_vec(),
            None => vec![0.0; stage.output.c],
        }
    }

    /// A batch norm's gradients, and how its cotangents go on, from their sums [ḡ, ĝ] over n values of each channel.
    fn through(
        &self,
        norm: &'a BatchNorm,
        statistics: &[f32],
        cotangents: BatchCotangents<'_>,
        sums: &[[f64; 2]],
        n: f64,
    ) -> (NormGradients<'a>, Vec<Return>) {
        let layout = self.network.buffers();
        let given = |buffer| match cotangents.statistics.is_empty() {
            true => vec![0.0; norm.channels],
            false => layout.slice(cotangents.statistics, buffer).to_vec(),
        };
        let (on_mean, on_variance) = (given(norm.mean), given(norm.variance));
        let mut gradients = NormGradients { norm, weight: Vec::new(), summand: Vec::new(), bias: on_mean.clone() };
        let mut returns = Vec::new();
        for (c, (channel, &[sum, centred])) in self.channels(norm, statistics).iter().zip(sums).enumerate() {
            let (w, s, factor) = (channel.weight, channel.inverse, channel.factor());
            let on_mean = f64::from(on_mean[c]) - factor * sum;
            let on_variance = f64::from(on_variance[c]) - 0.5 * w * s.powi(3) * centred;
            gradients.weight.push((s * centred) as f32);
            gradients.summand.push(sum as f32);
            returns.push(Return {
                factor: factor as f32,
                constant: (on_mean / n) as f32,
                slope: (2.0 * on_variance / n) as f32,
                mean: channel.mean as f32,
            });
        }
        (gradients, returns)
    }
}

/// The sums of all chunks' cotangents on the output of stage `index`: of g, and of g times the distance from the mean.
unsafe fn sums<S: Lanes, const VP: usize>(
    net: &Net<'_>,
    chunks: &[NormedActivations],
    slots: &mut [Slot],
    index: usize,
    mean: &[f32],
) -> Vec<[f64; 2]> {
    let own = slots.par_iter_mut().flat_map_iter(|slot| &mut slot.chunks);
    // SAFETY: passed on from the caller.
    let parts: Vec<[Vec<f32>; 2]> = own
        .map(|(chunk, cotangents, _)| unsafe { cotangents.sums::<S, VP>(net, &chunks[*chunk], index, mean) })
        .collect();
    let total = |part: usize, c: usize| parts.iter().map(|sums| f64::from(sums[part][c])).sum();
    (0..mean.len()).map(|c| [total(0, c), total(1, c)]).collect()
}
