//! What is known at a tree node: its box, its splits of neurons and intervals of every value of the network.

use std::sync::Arc;

use rayon::prelude::*;

use crate::budget::{Budget, Held};
use crate::check::Reading;
use crate::cuts::Cuts;
use crate::deadline::{Deadline, Failure};
use crate::layers::{Coefficients, Intervals, Operation, Readers};
use crate::path::Path;
use crate::proof::{LayerRefinement, Proof, Refinement, Side, Slopes, SlopesId};
use crate::substitution::{Domain, Split};

/// The set of inputs of a tree node.
#[derive(Clone)]
pub(crate) struct State {
    /// Intervals of every node's values; those of node 0 are a box that holds the own one. Shared with the node's children.
    bounds: Arc<Bounds>,
    /// How the own box was cut out of it.
    cuts: Cuts,
    /// Its splits of neurons.
    pub path: Path,
}

/// Intervals of every node's values, and the memory that they hold.
struct Bounds {
    intervals: Vec<Intervals>,
    _held: Held,
}

impl Bounds {
    fn new(intervals: Vec<Intervals>, budget: &Budget) -> Result<Arc<Bounds>, Failure> {
        let numbers: usize = intervals.iter().map(|interval| 2 * interval.lower.len()).sum();
        let held = budget.hold(numbers * size_of::<f64>())?;
        Ok(Arc::new(Bounds { intervals, _held: held }))
    }
}

impl State {
    /// The whole box, with bounds by interval arithmetic.
    pub(crate) fn root(reading: &Reading<'_>, lower: &[f64], upper: &[f64]) -> Result<State, Failure> {
        let mut bounds = vec![Intervals { lower: lower.to_vec(), upper: upper.to_vec() }];
        for operation in &reading.operations[1..] {
            reading.deadline.check()?;
            if let Some(interval) = operation.interval(&bounds) {
                check_finite(&interval)?;
                bounds.push(interval);
            }
        }
        let bounds = Bounds::new(bounds, &reading.budget)?;
        Ok(State { bounds, cuts: Cuts::default(), path: Path::default() })
    }

    /// The interval of one input.
    pub(crate) fn input(&self, index: usize) -> (f64, f64) {
        let whole = &self.bounds.intervals[0];
        self.cuts.last(index).unwrap_or((whole.lower[index], whole.upper[index]))
    }

    /// The part where one input lies in [lower, upper].
    pub(crate) fn with_input(&self, index: usize, (lower, upper): (f64, f64)) -> State {
        State { bounds: self.bounds.clone(), cuts: self.cuts.with(index, (lower, upper)), path: self.path.clone() }
    }

    /// The intervals of every node's values, over the own box.
    fn intervals(&self) -> Vec<Intervals> {
        let mut intervals = Vec::clone(&self.bounds.intervals);
        let own = &mut intervals[0];
        self.cuts.apply(&mut own.lower, &mut own.upper);
        intervals
    }

    /// The part with one more split of a neuron.
    pub(crate) fn with_split(&self, split: Split) -> State {
        State { bounds: self.bounds.clone(), cuts: self.cuts.clone(), path: self.path.with(split) }
    }

    /// The bounds cut by `splits`, which are those of the path, and those of the activations that read a neuron split;
    /// `None` if they leave nothing.
    pub(crate) fn cut(&self, operations: &[Operation<f64>], splits: &[Split]) -> Option<Vec<Intervals>> {
        let mut bounds = self.intervals();
        for (node, operation) in operations.iter().enumerate() {
            let (before, own) = bounds.split_at_mut(node);
            for split in splits {
                if let Some((low, high)) = operation.image(before, split.node, split.index) {
                    let (lower, upper) = (&mut own[0].lower[split.index], &mut own[0].upper[split.index]);
                    (*lower, *upper) = (lower.max(low), upper.min(high));
                }
            }
            if !cut(&mut own[0], node, splits) {
                return None;
            }
        }
        Some(bounds)
    }

    /// The same set with tighter bounds; `Ok(None)` if they leave nothing.
    pub(crate) fn refine(
        &self,
        reading: &Reading<'_>,
        proof: &Proof,
        refinement: &Refinement,
    ) -> Result<Option<State>, Failure> {
        let splits = self.path.splits();
        let mut bounds = self.intervals();
        for (node, operation) in reading.operations.iter().enumerate() {
            reading.deadline.check()?;
            if let Some(fresh) = operation.interval(&bounds) {
                let old = &mut bounds[node];
                old.lower.iter_mut().zip(&fresh.lower).for_each(|(old, &new)| *old = old.max(new));
                old.upper.iter_mut().zip(&fresh.upper).for_each(|(old, &new)| *old = old.min(new));
            }
            if !cut(&mut bounds[node], node, &splits) {
                return Ok(None);
            }
            check_finite(&bounds[node])?;
            let Some(layer) = refinement.layers.iter().find(|layer| layer.node as usize == node) else { continue };
            let domain = Domain { operations: &reading.operations, bounds: &bounds, splits: &splits };
            let found = tightened(&domain, &reading.readers[node], node, proof, layer, reading.deadline)?;
            let intervals = &mut bounds[node];
            for (index, side, bound) in found {
                match side {
                    Side::Lower => intervals.lower[index] = intervals.lower[index].max(bound),
                    Side::Upper => intervals.upper[index] = intervals.upper[index].min(-bound),
                }
            }
            if !cut(&mut bounds[node], node, &splits) {
                return Ok(None);
            }
        }
        let bounds = Bounds::new(bounds, &reading.budget)?;
        Ok(Some(State { bounds, cuts: Cuts::default(), path: self.path.clone() }))
    }
}

/// Lower bounds of ±neuron of one layer, as the refinement derives them.
fn tightened(
    domain: &Domain<'_>,
    readers: &Readers,
    node: usize,
    proof: &Proof,
    layer: &LayerRefinement,
    deadline: Deadline,
) -> Result<Vec<(usize, Side, f64)>, Failure> {
    let intervals = &domain.bounds[node];
    let unstable = |i: &usize| layer.crown && readers.is_open(intervals.lower[*i], intervals.upper[*i]);
    let neurons: Vec<usize> = (0..intervals.lower.len()).filter(unstable).collect();
    let bound = |index: usize, side: Side, slopes: Option<&Slopes>, multipliers: &[f32]| {
        deadline.check()?;
        let mut row = vec![0.0; intervals.lower.len()];
        row[index] = if side == Side::Lower { 1.0 } else { -1.0 };
        Ok((index, side, domain.minimum(node, Coefficients::exact(row), slopes, multipliers)))
    };
    let by_rule =
        neurons.par_iter().flat_map_iter(|&i| [Side::Lower, Side::Upper].map(|side| bound(i, side, None, &[])));
    let listed =
        layer.bounds.par_iter().map(|b| bound(b.index as usize, b.side, slopes(proof, b.slopes), &b.multipliers));
    by_rule.chain(listed).collect()
}

/// The slopes of an id that has been checked.
pub(crate) fn slopes(proof: &Proof, id: Option<SlopesId>) -> Option<&Slopes> {
    id.and_then(|id| proof.slopes.get(id.0 as usize))
}

/// Cuts a node's intervals by its splits; false if nothing is left.
fn cut(intervals: &mut Intervals, node: usize, splits: &[Split]) -> bool {
    for split in splits.iter().filter(|split| split.node == node) {
        let (lower, upper) = (&mut intervals.lower[split.index], &mut intervals.upper[split.index]);
        match split.above {
            true => *lower = lower.max(split.at),
            false => *upper = upper.min(split.at),
        }
    }
    intervals.lower.iter().zip(&intervals.upper).all(|(lower, upper)| lower <= upper)
}

fn check_finite(intervals: &Intervals) -> Result<(), Failure> {
    match intervals.lower.iter().chain(&intervals.upper).all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err("interval arithmetic overflows f64 on this network and box".into()),
    }
}
