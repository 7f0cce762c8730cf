//! SAM: the gradient at the worst of the near θ, to first order.

use tightrope_engine::Real;

use super::Estimate;
use crate::TrainError;

/// Sharpness-aware minimisation (Foret et al. 2021): ∇L(θ + ρ g/‖g‖₂) with g = ∇L(θ), the derivative of the ascent left
/// out; the loss is that at θ.
///
/// ρ = 0 evaluates θ once and returns the plain gradient, as does a gradient of 0, which has no direction.
///
/// # Errors
/// If the loss fails.
pub fn sam<T: Real>(
    theta: &[T],
    rho: f64,
    mut gradient: impl FnMut(&[T]) -> Result<(f64, Vec<T>), TrainError>,
) -> Result<Estimate<T>, TrainError> {
    let (loss, first) = gradient(theta)?;
    let norm = first.iter().map(|g| g.to_f64().powi(2)).sum::<f64>().sqrt();
    // What is no number is left to those who look at the gradient.
    if rho == 0.0 || norm == 0.0 || !norm.is_finite() {
        return Ok(Estimate { loss, gradient: first });
    }
    let scale = rho / norm;
    let moved: Vec<T> = theta.iter().zip(&first).map(|(t, g)| T::from_f64(t.to_f64() + scale * g.to_f64())).collect();
    let (_, gradient) = gradient(&moved)?;
    Ok(Estimate { loss, gradient })
}

#[cfg(test)]
mod tests {
    use super::sam;

    /// By hand: L = θᵀAθ/2 with A = diag(2, 3) has at θ = (4, 2) the gradient (8, 6) of length 10.
    #[test]
    fn the_gradient_is_that_at_the_end_of_the_climb() {
        let mut seen: Vec<Vec<f64>> = Vec::new();
        let mut quadratic = |theta: &[f64]| {
            seen.push(theta.to_vec());
            Ok((theta[0] * theta[0] + 1.5 * theta[1] * theta[1], vec![2.0 * theta[0], 3.0 * theta[1]]))
        };
        let estimate = sam(&[4.0, 2.0], 0.5, &mut quadratic).unwrap();
        let close = |(found, expected): (&f64, f64)| (found - expected).abs() < 1e-14;
        assert!(estimate.loss == 22.0 && estimate.gradient.iter().zip([8.8, 6.9]).all(close), "{estimate:?}");
        let plain = sam(&[4.0, 2.0], 0.0, &mut quadratic).unwrap();
        assert_eq!((plain.loss, &plain.gradient[..]), (22.0, &[8.0, 6.0][..]));
        let flat = sam(&[0.0, 0.0], 0.5, &mut quadratic).unwrap();
        assert_eq!(flat.gradient, [0.0, 0.0]);
        assert_eq!(seen.len(), 4);
        assert!(seen[1].iter().zip([4.4, 2.3]).all(close), "{seen:?}");
    }
}
