//! The open subproblems of branch and bound over neurons, and the batches in which they are bounded.

use std::sync::Arc;

use tightrope_engine::{Multiplier, NodeLines, Real};

use super::Tree;
use super::branch::{Candidate, Neuron, candidates};
use super::region::Region;
use crate::complete::bound::ascent::{Ascended, LinearRelaxation, Start, Variables};
use crate::complete::bound::handle::Handle;
use crate::complete::bound::split::Split;
use crate::complete::problem::Conjunction;

/// An open subproblem.
#[derive(Clone)]
pub(crate) struct Subproblem {
    pub conjunction: usize,
    /// The region it lies in, whose splits are its first ones.
    pub region: Arc<Region>,
    /// Shares of the root's unstable neurons, in the order of [`Tree::unstable`].
    pub slopes: Vec<f32>,
    /// The splits from the root.
    pub splits: Vec<Split>,
    /// Their multipliers.
    pub multipliers: Vec<Multiplier<f32>>,
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
            + 4 * (self.slopes.len() + self.weights.len())
            + (size_of::<Split>() + size_of::<Multiplier<f32>>()) * self.splits.len()
            + size_of::<Candidate>() * self.candidates.len()
            + 128
    }

    /// Its part on either side of the point where a neuron is split; none if no split makes any line better.
    pub(crate) fn sides(&self, program: &Handle<'_, f64>, (position, index): Neuron) -> Option<[Split; 2]> {
        let (l, u) = self.region.ends((position, index), self.splits.iter().copied())?;
        let point = program.split_point(position, l, u)?;
        Some([false, true].map(|above| Split { position, index, point, above }))
    }

    /// The side of its region that it has been split off to, if the region is to be cut.
    pub(crate) fn pending(&self) -> Option<usize> {
        let split = self.splits.get(self.region.splits.len())?;
        self.region.choice.map(|_| usize::from(split.above))
    }

    /// The bounds of its region.
    fn layers(&self) -> impl Iterator<Item = (&Vec<f64>, &Vec<f64>)> + '_ {
        self.region.layers.iter().flat_map(|layers| layers.lower.iter().zip(&layers.upper))
    }
}

/// A subproblem to be bounded, with one further split if given.
pub(crate) type Row<'s> = (&'s Subproblem, Option<Split>);

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
    pub(crate) fn relaxation<'g>(&'g self, lines: &'g [NodeLines<f32>], own_lines: bool) -> LinearRelaxation<'g> {
        self.setting.relaxation(self.setting.fast.network.output(), lines, own_lines)
    }

    /// Lines and variables of rows.
    pub(crate) fn assemble(&self, rows: &[Row<'_>]) -> (Vec<NodeLines<f32>>, Variables) {
        let program = self.setting.fast;
        let mut lines = row_lines(program, rows);
        let mut variables = Variables::default();
        for (row, (subproblem, split)) in rows.iter().enumerate() {
            for (&(position, index), &slope) in self.unstable.iter().zip(&subproblem.slopes) {
                let element = row * program.width(position) + index;
                for site in program.sites_at(position) {
                    if let Some(lines) = lines[site].activation_mut() {
                        lines.set_share(element, slope);
                    }
                }
            }
            let mut list = subproblem.multipliers.clone();
            list.extend(split.map(|split| split.multiplier(0.0)));
            variables.multipliers.push(list);
            variables.splits.push(subproblem.splits.iter().copied().chain(*split).collect());
        }
        variables.slopes = program.shares(&lines, rows.len());
        variables.weights = rows.iter().map(|(subproblem, _)| subproblem.weights.clone()).collect();
        (lines, variables)
    }

    /// Bounds rows with slopes, multipliers and weights optimised; also what the ascent ended with.
    pub(crate) fn bound(&self, rows: &[Row<'_>], keep: bool) -> (Vec<BoundedSubproblem>, Ascended) {
        let (lines, variables) = self.assemble(rows);
        let splits = variables.splits.clone();
        let conjunctions: Vec<&Conjunction> = rows.iter().map(|(s, _)| &self.conjunctions[s.conjunction]).collect();
        let start = Start::Conjunctions(&conjunctions);
        let reached = self.ascent.run(self.relaxation(&lines, true), start, variables, GOAL);
        let bounds = self.count(rows, &conjunctions, &reached.values, &reached.variables);
        let mut bounded = Vec::with_capacity(rows.len());
        for (row, ((parent, _), splits)) in rows.iter().zip(splits).enumerate() {
            let refuted = bounds[row] > 0.0;
            let dense = self.dense_row(&reached.variables.slopes, row);
            let last = reached.last.rows.iter().position(|&r| r as usize == row).filter(|_| !refuted);
            let subproblem = Subproblem {
                conjunction: parent.conjunction,
                region: Arc::clone(&parent.region),
                slopes: if refuted { Vec::new() } else { self.compact(&dense) },
                splits,
                multipliers: reached.variables.multipliers[row].clone(),
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
            splits: promising.iter().map(|&row| variables.splits[row].clone()).collect(),
            weights: promising.iter().map(|&row| variables.weights[row].clone()).collect(),
        };
        let lines = self.exact_lines(&promising.iter().map(|&row| rows[row]).collect::<Vec<_>>());
        let list: Vec<&Conjunction> = promising.iter().map(|&row| conjunctions[row]).collect();
        let exact = self.setting.conjunction_bounds(&lines, true, &self.root.rounding, &list, &chosen);
        promising.iter().zip(exact).for_each(|(&row, bound)| bounds[row] = bound);
        bounds
    }

    /// Lines of rows in f64.
    pub(crate) fn exact_lines(&self, rows: &[Row<'_>]) -> Vec<NodeLines<f64>> {
        row_lines(self.setting.exact, rows)
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

/// The lines of rows by site, one set for each: those of their regions' bounds, cut by their splits.
fn row_lines<T: Real>(program: &Handle<'_, T>, rows: &[Row<'_>]) -> Vec<NodeLines<T>> {
    let mut lines = program.no_lines(rows.len());
    for (subproblem, split) in rows {
        for (position, (lower, upper)) in subproblem.layers().enumerate() {
            match program.cut(position, (lower, upper), subproblem.splits.iter().chain(split)) {
                Some((lower, upper)) => program.extend_lines(&mut lines, position, &lower, &upper),
                None => program.extend_lines(&mut lines, position, lower, upper),
            }
        }
    }
    lines
}
