//! Guided PGPE: the slope of the smoothed loss along one direction that a cheaper gradient gives, from loss values.

use rayon::prelude::*;
use tightrope_engine::Real;
use tightrope_noise::{Purpose, Stream};

use super::noise::CHUNK;
use super::sums::{square, sum};
use super::{Estimate, Measured, Noise};
use crate::TrainError;

/// The part of ∇L_σ(θ) along `direction`, from the losses at an antithetic pair for each of `lengths`.
///
/// With σS the noise's standard deviations and v = S·`direction` divided by its length, every pair replaces what its noise has
/// along v by its own length c > 0 and by −c:
///
/// sᵢ = (L(θ + rᵢ + σcᵢSv) − L(θ + rᵢ − σcᵢSv)) / (2σcᵢ),  rᵢ = δᵢ less its part along v,
///
/// and g = mean(s)·`direction`/|S·`direction`|. Where lengths have the density of c²φ(c), as [`lengths`] gives them, E s is the
/// derivative of the smoothed loss along v, jumps included: E_φ[(L(c) − L(−c))·c]/2σ is that derivative (Stein's identity), and
/// c² is what the two densities differ by. A loss that is linear along v has no spread at all, where PGPE's estimate of the
/// same slope has that of all |θ| directions together; what is not along v stays unknown. The direction must not depend on the
/// noise of `first_member` and those after it. Related: guided evolution strategies (Maheswaranathan et al. 2019, arXiv
/// 1806.10230), whose noise is stretched along the directions in place of measured at isotropic points.
///
/// A direction of no length gives no gradient. The loss that is told is the mean of all that were evaluated.
///
/// # Errors
/// If σ is not positive, there are no lengths, or the loss fails.
pub fn guided<T: Real>(
    theta: &[T],
    noise: &impl Noise,
    direction: &[T],
    first_member: u64,
    lengths: &[f64],
    loss: impl FnMut(&[T]) -> Result<f64, TrainError>,
) -> Result<Estimate<T>, TrainError> {
    Ok(guided_measured(theta, noise, direction, first_member, lengths, loss)?.estimate)
}

/// [`guided`] to the same bits, with the variance along the direction that its pairs tell of; how far the direction itself is
/// off is not in it.
///
/// # Errors
/// As [`guided`].
pub fn guided_measured<T: Real>(
    theta: &[T],
    noise: &impl Noise,
    direction: &[T],
    first_member: u64,
    lengths: &[f64],
    mut loss: impl FnMut(&[T]) -> Result<f64, TrainError>,
) -> Result<Measured<T>, TrainError> {
    let sigma = noise.sigma();
    let fail = |problem: String| Err(TrainError::Smoothing { estimator: "guided PGPE", problem });
    if !(sigma > 0.0 && sigma.is_finite()) {
        return fail(format!("needs σ > 0, got {sigma}; raise smoothing.sigma, or use smoothing.kind = \"grad\""));
    }
    if lengths.is_empty() {
        return fail("needs at least one antithetic pair (a population of 2)".into());
    }
    let scale = |index: usize| noise.scales().map_or(1.0, |scales| f64::from(scales[index]));
    let squares = |(i, g): (usize, &T)| (scale(i) * g.to_f64()).powi(2);
    let stretched = sum(direction, squares).sqrt();
    let along = if stretched > 0.0 { 1.0 / stretched } else { 0.0 };
    let mut sample = vec![T::ZERO; theta.len()];
    let (mut losses, mut slopes) = (0.0, Vec::with_capacity(lengths.len()));
    for (pair, &length) in lengths.iter().enumerate() {
        let member = first_member + pair as u64;
        let own = along / sigma * projection(direction, noise, member);
        let mut at = |c: f64| {
            noise.perturb(theta, member, 1.0, &mut sample);
            let step = (c - own) * sigma * along;
            sample.par_iter_mut().zip(direction).enumerate().for_each(|(i, (sample, g))| {
                *sample += T::from_f64(step * scale(i).powi(2) * g.to_f64());
            });
            loss(&sample)
        };
        let (plus, minus) = (at(length)?, at(-length)?);
        losses += plus + minus;
        slopes.push((plus - minus) / (2.0 * sigma * length));
    }
    let pairs = lengths.len() as f64;
    let slope = slopes.iter().fold(0.0, |sum, slope| sum + slope) / pairs;
    let factor = slope * along;
    let gradient = direction.iter().map(|g| T::from_f64(factor * g.to_f64())).collect();
    let variance = (slopes.len() > 1).then(|| {
        let squares: f64 = slopes.iter().map(|own| (own - slope).powi(2)).sum();
        squares / (pairs - 1.0) / pairs * along.powi(2) * square(direction)
    });
    Ok(Measured { estimate: Estimate { loss: losses / (2.0 * pairs), gradient }, variance })
}

/// Lengths for [`guided`]: independent draws of the density c²φ(c) on c > 0 twice, φ the standard normal one: lengths of normal
/// vectors of three elements.
pub fn lengths(seed: u64, step: u64, pairs: u64) -> Vec<f64> {
    let length = |pair| {
        let mut vector = [0.0; 3];
        Stream::new(seed, Purpose::Guide, step, pair).gaussian(0, &mut vector);
        vector.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>().sqrt().max(f64::from(f32::MIN_POSITIVE))
    };
    (0..pairs).map(length).collect()
}

/// Σ δ·`direction` over the elements of θ, in the same order whatever the number of threads.
fn projection<T: Real>(direction: &[T], noise: &impl Noise, member: u64) -> f64 {
    let parts: Vec<f64> = direction
        .par_chunks(CHUNK)
        .enumerate()
        .map(|(chunk, direction)| {
            let mut delta = [0.0; CHUNK];
            let delta = &mut delta[..direction.len()];
            noise.fill(member, chunk * CHUNK, delta);
            delta.iter().zip(direction).map(|(&d, g)| f64::from(d) * g.to_f64()).sum()
        })
        .collect();
    parts.iter().sum()
}
