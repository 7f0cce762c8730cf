//! Linear output specifications: the rows whose bounds over the region are wanted.

use crate::{EngineError, Real};

/// Rows C·logits (+ offset) to bound. The rows are merged into the last linear layer before bounding ("elision").
#[derive(Clone, Debug, PartialEq)]
pub enum Spec<T> {
    /// Every logit: K rows.
    Logits,
    /// Margins z_y − z_j to the label y of each sample: K rows, row y identically 0.
    Margins {
        /// One label per sample.
        labels: Vec<usize>,
    },
    /// Rows C·z + d of a matrix.
    Matrix {
        /// Number of rows R.
        rows: usize,
        /// C, `[R, K]` shared by all samples or `[N, R, K]`.
        matrix: Vec<T>,
        /// d, `[R]`; zero if empty.
        offset: Vec<T>,
    },
}

impl<T: Real> Spec<T> {
    /// Rows per sample for a network of `classes` logits.
    pub fn rows(&self, classes: usize) -> usize {
        match self {
            Spec::Logits | Spec::Margins { .. } => classes,
            Spec::Matrix { rows, .. } => *rows,
        }
    }

    /// Fails unless the specification fits `batch` samples and `classes` logits.
    ///
    /// # Errors
    /// What does not fit: a length, or a label.
    pub fn check(&self, batch: usize, classes: usize) -> Result<(), EngineError> {
        match self {
            Spec::Logits => Ok(()),
            Spec::Margins { labels } => {
                EngineError::check_length("labels", labels.len(), batch)?;
                match labels.iter().position(|&label| label >= classes) {
                    Some(sample) => Err(EngineError::Label { sample, label: labels[sample], classes }),
                    None => Ok(()),
                }
            }
            Spec::Matrix { rows, matrix, offset } => {
                if matrix.len() != rows * classes {
                    EngineError::check_length("specification matrix", matrix.len(), batch * rows * classes)?;
                }
                if !offset.is_empty() {
                    EngineError::check_length("specification offset", offset.len(), *rows)?;
                }
                Ok(())
            }
        }
    }

    /// C of one sample, `[R, K]` row-major.
    pub fn matrix_of(&self, sample: usize, classes: usize) -> Vec<T> {
        match self {
            Spec::Logits => {
                let mut matrix = vec![T::ZERO; classes * classes];
                (0..classes).for_each(|j| matrix[j * classes + j] = T::ONE);
                matrix
            }
            Spec::Margins { labels } => {
                let y = labels[sample];
                let mut matrix = vec![T::ZERO; classes * classes];
                for j in (0..classes).filter(|&j| j != y) {
                    matrix[j * classes + y] = T::ONE;
                    matrix[j * classes + j] = -T::ONE;
                }
                matrix
            }
            Spec::Matrix { rows, matrix, .. } => {
                let size = rows * classes;
                if matrix.len() == size { matrix.clone() } else { matrix[sample * size..(sample + 1) * size].to_vec() }
            }
        }
    }

    /// d, `[R]`.
    pub fn offset_of(&self, classes: usize) -> Vec<T> {
        match self {
            Spec::Matrix { offset, .. } if !offset.is_empty() => offset.clone(),
            _ => vec![T::ZERO; self.rows(classes)],
        }
    }
}
