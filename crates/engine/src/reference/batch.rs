//! Clean passes in which batch norms take the batch's own statistics, and their adjoint through those statistics.
//!
//! For n values x of a channel, m = Σx/n, v = Σ(x−m)²/n, s = 1/√(v+ε) and y = w·s·(x−m) + b. With cotangents g on y and
//! ḡ = Σg, ĝ = Σg·(x−m), the cotangents are ḡ on b, s·ĝ on w, M = −w·s·ḡ on m, V = −½·w·s³·ĝ on v and
//! w·s·g + M/n + 2·V·(x−m)/n on x, where whoever used m and v elsewhere adds to M and V first.
//!
//! Sums over the batch are those of its groups, in f64 and in a fixed order: any number of threads gives the same bits.

use std::ops::Range;

use rayon::prelude::*;
use tightrope_network::{BatchNorm, NodeId};

use super::affine::{Map, MapGradients, Weights, inverse_deviation};
use super::plan::Plan;
use super::{ACCUMULATORS, BATCHED_GROUP, CleanGroup, Signature, batch_of, concrete};
use crate::{BatchPass, Cotangents, EngineError, Gradients, Real, Tape, Wants};

/// What a pass leaves behind.
pub(super) struct BatchTape<T> {
    signature: Signature,
    groups: Vec<CleanGroup<T>>,
    statistics: Vec<T>,
}

/// One group on its way back.
struct Pass<'t, T> {
    count: usize,
    values: &'t [Vec<T>],
    cotangents: Vec<Vec<T>>,
}

/// The groups that share a gradient accumulator.
struct Slot<'t, T> {
    gradient: Option<MapGradients<T>>,
    passes: Vec<Pass<'t, T>>,
}

/// The runs of elements of one channel in a batch of so many values: (channel, elements).
fn runs(norm: &BatchNorm, inner: usize, length: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let channels = norm.channels;
    (0..length / inner).map(move |run| (run % channels, run * inner..(run + 1) * inner))
}

/// Sums over a batch, `N` per channel: `add` adds those of one part.
fn sums<P: Sync, const N: usize>(
    channels: usize,
    parts: &[P],
    add: impl Fn(&P, &mut [[f64; N]]) + Sync,
) -> Vec<[f64; N]> {
    let parts: Vec<Vec<[f64; N]>> = parts
        .par_iter()
        .map(|part| {
            let mut own = vec![[0.0; N]; channels];
            add(part, &mut own);
            own
        })
        .collect();
    let mut total = vec![[0.0; N]; channels];
    for part in &parts {
        let pairs = total.as_flattened_mut().iter_mut().zip(part.as_flattened());
        pairs.for_each(|(t, p)| *t += p);
    }
    total
}

/// The pass of `inputs`.
///
/// # Errors
/// If the inputs do not fit the network, or there are none.
pub(super) fn forward<T: Real>(plan: &Plan<T>, theta: &[T], inputs: &[T]) -> Result<BatchPass<T>, EngineError> {
    let network = &plan.network;
    let (batch, d) = (batch_of(network, inputs)?, network.input_len());
    if batch == 0 {
        return Err(EngineError::Usage("an empty batch has no statistics; give at least one input".into()));
    }
    let mut groups: Vec<CleanGroup<T>> =
        inputs.chunks(BATCHED_GROUP * d).map(|chunk| (chunk.len() / d, vec![chunk.to_vec()])).collect();
    let advance = |groups: &mut [CleanGroup<T>], last: NodeId| {
        groups.par_iter_mut().for_each(|(count, values)| concrete::advance(plan, values, *count, last));
    };
    let mut statistics = vec![T::ZERO; network.buffers().total()];
    for (id, norm) in network.batch_norms() {
        advance(&mut groups, id - 1);
        let (mean, variance) = moments(plan, id, norm, &groups);
        let layout = network.buffers();
        layout.slice_mut(&mut statistics, norm.mean).copy_from_slice(&mean);
        layout.slice_mut(&mut statistics, norm.variance).copy_from_slice(&variance);
        // What a handle with these buffers computes, bit for bit.
        let Some(map) = Map::of(network, theta, &statistics, id) else { unreachable!("a batch norm is a map") };
        let input = network.node(id).inputs[0];
        groups.par_iter_mut().for_each(|(count, values)| {
            let mut y = map.apply(Weights::Signed, &values[input], *count);
            map.add_bias(&mut y);
            values.push(y);
        });
    }
    advance(&mut groups, network.output());
    let logits = groups.iter().flat_map(|(_, values)| values[network.output()].iter().copied()).collect();
    let tape = BatchTape { signature: Signature::of(network), groups, statistics: statistics.clone() };
    Ok(BatchPass { logits, statistics, tape: Tape(Box::new(tape)) })
}

/// Mean and variance of each channel of what the batch norm at node `id` reads.
fn moments<T: Real>(plan: &Plan<T>, id: NodeId, norm: &BatchNorm, groups: &[CleanGroup<T>]) -> (Vec<T>, Vec<T>) {
    let node = plan.network.node(id);
    let (input, inner) = (node.inputs[0], node.len() / norm.channels);
    let n: f64 = groups.iter().map(|(count, _)| (count * inner) as f64).sum();
    let mean = sums(norm.channels, groups, |(_, values), own: &mut [[f64; 1]]| {
        for (channel, range) in runs(norm, inner, values[input].len()) {
            own[channel][0] += values[input][range].iter().map(|x| x.to_f64()).sum::<f64>();
        }
    });
    let mean: Vec<f64> = mean.into_iter().map(|[sum]| sum / n).collect();
    let variance = sums(norm.channels, groups, |(_, values), own: &mut [[f64; 1]]| {
        for (channel, range) in runs(norm, inner, values[input].len()) {
            let square = |x: &T| (x.to_f64() - mean[channel]).powi(2);
            own[channel][0] += values[input][range].iter().map(square).sum::<f64>();
        }
    });
    let mean = mean.into_iter().map(T::from_f64).collect();
    (mean, variance.into_iter().map(|[sum]| T::from_f64(sum / n)).collect())
}

/// Pulls cotangents on the logits and the statistics back to θ and the inputs. Nothing depends on the buffers in place.
pub(super) fn vjp<T: Real>(
    plan: &Plan<T>,
    theta: &[T],
    tape: &BatchTape<T>,
    cotangents: &Cotangents<T>,
    wants: Wants,
) -> Result<Gradients<T>, EngineError> {
    let network = &plan.network;
    tape.signature.check(network)?;
    let batch: usize = tape.groups.iter().map(|(count, _)| count).sum();
    let classes = network.output_len();
    EngineError::check_length("logit cotangent", cotangents.lower.len(), batch * classes)?;
    if !cotangents.buffers.is_empty() {
        EngineError::check_length("cotangent of the statistics", cotangents.buffers.len(), tape.statistics.len())?;
    }
    if !cotangents.upper.is_empty() || !cotangents.layers.is_empty() {
        return Err(EngineError::Usage("a batch's pass has cotangents on its logits and statistics only".into()));
    }
    let mut slots = slots(plan, tape, &cotangents.lower, wants);
    let retreat = |slots: &mut [Slot<'_, T>], nodes: Range<NodeId>| {
        slots.par_iter_mut().for_each(|Slot { gradient, passes }| {
            for pass in passes {
                let weights = gradient.as_mut();
                let nodes = nodes.clone();
                concrete::retreat(plan, pass.values, &mut pass.cotangents, nodes, pass.count, weights, wants.input);
            }
        });
    };
    let mut above = network.output() + 1;
    // Gradients of each batch norm's factors and summands.
    let mut trained = Vec::new();
    for (id, norm) in network.batch_norms().rev() {
        retreat(&mut slots, id + 1..above);
        trained.push((norm, through(plan, theta, tape, cotangents, &mut slots, (id, norm), wants)));
        above = id;
    }
    retreat(&mut slots, 1..above);
    let mut total = wants.theta.then(|| MapGradients::new(&plan.maps));
    let mut inputs: Vec<Vec<T>> = vec![Vec::new(); tape.groups.len()];
    for (slot, Slot { gradient, passes }) in slots.into_iter().enumerate() {
        if let (Some(total), Some(gradient)) = (&mut total, &gradient) {
            total.add(gradient);
        }
        for (index, mut pass) in passes.into_iter().enumerate() {
            inputs[slot + index * ACCUMULATORS] = std::mem::take(&mut pass.cotangents[0]);
        }
    }
    let theta = total.map(|total| {
        let (mut gradient, _) = total.into_gradients(&plan.maps, network);
        for (norm, [factors, summands]) in &trained {
            network.parameters().slice_mut(&mut gradient, norm.weight).copy_from_slice(factors);
            network.parameters().slice_mut(&mut gradient, norm.bias).copy_from_slice(summands);
        }
        gradient
    });
    let buffers = wants.buffers.then(|| vec![T::ZERO; tape.statistics.len()]);
    Ok(Gradients { theta, input: wants.input.then(|| inputs.concat()), buffers, region: None })
}

/// The groups in their slots, group g in slot g mod [`ACCUMULATORS`], with their cotangents on the logits.
fn slots<'t, T: Real>(plan: &Plan<T>, tape: &'t BatchTape<T>, logits: &[T], wants: Wants) -> Vec<Slot<'t, T>> {
    let (output, classes) = (plan.network.output(), plan.network.output_len());
    let pass = |index: usize| {
        let (count, values) = &tape.groups[index];
        let mut cotangents = vec![Vec::new(); values.len()];
        let first = index * BATCHED_GROUP * classes;
        cotangents[output] = logits[first..first + count * classes].to_vec();
        Pass { count: *count, values, cotangents }
    };
    (0..ACCUMULATORS.min(tape.groups.len()))
        .map(|slot| Slot {
            gradient: wants.theta.then(|| MapGradients::new(&plan.maps)),
            passes: (slot..tape.groups.len()).step_by(ACCUMULATORS).map(pass).collect(),
        })
        .collect()
}

/// Takes the cotangents back through one batch norm; returns those on its factors and summands.
fn through<T: Real>(
    plan: &Plan<T>,
    theta: &[T],
    tape: &BatchTape<T>,
    cotangents: &Cotangents<T>,
    slots: &mut [Slot<'_, T>],
    (id, norm): (NodeId, &BatchNorm),
    wants: Wants,
) -> [Vec<T>; 2] {
    let network = &plan.network;
    let node = network.node(id);
    let (input, inner) = (node.inputs[0], node.len() / norm.channels);
    let n = (tape.groups.iter().map(|(count, _)| count).sum::<usize>() * inner) as f64;
    let layout = network.buffers();
    let mean: Vec<f64> = layout.slice(&tape.statistics, norm.mean).iter().map(|m| m.to_f64()).collect();
    let passes: Vec<&Pass<'_, T>> = slots.iter().flat_map(|slot| &slot.passes).collect();
    // ḡ and ĝ.
    let totals = sums(norm.channels, &passes, |pass, own: &mut [[f64; 2]]| {
        let (g, x) = (&pass.cotangents[id], &pass.values[input]);
        for (channel, range) in runs(norm, inner, x.len()) {
            for (g, x) in g[range.clone()].iter().zip(&x[range]) {
                own[channel][0] += g.to_f64();
                own[channel][1] += g.to_f64() * (x.to_f64() - mean[channel]);
            }
        }
    });
    let given = |buffer, channel: usize| match cotangents.buffers.is_empty() {
        true => 0.0,
        false => layout.slice(&cotangents.buffers, buffer)[channel].to_f64(),
    };
    let variance = layout.slice(&tape.statistics, norm.variance);
    let factor = network.parameters().slice(theta, norm.weight);
    let (mut factors, mut summands, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for (channel, &[sum, centred]) in totals.iter().enumerate() {
        let s = inverse_deviation(variance[channel], norm.epsilon).to_f64();
        let w = factor[channel].to_f64();
        let on_mean = given(norm.mean, channel) - w * s * sum;
        let on_variance = given(norm.variance, channel) - 0.5 * w * s * s * s * centred;
        factors.push(T::from_f64(s * centred));
        summands.push(T::from_f64(sum));
        lines.push([w * s, on_mean / n, 2.0 * on_variance / n, mean[channel]].map(T::from_f64));
    }
    if input != 0 || wants.input {
        slots.par_iter_mut().flat_map(|slot| slot.passes.par_iter_mut()).for_each(|pass| {
            let (g, x) = (std::mem::take(&mut pass.cotangents[id]), &pass.values[input]);
            let target = &mut pass.cotangents[input];
            target.resize(x.len(), T::ZERO);
            for (channel, range) in runs(norm, inner, x.len()) {
                let [slope, constant, on_centred, mean] = lines[channel];
                for ((t, &g), &x) in target[range.clone()].iter_mut().zip(&g[range.clone()]).zip(&x[range]) {
                    *t += slope * g + constant + on_centred * (x - mean);
                }
            }
        });
    }
    [factors, summands]
}
