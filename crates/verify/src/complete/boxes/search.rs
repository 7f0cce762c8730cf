//! The search over boxes, round by round.

use std::collections::BTreeSet;
use std::time::Instant;

use rayon::prelude::*;
use tightrope_certificate::RefinementId;

use super::{BoundedBox, Boxes, CHUNK, Item, without_decided};
use crate::complete::mixed::{End, Report, Round, Search};
use crate::complete::point::Found;
use crate::complete::record::Recorder;
use crate::complete::tree::queue::Queue;

/// Where a search over boxes is.
pub(crate) struct BoxSearch<'t, 'a> {
    boxes: &'t Boxes<'a>,
    queue: Queue<Item>,
    /// How the bounds of every box are derived, in a recorded proof.
    refinement: Option<RefinementId>,
    /// Worst bound of what can be cut no further.
    stuck: Option<f64>,
    /// The conjunctions of that.
    left: Vec<usize>,
    round: Round,
    work: u64,
}

impl<'t, 'a> BoxSearch<'t, 'a> {
    /// A search from the whole box for `open`: conjunctions with their nodes in the recorded trees.
    pub(crate) fn new(boxes: &'t Boxes<'a>, open: Vec<(usize, usize)>, refinement: Option<RefinementId>) -> Self {
        let mut queue = Queue::new(boxes.queue_bytes);
        let whole = Item {
            lower: boxes.setting.lower.clone(),
            upper: boxes.setting.upper.clone(),
            open,
            parent: None,
            bound: f64::NEG_INFINITY,
            whole: None,
        };
        queue.push(f64::NEG_INFINITY, whole.bytes(), whole);
        let round = Round { subproblems: 0, open: 1, lower_bound: f64::NEG_INFINITY };
        BoxSearch { boxes, queue, refinement, stuck: None, left: Vec::new(), round, work: 0 }
    }
}

fn least(a: Option<f64>, b: f64) -> f64 {
    a.map_or(b, |a| a.min(b))
}

impl Search for BoxSearch<'_, '_> {
    fn advance(&mut self, mut recorder: Option<&mut Recorder<'_>>, report: Report<'_>, work: u64) -> Option<End> {
        let boxes = self.boxes;
        while self.queue.len() > 0 {
            report(&self.round);
            if Instant::now() >= boxes.deadline {
                return Some(End::Timeout(least(self.stuck, self.queue.worst())));
            }
            if self.work >= work {
                return None;
            }
            let mut recorder = recorder.as_deref_mut().zip(self.refinement);
            let clips = recorder.is_none();
            let (round, chunk) = if boxes.setting.exact.is_large() { (CHUNK, 1) } else { (4 * boxes.batch, CHUNK) };
            let chunks = self.queue.pop_chunks(round, chunk);
            boxes.decide_wholes(chunks.iter().flatten().map(|(_, item)| item), &mut recorder);
            let mut found = None;
            let kept = chunks.into_iter().map(|chunk| without_decided(chunk, &mut found));
            let chunks: Vec<Vec<Item>> = kept.filter(|chunk| !chunk.is_empty()).collect();
            let results: Vec<(Vec<BoundedBox>, Option<Found>)> =
                chunks.into_par_iter().map(|chunk| boxes.bound(chunk, clips)).collect();
            for (bounded, counterexample) in results {
                found = found.or(counterexample);
                for bounded in bounded {
                    self.round.subproblems += 1;
                    self.work = self.work.saturating_add(boxes.cost(&bounded.item, &bounded.layers));
                    let conjunctions: Vec<usize> = bounded.item.open.iter().map(|&(c, _)| c).collect();
                    if let Some(bound) = boxes.branch(bounded, &mut self.queue, &mut recorder) {
                        self.stuck = Some(least(self.stuck, bound));
                        self.left.extend(conjunctions);
                    }
                }
            }
            if let Some(found) = found {
                return Some(End::Violated(found));
            }
            if self.round.subproblems == 1
                && self.queue.len() > 0
                && let Some(found) = (boxes.attack_open)(&self.open())
            {
                return Some(End::Violated(found));
            }
            self.round.open = self.queue.len();
            self.round.lower_bound = least(self.stuck, self.queue.worst());
        }
        report(&self.round);
        Some(End::of(self.stuck, boxes.deadline))
    }

    fn work(&self) -> u64 {
        self.work
    }

    fn round(&self) -> Round {
        self.round
    }

    fn open(&self) -> Vec<usize> {
        let queued = self.queue.iter().flat_map(|item| &item.open).map(|&(conjunction, _)| conjunction);
        queued.chain(self.left.iter().copied()).collect::<BTreeSet<usize>>().into_iter().collect()
    }
}
