//! Exponential function, softplus, reciprocal and powers: enclosures that need only the basic operations of IEEE arithmetic,
//! and lines beside them.
//!
//! ln(1 + e) for 0 ≤ e ≤ 1 is 2·Σ t²ⁱ⁺¹/(2i + 1) with t = e/(2 + e) ≤ 1/3. Twenty terms leave out less than 2⁻⁶⁴ of the sum;
//! all terms are positive, so that Horner's rule is off by at most some sixty roundings (Higham 2002, §5.1), and the three
//! of t count less than twice. In all the relative error is below 2⁻⁴⁶; 2⁻⁴⁴ is taken.

use crate::rounding::{add_down, sub_down};
use crate::smooth::{Smooth, exponential, quotient};

/// A function that is convex or concave wherever it has one sign of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Curved {
    /// eᶻ.
    Exp,
    /// ln(1 + eᶻ).
    Softplus,
    /// 1/z.
    Reciprocal,
    /// zⁿ, n ≥ 2.
    Power(u32),
}

/// How a function bends on an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Convex,
    Concave,
    /// Concave below 0, which is inside, and convex above.
    Turning,
    /// Not bounded.
    Broken,
}

/// Two numbers between which another one lies.
type Pair = (f64, f64);

/// Relative error of the logarithm.
const ERROR: f64 = 1.0 / (1_u64 << 44) as f64;

/// Two numbers between which ln(1 + e) lies, 0 ≤ e ≤ 1.
fn logarithm(e: f64) -> Pair {
    let t = e / (2.0 + e);
    let sum = (0..20).rev().fold(0.0, |sum, i| sum * t * t + 1.0 / f64::from(2 * i + 1));
    let y = 2.0 * t * sum;
    ((y * (1.0 - ERROR)).next_down().max(0.0), (y * (1.0 + ERROR)).next_up())
}

/// Two numbers between which xⁿ lies.
fn power(x: f64, exponent: u32) -> Pair {
    let size = x.abs();
    let step = |(low, high): Pair, _| ((low * size).next_down().max(0.0), (high * size).next_up());
    let (low, high) = (1..exponent).fold((size, size), step);
    if x < 0.0 && exponent % 2 == 1 { (-high, -low) } else { (low, high) }
}

/// Two numbers between which the product of numbers of two pairs lies.
fn product(a: Pair, b: Pair) -> Pair {
    let all = [a.0 * b.0, a.0 * b.1, a.1 * b.0, a.1 * b.1];
    if all.iter().any(|value| value.is_nan()) {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let (low, high) = all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    (low.next_down(), high.next_up())
}

fn middle_of((low, high): Pair) -> f64 {
    0.5 * (low + high)
}

impl Curved {
    /// Whether it does not fall anywhere.
    pub(crate) fn is_increasing(self) -> bool {
        match self {
            Curved::Exp | Curved::Softplus => true,
            Curved::Reciprocal => false,
            Curved::Power(exponent) => exponent % 2 == 1,
        }
    }

    fn shape(self, l: f64, u: f64) -> Shape {
        match self {
            Curved::Exp | Curved::Softplus => Shape::Convex,
            Curved::Reciprocal if l <= 0.0 && u >= 0.0 => Shape::Broken,
            Curved::Power(exponent) if exponent % 2 == 0 => Shape::Convex,
            Curved::Reciprocal | Curved::Power(_) if l >= 0.0 => Shape::Convex,
            Curved::Reciprocal | Curved::Power(_) if u <= 0.0 => Shape::Concave,
            Curved::Reciprocal | Curved::Power(_) => Shape::Turning,
        }
    }

    /// Two numbers between which f(x) lies.
    pub(crate) fn at(self, x: f64) -> Pair {
        match self {
            Curved::Exp if x <= 0.0 => exponential(x),
            Curved::Exp => quotient((1.0, 1.0), exponential(-x)),
            Curved::Softplus => {
                let e = exponential(-x.abs());
                let (low, high) = (logarithm(e.0).0, logarithm(e.1).1);
                match x > 0.0 {
                    true => (add_down(x, low), -add_down(-x, -high)),
                    false => (low, high),
                }
            }
            Curved::Reciprocal => ((1.0 / x).next_down(), (1.0 / x).next_up()),
            Curved::Power(exponent) => power(x, exponent),
        }
    }

    /// Two numbers between which f′(x) lies.
    fn slope_at(self, x: f64) -> Pair {
        match self {
            Curved::Exp => self.at(x),
            Curved::Softplus => Smooth::Sigmoid.at(x),
            Curved::Reciprocal => {
                let (low, high) = product(self.at(x), self.at(x));
                (-high, -low)
            }
            Curved::Power(exponent) => {
                let factor = f64::from(exponent);
                product((factor, factor), power(x, exponent - 1))
            }
        }
    }

    /// An interval around the values on [l, u].
    pub(crate) fn interval(self, l: f64, u: f64) -> Pair {
        let (at_l, at_u) = (self.at(l), self.at(u));
        match self {
            Curved::Reciprocal if self.shape(l, u) == Shape::Broken => (f64::NEG_INFINITY, f64::INFINITY),
            Curved::Power(exponent) if exponent % 2 == 0 && l <= 0.0 && u >= 0.0 => (0.0, at_l.1.max(at_u.1)),
            Curved::Exp | Curved::Softplus | Curved::Reciprocal | Curved::Power(_) => {
                (at_l.0.min(at_u.0), at_l.1.max(at_u.1))
            }
        }
    }

    /// About the x of the sign of `side` where f′(x) = slope; NaN where f is nowhere so steep.
    fn place(self, slope: f64, side: f64) -> f64 {
        match self {
            Curved::Exp => slope.ln(),
            Curved::Softplus => (slope / (1.0 - slope)).ln(),
            Curved::Reciprocal => side.signum() / (-slope).sqrt(),
            Curved::Power(exponent) if exponent % 2 == 1 && slope < 0.0 => f64::NAN,
            Curved::Power(exponent) => {
                let root = (slope.abs() / f64::from(exponent)).powf(1.0 / f64::from(exponent - 1));
                root * if exponent % 2 == 0 { slope.signum() } else { side.signum() }
            }
        }
    }

    /// The slope of a line on [l, u] below f (or above): where f is convex, that of the tangent at the middle below and of
    /// the chord above, and the other way round where it is concave. Where it turns, below, that of the tangent at the
    /// middle, or farther right at the place whose tangent passes through (l, f(l)), or of the chord if there is none.
    pub(crate) fn slope(self, below: bool, l: f64, u: f64) -> f64 {
        let value = |x| middle_of(self.at(x));
        let tangent = |x| middle_of(self.slope_at(x));
        let middle = l + 0.5 * (u - l);
        let chord = || {
            let wide = u - l > 1e-9 * (l.abs() + u.abs());
            if wide { (value(u) - value(l)) / (u - l) } else { tangent(middle) }
        };
        match self.shape(l, u) {
            Shape::Convex => {
                if below {
                    tangent(middle)
                } else {
                    chord()
                }
            }
            Shape::Concave => {
                if below {
                    chord()
                } else {
                    tangent(middle)
                }
            }
            Shape::Broken => 0.0,
            Shape::Turning => {
                let (l, u) = if below { (l, u) } else { (-u, -l) };
                // The tangent at `high` passes below (l, f(l)).
                let (mut low, mut high) = (0.0, -l);
                let at_l = value(l);
                while high - low > 1e-12 * high {
                    let d = 0.5 * (low + high);
                    match value(d) + tangent(d) * (l - d) <= at_l {
                        true => high = d,
                        false => low = d,
                    }
                }
                if high >= u { (value(u) - at_l) / (u - l) } else { tangent(high.max(0.5 * (l + u))) }
            }
        }
    }

    /// A number not above a·f(z) − b·z anywhere on [l, u].
    ///
    /// On a part where a·f is concave the difference is least at an end. On one where it is convex, a·f is above any of its
    /// tangents: with a number s between bounds of f′(d), a·(f(d) + s·(z − d)) − b·z is linear in z and s each, and least at
    /// the ends of both.
    pub(crate) fn least(self, a: f64, b: f64, l: f64, u: f64) -> f64 {
        let is_convex = match self.shape(l, u) {
            Shape::Broken => return f64::NEG_INFINITY,
            Shape::Turning => return self.least(a, b, l, 0.0).min(self.least(a, b, 0.0, u)),
            Shape::Convex => a >= 0.0,
            Shape::Concave => a < 0.0,
        };
        let scaled = |pair: Pair| product((a, a), pair).0;
        let least_of = |values: [f64; 2]| match values.iter().any(|value| value.is_nan()) {
            true => f64::NEG_INFINITY,
            false => values[0].min(values[1]),
        };
        if !is_convex {
            return least_of([l, u].map(|z| sub_down(scaled(self.at(z)), (b * z).next_up())));
        }
        let d = self.place(b / a, if l >= 0.0 { 1.0 } else { -1.0 });
        let d = if d.is_nan() {
            // Nowhere so steep: the difference rises or falls all the way.
            let rises = a * middle_of(self.slope_at(l + 0.5 * (u - l))) > b;
            if rises { l } else { u }
        } else {
            d.max(l).min(u)
        };
        let (value, slopes) = (self.at(d), self.slope_at(d));
        least_of([l, u].map(|z| {
            let rise = product(slopes, ((z - d).next_down(), (z - d).next_up()));
            sub_down(add_down(scaled(value), scaled(rise)), (b * z).next_up())
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tightrope_exact::{Dyadic, Enclosure};

    use super::Curved;
    use crate::smooth::tests::exact as exponential;

    const ALL: [Curved; 7] = [
        Curved::Exp,
        Curved::Softplus,
        Curved::Reciprocal,
        Curved::Power(2),
        Curved::Power(3),
        Curved::Power(4),
        Curved::Power(7),
    ];

    fn ends(number: &Enclosure) -> (Dyadic, Dyadic) {
        (&number.value - &number.radius, &number.value + &number.radius)
    }

    /// eˣ for |x| ≤ 16.
    fn exp(x: f64) -> Enclosure {
        match x > 0.0 {
            true => Enclosure::from(1.0).over(&exponential(-x)).unwrap(),
            false => exponential(x),
        }
    }

    /// f(x), exactly but for a small radius; of softplus e^f(x).
    fn value(f: Curved, x: f64) -> Enclosure {
        match f {
            Curved::Exp => exp(x),
            Curved::Softplus => Enclosure::from(1.0).plus(&exp(x)),
            Curved::Reciprocal => Enclosure::from(1.0).over(&Enclosure::from(x)).unwrap(),
            Curved::Power(n) => (1..n).fold(Enclosure::from(x), |power, _| power.times(&Enclosure::from(x))),
        }
    }

    fn contains(f: Curved, pair: (f64, f64), x: f64) -> bool {
        let (low, high) = ends(&value(f, x));
        match f {
            Curved::Softplus => ends(&exp(pair.0)).0 <= low && high <= ends(&exp(pair.1)).1,
            Curved::Exp | Curved::Reciprocal | Curved::Power(_) => {
                Dyadic::from(pair.0) <= low && high <= Dyadic::from(pair.1)
            }
        }
    }

    /// Whether f is asked at x: reciprocals not at 0.
    fn is_asked(f: Curved, l: f64, u: f64) -> bool {
        f != Curved::Reciprocal || l > 0.01 || u < -0.01
    }

    proptest! {
        #[test]
        fn enclosures_contain_the_exact_values(x in -7.0_f64..7.0, power in -30_i32..=0) {
            let x = x * f64::powi(2.0, power);
            for f in ALL.into_iter().filter(|f| *f != Curved::Reciprocal || x != 0.0) {
                let pair = f.at(x);
                prop_assert!(contains(f, pair, x), "{f:?}({x}) in {pair:?}");
                prop_assert!(pair.1 - pair.0 <= 1e-12 * (1.0 + pair.0.abs()), "{f:?}({x}) in {pair:?}");
                // The slope by its relation to the values.
                let slope = f.slope_at(x);
                let true_slope = match f {
                    Curved::Exp => exp(x),
                    Curved::Softplus => exp(x).over(&Enclosure::from(1.0).plus(&exp(x))).unwrap(),
                    Curved::Reciprocal => value(f, x).times(&value(f, x)).negated(),
                    Curved::Power(2) => Enclosure::from(2.0 * x),
                    Curved::Power(n) => Enclosure::from(f64::from(n)).times(&value(Curved::Power(n - 1), x)),
                };
                let (low, high) = ends(&true_slope);
                prop_assert!(Dyadic::from(slope.0) <= low && high <= Dyadic::from(slope.1), "{f:?}'({x})");
                prop_assert!(slope.1 - slope.0 <= 1e-12 * (1.0 + slope.0.abs()));
            }
        }

        /// The constant is below the difference at every point, and not far below at some.
        #[test]
        fn constants_are_below_everywhere(
            a in -3.0_f64..3.0, b in -3.0_f64..3.0, l in -7.0_f64..7.0, width in 0.0_f64..7.0,
            shares in prop::collection::vec(0.0_f64..=1.0, 12),
        ) {
            let l = l.min(7.0 - width);
            let u = l + width;
            for f in ALL.into_iter().filter(|f| is_asked(*f, l, u)) {
                let slope = f.slope(a > 0.0, l, u);
                for b in [b, a * slope] {
                    let constant = f.least(a, b, l, u);
                    let (mut least, mut size) = (f64::INFINITY, 0.0_f64);
                    for share in shares.iter().copied().chain((0..=200).map(|i| f64::from(i) / 200.0)) {
                        let x = (l + share * width).clamp(l, u);
                        let (low, high) = f.at(x);
                        let (shortest, longest) = f.interval(l, u);
                        prop_assert!(shortest <= low && high <= longest, "{f:?} on [{l}, {u}] at {x}");
                        // The values are those of the other test.
                        let part = |y: f64| &Dyadic::from(a) * &Dyadic::from(y);
                        let other = &Dyadic::from(b) * &Dyadic::from(x);
                        let most = if a >= 0.0 { high } else { low };
                        let difference = &part(most) - &other;
                        prop_assert!(Dyadic::from(constant) <= difference, "{f:?} on [{l}, {u}] at {x}");
                        least = least.min(difference.to_f64());
                        size = size.max((a * most).abs() + (b * x).abs());
                    }
                    let allowed = 1e-2 * size * (width / 7.0).powi(2) + 1e-11 * (1.0 + size);
                    prop_assert!(constant >= least - allowed, "{f:?} on [{l}, {u}]: {constant}, not {least}");
                }
            }
        }
    }

    #[test]
    fn far_values_are_enclosed() {
        for x in [-1e300, -800.0, -701.0, 701.0, 1e300] {
            let (low, high) = Curved::Exp.at(x);
            assert!(0.0 <= low && low <= high, "{x}: {low} {high}");
            let (low, high) = Curved::Softplus.at(x);
            assert!(x.max(0.0) * (1.0 - 1e-15) <= high && low <= x.max(0.0) + 1.0, "{x}: {low} {high}");
        }
        assert_eq!(Curved::Reciprocal.interval(-1.0, 2.0), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(Curved::Reciprocal.interval(0.0, 2.0), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(Curved::Reciprocal.least(1.0, 0.0, 0.0, 2.0), f64::NEG_INFINITY);
        assert_eq!(Curved::Power(2).interval(-1.0, 0.5).0, 0.0);
    }
}
