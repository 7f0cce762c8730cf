//! Leaves decided to the last digit: backward substitution in exact arithmetic.
//!
//! What [`substitution`](crate::substitution) does with roundings, this does without any, so that a bound may be as small as
//! the truth is, even 0 where the conjunction asks for more than ≤. Only numbers of the network that are no binary numbers
//! (an inverse root, a quotient) have a radius, which is paid with the bound of what they multiply.

use tightrope_exact::{Dyadic, Enclosure};
use tightrope_vnnlib::{Case, Constraint};

use crate::deadline::{Deadline, Failure};
use crate::function::Function;
use crate::layers::{Intervals, Map, Operation};
use crate::proof::{ExactLeaf, Slopes, natural};
use crate::substitution::{Split, listed_slope};

/// The set over which a leaf is bounded: values of all nodes within `bounds`, signs as in `splits`.
pub(crate) struct Exact<'a> {
    pub operations: &'a [Operation<Enclosure>],
    pub bounds: &'a [Intervals],
    pub splits: &'a [Split],
    /// The whole case, in the units of the proof.
    pub case: &'a Case,
    pub deadline: Deadline,
}

impl Exact<'_> {
    /// Shows that no input of the set satisfies every row, by a bound ≥ 0 that it returns.
    ///
    /// With weights w ≥ 0 and multipliers β ≥ 0 the linear form that remains is ≤ Σ w·(c·y − b) + Σ ±β·z wherever the
    /// set's inputs are, and a counterexample would make that ≤ 0. So it refutes them if its minimum over the box is above 0;
    /// or if it is 0, but a counterexample would make the form negative (a strict row has a weight) or cannot lie where it
    /// is 0 (an input with a coefficient does not reach the end where the minimum is).
    pub(crate) fn refute(
        &self,
        rows: &[Constraint],
        leaf: &ExactLeaf,
        slopes: Option<&Slopes>,
    ) -> Result<Dyadic, Failure> {
        if !leaf.multipliers.is_empty() && leaf.multipliers.len() != self.splits.len() {
            return Err(format!("{} multipliers for {} splits", leaf.multipliers.len(), self.splits.len()).into());
        }
        let output = self.operations.len() - 1;
        let mut pending: Vec<Option<Vec<Dyadic>>> = vec![None; output + 1];
        let mut form = vec![Dyadic::zero(); self.bounds[output].lower.len()];
        let mut bound = Dyadic::zero();
        let mut strict = false;
        for (i, (row, weight)) in leaf.rows.iter().enumerate() {
            let Some(Constraint { coefficients, bound: right, strict: is_strict }) = rows.get(*row as usize) else {
                return Err(format!("the conjunction has no row {row}").into());
            };
            if leaf.rows[..i].iter().any(|(other, _)| other == row) {
                return Err(format!("row {row} stands twice").into());
            }
            let weight = natural(weight);
            strict |= *is_strict && !weight.is_zero();
            for (sum, &c) in form.iter_mut().zip(coefficients) {
                sum.add_product(&weight, &c.into());
            }
            bound = &bound - &(&weight * &(*right).into());
        }
        pending[output] = Some(form);
        let betas: Vec<Dyadic> = leaf.multipliers.iter().map(|beta| natural(beta)).collect();
        for (split, _) in self.splits.iter().zip(&betas) {
            pending[split.node].get_or_insert_with(|| vec![Dyadic::zero(); self.bounds[split.node].lower.len()]);
        }
        for node in (1..=output).rev() {
            self.deadline.check()?;
            let Some(mut a) = pending[node].take() else { continue };
            bound += &self.add_multipliers(node, &betas, &mut a);
            match &self.operations[node] {
                Operation::Input => {}
                Operation::Map(map) => {
                    let (form, constant) = self.pull(map, &a);
                    bound += &constant;
                    deposit(&mut pending[map.input], form);
                }
                Operation::Copy(input) => deposit(&mut pending[*input], a),
                Operation::Sum(inputs) => inputs.iter().for_each(|&input| deposit(&mut pending[input], a.clone())),
                Operation::Relu(input) => {
                    bound += &self.relax(*input, &mut a, slopes);
                    deposit(&mut pending[*input], a);
                }
                Operation::Function(input, f) => {
                    bound += &self.relax_function(*input, *f, &mut a, slopes);
                    deposit(&mut pending[*input], a);
                }
                Operation::MaxPool(pool) => {
                    let (form, constant) = pool.pull_exactly(&a, &self.bounds[pool.input]);
                    bound += &constant;
                    deposit(&mut pending[pool.input], form);
                }
                Operation::Product(_) => unreachable!("leaves with products are not evaluated exactly"),
            }
        }
        let Intervals { lower, upper } = &self.bounds[0];
        let mut unreachable = false;
        let mut form = pending[0].take().unwrap_or_else(|| vec![Dyadic::zero(); lower.len()]);
        // An activation may read the input itself.
        bound += &self.add_multipliers(0, &betas, &mut form);
        for (i, a) in form.iter().enumerate().filter(|(_, a)| !a.is_zero()) {
            let (end, whole, open) = match a.is_positive() {
                true => (lower[i], self.case.lower[i], &self.case.open_lower),
                false => (upper[i], self.case.upper[i], &self.case.open_upper),
            };
            bound.add_product(a, &end.into());
            unreachable |= end == whole && open.binary_search(&(i as u32)).is_ok();
        }
        let refuted = bound.is_positive() || bound.is_zero() && (strict || unreachable);
        match refuted {
            true => Ok(bound),
            false => Err(format!("the exact bound of this leaf is {:e}; nothing is refuted", bound.to_f64()).into()),
        }
    }

    /// a ∓ β for the splits of a node: z ≥ p subtracts β·(z − p), z ≤ p adds it. The constant.
    fn add_multipliers(&self, node: usize, betas: &[Dyadic], a: &mut [Dyadic]) -> Dyadic {
        let mut constant = Dyadic::zero();
        for (split, beta) in self.splits.iter().zip(betas).filter(|(split, _)| split.node == node) {
            let beta = if split.above { -beta } else { beta.clone() };
            a[split.index] += &beta;
            constant.add_product(&-&beta, &split.at.into());
        }
        constant
    }

    /// a·(W x + b) as a form of x and a number not above its constant.
    fn pull(&self, map: &Map<Enclosure>, a: &[Dyadic]) -> (Vec<Dyadic>, Dyadic) {
        let Intervals { lower, upper } = &self.bounds[map.input];
        let mut form = vec![Dyadic::zero(); lower.len()];
        let mut constant = Dyadic::zero();
        for (o, a) in a.iter().enumerate().filter(|(_, a)| !a.is_zero()) {
            // Σ radius·max|x| over the weights, and the bias' own.
            let mut spread = Dyadic::zero();
            map.row(o, |start, weights| {
                for (i, weight) in (start..).zip(weights) {
                    form[i].add_product(a, &weight.value);
                    if !weight.is_exact() {
                        spread.add_product(&weight.radius, &lower[i].abs().max(upper[i].abs()).into());
                    }
                }
            });
            if let Some(bias) = map.exact_bias(o) {
                constant.add_product(a, &bias.value);
                spread += &bias.radius;
            }
            constant = &constant - &(&a.abs() * &spread);
        }
        (form, constant)
    }

    /// Replaces coefficients of relu(z) by those of z, z the values of `node`; the constant.
    fn relax(&self, node: usize, a: &mut [Dyadic], slopes: Option<&Slopes>) -> Dyadic {
        let Intervals { lower, upper } = &self.bounds[node];
        let mut constant = Dyadic::zero();
        for (i, (a, (&l, &u))) in a.iter_mut().zip(lower.iter().zip(upper)).enumerate() {
            if u <= 0.0 {
                *a = Dyadic::zero();
            } else if l < 0.0 && a.is_positive() {
                let least_area = if u > -l { 1.0 } else { 0.0 };
                *a = &*a * &listed_slope(slopes, node, i).map_or(least_area, f64::from).into();
            } else if l < 0.0 && a.is_negative() {
                // s·z + t ≥ relu(z) on [l, u] for whatever s in [0, 1], with the least t for it.
                let s = Dyadic::from((u / (u - l)).clamp(0.0, 1.0));
                let (l, u) = (Dyadic::from(l), Dyadic::from(u));
                let t = (-&(&s * &l)).max(&u - &(&s * &u));
                constant.add_product(a, &t);
                *a = &*a * &s;
            }
        }
        constant
    }
}

impl Exact<'_> {
    /// Replaces coefficients of f(z) by those of z, z the values of `node`; the constant.
    fn relax_function(&self, node: usize, f: Function, a: &mut [Dyadic], slopes: Option<&Slopes>) -> Dyadic {
        let Intervals { lower, upper } = &self.bounds[node];
        let mut constant = Dyadic::zero();
        for (i, (a, (&l, &u))) in a.iter_mut().zip(lower.iter().zip(upper)).enumerate() {
            if a.is_zero() {
                continue;
            }
            let slope = f.slope(a.is_positive(), l, u, listed_slope(slopes, node, i));
            let slope = &*a * &slope.into();
            constant += &f.least_exactly(a, &slope, l, u);
            *a = slope;
        }
        constant
    }
}

/// Adds a form to what is known of a node's coefficients.
fn deposit(pending: &mut Option<Vec<Dyadic>>, form: Vec<Dyadic>) {
    match pending {
        None => *pending = Some(form),
        Some(sum) => sum.iter_mut().zip(&form).for_each(|(sum, more)| *sum += more),
    }
}
