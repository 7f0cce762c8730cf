//! The mean of two independent estimates, weighted by inverse variance.

use tightrope_engine::Real;

use super::{Estimate, Measured};
use crate::TrainError;

/// w g₁ + (1 − w) g₂ with w = v₂/(v₁ + v₂), of the variances vᵢ of the estimates (Cochran 1954, with scalar weights); the
/// losses are averaged over all that were evaluated, of which each estimate has `evaluated`.
///
/// Both need to be of one gradient and independent: then no other mean has less variance than v₁v₂/(v₁ + v₂), which is told.
/// An estimate without variance is believed alone; of two such the plain mean is taken.
///
/// # Errors
/// If one of the variances is not known.
pub fn mixed<T: Real>(estimates: [&Measured<T>; 2], evaluated: [u64; 2]) -> Result<Measured<T>, TrainError> {
    let [Some(v1), Some(v2)] = estimates.map(|measured| measured.variance) else {
        return Err(TrainError::Smoothing {
            estimator: "mixed estimate",
            problem: "needs the variance of both of its parts: at least two samples (smoothing.samples) and two pairs \
                      (smoothing.population = 4)"
                .into(),
        });
    };
    let [first, second] = estimates.map(|measured| &measured.estimate);
    let weight = if v1 + v2 > 0.0 { v2 / (v1 + v2) } else { 0.5 };
    let [n1, n2] = evaluated.map(|count| count as f64);
    let both = first.gradient.iter().zip(&second.gradient);
    let gradient = both.map(|(a, b)| T::from_f64(weight * a.to_f64() + (1.0 - weight) * b.to_f64())).collect();
    let loss = (n1 * first.loss + n2 * second.loss) / (n1 + n2);
    Ok(Measured { estimate: Estimate { loss, gradient }, variance: Some(weight * v1) })
}

#[cfg(test)]
mod tests {
    use super::mixed;
    use crate::smoothing::{Estimate, Measured};

    fn measured(loss: f64, gradient: [f64; 2], variance: Option<f64>) -> Measured<f64> {
        Measured { estimate: Estimate { loss, gradient: gradient.to_vec() }, variance }
    }

    #[test]
    fn weights_are_inverse_to_the_variances() {
        let mix = |v: [f64; 2]| {
            let (a, b) = (measured(1.0, [4.0, -2.0], Some(v[0])), measured(5.0, [0.0, 2.0], Some(v[1])));
            mixed([&a, &b], [2, 6]).unwrap()
        };
        // w = 3/4, variance 1·3/(1 + 3).
        assert_eq!(mix([1.0, 3.0]), measured(4.0, [3.0, -1.0], Some(0.75)));
        assert_eq!(mix([3.0, 1.0]), measured(4.0, [1.0, 1.0], Some(0.75)));
        assert_eq!(mix([0.0, 1.0]), measured(4.0, [4.0, -2.0], Some(0.0)));
        assert_eq!(mix([1.0, 0.0]), measured(4.0, [0.0, 2.0], Some(0.0)));
        assert_eq!(mix([0.0, 0.0]), measured(4.0, [2.0, 0.0], Some(0.0)));
        let alone = measured(1.0, [1.0, 1.0], None);
        let refusal = mixed([&alone, &mix([1.0, 1.0])], [1, 2]).unwrap_err().to_string();
        assert!(refusal.contains("smoothing.samples") && refusal.contains("population"), "{refusal}");
    }
}
