//! Counterexamples: points of a case's box whose outputs exact arithmetic shows to be unsafe.

use std::sync::OnceLock;

use tightrope_certificate::ExactNetwork;
use tightrope_engine::Ball;
use tightrope_engine::OutwardInterval;
use tightrope_engine::Real;
use tightrope_exact::{Dyadic, Enclosure};
use tightrope_network::Weights;
use tightrope_vnnlib::{Case, Constraint};

use super::ball;
use super::bound::handle::Handle;

/// numerators / denominator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub numerators: Vec<Dyadic>,
    /// > 0.
    pub denominator: Dyadic,
}

impl Point {
    /// The nearest point of f64 numbers.
    fn rounded(&self) -> Vec<f64> {
        let coordinate = |n: &Dyadic| n.quotient(&self.denominator, 120).map_or(0.0, |(value, _)| value.to_f64());
        self.numerators.iter().map(coordinate).collect()
    }

    /// The coordinates as fractions.
    fn fractions(&self) -> Vec<String> {
        let fraction = |n: &Dyadic| {
            // Both over one power of two.
            let least = n.exponent().min(self.denominator.exponent());
            let whole = |n: &Dyadic| n.mantissa() << (n.exponent() - least).max(0);
            let (top, bottom) = (whole(n), whole(&self.denominator));
            if n.is_zero() { "0".into() } else { format!("{top}/{bottom}") }
        };
        self.numerators.iter().map(fraction).collect()
    }
}

/// A confirmed counterexample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The input.
    pub input: Vec<f64>,
    /// The output there, to the last place of f64 or two.
    pub output: Vec<f64>,
    /// The point itself, where no f64 one near it is a counterexample.
    pub fractions: Option<Vec<String>>,
}

/// Confirms counterexamples of one case.
pub(crate) struct Judge<'a> {
    pub program: &'a Handle<'a, f64>,
    pub weights: &'a Weights,
    /// Made when it is needed first.
    pub exact: &'a OnceLock<Option<ExactNetwork>>,
    pub case: &'a Case,
    /// The ball that cuts the case's box.
    pub ball: Option<&'a Ball<f64>>,
}

/// Most products of an evaluation that is done exactly: a few seconds.
const MOST_PRODUCTS: u64 = 1 << 24;
/// Most weights held as exact numbers, of some two hundred bytes each.
const MOST_WEIGHTS: usize = 1 << 21;
/// Most inputs whose neighbours are tried one combination after the other.
const NEIGHBOURS: usize = 8;

impl Judge<'_> {
    /// The network in exact arithmetic, if it is not too large for that.
    pub(crate) fn exact(&self) -> Option<&ExactNetwork> {
        let make = || {
            let affordable = self.weights.theta().len() <= MOST_WEIGHTS && self.program.products() <= MOST_PRODUCTS;
            // The weights have been checked before the search.
            affordable.then(|| ExactNetwork::new(self.program.network, self.weights).ok()).flatten()
        };
        self.exact.get_or_init(make).as_ref()
    }

    /// Whether the real-valued network's output at `input` satisfies every row; the output if it does.
    ///
    /// Interval arithmetic at the point decides unless it is too close; then exact arithmetic does.
    pub(crate) fn confirm(&self, input: &[f64], rows: &[Constraint]) -> Option<Found> {
        if !self.case.contains(input) || self.ball.is_some_and(|ball| !ball::contains(ball, input)) {
            return None;
        }
        let output = self.enclosed(input);
        let mut surely = true;
        for row in rows {
            let [low, high] = range(row, &output);
            match row.strict {
                _ if low > row.bound || row.strict && low >= row.bound => return None,
                true => surely &= high < row.bound,
                false => surely &= high <= row.bound,
            }
        }
        let middle = output.lower.iter().zip(&output.upper).map(|(l, u)| 0.5 * (l + u)).collect();
        let found = |output| Found { input: input.iter().map(|v| v + 0.0).collect(), output, fractions: None };
        if surely {
            return Some(found(middle));
        }
        let exact = self.exact()?;
        let numerators: Vec<Dyadic> = input.iter().map(|&x| x.into()).collect();
        let output = exact.output(&numerators, &Dyadic::one());
        rows.iter()
            .all(|row| satisfied(row, &output, &Dyadic::one()))
            .then(|| found(output.iter().map(|y| y.value.to_f64()).collect()))
    }

    /// A counterexample at or beside a point that satisfies every row exactly.
    pub(crate) fn settle(&self, point: &Point, rows: &[Constraint]) -> Option<Found> {
        let nearest = point.rounded();
        let clamp = |(i, x): (usize, f64)| {
            let (mut low, mut high) = (self.case.lower[i], self.case.upper[i]);
            if self.case.open_lower.binary_search(&(i as u32)).is_ok() {
                low = low.next_up();
            }
            if self.case.open_upper.binary_search(&(i as u32)).is_ok() {
                high = high.next_down();
            }
            x.max(low).min(high)
        };
        let inside = |x: Vec<f64>| -> Vec<f64> { x.into_iter().enumerate().map(clamp).collect() };
        let varying: Vec<usize> = (0..nearest.len()).filter(|&i| self.case.lower[i] < self.case.upper[i]).collect();
        if let Some(found) = self.confirm(&inside(nearest.clone()), rows) {
            return Some(found);
        }
        if varying.len() <= NEIGHBOURS {
            // Each coordinate at the nearest f64, the one below or the one above.
            for code in 1..3_usize.pow(varying.len() as u32) {
                let mut x = nearest.clone();
                let mut rest = code;
                for &i in &varying {
                    x[i] = match rest % 3 {
                        0 => x[i],
                        1 => x[i].next_down(),
                        _ => x[i].next_up(),
                    };
                    rest /= 3;
                }
                if let Some(found) = self.confirm(&inside(x), rows) {
                    return Some(found);
                }
            }
        }
        // No f64 point will do; the real one does if exact arithmetic says so once more, from the input on, and if it is
        // surely inside where an end is but near the exact one.
        if self.ball.is_some() || !self.is_surely_inside(point) {
            return None;
        }
        let output = self.exact()?.output(&point.numerators, &point.denominator);
        let met = rows.iter().all(|row| satisfied(row, &output, &point.denominator));
        met.then(|| {
            let value = |y: &Enclosure| y.value.quotient(&point.denominator, 120).map_or(0.0, |(y, _)| y.to_f64());
            Found {
                input: inside(nearest),
                output: output.iter().map(value).collect(),
                fractions: Some(point.fractions()),
            }
        })
    }

    /// Whether a point of the box is not beyond the last f64 inside, where an end is rounded.
    fn is_surely_inside(&self, point: &Point) -> bool {
        let scaled = |end: f64| &Dyadic::from(end) * &point.denominator;
        let above = |&i: &u32| point.numerators[i as usize] >= scaled(self.case.lower[i as usize].next_up());
        let below = |&i: &u32| point.numerators[i as usize] <= scaled(self.case.upper[i as usize].next_down());
        self.case.rounded_lower.iter().all(above) && self.case.rounded_upper.iter().all(below)
    }

    /// Interval arithmetic with every rounding outwards, at one point.
    fn enclosed(&self, input: &[f64]) -> OutwardInterval<f64> {
        let reach = vec![0.0; input.len()];
        let mut intervals = vec![OutwardInterval { lower: input.to_vec(), upper: input.to_vec(), reach }];
        for id in 1..self.program.network.nodes().len() {
            let next = self.program.at.enclose(id, &intervals, 1);
            intervals.push(next);
        }
        intervals.pop().unwrap_or_default()
    }
}

/// What row·y can be for y in `output`, every rounding outwards.
fn range(row: &Constraint, output: &OutwardInterval<f64>) -> [f64; 2] {
    let (mut low, mut high, mut size) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (&c, (&l, &u)) in row.coefficients.iter().zip(output.lower.iter().zip(&output.upper)) {
        let (a, b) = if c >= 0.0 { (c * l, c * u) } else { (c * u, c * l) };
        low += a;
        high += b;
        size += a.abs().max(b.abs());
    }
    let error = (row.coefficients.len() + 4) as f64 * f64::EPSILON * size + f64::MIN_POSITIVE;
    [low - error, high + error]
}

/// Whether row·(output / scale) ≤ bound (or <) beyond doubt.
fn satisfied(row: &Constraint, output: &[Enclosure], scale: &Dyadic) -> bool {
    let mut most = -&(&Dyadic::from(row.bound) * scale);
    for (&c, y) in row.coefficients.iter().zip(output) {
        let c = Dyadic::from(c);
        most.add_product(&c, &y.value);
        most.add_product(&c.abs(), &y.radius);
    }
    if row.strict { most.is_negative() } else { !most.is_positive() }
}

/// Whether f32 arithmetic of a program sees the same at the nearest f32 point.
pub(crate) fn seen_in_single<T: Real>(program: &Handle<'_, T>, input: &[f64], rows: &[Constraint]) -> bool {
    let nearest: Vec<T> = input.iter().map(|&x| T::from_f32(x as f32)).collect();
    let output = program.outputs(&nearest);
    rows.iter().all(|row| {
        let value: f64 = row.coefficients.iter().zip(&output).map(|(c, y)| c * y.to_f64()).sum();
        if row.strict { value < row.bound } else { value <= row.bound }
    })
}
