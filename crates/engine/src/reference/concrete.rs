//! The concrete domain: clean forward passes and their adjoint.

use std::ops::Range;

use tightrope_network::{Layer, NodeId};

use super::affine::{MapGradients, Weights};
use super::plan::Plan;
use crate::Real;

/// Values of every node, `[batch, n]` each.
pub(super) fn forward<T: Real>(plan: &Plan<T>, inputs: &[T], batch: usize) -> Vec<Vec<T>> {
    let last = plan.network.output();
    along(plan, inputs.to_vec(), batch, last, |id, x| plan.values(id, x))
}

/// Values of the nodes up to `last`; `nonlinear` maps (node, its input's values) to the values of an activation, a max
/// pooling or a product.
pub(super) fn along<T: Real>(
    plan: &Plan<T>,
    inputs: Vec<T>,
    batch: usize,
    last: NodeId,
    mut nonlinear: impl FnMut(NodeId, &[T]) -> Vec<T>,
) -> Vec<Vec<T>> {
    let mut values: Vec<Vec<T>> = Vec::with_capacity(last + 1);
    values.push(inputs);
    extend(plan, &mut values, batch, last, &mut nonlinear);
    values
}

/// Appends the values of the nodes up to `last` to those before them.
pub(super) fn advance<T: Real>(plan: &Plan<T>, values: &mut Vec<Vec<T>>, batch: usize, last: NodeId) {
    extend(plan, values, batch, last, &mut |id, x| plan.values(id, x));
}

/// As [`advance`], with functions that are not affine as for [`along`].
fn extend<T: Real>(
    plan: &Plan<T>,
    values: &mut Vec<Vec<T>>,
    batch: usize,
    last: NodeId,
    nonlinear: &mut impl FnMut(NodeId, &[T]) -> Vec<T>,
) {
    for (id, node) in plan.network.nodes()[..=last].iter().enumerate().skip(values.len()) {
        let value = match &node.layer {
            Layer::Input => unreachable!("only node 0 is the input"),
            Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product => nonlinear(id, &values[node.inputs[0]]),
            Layer::Add => {
                let mut sum = values[node.inputs[0]].clone();
                for &input in &node.inputs[1..] {
                    sum.iter_mut().zip(&values[input]).for_each(|(s, &v)| *s += v);
                }
                sum
            }
            Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::Flatten => {
                let map = plan.map(id);
                let mut y = map.apply(Weights::Signed, &values[node.inputs[0]], batch);
                map.add_bias(&mut y);
                y
            }
        };
        values.push(value);
    }
}

/// Pulls `cotangent` on the output back to the weights and, if wanted, the input.
pub(super) fn backward<T: Real>(
    plan: &Plan<T>,
    values: &[Vec<T>],
    cotangent: &[T],
    batch: usize,
    weights: Option<&mut MapGradients<T>>,
    input_wanted: bool,
) -> Vec<T> {
    let mut cotangents: Vec<Vec<T>> = values.iter().map(|_| Vec::new()).collect();
    cotangents[plan.network.output()] = cotangent.to_vec();
    retreat(plan, values, &mut cotangents, 1..values.len(), batch, weights, input_wanted);
    std::mem::take(&mut cotangents[0])
}

/// Pulls the cotangents of `range` back to the nodes before it, whose own are there or empty.
pub(super) fn retreat<T: Real>(
    plan: &Plan<T>,
    values: &[Vec<T>],
    cotangents: &mut [Vec<T>],
    range: Range<NodeId>,
    batch: usize,
    mut weights: Option<&mut MapGradients<T>>,
    input_wanted: bool,
) {
    for (id, node) in plan.network.nodes()[..range.end].iter().enumerate().skip(range.start).rev() {
        let g = std::mem::take(&mut cotangents[id]);
        for &input in &node.inputs {
            if cotangents[input].is_empty() {
                cotangents[input] = vec![T::ZERO; values[input].len()];
            }
        }
        match &node.layer {
            Layer::Activation(_) => {
                let input = node.inputs[0];
                plan.activation(id).pull_back(&values[input], &g, &mut cotangents[input]);
            }
            Layer::MaxPool2d(_) => {
                let input = node.inputs[0];
                plan.max_pool(id).pull_back(&values[input], &g, &mut cotangents[input]);
            }
            Layer::Product => {
                let input = node.inputs[0];
                plan.product(id).pull_back(&values[input], &g, &mut cotangents[input]);
            }
            Layer::Add => {
                for &input in &node.inputs {
                    cotangents[input].iter_mut().zip(&g).for_each(|(t, &g)| *t += g);
                }
            }
            Layer::Input => unreachable!("only node 0 is the input"),
            Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::Flatten => {
                let (input, map) = (node.inputs[0], plan.map(id));
                if let Some(weights) = weights.as_deref_mut() {
                    weights.add_weight(id, map, Weights::Signed, &values[input], &g, batch);
                    weights.add_bias(id, map, None, &g);
                }
                if input != 0 || input_wanted {
                    map.transpose(Weights::Signed, &g, batch, &mut cotangents[input]);
                }
            }
        }
    }
}
