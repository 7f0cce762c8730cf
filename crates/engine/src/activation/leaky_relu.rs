//! Leaky ReLU, a·x + (1 − a)·max(x, 0): the lines of ReLU, tilted.
//!
//! For l < 0 < u: upper line a + (1 − a)·λ_u with intercept (1 − a)·μ_u, the chord; lower line x if u > −l, else a·x, or
//! the chord's parallel through 0; or the constants a·l and u.

use super::line::{interval, interval_adjoint};
use super::relu::{is_unstable, upper, upper_adjoint};
use super::{Activation, Bracket, Line};
use crate::{LowerSlope, Real};

/// x where x > 0, slope·x elsewhere.
#[derive(Debug)]
pub(super) struct LeakyRelu<T> {
    slope: T,
}

impl<T: Real> LeakyRelu<T> {
    pub(super) fn new(slope: f64) -> Self {
        LeakyRelu { slope: T::from_f64(slope) }
    }

    fn left(&self) -> Line<T> {
        Line { slope: self.slope, intercept: T::ZERO }
    }
}

impl<T: Real> Activation<T> for LeakyRelu<T> {
    fn value(&self, x: T) -> T {
        if x <= T::ZERO { self.slope * x } else { x }
    }

    fn derivative(&self, x: T) -> T {
        if x > T::ZERO { T::ONE } else { self.slope }
    }

    fn is_affine_on(&self, l: T, u: T) -> bool {
        !is_unstable(l, u)
    }

    fn line_pair(&self, l: T, u: T, rule: LowerSlope) -> (Line<T>, Line<T>) {
        if is_unstable(l, u) {
            let (rest, relu) = (T::ONE - self.slope, upper(l, u));
            let above = Line { slope: self.slope + rest * relu.slope, intercept: rest * relu.intercept };
            match rule {
                LowerSlope::Adaptive => (if u > -l { Line::IDENTITY } else { self.left() }, above),
                LowerSlope::Parallel => (Line { intercept: T::ZERO, ..above }, above),
                LowerSlope::Constant => interval(self, l, u),
            }
        } else if l >= T::ZERO {
            (Line::IDENTITY, Line::IDENTITY)
        } else {
            (self.left(), self.left())
        }
    }

    fn line_pair_adjoint(&self, l: T, u: T, rule: LowerSlope, g: (Line<T>, Line<T>)) -> (T, T) {
        if !is_unstable(l, u) {
            return (T::ZERO, T::ZERO);
        }
        let (below, above) = g;
        let rest = T::ONE - self.slope;
        let of_relu = |slope: T| upper_adjoint(l, u, Line { slope: rest * slope, intercept: rest * above.intercept });
        match rule {
            LowerSlope::Adaptive => of_relu(above.slope),
            LowerSlope::Parallel => of_relu(below.slope + above.slope),
            LowerSlope::Constant => interval_adjoint(self, l, u, g),
        }
    }

    fn value_error(&self) -> T {
        T::EPSILON
    }

    /// Below, x and a·x with any share between them.
    fn bracket(&self, l: T, u: T) -> Bracket<T> {
        if l >= T::ZERO {
            return Bracket::exact(Line::IDENTITY);
        } else if u <= T::ZERO {
            return Bracket::exact(self.left());
        }
        let above = if (u - l).is_finite() {
            let slope = (self.slope + (T::ONE - self.slope) * (u / (u - l))).min(T::ONE);
            Line::above(slope, &[(l, self.value(l)), (T::ZERO, T::ZERO), (u, u)])
        } else {
            Line::constant(T::INFINITY)
        };
        let share = if u > -l { T::ONE } else { T::ZERO };
        Bracket { lower: [self.left(), Line::IDENTITY], upper: [above; 2], share }
    }

    fn split_point(&self, _: f64, _: f64) -> f64 {
        0.0
    }
}
