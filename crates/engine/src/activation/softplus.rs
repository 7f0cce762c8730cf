//! Softplus, ln(1 + eˣ).

use super::curved::{Curve, Shape};
use crate::Real;

/// ln(1 + eˣ).
#[derive(Debug)]
pub(super) struct Softplus;

impl<T: Real> Curve<T> for Softplus {
    /// max(x, 0) + ln(1 + e^(−|x|)), which neither overflows nor loses digits.
    fn at(&self, x: T) -> T {
        x.relu() + (-x.abs()).exp().ln_1p()
    }

    /// The logistic sigmoid.
    fn slope(&self, x: T) -> T {
        let e = (-x.abs()).exp();
        if x < T::ZERO { e / (T::ONE + e) } else { T::ONE / (T::ONE + e) }
    }

    fn curvature(&self, x: T) -> T {
        let e = (-x.abs()).exp();
        e / ((T::ONE + e) * (T::ONE + e))
    }

    /// On narrow intervals, where the difference has lost its digits, the slope in the middle is as near as rounding.
    fn chord(&self, l: T, u: T) -> T {
        let width = u - l;
        if width * width * width <= T::EPSILON {
            self.slope(l + width * T::from_f64(0.5))
        } else {
            (self.at(u) - self.at(l)) / width
        }
    }

    fn shape(&self, _: T, _: T) -> Shape<T> {
        Shape::Convex
    }

    /// Some units in the last place for two functions of the libm, and a sum.
    fn error(&self) -> T {
        T::from_f64(8.0) * T::EPSILON
    }
}
