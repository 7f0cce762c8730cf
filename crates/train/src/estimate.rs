//! One step's gradient: a training loss under the smoothing estimator of the configuration.

use tightrope_engine::Perturbation;

use crate::config::{SmoothingKind, SmoothingSection};
use crate::methods::{Evaluated, Method, Minibatch, natural_loss};
use crate::smoothing::{grad, pgpe_gradient, pgpe_loss, rgs};
use crate::state::Tally;
use crate::{TrainError, smoothing::Estimate};

/// A gradient and the sums that go into the epoch's metrics.
#[derive(Clone, Debug)]
pub struct StepEstimate {
    /// Loss and gradient of the smoothed loss on the minibatch.
    pub estimate: Estimate<f32>,
    /// Counts of this step alone.
    pub tally: Tally,
}

/// The gradient of `method` on `batch` at `theta` with noise of standard deviation `sigma`, addressed by the batch's seed and step.
///
/// With `measure`, accuracies that do not fall off the estimator are measured at `theta` by extra evaluations.
///
/// # Errors
/// If the engine refuses or PGPE is asked for σ = 0.
pub fn estimate(
    method: &dyn Method,
    batch: &Minibatch<'_>,
    theta: &[f32],
    smoothing: &SmoothingSection,
    sigma: f64,
    measure: bool,
) -> Result<StepEstimate, TrainError> {
    let perturbation = Perturbation { seed: batch.seed, step: batch.step, sigma: sigma as f32 };
    let mut tally = Tally::default();
    let samples = batch.labels.len() as u64;
    let mut gradient = |theta: &[f32]| {
        let (evaluated, gradient) = method.gradient(batch, theta)?;
        tally.count(&evaluated, samples);
        Ok((evaluated.loss, gradient))
    };
    let estimate = match smoothing.kind {
        SmoothingKind::Grad => grad(theta, gradient)?,
        SmoothingKind::Rgs => rgs(theta, &perturbation, smoothing.samples, &mut gradient)?,
        SmoothingKind::Pgpe => {
            let losses = method.population_loss(batch, theta, perturbation, 0..smoothing.population / 2)?;
            let gradient = pgpe_gradient(theta.len(), &perturbation, &losses)?;
            if measure {
                tally.count(&method.loss(batch, theta)?, samples);
            }
            Estimate { loss: pgpe_loss(&losses), gradient }
        }
    };
    if measure && tally.natural_seen == 0 {
        let (_, correct) = natural_loss(batch, theta)?;
        tally.count(&Evaluated { natural_correct: Some(correct), ..Evaluated::default() }, samples);
    }
    tally.samples = samples;
    tally.loss = estimate.loss * samples as f64;
    Ok(StepEstimate { estimate, tally })
}
