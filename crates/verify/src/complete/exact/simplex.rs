//! The largest of some linear forms made as small as possible over a box, exactly, strict inequalities included.
//!
//! The simplex method on whole numbers: a dictionary holds every basic variable as (β + Σ T·n)/D in the nonbasic ones, D
//! the last pivot, and no step leaves a remainder (Edmonds 1967; Bareiss 1968). A strict form g < 0 counts as
//! g + ε ≤ 0 and an open end as one moved inwards by ε, with an ε below every number, so right-hand sides are pairs. Bland's
//! rule keeps it from going in circles.

use std::cmp::Ordering;
use std::time::Instant;

use num_bigint::{BigInt, Sign};
use tightrope_exact::Dyadic;

/// A form a·y + b of the unit box's points that shall be ≤ 0, or < 0 if it is strict.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub coefficients: Vec<Dyadic>,
    pub constant: Dyadic,
    pub strict: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Solution {
    /// A point y = numerators / denominator that satisfies all demands, as far inside as there is room.
    Point { numerators: Vec<BigInt>, denominator: BigInt },
    /// Weights ≥ 0 with which the forms' sum is > 0 on the box, or 0 only where a strict demand or an open end fails.
    Refuted(Vec<BigInt>),
}

/// a + b·ε.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair(BigInt, BigInt);

impl Pair {
    fn plain(value: BigInt) -> Self {
        Pair(value, BigInt::ZERO)
    }

    fn times(&self, factor: &BigInt) -> Pair {
        Pair(&self.0 * factor, &self.1 * factor)
    }

    fn plus(&self, other: &Pair) -> Pair {
        Pair(&self.0 + &other.0, &self.1 + &other.1)
    }

    fn minus(&self, other: &Pair) -> Pair {
        Pair(&self.0 - &other.0, &self.1 - &other.1)
    }

    fn over(&self, divisor: &BigInt) -> Pair {
        Pair(&self.0 / divisor, &self.1 / divisor)
    }

    fn compare(&self, other: &Pair) -> Ordering {
        self.0.cmp(&other.0).then_with(|| self.1.cmp(&other.1))
    }

    fn sign(&self) -> Ordering {
        self.compare(&Pair::plain(BigInt::ZERO))
    }
}

/// A variable: y_i for i < d, then the slacks of the forms, then t.
type Variable = usize;

struct Dictionary {
    /// D.
    divisor: BigInt,
    basic: Vec<Variable>,
    beta: Vec<Pair>,
    /// T by row.
    entries: Vec<Vec<BigInt>>,
    nonbasic: Vec<Variable>,
    /// Upper bounds of the variables; none for no bound.
    width: Vec<Option<Pair>>,
    /// Whether a variable stands for its distance from the upper bound.
    flipped: Vec<bool>,
}

/// Decides the demands over 0 ≤ y ≤ 1; `open` tells of each y whether its lower and its upper end are left out.
///
/// None once the time is out.
pub(crate) fn decide(demands: &[Demand], open: &[[bool; 2]], deadline: Instant) -> Option<Solution> {
    let (d, m) = (open.len(), demands.len());
    let middle = |numerators: Vec<BigInt>| Solution::Point { numerators, denominator: BigInt::from(2) };
    if m == 0 {
        return Some(middle(vec![BigInt::from(1); d]));
    }
    let forms = whole(demands);
    // y_i = lo_i·ε + n_i with n_i ≤ 1 − (lo_i + hi_i)·ε.
    let one = |bit: bool| BigInt::from(u8::from(bit));
    let mut width: Vec<Option<Pair>> =
        open.iter().map(|ends| Some(Pair(1.into(), -(one(ends[0]) + one(ends[1]))))).collect();
    width.resize(d + m + 1, None);
    let shifted = |(a, b): &(Vec<BigInt>, BigInt), strict: bool| {
        let moved: BigInt = a.iter().zip(open).filter(|(_, ends)| ends[0]).map(|(a, _)| a).sum();
        Pair(b.clone(), moved + one(strict))
    };
    let betas: Vec<Pair> = forms.iter().zip(demands).map(|(form, demand)| shifted(form, demand.strict)).collect();
    // The first pivot: t enters as high as the largest form demands at y = 0.
    let first = (1..m).fold(0, |best, j| if betas[j].compare(&betas[best]).is_gt() { j } else { best });
    let mut dictionary = Dictionary {
        divisor: 1.into(),
        basic: Vec::with_capacity(m),
        beta: Vec::with_capacity(m),
        entries: Vec::with_capacity(m),
        nonbasic: (0..d).chain([d + first]).collect(),
        width,
        flipped: vec![false; d + m + 1],
    };
    let mut row = forms[first].0.clone();
    row.push(1.into());
    dictionary.push(d + m, betas[first].clone(), row);
    for j in (0..m).filter(|&j| j != first) {
        let mut row: Vec<BigInt> = forms[first].0.iter().zip(&forms[j].0).map(|(a, b)| a - b).collect();
        row.push(1.into());
        dictionary.push(d + j, betas[first].minus(&betas[j]), row);
    }
    while let Some(entering) = dictionary.entering() {
        if Instant::now() >= deadline {
            return None;
        }
        dictionary.step(entering);
    }
    if dictionary.beta[0].sign().is_gt() {
        let mut weights = vec![BigInt::ZERO; m];
        for (place, &variable) in dictionary.nonbasic.iter().enumerate().filter(|(_, v)| (d..d + m).contains(*v)) {
            weights[variable - d].clone_from(&dictionary.entries[0][place]);
        }
        return Some(Solution::Refuted(weights));
    }
    let (numerators, denominator) = dictionary.point(open);
    Some(Solution::Point { numerators, denominator })
}

/// The forms as whole numbers, all multiplied by the same power of two.
fn whole(demands: &[Demand]) -> Vec<(Vec<BigInt>, BigInt)> {
    let numbers = || demands.iter().flat_map(|demand| demand.coefficients.iter().chain([&demand.constant]));
    let least = numbers().filter(|n| !n.is_zero()).map(Dyadic::exponent).min().unwrap_or(0);
    let integer = |n: &Dyadic| if n.is_zero() { BigInt::ZERO } else { n.mantissa() << (n.exponent() - least) };
    let form = |demand: &Demand| (demand.coefficients.iter().map(integer).collect(), integer(&demand.constant));
    demands.iter().map(form).collect()
}

impl Dictionary {
    fn push(&mut self, variable: Variable, beta: Pair, entries: Vec<BigInt>) {
        self.basic.push(variable);
        self.beta.push(beta);
        self.entries.push(entries);
    }

    /// A nonbasic variable whose growth lowers t, the first by number; none at the optimum.
    fn entering(&self) -> Option<usize> {
        let lowers = |place: &usize| self.entries[0][*place].sign() == Sign::Minus;
        (0..self.nonbasic.len()).filter(lowers).min_by_key(|&place| self.nonbasic[place])
    }

    /// Lets the nonbasic variable at `place` grow until something is in its way.
    fn step(&mut self, place: usize) {
        // (row, room, speed): row's variable ends after room / speed; the entering one itself has no row.
        let mut tightest: Option<(Option<usize>, Pair, BigInt, Variable)> = None;
        let mut offer = |row: Option<usize>, room: Pair, speed: BigInt, variable: Variable| {
            let better = match &tightest {
                None => true,
                Some((_, least, its, other)) => {
                    room.times(its).compare(&least.times(&speed)).then(variable.cmp(other)).is_lt()
                }
            };
            if better {
                tightest = Some((row, room, speed, variable));
            }
        };
        let variable = self.nonbasic[place];
        if let Some(width) = &self.width[variable] {
            offer(None, width.times(&self.divisor), self.divisor.clone(), variable);
        }
        for row in 1..self.basic.len() {
            let entry = &self.entries[row][place];
            match (entry.sign(), &self.width[self.basic[row]]) {
                (Sign::Minus, _) => offer(Some(row), self.beta[row].clone(), -entry, self.basic[row]),
                (Sign::Plus, Some(width)) => {
                    let room = width.times(&self.divisor).minus(&self.beta[row]);
                    offer(Some(row), room, entry.clone(), self.basic[row]);
                }
                _ => {}
            }
        }
        // t cannot fall without end: the forms are bounded on the box.
        let Some((row, ..)) = tightest else { unreachable!("a bounded program has an optimum") };
        match row {
            None => self.flip_nonbasic(place),
            Some(row) => {
                if self.entries[row][place].sign() == Sign::Plus {
                    self.flip_basic(row);
                }
                self.pivot(row, place);
            }
        }
    }

    /// Lets a nonbasic variable stand at its upper bound.
    fn flip_nonbasic(&mut self, place: usize) {
        let variable = self.nonbasic[place];
        self.flipped[variable] = !self.flipped[variable];
        let Some(width) = self.width[variable].clone() else { return };
        for (beta, entries) in self.beta.iter_mut().zip(&mut self.entries) {
            *beta = beta.plus(&width.times(&entries[place]));
            entries[place] = -&entries[place];
        }
    }

    /// Lets a basic variable stand for its distance from its upper bound.
    fn flip_basic(&mut self, row: usize) {
        let variable = self.basic[row];
        self.flipped[variable] = !self.flipped[variable];
        let Some(width) = &self.width[variable] else { return };
        self.beta[row] = width.times(&self.divisor).minus(&self.beta[row]);
        self.entries[row].iter_mut().for_each(|entry| *entry = -&*entry);
    }

    /// Exchanges the basic variable of `row`, now 0, for the nonbasic one at `place`, whose entry is negative.
    fn pivot(&mut self, row: usize, place: usize) {
        let next = -&self.entries[row][place];
        let (own_beta, own_entries) = (self.beta[row].clone(), self.entries[row].clone());
        for other in (0..self.basic.len()).filter(|&other| other != row) {
            let factor = std::mem::take(&mut self.entries[other][place]);
            let beta = self.beta[other].times(&next).plus(&own_beta.times(&factor));
            self.beta[other] = beta.over(&self.divisor);
            for (column, entry) in self.entries[other].iter_mut().enumerate().filter(|(column, _)| *column != place) {
                *entry = (&*entry * &next + &factor * &own_entries[column]) / &self.divisor;
            }
            self.entries[other][place] = -factor;
        }
        self.entries[row][place] = -&self.divisor;
        std::mem::swap(&mut self.basic[row], &mut self.nonbasic[place]);
        self.divisor = next;
    }

    /// The values of y for an ε small enough, over a common denominator.
    fn point(&self, open: &[[bool; 2]]) -> (Vec<BigInt>, BigInt) {
        let d = open.len();
        // Every basic variable keeps to its bounds, and t to 0, as long as ε ≤ value / −slope for those that fall.
        let mut least: (BigInt, BigInt) = (1.into(), 4.into());
        let mut limit = |pair: &Pair| {
            let falls = pair.1.sign() == Sign::Minus && pair.0.sign() == Sign::Plus;
            // pair.0 / −pair.1 < least.0 / least.1
            if falls && &pair.0 * &least.1 < -(&pair.1) * &least.0 {
                least = (pair.0.clone(), -&pair.1);
            }
        };
        for (row, &variable) in self.basic.iter().enumerate() {
            match row {
                0 => limit(&Pair(-&self.beta[0].0, -&self.beta[0].1)),
                _ => {
                    limit(&self.beta[row]);
                    if let Some(width) = &self.width[variable] {
                        limit(&width.times(&self.divisor).minus(&self.beta[row]));
                    }
                }
            }
        }
        // Half of what is possible.
        let (epsilon, unit) = (least.0, least.1 * 2);
        let value = |pair: &Pair| &pair.0 * &unit + &pair.1 * &epsilon;
        let denominator = &self.divisor * &unit;
        let mut y = vec![BigInt::ZERO; d];
        for (row, &variable) in self.basic.iter().enumerate().filter(|(_, v)| **v < d) {
            y[variable] = value(&self.beta[row]);
        }
        for (i, y) in y.iter_mut().enumerate() {
            if self.flipped[i]
                && let Some(width) = &self.width[i]
            {
                *y = value(&width.times(&self.divisor)) - &*y;
            }
            if open[i][0] {
                *y += &epsilon * &self.divisor;
            }
        }
        (y, denominator)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use num_bigint::BigInt;
    use proptest::prelude::*;
    use tightrope_exact::Dyadic;

    use super::{Demand, Solution, decide};

    fn demand(coefficients: &[f64], constant: f64, strict: bool) -> Demand {
        let coefficients = coefficients.iter().map(|&a| a.into()).collect();
        Demand { coefficients, constant: constant.into(), strict }
    }

    fn solve(demands: &[Demand], open: &[[bool; 2]]) -> Solution {
        decide(demands, open, Instant::now() + Duration::from_secs(20)).unwrap()
    }

    /// Checks the answer against its own meaning, and returns whether it is a point.
    fn checked(demands: &[Demand], open: &[[bool; 2]]) -> bool {
        let number = |n: &BigInt| Dyadic::new(n.clone(), 0);
        match solve(demands, open) {
            Solution::Point { numerators, denominator } => {
                let scale = number(&denominator);
                for (y, [low, high]) in numerators.iter().map(number).zip(open) {
                    assert!(!y.is_negative() && y <= scale, "{demands:?}");
                    assert!(!(*low && y.is_zero() || *high && y == scale), "{demands:?}");
                }
                for demand in demands {
                    let mut value = &demand.constant * &scale;
                    demand.coefficients.iter().zip(&numerators).for_each(|(a, y)| value.add_product(a, &number(y)));
                    let met = if demand.strict { value.is_negative() } else { !value.is_positive() };
                    assert!(met, "{demands:?} at {numerators:?} / {denominator}");
                }
                true
            }
            Solution::Refuted(weights) => {
                let mut form = vec![Dyadic::zero(); open.len()];
                let (mut bound, mut strict) = (Dyadic::zero(), false);
                for (weight, demand) in weights.iter().map(number).zip(demands) {
                    assert!(!weight.is_negative());
                    form.iter_mut().zip(&demand.coefficients).for_each(|(sum, a)| sum.add_product(&weight, a));
                    bound.add_product(&weight, &demand.constant);
                    strict |= demand.strict && !weight.is_zero();
                }
                for (a, [low, high]) in form.iter().zip(open) {
                    if a.is_negative() {
                        bound += a;
                    }
                    strict |= a.is_positive() && *low || a.is_negative() && *high;
                }
                assert!(bound.is_positive() || bound.is_zero() && strict, "{demands:?} by {weights:?}: {bound:?}");
                false
            }
        }
    }

    #[test]
    fn boundaries_are_told_apart() {
        let closed = [[false; 2]; 2];
        let corner = |constant: f64, strict: bool| [demand(&[-1.0, -1.0], constant, strict)];
        // y0 + y1 ≥ 2 at one corner only.
        assert!(checked(&corner(2.0, false), &closed));
        assert!(!checked(&corner(2.0, true), &closed));
        assert!(!checked(&corner(2.0, false), &[[false, true], [false; 2]]));
        assert!(checked(&corner(2.0 - f64::EPSILON, true), &[[false, true], [false, true]]));
        assert!(!checked(&corner(2.0 + 2.0 * f64::EPSILON, false), &closed));
        // Equalities: y0 = y1 = 1/3.
        let third = [
            demand(&[3.0, 0.0], -1.0, false),
            demand(&[-3.0, 0.0], 1.0, false),
            demand(&[1.0, -1.0], 0.0, false),
            demand(&[-1.0, 1.0], 0.0, false),
        ];
        assert!(checked(&third, &closed));
        let mut strict = third.to_vec();
        strict.push(demand(&[0.0, 3.0], -1.0, true));
        assert!(!checked(&strict, &closed));
        assert!(checked(&[], &closed));
        assert!(!checked(&[demand(&[], 0.0, true)], &[]));
        assert!(checked(&[demand(&[], 0.0, false)], &[]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Small whole coefficients, so that ties and degenerate corners abound; the answer is checked as it claims.
        #[test]
        fn answers_are_what_they_claim(
            rows in prop::collection::vec((prop::array::uniform3(-3_i8..=3), -4_i8..=4, any::<bool>()), 1..7),
            open in prop::array::uniform3(prop::array::uniform2(prop::bool::weighted(0.2))),
            scale in -80_i32..80,
        ) {
            let factor = f64::powi(2.0, scale);
            let demands: Vec<Demand> = rows
                .iter()
                .map(|(a, b, strict)| demand(&a.map(|a| f64::from(a) * factor), f64::from(*b) * factor, *strict))
                .collect();
            let met = checked(&demands, &open);
            // A grid point that satisfies all contradicts a refutation.
            for index in 0..125_usize {
                let y = [index % 5, index / 5 % 5, index / 25].map(|n| n as f64 / 4.0);
                let inside = y.iter().zip(&open).all(|(y, [low, high])| !(*low && *y == 0.0 || *high && *y == 1.0));
                let meets = rows.iter().all(|(a, b, strict)| {
                    let value: f64 = a.iter().zip(y).map(|(a, y)| f64::from(*a) * y).sum::<f64>() + f64::from(*b);
                    if *strict { value < 0.0 } else { value <= 0.0 }
                });
                prop_assert!(met || !(inside && meets), "{y:?} satisfies {demands:?}");
            }
        }
    }
}
