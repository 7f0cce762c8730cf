//! Exact rational numbers and the doubles next to them.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

pub type Rational = BigRational;

/// Bits after the point of [`inverse_root`] where the root is irrational.
const ROOT_BITS: usize = 200;

/// A double as the rational number that it is.
pub fn exact(value: f64) -> Rational {
    Rational::from_float(value).expect("a finite number")
}

/// The largest double ≤ `value`.
pub fn floor(value: &Rational) -> f64 {
    let mut guess = value.to_f64().expect("a number in the range of doubles");
    while exact(guess) > *value {
        guess = guess.next_down();
    }
    while exact(guess.next_up()) <= *value {
        guess = guess.next_up();
    }
    guess
}

/// The largest double < `value`.
pub fn below(value: &Rational) -> f64 {
    double(value).map_or_else(|| floor(value), f64::next_down)
}

/// The smallest double > `value`.
pub fn above(value: &Rational) -> f64 {
    floor(value).next_up()
}

/// The double that `value` is, if it is one.
pub fn double(value: &Rational) -> Option<f64> {
    let below = floor(value);
    (exact(below) == *value).then_some(below)
}

/// The least common multiple of the denominators.
pub fn common_denominator<'a>(values: impl Iterator<Item = &'a Rational>) -> BigInt {
    // A sum's denominator is reduced; the product with one denominator after the other is not too large here.
    values.fold(BigInt::one(), |common, value| {
        let missing = Rational::new(value.denom().clone(), common.clone());
        common * missing.numer()
    })
}

/// `value` times `factor`, which its denominator divides.
pub fn times(value: &Rational, factor: &BigInt) -> BigInt {
    value.numer() * (factor / value.denom())
}

/// 1/√value and a bound on the distance to it: zero where the root is rational, 2⁻²⁰⁰ elsewhere.
pub fn inverse_root(value: &Rational) -> (Rational, Rational) {
    assert!(value.is_positive(), "a root of {value}");
    let (upper, lower) = (value.numer().sqrt(), value.denom().sqrt());
    if upper.pow(2) == *value.numer() && lower.pow(2) == *value.denom() {
        return (Rational::new(lower, upper), Rational::zero());
    }
    let root = ((value.denom() << (2 * ROOT_BITS)) / value.numer()).sqrt();
    let unit = BigInt::one() << ROOT_BITS;
    (Rational::new(root, unit.clone()), Rational::new(BigInt::one(), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(a: i64, b: i64) -> Rational {
        Rational::new(a.into(), b.into())
    }

    #[test]
    fn neighbours_of_a_third_and_of_doubles() {
        let third = ratio(1, 3);
        assert_eq!(floor(&third), 1.0 / 3.0, "the nearest double is below a third");
        assert_eq!((below(&third), above(&third)), (1.0 / 3.0, (1.0_f64 / 3.0).next_up()));
        assert_eq!(floor(&-&third), -(1.0_f64 / 3.0).next_up());
        assert_eq!((double(&third), double(&ratio(-3, 8))), (None, Some(-0.375)));
        assert_eq!((below(&ratio(1, 1)), above(&ratio(1, 1))), (1.0_f64.next_down(), 1.0_f64.next_up()));
        assert_eq!((below(&ratio(0, 1)), above(&ratio(0, 1))), (-5e-324, 5e-324));
    }

    #[test]
    fn roots_are_exact_or_close() {
        assert_eq!(inverse_root(&ratio(9, 16)), (ratio(4, 3), ratio(0, 1)));
        let (root, error) = inverse_root(&ratio(2, 1));
        assert!(error.is_positive() && (root.to_f64().unwrap() - 0.5_f64.sqrt()).abs() < 1e-15);
        assert!(&root * &root <= ratio(1, 2) && (&root + &error).pow(2) >= ratio(1, 2));
    }

    #[test]
    fn denominators_have_their_least_multiple() {
        assert_eq!(common_denominator([ratio(1, 6), ratio(3, 4), ratio(5, 1)].iter()), 12.into());
        assert_eq!(times(&ratio(5, 6), &12.into()), 10.into());
    }
}
