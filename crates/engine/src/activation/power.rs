//! Whole powers, xⁿ: convex for even n; for odd n concave below 0 and convex above.

use super::curved::{Curve, Extreme, Shape};
use crate::Real;

/// xⁿ, n ≥ 2.
#[derive(Debug)]
pub(super) struct Power<T> {
    exponent: u32,
    /// For odd n the k for which the tangent at k passes through (−1, −1), or a little more; so does that at k·|x| through
    /// (x, xⁿ) for any x < 0.
    touch: T,
}

/// The k ∈ (0, 1) with (n − 1)·kⁿ + n·kⁿ⁻¹ = 1, whose left side grows: that of the tangent's height at −1.
fn touch(exponent: u32) -> f64 {
    let n = f64::from(exponent);
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let k: f64 = 0.5 * (low + high);
        let below = power(k, exponent - 1);
        if (n - 1.0) * below * k + n * below < 1.0 {
            low = k;
        } else {
            high = k;
        }
    }
    high * (1.0 + 1e-12)
}

/// xⁿ by multiplications.
fn power<T: Real>(x: T, exponent: u32) -> T {
    (1..exponent).fold(if exponent == 0 { T::ONE } else { x }, |power, _| power * x)
}

impl<T: Real> Power<T> {
    pub(super) fn new(exponent: u32) -> Self {
        Power { exponent, touch: T::from_f64(touch(exponent)) }
    }

    fn is_odd(&self) -> bool {
        self.exponent % 2 == 1
    }

    fn factor(&self) -> T {
        T::from_f64(f64::from(self.exponent))
    }
}

impl<T: Real> Curve<T> for Power<T> {
    fn at(&self, x: T) -> T {
        power(x, self.exponent)
    }

    fn slope(&self, x: T) -> T {
        self.factor() * power(x, self.exponent - 1)
    }

    fn curvature(&self, x: T) -> T {
        self.factor() * (self.factor() - T::ONE) * power(x, self.exponent - 2)
    }

    /// Σ uⁱ·lⁿ⁻¹⁻ⁱ.
    fn chord(&self, l: T, u: T) -> T {
        (1..self.exponent).fold(T::ONE, |sum, i| sum * u + power(l, i))
    }

    fn shape(&self, l: T, u: T) -> Shape<T> {
        if !self.is_odd() || l >= T::ZERO {
            Shape::Convex
        } else if u <= T::ZERO {
            Shape::Concave
        } else {
            Shape::Turning { touch: self.touch }
        }
    }

    fn extremes(&self, l: T, u: T) -> Option<[Extreme<T>; 2]> {
        Some(if self.is_odd() || (l >= T::ZERO && u >= T::ZERO) {
            [Extreme::AtL, Extreme::AtU]
        } else if l <= T::ZERO && u <= T::ZERO {
            [Extreme::AtU, Extreme::AtL]
        } else {
            [Extreme::Inside(T::ZERO), if u >= -l { Extreme::AtU } else { Extreme::AtL }]
        })
    }

    fn is_increasing(&self) -> bool {
        self.is_odd()
    }

    /// One rounding for each multiplication.
    fn error(&self) -> T {
        self.factor() * T::EPSILON
    }
}
