//! The hyperbolic tangent.

use super::s_shaped::Curve;
use crate::Real;

/// (eˣ − e⁻ˣ)/(eˣ + e⁻ˣ).
#[derive(Debug)]
pub(super) struct Tanh;

impl<T: Real> Curve<T> for Tanh {
    fn at(&self, x: T) -> T {
        x.tanh()
    }

    fn slope(&self, x: T) -> T {
        let e = (T::from_f64(-2.0) * x.abs()).exp();
        T::from_f64(4.0) * e / ((T::ONE + e) * (T::ONE + e))
    }

    fn curvature(&self, x: T) -> T {
        T::from_f64(-2.0) * x.tanh() * self.slope(x)
    }

    fn rise(&self, l: T, u: T) -> T {
        (u - l).tanh() * (T::ONE - u.tanh() * l.tanh())
    }
}
