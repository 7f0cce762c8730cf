//! How far a sum computed in round-to-nearest f64 may be from the exact one.

/// A bound of |computed − exact| for a sum of `terms` products of at most four factors each, where `magnitude` is the
/// computed sum of the absolute values of the products.
///
/// With u = 2⁻⁵³ the error is at most γ_{n+4}·Σ|products|, γ_k = k·u/(1 − k·u) (Higham, Accuracy and Stability of
/// Numerical Algorithms, §3.1), whatever the order of summation. The factor used here is at least twice as large
/// (2u·(n + 8)), which covers the rounding of `magnitude` and of this expression for all n < 2⁴⁰. A product that
/// underflows loses less than 2⁻¹⁰²² in addition.
pub(crate) fn sum_error(magnitude: f64, terms: usize) -> f64 {
    let count = (terms + 8) as f64;
    count * f64::EPSILON * magnitude + count * f64::MIN_POSITIVE
}

/// A number not above `a + b`.
pub(crate) fn add_down(a: f64, b: f64) -> f64 {
    (a + b).next_down()
}

/// A number not above `a − b`.
pub(crate) fn sub_down(a: f64, b: f64) -> f64 {
    (a - b).next_down()
}

/// A number not below `a + b`.
pub(crate) fn add_up(a: f64, b: f64) -> f64 {
    (a + b).next_up()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sum_error;

    proptest! {
        /// Products of numbers with few bits are exact in i128, which gives the exact sum.
        #[test]
        fn the_error_of_sums_is_covered(
            pairs in prop::collection::vec((any::<i32>(), any::<i32>(), 0_i32..40), 0..300),
        ) {
            let (mut sum, mut magnitude, mut exact) = (0.0_f64, 0.0_f64, 0_i128);
            for &(a, b, shift) in &pairs {
                let product = f64::from(a) * (f64::from(b) * f64::powi(2.0, shift));
                sum += product;
                magnitude += product.abs();
                exact += (i128::from(a) * i128::from(b)) << shift;
            }
            // The sum is an integer below 2¹¹², which i128 holds exactly.
            let difference = (sum as i128 - exact).unsigned_abs() as f64;
            prop_assert!(difference <= sum_error(magnitude, pairs.len()));
        }
    }
}
