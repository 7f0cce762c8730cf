//! Sensitivity to weight noise: what random small changes of all parameters do to the loss.

use serde::Serialize;
use tightrope_statistics::Moments;

/// Changes L(θ+δ) − L(θ) under δ ~ N(0, σ²I).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Standard deviation σ of the weight noise.
    pub sigma: f64,
    /// Samples of δ, in antithetic pairs.
    pub samples: usize,
    /// Mean of |L(θ+δ) − L(θ)|.
    pub mean_absolute: f64,
    /// Its standard error over the pairs.
    pub standard_error: f64,
    /// Mean of L(θ+δ) − L(θ).
    pub mean: f64,
    /// Standard deviation of L(θ+δ).
    pub std: f64,
}

/// The sensitivity from L(θ) and values at θ ± δ, pair after pair, of weight noise with σ = `sigma`.
pub fn sensitivity(sigma: f64, centre: f64, neighbours: &[f64]) -> Sensitivity {
    let (pairs, _) = neighbours.as_chunks::<2>();
    let absolute: Vec<f64> =
        pairs.iter().map(|[plus, minus]| 0.5 * ((plus - centre).abs() + (minus - centre).abs())).collect();
    let of_absolute = Moments::of(&absolute);
    let of_values = Moments::of(neighbours);
    Sensitivity {
        sigma,
        samples: neighbours.len(),
        mean_absolute: of_absolute.map_or(f64::NAN, |moments| moments.mean),
        standard_error: of_absolute
            .and_then(|moments| Some(moments.std? / (moments.count as f64).sqrt()))
            .unwrap_or(f64::NAN),
        mean: of_values.map_or(f64::NAN, |moments| moments.mean - centre),
        std: of_values.and_then(|moments| moments.std).unwrap_or(f64::NAN),
    }
}
