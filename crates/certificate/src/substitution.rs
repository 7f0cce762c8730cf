//! Backward substitution of a linear form to the input, every rounding towards a smaller bound.

use crate::function::Function;
use crate::layers::{Coefficients, Intervals, Operation};
use crate::proof::Slopes;
use crate::rounding::{add_down, sub_down, sum_error};

/// A split of a neuron on the path to a tree node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Split {
    pub node: usize,
    pub index: usize,
    /// Where it is split.
    pub at: f64,
    /// True on the side where the neuron is ≥ `at`.
    pub above: bool,
}

/// The slope that `slopes` lists for a neuron.
pub(crate) fn listed_slope(slopes: Option<&Slopes>, node: usize, index: usize) -> Option<f32> {
    let layer = slopes?.layers.iter().find(|layer| layer.node as usize == node)?;
    let place = layer.neurons.binary_search(&(index as u32)).ok()?;
    Some(layer.values[place])
}

/// The set over which a form is bounded: values of all nodes within `bounds`, signs as in `splits`.
pub(crate) struct Domain<'a> {
    pub operations: &'a [Operation<f64>],
    pub bounds: &'a [Intervals],
    pub splits: &'a [Split],
}

impl Domain<'_> {
    /// A number that is not above Σ form·(values of `start`) over the domain.
    ///
    /// Going back from node to node, the form a·z is replaced by one of earlier nodes that is never larger on the domain:
    /// * a split z_i ≥ 0 subtracts β·z_i, a split z_i ≤ 0 adds it. Whatever β ≥ 0 becomes by rounding, fl(a ∓ β) is
    ///   a ∓ β' with β' ≥ 0, so this step needs no error term. A split at p ≠ 0 also adds or subtracts β·p, rounded down,
    ///   and fl(a ∓ β) has an error then;
    /// * an unstable ReLU with a > 0 is replaced by fl(a·α)·z, which lies between 0 and a·z since 0 ≤ α ≤ 1;
    ///   with a < 0 by a'·z + c for any a', where c is the smaller of the differences at both ends of the interval
    ///   (a·relu(z) − a'·z is concave), rounded down; other functions, max poolings and products are replaced likewise;
    /// * an affine map gives coefficients with an error e, which is paid at once by −e·max|z|.
    pub(crate) fn minimum(
        &self,
        start: usize,
        form: Coefficients,
        slopes: Option<&Slopes>,
        multipliers: &[f32],
    ) -> f64 {
        let mut pending: Vec<Option<Coefficients>> = (0..=start).map(|_| None).collect();
        pending[start] = Some(form);
        for (split, _) in self.splits.iter().zip(multipliers).filter(|(split, _)| split.node <= start) {
            self.deposit(&mut pending, split.node, None);
        }
        let mut bound = 0.0;
        for node in (0..=start).rev() {
            let Some(Coefficients { values: mut a, errors }) = pending[node].take() else { continue };
            let Intervals { lower, upper } = &self.bounds[node];
            let ends = || lower.iter().zip(upper);
            let paid: f64 = errors.iter().zip(ends()).map(|(e, (l, u))| e * l.abs().max(u.abs())).sum();
            // Twice a sum of numbers ≥ 0 is above the exact sum but for underflow.
            bound = sub_down(bound, 2.0 * paid + errors.len() as f64 * f64::MIN_POSITIVE);
            for (split, &beta) in self.splits.iter().zip(multipliers).filter(|(split, _)| split.node == node) {
                let beta = if split.above { -f64::from(beta) } else { f64::from(beta) };
                a[split.index] += beta;
                if split.at != 0.0 {
                    bound = add_down(bound, (-beta * split.at).next_down());
                    let largest = lower[split.index].abs().max(upper[split.index].abs());
                    bound = sub_down(bound, 2.0 * f64::EPSILON * a[split.index].abs() * largest + f64::MIN_POSITIVE);
                }
            }
            match &self.operations[node] {
                Operation::Input => {
                    let products = a.iter().zip(ends()).map(|(&a, (&l, &u))| if a >= 0.0 { a * l } else { a * u });
                    let (mut sum, mut magnitude) = (0.0, 0.0);
                    products.for_each(|product| {
                        sum += product;
                        magnitude += product.abs();
                    });
                    bound = add_down(bound, sub_down(sum, sum_error(magnitude, a.len())));
                }
                Operation::Map(map) => {
                    let (coefficients, constant) = map.pull(&a, self.bounds[map.input].lower.len());
                    bound = add_down(bound, constant);
                    self.deposit(&mut pending, map.input, Some(coefficients));
                }
                Operation::Copy(input) => self.deposit(&mut pending, *input, Some(Coefficients::exact(a))),
                Operation::Sum(inputs) => {
                    for &input in inputs {
                        self.deposit(&mut pending, input, Some(Coefficients::exact(a.clone())));
                    }
                }
                Operation::Relu(input) => {
                    bound = add_down(bound, self.relax(*input, &mut a, slopes));
                    self.deposit(&mut pending, *input, Some(Coefficients::exact(a)));
                }
                Operation::Function(input, f) => {
                    bound = add_down(bound, self.relax_function(*input, *f, &mut a, slopes));
                    self.deposit(&mut pending, *input, Some(Coefficients::exact(a)));
                }
                Operation::MaxPool(pool) => {
                    let (coefficients, constant) = pool.pull(&a, &self.bounds[pool.input]);
                    bound = add_down(bound, constant);
                    self.deposit(&mut pending, pool.input, Some(coefficients));
                }
                Operation::Product(product) => {
                    let (coefficients, constant) = product.pull(&a, &self.bounds[product.input]);
                    bound = add_down(bound, constant);
                    self.deposit(&mut pending, product.input, Some(coefficients));
                }
            }
        }
        bound
    }

    /// Replaces coefficients of relu(z) by those of z, z the values of `node`; the constant, rounded down.
    fn relax(&self, node: usize, a: &mut [f64], slopes: Option<&Slopes>) -> f64 {
        let Intervals { lower, upper } = &self.bounds[node];
        let listed = slopes.and_then(|slopes| slopes.layers.iter().find(|layer| layer.node as usize == node));
        let mut listed =
            listed.map_or(&[][..], |layer| &layer.neurons).iter().zip(listed.map_or(&[][..], |l| &l.values));
        let mut next = listed.next();
        let mut constant = 0.0;
        for (i, (a, (&l, &u))) in a.iter_mut().zip(lower.iter().zip(upper)).enumerate() {
            while next.is_some_and(|(&neuron, _)| (neuron as usize) < i) {
                next = listed.next();
            }
            if u <= 0.0 {
                *a = 0.0;
            } else if l < 0.0 && *a > 0.0 {
                let least_area = if u > -l { 1.0 } else { 0.0 };
                *a *= next
                    .filter(|(neuron, _)| **neuron as usize == i)
                    .map_or(least_area, |(_, &alpha)| f64::from(alpha));
            } else if l < 0.0 && *a < 0.0 {
                let slope = *a * (u / (u - l));
                let at_lower = (-slope * l).next_down();
                let at_upper = sub_down((*a * u).next_down(), (slope * u).next_up());
                constant = add_down(constant, at_lower.min(at_upper));
                *a = slope;
            }
        }
        constant
    }

    /// Replaces coefficients of f(z) by those of z, z the values of `node`; the constant, rounded down.
    fn relax_function(&self, node: usize, f: Function, a: &mut [f64], slopes: Option<&Slopes>) -> f64 {
        let Intervals { lower, upper } = &self.bounds[node];
        let mut constant = 0.0;
        for (i, (a, (&l, &u))) in a.iter_mut().zip(lower.iter().zip(upper)).enumerate().filter(|(_, (a, _))| **a != 0.0)
        {
            let slope = *a * f.slope(*a > 0.0, l, u, listed_slope(slopes, node, i));
            constant = add_down(constant, f.least(*a, slope, l, u));
            *a = slope;
        }
        constant
    }

    /// Adds a form to what is known of `node`'s coefficients; none makes sure that there are some.
    fn deposit(&self, pending: &mut [Option<Coefficients>], node: usize, form: Option<Coefficients>) {
        let Some(form) = form else {
            pending[node].get_or_insert_with(|| Coefficients::exact(vec![0.0; self.bounds[node].lower.len()]));
            return;
        };
        match &mut pending[node] {
            None => pending[node] = Some(form),
            Some(sum) => {
                let more = form.values.iter().zip(&form.errors);
                for ((value, error), (&v, &e)) in sum.values.iter_mut().zip(&mut sum.errors).zip(more) {
                    *value += v;
                    *error += e + value.abs() * f64::EPSILON;
                }
            }
        }
    }
}

impl Coefficients {
    /// Coefficients without an error.
    pub(crate) fn exact(values: Vec<f64>) -> Self {
        Coefficients { errors: vec![0.0; values.len()], values }
    }
}
