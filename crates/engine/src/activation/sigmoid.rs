//! The logistic sigmoid, 1/(1 + e⁻ˣ).

use super::s_shaped::Curve;
use crate::Real;

/// 1/(1 + e⁻ˣ).
#[derive(Debug)]
pub(super) struct Sigmoid;

/// tanh(x/2), which is 2·sigmoid(x) − 1.
fn half_tanh<T: Real>(x: T) -> T {
    (x * T::from_f64(0.5)).tanh()
}

impl<T: Real> Curve<T> for Sigmoid {
    fn at(&self, x: T) -> T {
        T::ONE / (T::ONE + (-x).exp())
    }

    fn slope(&self, x: T) -> T {
        let e = (-x.abs()).exp();
        e / ((T::ONE + e) * (T::ONE + e))
    }

    fn curvature(&self, x: T) -> T {
        -self.slope(x) * half_tanh(x)
    }

    fn rise(&self, l: T, u: T) -> T {
        T::from_f64(0.5) * half_tanh(u - l) * (T::ONE - half_tanh(u) * half_tanh(l))
    }
}
