//! Branch and bound over the input box, for networks with few inputs: boxes in batches, CROWN ∩ interval bounds of every
//! layer recomputed in f64 for each.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use tightrope_certificate::RefinementId;
use tightrope_network::NodeId;

use super::dual::{Domain, SetOf, Trace};
use super::lines::Lines;
use super::problem::Conjunction;
use super::program::Program;
use super::queue::Queue;
use super::record::Recorder;
use super::root::{Layers, Setting};
use super::rounding::{Interval, Rounding, interval_step};
use super::search::{Found, Hunt};
use super::tree::{End, Round};

/// Boxes that one task bounds; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 32;
/// Coefficient rows per backward pass.
const ROWS: usize = 256;

/// Least coefficient of an input, as a share of the largest one, when the input to cut is chosen: the coefficients
/// belong to one relaxation only, and an input that is never cut keeps it loose.
const FLOOR: f64 = 0.1;

/// A box with what is still to be refuted over it.
pub(crate) struct Item {
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// (conjunction, its node in the recorded tree).
    open: Vec<(usize, usize)>,
    /// Bounds of the box this one was cut from.
    parent: Option<Arc<Layers>>,
}

impl Item {
    fn bytes(&self) -> usize {
        let layers = self.parent.as_ref().map_or(0, |l| l.lower.iter().map(Vec::len).sum::<usize>());
        // Two boxes share their parent's bounds.
        size_of::<Self>() + 16 * (self.lower.len() + self.open.len()) + 8 * layers + 64
    }
}

/// What bounding one box gave.
struct Bounded {
    item: Item,
    layers: Layers,
    /// Per open conjunction its best row and that row's bound.
    bounds: Vec<(usize, f64)>,
    /// Influence of each input on the bounds that are not positive.
    influence: Vec<f64>,
}

/// What the output rows of a chunk of boxes gave.
struct Outputs {
    /// Per box the best row and bound of each open conjunction.
    bounds: Vec<Vec<(usize, f64)>>,
    /// Per box the influence of each input on the conjunctions that stay open.
    influences: Vec<Vec<f64>>,
    /// Minimisers `[count, d]` to try as counterexamples.
    points: Vec<f32>,
    /// The conjunction of each.
    targets: Vec<usize>,
}

/// Branch and bound over the inputs of one case.
pub(crate) struct Boxes<'a> {
    pub setting: &'a Setting<'a>,
    pub rounding: &'a Rounding<f64>,
    pub conjunctions: &'a [Conjunction],
    pub hunt: &'a Hunt<'a>,
    pub batch: usize,
    pub queue_bytes: usize,
    pub deadline: Instant,
}

impl Boxes<'_> {
    /// Searches from the whole box; `nodes` are the conjunctions' nodes in the recorded trees.
    pub(crate) fn search(
        &self,
        nodes: &[usize],
        mut recorder: Option<(&mut Recorder<'_>, RefinementId)>,
        report: &mut dyn FnMut(&Round),
    ) -> End {
        let mut queue = Queue::new(self.queue_bytes);
        let node = |c: usize| nodes.get(c).copied().unwrap_or_default();
        let whole = Item {
            lower: self.setting.lower.clone(),
            upper: self.setting.upper.clone(),
            open: (0..self.conjunctions.len()).map(|c| (c, node(c))).collect(),
            parent: None,
        };
        queue.push(f64::NEG_INFINITY, whole.bytes(), whole);
        let mut stuck = f64::INFINITY;
        let mut round = Round { subproblems: 0, open: 1, lower_bound: f64::NEG_INFINITY };
        while queue.len() > 0 {
            report(&round);
            if Instant::now() >= self.deadline {
                return End::Timeout(queue.worst().min(stuck));
            }
            let chunks = queue.pop_chunks(4 * self.batch, CHUNK);
            let results: Vec<(Vec<Bounded>, Option<Found>)> =
                chunks.into_par_iter().map(|chunk| self.bound(chunk)).collect();
            let mut found = None;
            for (boxes, counterexample) in results {
                found = found.or(counterexample);
                for bounded in boxes {
                    round.subproblems += 1;
                    if let Some(bound) = self.branch(bounded, &mut queue, &mut recorder) {
                        stuck = stuck.min(bound);
                    }
                }
            }
            if let Some(found) = found {
                return End::Violated(found);
            }
            round.open = queue.len();
            round.lower_bound = queue.worst().min(stuck);
        }
        report(&round);
        if stuck.is_finite() { End::Stuck(stuck) } else { End::Refuted }
    }

    /// Records what is refuted and cuts the box for the rest; the bound if it is too small to be cut.
    fn branch(
        &self,
        bounded: Bounded,
        queue: &mut Queue<Item>,
        recorder: &mut Option<(&mut Recorder<'_>, RefinementId)>,
    ) -> Option<f64> {
        let Bounded { item, layers, bounds, influence } = bounded;
        let mut open = Vec::new();
        let mut worst = f64::INFINITY;
        for (&(c, node), &(row, bound)) in item.open.iter().zip(&bounds) {
            let node = match recorder {
                Some((recorder, refinement)) => recorder.refine(c, node, *refinement),
                None => node,
            };
            if bound > 0.0 {
                if let Some((recorder, _)) = recorder {
                    let mut weights = vec![0.0; self.conjunctions[c].len()];
                    weights[row] = 1.0;
                    recorder.plain_leaf(c, node, &weights);
                }
            } else {
                worst = worst.min(bound);
                open.push((c, node));
            }
        }
        if open.is_empty() {
            return None;
        }
        let longest = |a: usize, b: usize| if influence[b] > influence[a] { b } else { a };
        let index = (0..influence.len()).reduce(longest).unwrap_or_default();
        let at = 0.5 * (item.lower[index] + item.upper[index]);
        if !(item.lower[index] < at && at < item.upper[index]) {
            return Some(worst);
        }
        let children: Vec<[usize; 2]> = open
            .iter()
            .map(|&(c, node)| match recorder {
                Some((recorder, _)) => recorder.split_input(c, node, index, at),
                None => [0; 2],
            })
            .collect();
        let parent = Arc::new(layers);
        for side in 0..2 {
            let (mut lower, mut upper) = (item.lower.clone(), item.upper.clone());
            if side == 0 {
                upper[index] = at
            } else {
                lower[index] = at
            }
            let open = open.iter().zip(&children).map(|(&(c, _), nodes)| (c, nodes[side])).collect();
            let child = Item { lower, upper, open, parent: Some(Arc::clone(&parent)) };
            queue.push(worst, child.bytes(), child);
        }
        None
    }

    /// Bounds a chunk of boxes, and tries the minimisers as counterexamples.
    fn bound(&self, chunk: Vec<(f64, Item)>) -> (Vec<Bounded>, Option<Found>) {
        let chunk: Vec<Item> = chunk.into_iter().map(|(_, item)| item).collect();
        let program = self.setting.exact;
        let sets = chunk.len();
        let lower: Vec<f64> = chunk.iter().flat_map(|item| &item.lower).copied().collect();
        let upper: Vec<f64> = chunk.iter().flat_map(|item| &item.upper).copied().collect();
        let reach = vec![0.0; lower.len()];
        let mut intervals = vec![Interval { lower: lower.clone(), upper: upper.clone(), reach }];
        let mut lines: Vec<Lines<f64>> = Vec::new();
        let ends = (&lower[..], &upper[..]);
        // The margins of the last layers need no interval bounds.
        let last = program.pre.iter().max().copied().unwrap_or_default();
        for id in 0..=last {
            if id > 0 {
                let interval = interval_step(program, id, &intervals, sets);
                intervals.push(interval);
            }
            if let Some(position) = program.position[id] {
                let interval = &mut intervals[id];
                meet_parents(&chunk, position, interval);
                if id > 0 && !lines.is_empty() {
                    self.crown(id, sets, ends, &lines, interval);
                }
                lines.push(Lines::new(&interval.lower, &interval.upper));
            }
        }
        let layers = (0..sets).map(|set| {
            let of = |values: &dyn Fn(&Interval) -> &Vec<f64>| -> Vec<Vec<f64>> {
                program
                    .pre
                    .iter()
                    .map(|&id| {
                        let n = program.network.node(id).len();
                        values(&intervals[id])[set * n..(set + 1) * n].to_vec()
                    })
                    .collect()
            };
            Layers { lower: of(&|i| &i.lower), upper: of(&|i| &i.upper) }
        });
        let layers: Vec<Layers> = layers.collect();
        let Outputs { bounds, influences, points, targets } = self.outputs(&chunk, ends, &lines);
        let found = if targets.is_empty() { None } else { self.hunt.descend(points, &targets, 0, 0.0, self.deadline) };
        let boxes = chunk
            .into_iter()
            .zip(layers)
            .zip(bounds)
            .zip(influences)
            .map(|(((item, layers), bounds), influence)| Bounded { item, layers, bounds, influence })
            .collect();
        (boxes, found)
    }

    /// Intersects the bounds of node `id` with CROWN's where they leave neurons unstable.
    fn crown(
        &self,
        id: NodeId,
        sets: usize,
        (lower, upper): (&[f64], &[f64]),
        lines: &[Lines<f64>],
        interval: &mut Interval,
    ) {
        let program = self.setting.exact;
        let n = program.network.node(id).len();
        let unstable = |&e: &usize| interval.lower[e] < 0.0 && interval.upper[e] > 0.0;
        let elements: Vec<usize> = (0..sets * n).filter(unstable).collect();
        for elements in elements.chunks(ROWS / 2) {
            let of: Vec<u32> = elements.iter().flat_map(|&e| [(e / n) as u32; 2]).collect();
            let mut rows = vec![0.0; of.len() * n];
            for (place, &e) in elements.iter().enumerate() {
                rows[2 * place * n + e % n] = 1.0;
                rows[(2 * place + 1) * n + e % n] = -1.0;
            }
            let domain = domain(lower, upper, lines, &of);
            let (values, errors) = domain.bound(program, id, rows, of.len(), None, Some(self.rounding));
            let values = self.setting.lowered(values, &errors);
            for (&e, pair) in elements.iter().zip(values.chunks_exact(2)) {
                interval.lower[e] = interval.lower[e].max(pair[0].min(interval.upper[e]));
                interval.upper[e] = interval.upper[e].min((-pair[1]).max(interval.lower[e]));
            }
        }
    }

    /// Bounds the open conjunctions of each box.
    fn outputs(&self, chunk: &[Item], (lower, upper): (&[f64], &[f64]), lines: &[Lines<f64>]) -> Outputs {
        let program: &Program<'_, f64> = self.setting.exact;
        let d = program.network.input_len();
        let output = program.network.output();
        let mut of = Vec::new();
        let mut rows = Vec::new();
        let mut offsets = Vec::new();
        for (set, item) in chunk.iter().enumerate() {
            for &(c, _) in &item.open {
                for row in self.conjunctions[c].rows() {
                    of.push(set as u32);
                    rows.extend_from_slice(&row.coefficients);
                    let absolute: Vec<f64> = row.coefficients.iter().map(|c| c.abs()).collect();
                    offsets.push((row.bound, self.rounding.combination(output, &absolute, row.bound.abs())));
                }
            }
        }
        let domain = domain(lower, upper, lines, &of);
        let mut trace = Trace::default();
        let (values, mut errors) = domain.bound(program, output, rows, of.len(), Some(&mut trace), Some(self.rounding));
        errors.iter_mut().zip(&offsets).for_each(|(e, (_, more))| *e += more);
        let values = values.iter().zip(&offsets).map(|(v, (bound, _))| v - bound).collect();
        let values = self.setting.lowered(values, &errors);
        let minimisers = domain.minimisers(&trace.input, of.len());
        let (mut bounds, mut influences) = (Vec::new(), Vec::new());
        let (mut points, mut targets) = (Vec::new(), Vec::new());
        let mut next = 0;
        for item in chunk {
            let mut influence = vec![0.0; d];
            let mut list = Vec::with_capacity(item.open.len());
            for &(c, _) in &item.open {
                let mut best = (0, f64::NEG_INFINITY);
                for row in 0..self.conjunctions[c].len() {
                    if values[next + row] > best.1 {
                        best = (row, values[next + row]);
                    }
                }
                if best.1 <= 0.0 {
                    let place = next + best.0;
                    let row = &trace.input[place * d..(place + 1) * d];
                    let floor = FLOOR * row.iter().fold(0.0_f64, |m, a| m.max(a.abs()));
                    for i in 0..d {
                        influence[i] += trace.input[place * d + i].abs().max(floor) * (item.upper[i] - item.lower[i]);
                    }
                    points.extend(minimisers[place * d..(place + 1) * d].iter().map(|&v| v as f32));
                    targets.push(c);
                }
                list.push(best);
                next += self.conjunctions[c].len();
            }
            // Inputs without influence are cut last, wide ones first.
            for i in 0..d {
                influence[i] += 1e-9 * (item.upper[i] - item.lower[i]);
            }
            bounds.push(list);
            influences.push(influence);
        }
        Outputs { bounds, influences, points, targets }
    }
}

fn domain<'a>(lower: &'a [f64], upper: &'a [f64], lines: &'a [Lines<f64>], of: &'a [u32]) -> Domain<'a, f64> {
    Domain {
        lower,
        upper,
        box_of: SetOf::Listed(of),
        lines,
        lines_of: SetOf::Listed(of),
        slopes: None,
        multipliers: None,
    }
}

/// Intersects the bounds of a position with those of the boxes cut.
fn meet_parents(chunk: &[Item], position: usize, interval: &mut Interval) {
    let n = interval.lower.len() / chunk.len();
    for (set, item) in chunk.iter().enumerate() {
        let Some(parent) = &item.parent else { continue };
        let range = set * n..(set + 1) * n;
        interval.lower[range.clone()].iter_mut().zip(&parent.lower[position]).for_each(|(l, &p)| *l = l.max(p));
        interval.upper[range].iter_mut().zip(&parent.upper[position]).for_each(|(u, &p)| *u = u.min(p));
    }
}
