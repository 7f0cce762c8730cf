//! Two searches of one case in turn: where splits of neurons no longer move a bound, splits of inputs may refute it at
//! once, and the other way round.

use std::time::Instant;

use super::point::Found;
use super::record::Recorder;

/// How a search ended.
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

impl End {
    /// The end of a search whose queue is empty, `stuck` being the worst bound of what was left open, if anything was.
    pub(crate) fn of(stuck: Option<f64>, deadline: Instant) -> Self {
        match stuck {
            None => End::Refuted,
            // What is left at the end of the time was not looked at.
            Some(bound) if Instant::now() >= deadline => End::Timeout(bound),
            Some(bound) => End::Stuck(bound),
        }
    }
}

/// What a search reports after each round.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    pub subproblems: usize,
    pub open: usize,
    pub lower_bound: f64,
}

/// Hears of every round.
pub(crate) type Report<'r> = &'r mut dyn FnMut(&Round);

/// A search that can be left and taken up again.
pub(crate) trait Search {
    /// Goes on until it ends, or until its work comes to `work`: none then.
    fn advance(&mut self, recorder: Option<&mut Recorder<'_>>, report: Report<'_>, work: u64) -> Option<End>;

    /// About the products it has taken so far. What two searches take is compared by it and not by the clock, so that
    /// results do not depend on the machine.
    fn work(&self) -> u64;

    /// Its last round.
    fn round(&self) -> Round;

    /// The conjunctions that are not refuted yet, in increasing order; those it is stuck at are among them.
    fn open(&self) -> Vec<usize>;
}

/// Another search, with the conjunctions that it takes and the roots of their trees.
pub(crate) type Other<'s> = (Box<dyn Search + 's>, Vec<(usize, usize)>);

/// The other search may take this part of the work of the first.
const SHARE: u64 = 3;

/// A bound nearer to 0 than this is short of a proof by rounding alone, which other splits have as well.
const WITHIN_ROUNDING: f64 = 1e-9;

/// Goes on with `first`; each time that its work has grown by half, beginning with `patience`, the other search gets its
/// share, and what is left once the first is stuck. `other` makes it for the conjunctions that are open when it is needed,
/// if there is one, and tells the roots of their other trees where proofs are recorded.
pub(crate) fn search_both<'s>(
    first: &mut dyn Search,
    patience: u64,
    other: impl FnOnce(&[usize], Option<&mut Recorder<'_>>) -> Option<Other<'s>>,
    mut recorder: Option<&mut Recorder<'_>>,
    report: Report<'_>,
) -> End {
    let mut limit = patience;
    let mut unmade = Some(other);
    let mut second: Option<Other<'s>> = None;
    let mut stuck = None;
    loop {
        let aside = second.as_ref().map_or(0, |(second, _)| second.round().subproblems);
        if stuck.is_none() {
            let all = if unmade.is_none() && second.is_none() { u64::MAX } else { limit };
            let mut tell = |round: &Round| report(&Round { subproblems: round.subproblems + aside, ..*round });
            match first.advance(recorder.as_deref_mut(), &mut tell, all) {
                Some(End::Stuck(bound)) if bound.abs() > WITHIN_ROUNDING => stuck = Some(bound),
                Some(end) => return end,
                None => {}
            }
        }
        if let Some(other) = unmade.take() {
            second = other(&first.open(), recorder.as_deref_mut());
        }
        let own = first.round();
        match (&mut second, stuck) {
            (None, Some(bound)) => return End::Stuck(bound),
            (None, None) => {}
            (Some((search, taken)), _) => {
                let share = if stuck.is_some() { u64::MAX } else { limit / SHARE };
                let mut tell = |round: &Round| {
                    report(&Round {
                        subproblems: own.subproblems + round.subproblems,
                        open: own.open + round.open,
                        ..own
                    });
                };
                match search.advance(recorder.as_deref_mut(), &mut tell, share) {
                    Some(End::Refuted) => {
                        if let Some(recorder) = recorder {
                            taken.iter().for_each(|&(conjunction, node)| recorder.take(conjunction, node));
                        }
                        return End::Refuted;
                    }
                    Some(End::Stuck(_)) => second = None,
                    Some(End::Timeout(_)) => return End::Timeout(own.lower_bound),
                    Some(End::Violated(found)) => return End::Violated(found),
                    None => {}
                }
            }
        }
        limit = limit.saturating_add(limit / 2).max(limit.saturating_add(1));
    }
}
