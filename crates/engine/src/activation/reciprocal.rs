//! The reciprocal, 1/x: convex above 0, concave below, and not bounded where 0 is.

use super::curved::{Curve, Extreme, Shape};
use crate::Real;

/// 1/x.
#[derive(Debug)]
pub(super) struct Reciprocal;

impl<T: Real> Curve<T> for Reciprocal {
    fn at(&self, x: T) -> T {
        T::ONE / x
    }

    fn slope(&self, x: T) -> T {
        let y = T::ONE / x;
        -y * y
    }

    fn curvature(&self, x: T) -> T {
        let y = T::ONE / x;
        T::from_f64(2.0) * y * y * y
    }

    fn chord(&self, l: T, u: T) -> T {
        -(T::ONE / l) * (T::ONE / u)
    }

    fn shape(&self, l: T, u: T) -> Shape<T> {
        if l > T::ZERO {
            Shape::Convex
        } else if u < T::ZERO {
            Shape::Concave
        } else {
            Shape::Broken
        }
    }

    fn extremes(&self, l: T, u: T) -> Option<[Extreme<T>; 2]> {
        let is_bounded = (l > T::ZERO && u > T::ZERO) || (l < T::ZERO && u < T::ZERO);
        is_bounded.then_some([Extreme::AtU, Extreme::AtL])
    }

    fn is_increasing(&self) -> bool {
        false
    }

    fn error(&self) -> T {
        T::EPSILON
    }
}
