//! The two lines around each ReLU, from the bounds of its pre-activation.

use crate::Real;

/// Lines of one pre-activation node for some sets of bounds, `[sets, n]` each: s·z + t ≥ relu(z) ≥ α·z on [l, u].
#[derive(Clone, Debug, Default)]
pub struct Lines<T> {
    /// α by the rule of least area: 1 if u > −l, else 0; the exact slope of a stable neuron.
    pub lower_slope: Vec<T>,
    /// s.
    pub upper_slope: Vec<T>,
    /// t.
    pub intercept: Vec<T>,
}

impl<T: Real> Lines<T> {
    /// Lines for the given bounds.
    pub fn new(lower: &[f64], upper: &[f64]) -> Self {
        let mut lines = Lines::with_capacity(lower.len());
        lines.extend(lower, upper);
        lines
    }

    /// No lines yet.
    pub fn with_capacity(elements: usize) -> Self {
        Lines {
            lower_slope: Vec::with_capacity(elements),
            upper_slope: Vec::with_capacity(elements),
            intercept: Vec::with_capacity(elements),
        }
    }

    /// Appends lines for the given bounds.
    pub fn extend(&mut self, lower: &[f64], upper: &[f64]) {
        for (&l, &u) in lower.iter().zip(upper) {
            let [alpha, s, t] = line(T::from_f64(l), T::from_f64(u));
            self.lower_slope.push(alpha);
            self.upper_slope.push(s);
            self.intercept.push(t);
        }
    }

    /// Sets the lines of one neuron to those of a stable one.
    pub fn fix(&mut self, element: usize, active: bool) {
        let slope = if active { T::ONE } else { T::ZERO };
        self.lower_slope[element] = slope;
        self.upper_slope[element] = slope;
        self.intercept[element] = T::ZERO;
    }
}

impl Lines<f64> {
    /// The same in f32, for optimisation.
    pub fn narrowed(&self) -> Lines<f32> {
        let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect();
        Lines {
            lower_slope: narrow(&self.lower_slope),
            upper_slope: narrow(&self.upper_slope),
            intercept: narrow(&self.intercept),
        }
    }
}

/// α, s and t for the bounds l and u.
///
/// In f64, s·z + t ≥ relu(z) holds exactly on [l, u] for the rounded s: the line lies above relu at both ends if
/// t ≥ −s·l and t ≥ u·(1 − s), and the factor covers the rounding of these products.
pub fn line<T: Real>(l: T, u: T) -> [T; 3] {
    if l >= T::ZERO {
        [T::ONE, T::ONE, T::ZERO]
    } else if u <= T::ZERO {
        [T::ZERO; 3]
    } else {
        let s = (u / (u - l)).min(T::ONE);
        let t = (-(s * l)).max(u * (T::ONE - s)) * T::from_f64(1.0 + 8.0 * f64::EPSILON);
        [if u > -l { T::ONE } else { T::ZERO }, s, t]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::line;

    proptest! {
        /// Both lines hold at the ends, at 0 and in between, without any tolerance that rounding could need.
        #[test]
        fn lines_enclose_the_relu(l in -1e3_f64..1e-3, width in 0.0_f64..1e3, share in 0.0_f64..=1.0) {
            let u = l + width;
            let [alpha, s, t] = line(l, u);
            for z in [l, u, 0.0_f64.clamp(l, u), (l + share * width).clamp(l, u)] {
                // The slack of one rounding of the test's own sum.
                prop_assert!(s * z + t >= z.max(0.0) - f64::EPSILON * (s * z).abs().max(t), "{l} {u} {z}");
                prop_assert!(alpha * z <= z.max(0.0));
            }
        }
    }
}
