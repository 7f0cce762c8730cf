//! The search over neurons, round by round.

use std::collections::BTreeSet;
use std::time::Instant;

use rayon::prelude::*;

use super::queue::Queue;
use super::subproblem::Subproblem;
use super::{CHUNK, Split, Tree};
use crate::complete::mixed::{End, Report, Round, Search};
use crate::complete::point::Found;
use crate::complete::record::Recorder;

/// Where a search over neurons is.
pub(crate) struct TreeSearch<'t, 'a> {
    tree: &'t Tree<'a>,
    queue: Queue<Subproblem>,
    /// Worst bound of what can be split no further.
    stuck: Option<f64>,
    /// The conjunctions of that.
    left: Vec<usize>,
    round: Round,
}

impl<'t, 'a> TreeSearch<'t, 'a> {
    /// A search that begins with `open`.
    pub(crate) fn new(tree: &'t Tree<'a>, open: Vec<(f64, Subproblem)>) -> Self {
        let mut queue = Queue::new(tree.queue_bytes);
        open.into_iter().for_each(|(bound, sub)| queue.push(bound, sub.bytes(), sub));
        let round = Round { subproblems: 0, open: queue.len(), lower_bound: queue.worst() };
        TreeSearch { tree, queue, stuck: None, left: Vec::new(), round }
    }

    /// Products per subproblem: every step goes backward and forward.
    pub(crate) fn price(&self) -> u64 {
        2 * (self.tree.ascent.iterations as u64 + 1) * self.tree.setting.exact.products()
    }
}

fn least(a: Option<f64>, b: f64) -> f64 {
    a.map_or(b, |a| a.min(b))
}

impl Search for TreeSearch<'_, '_> {
    fn advance(&mut self, mut recorder: Option<&mut Recorder<'_>>, report: Report<'_>, work: u64) -> Option<End> {
        while self.queue.len() > 0 {
            report(&self.round);
            if Instant::now() >= self.tree.deadline {
                return Some(End::Timeout(least(self.stuck, self.queue.worst())));
            }
            if self.work() >= work {
                return None;
            }
            let chunks = self.queue.pop_chunks(self.tree.batch, CHUNK);
            self.tree.cut_regions(chunks.iter().flatten().map(|(_, subproblem)| subproblem));
            let results: Vec<(Vec<Split>, Option<Found>)> =
                chunks.into_par_iter().map(|chunk| self.tree.split(chunk, recorder.is_some())).collect();
            let mut found = None;
            for (splits, counterexample) in results {
                found = found.or(counterexample);
                for split in splits {
                    let (recorder, conjunction) = (recorder.as_deref_mut(), split.parent.conjunction);
                    if let Some(bound) = self.tree.settle(split, &mut self.queue, recorder, &mut self.round) {
                        self.stuck = Some(least(self.stuck, bound));
                        self.left.push(conjunction);
                    }
                }
            }
            if let Some(found) = found {
                return Some(End::Violated(found));
            }
            self.round.open = self.queue.len();
            self.round.lower_bound = least(self.stuck, self.queue.worst());
        }
        report(&self.round);
        Some(End::of(self.stuck, self.tree.deadline))
    }

    fn work(&self) -> u64 {
        self.price().saturating_mul(self.round.subproblems as u64)
    }

    fn round(&self) -> Round {
        self.round
    }

    fn open(&self) -> Vec<usize> {
        let queued = self.queue.iter().map(|subproblem| subproblem.conjunction);
        queued.chain(self.left.iter().copied()).collect::<BTreeSet<usize>>().into_iter().collect()
    }
}
