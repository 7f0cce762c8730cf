//! Branch and bound over the input box, for networks with few inputs: boxes in batches, CROWN ∩ interval bounds of every
//! layer recomputed in f64 for each.

mod clip;
mod combination;
mod outputs;
pub(crate) mod search;
mod whole;

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use tightrope_certificate::RefinementId;
use tightrope_engine::{Ball, Charges, Domain, NodeLines, OutwardInterval, SetOf};

use super::attack::CaseAttack;
use super::bound::root::{Layers, Setting};
use super::endgame::{Ended, Endgame};
use super::exact::Refutation;
use super::point::Found;
use super::problem::Conjunction;
use super::record::Recorder;
use super::tree::queue::Queue;
use outputs::{Best, Outputs};
use whole::{Whole, WholeEnd};

/// Boxes that one task bounds (one of a large network); fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 32;
/// Most coefficient rows per backward pass.
const ROWS: usize = 256;
/// Open neurons of a layer, over a box, up to which they are bounded by CROWN where affine forms have bounded them already.
const OPEN_WITH_FORMS: usize = 16;
/// Coefficients per backward pass, over all nodes, beyond which it takes fewer rows.
const ROW_ELEMENTS: usize = 1 << 20;

/// A box with what is still to be refuted over it.
pub(crate) struct Item {
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// (conjunction, its node in the recorded tree).
    open: Vec<(usize, usize)>,
    /// Bounds of the box this one was cut from.
    parent: Option<Arc<Layers>>,
    /// The worst bound there.
    bound: f64,
    /// The largest box around it that exact arithmetic may decide.
    whole: Option<Arc<Whole>>,
}

impl Item {
    fn bytes(&self) -> usize {
        let layers = self.parent.as_ref().map_or(0, |l| l.lower.iter().map(Vec::len).sum::<usize>());
        // Two boxes share their parent's bounds.
        size_of::<Self>() + 16 * (self.lower.len() + self.open.len()) + 8 * layers + 64
    }
}

/// What bounding one box gave.
struct BoundedBox {
    item: Item,
    layers: Layers,
    /// Per open conjunction its bound; none where there was no time for it.
    best: Vec<Option<Best>>,
    /// Per open conjunction its exact refutation, if floating point was too near to 0.
    exact: Vec<Option<Refutation>>,
    /// Influence of each input on the bounds that are not positive.
    influence: Vec<f64>,
    /// What holds all of its unsafe points, where that was asked for.
    left: Option<(Vec<f64>, Vec<f64>)>,
}

/// Branch and bound over the inputs of one case.
pub(crate) struct Boxes<'a> {
    pub setting: &'a Setting<'a>,
    pub rounding: &'a Charges<f64>,
    pub conjunctions: &'a [Conjunction],
    pub attack: &'a CaseAttack<'a>,
    pub endgame: &'a Endgame<'a>,
    /// Attacks the conjunctions that the first round has left open.
    pub attack_open: &'a (dyn Fn(&[usize]) -> Option<Found> + Sync),
    pub batch: usize,
    pub queue_bytes: usize,
    pub deadline: Instant,
}

impl Boxes<'_> {
    /// Records what is refuted and cuts the box for the rest; the bound if it is too small to be cut.
    fn branch(
        &self,
        bounded: BoundedBox,
        queue: &mut Queue<Item>,
        recorder: &mut Option<(&mut Recorder<'_>, RefinementId)>,
    ) -> Option<f64> {
        let BoundedBox { mut item, layers, best, exact, mut influence, left } = bounded;
        let mut open = Vec::new();
        let mut worst = f64::INFINITY;
        for ((&(c, node), best), exact) in item.open.iter().zip(&best).zip(&exact) {
            let bound = best.as_ref().map_or(item.bound, |best| best.bound);
            let node = match recorder {
                Some((recorder, refinement)) => recorder.refine(c, node, *refinement),
                None => node,
            };
            if let Some(best) = best.as_ref().filter(|best| best.bound > 0.0) {
                if let Some((recorder, _)) = recorder {
                    recorder.plain_leaf(c, node, &best.weights);
                }
            } else if let Some(refutation) = exact {
                if let Some((recorder, _)) = recorder {
                    recorder.exact(c, node, refutation);
                }
            } else {
                worst = worst.min(bound);
                open.push((c, node));
            }
        }
        if open.is_empty() {
            return None;
        }
        if influence.is_empty() {
            // There was no time for it, and nothing is known that it did not come with.
            return Some(worst);
        }
        let whole = item
            .whole
            .clone()
            .or_else(|| Whole::new(self.endgame, (&item.lower, &item.upper), &layers, &open).map(Arc::new));
        let shrunk = left.as_ref().is_some_and(|(lower, upper)| (lower, upper) != (&item.lower, &item.upper));
        if let Some((lower, upper)) = left {
            let widths = |item: &Item| item.lower.iter().zip(&item.upper).map(|(l, u)| u - l).collect::<Vec<f64>>();
            let before = widths(&item);
            (item.lower, item.upper) = (lower, upper);
            let shares = widths(&item).into_iter().zip(before);
            influence.iter_mut().zip(shares).for_each(|(i, (new, old))| *i *= if old > 0.0 { new / old } else { 1.0 });
        }
        let Some((index, at)) = longest(&item, &influence) else {
            if !shrunk {
                return Some(worst);
            }
            // What is left of it cannot be cut, but was not looked at.
            let item = Item { open, parent: Some(Arc::new(layers)), bound: worst, whole, ..item };
            queue.push(worst, item.bytes(), item);
            return None;
        };
        if let Some(whole) = &whole {
            whole.spend(self.cost(&item, &layers));
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
            let child =
                Item { lower, upper, open, parent: Some(Arc::clone(&parent)), bound: worst, whole: whole.clone() };
            queue.push(worst, child.bytes(), child);
        }
        None
    }

    /// Decides the wholes that are due, each once.
    fn decide_wholes<'s>(
        &self,
        batch: impl Iterator<Item = &'s Item>,
        recorder: &mut Option<(&mut Recorder<'_>, RefinementId)>,
    ) {
        let mut due: Vec<&Whole> = Vec::new();
        for whole in batch.filter_map(|item| item.whole.as_deref()) {
            if whole.is_due() && !whole.is_decided() && !due.iter().any(|other| std::ptr::eq(*other, whole)) {
                due.push(whole);
            }
        }
        due.par_iter().for_each(|whole| whole.decide(self.endgame));
        if let Some((recorder, _)) = recorder {
            for (c, node, refutation) in due.iter().flat_map(|whole| whole.refutations()) {
                recorder.exact_instead(c, node, refutation);
            }
        }
    }

    /// About the products that bounding a box took.
    fn cost(&self, item: &Item, layers: &Layers) -> u64 {
        let open: usize = (0..layers.lower.len()).map(|position| layers.open(self.setting.exact, position)).sum();
        let rows = open + item.open.len() + 4;
        rows as u64 * self.setting.exact.products()
    }

    /// Bounds a chunk of boxes, and tries the minimisers as counterexamples.
    ///
    /// A conjunction whose bound is within rounding of 0 is decided exactly. What bounds leave of the box is of use where no
    /// proof is recorded: its checker sees boxes cut in two only.
    fn bound(&self, chunk: Vec<Item>, clips: bool) -> (Vec<BoundedBox>, Option<Found>) {
        if Instant::now() >= self.deadline {
            return (chunk.into_iter().map(Self::untouched).collect(), None);
        }
        let program = self.setting.exact;
        let sets = chunk.len();
        let lower: Vec<f64> = chunk.iter().flat_map(|item| &item.lower).copied().collect();
        let upper: Vec<f64> = chunk.iter().flat_map(|item| &item.upper).copied().collect();
        let reach = vec![0.0; lower.len()];
        let mut intervals = vec![OutwardInterval { lower: lower.clone(), upper: upper.clone(), reach }];
        let mut lines: Vec<NodeLines<f64>> = Vec::new();
        let ends = (&lower[..], &upper[..]);
        // Proofs are recorded where boxes are not clipped, and there are no forms in them.
        let over = |set: usize| {
            let own = set * program.network.input_len()..(set + 1) * program.network.input_len();
            self.setting.forms_over(&lower[own.clone()], &upper[own])
        };
        let mut forms: Vec<_> = if clips { (0..sets).map(over).collect() } else { (0..sets).map(|_| None).collect() };
        let have_forms = forms.iter().any(Option::is_some);
        // The margins of the last layers need no interval bounds.
        let last = program.pre.iter().max().copied().unwrap_or_default();
        for id in 0..=last {
            if id > 0 {
                let interval = program.at.enclose(id, &intervals, sets);
                intervals.push(interval);
                if let Some((own, before)) = intervals.split_last_mut() {
                    let n = own.lower.len() / sets;
                    let ends = own.lower.chunks_exact_mut(n).zip(own.upper.chunks_exact_mut(n));
                    for (set, (forms, ends)) in forms.iter_mut().zip(ends).enumerate() {
                        let Some(forms) = forms else { continue };
                        forms.step(program, ends, |node| {
                            let n = program.network.node(node).len();
                            let own = set * n..(set + 1) * n;
                            (&before[node].lower[own.clone()], &before[node].upper[own])
                        });
                    }
                }
            }
            if let Some(position) = program.position[id] {
                let interval = &mut intervals[id];
                meet_parents(&chunk, position, interval);
                if id > 0 && !lines.is_empty() {
                    let most = if have_forms { sets * OPEN_WITH_FORMS } else { usize::MAX };
                    self.crown(position, sets, ends, &lines, interval, most);
                }
                program.push_lines(&mut lines, position, &interval.lower, &interval.upper);
            }
        }
        let layers = (0..sets).map(|set| {
            let of = |values: &dyn Fn(&OutwardInterval<f64>) -> &Vec<f64>| -> Vec<Vec<f64>> {
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
        let Outputs { best, influences, points, targets, left } = self.outputs(&chunk, ends, &lines, clips);
        let mut found = if targets.is_empty() { None } else { self.attack.check(&points, &targets) };
        let mut boxes = Vec::with_capacity(sets);
        let rest = layers.into_iter().zip(best).zip(influences).zip(left);
        for (item, (((layers, best), influence), left)) in chunk.into_iter().zip(rest) {
            let mut exact = Vec::with_capacity(best.len());
            for (&(c, _), best) in item.open.iter().zip(&best) {
                let needed = || best.near || longest(&item, &influence).is_none();
                let ended = match best.bound <= 0.0 && found.is_none() && needed() {
                    true => self.endgame.decide((&item.lower, &item.upper), &layers, Vec::new(), c),
                    false => Ended::Open,
                };
                exact.push(match ended {
                    Ended::Refuted(refutation) => Some(refutation),
                    Ended::Violated(point) => {
                        found = Some(point);
                        None
                    }
                    Ended::Open => None,
                });
            }
            let best = best.into_iter().map(Some).collect();
            boxes.push(BoundedBox { item, layers, best, exact, influence, left });
        }
        (boxes, found)
    }

    /// Intersects the bounds of a position with CROWN's where they leave neurons open, if no more than `most` are.
    fn crown(
        &self,
        position: usize,
        sets: usize,
        (lower, upper): (&[f64], &[f64]),
        lines: &[NodeLines<f64>],
        interval: &mut OutwardInterval<f64>,
        most: usize,
    ) {
        let program = self.setting.exact;
        let (id, n) = (program.pre[position], program.width(position));
        if program.image_of[position].is_some() {
            return;
        }
        let open = |&e: &usize| program.is_open(position, interval.lower[e], interval.upper[e]);
        let elements: Vec<usize> = (0..sets * n).filter(open).collect();
        if elements.len() > most {
            return;
        }
        for elements in elements.chunks(self.rows_per_pass()) {
            if Instant::now() >= self.deadline {
                return;
            }
            let of: Vec<u32> = elements.iter().flat_map(|&e| [(e / n) as u32; 2]).collect();
            let mut rows = vec![0.0; of.len() * n];
            for (place, &e) in elements.iter().enumerate() {
                rows[2 * place * n + e % n] = 1.0;
                rows[(2 * place + 1) * n + e % n] = -1.0;
            }
            let domain = domain((lower, upper), self.setting.ball.as_ref(), lines, &of);
            let (values, errors) = program.at.substitute(&domain, id, rows, of.len(), None, Some(self.rounding));
            let values = self.setting.lowered(values, &errors);
            for (&e, pair) in elements.iter().zip(values.chunks_exact(2)) {
                interval.lower[e] = interval.lower[e].max(pair[0].min(interval.upper[e]));
                interval.upper[e] = interval.upper[e].min((-pair[1]).max(interval.lower[e]));
            }
        }
    }

    /// Neurons per backward pass: fewer where the network is so large that a pass takes long.
    fn rows_per_pass(&self) -> usize {
        let elements = self.setting.exact.elements(self.setting.exact.network.output());
        (ROW_ELEMENTS / elements).clamp(1, ROWS / 2)
    }

    /// A box that there was no time for.
    fn untouched(item: Item) -> BoundedBox {
        let open = item.open.len();
        let best = vec![None; open];
        // Without influences it is not cut.
        let influence = Vec::new();
        let exact = (0..open).map(|_| None).collect();
        BoundedBox { item, layers: Layers::default(), best, exact, influence, left: None }
    }
}

/// Boxes of an item each, cut by the case's ball if it has one.
fn domain<'a>(
    (lower, upper): (&'a [f64], &'a [f64]),
    ball: Option<&'a Ball<f64>>,
    lines: &'a [NodeLines<f64>],
    of: &'a [u32],
) -> Domain<'a, f64> {
    Domain {
        lower,
        upper,
        box_of: SetOf::Listed(of),
        ball,
        lines,
        lines_of: SetOf::Listed(of),
        slopes: None,
        multipliers: None,
    }
}

/// The input to cut and where; none if no cut makes the box smaller.
fn longest(item: &Item, influence: &[f64]) -> Option<(usize, f64)> {
    let middle = |index: usize| 0.5 * (item.lower[index] + item.upper[index]);
    let can_be_cut = |&index: &usize| item.lower[index] < middle(index) && middle(index) < item.upper[index];
    let longest = |a: usize, b: usize| if influence[b] > influence[a] { b } else { a };
    let index = (0..influence.len()).filter(can_be_cut).reduce(longest)?;
    Some((index, middle(index)))
}

/// Intersects the bounds of a position with those of the boxes cut.
fn meet_parents(chunk: &[Item], position: usize, interval: &mut OutwardInterval<f64>) {
    let n = interval.lower.len() / chunk.len();
    for (set, item) in chunk.iter().enumerate() {
        let Some(parent) = &item.parent else { continue };
        let range = set * n..(set + 1) * n;
        interval.lower[range.clone()].iter_mut().zip(&parent.lower[position]).for_each(|(l, &p)| *l = l.max(p));
        interval.upper[range].iter_mut().zip(&parent.upper[position]).for_each(|(u, &p)| *u = u.min(p));
    }
}

/// The boxes of a chunk with what their wholes have left open.
fn without_decided(chunk: Vec<(f64, Item)>, found: &mut Option<Found>) -> Vec<Item> {
    let mut kept = Vec::with_capacity(chunk.len());
    for (_, mut item) in chunk {
        if let Some(whole) = item.whole.clone() {
            item.open.retain(|&(c, _)| match whole.ended(c) {
                Some(WholeEnd::Refuted(_)) => false,
                Some(WholeEnd::Violated(point)) => {
                    *found = found.take().or(Some(point.clone()));
                    true
                }
                Some(WholeEnd::Open) | None => true,
            });
        }
        if !item.open.is_empty() {
            kept.push(item);
        }
    }
    kept
}
