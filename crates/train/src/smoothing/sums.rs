//! Sums over the elements of θ, in the same order whatever the number of threads.

use rayon::prelude::*;
use tightrope_engine::Real;

use super::noise::CHUNK;

/// The sum of a function of all elements and their indices.
pub(super) fn sum<T: Real>(values: &[T], of: impl Fn((usize, &T)) -> f64 + Sync) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(CHUNK)
        .enumerate()
        .map(|(chunk, values)| values.iter().enumerate().map(|(i, value)| of((chunk * CHUNK + i, value))).sum())
        .collect();
    parts.iter().sum()
}

/// The squared length of `values`.
pub(super) fn square<T: Real>(values: &[T]) -> f64 {
    sum(values, |(_, value)| value.to_f64().powi(2))
}
