//! Branch and bound over the signs of ReLUs (β-CROWN, Wang et al. 2021).

use std::time::Instant;

use rayon::prelude::*;

use super::ascent::{Ascent, Ground, Start, Variables};
use super::branch::{Candidate, Choice, candidates};
use super::dual::{Domain, Multiplier, SetOf};
use super::lines::Lines;
use super::problem::Conjunction;
use super::queue::Queue;
use super::record::Recorder;
use super::root::{Root, Setting};
use super::search::{Found, Hunt};

/// Subproblems that one task splits and bounds; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 16;
/// Points per round from which the attack inside the tree descends.
const ATTACKED: usize = 16;
/// Steps of that attack.
const ATTACK_STEPS: usize = 12;

/// An open subproblem.
pub(crate) struct Subproblem {
    conjunction: usize,
    /// Slopes of the root's unstable neurons, in the order of [`Tree::unstable`].
    slopes: Vec<f32>,
    /// The splits with their multipliers, from the root.
    multipliers: Vec<Multiplier<f32>>,
    /// −1 for each active, +1 for each inactive split.
    signs: Vec<f32>,
    weights: Vec<f32>,
    candidates: Vec<Candidate>,
    /// Its node in the recorded tree.
    node: usize,
}

impl Subproblem {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + 4 * (self.slopes.len() + self.signs.len() + self.weights.len())
            + size_of::<Multiplier<f32>>() * self.multipliers.len()
            + size_of::<Candidate>() * self.candidates.len()
            + 128
    }
}

/// A conjunction at the root: bound, subproblem and its slopes by position.
type Begun = (f64, Subproblem, Vec<Vec<f32>>);

/// What one child came to.
struct Child {
    /// Lower bound that counts.
    bound: f64,
    subproblem: Subproblem,
    /// Slopes by position, kept for the proof of a refuted child.
    proof_slopes: Option<Vec<Vec<f32>>>,
    refuted: bool,
}

/// What a task hands back for a subproblem it split: the neuron and the children (inactive, active).
struct Split {
    bound: f64,
    parent: Subproblem,
    /// None if nothing was left to split.
    children: Option<(Candidate, [Child; 2])>,
}

/// How the search ended.
pub(crate) enum End {
    /// Every conjunction is refuted.
    Refuted,
    /// A counterexample.
    Violated(Found),
    /// Some subproblems can be split no further.
    Stuck(f64),
    /// Time is out.
    Timeout(f64),
}

/// What the search reports after each round.
pub(crate) struct Round {
    pub subproblems: usize,
    pub open: usize,
    pub lower_bound: f64,
}

/// Branch and bound over one case.
pub(crate) struct Tree<'a> {
    pub setting: &'a Setting<'a>,
    pub root: &'a Root,
    pub conjunctions: &'a [Conjunction],
    pub hunt: &'a Hunt<'a>,
    pub ascent: Ascent,
    pub choice: Choice,
    pub batch: usize,
    pub queue_bytes: usize,
    /// (position, element) of the neurons that are unstable at the root.
    pub unstable: Vec<(usize, usize)>,
    /// Bias of each pre-activation's layer.
    pub bias: Vec<Vec<f32>>,
    pub deadline: Instant,
}

impl<'a> Tree<'a> {
    /// Bounds every conjunction in `open` at the root with slopes from the rule of least area.
    pub(crate) fn begin(
        &self,
        ascent: &Ascent,
        mut recorder: Option<&mut Recorder<'_>>,
        nodes: &[usize],
    ) -> Vec<(f64, Subproblem)> {
        let list: Vec<usize> = (0..self.conjunctions.len()).collect();
        let results: Vec<Vec<Begun>> = list
            .par_chunks(CHUNK)
            .map(|chunk| {
                let conjunctions: Vec<&Conjunction> = chunk.iter().map(|&c| &self.conjunctions[c]).collect();
                let lines = &self.root.lines32;
                let variables = Variables {
                    slopes: lines.iter().map(|lines| lines.lower_slope.repeat(chunk.len())).collect(),
                    multipliers: Vec::new(),
                    signs: Vec::new(),
                    weights: conjunctions.iter().map(|c| vec![1.0 / c.len() as f32; c.len()]).collect(),
                };
                let ground = self.ground(lines, false);
                let reached = ascent.run(ground, Start::Conjunctions(&conjunctions), variables, GOAL);
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
                        slopes: self.compact(&dense),
                        multipliers: Vec::new(),
                        signs: Vec::new(),
                        weights: reached.variables.weights[row].clone(),
                        candidates: last.map_or(Vec::new(), |last| {
                            candidates(self.setting.fast, &reached.last, last, lines, 0, &self.bias, self.choice)
                        }),
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

    /// Searches until everything is refuted, a counterexample is found, or time is out.
    pub(crate) fn search(
        &self,
        open: Vec<(f64, Subproblem)>,
        mut recorder: Option<&mut Recorder<'_>>,
        statistics: &mut dyn FnMut(&Round),
    ) -> End {
        let mut queue = Queue::new(self.queue_bytes);
        open.into_iter().for_each(|(bound, sub)| queue.push(bound, sub.bytes(), sub));
        let mut stuck = f64::INFINITY;
        let mut round = Round { subproblems: 0, open: queue.len(), lower_bound: queue.worst() };
        while queue.len() > 0 {
            statistics(&round);
            if Instant::now() >= self.deadline {
                return End::Timeout(queue.worst().min(stuck));
            }
            let batch: Vec<(f64, Subproblem)> = std::iter::from_fn(|| queue.pop()).take(self.batch.max(1)).collect();
            let mut chunks: Vec<Vec<(f64, Subproblem)>> = Vec::new();
            for item in batch {
                match chunks.last_mut() {
                    Some(chunk) if chunk.len() < CHUNK => chunk.push(item),
                    _ => chunks.push(vec![item]),
                }
            }
            let results: Vec<(Vec<Split>, Option<Found>)> =
                chunks.into_par_iter().map(|chunk| self.split(chunk, recorder.is_some())).collect();
            let mut found = None;
            for (splits, counterexample) in results {
                found = found.or(counterexample);
                for split in splits {
                    let Some((neuron, children)) = split.children else {
                        stuck = stuck.min(split.bound);
                        continue;
                    };
                    let (c, parent) = (split.parent.conjunction, split.parent.node);
                    let nodes = recorder
                        .as_deref_mut()
                        .map_or([0; 2], |recorder| recorder.split(c, parent, neuron.position, neuron.index));
                    for (mut child, node) in children.into_iter().zip(nodes) {
                        round.subproblems += 1;
                        child.subproblem.node = node;
                        if !child.refuted {
                            let bytes = child.subproblem.bytes();
                            queue.push(child.bound.max(split.bound), bytes, child.subproblem);
                        } else if let (Some(recorder), Some(slopes)) = (recorder.as_deref_mut(), &child.proof_slopes) {
                            let chosen = |p: usize, i: usize| self.is_unstable(p, i);
                            let sub = &child.subproblem;
                            recorder.leaf(c, node, &sub.weights, slopes, chosen, &sub.multipliers);
                        }
                    }
                }
            }
            if let Some(found) = found {
                return End::Violated(found);
            }
            round.open = queue.len();
            round.lower_bound = queue.worst().min(stuck);
        }
        statistics(&round);
        if stuck.is_finite() { End::Stuck(stuck) } else { End::Refuted }
    }

    fn ground<'g>(&'g self, lines: &'g [Lines<f32>], own_lines: bool) -> Ground<'g> {
        Ground {
            program: self.setting.fast,
            start: self.setting.fast.network.output(),
            lower: &self.setting.lower32,
            upper: &self.setting.upper32,
            lines,
            own_lines,
        }
    }

    fn is_unstable(&self, position: usize, index: usize) -> bool {
        self.root.layers.lower[position][index] < 0.0 && self.root.layers.upper[position][index] > 0.0
    }

    /// One row of `[rows, n]` by position.
    fn dense_row(&self, slopes: &[Vec<f32>], row: usize) -> Vec<Vec<f32>> {
        let width = |position| self.setting.fast.width(position);
        slopes.iter().enumerate().map(|(p, values)| values[row * width(p)..(row + 1) * width(p)].to_vec()).collect()
    }

    fn compact(&self, dense: &[Vec<f32>]) -> Vec<f32> {
        self.unstable.iter().map(|&(position, index)| dense[position][index]).collect()
    }

    /// Lines and variables of subproblems, each with one further split if given.
    fn assemble(&self, rows: &[(&Subproblem, Option<(Candidate, bool)>)]) -> (Vec<Lines<f32>>, Variables) {
        let count = rows.len();
        let repeat = |values: &Vec<f32>| values.repeat(count);
        let mut lines: Vec<Lines<f32>> = self
            .root
            .lines32
            .iter()
            .map(|lines| Lines {
                lower_slope: repeat(&lines.lower_slope),
                upper_slope: repeat(&lines.upper_slope),
                intercept: repeat(&lines.intercept),
            })
            .collect();
        let mut multipliers = Vec::with_capacity(count);
        let mut signs = Vec::with_capacity(count);
        for (row, (subproblem, split)) in rows.iter().enumerate() {
            for (&(position, index), &slope) in self.unstable.iter().zip(&subproblem.slopes) {
                lines[position].lower_slope[row * self.setting.fast.width(position) + index] = slope;
            }
            let mut list = subproblem.multipliers.clone();
            let mut sign = subproblem.signs.clone();
            if let Some((candidate, active)) = split {
                list.push(Multiplier { position: candidate.position, index: candidate.index, value: 0.0 });
                sign.push(if *active { -1.0 } else { 1.0 });
            }
            for (multiplier, &sign) in list.iter().zip(&sign) {
                let element = row * self.setting.fast.width(multiplier.position) + multiplier.index;
                lines[multiplier.position].fix(element, sign < 0.0);
            }
            multipliers.push(list);
            signs.push(sign);
        }
        let slopes = lines.iter().map(|lines| lines.lower_slope.clone()).collect();
        let weights = rows.iter().map(|(subproblem, _)| subproblem.weights.clone()).collect();
        (lines, Variables { slopes, multipliers, signs, weights })
    }

    /// The neuron to split in each subproblem.
    fn choose(&self, chunk: &[(f64, Subproblem)]) -> Vec<Option<Candidate>> {
        let first = |sub: &Subproblem| sub.candidates.first().copied();
        if self.choice == Choice::Babsr || chunk.iter().all(|(_, sub)| sub.candidates.len() < 2) {
            return chunk.iter().map(|(_, sub)| first(sub)).collect();
        }
        let rows: Vec<(&Subproblem, Option<(Candidate, bool)>)> = chunk
            .iter()
            .flat_map(|(_, sub)| {
                sub.candidates.iter().flat_map(move |&c| [(sub, Some((c, false))), (sub, Some((c, true)))])
            })
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
                lines: &lines,
                lines_of: SetOf::Own,
                slopes: None,
                multipliers: Some(&variables.multipliers),
            };
            let output = self.setting.fast.network.output();
            let (bounds, _) = domain.bound(self.setting.fast, output, start, rows.len(), None, None);
            values.extend(bounds.iter().zip(&offsets).map(|(b, o)| b - o));
        }
        let mut next = 0;
        chunk
            .iter()
            .map(|(_, sub)| {
                let mut best: Option<(f32, f32, Candidate)> = None;
                for &candidate in &sub.candidates {
                    let (a, b) = (values[next], values[next + 1]);
                    next += 2;
                    // A child that is refuted already counts no more than 0.
                    let (low, high) = (a.min(b).min(0.0), a.max(b).min(0.0));
                    if best.is_none_or(|(l, h, _)| low > l || low == l && high > h) {
                        best = Some((low, high, candidate));
                    }
                }
                best.map(|(_, _, candidate)| candidate)
            })
            .collect()
    }

    /// Scores the neurons of a subproblem anew; needed where f32 took it for refuted and f64 did not.
    fn rescore(&self, subproblem: &Subproblem) -> Vec<Candidate> {
        let (lines, variables) = self.assemble(&[(subproblem, None)]);
        let conjunction = [&self.conjunctions[subproblem.conjunction]];
        let ascent = Ascent { iterations: 0, ..self.ascent };
        let start = Start::Conjunctions(&conjunction);
        let reached = ascent.run(self.ground(&lines, true), start, variables, f32::INFINITY);
        candidates(self.setting.fast, &reached.last, 0, &lines, 0, &self.bias, self.choice)
    }

    /// Splits and bounds a chunk; also attacks from the open children's minimisers.
    fn split(&self, mut chunk: Vec<(f64, Subproblem)>, keep: bool) -> (Vec<Split>, Option<Found>) {
        for (_, subproblem) in chunk.iter_mut().filter(|(_, sub)| sub.candidates.is_empty()) {
            subproblem.candidates = self.rescore(subproblem);
        }
        let choices = self.choose(&chunk);
        let rows: Vec<(&Subproblem, Option<(Candidate, bool)>)> = chunk
            .iter()
            .zip(&choices)
            .filter_map(|((_, sub), choice)| choice.map(|c| [(sub, Some((c, false))), (sub, Some((c, true)))]))
            .flatten()
            .collect();
        let mut children = Vec::with_capacity(rows.len());
        let mut found = None;
        if !rows.is_empty() {
            let (lines, variables) = self.assemble(&rows);
            let signs = variables.signs.clone();
            let conjunctions: Vec<&Conjunction> = rows.iter().map(|(s, _)| &self.conjunctions[s.conjunction]).collect();
            let reached =
                self.ascent.run(self.ground(&lines, true), Start::Conjunctions(&conjunctions), variables, GOAL);
            let bounds = self.count(&rows, &conjunctions, &reached.values, &reached.variables);
            for (row, (parent, _)) in rows.iter().enumerate() {
                let refuted = bounds[row] > 0.0;
                let dense = self.dense_row(&reached.variables.slopes, row);
                let last = reached.last.rows.iter().position(|&r| r as usize == row).filter(|_| !refuted);
                children.push(Child {
                    bound: bounds[row],
                    refuted,
                    subproblem: Subproblem {
                        conjunction: parent.conjunction,
                        slopes: if refuted { Vec::new() } else { self.compact(&dense) },
                        multipliers: reached.variables.multipliers[row].clone(),
                        signs: signs[row].clone(),
                        weights: reached.variables.weights[row].clone(),
                        candidates: last.map_or(Vec::new(), |last| {
                            candidates(self.setting.fast, &reached.last, last, &lines, row, &self.bias, self.choice)
                        }),
                        node: 0,
                    },
                    proof_slopes: (keep && refuted).then_some(dense),
                });
            }
            found = self.attack(&rows, &bounds, &reached.last);
        }
        let mut children = children.into_iter();
        let splits = chunk
            .into_iter()
            .zip(choices)
            .map(|((bound, parent), choice)| {
                let children = choice.and_then(|c| Some((c, [children.next()?, children.next()?])));
                Split { bound, parent, children }
            })
            .collect();
        (splits, found)
    }

    /// The bounds that count: in f64 where f32 promises a refutation, as they come elsewhere.
    fn count(
        &self,
        rows: &[(&Subproblem, Option<(Candidate, bool)>)],
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
        let repeat = |values: &Vec<f64>| values.repeat(promising.len());
        let mut lines: Vec<Lines<f64>> = self
            .root
            .lines
            .iter()
            .map(|lines| Lines {
                lower_slope: Vec::new(),
                upper_slope: repeat(&lines.upper_slope),
                intercept: repeat(&lines.intercept),
            })
            .collect();
        let mut slopes_fixed = chosen;
        for (index, &row) in promising.iter().enumerate() {
            let (subproblem, split) = rows[row];
            let last = split.map(|(_, active)| if active { -1.0 } else { 1.0 });
            let signs = subproblem.signs.iter().copied().chain(last);
            for (multiplier, sign) in slopes_fixed.multipliers[index].iter().zip(signs) {
                let element = index * width(multiplier.position) + multiplier.index;
                let slope = if sign < 0.0 { 1.0 } else { 0.0 };
                lines[multiplier.position].upper_slope[element] = slope;
                lines[multiplier.position].intercept[element] = 0.0;
                slopes_fixed.slopes[multiplier.position][element] = slope as f32;
            }
        }
        let list: Vec<&Conjunction> = promising.iter().map(|&row| conjunctions[row]).collect();
        let exact = self.setting.conjunction_bounds(&lines, true, &self.root.rounding, &list, &slopes_fixed);
        promising.iter().zip(exact).for_each(|(&row, bound)| bounds[row] = bound);
        bounds
    }

    /// Descends from the minimisers of the worst open children.
    fn attack(
        &self,
        rows: &[(&Subproblem, Option<(Candidate, bool)>)],
        bounds: &[f64],
        last: &super::ascent::Last,
    ) -> Option<Found> {
        let d = self.setting.lower.len();
        let mut open: Vec<(usize, usize)> = last
            .rows
            .iter()
            .enumerate()
            .map(|(place, &row)| (place, row as usize))
            .filter(|&(_, row)| bounds[row] <= 0.0)
            .collect();
        if open.is_empty() {
            return None;
        }
        open.sort_by(|a, b| bounds[a.1].total_cmp(&bounds[b.1]));
        open.truncate(ATTACKED);
        let points: Vec<f32> =
            open.iter().flat_map(|&(place, _)| &last.primal[0][place * d..(place + 1) * d]).copied().collect();
        let targets: Vec<usize> = open.iter().map(|&(_, row)| rows[row].0.conjunction).collect();
        self.hunt.descend(points, &targets, ATTACK_STEPS, 0.1, self.deadline)
    }
}

/// The f32 bound at which optimisation stops: above 0 by what f32 cannot tell.
const GOAL: f32 = 1e-4;
