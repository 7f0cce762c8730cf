//! Losses of a population: every pair on the whole minibatch, or each on images of its own.

use rayon::prelude::*;
use tightrope_engine::{Loaded, Perturbation};

use crate::TrainError;
use crate::methods::{Method, Minibatch};

/// The losses of members 0 … `pairs` − 1.
///
/// With `split`, pairs and images are cut into as many parts as there are of the fewer, and the pairs of a part see its images
/// alone. For the same cost there are as many times the pairs: what differs between images is averaged over with the noise,
/// instead of being measured again in every direction. Losses are weighted by the sizes of the parts, so that the estimate's
/// mean is that of the whole minibatch.
///
/// # Errors
/// As [`Method::population_loss`].
pub(crate) fn population_losses(
    method: &dyn Method,
    batch: &Minibatch<'_>,
    at: &dyn Loaded<f32>,
    perturbation: Perturbation<'_>,
    pairs: u64,
    split: bool,
) -> Result<Vec<[f64; 2]>, TrainError> {
    let images = batch.labels.len();
    let parts = images.min(pairs as usize);
    if !split || parts <= 1 {
        return method.population_loss(batch, at, perturbation, 0..pairs);
    }
    let cut = |part: usize, of: usize| part * of / parts;
    let dimension = batch.inputs.len() / images;
    let losses = (0..parts).into_par_iter().map(|part| {
        let [first, end] = [part, part + 1].map(|part| cut(part, images));
        let mut own = Minibatch::new(
            &batch.inputs[first * dimension..end * dimension],
            &batch.labels[first..end],
            batch.threat,
            batch.robust_weight,
            batch.seed,
            batch.step,
        );
        (own.warmup, own.first) = (batch.warmup, batch.first + first);
        let range = cut(part, pairs as usize) as u64..cut(part + 1, pairs as usize) as u64;
        let weight = ((end - first) * parts) as f64 / images as f64;
        let losses = method.population_loss(&own, at, perturbation, range)?;
        Ok(losses.into_iter().map(|both| both.map(|loss| weight * loss)).collect())
    });
    Ok(losses.collect::<Result<Vec<Vec<_>>, TrainError>>()?.concat())
}
