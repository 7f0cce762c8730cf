//! Numbers m·2^e with whole m of any length.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Mul, Neg, Sub};

use num_bigint::{BigInt, BigUint, Sign};

/// m·2^e, exactly. Zero has the exponent 0, other numbers an odd m, so that equal numbers are equal field by field.
///
/// ```
/// use tightrope_exact::Dyadic;
///
/// let tenth = Dyadic::from(0.1);
/// // 0.1 is not exactly a third of 0.3, nor is its own triple 0.3.
/// assert_ne!(&(&tenth + &tenth) + &tenth, Dyadic::from(0.3));
/// assert_eq!((&tenth + &tenth).to_f64(), 0.2);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Dyadic {
    mantissa: BigInt,
    exponent: i64,
}

impl Dyadic {
    /// mantissa·2^exponent.
    pub fn new(mantissa: BigInt, exponent: i64) -> Self {
        match mantissa.trailing_zeros() {
            None => Dyadic::default(),
            Some(0) => Dyadic { mantissa, exponent },
            Some(zeros) => Dyadic { mantissa: mantissa >> zeros, exponent: exponent + zeros as i64 },
        }
    }

    /// The whole number ≥ 0 with these little-endian bytes.
    pub fn from_natural(bytes: &[u8]) -> Self {
        Dyadic::new(BigUint::from_bytes_le(bytes).into(), 0)
    }

    /// 0.
    pub fn zero() -> Self {
        Dyadic::default()
    }

    /// 1.
    pub fn one() -> Self {
        Dyadic::from(1.0)
    }

    /// m, odd or 0.
    pub fn mantissa(&self) -> &BigInt {
        &self.mantissa
    }

    /// e.
    pub fn exponent(&self) -> i64 {
        self.exponent
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        self.mantissa.sign() == Sign::NoSign
    }

    /// Whether it is < 0.
    pub fn is_negative(&self) -> bool {
        self.mantissa.sign() == Sign::Minus
    }

    /// Whether it is > 0.
    pub fn is_positive(&self) -> bool {
        self.mantissa.sign() == Sign::Plus
    }

    /// |self|.
    pub fn abs(&self) -> Self {
        Dyadic { mantissa: self.mantissa.magnitude().clone().into(), exponent: self.exponent }
    }

    /// self·2^power.
    pub fn scaled(&self, power: i64) -> Self {
        match self.is_zero() {
            true => Dyadic::zero(),
            false => Dyadic { mantissa: self.mantissa.clone(), exponent: self.exponent + power },
        }
    }

    /// The power of two just above |self|: |self| < 2^p ≤ 2·|self|. None for 0.
    pub fn magnitude(&self) -> Option<i64> {
        (!self.is_zero()).then(|| self.mantissa.bits() as i64 + self.exponent)
    }

    /// self += a·b.
    pub fn add_product(&mut self, a: &Dyadic, b: &Dyadic) {
        if !a.is_zero() && !b.is_zero() {
            *self += &(a * b);
        }
    }

    /// The nearest f64, ties to even; infinite beyond the largest one.
    pub fn to_f64(&self) -> f64 {
        let Some(top) = self.magnitude() else { return 0.0 };
        if top > 1024 {
            return if self.is_negative() { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        // The last place of an f64 of this size; subnormal ones share that of the smallest normal one.
        let last = (top - 53).max(-1074);
        let magnitude = self.mantissa.magnitude();
        let dropped = last - self.exponent;
        let rounded = if dropped <= 0 { magnitude << -dropped } else { round(magnitude, dropped as u64) };
        // At most 2^53, so the conversion is exact.
        let digits = rounded.to_u64_digits().first().copied().unwrap_or(0) as f64;
        let value = scale(digits, last);
        if self.is_negative() { -value } else { value }
    }

    /// self rounded towards zero to `bits` significant digits, and a bound of the error.
    pub fn truncated(&self, bits: u64) -> (Self, Self) {
        let length = self.mantissa.bits();
        if length <= bits {
            return (self.clone(), Dyadic::zero());
        }
        let dropped = length - bits;
        let magnitude = BigInt::from_biguint(self.mantissa.sign(), self.mantissa.magnitude() >> dropped);
        let exponent = self.exponent + dropped as i64;
        (Dyadic::new(magnitude, exponent), Dyadic::new(1.into(), exponent))
    }

    /// A number of at most `bits` significant digits that is not below self ≥ 0.
    pub fn above(&self, bits: u64) -> Self {
        let (below, error) = self.truncated(bits);
        &below + &error
    }

    /// The quotient with some `bits` significant digits, rounded towards zero, and a bound of the error (0 if it is
    /// exact). None if `divisor` is 0.
    pub fn quotient(&self, divisor: &Dyadic, bits: u64) -> Option<(Self, Self)> {
        if divisor.is_zero() {
            return None;
        }
        let shift = (bits + divisor.mantissa.bits()).saturating_sub(self.mantissa.bits());
        let numerator = &self.mantissa << shift;
        let whole = &numerator / &divisor.mantissa;
        let exact = &whole * &divisor.mantissa == numerator;
        let exponent = self.exponent - divisor.exponent - shift as i64;
        let error = if exact { Dyadic::zero() } else { Dyadic::new(1.into(), exponent) };
        Some((Dyadic::new(whole, exponent), error))
    }

    /// The square root with some `bits` significant digits, rounded down, and a bound of the error (0 if it is exact).
    /// None below 0.
    pub fn root(&self, bits: u64) -> Option<(Self, Self)> {
        if self.is_negative() {
            return None;
        }
        let mut shift = (2 * bits).saturating_sub(self.mantissa.bits());
        // The exponent is to be halved.
        shift += (self.exponent - shift as i64).rem_euclid(2) as u64;
        let square = self.mantissa.magnitude() << shift;
        let root = square.sqrt();
        let exact = &root * &root == square;
        let exponent = (self.exponent - shift as i64) / 2;
        let error = if exact { Dyadic::zero() } else { Dyadic::new(1.into(), exponent) };
        Some((Dyadic::new(root.into(), exponent), error))
    }
}

/// `magnitude` / 2^dropped, rounded to the nearest whole number, ties to even.
fn round(magnitude: &BigUint, dropped: u64) -> BigUint {
    let whole = magnitude >> dropped;
    let half = dropped - 1;
    let above_half = magnitude.bit(half) && magnitude.trailing_zeros().is_some_and(|zeros| zeros < half);
    let tie_to_even = magnitude.bit(half) && whole.bit(0);
    if above_half || tie_to_even { whole + 1_u32 } else { whole }
}

/// digits·2^exponent, exact wherever the result is an f64.
fn scale(digits: f64, exponent: i64) -> f64 {
    // In two steps: 2^−1074 and 2^1023 are powers of two that f64 has, their products may not be.
    let first = exponent.clamp(-900, 900);
    let power = |e: i64| f64::from_bits(((1023 + e) as u64) << 52);
    digits * power(first) * power(exponent - first)
}

impl From<f64> for Dyadic {
    /// # Panics
    /// If `value` is NaN or infinite.
    fn from(value: f64) -> Self {
        assert!(value.is_finite(), "{value} is no number");
        let bits = value.to_bits();
        let (biased, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        let (digits, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        let sign = if value < 0.0 { Sign::Minus } else { Sign::Plus };
        Dyadic::new(BigInt::from_biguint(sign, digits.into()), exponent)
    }
}

impl Add for &Dyadic {
    type Output = Dyadic;

    fn add(self, other: &Dyadic) -> Dyadic {
        if self.is_zero() {
            return other.clone();
        }
        if other.is_zero() {
            return self.clone();
        }
        let (high, low) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let shift = (high.exponent - low.exponent) as u64;
        Dyadic::new((&high.mantissa << shift) + &low.mantissa, low.exponent)
    }
}

impl AddAssign<&Dyadic> for Dyadic {
    fn add_assign(&mut self, other: &Dyadic) {
        *self = &*self + other;
    }
}

impl Sub for &Dyadic {
    type Output = Dyadic;

    fn sub(self, other: &Dyadic) -> Dyadic {
        self + &-other
    }
}

impl Mul for &Dyadic {
    type Output = Dyadic;

    fn mul(self, other: &Dyadic) -> Dyadic {
        if self.is_zero() || other.is_zero() {
            return Dyadic::zero();
        }
        // A product of odd numbers is odd.
        Dyadic { mantissa: &self.mantissa * &other.mantissa, exponent: self.exponent + other.exponent }
    }
}

impl Neg for &Dyadic {
    type Output = Dyadic;

    fn neg(self) -> Dyadic {
        Dyadic { mantissa: -&self.mantissa, exponent: self.exponent }
    }
}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Self) -> Ordering {
        let difference = self - other;
        match difference.mantissa.sign() {
            Sign::Minus => Ordering::Less,
            Sign::NoSign => Ordering::Equal,
            Sign::Plus => Ordering::Greater,
        }
    }
}

impl fmt::Debug for Dyadic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}·2^{}", self.mantissa, self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Dyadic;

    fn finite() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
    }

    proptest! {
        #[test]
        fn every_f64_comes_back(value in finite()) {
            prop_assert_eq!(Dyadic::from(value).to_f64(), value);
        }

        /// Hardware rounds exact sums and products to the nearest f64, as `to_f64` must.
        #[test]
        fn sums_and_products_round_as_hardware_does(a in finite(), b in finite(), near in -60_i32..60) {
            for b in [b, a * f64::powi(2.0, near) * 1.5].into_iter().filter(|b| b.is_finite()) {
                let (x, y) = (Dyadic::from(a), Dyadic::from(b));
                prop_assert_eq!((&x + &y).to_f64(), a + b);
                prop_assert_eq!((&x - &y).to_f64(), a - b);
                prop_assert_eq!((&x * &y).to_f64(), a * b);
                prop_assert_eq!(x.cmp(&y), a.partial_cmp(&b).unwrap());
            }
        }

        #[test]
        fn quotients_and_roots_are_within_their_error(a in finite(), b in finite()) {
            let (x, y) = (Dyadic::from(a), Dyadic::from(b));
            if let Some((quotient, error)) = x.quotient(&y, 80) {
                let off = (&(&quotient * &y) - &x).abs();
                prop_assert!(off <= &error * &y.abs());
                prop_assert!(error.is_zero() || &error * &Dyadic::from(f64::powi(2.0, 78)) <= quotient.abs());
                prop_assert_eq!(off.is_zero(), error.is_zero());
            }
            if let Some((root, error)) = x.root(80) {
                prop_assert!(&root * &root <= x);
                let above = &root + &error;
                prop_assert!(error.is_zero() && &root * &root == x || &above * &above > x);
            }
        }

        #[test]
        fn truncation_is_within_its_error(a in finite(), b in finite(), bits in 1_u64..60) {
            let product = (&Dyadic::from(a) * &Dyadic::from(b)).abs();
            let (short, error) = product.truncated(bits);
            prop_assert!(short <= product && product <= &short + &error);
            prop_assert!(product.above(bits) >= product);
        }
    }

    #[test]
    fn what_is_exact_is_known_to_be() {
        let number = |value: f64| Dyadic::from(value);
        assert_eq!(number(6.75).quotient(&number(-1.5), 64), Some((number(-4.5), number(0.0))));
        assert_eq!(number(2.25).root(64), Some((number(1.5), number(0.0))));
        assert!(!number(0.125).root(64).unwrap().1.is_zero());
        assert_eq!(number(1.0).quotient(&number(0.0), 64), None);
        assert_eq!(number(-1.0).root(64), None);
        assert_eq!(number(0.0).root(64), Some((number(0.0), number(0.0))));
        assert_eq!((number(3.0).scaled(-2), number(5.0).magnitude()), (number(0.75), Some(3)));
    }
}
