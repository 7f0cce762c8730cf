//! The triangle relaxation of ReLU with DeepPoly's adaptive lower slope, and its adjoint.
//!
//! For l < 0 < u: upper line λ_u z + μ_u with λ_u = u/(u−l), μ_u = −u l/(u−l); lower line λ_l z with
//! λ_l = 1 if u > −l else 0 (Singh et al. 2019; Zhang et al. 2018). Stable neurons are exact.

use crate::Real;

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
    /// The lines for pre-activation bounds [lower, upper].
    pub(in crate::reference) fn new(lower: &[T], upper: &[T]) -> Self {
        let mut lines = Relaxation { lower_slope: Vec::new(), upper_slope: Vec::new(), upper_intercept: Vec::new() };
        for (&l, &u) in lower.iter().zip(upper) {
            let (low, high, intercept) = if !(l.is_finite() && u.is_finite()) {
                // Bounds that overflowed or are NaN must not pass for stable: NaN from here on.
                (T::NAN, T::NAN, T::NAN)
            } else if is_unstable(l, u) {
                let slope = u / (u - l);
                (if u > -l { T::ONE } else { T::ZERO }, slope, -l * slope)
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

    /// Coefficients on the activation to coefficients on the pre-activation, for lower bounds: a
    /// positive coefficient takes the lower line, a negative one the upper line and its intercept.
    pub(super) fn substitute(&self, rows: &[T], constants: &mut [T]) -> Vec<T> {
        let n = self.lower_slope.len();
        let mut result = Vec::with_capacity(rows.len());
        for (row, constant) in rows.chunks_exact(n).zip(constants) {
            for (i, &a) in row.iter().enumerate() {
                if a < T::ZERO {
                    *constant += a * self.upper_intercept[i];
                    result.push(a * self.upper_slope[i]);
                } else {
                    result.push(a * self.lower_slope[i]);
                }
            }
        }
        result
    }

    /// The adjoint of [`Self::substitute`]: `rows` are its input, `g_result` the cotangent of its result,
    /// `g_constants` of the constants. Returns the cotangent of `rows` and adds the one of the upper lines to `lines`.
    pub(super) fn adjoint(
        &self,
        rows: &[T],
        g_result: &[T],
        g_constants: &[T],
        lines: &mut LineCotangent<T>,
    ) -> Vec<T> {
        let n = self.lower_slope.len();
        let mut g_rows = Vec::with_capacity(rows.len());
        for ((row, g_row), &g_constant) in rows.chunks_exact(n).zip(g_result.chunks_exact(n)).zip(g_constants) {
            for (i, (&a, &g)) in row.iter().zip(g_row).enumerate() {
                if a < T::ZERO {
                    lines.slope[i] += a * g;
                    lines.intercept[i] += a * g_constant;
                    g_rows.push(g * self.upper_slope[i] + g_constant * self.upper_intercept[i]);
                } else {
                    g_rows.push(g * self.lower_slope[i]);
                }
            }
        }
        g_rows
    }
}

/// Cotangents of λ_u and μ_u per neuron.
pub(super) struct LineCotangent<T> {
    slope: Vec<T>,
    intercept: Vec<T>,
}

impl<T: Real> LineCotangent<T> {
    pub(super) fn zeros(n: usize) -> Self {
        LineCotangent { slope: vec![T::ZERO; n], intercept: vec![T::ZERO; n] }
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
}
