//! The open subproblems of branch and bound over ReLUs, and the batches in which they are bounded.

use std::sync::Arc;

use tightrope_engine::{Lines, Multiplier};

use super::Tree;
use super::branch::{Candidate, Neuron, candidates};
use super::region::{Region, Sign};
use crate::complete::bound::ascent::{Ascended, LinearRelaxation, Start, Variables};
use crate::complete::problem::Conjunction;

/// An open subproblem.
#[derive(Clone)]
pub(crate) struct Subproblem {
    pub conjunction: usize,
    /// The region it lies in, whose splits are its first ones.
    pub region: Arc<Region>,
    /// Slopes of the root's unstable neurons, in the order of [`Tree::unstable`].
    pub slopes: Vec<f32>,
    /// The splits with their multipliers, from the root.
    pub multipliers: Vec<Multiplier<f32>>,
    /// −1 for each active, +1 for each inactive split.
    pub signs: Vec<f32>,
    pub weights: Vec<f32>,
    pub candidates: Vec<Candidate>,
    /// Whether it has just come into its region.
    pub entered: bool,
    /// Its node in the recorded tree.
    pub node: usize,
}

impl Subproblem {
    /// About the memory that it occupies.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + 4 * (self.slopes.len() + self.signs.len() + self.weights.len())
            + size_of::<Multiplier<f32>>() * self.multipliers.len()
            + size_of::<Candidate>() * self.candidates.len()
            + 128
    }

    /// Its splits.
    pub(crate) fn splits(&self) -> impl Iterator<Item = Sign> + '_ {
        self.multipliers.iter().zip(&self.signs).map(|(m, &sign)| (m.position, m.index, sign < 0.0))
    }

    /// The side of its region that it has been split off to, if the region is to be cut.
    pub(crate) fn pending(&self) -> Option<usize> {
        let (_, _, active) = self.splits().nth(self.region.splits.len())?;
        self.region.choice.map(|_| usize::from(active))
    }

    /// The bounds of its region.
    fn layers(&self) -> impl Iterator<Item = (&Vec<f64>, &Vec<f64>)> + '_ {
        self.region.layers.iter().flat_map(|layers| layers.lower.iter().zip(&layers.upper))
    }
}

/// A subproblem to be bounded, with one further split (and whether it is the active side) if given.
pub(crate) type Row<'s> = (&'s Subproblem, Option<(Neuron, bool)>);

/// What bounding a row came to.
pub(crate) struct BoundedSubproblem {
    /// Lower bound that counts.
    pub bound: f64,
    /// The row as a subproblem of its own.
    pub subproblem: Subproblem,
    /// Slopes by position, kept for the proof if it is refuted.
    pub proof_slopes: Option<Vec<Vec<f32>>>,
}

impl BoundedSubproblem {
    pub(crate) fn is_refuted(&self) -> bool {
        self.bound > 0.0
    }
}

/// The f32 bound at which optimisation stops: above 0 by what f32 cannot tell.
pub(crate) const GOAL: f32 = 1e-4;

impl<'a> Tree<'a> {
    pub(crate) fn relaxation<'g>(&'g self, lines: &'g [Lines<f32>], own_lines: bool) -> LinearRelaxation<'g> {
        LinearRelaxation {
            program: self.setting.fast,
            start: self.setting.fast.network.output(),
            lower: &self.setting.lower32,
            upper: &self.setting.upper32,
            lines,
            own_lines,
        }
    }

    /// Lines and variables of rows.
    pub(crate) fn assemble(&self, rows: &[Row<'_>]) -> (Vec<Lines<f32>>, Variables) {
        let width = |position| self.setting.fast.width(position);
        let mut lines: Vec<Lines<f32>> =
            (0..self.setting.fast.pre.len()).map(|p| Lines::with_capacity(rows.len() * width(p))).collect();
        let mut multipliers = Vec::with_capacity(rows.len());
        let mut signs = Vec::with_capacity(rows.len());
        for (row, (subproblem, split)) in rows.iter().enumerate() {
            lines.iter_mut().zip(subproblem.layers()).for_each(|(lines, (lower, upper))| lines.extend(lower, upper));
            for (&(position, index), &slope) in self.unstable.iter().zip(&subproblem.slopes) {
                let element = row * width(position) + index;
                if lines[position].intercept[element] > 0.0 {
                    lines[position].lower_slope[element] = slope;
                }
            }
            let mut list = subproblem.multipliers.clone();
            let mut sign = subproblem.signs.clone();
            if let Some(((position, index), active)) = *split {
                list.push(Multiplier { position, index, value: 0.0 });
                sign.push(if active { -1.0 } else { 1.0 });
            }
            for (multiplier, &sign) in list.iter().zip(&sign) {
                lines[multiplier.position].fix(row * width(multiplier.position) + multiplier.index, sign < 0.0);
            }
            multipliers.push(list);
            signs.push(sign);
        }
        let slopes = lines.iter().map(|lines| lines.lower_slope.clone()).collect();
        let weights = rows.iter().map(|(subproblem, _)| subproblem.weights.clone()).collect();
        (lines, Variables { slopes, multipliers, signs, weights })
    }

    /// Bounds rows with slopes, multipliers and weights optimised; also what the ascent ended with.
    pub(crate) fn bound(&self, rows: &[Row<'_>], keep: bool) -> (Vec<BoundedSubproblem>, Ascended) {
        let (lines, variables) = self.assemble(rows);
        let signs = variables.signs.clone();
        let conjunctions: Vec<&Conjunction> = rows.iter().map(|(s, _)| &self.conjunctions[s.conjunction]).collect();
        let start = Start::Conjunctions(&conjunctions);
        let reached = self.ascent.run(self.relaxation(&lines, true), start, variables, GOAL);
        let bounds = self.count(rows, &conjunctions, &reached.values, &reached.variables);
        let mut bounded = Vec::with_capacity(rows.len());
        for (row, ((parent, _), signs)) in rows.iter().zip(signs).enumerate() {
            let refuted = bounds[row] > 0.0;
            let dense = self.dense_row(&reached.variables.slopes, row);
            let last = reached.last.rows.iter().position(|&r| r as usize == row).filter(|_| !refuted);
            let subproblem = Subproblem {
                conjunction: parent.conjunction,
                region: Arc::clone(&parent.region),
                slopes: if refuted { Vec::new() } else { self.compact(&dense) },
                multipliers: reached.variables.multipliers[row].clone(),
                signs,
                weights: reached.variables.weights[row].clone(),
                candidates: last.map_or(Vec::new(), |last| {
                    candidates(self.setting.fast, &reached.last, last, &lines, row, self.bias, self.choice)
                }),
                entered: false,
                node: parent.node,
            };
            let proof_slopes = (keep && refuted).then_some(dense);
            bounded.push(BoundedSubproblem { bound: bounds[row], subproblem, proof_slopes });
        }
        (bounded, reached)
    }

    /// The bounds that count: in f64 where f32 promises a refutation, as they come elsewhere.
    fn count(
        &self,
        rows: &[Row<'_>],
        conjunctions: &[&Conjunction],
        values: &[f32],
        variables: &Variables,
    ) -> Vec<f64> {
        let mut bounds: Vec<f64> = values.iter().map(|&v| f64::from(v).min(0.0)).collect();
        let promising: Vec<usize> = (0..rows.len()).filter(|&row| values[row] > 0.0).collect();
        if promising.is_empty() {
            return bounds;
        }
        let width = |position| self.setting.fast.width(position);
        let pick = |position: usize, values: &[f32]| -> Vec<f32> {
            let n = width(position);
            promising.iter().flat_map(|&row| &values[row * n..(row + 1) * n]).copied().collect()
        };
        let chosen = Variables {
            slopes: variables.slopes.iter().enumerate().map(|(p, values)| pick(p, values)).collect(),
            multipliers: promising.iter().map(|&row| variables.multipliers[row].clone()).collect(),
            signs: Vec::new(),
            weights: promising.iter().map(|&row| variables.weights[row].clone()).collect(),
        };
        let lines = self.exact_lines(&promising.iter().map(|&row| rows[row]).collect::<Vec<_>>());
        let list: Vec<&Conjunction> = promising.iter().map(|&row| conjunctions[row]).collect();
        let exact = self.setting.conjunction_bounds(&lines, true, &self.root.rounding, &list, &chosen);
        promising.iter().zip(exact).for_each(|(&row, bound)| bounds[row] = bound);
        bounds
    }

    /// Lines of rows in f64.
    pub(crate) fn exact_lines(&self, rows: &[Row<'_>]) -> Vec<Lines<f64>> {
        let width = |position| self.setting.fast.width(position);
        let mut lines: Vec<Lines<f64>> =
            (0..self.setting.fast.pre.len()).map(|p| Lines::with_capacity(rows.len() * width(p))).collect();
        for (row, (subproblem, split)) in rows.iter().enumerate() {
            lines.iter_mut().zip(subproblem.layers()).for_each(|(lines, (lower, upper))| lines.extend(lower, upper));
            let last = split.map(|((position, index), active)| (position, index, active));
            for (position, element, active) in subproblem.splits().chain(last) {
                lines[position].fix(row * width(position) + element, active);
            }
        }
        lines
    }

    /// One row of `[rows, n]` by position.
    pub(crate) fn dense_row(&self, slopes: &[Vec<f32>], row: usize) -> Vec<Vec<f32>> {
        let width = |position| self.setting.fast.width(position);
        slopes.iter().enumerate().map(|(p, values)| values[row * width(p)..(row + 1) * width(p)].to_vec()).collect()
    }

    pub(crate) fn compact(&self, dense: &[Vec<f32>]) -> Vec<f32> {
        self.unstable.iter().map(|&(position, index)| dense[position][index]).collect()
    }
}
