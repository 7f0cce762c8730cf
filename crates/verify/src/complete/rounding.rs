//! A-priori bounds of the rounding errors of the dual bound, in f64.
//!
//! The backward pass keeps, for every x of the box that satisfies the splits, the exact inequality
//!
//! > c·y ≥ Σ_k Â_k·z_k + v̂ − e
//!
//! over the nodes k whose coefficients wait to be substituted, with Â and v̂ the *rounded* numbers at hand. A step replaces
//! Â_k·z_k by coefficients on the node's inputs; computed in floating point these differ from the exact ones by at most
//! γ·|Â_k||W| (dot products of at most N terms in any order, fused or not, have relative error γ = N·u/(1 − N·u) on the
//! sum of absolute values; Higham 2002, ch. 3), which changes the right side by at most γ·|Â_k|·(|W|·M), M being a bound of
//! |z| over the box for the node's inputs. Bias terms give γ·|Â_k|·|b|, ReLU steps at most γ·|Â_k|·M of the pre-activation
//! (slopes are in [0, 1], intercepts at most M, and the lines are valid as rounded), sums over several consumers of a
//! node and multipliers γ·|Â_k|·M of the node itself, and the running value v̂ one unit of roundoff per addition. All of
//! it is a dot product of |Â_k| with one vector per node, V_k = |W|·M + |b| + M, known before any row is bounded; that
//! sum, times γ with N twice the size of the largest node and enlarged for its own rounding, is the margin.
//!
//! Weights that are no f64 (products and quotients that an import computed) stand as the nearest one: one more factor
//! (1 + δ), |δ| ≤ u, on some products, which the generous N covers as well.
//!
//! Interval arithmetic is enlarged in the same way: W·centre ± |W|·radius is off by at most γ·(|W|·M + |b|).

use tightrope_engine::{Real, Weights};
use tightrope_network::{Activation, Layer, Network, NodeId};

use super::dual::absolute_dot;
use super::program::{Program, not_covered};

/// Unit roundoff of f64.
const UNIT: f64 = f64::EPSILON / 2.0;

/// Enlarges sums that are rounded themselves.
const GENEROUS: f64 = 1.0 + 1e-6;

/// What one pass through each node can cost at most per unit of coefficient.
#[derive(Clone, Debug)]
pub(crate) struct Rounding<T> {
    /// V_k by node.
    charges: Vec<Vec<T>>,
    gamma: T,
}

/// γ for a network: N is twice the largest node, and some for the few extra terms.
pub(crate) fn gamma(network: &Network) -> f64 {
    let longest = network.nodes().iter().map(|node| node.len()).max().unwrap_or(1);
    let n = (2 * longest + 64) as f64;
    n * UNIT / (1.0 - n * UNIT)
}

impl Rounding<f64> {
    /// Charges nothing yet; nodes are added in order by [`Self::push`].
    pub(crate) fn new(network: &Network) -> Self {
        Rounding { charges: Vec::new(), gamma: gamma(network) }
    }

    /// Adds the next node: |z| ≤ `magnitude` over the box, and `reach` = |W|·M + |b| (affine nodes) or M of the inputs.
    pub(crate) fn push(&mut self, magnitude: &[f64], reach: &[f64]) {
        self.charges.push(magnitude.iter().zip(reach).map(|(m, r)| m + r).collect());
    }

    /// The charges of `inner` outputs, for a row that is a rounded combination of exact ones: γ·Σ|c|·M enlarged.
    pub(crate) fn combination(&self, node: NodeId, absolute: &[f64], bound: f64) -> f64 {
        self.gamma * GENEROUS * (absolute_dot(absolute, &self.charges[node]) + bound)
    }
}

impl<T: Real> Rounding<T> {
    /// errors += what passing node `id` with the coefficients `rows` can cost; `values` are the constants so far.
    pub(crate) fn charge(&self, id: NodeId, rows: &[T], values: &[T], errors: &mut [T]) {
        let charges = &self.charges[id];
        for ((row, &value), error) in rows.chunks_exact(charges.len()).zip(values).zip(errors) {
            *error += absolute_dot(row, charges) + value.abs();
        }
    }

    /// The margin for a sum of charges and the final value.
    pub(crate) fn finish(&self, error: T, value: T) -> T {
        // The last summand stands for underflow.
        (error + value.abs()) * self.gamma * T::from_f64(GENEROUS) + T::from_f64(1e-290)
    }
}

/// Interval bounds of one node over some boxes, `[sets, n]`, with what [`Rounding`] needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interval {
    /// Lower ends.
    pub lower: Vec<f64>,
    /// Upper ends.
    pub upper: Vec<f64>,
    /// |W|·M + |b| of affine nodes, the inputs' M otherwise.
    pub reach: Vec<f64>,
}

impl Interval {
    /// max |z|.
    pub(crate) fn magnitude(&self) -> Vec<f64> {
        self.lower.iter().zip(&self.upper).map(|(l, u)| l.abs().max(u.abs())).collect()
    }
}

/// Outward-rounded interval arithmetic through node `id` for the intervals of all nodes before it.
///
/// An end that leaves f64 is infinite: what overflows says nothing.
pub(crate) fn interval_step(program: &Program<'_, f64>, id: NodeId, before: &[Interval], sets: usize) -> Interval {
    let mut interval = finite_step(program, id, before, sets);
    interval.lower.iter_mut().filter(|l| !l.is_finite()).for_each(|l| *l = f64::NEG_INFINITY);
    interval.upper.iter_mut().filter(|u| !u.is_finite()).for_each(|u| *u = f64::INFINITY);
    interval.reach.iter_mut().filter(|r| !r.is_finite()).for_each(|r| *r = f64::INFINITY);
    interval
}

/// [`interval_step`] where nothing overflows.
fn finite_step(program: &Program<'_, f64>, id: NodeId, before: &[Interval], sets: usize) -> Interval {
    let node = program.network.node(id);
    let input = &before[node.inputs[0]];
    let gamma = gamma(program.network);
    match &node.layer {
        Layer::Activation(Activation::Relu) => {
            let clamp = |values: &[f64]| values.iter().map(|v| v.max(0.0)).collect();
            Interval { lower: clamp(&input.lower), upper: clamp(&input.upper), reach: input.magnitude() }
        }
        Layer::Flatten => input.clone(),
        Layer::Add => {
            let mut sum = Interval { reach: input.magnitude(), ..input.clone() };
            for &other in &node.inputs[1..] {
                let add = |target: &mut [f64], values: &[f64]| target.iter_mut().zip(values).for_each(|(t, v)| *t += v);
                add(&mut sum.lower, &before[other].lower);
                add(&mut sum.upper, &before[other].upper);
                add(&mut sum.reach, &before[other].magnitude());
            }
            enlarge(&mut sum, gamma);
            sum
        }
        Layer::Input | Layer::Activation(_) | Layer::MaxPool2d(_) => not_covered(node),
        Layer::Conv2d(_) | Layer::Linear(_) | Layer::Affine(_) | Layer::AvgPool2d(_) => {
            let map = program.map(id);
            let middle = |(l, u): (&f64, &f64)| 0.5 * (l + u);
            let center: Vec<f64> = input.lower.iter().zip(&input.upper).map(middle).collect();
            let radius: Vec<f64> = input.lower.iter().zip(&input.upper).map(|(l, u)| 0.5 * (u - l)).collect();
            let mut center = map.apply(Weights::Signed, &center, sets);
            map.add_bias(&mut center);
            let radius = map.apply(Weights::Absolute, &radius, sets);
            let mut reach = map.apply(Weights::Absolute, &input.magnitude(), sets);
            let bias = &program.bias_magnitude[id];
            for row in reach.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(r, b)| *r = (*r + b) * GENEROUS);
            }
            let lower = center.iter().zip(&radius).map(|(c, r)| c - r).collect();
            let upper = center.iter().zip(&radius).map(|(c, r)| c + r).collect();
            let mut result = Interval { lower, upper, reach };
            enlarge(&mut result, 2.0 * gamma);
            result
        }
    }
}

fn enlarge(interval: &mut Interval, gamma: f64) {
    for ((l, u), r) in interval.lower.iter_mut().zip(&mut interval.upper).zip(&interval.reach) {
        let margin = gamma * (r + l.abs().max(u.abs())) + f64::MIN_POSITIVE;
        *l -= margin;
        *u += margin;
    }
}
