//! Fully connected maps: matrix products, with a sparse path for rows that start as unit vectors.

use crate::Real;
use crate::reference::gemm::{View, multiply};

/// Below this share of non-zero entries row-by-row updates beat a dense product.
const SPARSE_SHARE: usize = 16;

fn is_sparse<T: Real>(values: &[T]) -> bool {
    values.iter().filter(|v| **v != T::ZERO).count() * SPARSE_SHARE < values.len()
}

/// y = x Wᵀ.
pub(super) fn apply<T: Real>(weight: &[T], inputs: usize, outputs: usize, x: &[T], batch: usize, y: &mut [T]) {
    multiply(y, View::new(x, batch, inputs), View::new(weight, outputs, inputs).transposed(), false);
}

/// x += y W.
pub(super) fn transpose<T: Real>(weight: &[T], inputs: usize, outputs: usize, y: &[T], batch: usize, x: &mut [T]) {
    if !is_sparse(y) {
        return multiply(x, View::new(y, batch, outputs), View::new(weight, outputs, inputs), true);
    }
    for (y, x) in y.chunks_exact(outputs).zip(x.chunks_exact_mut(inputs)) {
        for (&factor, row) in y.iter().zip(weight.chunks_exact(inputs)) {
            if factor != T::ZERO {
                x.iter_mut().zip(row).for_each(|(x, &w)| *x += factor * w);
            }
        }
    }
}

/// gradient += yᵀ x.
pub(super) fn weight_gradient<T: Real>(
    inputs: usize,
    outputs: usize,
    x: &[T],
    y: &[T],
    batch: usize,
    gradient: &mut [T],
) {
    if !is_sparse(y) {
        return multiply(gradient, View::new(y, batch, outputs).transposed(), View::new(x, batch, inputs), true);
    }
    for (y, x) in y.chunks_exact(outputs).zip(x.chunks_exact(inputs)) {
        for (&factor, row) in y.iter().zip(gradient.chunks_exact_mut(inputs)) {
            if factor != T::ZERO {
                row.iter_mut().zip(x).for_each(|(g, &x)| *g += factor * x);
            }
        }
    }
}
