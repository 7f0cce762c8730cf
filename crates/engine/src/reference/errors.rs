//! Error terms that are kept as a box beside affine forms (hybrid zonotopes, Mirman et al. 2018): radii, and their adjoint.
//!
//! A value is its form, centre and error terms of the input, plus an error of magnitude e. Affine: e' = |W| e. Activations
//! with two parallel lines of slope λ and distance 2ρ: e' = |λ| e + ρ.

use tightrope_network::{Layer, NodeId};

use super::affine::{MapGradients, Weights};
use super::interval::{Pair, sum};
use super::plan::Plan;
use crate::activation::Lines;
use crate::{LowerSlope, NodeLines, Real};

/// Bounds by node, or their cotangents.
type Pairs<T> = [Option<Pair<T>>];

/// The radii of the boxes, `[batch, n]`, of all nodes up to some.
pub(super) struct Errors<T> {
    pub(super) radii: Vec<Vec<T>>,
    /// The rule of the lines that they come from; none without lines.
    rule: Option<LowerSlope>,
}

impl<T: Real> Errors<T> {
    /// Of no node.
    pub(super) fn none(rule: Option<LowerSlope>) -> Self {
        Errors { radii: Vec::new(), rule }
    }

    /// Goes on to node `last`; `lines` gives those of each image as far as they are known, before they are centred.
    pub(super) fn extend(&mut self, plan: &Plan<T>, lines: &[Vec<Option<NodeLines<T>>>], last: NodeId) {
        let batch = lines.len();
        for id in self.radii.len()..=last {
            let node = plan.network.node(id);
            let radii = match &node.layer {
                Layer::Input => vec![T::ZERO; batch * node.len()],
                Layer::Add => sum(&self.radii, &node.inputs),
                Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product => {
                    let below = self.radii[node.inputs[0]].chunks_exact(plan.network.node(node.inputs[0]).len());
                    below.zip(lines).flat_map(|(below, lines)| beyond(&lines[id], below)).collect()
                }
                Layer::Conv2d(_)
                | Layer::Linear(_)
                | Layer::Affine(_)
                | Layer::BatchNorm(_)
                | Layer::AvgPool2d(_)
                | Layer::Gather(_)
                | Layer::Flatten => plan.map(id).apply(Weights::Absolute, &self.radii[node.inputs[0]], batch),
            };
            self.radii.push(radii);
        }
    }

    /// The radii of one image's box at a node, if it has come there.
    pub(super) fn of(&self, id: NodeId, sample: usize, n: usize) -> Option<&[T]> {
        self.radii.get(id).map(|radii| &radii[sample * n..(sample + 1) * n])
    }

    /// Pulls the cotangents `g` of the radii of node `id` (taken away) back to those of its inputs, to the weights and to
    /// the `bounds` that lines were made from; `bounded` are these bounds.
    pub(super) fn backward(
        &self,
        plan: &Plan<T>,
        lines: &[Vec<Option<NodeLines<T>>>],
        id: NodeId,
        g: &mut [Vec<T>],
        weights: Option<&mut MapGradients<T>>,
        (bounded, bounds): (&Pairs<T>, &mut Pairs<T>),
    ) {
        let (batch, node) = (lines.len(), plan.network.node(id));
        let g_node = std::mem::take(&mut g[id]);
        if g_node.iter().all(|&g| g == T::ZERO) {
            return;
        }
        match &node.layer {
            Layer::Input => {}
            Layer::Add => {
                for &input in &node.inputs {
                    g[input].iter_mut().zip(&g_node).for_each(|(t, &g)| *t += g);
                }
            }
            Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product => {
                let input = node.inputs[0];
                let (Some(rule), Some(known), Some(target)) = (self.rule, &bounded[input], &mut bounds[input]) else {
                    unreachable!("node {input} is not bounded")
                };
                let (n, m) = (plan.network.node(input).len(), node.len());
                for (sample, lines) in lines.iter().enumerate() {
                    let (g_node, range) = (&g_node[sample * m..(sample + 1) * m], sample * n..(sample + 1) * n);
                    let (radii, g_radii) = (&self.radii[input][range.clone()], &mut g[input][range.clone()]);
                    match &lines[id] {
                        Some(NodeLines::MaxPool(lines)) => {
                            let mut pair = Pair::zeros(n);
                            lines.radii_adjoint(g_node, g_radii, &mut pair);
                            target.lower[range.clone()].iter_mut().zip(pair.lower).for_each(|(t, g)| *t += g);
                            target.upper[range].iter_mut().zip(pair.upper).for_each(|(t, g)| *t += g);
                        }
                        Some(NodeLines::Product(lines)) => {
                            let ends = |pair: &Pair<T>| Pair {
                                lower: pair.lower[range.clone()].to_vec(),
                                upper: pair.upper[range.clone()].to_vec(),
                            };
                            let mut pair = Pair::zeros(n);
                            let bounds = (&ends(known), &mut pair);
                            lines.radii_adjoint(plan.product(id), rule, g_node, (radii, g_radii), bounds);
                            target.lower[range.clone()].iter_mut().zip(pair.lower).for_each(|(t, g)| *t += g);
                            target.upper[range].iter_mut().zip(pair.upper).for_each(|(t, g)| *t += g);
                        }
                        Some(NodeLines::Activation(lines)) => {
                            let mut on_lines = Lines::zeros(n);
                            let half = T::from_f64(0.5);
                            for (i, &g) in g_node.iter().enumerate() {
                                let slope = lines.upper_slope[i];
                                g_radii[i] += slope.abs() * g;
                                on_lines.upper_slope[i] = slope.signum0() * radii[i] * g;
                                on_lines.upper_intercept[i] = half * g;
                                on_lines.lower_intercept[i] = -half * g;
                            }
                            let ends = [&known.lower[range.clone()], &known.upper[range.clone()]];
                            let targets = [&mut target.lower[range.clone()], &mut target.upper[range]];
                            plan.activation(id).lines_adjoint(ends, rule, &on_lines, targets);
                        }
                        None => unreachable!("node {id} has no lines"),
                    }
                }
            }
            Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::Flatten => {
                let (input, map) = (node.inputs[0], plan.map(id));
                if let Some(weights) = weights {
                    weights.add_weight(id, map, Weights::Absolute, &self.radii[input], &g_node, batch);
                }
                map.transpose(Weights::Absolute, &g_node, batch, &mut g[input]);
            }
        }
    }
}

/// The radii of one image's box beyond an activation, max pooling or product.
fn beyond<T: Real>(lines: &Option<NodeLines<T>>, below: &[T]) -> Vec<T> {
    match lines {
        Some(NodeLines::MaxPool(lines)) => lines.radii(below),
        Some(NodeLines::Product(lines)) => lines.radii(below),
        Some(NodeLines::Activation(lines)) => {
            let own = lines.radii().into_iter().zip(below).zip(&lines.upper_slope);
            own.map(|((own, &below), &slope)| own + slope.abs() * below).collect()
        }
        None => unreachable!("its input is not bounded yet"),
    }
}
