//! The last word where floating point has none: exact enumeration of the sides of the few kinks that are left.

mod simplex;

use std::time::Instant;

use num_bigint::BigInt;
use tightrope_certificate::{ExactNetwork, Form};
use tightrope_exact::Dyadic;

use super::bound::split::Split;
use super::point::Point;
use super::problem::Conjunction;
use simplex::{Demand, Solution};

/// Most kinks whose sides are enumerated.
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
    pub splits: Vec<Split>,
}

/// How a conjunction is refuted over a set.
#[derive(Debug)]
pub(crate) enum Refutation {
    /// Whole weights of the conjunction's rows and multipliers of the splits, first the set's, then those below.
    Leaf { rows: Vec<BigInt>, multipliers: Vec<BigInt> },
    /// By the sides of a kink: below, then above.
    Split { at: Split, children: Box<[Refutation; 2]> },
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
    /// Kinks by position.
    pub kinks: &'a [Vec<f64>],
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
    /// Kinks in network order, each with its side if the set has split it.
    places: Vec<Place>,
    programs: usize,
}

/// A kink of a neuron.
#[derive(Clone, Copy)]
struct Place {
    position: usize,
    index: usize,
    point: f64,
    /// The split of the set that says on which side of it the neuron is.
    split: Option<usize>,
}

/// The sides chosen so far and the forms that they demand.
#[derive(Default)]
struct Trail {
    /// First the set's splits, then the enumeration's.
    signs: Vec<Split>,
    /// The demand of each form, and the side (or, past those, the row) it comes from.
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
    /// Whether the set's kinks that are neither split nor clearly outside are few enough.
    pub(crate) fn is_feasible(&self, set: &Set<'_>) -> bool {
        let open = (0..self.pre.len()).map(|p| set.unclear(p, &self.kinks[p]).len()).sum::<usize>();
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
            let split = |(place, s): (usize, &Split)| {
                let Split { index, point, .. } = *s;
                (s.position == position).then_some(Place { position, index, point, split: Some(place) })
            };
            places.extend(set.splits.iter().enumerate().filter_map(split));
            let open = set.unclear(position, &self.kinks[position]).into_iter();
            places.extend(open.map(|(index, point)| Place { position, index, point, split: None }));
        }
        let mut search = Search { exact: self, set, conjunction, places, programs: 0 };
        let mut trail = Trail { signs: set.splits.clone(), ..Trail::default() };
        search.descend(&mut trail, 0).unwrap_or(ExactOutcome::Open)
    }
}

impl Set<'_> {
    /// The kinks of a position's neurons that are neither split at nor clear beyond what another evaluation could see
    /// otherwise.
    fn unclear(&self, position: usize, kinks: &[f64]) -> Vec<(usize, f64)> {
        const CLEAR: f64 = 1e-9;
        let (lower, upper) = self.bounds[position];
        let mut unclear = Vec::new();
        for i in 0..lower.len() {
            let size = CLEAR * lower[i].abs().max(upper[i].abs());
            let own = || self.splits.iter().filter(|split| (split.position, split.index) == (position, i));
            for &kink in kinks {
                let is_clear =
                    lower[i] > kink + size || upper[i] < kink - size || own().any(|split| split.decides(kink));
                if !is_clear {
                    unclear.push((i, kink));
                }
            }
        }
        unclear
    }
}

impl Search<'_> {
    /// Goes on from `places[next]`.
    fn descend(&mut self, trail: &mut Trail, next: usize) -> Result<ExactOutcome, GivenUp> {
        if Instant::now() >= self.exact.deadline || self.programs > MOST_PROGRAMS {
            return Err(GivenUp);
        }
        let Some(&Place { position, index, point, split }) = self.places.get(next) else { return self.leaf(trail) };
        let mut row = vec![Dyadic::zero(); self.set.bounds[position].0.len()];
        row[index] = Dyadic::one();
        let mut form = self.form(self.exact.pre[position], row, trail);
        form.constant = &form.constant - &point.into();
        if let Some(place) = split {
            let active = trail.signs[place].above;
            self.demand(trail, form, active, false, Source::Sign(place));
            let decided = self.descend(trail, next + 1);
            trail.pop_demand();
            return decided;
        }
        let mut children = Vec::with_capacity(2);
        for active in [false, true] {
            let place = trail.signs.len();
            trail.signs.push(Split { position, index, point, above: active });
            self.demand(trail, form.clone(), active, false, Source::Sign(place));
            // A side that no input reaches needs no further side.
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
                let at = Split { position, index, point, above: false };
                Ok(ExactOutcome::Refuted(Refutation::Split { at, children: Box::new(children) }))
            }
            Err(_) => Err(GivenUp),
        }
    }

    /// Every side is known: the rows are linear.
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
        let above = |node: usize, index: usize, kink: f64| {
            let position = self.exact.pre.iter().position(|&pre| pre == node).unwrap_or_default();
            let own = |split: &&Split| (split.position, split.index) == (position, index) && split.decides(kink);
            let side = trail.signs.iter().rev().find(own);
            // Without a side it is clear.
            side.map_or_else(|| self.set.bounds[position].0[index] > kink, |split| split.above)
        };
        self.exact.network.form(start, row, self.exact.magnitudes, above)
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
