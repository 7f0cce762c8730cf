//! Real numbers known to within a radius, which is 0 wherever a number is exact.

use crate::Dyadic;

/// Significant binary digits kept of what is not exact.
const DIGITS: u64 = 320;
/// Most significant binary digits of what is exact: a chain of products must not grow without end.
const EXACT_DIGITS: u64 = 1 << 12;
/// Significant binary digits kept of a radius.
const RADIUS_DIGITS: u64 = 32;

/// A real number within `radius` of `value`.
///
/// ```
/// use tightrope_exact::{Dyadic, Enclosure};
///
/// let third = Enclosure::from(1.0).over(&Enclosure::from(3.0)).unwrap();
/// assert_eq!(third.value.to_f64(), 1.0 / 3.0);
/// assert!(!third.is_exact() && third.radius < Dyadic::from(1e-90));
/// assert!(Enclosure::from(1.5).over(&Enclosure::from(0.25)).unwrap().is_exact());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enclosure {
    /// The middle.
    pub value: Dyadic,
    /// ≥ 0.
    pub radius: Dyadic,
}

impl From<Dyadic> for Enclosure {
    fn from(value: Dyadic) -> Self {
        Enclosure { value, radius: Dyadic::zero() }
    }
}

impl From<f64> for Enclosure {
    /// # Panics
    /// If `value` is NaN or infinite.
    fn from(value: f64) -> Self {
        Dyadic::from(value).into()
    }
}

impl Enclosure {
    /// Whether nothing is left open.
    pub fn is_exact(&self) -> bool {
        self.radius.is_zero()
    }

    /// Whether the radius is so far below the value, 2^100 times at least, that no f64 arithmetic could tell.
    pub fn is_close(&self) -> bool {
        self.is_exact() || self.radius.scaled(100) <= self.value.abs()
    }

    /// Whether it is exactly this f64.
    pub fn is(&self, value: f64) -> bool {
        self.is_exact() && self.value == Dyadic::from(value)
    }

    /// self·2^power.
    pub fn scaled(&self, power: i64) -> Enclosure {
        Enclosure { value: self.value.scaled(power), radius: self.radius.scaled(power) }
    }

    /// Largest absolute value inside.
    pub fn magnitude(&self) -> Dyadic {
        &self.value.abs() + &self.radius
    }

    /// The sum.
    pub fn plus(&self, other: &Enclosure) -> Enclosure {
        Enclosure { value: &self.value + &other.value, radius: &self.radius + &other.radius }.shortened()
    }

    /// The number with the opposite sign.
    pub fn negated(&self) -> Enclosure {
        Enclosure { value: -&self.value, radius: self.radius.clone() }
    }

    /// The product.
    pub fn times(&self, other: &Enclosure) -> Enclosure {
        // |ab − a'b'| ≤ |a|·s + |b|·r + r·s.
        let mut radius = &self.magnitude() * &other.radius;
        radius.add_product(&other.value.abs(), &self.radius);
        Enclosure { value: &self.value * &other.value, radius }.shortened()
    }

    /// The quotient; none if `divisor` may be 0.
    pub fn over(&self, divisor: &Enclosure) -> Option<Enclosure> {
        let least = &divisor.value.abs() - &divisor.radius;
        if !least.is_positive() {
            return None;
        }
        let (value, error) = self.value.quotient(&divisor.value, DIGITS)?;
        let mut radius = error;
        // |a/b − a'/b'| ≤ (r + |a/b|·s) / (|b| − s).
        let mut spread = self.radius.clone();
        spread.add_product(&(&value.abs() + &radius), &divisor.radius);
        if !spread.is_zero() {
            let (ratio, error) = spread.quotient(&least, RADIUS_DIGITS)?;
            radius = &(&radius + &ratio) + &error;
        }
        Some(Enclosure { value, radius }.shortened())
    }

    /// The square root; none if it may be that of a negative number.
    pub fn root(&self) -> Option<Enclosure> {
        let least = &self.value - &self.radius;
        let (value, error) = self.value.root(DIGITS)?;
        if self.is_exact() {
            return Some(Enclosure { value, radius: error });
        }
        // |√a − √a'| ≤ r / √(a − r).
        let (small, _) = least.root(DIGITS)?;
        let (ratio, more) = self.radius.quotient(&small, RADIUS_DIGITS)?;
        Some(Enclosure { value, radius: &(&error + &ratio) + &more }.shortened())
    }

    /// The same with no more digits than make sense.
    fn shortened(self) -> Enclosure {
        if self.is_exact() && self.value.mantissa().bits() <= EXACT_DIGITS {
            return self;
        }
        let (value, error) = self.value.truncated(DIGITS);
        Enclosure { value, radius: (&self.radius + &error).above(RADIUS_DIGITS) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Enclosure;
    use crate::Dyadic;

    fn contains(enclosure: &Enclosure, value: &Dyadic) -> bool {
        (&enclosure.value - value).abs() <= enclosure.radius
    }

    /// An enclosure of `value` whose middle is off by a share of its radius.
    fn around(value: f64, radius: f64, share: f64) -> Enclosure {
        let radius = Dyadic::from(radius);
        Enclosure { value: &Dyadic::from(value) + &(&radius * &Dyadic::from(share)), radius }
    }

    proptest! {
        #[test]
        fn results_contain_the_true_ones(
            a in -1e3_f64..1e3,
            b in -1e3_f64..1e3,
            shares in prop::array::uniform2(-1.0_f64..=1.0),
            radii in prop::array::uniform2(prop_oneof![Just(0.0), 1e-30_f64..1e-3]),
        ) {
            let (x, y) = (around(a, radii[0], shares[0]), around(b, radii[1], shares[1]));
            let (p, q) = (Dyadic::from(a), Dyadic::from(b));
            prop_assert!(contains(&x.plus(&y), &(&p + &q)));
            prop_assert!(contains(&x.times(&y), &(&p * &q)));
            prop_assert!(contains(&x.negated(), &-&p));
            if let Some(ratio) = x.over(&y) {
                // ratio·b is as near to a as the radius says.
                let off = (&(&ratio.value * &q) - &p).abs();
                prop_assert!(off <= &ratio.radius * &q.abs());
            }
            let square = Enclosure { value: &(&p * &p) + &(&x.radius * &Dyadic::from(shares[1])), radius: x.radius.clone() };
            if let Some(root) = square.root() {
                prop_assert!(contains(&root, &p.abs()));
            }
        }
    }

    #[test]
    fn what_is_left_of_a_difference_may_not_be_close() {
        let third = Enclosure::from(1.0).over(&Enclosure::from(3.0)).unwrap();
        assert!(third.is_close() && Enclosure::default().is_close());
        assert!(!third.plus(&third.negated()).is_close());
        // Taking the nearest f64 away takes some fifty digits, again and again.
        let less = |number: Enclosure| number.plus(&Enclosure::from(-number.value.to_f64()));
        assert!(less(third.clone()).is_close() && !(0..5).fold(third, |number, _| less(number)).is_close());
    }

    #[test]
    fn digits_do_not_pile_up() {
        let third = Enclosure::from(1.0).over(&Enclosure::from(3.0)).unwrap();
        let power = (0..200).fold(third.clone(), |power, _| power.times(&third));
        assert!(power.value.mantissa().bits() <= super::DIGITS && power.radius.mantissa().bits() <= 40);
        assert!(Enclosure::from(1.0).over(&around(0.0, 1e-9, 0.5)).is_none());
    }
}
