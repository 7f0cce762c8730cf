//! Branch and bound over neurons (β-CROWN, Wang et al. 2021): ReLUs and other functions with kinks are split there, smooth
//! ones and inputs of max poolings at points of their intervals.

pub(crate) mod branch;
pub(crate) mod leaf;
pub(crate) mod linear;
pub(crate) mod queue;
pub(crate) mod region;
pub(crate) mod search;
pub(crate) mod subproblem;

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use tightrope_engine::{Domain, SetOf};

use self::branch::{Candidate, Choice, Neuron, candidates};
use self::leaf::LeafOutcome;
use self::queue::Queue;
use self::region::{Region, Regions};
use self::subproblem::{BoundedSubproblem, GOAL, Row, Subproblem};
use super::attack::CaseAttack;
use super::bound::ascent::{Ascent, Last, Start, Variables};
use super::bound::prepared::Learned;
use super::bound::root::{Root, Setting};
use super::bound::split::Split as Side;
use super::endgame::Endgame;
use super::exact::Refutation;
use super::mixed::Round;
use super::point::Found;
use super::problem::Conjunction;
use super::record::Recorder;

/// Subproblems that one task splits and bounds; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 16;
/// Points per round from which the attack inside the tree descends.
const ATTACKED: usize = 16;
/// Steps of that attack.
const ATTACK_STEPS: usize = 12;

/// A conjunction at the root: bound, subproblem and its slopes by position.
type Begun = (f64, Subproblem, Vec<Vec<f32>>);

/// What a task hands back for a subproblem.
struct Split {
    bound: f64,
    parent: Subproblem,
    status: NodeStatus,
}

impl Split {
    /// Whether nothing has become of it yet.
    fn is_open(&self) -> bool {
        matches!(self.status, NodeStatus::Stuck)
    }
}

/// What became of a subproblem.
enum NodeStatus {
    /// Its region turned out empty.
    Empty,
    /// The bounds of its region refute it.
    Refuted(Box<BoundedSubproblem>),
    /// Exact arithmetic refutes it.
    Exact(Refutation),
    /// Nothing, or nothing was left to split.
    Stuck,
    /// Where a neuron is split and the children (below, above).
    Split(Side, Box<[BoundedSubproblem; 2]>),
}

/// Branch and bound over one case.
pub(crate) struct Tree<'a> {
    pub setting: &'a Setting<'a>,
    pub root: &'a Root,
    pub conjunctions: &'a [Conjunction],
    pub attack: &'a CaseAttack<'a>,
    pub endgame: &'a Endgame<'a>,
    pub regions: Regions<'a>,
    pub ascent: Ascent,
    pub choice: Choice,
    pub batch: usize,
    pub queue_bytes: usize,
    /// (position, element) of the neurons that are unstable at the root.
    pub unstable: Vec<(usize, usize)>,
    /// Bias of each pre-activation's layer.
    pub bias: &'a [Vec<f32>],
    pub deadline: Instant,
}

/// The slopes learned for a conjunction of one row.
fn learned_slopes<'l>(learned: &'l Learned, conjunction: &Conjunction) -> Option<&'l [Vec<f32>]> {
    match conjunction.rows() {
        [row] => learned.slopes(&row.coefficients),
        _ => None,
    }
}

impl<'a> Tree<'a> {
    /// Bounds every conjunction at the root: with the slopes `learned` for its row, if there are any, otherwise by an
    /// `ascent` from those of the rule of least area.
    pub(crate) fn begin(
        &self,
        ascent: &Ascent,
        learned: Option<&Learned>,
        mut recorder: Option<&mut Recorder<'_>>,
        nodes: &[usize],
    ) -> Vec<(f64, Subproblem)> {
        let region = Arc::new(self.regions.whole());
        let list: Vec<usize> = (0..self.conjunctions.len()).collect();
        let results: Vec<Vec<Begun>> = list
            .par_chunks(CHUNK)
            .map(|chunk| {
                if Instant::now() >= self.deadline {
                    return chunk.iter().map(|&c| self.untouched(&region, c, nodes)).collect();
                }
                let conjunctions: Vec<&Conjunction> = chunk.iter().map(|&c| &self.conjunctions[c]).collect();
                let lines = &self.root.lines32;
                let known: Option<Vec<&[Vec<f32>]>> =
                    learned.and_then(|learned| conjunctions.iter().map(|c| learned_slopes(learned, c)).collect());
                let of_known = |rows: &Vec<&[Vec<f32>]>| -> Vec<Vec<f32>> {
                    let of = |position: usize| rows.iter().flat_map(|row| &row[position]).copied().collect();
                    (0..self.setting.fast.pre.len()).map(of).collect()
                };
                let own = || self.setting.fast.repeated_shares(lines, chunk.len());
                let variables = Variables {
                    slopes: known.as_ref().map_or_else(own, of_known),
                    multipliers: Vec::new(),
                    splits: Vec::new(),
                    weights: conjunctions.iter().map(|c| vec![1.0 / c.len() as f32; c.len()]).collect(),
                };
                // What was optimised is not optimised again.
                let ascent = if known.is_some() { Ascent { iterations: 0, ..*ascent } } else { *ascent };
                let relaxation = self.relaxation(lines, false);
                let reached = ascent.run(relaxation, Start::Conjunctions(&conjunctions), variables, GOAL);
                let bounds = self.setting.conjunction_bounds(
                    &self.root.lines,
                    false,
                    &self.root.rounding,
                    &conjunctions,
                    &reached.variables,
                );
                let rows = chunk.iter().enumerate().map(|(row, &conjunction)| {
                    let dense = self.dense_row(&reached.variables.slopes, row);
                    let last = reached.last.rows.iter().position(|&r| r as usize == row);
                    let subproblem = Subproblem {
                        conjunction,
                        region: Arc::clone(&region),
                        slopes: self.compact(&dense),
                        splits: Vec::new(),
                        multipliers: Vec::new(),
                        weights: reached.variables.weights[row].clone(),
                        candidates: last.map_or(Vec::new(), |last| {
                            candidates(self.setting.fast, &reached.last, last, lines, 0, self.bias, self.choice)
                        }),
                        entered: false,
                        node: nodes.get(conjunction).copied().unwrap_or_default(),
                    };
                    (bounds[row], subproblem, dense)
                });
                rows.collect()
            })
            .collect();
        let mut open = Vec::new();
        for (bound, subproblem, dense) in results.into_iter().flatten() {
            if bound <= 0.0 {
                open.push((bound, subproblem));
            } else if let Some(recorder) = recorder.as_deref_mut() {
                let (c, node) = (subproblem.conjunction, subproblem.node);
                let chosen = |p: usize, i: usize| self.is_unstable(p, i);
                recorder.leaf(c, node, &subproblem.weights, &dense, chosen, &[]);
            }
        }
        open
    }

    /// A conjunction at the root before it has been bounded.
    fn untouched(&self, region: &Arc<Region>, conjunction: usize, nodes: &[usize]) -> Begun {
        let dense = self.setting.fast.shares(&self.root.lines32, 1);
        let rows = self.conjunctions[conjunction].len();
        let subproblem = Subproblem {
            conjunction,
            region: Arc::clone(region),
            slopes: self.compact(&dense),
            splits: Vec::new(),
            multipliers: Vec::new(),
            weights: vec![1.0 / rows as f32; rows],
            candidates: Vec::new(),
            entered: false,
            node: nodes.get(conjunction).copied().unwrap_or_default(),
        };
        (f64::NEG_INFINITY, subproblem, dense)
    }

    /// Records what became of a subproblem and queues its children; the bound if it can be split no further.
    fn settle(
        &self,
        split: Split,
        queue: &mut Queue<Subproblem>,
        mut recorder: Option<&mut Recorder<'_>>,
        round: &mut Round,
    ) -> Option<f64> {
        let Split { bound, parent, status } = split;
        let c = parent.conjunction;
        let mut node = parent.node;
        if let Some(recorder) = recorder.as_deref_mut().filter(|_| parent.entered) {
            let region = &parent.region;
            let derive = || recorder.refinement(&region.derivation, false, |p, i| self.is_unstable(p, i));
            let refinement = *region.refinement.get_or_init(derive);
            node = recorder.refine(c, node, refinement);
        }
        match status {
            NodeStatus::Stuck => return Some(bound),
            NodeStatus::Empty => {
                round.subproblems += 1;
                if let Some(recorder) = recorder {
                    recorder.plain_leaf(c, node, &[]);
                }
            }
            NodeStatus::Refuted(bounded) => {
                round.subproblems += 1;
                if let Some(recorder) = recorder {
                    self.leaf(recorder, node, &bounded);
                }
            }
            NodeStatus::Exact(refutation) => {
                round.subproblems += 1;
                if let Some(recorder) = recorder {
                    recorder.exact(c, node, &refutation);
                }
            }
            NodeStatus::Split(split, children) => {
                let nodes = recorder.as_deref_mut().map_or([0; 2], |recorder| recorder.split(c, node, split));
                for (mut child, node) in children.into_iter().zip(nodes) {
                    round.subproblems += 1;
                    if !child.is_refuted() {
                        child.subproblem.node = node;
                        let bytes = child.subproblem.bytes();
                        queue.push(child.bound.max(bound), bytes, child.subproblem);
                    } else if let Some(recorder) = recorder.as_deref_mut() {
                        self.leaf(recorder, node, &child);
                    }
                }
            }
        }
        None
    }

    fn leaf(&self, recorder: &mut Recorder<'_>, node: usize, bounded: &BoundedSubproblem) {
        let BoundedSubproblem { subproblem: sub, proof_slopes, .. } = bounded;
        let slopes = proof_slopes.as_deref().unwrap_or_default();
        let chosen = |p: usize, i: usize| self.is_unstable(p, i);
        recorder.leaf(sub.conjunction, node, &sub.weights, slopes, chosen, &sub.multipliers);
    }

    fn is_unstable(&self, position: usize, index: usize) -> bool {
        let (l, u) = (self.root.layers.lower[position][index], self.root.layers.upper[position][index]);
        self.setting.exact.has_choice(position, l, u)
    }

    /// What to split in each subproblem: the sides below and above.
    fn choose(&self, splits: &[Split]) -> Vec<Option<[Side; 2]>> {
        let sides = |split: &Split, neuron: Neuron| split.parent.sides(self.setting.exact, neuron);
        let own = |split: &Split| -> Vec<[Side; 2]> {
            match split.status {
                NodeStatus::Stuck if split.parent.region.choice.is_none() => {
                    split.parent.candidates.iter().filter_map(|c| sides(split, c.neuron())).collect()
                }
                _ => Vec::new(),
            }
        };
        let candidates: Vec<Vec<[Side; 2]>> = splits.iter().map(own).collect();
        let simple = |split: &Split, candidates: &[[Side; 2]]| match split.status {
            NodeStatus::Stuck => match split.parent.region.choice {
                Some(neuron) => sides(split, neuron),
                None => candidates.first().copied(),
            },
            _ => None,
        };
        if candidates.iter().all(|list| list.len() < 2) {
            return splits.iter().zip(&candidates).map(|(split, list)| simple(split, list)).collect();
        }
        let rows: Vec<Row<'_>> = splits
            .iter()
            .zip(&candidates)
            .flat_map(|(split, list)| list.iter().flatten().map(|&side| (&split.parent, Some(side))))
            .collect();
        let mut values = Vec::with_capacity(rows.len());
        for rows in rows.chunks(8 * CHUNK) {
            let (lines, variables) = self.assemble(rows);
            let mut start = Vec::new();
            let offsets: Vec<f32> = rows
                .iter()
                .map(|(sub, _)| self.conjunctions[sub.conjunction].combine(&sub.weights, &mut start))
                .collect();
            let domain = Domain {
                lower: &self.setting.lower32,
                upper: &self.setting.upper32,
                box_of: SetOf::Only,
                ball: self.setting.ball32.as_ref(),
                lines: &lines,
                lines_of: SetOf::Own,
                slopes: None,
                multipliers: Some(&variables.multipliers),
            };
            let output = self.setting.fast.network.output();
            let (bounds, _) = self.setting.fast.at.substitute(&domain, output, start, rows.len(), None, None);
            values.extend(bounds.iter().zip(&offsets).map(|(b, o)| b - o));
        }
        let mut next = 0;
        splits
            .iter()
            .zip(&candidates)
            .map(|(split, list)| {
                let mut best: Option<(f32, f32, [Side; 2])> = None;
                for &candidate in list {
                    let (a, b) = (values[next], values[next + 1]);
                    next += 2;
                    // A child that is refuted already counts no more than 0.
                    let (low, high) = (a.min(b).min(0.0), a.max(b).min(0.0));
                    if best.is_none_or(|(l, h, _)| low > l || low == l && high > h) {
                        best = Some((low, high, candidate));
                    }
                }
                best.map(|(_, _, candidate)| candidate).or(simple(split, list))
            })
            .collect()
    }

    /// Scores the neurons of a subproblem anew; needed where f32 took it for refuted and f64 did not. If none has any
    /// effect on the bound, the first that is unstable: it may matter to another split's neuron.
    fn rescore(&self, subproblem: &Subproblem) -> Vec<Candidate> {
        let (lines, variables) = self.assemble(&[(subproblem, None)]);
        let conjunction = [&self.conjunctions[subproblem.conjunction]];
        let ascent = Ascent { iterations: 0, ..self.ascent };
        let start = Start::Conjunctions(&conjunction);
        let reached = ascent.run(self.relaxation(&lines, true), start, variables, f32::INFINITY);
        let scored = candidates(self.setting.fast, &reached.last, 0, &lines, 0, self.bias, self.choice);
        if !scored.is_empty() {
            return scored;
        }
        let exact = self.setting.exact;
        let is_open = |&(position, index): &Neuron| {
            let ends = subproblem.region.ends((position, index), subproblem.splits.iter().copied());
            ends.is_some_and(|(l, u)| exact.is_open(position, l, u))
        };
        let left = self.neurons().find(is_open);
        left.map(|(position, index)| Candidate { position, index, score: 0.0 }).into_iter().collect()
    }

    /// All neurons that may be split.
    fn neurons(&self) -> impl Iterator<Item = Neuron> + '_ {
        let exact = self.setting.exact;
        let own = (0..exact.pre.len()).filter(|&position| exact.image_of[position].is_none());
        own.flat_map(move |position| (0..exact.width(position)).map(move |index| (position, index)))
    }

    /// Tightens, splits and bounds a chunk; also attacks from the open children's minimisers.
    fn split(&self, chunk: Vec<(f64, Subproblem)>, keep: bool) -> (Vec<Split>, Option<Found>) {
        let mut splits: Vec<Split> =
            chunk.into_iter().map(|(bound, parent)| Split { bound, parent, status: NodeStatus::Stuck }).collect();
        if Instant::now() >= self.deadline {
            return (splits, None);
        }
        self.enter_regions(&mut splits, keep);
        for Split { parent, status, .. } in &mut splits {
            let own = matches!(status, NodeStatus::Stuck) && parent.region.choice.is_none();
            if own && parent.candidates.is_empty() {
                parent.candidates = self.rescore(parent);
            }
        }
        let choices = self.choose(&splits);
        let mut found = None;
        for (split, _) in splits.iter_mut().zip(&choices).filter(|(split, choice)| choice.is_none() && split.is_open())
        {
            match self.decide_leaf(split.parent.clone(), keep) {
                LeafOutcome::Refuted(bounded) => split.status = NodeStatus::Refuted(bounded),
                LeafOutcome::Exact(refutation) => split.status = NodeStatus::Exact(refutation),
                LeafOutcome::Violated(input) => found = found.or(Some(input)),
                LeafOutcome::Open => {}
            }
        }
        let rows: Vec<Row<'_>> = splits
            .iter()
            .zip(&choices)
            .filter_map(|(split, choice)| choice.map(|sides| sides.map(|side| (&split.parent, Some(side)))))
            .flatten()
            .collect();
        if rows.is_empty() {
            return (splits, found);
        }
        let (children, reached) = self.bound(&rows, keep);
        let found = found.or_else(|| self.attack_from(&rows, &children, &reached.last));
        let mut children = children.into_iter();
        for (split, choice) in splits.iter_mut().zip(choices) {
            if let Some([side, _]) = choice
                && let (Some(below), Some(above)) = (children.next(), children.next())
            {
                split.status = NodeStatus::Split(side, Box::new([below, above]));
            }
        }
        (splits, found)
    }

    /// Makes the regions that the batch has been split off to, each once.
    fn cut_regions<'s>(&self, batch: impl Iterator<Item = &'s Subproblem>) {
        let mut missing: Vec<(&Region, usize)> = Vec::new();
        for subproblem in batch {
            let Some(side) = subproblem.pending() else { continue };
            let known =
                |&(region, other): &(&Region, usize)| std::ptr::eq(region, &*subproblem.region) && other == side;
            if subproblem.region.children[side].get().is_none() && !missing.iter().any(known) {
                missing.push((&subproblem.region, side));
            }
        }
        missing.into_par_iter().for_each(|(region, side)| {
            region.children[side].get_or_init(|| Arc::new(self.regions.cut(region, side == 1)));
        });
    }

    /// Moves subproblems into the regions they have been split off to, and bounds them there.
    fn enter_regions(&self, splits: &mut [Split], keep: bool) {
        let mut entered = Vec::new();
        for (i, split) in splits.iter_mut().enumerate() {
            let parent = &mut split.parent;
            parent.entered = false;
            let child = parent.pending().and_then(|side| parent.region.children[side].get());
            let Some(child) = child.map(Arc::clone) else { continue };
            parent.entered = true;
            match child.layers {
                None => split.status = NodeStatus::Empty,
                Some(_) => entered.push(i),
            }
            parent.region = child;
        }
        if entered.is_empty() {
            return;
        }
        let rows: Vec<Row<'_>> = entered.iter().map(|&i| (&splits[i].parent, None)).collect();
        let (bounded, _) = self.bound(&rows, keep);
        for (i, bounded) in entered.into_iter().zip(bounded) {
            let split = &mut splits[i];
            if bounded.is_refuted() {
                split.status = NodeStatus::Refuted(Box::new(bounded));
            } else {
                split.bound = split.bound.max(bounded.bound);
                split.parent = Subproblem { entered: true, ..bounded.subproblem };
            }
        }
    }

    /// Descends from the minimisers of the worst open children.
    fn attack_from(&self, rows: &[Row<'_>], bounded: &[BoundedSubproblem], last: &Last) -> Option<Found> {
        let d = self.setting.lower.len();
        let mut open: Vec<(usize, usize)> = last
            .rows
            .iter()
            .enumerate()
            .map(|(place, &row)| (place, row as usize))
            .filter(|&(_, row)| !bounded[row].is_refuted())
            .collect();
        if open.is_empty() {
            return None;
        }
        open.sort_by(|a, b| bounded[a.1].bound.total_cmp(&bounded[b.1].bound));
        open.truncate(ATTACKED);
        let points: Vec<f32> =
            open.iter().flat_map(|&(place, _)| &last.primal[0][place * d..(place + 1) * d]).copied().collect();
        let targets: Vec<usize> = open.iter().map(|&(_, row)| rows[row].0.conjunction).collect();
        self.attack.descend(points, &targets, ATTACK_STEPS, 0.1, self.deadline)
    }
}
