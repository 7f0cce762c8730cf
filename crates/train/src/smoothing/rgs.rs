//! GRAD, the plain gradient, and RGS, the mean of gradients at randomly perturbed parameters.

use rayon::prelude::*;
use tightrope_engine::Real;

use super::noise::CHUNK;
use super::{Estimate, Noise};
use crate::TrainError;

/// GRAD: loss and gradient at θ itself.
///
/// # Errors
/// If the loss fails.
pub fn grad<T: Real>(
    theta: &[T],
    mut gradient: impl FnMut(&[T]) -> Result<(f64, Vec<T>), TrainError>,
) -> Result<Estimate<T>, TrainError> {
    let (loss, gradient) = gradient(theta)?;
    Ok(Estimate { loss, gradient })
}

/// RGS (randomised gradient smoothing, arXiv 2403.07095): g = (1/n) Σᵢ ∇L(θ+δᵢ), δᵢ of members 0 … n−1.
///
/// σ = 0 evaluates θ once and returns the plain gradient; noise that happens to be zero gives the
/// same bits for f32, since n equal single-precision summands are added and divided exactly in f64.
///
/// # Errors
/// If `samples` is 0 or the loss fails.
pub fn rgs<T: Real>(
    theta: &[T],
    noise: &impl Noise,
    samples: u64,
    mut gradient: impl FnMut(&[T]) -> Result<(f64, Vec<T>), TrainError>,
) -> Result<Estimate<T>, TrainError> {
    if samples == 0 {
        return Err(TrainError::Smoothing { estimator: "RGS", problem: "needs at least one sample".into() });
    }
    if noise.sigma() == 0.0 {
        return grad(theta, gradient);
    }
    let mut sample = vec![T::ZERO; theta.len()];
    let mut losses = 0.0;
    let mut sum: Vec<f64> = Vec::new();
    for member in 0..samples {
        noise.perturb(theta, member, 1.0, &mut sample);
        let (loss, part) = gradient(&sample)?;
        losses += loss;
        if member == 0 {
            sum = part.iter().map(|g| g.to_f64()).collect();
        } else {
            sum.par_chunks_mut(CHUNK).zip(part.par_chunks(CHUNK)).for_each(|(sum, part)| {
                sum.iter_mut().zip(part).for_each(|(s, g)| *s += g.to_f64());
            });
        }
    }
    let n = samples as f64;
    Ok(Estimate { loss: losses / n, gradient: sum.into_iter().map(|s| T::from_f64(s / n)).collect() })
}
