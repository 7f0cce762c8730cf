//! PGPE: a gradient estimate from loss values at antithetic pairs of perturbed parameters.

use rayon::prelude::*;
use tightrope_engine::Real;

use super::noise::CHUNK;
use super::{Estimate, Noise};
use crate::TrainError;

/// PGPE (Sehnke et al. 2010; arXiv 2403.07095): rᵢ± = L(θ±δᵢ) for members 0 … n−1 and
/// g = (1/n) Σᵢ δᵢ (rᵢ⁺ − rᵢ⁻)/(2σ²), with σ² the variance of each element of δᵢ.
///
/// `pairs` is n, half the population.
///
/// # Errors
/// If σ is not positive, there are no pairs, or the loss fails.
pub fn pgpe<T: Real>(
    theta: &[T],
    noise: &impl Noise,
    pairs: u64,
    mut loss: impl FnMut(&[T]) -> Result<f64, TrainError>,
) -> Result<Estimate<T>, TrainError> {
    let mut sample = vec![T::ZERO; theta.len()];
    let mut losses = Vec::with_capacity(pairs as usize);
    for member in 0..pairs {
        let mut both = [0.0; 2];
        for (value, sign) in both.iter_mut().zip([1.0, -1.0]) {
            noise.perturb(theta, member, sign, &mut sample);
            *value = loss(&sample)?;
        }
        losses.push(both);
    }
    Ok(Estimate { loss: pgpe_loss(&losses), gradient: pgpe_gradient(theta.len(), noise, &losses)? })
}

/// The smoothed loss (1/2n) Σᵢ rᵢ⁺ + rᵢ⁻ of `losses`, one pair per member.
pub fn pgpe_loss(losses: &[[f64; 2]]) -> f64 {
    losses.iter().map(|[plus, minus]| plus + minus).sum::<f64>() / (2 * losses.len()) as f64
}

/// The gradient estimate of [`pgpe`] for `parameters` parameters from `losses`, one pair per member.
///
/// The noise is regenerated member by member and nothing of size members × parameters is stored;
/// every element is summed in f64 in the order of members, whatever the number of threads.
///
/// # Errors
/// If σ is not positive or there are no pairs.
pub fn pgpe_gradient<T: Real>(
    parameters: usize,
    noise: &impl Noise,
    losses: &[[f64; 2]],
) -> Result<Vec<T>, TrainError> {
    let sigma = noise.sigma();
    let fail = |problem: String| Err(TrainError::Smoothing { estimator: "PGPE", problem });
    if !(sigma > 0.0 && sigma.is_finite()) {
        return fail(format!("needs σ > 0, got {sigma}; raise smoothing.sigma, or use smoothing.kind = \"grad\""));
    }
    if losses.is_empty() {
        return fail("needs at least one antithetic pair (a population of 2)".into());
    }
    let scale = 1.0 / (2.0 * sigma * sigma * losses.len() as f64);
    let mut gradient = vec![T::ZERO; parameters];
    gradient.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, gradient)| {
        let mut delta = [0.0_f32; CHUNK];
        let delta = &mut delta[..gradient.len()];
        let mut sum = [0.0_f64; CHUNK];
        for (member, [plus, minus]) in losses.iter().enumerate() {
            noise.fill(member as u64, chunk * CHUNK, delta);
            let difference = plus - minus;
            sum.iter_mut().zip(&*delta).for_each(|(s, &d)| *s += f64::from(d) * difference);
        }
        if let Some(scales) = noise.scales() {
            // The variance of the element is s² times σ²; what does not move has no derivative.
            let scales = &scales[chunk * CHUNK..][..gradient.len()];
            sum.iter_mut().zip(scales).for_each(|(sum, &s)| *sum /= f64::from(if s > 0.0 { s * s } else { 1.0 }));
        }
        gradient.iter_mut().zip(&sum).for_each(|(g, s)| *g = T::from_f64(s * scale));
    });
    Ok(gradient)
}
