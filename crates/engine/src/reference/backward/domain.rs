//! Back-substitution over domains: linear lower bounds of many rows at once, substituted back to each row's box, and the
//! relaxed primal point from which the derivatives of the bounds with respect to slopes and multipliers follow.
//!
//! For a row c over node `start` the bound is g(α, β) = min over the box of A₀·x + const, where going back through a ReLU
//! a coefficient a ≥ 0 takes the lower line α·z, a < 0 the upper line s·z + t, and a neuron split at p adds −β·(z − p)
//! (where z ≥ p) or +β·(z − p) (z ≤ p). Other activations have two lines of either side, mixed by α; a max pooling has one
//! lower line and one upper constant, a product two planes. As the bound is A₀·x* + const with everything else linear in between, the derivative
//! with respect to a coefficient is the value z̃ that the relaxation gives that neuron when it is run forwards from the
//! minimiser x* along the lines chosen: for a ReLU ∂g/∂α = max(a, 0)·z̃, for a mixture a times the second line's height
//! above the first at z̃, and ∂g/∂β = ∓(z̃ − p) (Wang et al. 2021).

use tightrope_network::NodeId;

use super::traverse::{Pass, traverse};
use crate::activation::mixed;
use crate::reference::concrete;
use crate::reference::plan::Plan;
use crate::substitution::lane_sum;
use crate::vector::vectorised;
use crate::{Charges, Domain, NodeLines, Real, Trace};

/// A walk of rows with sets of their own.
struct DomainPass<'a, 'd, T> {
    domain: &'a Domain<'d, T>,
    plan: &'a Plan<T>,
    trace: Option<&'a mut Trace<T>>,
    charges: Option<&'a Charges<T>>,
    errors: Vec<T>,
}

impl<T: Real> Pass<T> for DomainPass<'_, '_, T> {
    fn enter(&mut self, id: NodeId, rows: &mut Vec<T>, values: &mut [T]) {
        if let Some(position) = self.plan.sites.position[id] {
            self.domain.add_multipliers(position, self.plan.network.node(id).len(), rows, values, &mut self.errors);
        }
        if let Some(charges) = self.charges {
            charges.charge(id, rows, values, &mut self.errors);
        }
    }

    fn relax(&mut self, id: NodeId, mut rows: Vec<T>, values: &mut [T]) -> Vec<T> {
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.post[id].clone_from(&rows);
        }
        let site = self.plan.site(id);
        match &self.domain.lines[site] {
            NodeLines::Activation(_) => {
                vectorised(|| self.domain.relax(site, self.plan, &mut rows, values));
                rows
            }
            NodeLines::MaxPool(lines) => lines.substitute(&rows, values, |row| self.domain.lines_of.of(row)),
            NodeLines::Product(lines) => lines.substitute(&rows, values, |row| self.domain.lines_of.of(row)),
        }
    }

    fn finish(&mut self, rows: Vec<T>, values: &mut [T]) {
        vectorised(|| self.domain.minimum(&rows, values, &mut self.errors));
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.input = rows;
        }
    }
}

impl<T: Real> Domain<'_, T> {
    /// Lower bounds of `rows` (`[count, n]` on the output of node `start`).
    ///
    /// With `trace` the coefficients are kept. With `charges` the second result bounds the rounding error of each
    /// value; see [`Charges`].
    pub(in crate::reference) fn bound(
        &self,
        plan: &Plan<T>,
        start: NodeId,
        rows: Vec<T>,
        count: usize,
        mut trace: Option<&mut Trace<T>>,
        charges: Option<&Charges<T>>,
    ) -> (Vec<T>, Vec<T>) {
        if let Some(trace) = trace.as_deref_mut() {
            trace.post = vec![Vec::new(); start + 1];
        }
        let mut pass = DomainPass { domain: self, plan, trace, charges, errors: vec![T::ZERO; count] };
        let values = traverse(plan, [start, 0], rows, count, &mut pass);
        let mut errors = pass.errors;
        if let Some(charges) = charges {
            errors.iter_mut().zip(&values).for_each(|(e, &v)| *e = charges.finish(*e, v));
        }
        (values, errors)
    }

    /// Adds the multipliers of a position; `errors` grow by the size of what they do to the constants.
    fn add_multipliers(&self, position: usize, n: usize, rows: &mut [T], values: &mut [T], errors: &mut [T]) {
        let Some(multipliers) = self.multipliers else { return };
        let rows = rows.chunks_exact_mut(n).zip(values.iter_mut().zip(errors));
        for ((row, (value, error)), list) in rows.zip(multipliers) {
            for m in list.iter().filter(|m| m.position == position) {
                row[m.index] += m.value;
                if m.point != T::ZERO {
                    let part = m.value * m.point;
                    *value += -part;
                    *error += part.abs();
                }
            }
        }
    }

    /// Replaces coefficients on an activation's output by those on its input.
    #[inline(always)]
    fn relax(&self, site: usize, plan: &Plan<T>, rows: &mut [T], values: &mut [T]) {
        let Some(lines) = self.lines[site].activation() else { return };
        let site = &plan.sites.sites[site];
        let (position, n) = (site.position, plan.network.node(site.input).len());
        for (index, (row, value)) in rows.chunks_exact_mut(n).zip(values).enumerate() {
            let set = self.lines_of.of(index) * n;
            if let (Some(fan), Some(shares)) = (&lines.fan, self.slopes) {
                let shares = &shares[position][index * n..(index + 1) * n];
                for (i, (a, &share)) in row.iter_mut().zip(shares).enumerate().filter(|(_, (a, _))| **a != T::ZERO) {
                    let line = mixed(fan.choice(set + i, *a), share);
                    *value += *a * line.intercept;
                    *a *= line.slope;
                }
                continue;
            }
            let (upper, intercept) = (&lines.upper_slope[set..set + n], &lines.upper_intercept[set..set + n]);
            *value += negative_dot(row, intercept);
            if !lines.lower_intercept.is_empty() {
                *value += positive_dot(row, &lines.lower_intercept[set..set + n]);
            }
            let own = &lines.lower_slope[set..set + n];
            let Some(shares) = self.slopes.map(|slopes| &slopes[position][index * n..(index + 1) * n]) else {
                for ((a, &low), &up) in row.iter_mut().zip(own).zip(upper) {
                    *a = *a * if *a >= T::ZERO { low } else { up };
                }
                continue;
            };
            let open = shares.iter().zip(own).zip(intercept);
            for ((a, &up), ((&share, &own), &intercept)) in row.iter_mut().zip(upper).zip(open) {
                let low = relu_slope(share, own, intercept);
                *a = *a * if *a >= T::ZERO { low } else { up };
            }
        }
    }

    /// values += min over each row's set of row·x; `errors` grow by the size of terms that the charges know nothing of.
    #[inline(always)]
    fn minimum(&self, rows: &[T], values: &mut [T], errors: &mut [T]) {
        let d = rows.len() / values.len();
        for (index, (row, (value, error))) in rows.chunks_exact(d).zip(values.iter_mut().zip(errors)).enumerate() {
            if let Some(cut) = self.cut(index, d) {
                let (least, size) = cut.minimum(row);
                *value += least;
                *error += size;
                continue;
            }
            let set = self.box_of.of(index) * d;
            let (lower, upper) = (&self.lower[set..set + d], &self.upper[set..set + d]);
            *value += box_minimum(row, lower, upper);
        }
    }

    /// The relaxed values of all nodes up to `last`, run forwards from the minimisers along the lines chosen in `trace`.
    pub(in crate::reference) fn relaxed(
        &self,
        plan: &Plan<T>,
        last: NodeId,
        trace: &Trace<T>,
        points: Vec<T>,
    ) -> Vec<Vec<T>> {
        let count = points.len() / plan.network.input_len();
        concrete::along(plan, points, count, last, |id, z| {
            let outputs = plan.network.node(id).len();
            let post = trace.post.get(id).map(Vec::as_slice).unwrap_or_default();
            let mut values = vec![T::ZERO; count * outputs];
            if post.is_empty() {
                // Nothing the rows read depends on it.
                return values;
            }
            let site = plan.site(id);
            let n = z.len() / count;
            for index in 0..count {
                let set = self.lines_of.of(index);
                let range = index * outputs..(index + 1) * outputs;
                let (post, z, values) = (&post[range.clone()], &z[index * n..(index + 1) * n], &mut values[range]);
                match &self.lines[site] {
                    NodeLines::Activation(_) => {
                        vectorised(|| self.relaxed_activation(site, plan, index, post, z, values));
                    }
                    NodeLines::MaxPool(lines) => lines.relaxed(set, post, z, values),
                    NodeLines::Product(lines) => lines.relaxed(set, post, z, values),
                }
            }
            values
        })
    }

    /// The values of an activation for row `index` along the lines that `post` has chosen.
    #[inline(always)]
    fn relaxed_activation(&self, site: usize, plan: &Plan<T>, index: usize, post: &[T], z: &[T], values: &mut [T]) {
        let Some(lines) = self.lines[site].activation() else { return };
        let (position, n) = (plan.sites.sites[site].position, z.len());
        let set = self.lines_of.of(index) * n;
        match (&lines.fan, self.slopes) {
            (Some(fan), Some(shares)) => {
                let shares = &shares[position][index * n..(index + 1) * n];
                for i in 0..n {
                    values[i] = mixed(fan.choice(set + i, post[i]), shares[i]).at(z[i]);
                }
            }
            (Some(_), None) => {
                for i in 0..n {
                    let (lower, upper) = lines.pair(set + i);
                    values[i] = if post[i] >= T::ZERO { lower.at(z[i]) } else { upper.at(z[i]) };
                }
            }
            (None, _) => {
                let own = &lines.lower_slope[set..set + n];
                let (upper, intercept) = (&lines.upper_slope[set..set + n], &lines.upper_intercept[set..set + n]);
                let shares = self.slopes.map_or(own, |slopes| &slopes[position][index * n..(index + 1) * n]);
                let open = shares.iter().zip(own).zip(intercept);
                let rows = values.iter_mut().zip(post).zip(z).zip(upper);
                for ((((value, &post), &z), &up), ((&share, &own), &intercept)) in rows.zip(open) {
                    let lower = relu_slope(share, own, intercept);
                    *value = if post >= T::ZERO { lower * z } else { up * z + intercept };
                }
            }
        }
    }
}

/// The lower slope of a ReLU: its share where it is open, its own where it is stable. Activations that read the same neuron
/// have one share between them, which another's choice may have moved.
#[inline(always)]
fn relu_slope<T: Real>(share: T, own: T, upper_intercept: T) -> T {
    if upper_intercept > T::ZERO { share } else { own }
}

/// Σ min(a, 0)·t.
#[inline(always)]
fn negative_dot<T: Real>(a: &[T], t: &[T]) -> T {
    lane_sum([a, t, t], |a, t, _| if a < T::ZERO { a * t } else { T::ZERO })
}

/// Σ max(a, 0)·t; 0 for a = 0, also where t is infinite.
#[inline(always)]
fn positive_dot<T: Real>(a: &[T], t: &[T]) -> T {
    lane_sum([a, t, t], |a, t, _| if a <= T::ZERO { T::ZERO } else { a * t })
}

/// Σ a·l where a ≥ 0 and a·u elsewhere.
#[inline(always)]
fn box_minimum<T: Real>(a: &[T], lower: &[T], upper: &[T]) -> T {
    lane_sum([a, lower, upper], |a, lower, upper| a * if a >= T::ZERO { lower } else { upper })
}
