//! A-priori bounds of the rounding errors of back-substitution.
//!
//! The backward pass keeps, for every x of the box that satisfies the splits, the exact inequality
//!
//! > c·y ≥ Σ_k Â_k·z_k + v̂ − e
//!
//! over the nodes k whose coefficients wait to be substituted, with Â and v̂ the *rounded* numbers at hand. A step replaces
//! Â_k·z_k by coefficients on the node's inputs; computed in floating point these differ from the exact ones by at most
//! γ·|Â_k||W| (dot products of at most N terms in any order, fused or not, have relative error γ = N·u/(1 − N·u) on the
//! sum of absolute values; Higham 2002, ch. 3), which changes the right side by at most γ·|Â_k|·(|W|·M), M being a bound of
//! |z| over the box for the node's inputs. Bias terms give γ·|Â_k|·|b|, steps through activations and max pooling at most
//! γ·|Â_k|·M of the node itself and of its input (slopes are in [0, 1], intercepts at most the sum of both, and the lines
//! are valid as rounded; what lines with other slopes can reach stands for M of the input), sums over several consumers of a node and multipliers γ·|Â_k|·M of the node itself, what a
//! multiplier β of a split at p adds to the constants γ·β·|p|, and the running value v̂ one unit of roundoff per addition.
//! All of it but for that is a dot product of |Â_k| with one vector per node, V_k = |W|·M + |b| + M, known before any row is
//! bounded; that sum, times γ with N twice the size of the largest node and enlarged for its own rounding, is the margin.
//!
//! Products that underflow lose up to half the smallest number, absolutely: a coefficient, times as many as are added up, which
//! counts by the M of what it stands at. However small the coefficients, that is less than N times the smallest number for each
//! reader of a node, times the sum of its V, and is added once for all rows.
//!
//! Weights that are no f64 (products and quotients that an import computed) stand as the nearest one: one more factor
//! (1 + δ), |δ| ≤ u, on some products, which the generous N covers as well.

use tightrope_network::{Network, NodeId};

use crate::Real;

/// Enlarges sums that are rounded themselves.
pub(crate) const GENEROUS: f64 = 1.0 + 1e-6;

/// What one pass through each node can cost at most per unit of coefficient, in the engine's precision.
#[derive(Clone, Debug)]
pub struct Charges<T> {
    /// V_k by node.
    charges: Vec<Vec<T>>,
    /// ΣV of each node that has charges.
    sums: Vec<T>,
    /// What underflows in coefficients can cost in one pass.
    underflow: T,
    /// Nodes that read each node.
    readers: Vec<usize>,
    /// N.
    terms: T,
    gamma: T,
}

/// N: twice the largest node, and some for the few extra terms.
fn terms<T: Real>(network: &Network) -> T {
    let longest = network.nodes().iter().map(|node| node.len()).max().unwrap_or(1);
    T::from_f64((2 * longest + 64) as f64)
}

/// γ for a network.
pub(crate) fn gamma<T: Real>(network: &Network) -> T {
    let n = terms::<T>(network) * T::EPSILON / T::from_f64(2.0);
    if n < T::ONE { n / (T::ONE - n) } else { T::INFINITY }
}

impl<T: Real> Charges<T> {
    /// Charges nothing yet; nodes are added in order by [`Self::push`].
    pub fn new(network: &Network) -> Self {
        let mut readers = vec![0; network.nodes().len()];
        network.nodes().iter().flat_map(|node| &node.inputs).for_each(|&input| readers[input] += 1);
        let (sums, terms, gamma) = (Vec::new(), terms(network), gamma(network));
        Charges { charges: Vec::new(), sums, underflow: T::ZERO, readers, terms, gamma }
    }

    /// Adds the next node: |z| ≤ `magnitude` over the box, and `reach` = |W|·M + |b| (affine nodes) or M of the inputs.
    pub fn push(&mut self, magnitude: &[T], reach: &[T]) {
        let charges: Vec<T> = magnitude.iter().zip(reach).map(|(&m, &r)| m + r).collect();
        let sum = lane_sum([&charges; 3], |charge, _, _| charge);
        let readers = self.readers[self.charges.len()] as f64 * GENEROUS;
        self.underflow += T::from_f64(readers) * self.lost(sum);
        self.sums.push(sum);
        self.charges.push(charges);
    }

    /// What N underflows at each of the elements whose V add up to `sum` can cost.
    fn lost(&self, sum: T) -> T {
        // The smallest number last, so that nothing underflows here but what is nothing beside T::UNDERFLOW.
        self.terms * sum * (T::MIN_POSITIVE * T::EPSILON)
    }

    /// The charges of a row that is a rounded combination of exact ones, which add up to `absolute` and right sides to
    /// `bound`, taken absolutely: γ·Σ|c|·M enlarged.
    pub fn combination(&self, node: NodeId, absolute: &[T], bound: T) -> T {
        let rounding = absolute_dot(absolute, &self.charges[node]) + bound;
        self.gamma * T::from_f64(GENEROUS) * rounding + self.lost(self.sums[node])
    }

    /// errors += what passing node `id` with the coefficients `rows` can cost; `values` are the constants so far.
    pub(crate) fn charge(&self, id: NodeId, rows: &[T], values: &[T], errors: &mut [T]) {
        let charges = &self.charges[id];
        for ((row, &value), error) in rows.chunks_exact(charges.len()).zip(values).zip(errors) {
            *error += absolute_dot(row, charges) + value.abs();
        }
    }

    /// The margin for a sum of charges and the final value.
    pub(crate) fn finish(&self, error: T, value: T) -> T {
        // The last summands stand for underflow, in coefficients and in all else.
        (error + value.abs()) * self.gamma * T::from_f64(GENEROUS) + self.underflow + T::UNDERFLOW
    }
}

/// Lanes of the sums below, so that the compiler vectorises them.
const LANES: usize = 16;

/// Σ f(a, b, c) over the elements of `a` and those of `b` and `c` beside them, in lanes.
#[inline(always)]
pub(crate) fn lane_sum<T: Real>([a, b, c]: [&[T]; 3], f: impl Fn(T, T, T) -> T) -> T {
    let (b, c) = (&b[..a.len()], &c[..a.len()]);
    let mut lanes = [T::ZERO; LANES];
    let ((a, a_rest), (b, b_rest), (c, c_rest)) = (a.as_chunks(), b.as_chunks(), c.as_chunks());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        let (a, b, c): (&[T; LANES], &[T; LANES], &[T; LANES]) = (a, b, c);
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane], c[lane]);
        }
    }
    let mut total = T::ZERO;
    lanes.iter().for_each(|&lane| total += lane);
    a_rest.iter().zip(b_rest).zip(c_rest).for_each(|((&a, &b), &c)| total += f(a, b, c));
    total
}

/// Σ |a|·v.
pub(crate) fn absolute_dot<T: Real>(a: &[T], v: &[T]) -> T {
    lane_sum([a, v, v], |a, v, _| a.abs() * v)
}
