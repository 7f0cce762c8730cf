//! Subproblems without anything left to split: where every function has a known piece, the network is linear there, and a
//! linear program decides them.

use tightrope_engine::{Domain, Multiplier, Trace};

use super::Tree;
use super::linear::{Form, saddle};
use super::subproblem::{BoundedSubproblem, Subproblem};
use crate::complete::bound::ascent::Variables;
use crate::complete::bound::root::unit_rows;
use crate::complete::bound::split::Split;
use crate::complete::endgame::Ended;
use crate::complete::exact::Refutation;
use crate::complete::point::Found;

/// Steps of the attack from the program's solution.
const ATTACK_STEPS: usize = 12;

/// What deciding a leaf came to.
pub(crate) enum LeafOutcome {
    /// The weights of the program refute it.
    Refuted(Box<BoundedSubproblem>),
    /// Exact arithmetic refutes it.
    Exact(Refutation),
    /// Its solution is a counterexample.
    Violated(Found),
    /// Its solution is too close to the boundary to tell.
    Open,
}

impl Tree<'_> {
    /// Decides a subproblem without open neurons: some input satisfies its splits and all rows of its conjunction
    /// exactly if the largest of these linear forms can be made ≤ 0, and otherwise the program's weights are
    /// multipliers with which the usual bound is positive. Where functions are smooth the forms are but nearly the network; a
    /// counterexample is confirmed and a bound evaluated as everywhere. Where floating point cannot tell, exact arithmetic
    /// does.
    pub(crate) fn decide_leaf(&self, subproblem: Subproblem, keep: bool) -> LeafOutcome {
        match self.decide_in_floats(&subproblem, keep) {
            LeafOutcome::Open => self.decide_exactly(&subproblem),
            decided => decided,
        }
    }

    fn decide_exactly(&self, subproblem: &Subproblem) -> LeafOutcome {
        let Some(layers) = &subproblem.region.layers else { return LeafOutcome::Open };
        let whole = (&self.setting.lower[..], &self.setting.upper[..]);
        match self.endgame.decide(whole, layers, subproblem.splits.clone(), subproblem.conjunction) {
            Ended::Refuted(refutation) => LeafOutcome::Exact(refutation),
            Ended::Violated(found) => LeafOutcome::Violated(found),
            Ended::Open => LeafOutcome::Open,
        }
    }

    fn decide_in_floats(&self, subproblem: &Subproblem, keep: bool) -> LeafOutcome {
        let conjunction = &self.conjunctions[subproblem.conjunction];
        let lines = self.exact_lines(&[(subproblem, None)]);
        let domain = self.setting.domain(&lines, None, None);
        let mut forms = Vec::new();
        for split in &subproblem.splits {
            let id = self.setting.exact.pre[split.position];
            // z − p ≤ 0 below, p − z ≤ 0 above.
            let row = unit_rows(&[(split.index, split.above)], self.setting.exact.width(split.position));
            forms.push(self.form(&domain, id, row, if split.above { -split.point } else { split.point }));
        }
        let output = self.setting.exact.network.output();
        for row in conjunction.rows() {
            forms.push(self.form(&domain, output, row.coefficients.clone(), row.bound));
        }
        let Some(solution) = saddle(&forms, self.deadline) else { return LeafOutcome::Open };
        let (lower, upper) = (&self.setting.lower, &self.setting.upper);
        let inside = |(y, (l, u)): (&f64, (&f64, &f64))| (l + y * (u - l)).max(*l).min(*u);
        let point: Vec<f64> = solution.point.iter().zip(lower.iter().zip(upper)).map(inside).collect();
        let target = [subproblem.conjunction];
        let single = point.iter().map(|&x| x as f32).collect();
        let found = self.attack.descend(single, &target, ATTACK_STEPS, 0.01, self.deadline);
        if let Some(found) = found.or_else(|| self.attack.check(&point, &target)) {
            return LeafOutcome::Violated(found);
        }
        // Weights of the rows that sum to 1, unless the splits alone contradict each other.
        let (betas, rows) = solution.weights[..forms.len()].split_at(forms.len() - conjunction.len());
        let sum: f64 = rows.iter().sum();
        let scale = if sum > f64::EPSILON * betas.iter().sum::<f64>() { 1.0 / sum } else { 1.0 };
        let signed = |(split, beta): (&Split, &f64)| split.multiplier(split.sign() * (beta * scale) as f32);
        let multipliers: Vec<Multiplier<f32>> = subproblem.splits.iter().zip(betas).map(signed).collect();
        let shares = self.setting.exact.shares(&lines, 1);
        let variables = Variables {
            slopes: shares.iter().map(|own| own.iter().map(|&share| share as f32).collect()).collect(),
            multipliers: vec![multipliers],
            splits: vec![subproblem.splits.clone()],
            weights: vec![rows.iter().map(|w| (w * scale) as f32).collect()],
        };
        let multipliers_are_finite = variables.multipliers[0].iter().all(|multiplier| multiplier.value.is_finite());
        if !(multipliers_are_finite && variables.weights[0].iter().all(|weight| weight.is_finite())) {
            return LeafOutcome::Open;
        }
        let bound = self.setting.conjunction_bounds(&lines, true, &self.root.rounding, &[conjunction], &variables)[0];
        if bound <= 0.0 {
            return LeafOutcome::Open;
        }
        let Variables { slopes, mut multipliers, mut weights, .. } = variables;
        let subproblem = Subproblem {
            multipliers: multipliers.swap_remove(0),
            weights: weights.swap_remove(0),
            ..subproblem.clone()
        };
        LeafOutcome::Refuted(Box::new(BoundedSubproblem { bound, subproblem, proof_slopes: keep.then_some(slopes) }))
    }

    /// A row on node `id`, minus `offset`, as a form of the unit box's points; exact where the lines are.
    fn form(&self, domain: &Domain<'_, f64>, id: usize, row: Vec<f64>, offset: f64) -> Form {
        let mut trace = Trace::default();
        let (values, _) = self.setting.exact.at.substitute(domain, id, row, 1, Some(&mut trace), None);
        let widths = self.setting.lower.iter().zip(&self.setting.upper).map(|(l, u)| u - l);
        let coefficients: Vec<f64> = trace.input.iter().zip(widths).map(|(a, width)| a * width).collect();
        // The bound is the form's minimum: its constant and every negative coefficient.
        let negative: f64 = coefficients.iter().map(|a| a.min(0.0)).sum();
        Form { constant: values[0] - negative - offset, coefficients }
    }
}
