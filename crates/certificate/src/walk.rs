//! Walks a tree: every branch is there, and every leaf's bound is positive.

use std::collections::HashMap;

use rayon::prelude::*;
use tightrope_vnnlib::{Case, Constraint};

use crate::check::{Reading, Report};
use crate::deadline::Failure;
use crate::exact::Exact;
use crate::layers::{Coefficients, Readers};
use crate::proof::{ExactLeaf, Leaf, Neuron, Proof, RefinementId, Step, Tree};
use crate::rounding::{add_down, sum_error};
use crate::state::{State, slopes};
use crate::substitution::{Domain, Split};
use crate::validate::{check_multipliers, check_naturals};

/// Tree nodes examined at a time: enough for the threads, few enough for memory.
const BATCH: usize = 32;

/// A tree node to be examined: position of its step and what is known there.
type Open = (usize, State);

/// One tree being checked.
pub(crate) struct Walk<'a> {
    pub reading: &'a Reading<'a>,
    pub proof: &'a Proof,
    pub tree: &'a Tree,
    pub rows: &'a [Constraint],
    /// The case, in the units of the proof.
    pub case: &'a Case,
}

/// A failure at a step.
type Fault = (usize, Failure);

/// The bound of a leaf and whether it was evaluated exactly.
type LeafBound = (f64, bool);

impl Walk<'_> {
    /// Checks the tree over the set `root`.
    ///
    /// `refined` keeps what the first steps make of `root`, which the trees of a case often share.
    pub(crate) fn run(
        &self,
        root: &State,
        refined: &mut HashMap<RefinementId, Option<State>>,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let sizes = self.sizes()?;
        let mut open: Vec<Open> = match &self.tree.steps[0] {
            Step::Refine(id) => {
                if !refined.contains_key(id) {
                    refined.insert(*id, self.refine(*id, root).map_err(|problem| (0, problem))?);
                }
                // No input is left in an empty set: whatever the tree says of it is true.
                refined[id].iter().map(|state| (1, state.clone())).collect()
            }
            _ => vec![(0, root.clone())],
        };
        while !open.is_empty() {
            let batch = open.split_off(open.len().saturating_sub(BATCH));
            let examined: Vec<_> = batch
                .into_par_iter()
                .map(|(step, state)| self.examine(step, state, &sizes).map_err(|e| (step, e)))
                .collect();
            for result in examined {
                let (children, bound) = result?;
                report.splits += usize::from(children.len() == 2);
                if let Some((bound, exact)) = bound {
                    report.leaves += 1;
                    report.exact_leaves += usize::from(exact);
                    report.smallest_bound = report.smallest_bound.min(bound);
                }
                open.extend(children);
            }
        }
        Ok(())
    }

    /// Number of steps of every step's subtree; fails unless the steps are exactly one tree.
    fn sizes(&self) -> Result<Vec<usize>, Fault> {
        let steps = &self.tree.steps;
        let mut sizes = vec![0; steps.len()];
        for i in (0..steps.len()).rev() {
            let children = match steps[i] {
                Step::Leaf(_) | Step::Exact(_) => 0,
                Step::Refine(_) => 1,
                Step::SplitRelu(_) | Step::SplitInput { .. } | Step::SplitNeuron { .. } => 2,
            };
            let mut size = 1;
            for _ in 0..children {
                size += sizes.get(i + size).ok_or_else(|| (i, "a branch is missing".into()))?;
            }
            sizes[i] = size;
        }
        match sizes.first() {
            Some(&size) if size == steps.len() => Ok(sizes),
            Some(&size) => Err((size, "steps follow the end of the tree".into())),
            None => Err((0, "the tree is empty".into())),
        }
    }

    /// The children of a step, and the bound of a leaf.
    fn examine(&self, at: usize, state: State, sizes: &[usize]) -> Result<(Vec<Open>, Option<LeafBound>), Failure> {
        self.reading.deadline.check()?;
        let second = |first: usize| first + sizes[first];
        match &self.tree.steps[at] {
            Step::Leaf(leaf) => Ok((Vec::new(), Some((self.refute(leaf, &state)?, false)))),
            Step::Exact(leaf) => Ok((Vec::new(), Some((self.refute_exactly(leaf, &state)?, true)))),
            Step::Refine(id) => {
                let refined = self.refine(*id, &state)?;
                Ok((refined.map(|state| (at + 1, state)).into_iter().collect(), None))
            }
            Step::SplitInput { index, at: value } => {
                let index = *index as usize;
                if index >= self.reading.network.input_len() {
                    return Err(format!("there is no input {index}").into());
                }
                let (lower, upper) = state.input(index);
                if !(lower..=upper).contains(value) {
                    return Err(format!("{value} does not cut the interval [{lower}, {upper}] of input {index}").into());
                }
                let below = state.with_input(index, (lower, *value));
                let above = state.with_input(index, (*value, upper));
                Ok((vec![(at + 1, below), (second(at + 1), above)], None))
            }
            Step::SplitRelu(neuron) => self.halves(*neuron, 0.0, state, [at + 1, second(at + 1)]),
            Step::SplitNeuron { neuron, at: point } => self.halves(*neuron, *point, state, [at + 1, second(at + 1)]),
        }
    }

    /// The parts of a set below and above a point of a neuron, with the steps that go on there.
    fn halves(
        &self,
        neuron: Neuron,
        at: f64,
        state: State,
        steps: [usize; 2],
    ) -> Result<(Vec<Open>, Option<LeafBound>), Failure> {
        let (node, index) = (neuron.node as usize, neuron.index as usize);
        let is_read = self.reading.readers.get(node).is_some_and(Readers::are_any);
        if !is_read || index >= self.reading.network.node(node).len() {
            return Err(format!("neuron {index} of node {node} is no pre-activation").into());
        }
        if !at.is_finite() {
            return Err(format!("neuron {index} of node {node} cannot be split at {at}").into());
        }
        let half = |above| state.with_split(Split { node, index, at, above });
        Ok((steps.into_iter().zip([false, true].map(half)).collect(), None))
    }

    /// The set with tighter bounds; none if it turns out empty.
    fn refine(&self, id: RefinementId, state: &State) -> Result<Option<State>, Failure> {
        let Some(refinement) = self.proof.refinements.get(id.0 as usize) else {
            return Err(format!("there is no refinement {}", id.0).into());
        };
        let wrong = |multipliers: &[f32]| !multipliers.is_empty() && multipliers.len() != state.path.len();
        if refinement.layers.iter().flat_map(|layer| &layer.bounds).any(|bound| wrong(&bound.multipliers)) {
            return Err(format!("refinement {} does not have one multiplier per split here", id.0).into());
        }
        state.refine(self.reading, self.proof, refinement)
    }

    /// The leaf's bound, which is > 0 and shows that no input of its set satisfies every row.
    fn refute(&self, leaf: &Leaf, state: &State) -> Result<f64, Failure> {
        if !leaf.multipliers.is_empty() && leaf.multipliers.len() != state.path.len() {
            return Err(format!("{} multipliers for {} splits", leaf.multipliers.len(), state.path.len()).into());
        }
        check_multipliers(&leaf.multipliers)?;
        if leaf.slopes.is_some_and(|id| id.0 as usize >= self.proof.slopes.len()) {
            return Err("its slopes do not exist".into());
        }
        let (form, constant) = self.combination(leaf)?;
        let splits = state.path.splits();
        let Some(bounds) = state.cut(&self.reading.operations, &splits) else { return Ok(f64::INFINITY) };
        let domain = Domain { operations: &self.reading.operations, bounds: &bounds, splits: &splits };
        let slopes = slopes(self.proof, leaf.slopes);
        let bound = add_down(domain.minimum(self.reading.network.output(), form, slopes, &leaf.multipliers), constant);
        match bound > 0.0 && bound.is_finite() {
            true => Ok(bound),
            false => Err(format!("the bound of this leaf is {bound}, which is not > 0; nothing is refuted").into()),
        }
    }

    /// The same for a leaf that is to be evaluated exactly.
    fn refute_exactly(&self, leaf: &ExactLeaf, state: &State) -> Result<f64, Failure> {
        check_naturals(leaf)?;
        if leaf.slopes.is_some_and(|id| id.0 as usize >= self.proof.slopes.len()) {
            return Err("its slopes do not exist".into());
        }
        let splits = state.path.splits();
        let Some(bounds) = state.cut(&self.reading.operations, &splits) else { return Ok(f64::INFINITY) };
        let exact = Exact {
            operations: self.reading.exact()?,
            bounds: &bounds,
            splits: &splits,
            case: self.case,
            deadline: self.reading.deadline,
        };
        Ok(exact.refute(self.rows, leaf, slopes(self.proof, leaf.slopes))?.to_f64())
    }

    /// Σ weight·(c·y − b) as a form of the outputs and a number not above its constant.
    fn combination(&self, leaf: &Leaf) -> Result<(Coefficients, f64), Failure> {
        let outputs = self.reading.network.output_len();
        let (mut values, mut magnitudes) = (vec![0.0; outputs], vec![0.0; outputs]);
        let (mut constant, mut magnitude) = (0.0, 0.0);
        for (i, &(row, weight)) in leaf.rows.iter().enumerate() {
            let Some(Constraint { coefficients, bound, .. }) = self.rows.get(row as usize) else {
                return Err(format!("the conjunction has no row {row}").into());
            };
            if leaf.rows[..i].iter().any(|&(other, _)| other == row) {
                return Err(format!("row {row} stands twice").into());
            }
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(format!("the weight {weight} of row {row} is not a finite number ≥ 0").into());
            }
            for ((value, magnitude), &c) in values.iter_mut().zip(&mut magnitudes).zip(coefficients) {
                *value += weight * c;
                *magnitude += (weight * c).abs();
            }
            constant -= weight * bound;
            magnitude += (weight * bound).abs();
        }
        let terms = leaf.rows.len();
        let errors = magnitudes.into_iter().map(|magnitude| sum_error(magnitude, terms)).collect();
        Ok((Coefficients { values, errors }, add_down(constant, -sum_error(magnitude, terms))))
    }
}
