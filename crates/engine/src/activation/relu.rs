//! ReLU: the triangle relaxation with DeepPoly's adaptive lower slope, DeepZ's parallelogram, and the interval.
//!
//! For l < 0 < u: upper line λ_u x + μ_u with λ_u = u/(u−l), μ_u = −u l/(u−l); lower line λ_l x with
//! λ_l = 1 if u > −l else 0 (Singh et al. 2019; Zhang et al. 2018), or with λ_l = λ_u (Singh et al. 2018); or the constants
//! 0 and u. Stable neurons are exact.

use super::line::{interval, interval_adjoint};
use super::{Activation, Line};
use crate::{LowerSlope, Real};

/// max(x, 0).
#[derive(Debug)]
pub(super) struct Relu;

/// Below this width the derivative of the upper line is taken as if the interval were this wide, so that it stays finite.
pub(super) const NARROW: f64 = 1e-12;

/// Whether [l, u] has the kink at 0 inside.
pub(super) fn is_unstable<T: Real>(l: T, u: T) -> bool {
    l < T::ZERO && u > T::ZERO
}

/// λ_u and μ_u for l < 0 < u.
pub(super) fn upper<T: Real>(l: T, u: T) -> Line<T> {
    let slope = u / (u - l);
    Line { slope, intercept: -l * slope }
}

/// The adjoint of [`upper`].
///
/// ∂λ/∂l = u/(u−l)², ∂λ/∂u = −l/(u−l)², ∂μ/∂l = −u²/(u−l)², ∂μ/∂u = l²/(u−l)².
pub(super) fn upper_adjoint<T: Real>(l: T, u: T, g: Line<T>) -> (T, T) {
    let width = (u - l).max(T::from_f64(NARROW));
    let (high, low) = (u / width, -l / width);
    (high / width * g.slope - high * high * g.intercept, low / width * g.slope + low * low * g.intercept)
}

impl<T: Real> Activation<T> for Relu {
    fn value(&self, x: T) -> T {
        x.relu()
    }

    fn derivative(&self, x: T) -> T {
        if x > T::ZERO { T::ONE } else { T::ZERO }
    }

    fn is_affine_on(&self, l: T, u: T) -> bool {
        !is_unstable(l, u)
    }

    fn line_pair(&self, l: T, u: T, rule: LowerSlope) -> (Line<T>, Line<T>) {
        if is_unstable(l, u) {
            let above = upper(l, u);
            match rule {
                LowerSlope::Adaptive => (if u > -l { Line::IDENTITY } else { Line::ZERO }, above),
                LowerSlope::Parallel => (Line { intercept: T::ZERO, ..above }, above),
                LowerSlope::Constant => interval(self, l, u),
            }
        } else if l >= T::ZERO {
            (Line::IDENTITY, Line::IDENTITY)
        } else {
            (Line::ZERO, Line::ZERO)
        }
    }

    fn line_pair_adjoint(&self, l: T, u: T, rule: LowerSlope, g: (Line<T>, Line<T>)) -> (T, T) {
        if !is_unstable(l, u) {
            return (T::ZERO, T::ZERO);
        }
        let (below, above) = g;
        match rule {
            LowerSlope::Adaptive => upper_adjoint(l, u, above),
            LowerSlope::Parallel => upper_adjoint(l, u, Line { slope: below.slope + above.slope, ..above }),
            LowerSlope::Constant => interval_adjoint(self, l, u, g),
        }
    }
}
