//! Sigmoid and tanh: enclosures that need only the basic operations of IEEE arithmetic, and lines below them.
//!
//! eˣ for −700 ≤ x ≤ 0 is 2^k·eʳ with k the whole number nearest to x/ln 2 and r = (x − k·h) − k·t, where h has so few digits
//! that k·h is exact and h + t differs from ln 2 by less than 2⁻⁸⁵. r is off by at most 2⁻⁵² (the rounding of the first
//! difference, at most half a unit in the last place of 1, and less for the rest), and |r| < 0.35. Taylor's polynomial of
//! degree 16 leaves out less than 0.35¹⁷/17! < 2⁻⁷⁴, and Horner's rule is off by at most 34 roundings of Σ|r|ⁱ/i! (Higham
//! 2002, §5.1), which is at most e^0.7 times the result. In all the relative error is below 2⁻⁴⁶; 2⁻⁴⁴ is taken.

use crate::rounding::{add_down, sub_down};

/// A function that is convex below 0, concave above, and turned about (0, f(0)) by 180° the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Smooth {
    /// 1/(1 + e⁻ᶻ).
    Sigmoid,
    /// (eᶻ − e⁻ᶻ)/(eᶻ + e⁻ᶻ).
    Tanh,
}

/// Relative error of the exponential function.
const ERROR: f64 = 1.0 / (1_u64 << 44) as f64;
/// Where it is taken to be between 0 and what it is here, 9.9e-305.
const LEAST: f64 = -700.0;
/// ln 2 in two parts; the first has 33 digits.
const LN2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];

/// Two numbers between which eˣ lies, x ≤ 0.
pub(crate) fn exponential(x: f64) -> (f64, f64) {
    if x < LEAST {
        return (0.0, 1e-304);
    }
    let k = (x * std::f64::consts::LOG2_E).round();
    let r = (x - k * LN2[0]) - k * LN2[1];
    let sum = (1..=16).rev().fold(1.0, |sum, i| 1.0 + sum * r / f64::from(i));
    // |k| ≤ 1010, so the power is a normal number; that of the standard library is exact for whole exponents only by habit.
    let power = f64::from_bits(((1023 + k as i64) as u64) << 52);
    let y = sum * power;
    ((y * (1.0 - ERROR)).next_down().max(0.0), (y * (1.0 + ERROR)).next_up().min(1.0))
}

/// Two numbers between which a quotient of numbers ≥ 0 lies that grows with the first and falls with the second one.
pub(crate) fn quotient(top: (f64, f64), bottom: (f64, f64)) -> (f64, f64) {
    ((top.0 / bottom.1).next_down().max(0.0), (top.1 / bottom.0).next_up())
}

impl Smooth {
    /// What the exponential function is asked for.
    fn exponent(self, x: f64) -> f64 {
        match self {
            Smooth::Sigmoid => -x.abs(),
            Smooth::Tanh => -2.0 * x.abs(),
        }
    }

    /// 2·f(0).
    fn around(self) -> f64 {
        match self {
            Smooth::Sigmoid => 1.0,
            Smooth::Tanh => 0.0,
        }
    }

    /// Two numbers between which f(x) lies.
    pub(crate) fn at(self, x: f64) -> (f64, f64) {
        let e = exponential(self.exponent(x));
        let sum = ((1.0 + e.0).next_down(), (1.0 + e.1).next_up());
        // e/(1 + e) grows with e, (1 − e)/(1 + e) falls.
        match self {
            Smooth::Sigmoid => {
                let small = ((e.0 / sum.0).next_down().next_down(), (e.1 / sum.1).next_up().next_up());
                let (low, high) = ((small.0 * (1.0 - f64::EPSILON)).max(0.0), small.1 * (1.0 + f64::EPSILON));
                if x <= 0.0 { (low, high.next_up()) } else { ((1.0 - high).next_down(), (1.0 - low).next_up()) }
            }
            Smooth::Tanh => {
                let rest = ((1.0 - e.1).next_down().max(0.0), (1.0 - e.0).next_up());
                let (low, high) = quotient(rest, sum);
                if x >= 0.0 { (low, high) } else { (-high, -low) }
            }
        }
    }

    /// Two numbers between which f′(x) lies.
    fn slope_at(self, x: f64) -> (f64, f64) {
        let e = exponential(self.exponent(x));
        let square = |e: f64| [(1.0 + e).next_down(), (1.0 + e).next_up()].map(|v| v * v);
        // e/(1 + e)² grows with e up to 1.
        let low = (e.0 / square(e.0)[1].next_up()).next_down().max(0.0);
        let high = (e.1 / square(e.1)[0].next_down()).next_up();
        match self {
            Smooth::Sigmoid => (low, high),
            Smooth::Tanh => (4.0 * low, 4.0 * high),
        }
    }

    fn middle_of(pair: (f64, f64)) -> f64 {
        0.5 * (pair.0 + pair.1)
    }

    /// About the d ≤ 0 where f′(d) = slope; 0 where f is nowhere so steep.
    fn place(self, slope: f64) -> f64 {
        let steepest = match self {
            Smooth::Sigmoid => 0.25,
            Smooth::Tanh => 1.0,
        };
        if slope >= steepest {
            return 0.0;
        }
        match self {
            Smooth::Sigmoid => {
                let root = (1.0 - 4.0 * slope).sqrt();
                let s = 2.0 * slope / (1.0 + root);
                (s / (1.0 - s)).ln()
            }
            Smooth::Tanh => {
                let root = (1.0 - slope).sqrt();
                -0.5 * ((1.0 + root) * (1.0 + root) / slope).ln()
            }
        }
    }

    /// The slope of a line on [l, u] below f (or above): CROWN's (Zhang et al. 2018). Below, the chord where f is concave or
    /// the chord does not rise faster than f at l; the tangent at the middle where f is convex, or where it does not rise
    /// above (u, f(u)) from the convex part; else the tangent through (u, f(u)).
    pub(crate) fn slope(self, below: bool, l: f64, u: f64) -> f64 {
        let (l, u) = if below { (l, u) } else { (-u, -l) };
        let value = |x| Self::middle_of(self.at(x));
        let tangent = |x| Self::middle_of(self.slope_at(x));
        let chord = if u - l > 1e-9 { (value(u) - value(l)) / (u - l) } else { tangent(0.5 * (l + u)) };
        if l >= 0.0 || u > 0.0 && chord <= tangent(l) {
            return chord;
        }
        let at_u = value(u);
        let passes_below = |d: f64| tangent(d) * (u - d) + value(d) <= at_u;
        let middle = 0.5 * (l + u);
        if u <= 0.0 || middle < 0.0 && passes_below(middle) {
            return tangent(middle);
        }
        // The tangent at `low` passes below (u, f(u)).
        let (mut low, mut high) = (l, 0.0_f64);
        while high - low > 1e-7 * (1.0 - low) {
            let d = 0.5 * (low + high);
            match passes_below(d) {
                true => low = d,
                false => high = d,
            }
        }
        tangent(low)
    }

    /// A number not above a·f(z) − b·z anywhere on [l, u].
    ///
    /// For a < 0 it is that of |a|·f(w) + b·w − 2·|a|·f(0) for w = −z. For a ≥ 0 the difference is concave on the part above
    /// 0, hence least at an end of it. On the part below, f is above any of its tangents: with a number s between bounds of
    /// f′(d), a·(f(d) + s·(z − d)) − b·z is linear in z and s each, and least at the ends of both.
    pub(crate) fn least(self, a: f64, b: f64, l: f64, u: f64) -> f64 {
        if a < 0.0 {
            let turned = self.least(-a, -b, -u, -l);
            return add_down(turned, (a * self.around()).next_down());
        }
        let at = |x: f64| sub_down((a * self.at(x).0).next_down(), (b * x).next_up());
        if l >= 0.0 {
            return at(l).min(at(u));
        }
        let end = u.min(0.0);
        let d = self.place(if a > 0.0 { b / a } else { 0.0 }).max(l).min(end);
        let d = if d.is_nan() { l } else { d };
        let (low, slopes) = (self.at(d).0, self.slope_at(d));
        let on_tangent = |z: f64| {
            let rise = |s: f64| {
                let (run_low, run_high) = ((z - d).next_down(), (z - d).next_up());
                (s * run_low).next_down().min((s * run_high).next_down())
            };
            let height = add_down(low, rise(slopes.0).min(rise(slopes.1)));
            sub_down((a * height).next_down(), (b * z).next_up())
        };
        let convex = on_tangent(l).min(on_tangent(end));
        if u > 0.0 { convex.min(at(u)) } else { convex }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use tightrope_exact::{Dyadic, Enclosure};

    use super::{Smooth, exponential};

    /// eˣ by Taylor's series in exact arithmetic with a bound of the rest, −16 ≤ x ≤ 0.
    pub(crate) fn exact(x: f64) -> Enclosure {
        // eˣ = (e^(x/2⁸))^(2⁸), |x/2⁸| ≤ 1/16: the rest after 40 terms is below (1/16)⁴¹.
        let small = Enclosure::from(x).scaled(-8);
        let mut sum = Enclosure::from(1.0);
        for i in (1..=40).rev() {
            let factor = small.over(&Enclosure::from(f64::from(i))).unwrap();
            sum = Enclosure::from(1.0).plus(&factor.times(&sum));
        }
        sum.radius += &Dyadic::from(1.0).scaled(-160);
        (0..8).fold(sum, |power, _| power.times(&power))
    }

    fn contains(pair: (f64, f64), number: &Enclosure) -> bool {
        Dyadic::from(pair.0) <= &number.value - &number.radius && &number.value + &number.radius <= Dyadic::from(pair.1)
    }

    /// f(x), exactly but for a radius of some 2⁻¹⁰⁰.
    fn value(f: Smooth, x: f64) -> Enclosure {
        let one = Enclosure::from(1.0);
        let e = exact(f.exponent(x));
        let share = e.over(&one.plus(&e)).unwrap();
        match (f, x < 0.0) {
            (Smooth::Sigmoid, true) => share,
            (Smooth::Sigmoid, false) => one.plus(&share.negated()),
            (Smooth::Tanh, true) => share.scaled(1).plus(&one.negated()),
            (Smooth::Tanh, false) => one.plus(&share.scaled(1).negated()),
        }
    }

    proptest! {
        #[test]
        fn enclosures_contain_the_exact_values(x in -8.0_f64..8.0, power in -30_i32..=0) {
            let x = x * f64::powi(2.0, power);
            prop_assert!(contains(exponential(-x.abs()), &exact(-x.abs())));
            for f in [Smooth::Sigmoid, Smooth::Tanh] {
                let pair = f.at(x);
                let exact_value = value(f, x);
                prop_assert!(contains(pair, &exact_value), "{f:?}({x}) = {} in {pair:?}", exact_value.value.to_f64());
                prop_assert!(pair.1 - pair.0 <= 1e-12);
                let slope = f.slope_at(x);
                let true_slope = match f {
                    Smooth::Sigmoid => exact_value.times(&Enclosure::from(1.0).plus(&exact_value.negated())),
                    Smooth::Tanh => Enclosure::from(1.0).plus(&exact_value.times(&exact_value).negated()),
                };
                prop_assert!(contains(slope, &true_slope), "{f:?}'({x})");
                prop_assert!(slope.1 - slope.0 <= 1e-12);
            }
        }

        /// The constant is below the difference at every point, and not far below at some.
        #[test]
        fn constants_are_below_everywhere(
            a in -3.0_f64..3.0, b in -3.0_f64..3.0, l in -7.0_f64..7.0, width in 0.0_f64..7.0,
            shares in prop::collection::vec(0.0_f64..=1.0, 12),
        ) {
            let (l, u) = (l.min(7.0 - width).max(-8.0), l.min(7.0 - width).max(-8.0) + width);
            for f in [Smooth::Sigmoid, Smooth::Tanh] {
                let slope = f.slope(a > 0.0, l, u);
                prop_assert!((0.0..=1.0 + 1e-9).contains(&slope));
                for b in [b, a * slope] {
                    let constant = f.least(a, b, l, u);
                    let mut least = f64::INFINITY;
                    for share in shares.iter().copied().chain((0..=200).map(|i| f64::from(i) / 200.0)) {
                        let x = (l + share * width).clamp(l, u);
                        let y = value(f, x);
                        let part = Enclosure::from(a).times(&y);
                        let difference = part.plus(&Enclosure::from(b).times(&Enclosure::from(x)).negated());
                        prop_assert!(Dyadic::from(constant) <= &difference.value + &difference.radius, "{f:?} on [{l}, {u}] at {x}");
                        least = least.min(difference.value.to_f64());
                    }
                    prop_assert!(constant >= least - 1e-2 * (1.0 + a.abs() + b.abs()) * (width / 7.0).powi(2) - 1e-11);
                }
            }
        }
    }

    #[test]
    fn far_values_are_enclosed() {
        for x in [-1e300, -800.0, -701.0, -699.0, 40.0, 701.0, 1e300] {
            let (low, high) = Smooth::Sigmoid.at(x);
            assert!(0.0 <= low && low <= high && high <= 1.0 + 1e-15, "{x}: {low} {high}");
            let (low, high) = Smooth::Tanh.at(x);
            assert!(-1.0 - 1e-15 <= low && low <= high && high <= 1.0 + 1e-15, "{x}: {low} {high}");
            assert!((low.abs() - 1.0).abs() < 1e-12);
        }
    }
}
