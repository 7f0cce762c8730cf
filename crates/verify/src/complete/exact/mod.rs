//! The last word where floating point has none: exact enumeration of the signs of the few ReLUs that are left.

mod simplex;

use std::time::Instant;

use num_bigint::BigInt;
use tightrope_certificate::{ExactNetwork, Form};
use tightrope_exact::Dyadic;

use super::point::Point;
use super::problem::Conjunction;
use super::tree::region::Sign;
use simplex::{Demand, Solution};

/// Most ReLUs whose signs are enumerated.
const MOST_OPEN: usize = 24;
/// Most linear programs of one call.
const MOST_PROGRAMS: usize = 1 << 13;
/// Most products of exact numbers that the forms of one path may take.
const MOST_PRODUCTS: u64 = 1 << 24;
/// Most entries of a program.
const MOST_ENTRIES: usize = 1 << 16;

/// A set of inputs: a box, cut by splits, with bounds of the pre-activations.
pub(crate) struct Set<'a> {
    pub lower: &'a [f64],
    pub upper: &'a [f64],
    /// Inputs whose ends do not belong to the set: lower and upper.
    pub open: Vec<[bool; 2]>,
    /// Bounds of the pre-activations by position.
    pub bounds: Vec<(&'a [f64], &'a [f64])>,
    /// The splits, from the root.
    pub splits: Vec<Sign>,
}

/// How a conjunction is refuted over a set.
#[derive(Debug)]
pub(crate) enum Refutation {
    /// Whole weights of the conjunction's rows and multipliers of the splits, first the set's, then those below.
    Leaf { rows: Vec<BigInt>, multipliers: Vec<BigInt> },
    /// By the sign of a ReLU: inactive, then active.
    Split { position: usize, index: usize, children: Box<[Refutation; 2]> },
}

/// What came of a set.
pub(crate) enum ExactOutcome {
    Refuted(Refutation),
    /// A point of the set that satisfies the conjunction, as exact arithmetic says.
    Violated(Point),
    /// Too much work, or too near to the truth for the enclosures of numbers that are not binary.
    Open,
}

/// What decides exactly.
pub(crate) struct Exact<'a> {
    pub network: &'a ExactNetwork,
    /// Pre-activation nodes by position.
    pub pre: &'a [usize],
    pub output: usize,
    /// Bounds of |z| by node; needed only where the network has numbers that are not exact.
    pub magnitudes: &'a [Vec<f64>],
    pub deadline: Instant,
}

/// One enumeration.
struct Search<'a> {
    exact: &'a Exact<'a>,
    set: &'a Set<'a>,
    conjunction: &'a Conjunction,
    /// ReLUs in network order, each with its sign if the set has split it.
    places: Vec<(usize, usize, Option<usize>)>,
    programs: usize,
}

/// The signs chosen so far and the forms that they demand.
#[derive(Default)]
struct Trail {
    /// (position, element, active): first the set's splits, then the enumeration's.
    signs: Vec<Sign>,
    /// The demand of each form, and the sign (or, past those, the row) it comes from.
    demands: Vec<Demand>,
    radii: Vec<Dyadic>,
    sources: Vec<Source>,
}

#[derive(Clone, Copy)]
enum Source {
    Sign(usize),
    Row(usize),
}

/// Nothing can be told.
struct GivenUp;

impl Exact<'_> {
    /// Whether the set's ReLUs that are neither split nor clearly stable are few enough.
    pub(crate) fn is_feasible(&self, set: &Set<'_>) -> bool {
        let open = (0..self.pre.len()).map(|p| set.unclear(p).count()).sum::<usize>();
        let forms = (open + set.splits.len()) as u64 + 8;
        open <= MOST_OPEN
            && forms.saturating_mul(self.network.products()) <= MOST_PRODUCTS
            && (set.lower.len() + 1) * forms as usize <= MOST_ENTRIES
    }

    /// Decides whether an input of `set` satisfies every row of `conjunction`.
    pub(crate) fn decide(&self, set: &Set<'_>, conjunction: &Conjunction) -> ExactOutcome {
        if !self.is_feasible(set) {
            return ExactOutcome::Open;
        }
        let mut places = Vec::new();
        for position in 0..self.pre.len() {
            let split = |(place, &(p, index, _)): (usize, &Sign)| (p == position).then_some((p, index, Some(place)));
            places.extend(set.splits.iter().enumerate().filter_map(split));
            places.extend(set.unclear(position).map(|index| (position, index, None)));
        }
        let mut search = Search { exact: self, set, conjunction, places, programs: 0 };
        let mut trail = Trail { signs: set.splits.clone(), ..Trail::default() };
        search.descend(&mut trail, 0).unwrap_or(ExactOutcome::Open)
    }
}

impl Set<'_> {
    /// The neurons of a position that are neither split nor stable beyond what another evaluation could see otherwise.
    fn unclear(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        const CLEAR: f64 = 1e-9;
        let (lower, upper) = self.bounds[position];
        let is_split = move |index: usize| self.splits.iter().any(|&(p, i, _)| (p, i) == (position, index));
        (0..lower.len()).filter(move |&i| {
            let size = CLEAR * lower[i].abs().max(upper[i].abs());
            !(lower[i] > size || upper[i] < -size || is_split(i))
        })
    }
}

impl Search<'_> {
    /// Goes on from `places[next]`.
    fn descend(&mut self, trail: &mut Trail, next: usize) -> Result<ExactOutcome, GivenUp> {
        if Instant::now() >= self.exact.deadline || self.programs > MOST_PROGRAMS {
            return Err(GivenUp);
        }
        let Some(&(position, index, split)) = self.places.get(next) else { return self.leaf(trail) };
        let mut row = vec![Dyadic::zero(); self.set.bounds[position].0.len()];
        row[index] = Dyadic::one();
        let form = self.form(self.exact.pre[position], row, trail);
        if let Some(place) = split {
            let active = trail.signs[place].2;
            self.demand(trail, form, active, false, Source::Sign(place));
            let decided = self.descend(trail, next + 1);
            trail.pop_demand();
            return decided;
        }
        let mut children = Vec::with_capacity(2);
        for active in [false, true] {
            let place = trail.signs.len();
            trail.signs.push((position, index, active));
            self.demand(trail, form.clone(), active, false, Source::Sign(place));
            // A side that no input reaches needs no further sign.
            let decided = match self.program(trail)? {
                Ok(_) => self.descend(trail, next + 1),
                Err(refutation) => Ok(ExactOutcome::Refuted(refutation)),
            };
            trail.pop_demand();
            trail.signs.pop();
            match decided? {
                ExactOutcome::Refuted(refutation) => children.push(refutation),
                other => return Ok(other),
            }
        }
        match <[Refutation; 2]>::try_from(children) {
            Ok(children) => {
                Ok(ExactOutcome::Refuted(Refutation::Split { position, index, children: Box::new(children) }))
            }
            Err(_) => Err(GivenUp),
        }
    }

    /// Every sign is known: the rows are linear.
    fn leaf(&mut self, trail: &mut Trail) -> Result<ExactOutcome, GivenUp> {
        let rows = self.conjunction.rows();
        for (r, row) in rows.iter().enumerate() {
            let coefficients = row.coefficients.iter().map(|&c| c.into()).collect();
            let mut form = self.form(self.exact.output, coefficients, trail);
            form.constant = &form.constant - &row.bound.into();
            self.demand(trail, form, false, row.strict, Source::Row(r));
        }
        let solution = match self.by_one_row(trail) {
            Some(refutation) => Ok(Err(refutation)),
            None => self.program(trail),
        };
        (0..rows.len()).for_each(|_| trail.pop_demand());
        Ok(match solution? {
            Ok(point) => ExactOutcome::Violated(point),
            Err(refutation) => ExactOutcome::Refuted(refutation),
        })
    }

    /// Whether the weighted sum of the forms refutes them, numbers that are not exact taken at their worst.
    ///
    /// The rows are combined before they are followed to the input: what cancels has no radius.
    fn refutes(&self, trail: &Trail, weights: &[BigInt]) -> bool {
        let mut radius = Dyadic::zero();
        if !self.exact.network.is_exact() {
            let mut joint = vec![Dyadic::zero(); self.conjunction.outputs()];
            for ((weight, source), own) in weights.iter().zip(&trail.sources).zip(&trail.radii) {
                let weight = Dyadic::new(weight.clone(), 0);
                match *source {
                    Source::Sign(_) => radius.add_product(&weight, own),
                    Source::Row(r) => {
                        let coefficients = &self.conjunction.rows()[r].coefficients;
                        joint.iter_mut().zip(coefficients).for_each(|(sum, &c)| sum.add_product(&weight, &c.into()));
                    }
                }
            }
            if joint.iter().any(|c| !c.is_zero()) {
                radius += &self.form(self.exact.output, joint, trail).radius;
            }
        }
        trail.refute(weights, &radius, &self.set.open)
    }

    /// The refutation by a single row, which a program may overlook in favour of one with more forms, whose radii then
    /// spoil it.
    fn by_one_row(&self, trail: &Trail) -> Option<Refutation> {
        let first = trail.demands.len() - self.conjunction.len();
        (0..self.conjunction.len()).find_map(|r| {
            let mut weights = vec![BigInt::ZERO; trail.demands.len()];
            weights[first + r] = 1.into();
            self.refutes(trail, &weights).then(|| {
                let mut rows = vec![BigInt::ZERO; self.conjunction.len()];
                rows[r] = 1.into();
                Refutation::Leaf { rows, multipliers: vec![BigInt::ZERO; trail.signs.len()] }
            })
        })
    }

    fn form(&self, start: usize, row: Vec<Dyadic>, trail: &Trail) -> Form {
        let active = |node: usize, index: usize| {
            let position = self.exact.pre.iter().position(|&pre| pre == node).unwrap_or_default();
            let sign = trail.signs.iter().rev().find(|&&(p, i, _)| (p, i) == (position, index));
            // Without a sign it is clearly stable.
            sign.map_or_else(|| self.set.bounds[position].0[index] > 0.0, |&(_, _, active)| active)
        };
        self.exact.network.form(start, row, self.exact.magnitudes, active)
    }

    /// Demands form ≤ 0 (−form ≤ 0 if `negate`), as a form of the unit box.
    fn demand(&self, trail: &mut Trail, form: Form, negate: bool, strict: bool, source: Source) {
        let sign = |value: &Dyadic| if negate { -value } else { value.clone() };
        let mut constant = form.constant;
        let mut coefficients = Vec::with_capacity(form.coefficients.len());
        for (i, a) in form.coefficients.iter().enumerate() {
            let (lower, upper) = (Dyadic::from(self.set.lower[i]), Dyadic::from(self.set.upper[i]));
            constant.add_product(a, &lower);
            coefficients.push(sign(&(a * &(&upper - &lower))));
        }
        trail.demands.push(Demand { coefficients, constant: sign(&constant), strict });
        trail.radii.push(form.radius);
        trail.sources.push(source);
    }

    /// A point that satisfies the demands, or what refutes them.
    fn program(&mut self, trail: &Trail) -> Result<Result<Point, Refutation>, GivenUp> {
        self.programs += 1;
        let solution = simplex::decide(&trail.demands, &self.set.open, self.exact.deadline).ok_or(GivenUp)?;
        match solution {
            Solution::Point { numerators, denominator } => {
                let denominator = Dyadic::new(denominator, 0);
                let coordinate = |(i, numerator): (usize, BigInt)| {
                    let (lower, upper) = (Dyadic::from(self.set.lower[i]), Dyadic::from(self.set.upper[i]));
                    &(&lower * &denominator) + &(&(&upper - &lower) * &Dyadic::new(numerator, 0))
                };
                let numerators = numerators.into_iter().enumerate().map(coordinate).collect();
                Ok(Ok(Point { numerators, denominator }))
            }
            Solution::Refuted(weights) => {
                if !self.exact.network.is_exact() && !self.refutes(trail, &weights) {
                    return Err(GivenUp);
                }
                let mut rows = vec![BigInt::ZERO; self.conjunction.len()];
                let mut multipliers = vec![BigInt::ZERO; trail.signs.len()];
                for (weight, source) in weights.into_iter().zip(&trail.sources) {
                    match *source {
                        Source::Sign(place) => multipliers[place] = weight,
                        Source::Row(r) => rows[r] = weight,
                    }
                }
                Ok(Err(Refutation::Leaf { rows, multipliers }))
            }
        }
    }
}

impl Trail {
    fn pop_demand(&mut self) {
        self.demands.pop();
        self.radii.pop();
        self.sources.pop();
    }

    /// Whether the weighted sum of the forms, lowered by `radius`, is positive over the box, or 0 where a strict demand or
    /// an open end fails.
    fn refute(&self, weights: &[BigInt], radius: &Dyadic, open: &[[bool; 2]]) -> bool {
        let inputs = self.demands.first().map_or(0, |demand| demand.coefficients.len());
        let mut form = vec![Dyadic::zero(); inputs];
        let (mut bound, mut strict) = (Dyadic::zero(), false);
        for (weight, demand) in weights.iter().zip(&self.demands) {
            let weight = Dyadic::new(weight.clone(), 0);
            strict |= demand.strict && !weight.is_zero();
            form.iter_mut().zip(&demand.coefficients).for_each(|(sum, a)| sum.add_product(&weight, a));
            bound.add_product(&weight, &demand.constant);
        }
        bound = &bound - radius;
        for (a, [low, high]) in form.iter().zip(open) {
            if a.is_negative() {
                bound += a;
            }
            strict |= a.is_positive() && *low || a.is_negative() && *high;
        }
        bound.is_positive() || bound.is_zero() && strict
    }
}
