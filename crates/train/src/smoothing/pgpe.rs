//! PGPE: a gradient estimate from loss values at antithetic pairs of perturbed parameters.

use rayon::prelude::*;
use tightrope_engine::Real;

use super::noise::CHUNK;
use super::sums::square;
use super::{Estimate, Measured, Noise};
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
    Ok(projected(parameters, noise, losses, false)?.0)
}

/// [`pgpe_gradient`] to the same bits beside [`pgpe_loss`], with the variance that its pairs tell of.
///
/// Where pairs have images of their own, the pairs' means differ, too, so that the variance is rather too large.
///
/// # Errors
/// As [`pgpe_gradient`].
pub fn pgpe_measured<T: Real>(
    parameters: usize,
    noise: &impl Noise,
    losses: &[[f64; 2]],
) -> Result<Measured<T>, TrainError> {
    let (gradient, squares) = projected(parameters, noise, losses, true)?;
    let n = losses.len() as f64;
    let variance = (losses.len() > 1).then(|| (squares / n - square(&gradient)).max(0.0) / (n - 1.0));
    Ok(Measured { estimate: Estimate { loss: pgpe_loss(losses), gradient }, variance })
}

/// The mean of the pairs' terms δᵢ (rᵢ⁺ − rᵢ⁻)/(2σ²), and the sum of their squared lengths if `measure`, else 0.
fn projected<T: Real>(
    parameters: usize,
    noise: &impl Noise,
    losses: &[[f64; 2]],
    measure: bool,
) -> Result<(Vec<T>, f64), TrainError> {
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
    let chunk = |(chunk, gradient): (usize, &mut [T])| {
        let mut delta = [0.0_f32; CHUNK];
        let delta = &mut delta[..gradient.len()];
        let mut sum = [0.0_f64; CHUNK];
        let mut squares = 0.0;
        // The variance of an element is s² times σ²; what does not move has no derivative.
        let scales = noise.scales().map(|scales| &scales[chunk * CHUNK..][..gradient.len()]);
        let divisor = |s: f32| f64::from(if s > 0.0 { s * s } else { 1.0 });
        for (member, [plus, minus]) in losses.iter().enumerate() {
            noise.fill(member as u64, chunk * CHUNK, delta);
            let difference = plus - minus;
            sum.iter_mut().zip(&*delta).for_each(|(s, &d)| *s += f64::from(d) * difference);
            if measure {
                let length: f64 = match scales {
                    None => delta.iter().map(|&d| f64::from(d).powi(2)).sum(),
                    Some(scales) => delta.iter().zip(scales).map(|(&d, &s)| (f64::from(d) / divisor(s)).powi(2)).sum(),
                };
                squares += length * difference.powi(2);
            }
        }
        if let Some(scales) = scales {
            sum.iter_mut().zip(scales).for_each(|(sum, &s)| *sum /= divisor(s));
        }
        gradient.iter_mut().zip(&sum).for_each(|(g, s)| *g = T::from_f64(s * scale));
        squares
    };
    let squares: Vec<f64> = gradient.par_chunks_mut(CHUNK).enumerate().map(chunk).collect();
    let unit = 1.0 / (2.0 * sigma * sigma);
    Ok((gradient, squares.iter().sum::<f64>() * unit * unit))
}
