//! Rows of a specification that are margins, which engines bound with less work than rows of any numbers.

use tightrope::engine::Real;

/// Where the rows of a specification stand among the margins z_y − z_j of one label y for each sample.
#[derive(Debug, PartialEq)]
pub struct MarginRows {
    /// y of each sample.
    pub labels: Vec<usize>,
    /// Number K of classes.
    classes: usize,
    /// j of each row, `[N, R]`.
    columns: Vec<usize>,
    /// Rows R of each sample.
    pub rows: usize,
}

impl MarginRows {
    /// The rows of `matrix`, `[R, K]` for all samples or `[N, R, K]`. None if one of them is no margin, if those of a sample
    /// have several labels, or if they are so few that all K margins would be more work.
    pub fn of<T: Real>(matrix: &[T], [batch, rows, classes]: [usize; 3]) -> Option<Self> {
        if rows == 0 || 2 * rows < classes {
            return None;
        }
        let (zero, one) = (T::ZERO, T::ONE);
        let margin = |row: &[T]| {
            let (mut label, mut other) = (None, None);
            for (class, &value) in row.iter().enumerate() {
                if value == zero {
                    continue;
                }
                let place = if value == one { &mut label } else { &mut other };
                if place.replace(class).is_some() || value != one && value != -one {
                    return None;
                }
            }
            label.zip(other)
        };
        let pairs = matrix.chunks_exact(classes).map(margin).collect::<Option<Vec<_>>>()?;
        let sample = |pairs: &[(usize, usize)]| pairs.iter().all(|pair| pair.0 == pairs[0].0).then_some(pairs[0].0);
        let labels = pairs.chunks_exact(rows).map(sample).collect::<Option<Vec<usize>>>()?;
        let repeats = if labels.len() == batch { 1 } else { batch };
        let columns: Vec<usize> = pairs.iter().map(|pair| pair.1).collect();
        Some(MarginRows { labels: labels.repeat(repeats), classes, columns: columns.repeat(repeats), rows })
    }

    /// The rows `[N, R]` out of all margins `[N, K]`.
    pub fn gather<T: Copy>(&self, margins: &[T]) -> Vec<T> {
        let of = |(row, &column): (usize, &usize)| margins[row / self.rows * self.classes + column];
        self.columns.iter().enumerate().map(of).collect()
    }

    /// Cotangents of all margins `[N, K]` from those of the rows `[N, R]`.
    pub fn scatter<T: Real>(&self, rows: &[T]) -> Vec<T> {
        let mut margins = vec![T::ZERO; self.labels.len() * self.classes];
        for (row, (&column, &value)) in self.columns.iter().zip(rows).enumerate() {
            let margin = &mut margins[row / self.rows * self.classes + column];
            *margin += value;
        }
        margins
    }
}
