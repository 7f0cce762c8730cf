//! Back-substitution through activations: coefficients on f(x) become coefficients on x by the two lines of each neuron.

use crate::Real;
use crate::activation::Lines;
use crate::reference::lanes::sum2;

/// Coefficients on the activation to coefficients on its input, in place, for lower bounds: a positive coefficient takes
/// the lower line, a negative one the upper line, each with its intercept.
pub(super) fn substitute<T: Real>(lines: &Lines<T>, rows: &mut [T], constants: &mut [T]) {
    let n = lines.lower_slope.len();
    for (row, constant) in rows.chunks_exact_mut(n).zip(constants) {
        *constant += sum2(row, &lines.upper_intercept, |a, c| if a < T::ZERO { a * c } else { T::ZERO });
        if !lines.lower_intercept.is_empty() {
            *constant += sum2(row, &lines.lower_intercept, |a, c| if a <= T::ZERO { T::ZERO } else { a * c });
        }
        for ((a, &lower), &upper) in row.iter_mut().zip(&lines.lower_slope).zip(&lines.upper_slope) {
            *a *= if *a < T::ZERO { upper } else { lower };
        }
    }
}

/// The adjoint of [`substitute`]: `rows` are its input, `g_constants` the cotangent of the constants; `g_rows` goes in as
/// the cotangent of its result and comes out as the one of `rows`. Adds the cotangents of the lines to `g_lines`.
pub(super) fn adjoint<T: Real>(
    lines: &Lines<T>,
    rows: &[T],
    g_rows: &mut [T],
    g_constants: &[T],
    g_lines: &mut Lines<T>,
) {
    let n = lines.lower_slope.len();
    let (lower_slope, upper_slope) = (&lines.lower_slope[..n], &lines.upper_slope[..n]);
    let upper_intercept = &lines.upper_intercept[..n];
    let (g_slope, g_intercept) = (&mut g_lines.upper_slope[..n], &mut g_lines.upper_intercept[..n]);
    let (g_lower_slope, g_lower_intercept) = (&mut g_lines.lower_slope[..n], &mut g_lines.lower_intercept[..n]);
    for ((row, g_row), &g_constant) in rows.chunks_exact(n).zip(g_rows.chunks_exact_mut(n)).zip(g_constants) {
        for i in 0..n {
            let (a, g) = (row[i], g_row[i]);
            let negative = if a < T::ZERO { a } else { T::ZERO };
            g_slope[i] += negative * g;
            g_lower_slope[i] += (a - negative) * g;
            g_intercept[i] += negative * g_constant;
            g_lower_intercept[i] += (a - negative) * g_constant;
            let on_upper = g * upper_slope[i] + g_constant * upper_intercept[i];
            g_row[i] = if a < T::ZERO { on_upper } else { g * lower_slope[i] };
        }
        for ((g, &a), &intercept) in g_row.iter_mut().zip(row).zip(&lines.lower_intercept) {
            *g += if a < T::ZERO { T::ZERO } else { g_constant * intercept };
        }
    }
}
