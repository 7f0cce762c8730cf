//! GRAD, the plain gradient, and RGS, the mean of gradients at randomly perturbed parameters.

use rayon::prelude::*;
use tightrope_engine::Real;

use super::noise::CHUNK;
use super::sums::sum;
use super::{Estimate, Measured, Noise};
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
    gradient: impl FnMut(&[T]) -> Result<(f64, Vec<T>), TrainError>,
) -> Result<Estimate<T>, TrainError> {
    Ok(averaged(theta, noise, samples, false, gradient)?.estimate)
}

/// [`rgs`] to the same bits, with the variance that its samples tell of.
///
/// A loss that is linear between its jumps has none: what RGS misses, jumps, is not in it.
///
/// # Errors
/// As [`rgs`].
pub fn rgs_measured<T: Real>(
    theta: &[T],
    noise: &impl Noise,
    samples: u64,
    gradient: impl FnMut(&[T]) -> Result<(f64, Vec<T>), TrainError>,
) -> Result<Measured<T>, TrainError> {
    averaged(theta, noise, samples, true, gradient)
}

/// The mean of gradients, with its variance if `measure`.
fn averaged<T: Real>(
    theta: &[T],
    noise: &impl Noise,
    samples: u64,
    measure: bool,
    mut gradient: impl FnMut(&[T]) -> Result<(f64, Vec<T>), TrainError>,
) -> Result<Measured<T>, TrainError> {
    if samples == 0 {
        return Err(TrainError::Smoothing { estimator: "RGS", problem: "needs at least one sample".into() });
    }
    if noise.sigma() == 0.0 {
        return Ok(Measured { estimate: grad(theta, gradient)?, variance: Some(0.0) });
    }
    let mut sample = vec![T::ZERO; theta.len()];
    let mut losses = 0.0;
    let mut total: Vec<f64> = Vec::new();
    let (mut first, mut squares) = (Vec::new(), 0.0);
    for member in 0..samples {
        noise.perturb(theta, member, 1.0, &mut sample);
        let (loss, part) = gradient(&sample)?;
        losses += loss;
        if member == 0 {
            total = part.iter().map(|g| g.to_f64()).collect();
            first = if measure { part } else { Vec::new() };
            continue;
        }
        total.par_chunks_mut(CHUNK).zip(part.par_chunks(CHUNK)).for_each(|(total, part)| {
            total.iter_mut().zip(part).for_each(|(s, g)| *s += g.to_f64());
        });
        if measure {
            // From the first gradient on, since squares of whole gradients would cancel where they are alike.
            squares += sum(&part, |(i, g)| (g.to_f64() - first[i].to_f64()).powi(2));
        }
    }
    let n = samples as f64;
    let variance = (measure && samples > 1).then(|| {
        let mean = sum(&first, |(i, g)| (total[i] / n - g.to_f64()).powi(2));
        (squares - n * mean).max(0.0) / (n - 1.0) / n
    });
    let gradient = total.into_iter().map(|s| T::from_f64(s / n)).collect();
    Ok(Measured { estimate: Estimate { loss: losses / n, gradient }, variance })
}
