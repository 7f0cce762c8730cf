//! The triangle relaxation of ReLU with DeepPoly's adaptive lower slope, and its adjoint.
//!
//! For l < 0 < u: upper line λ_u z + μ_u with λ_u = u/(u−l), μ_u = −u l/(u−l); lower line λ_l z with
//! λ_l = 1 if u > −l else 0 (Singh et al. 2019; Zhang et al. 2018). Stable neurons are exact.

use crate::Real;
use crate::reference::lanes::sum2;

/// Lines of one pre-activation node for one image.
pub(in crate::reference) struct Relaxation<T> {
    pub(super) lower_slope: Vec<T>,
    pub(super) upper_slope: Vec<T>,
    pub(super) upper_intercept: Vec<T>,
}

/// Below this width the derivative of the upper line is taken as if the interval were this wide, so that it stays finite.
const NARROW: f64 = 1e-12;

pub(super) fn is_unstable<T: Real>(lower: T, upper: T) -> bool {
    lower < T::ZERO && upper > T::ZERO
}

impl<T: Real> Relaxation<T> {
    /// The lines for pre-activation bounds [lower, upper], with the given lower slopes of unstable neurons or DeepPoly's.
    pub(in crate::reference) fn new(lower: &[T], upper: &[T], slopes: Option<&[T]>) -> Self {
        let mut lines = Relaxation { lower_slope: Vec::new(), upper_slope: Vec::new(), upper_intercept: Vec::new() };
        for (i, (&l, &u)) in lower.iter().zip(upper).enumerate() {
            let adaptive = if u > -l { T::ONE } else { T::ZERO };
            let (low, high, intercept) = if !(l.is_finite() && u.is_finite()) {
                // Bounds that overflowed or are NaN must not pass for stable: NaN from here on.
                (T::NAN, T::NAN, T::NAN)
            } else if is_unstable(l, u) {
                let slope = u / (u - l);
                (slopes.map_or(adaptive, |slopes| slopes[i]), slope, -l * slope)
            } else if l >= T::ZERO {
                (T::ONE, T::ONE, T::ZERO)
            } else {
                (T::ZERO, T::ZERO, T::ZERO)
            };
            lines.lower_slope.push(low);
            lines.upper_slope.push(high);
            lines.upper_intercept.push(intercept);
        }
        lines
    }

    /// Coefficients on the activation to coefficients on the pre-activation, in place, for lower bounds: a
    /// positive coefficient takes the lower line, a negative one the upper line and its intercept.
    pub(super) fn substitute(&self, rows: &mut [T], constants: &mut [T]) {
        let n = self.lower_slope.len();
        for (row, constant) in rows.chunks_exact_mut(n).zip(constants) {
            *constant +=
                sum2(row, &self.upper_intercept, |a, intercept| if a < T::ZERO { a * intercept } else { T::ZERO });
            for ((a, &lower), &upper) in row.iter_mut().zip(&self.lower_slope).zip(&self.upper_slope) {
                *a *= if *a < T::ZERO { upper } else { lower };
            }
        }
    }

    /// The adjoint of [`Self::substitute`]: `rows` are its input, `g_constants` the cotangent of the constants;
    /// `g_rows` goes in as the cotangent of its result and comes out as the one of `rows`. Adds the
    /// cotangents of the lines to `lines`.
    pub(super) fn adjoint(&self, rows: &[T], g_rows: &mut [T], g_constants: &[T], lines: &mut LineCotangent<T>) {
        let n = self.lower_slope.len();
        let (lower_slope, upper_slope) = (&self.lower_slope[..n], &self.upper_slope[..n]);
        let upper_intercept = &self.upper_intercept[..n];
        let (g_slope, g_intercept) = (&mut lines.slope[..n], &mut lines.intercept[..n]);
        let g_lower_slope = &mut lines.lower_slope[..n];
        for ((row, g_row), &g_constant) in rows.chunks_exact(n).zip(g_rows.chunks_exact_mut(n)).zip(g_constants) {
            for i in 0..n {
                let (a, g) = (row[i], g_row[i]);
                let negative = if a < T::ZERO { a } else { T::ZERO };
                g_slope[i] += negative * g;
                g_lower_slope[i] += (a - negative) * g;
                g_intercept[i] += negative * g_constant;
                let on_upper = g * upper_slope[i] + g_constant * upper_intercept[i];
                g_row[i] = if a < T::ZERO { on_upper } else { g * lower_slope[i] };
            }
        }
    }
}

/// Cotangents of λ_l, λ_u and μ_u per neuron.
pub(super) struct LineCotangent<T> {
    lower_slope: Vec<T>,
    slope: Vec<T>,
    intercept: Vec<T>,
}

impl<T: Real> LineCotangent<T> {
    pub(super) fn zeros(n: usize) -> Self {
        LineCotangent { lower_slope: vec![T::ZERO; n], slope: vec![T::ZERO; n], intercept: vec![T::ZERO; n] }
    }

    /// Carries the cotangents to the bounds [lower, upper] the lines were built from.
    ///
    /// ∂λ/∂l = u/(u−l)², ∂λ/∂u = −l/(u−l)², ∂μ/∂l = −u²/(u−l)², ∂μ/∂u = l²/(u−l)².
    pub(super) fn pull_back(&self, lower: &[T], upper: &[T], g_lower: &mut [T], g_upper: &mut [T]) {
        for i in 0..lower.len() {
            let (l, u) = (lower[i], upper[i]);
            if is_unstable(l, u) {
                let width = (u - l).max(T::from_f64(NARROW));
                let (high, low) = (u / width, -l / width);
                g_lower[i] += high / width * self.slope[i] - high * high * self.intercept[i];
                g_upper[i] += low / width * self.slope[i] + low * low * self.intercept[i];
            }
        }
    }

    /// Adds the cotangents of λ_l to `target`; those of stable neurons have none.
    pub(super) fn add_lower_slopes(&self, lower: &[T], upper: &[T], target: &mut [T]) {
        for (i, target) in target.iter_mut().enumerate() {
            if is_unstable(lower[i], upper[i]) {
                *target += self.lower_slope[i];
            }
        }
    }
}
