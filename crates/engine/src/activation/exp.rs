//! The exponential function, eˣ.

use super::curved::{Curve, Shape};
use crate::Real;

/// eˣ.
#[derive(Debug)]
pub(super) struct Exp;

impl<T: Real> Curve<T> for Exp {
    fn at(&self, x: T) -> T {
        x.exp()
    }

    fn slope(&self, x: T) -> T {
        x.exp()
    }

    fn curvature(&self, x: T) -> T {
        x.exp()
    }

    fn chord(&self, l: T, u: T) -> T {
        let width = u - l;
        if width <= T::ZERO {
            l.exp()
        } else if width < T::ONE {
            l.exp() * (width.exp_m1() / width)
        } else {
            (u.exp() - l.exp()) / width
        }
    }

    fn shape(&self, _: T, _: T) -> Shape<T> {
        Shape::Convex
    }

    /// Some units in the last place, which is more than any libm's exponential function takes.
    fn error(&self) -> T {
        T::from_f64(8.0) * T::EPSILON
    }
}
