//! ReLU: the triangle relaxation with DeepPoly's adaptive lower slope, DeepZ's parallelogram, and the interval.
//!
//! For l < 0 < u: upper line λ_u x + μ_u with λ_u = u/(u−l), μ_u = −u l/(u−l); lower line λ_l x with
//! λ_l = 1 if u > −l else 0 (Singh et al. 2019; Zhang et al. 2018), or with λ_l = λ_u (Singh et al. 2018); or the constants
//! 0 and u. Stable neurons are exact.

use super::line::{interval, interval_adjoint};
use super::{Activation, Bracket, Line, Lines};
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

    fn value_error(&self) -> T {
        T::ZERO
    }

    fn bracket(&self, l: T, u: T) -> Bracket<T> {
        let [share, slope, intercept] = sound(l, u);
        let above = Line { slope, intercept };
        if l >= T::ZERO || u <= T::ZERO {
            return Bracket::exact(above);
        }
        Bracket { lower: [Line::ZERO, Line::IDENTITY], upper: [above; 2], share }
    }

    fn split_point(&self, _: f64, _: f64) -> f64 {
        0.0
    }

    /// Without brackets: the share is the lower slope itself.
    fn extend(&self, lines: &mut Lines<T>, lower: &[f64], upper: &[f64]) {
        for (&l, &u) in lower.iter().zip(upper) {
            let [alpha, s, t] = sound(T::from_f64(l), T::from_f64(u));
            lines.lower_slope.push(alpha);
            lines.upper_slope.push(s);
            lines.upper_intercept.push(t);
        }
    }
}

/// α, s and t with s·z + t ≥ relu(z) ≥ α·z on [l, u]: α by the rule of least area, the exact slope of a stable neuron.
///
/// In f64, s·z + t ≥ relu(z) holds exactly for the rounded s: the line lies above relu at both ends if t ≥ −s·l and
/// t ≥ u·(1 − s), and the factor covers the rounding of these products, the summand that of the smallest ones.
fn sound<T: Real>(l: T, u: T) -> [T; 3] {
    if l >= T::ZERO {
        [T::ONE, T::ONE, T::ZERO]
    } else if u <= T::ZERO {
        [T::ZERO; 3]
    } else {
        let s = (u / (u - l)).min(T::ONE);
        let t = (-(s * l)).max(u * (T::ONE - s)) * T::from_f64(1.0 + 8.0 * f64::EPSILON) + T::MIN_POSITIVE;
        [if u > -l { T::ONE } else { T::ZERO }, s, t]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sound;

    proptest! {
        /// Both lines hold at the ends, at 0 and in between, without any tolerance that rounding could need.
        #[test]
        fn lines_enclose_the_relu(l in -1e3_f64..1e-3, width in 0.0_f64..1e3, share in 0.0_f64..=1.0) {
            let u = l + width;
            let [alpha, s, t] = sound(l, u);
            for z in [l, u, 0.0_f64.clamp(l, u), (l + share * width).clamp(l, u)] {
                // The slack of one rounding of the test's own sum.
                prop_assert!(s * z + t >= z.max(0.0) - f64::EPSILON * (s * z).abs().max(t), "{l} {u} {z}");
                prop_assert!(alpha * z <= z.max(0.0));
            }
        }
    }
}
