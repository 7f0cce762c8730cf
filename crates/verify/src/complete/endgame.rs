//! One case's way to exact decisions: what floating point leaves within rounding of 0.

use std::sync::OnceLock;
use std::time::Instant;

use tightrope_engine::OutwardInterval;

use super::attack::CaseAttack;
use super::bound::root::{Layers, Setting};
use super::bound::split::Split;
use super::exact::{Exact, ExactOutcome, Refutation, Set};
use super::point::Found;
use super::problem::Conjunction;

/// Decides parts of one case exactly.
pub(crate) struct Endgame<'a> {
    pub setting: &'a Setting<'a>,
    pub attack: &'a CaseAttack<'a>,
    pub conjunctions: &'a [Conjunction],
    pub deadline: Instant,
    /// Bounds of |z| by node over the case's box.
    magnitudes: OnceLock<Vec<Vec<f64>>>,
}

/// What came of a part.
pub(crate) enum Ended {
    Refuted(Refutation),
    Violated(Found),
    Open,
}

impl<'a> Endgame<'a> {
    pub(crate) fn new(
        setting: &'a Setting<'a>,
        attack: &'a CaseAttack<'a>,
        conjunctions: &'a [Conjunction],
        deadline: Instant,
    ) -> Self {
        Endgame { setting, attack, conjunctions, deadline, magnitudes: OnceLock::new() }
    }

    /// About the products of exact numbers that deciding a part takes where `layers` bound its pre-activations; none if it
    /// is too much.
    pub(crate) fn price(&self, layers: &Layers, conjunction: usize) -> Option<u64> {
        const MOST_OPEN: usize = 8;
        let mut open = 0;
        for (position, kinks) in self.setting.exact.kinks.as_ref()?.iter().enumerate() {
            let ends = || layers.lower[position].iter().zip(&layers.upper[position]);
            open += kinks.iter().map(|kink| ends().filter(|(l, u)| *l <= kink && *u >= kink).count()).sum::<usize>();
        }
        let forms = (open + self.conjunctions[conjunction].len()) as u64;
        (open <= MOST_OPEN).then(|| (forms * self.setting.exact.products()) << open)
    }

    /// Decides a conjunction over the box [`lower`, `upper`] cut by `splits`, `layers` being bounds of its
    /// pre-activations.
    pub(crate) fn decide(
        &self,
        (lower, upper): (&[f64], &[f64]),
        layers: &Layers,
        splits: Vec<Split>,
        conjunction: usize,
    ) -> Ended {
        let conjunction = &self.conjunctions[conjunction];
        let judge = &self.attack.judge;
        let case = judge.case;
        let Some(kinks) = &self.setting.exact.kinks else { return Ended::Open };
        let Some(network) = judge.exact() else { return Ended::Open };
        let is_open =
            |list: &[u32], i: usize, end: f64, whole: f64| end == whole && list.binary_search(&(i as u32)).is_ok();
        let open = |i: usize| {
            [
                is_open(&case.open_lower, i, lower[i], case.lower[i]),
                is_open(&case.open_upper, i, upper[i], case.upper[i]),
            ]
        };
        if !network.is_exact() && self.magnitudes().iter().flatten().any(|magnitude| !magnitude.is_finite()) {
            return Ended::Open;
        }
        let bounds = layers.lower.iter().zip(&layers.upper).map(|(l, u)| (&l[..], &u[..])).collect();
        let set = Set { lower, upper, open: (0..lower.len()).map(open).collect(), bounds, splits };
        let program = self.setting.exact;
        let exact = Exact {
            network,
            pre: &program.pre,
            kinks,
            output: program.network.output(),
            magnitudes: if network.is_exact() { &[] } else { self.magnitudes() },
            deadline: self.deadline,
        };
        match exact.decide(&set, conjunction) {
            ExactOutcome::Refuted(refutation) => Ended::Refuted(refutation),
            ExactOutcome::Violated(point) => {
                judge.settle(&point, conjunction.rows()).map_or(Ended::Open, Ended::Violated)
            }
            ExactOutcome::Open => Ended::Open,
        }
    }

    fn magnitudes(&self) -> &[Vec<f64>] {
        self.magnitudes.get_or_init(|| self.make_magnitudes())
    }

    fn make_magnitudes(&self) -> Vec<Vec<f64>> {
        let (lower, upper) = (self.setting.lower.clone(), self.setting.upper.clone());
        let mut intervals = vec![OutwardInterval { reach: vec![0.0; lower.len()], lower, upper }];
        for id in 1..self.setting.exact.network.nodes().len() {
            let next = self.setting.exact.at.enclose(id, &intervals, 1);
            intervals.push(next);
        }
        intervals.iter().map(OutwardInterval::magnitude).collect()
    }
}
