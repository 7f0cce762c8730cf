//! One case of a property as branch and bound sees it.

use tightrope_engine::Real;
use tightrope_vnnlib::{Case, Constraint};

/// Constraints c_r·y ≤ b_r that an unsafe output satisfies together; refuted over a set if a combination with weights
/// w ≥ 0 has Σ w_r·(c_r·y − b_r) > 0 everywhere on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conjunction {
    rows: Vec<Constraint>,
}

impl Conjunction {
    pub(crate) fn new(rows: &[Constraint]) -> Self {
        Conjunction { rows: rows.to_vec() }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.rows[0].coefficients.len()
    }

    /// The rows.
    pub(crate) fn rows(&self) -> &[Constraint] {
        &self.rows
    }

    /// c_r·y − b_r in f32.
    pub(crate) fn excess(&self, r: usize, y: &[f32]) -> f32 {
        let row = &self.rows[r];
        row.coefficients.iter().zip(y).map(|(&c, &y)| c as f32 * y).sum::<f32>() - row.bound as f32
    }

    /// The row whose excess at y is largest; none if there are no rows.
    pub(crate) fn worst_row(&self, y: &[f32]) -> Option<usize> {
        (0..self.len()).reduce(|best, r| if self.excess(r, y) > self.excess(best, y) { r } else { best })
    }

    /// Whether every row may be satisfied by an output that is off from y by `error` times the sum of its terms.
    pub(crate) fn may_hold<T: Real>(&self, y: &[T], error: T) -> bool {
        self.rows.iter().all(|row| {
            let (mut sum, mut size) = (-T::from_f64(row.bound), T::from_f64(row.bound.abs()));
            for (&c, &y) in row.coefficients.iter().zip(y) {
                let term = T::from_f64(c) * y;
                sum += term;
                size += term.abs();
            }
            sum <= size * error
        })
    }

    /// Appends Σ w_r·c_r to `target` and returns Σ w_r·b_r.
    pub(crate) fn combine(&self, weights: &[f32], target: &mut Vec<f32>) -> f32 {
        let first = target.len();
        target.resize(first + self.outputs(), 0.0);
        let mut bound = 0.0;
        for (row, &w) in self.rows.iter().zip(weights) {
            target[first..].iter_mut().zip(&row.coefficients).for_each(|(t, &c)| *t += w * c as f32);
            bound += w * row.bound as f32;
        }
        bound
    }

    /// As [`Self::combine`] in f64; also returns Σ w_r·|c_r| and Σ w_r·|b_r|, which bound the rounding of the combination.
    pub(crate) fn combine_exact(&self, weights: &[f32], target: &mut Vec<f64>) -> (f64, Vec<f64>, f64) {
        let first = target.len();
        target.resize(first + self.outputs(), 0.0);
        let mut absolute = vec![0.0; self.outputs()];
        let (mut bound, mut absolute_bound) = (0.0, 0.0);
        for (row, &w) in self.rows.iter().zip(weights) {
            let w = f64::from(w);
            for (i, &c) in row.coefficients.iter().enumerate() {
                target[first + i] += w * c;
                absolute[i] += w * c.abs();
            }
            bound += w * row.bound;
            absolute_bound += w * row.bound.abs();
        }
        (bound, absolute, absolute_bound)
    }
}

/// The conjunctions of a case; an empty conjunction is left to the caller.
pub(crate) fn conjunctions(case: &Case) -> Vec<Conjunction> {
    case.unsafe_outputs.iter().map(|rows| Conjunction::new(rows)).collect()
}
