//! Back-substitution over domains: linear lower bounds of many rows at once, substituted back to each row's box, and the
//! relaxed primal point from which the derivatives of the bounds with respect to slopes and multipliers follow.
//!
//! For a row c over node `start` the bound is g(α, β) = min over the box of A₀·x + const, where going back through a ReLU
//! a coefficient a ≥ 0 takes the lower line α·z, a < 0 the upper line s·z + t, and a split neuron adds −β·z (active,
//! z ≥ 0) or +β·z (inactive, z ≤ 0). As the bound is A₀·x* + const with everything else linear in between, the derivative
//! with respect to a coefficient is the value z̃ that the relaxation gives that neuron when it is run forwards from the
//! minimiser x* along the lines chosen: ∂g/∂α = max(a, 0)·z̃ and ∂g/∂β = ∓z̃ (Wang et al. 2021).

use tightrope_network::{Activation, Layer, NodeId};

use super::traverse::{Pass, traverse};
use crate::reference::concrete;
use crate::reference::plan::{Plan, not_covered};
use crate::substitution::lane_sum;
use crate::{Charges, Domain, Real, Trace};

/// A walk of rows with sets of their own.
struct DomainPass<'a, 'd, T> {
    domain: &'a Domain<'d, T>,
    plan: &'a Plan<T>,
    trace: Option<&'a mut Trace<T>>,
    charges: Option<&'a Charges<T>>,
    errors: Vec<T>,
}

impl<T: Real> Pass<T> for DomainPass<'_, '_, T> {
    fn enter(&mut self, id: NodeId, rows: &mut Vec<T>, values: &[T]) {
        if let Some(position) = self.plan.position[id] {
            self.domain.add_multipliers(position, self.plan.network.node(id).len(), rows);
        }
        if let Some(charges) = self.charges {
            charges.charge(id, rows, values, &mut self.errors);
        }
    }

    fn relax(&mut self, id: NodeId, mut rows: Vec<T>, values: &mut [T]) -> Vec<T> {
        let node = self.plan.network.node(id);
        if node.layer != Layer::Activation(Activation::Relu) {
            not_covered(node);
        }
        if let Some(trace) = self.trace.as_deref_mut() {
            trace.post[id].clone_from(&rows);
        }
        let position = self.plan.position[node.inputs[0]].unwrap_or_default();
        self.domain.relax(position, node.len(), &mut rows, values);
        rows
    }

    fn finish(&mut self, rows: Vec<T>, values: &mut [T]) {
        self.domain.minimum(&rows, values);
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

    fn add_multipliers(&self, position: usize, n: usize, rows: &mut [T]) {
        let Some(multipliers) = self.multipliers else { return };
        for (row, list) in rows.chunks_exact_mut(n).zip(multipliers) {
            list.iter().filter(|m| m.position == position).for_each(|m| row[m.index] += m.value);
        }
    }

    /// The lower slopes of a row at a position.
    fn lower_slopes(&self, position: usize, n: usize, row: usize) -> &[T] {
        match self.slopes {
            Some(slopes) => &slopes[position][row * n..(row + 1) * n],
            None => &self.lines[position].lower_slope[self.lines_of.of(row) * n..][..n],
        }
    }

    /// Replaces coefficients on a ReLU's output by those on its input.
    fn relax(&self, position: usize, n: usize, rows: &mut [T], values: &mut [T]) {
        let lines = &self.lines[position];
        for (index, (row, value)) in rows.chunks_exact_mut(n).zip(values).enumerate() {
            let set = self.lines_of.of(index) * n;
            let (upper, intercept) = (&lines.upper_slope[set..set + n], &lines.intercept[set..set + n]);
            *value += negative_dot(row, intercept);
            let lower = self.lower_slopes(position, n, index);
            for ((a, &low), &up) in row.iter_mut().zip(lower).zip(upper) {
                *a = *a * if *a >= T::ZERO { low } else { up };
            }
        }
    }

    /// values += min over each row's box of row·x.
    fn minimum(&self, rows: &[T], values: &mut [T]) {
        let d = rows.len() / values.len();
        for (index, (row, value)) in rows.chunks_exact(d).zip(values).enumerate() {
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
            let n = z.len() / count;
            let position = plan.position[plan.network.node(id).inputs[0]].unwrap_or_default();
            let post = trace.post.get(id).map(Vec::as_slice).unwrap_or_default();
            let mut values = vec![T::ZERO; z.len()];
            if post.is_empty() {
                // Nothing the rows read depends on it.
                return values;
            }
            let lines = &self.lines[position];
            for index in 0..count {
                let set = self.lines_of.of(index) * n;
                let lower = self.lower_slopes(position, n, index);
                let (upper, intercept) = (&lines.upper_slope[set..set + n], &lines.intercept[set..set + n]);
                let range = index * n..(index + 1) * n;
                let (post, z, values) = (&post[range.clone()], &z[range.clone()], &mut values[range]);
                for i in 0..n {
                    values[i] = if post[i] >= T::ZERO { lower[i] * z[i] } else { upper[i] * z[i] + intercept[i] };
                }
            }
            values
        })
    }
}

/// Σ min(a, 0)·t.
fn negative_dot<T: Real>(a: &[T], t: &[T]) -> T {
    let t = &t[..a.len()];
    lane_sum(a.len(), |i| if a[i] < T::ZERO { a[i] * t[i] } else { T::ZERO })
}

/// Σ a·l where a ≥ 0 and a·u elsewhere.
fn box_minimum<T: Real>(a: &[T], lower: &[T], upper: &[T]) -> T {
    let (lower, upper) = (&lower[..a.len()], &upper[..a.len()]);
    lane_sum(a.len(), |i| a[i] * if a[i] >= T::ZERO { lower[i] } else { upper[i] })
}
