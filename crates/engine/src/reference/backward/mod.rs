//! The backward-linear domain (CROWN/DeepPoly): linear lower bounds substituted back layer by layer, and their adjoint.
//!
//! Only lower bounds are propagated; the upper bound of a form is minus the lower bound of its negation. Along parallel lines
//! this is the zonotope domain (DeepZ) turned round: an error term that an activation adds takes half the lines' distance
//! times the coefficient's magnitude, whichever way one goes.

mod activation;
mod concretise;
mod domain;
mod reach;
mod traverse;

use tightrope_network::{Layer, NodeId};

use super::affine::{MapGradients, Weights};
use super::interval::Pair;
use super::plan::Plan;
use crate::activation::Lines;
use crate::reference::lanes::sum2;
use crate::{LowerSlope, NodeLines, Real};

pub(super) use concretise::Set;
use reach::{Reach, reach};
use traverse::{Pass, traverse};

/// Coefficient elements that one chunk of rows may hold over all nodes: about the size of a second-level cache.
const CHUNK_ELEMENTS: usize = 1 << 18;

/// Back-substitution for one image.
pub(super) struct Walk<'a, T> {
    pub(super) plan: &'a Plan<T>,
    /// Lines of the activations, max poolings and products whose inputs are bounded so far, by node.
    pub(super) lines: &'a [Option<NodeLines<T>>],
    /// The rule that made them; none without lines.
    pub(super) rule: Option<LowerSlope>,
    /// Node whose values are concretised: the input, or the node before the last linear layer for IBP.
    pub(super) stop: NodeId,
    /// Set of values of `stop`.
    pub(super) set: Set<'a, T>,
    /// The box of error terms that rows are minimised over when they come to its node, and not followed beyond: the lines
    /// are those in the middle.
    pub(super) errors: Option<ErrorBox<'a, T>>,
}

/// Error terms of one node for one image, as a box around 0.
#[derive(Clone, Copy)]
pub(super) struct ErrorBox<'a, T> {
    pub(super) node: NodeId,
    pub(super) radii: &'a [T],
}

/// Where the adjoint of a walk adds its cotangents.
pub(super) struct Sinks<'a, T> {
    pub(super) weights: Option<&'a mut MapGradients<T>>,
    /// Centre and radius of the set at `stop`.
    pub(super) set: Option<(&'a mut [T], &'a mut [T])>,
    /// Radii of the box of error terms.
    pub(super) errors: Option<&'a mut [T]>,
    /// The rows themselves, `[count, n]`, overwritten.
    pub(super) rows: Option<&'a mut Vec<T>>,
}

/// A walk of rows that share lines and set, which may keep their coefficients.
struct WalkPass<'a, 'w, T> {
    walk: &'a Walk<'w, T>,
    /// Coefficients on every node passed; empty if they are not kept.
    kept: Vec<Vec<T>>,
    /// What the box of error terms takes off each row; empty without one.
    taken: Vec<T>,
}

impl<T: Real> Pass<T> for WalkPass<'_, '_, T> {
    fn enter(&mut self, id: NodeId, rows: &mut Vec<T>, _: &mut [T]) {
        if !self.kept.is_empty() && id != self.walk.stop {
            self.kept[id].clone_from(rows);
        }
        if let Some(errors) = self.walk.errors.filter(|errors| errors.node == id) {
            let rows = rows.chunks_exact(errors.radii.len());
            self.taken = rows.map(|row| sum2(row, errors.radii, |a, r| a.abs() * r)).collect();
        }
    }

    fn relax(&mut self, id: NodeId, mut rows: Vec<T>, values: &mut [T]) -> Vec<T> {
        match &self.walk.lines[id] {
            Some(NodeLines::Activation(lines)) => {
                activation::substitute(lines, &mut rows, values);
                rows
            }
            Some(NodeLines::MaxPool(lines)) => lines.substitute(&rows, values, |_| 0),
            Some(NodeLines::Product(lines)) => lines.substitute(&rows, values, |_| 0),
            None => unreachable!("the input of node {id} is not bounded yet"),
        }
    }

    fn finish(&mut self, rows: Vec<T>, values: &mut [T]) {
        self.walk.set.minimum(&rows, values);
        if !self.kept.is_empty() {
            self.kept[self.walk.stop] = rows;
        }
    }
}

impl<T: Real> Walk<'_, T> {
    /// Rows per chunk for rows that start at `start`.
    pub(super) fn chunk_rows(&self, start: NodeId) -> usize {
        let elements: usize = self.plan.network.nodes()[..=start].iter().map(|node| node.len()).sum();
        (CHUNK_ELEMENTS / elements.max(1)).clamp(1, 256)
    }

    /// Lower bounds of `rows` (`[count, n]` on the output of node `start`), and, if they shall be kept, the
    /// coefficients on every node passed.
    fn substitute(&self, start: NodeId, rows: Vec<T>, count: usize, keep: bool) -> (Vec<T>, Vec<Vec<T>>) {
        let kept = if keep { vec![Vec::new(); start + 1] } else { Vec::new() };
        let mut pass = WalkPass { walk: self, kept, taken: Vec::new() };
        let mut values = traverse(self.plan, [start, self.stop], rows, count, &mut pass);
        values.iter_mut().zip(&pass.taken).for_each(|(value, &taken)| *value -= taken);
        (values, pass.kept)
    }

    /// Lower bounds of `rows`, `[count, n]` on the output of node `start`.
    pub(super) fn lower_bounds(&self, start: NodeId, rows: Vec<T>, count: usize) -> Vec<T> {
        self.substitute(start, rows, count, false).0
    }

    /// The adjoint of [`Self::lower_bounds`] for cotangents `g` `[count]`.
    ///
    /// Adds to the sinks and to `bounds`, the cotangents of the bounds that lines were made from (`bounded`) by node, for
    /// this image.
    pub(super) fn adjoint(
        &self,
        start: NodeId,
        rows: Vec<T>,
        g: &[T],
        sinks: &mut Sinks<'_, T>,
        bounded: &[Option<Pair<T>>],
        bounds: &mut [Option<Pair<T>>],
    ) {
        let count = g.len();
        let nodes = self.plan.network.nodes();
        let reached = reach(self.plan, start, &rows, count);
        let (_, coefficients) = self.substitute(start, rows, count, true);
        let mut cotangents: Vec<Vec<T>> = vec![Vec::new(); start + 1];
        for id in self.stop..=start {
            if coefficients[id].is_empty() {
                continue;
            }
            if id == self.stop {
                let set = sinks.set.as_mut().map(|(center, radius)| (&mut **center, &mut **radius));
                cotangents[id] = self.set.adjoint(&coefficients[id], g, set);
                self.errors_adjoint(id, &coefficients[id], g, sinks, &mut cotangents[id]);
                continue;
            }
            let node = &nodes[id];
            cotangents[id] = match &node.layer {
                Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product => {
                    let input = node.inputs[0];
                    let (Some(lines), Some(rule), Some(known), Some(target)) =
                        (&self.lines[id], self.rule, &bounded[input], &mut bounds[input])
                    else {
                        unreachable!("node {input} is not bounded")
                    };
                    match lines {
                        NodeLines::MaxPool(lines) => lines.adjoint(&coefficients[id], &cotangents[input], g, target),
                        NodeLines::Product(lines) => {
                            let g = (&cotangents[input][..], g);
                            lines.adjoint(self.plan.product(id), rule, &coefficients[id], g, (known, target))
                        }
                        NodeLines::Activation(lines) => {
                            let mut on_lines = Lines::zeros(known.lower.len());
                            let mut g_rows = cotangents[input].clone();
                            activation::adjoint(lines, &coefficients[id], &mut g_rows, g, &mut on_lines);
                            if self.errors.is_some() {
                                on_lines.centre();
                            }
                            let bounds = [&known.lower[..], &known.upper];
                            let targets = [&mut target.lower[..], &mut target.upper];
                            self.plan.activation(id).lines_adjoint(bounds, rule, &on_lines, targets);
                            g_rows
                        }
                    }
                }
                Layer::Add => {
                    let mut sum = cotangents[node.inputs[0]].clone();
                    for &input in &node.inputs[1..] {
                        accumulate(&mut sum, cotangents[input].clone());
                    }
                    sum
                }
                Layer::Input => unreachable!("walks end at the input at the latest"),
                Layer::Conv2d(_)
                | Layer::Linear(_)
                | Layer::Affine(_)
                | Layer::BatchNorm(_)
                | Layer::AvgPool2d(_)
                | Layer::Gather(_)
                | Layer::Flatten => {
                    let (input, map) = (node.inputs[0], self.plan.map(id));
                    if let Some(weights) = sinks.weights.as_deref_mut() {
                        weights.add_weight(id, map, Weights::Signed, &cotangents[input], &coefficients[id], count);
                        weights.add_bias(id, map, Some(g), &coefficients[id]);
                    }
                    // The rows themselves are mostly constants (unit vectors or a specification).
                    if id == start && sinks.rows.is_none() {
                        self.errors_adjoint(id, &coefficients[id], g, sinks, &mut []);
                        break;
                    }
                    let mut g_rows = match &reached[id] {
                        Reach::Some(mask) => map.apply_at(&cotangents[input], count, mask),
                        _ => map.apply(Weights::Signed, &cotangents[input], count),
                    };
                    map.add_scaled_bias(g, &mut g_rows);
                    g_rows
                }
            };
            self.errors_adjoint(id, &coefficients[id], g, sinks, &mut cotangents[id]);
        }
        if let Some(target) = &mut sinks.rows {
            **target = std::mem::take(&mut cotangents[start]);
        }
    }

    /// The adjoint of what the box of error terms takes off, if it lies at node `id`: adds to the cotangents of its radii
    /// and to `g_rows`, those of the `rows` there, unless these are constants.
    fn errors_adjoint(&self, id: NodeId, rows: &[T], g: &[T], sinks: &mut Sinks<'_, T>, g_rows: &mut [T]) {
        let Some(errors) = self.errors.filter(|errors| errors.node == id) else { return };
        let n = errors.radii.len();
        for (g_row, (row, &g)) in g_rows.chunks_exact_mut(n).zip(rows.chunks_exact(n).zip(g)) {
            for ((g_a, &a), &r) in g_row.iter_mut().zip(row).zip(errors.radii) {
                *g_a -= g * r * a.signum0();
            }
        }
        if let Some(target) = &mut sinks.errors {
            for (row, &g) in rows.chunks_exact(n).zip(g) {
                target.iter_mut().zip(row).for_each(|(t, &a)| *t -= g * a.abs());
            }
        }
    }
}

fn accumulate<T: Real>(target: &mut Vec<T>, values: Vec<T>) {
    if target.is_empty() {
        *target = values;
    } else {
        target.iter_mut().zip(values).for_each(|(t, v)| *t += v);
    }
}
