//! One step's gradient: a training loss under the smoothing estimator of the configuration.

use tightrope_engine::{Loaded, Perturbation};

use crate::TrainError;
use crate::config::SmoothingSection;
use crate::methods::{Evaluated, Method, Minibatch, natural_loss};
use crate::population::population_losses;
use crate::smoothing::{
    AdaptationKind, Estimate, Measured, Shifted, Signal, SmoothingKind, guided_measured, lengths, mixed, pgpe_gradient,
    pgpe_loss, pgpe_measured, rgs, rgs_measured, sam,
};
use crate::state::Tally;

/// A gradient and the sums that go into the epoch's metrics.
#[derive(Clone, Debug)]
pub struct StepEstimate {
    /// Loss and gradient of the smoothed loss on the minibatch.
    pub estimate: Estimate<f32>,
    /// Signal and noise of the gradient, where something is adapted to it.
    pub signal: Option<Signal>,
    /// Counts of this step alone.
    pub tally: Tally,
    /// Statistics of the minibatch at θ in the network's batch norms, laid out as the buffers.
    pub statistics: Vec<f32>,
}

/// How a loss is turned into a gradient at one step.
#[derive(Clone, Copy)]
pub struct Estimator<'a> {
    /// Kind of the estimator, and how many losses or gradients it takes.
    pub smoothing: &'a SmoothingSection,
    /// Standard deviation σ of the noise on θ.
    pub sigma: f64,
    /// Factors of σ, one for each element of θ; 1 for all if absent.
    pub scales: Option<&'a [f32]>,
    /// PGPE: a differentiable loss much like the method's, whose part of the gradient is taken from its own gradients.
    pub control: Option<&'a dyn Method>,
    /// PGPE: the method along whose gradient alone the slope is measured.
    pub guide: Option<&'a dyn Method>,
    /// Radius ρ of the ascent of SAM, which goes with the plain gradient alone; 0 for none.
    pub sam: f64,
}

/// The gradient of `method` on `batch` at the θ of `at`, with noise addressed by the batch's seed and step.
///
/// `sample` is another handle of the same network, on which RGS and guided PGPE put θ + δ and SAM the θ it has climbed to. With
/// `measure`, accuracies that do not fall off the estimator are measured at θ by extra evaluations.
///
/// # Errors
/// If the engine refuses or PGPE is asked for σ = 0.
pub fn estimate(
    method: &dyn Method,
    batch: &Minibatch<'_>,
    at: &dyn Loaded<f32>,
    sample: &mut dyn Loaded<f32>,
    Estimator { smoothing, sigma, scales, control, guide, sam: rho }: Estimator<'_>,
    measure: bool,
) -> Result<StepEstimate, TrainError> {
    let adapts = smoothing.adapt != AdaptationKind::None;
    let perturbation = Perturbation { scales, ..Perturbation::new(batch.seed, batch.step, sigma as f32) };
    let mut tally = Tally::default();
    let samples = batch.labels.len() as u64;
    let mut statistics = Vec::new();
    if smoothing.kind != SmoothingKind::Grad {
        method.prepare(batch, at)?;
    }
    let mut gradient = |at: &dyn Loaded<f32>| {
        let (evaluated, gradient) = method.gradient(batch, at)?;
        tally.count(&evaluated, samples);
        statistics = evaluated.statistics;
        Ok((evaluated.loss, gradient))
    };
    let unmeasured = |estimate| Measured { estimate, variance: None };
    let measured = match smoothing.kind {
        SmoothingKind::Grad if rho > 0.0 => {
            let mut climbed = false;
            unmeasured(sam(at.theta(), rho, |theta| {
                // Only θ itself counts for accuracies and statistics.
                if !std::mem::replace(&mut climbed, true) {
                    return gradient(at);
                }
                sample.update(theta)?;
                let (evaluated, gradient) = method.gradient(batch, sample)?;
                Ok((evaluated.loss, gradient))
            })?)
        }
        SmoothingKind::Grad => {
            let (loss, gradient) = gradient(at)?;
            unmeasured(Estimate { loss, gradient })
        }
        SmoothingKind::Rgs => {
            let gradient = |theta: &[f32]| {
                sample.update(theta)?;
                gradient(sample)
            };
            match adapts {
                true => rgs_measured(at.theta(), &perturbation, smoothing.samples, gradient)?,
                false => unmeasured(rgs(at.theta(), &perturbation, smoothing.samples, gradient)?),
            }
        }
        SmoothingKind::Mixed => {
            let pairs = smoothing.population / 2;
            let losses = population_losses(method, batch, at, perturbation, pairs, smoothing.split)?;
            let values = pgpe_measured(at.theta().len(), &perturbation, &losses)?;
            // Members of their own, so that the two are independent.
            let noise = Shifted { noise: &perturbation, first: pairs };
            let gradients = rgs_measured(at.theta(), &noise, smoothing.samples, |theta| {
                sample.update(theta)?;
                gradient(sample)
            })?;
            mixed([&gradients, &values], [smoothing.samples, smoothing.population])?
        }
        SmoothingKind::Pgpe => {
            let pairs = smoothing.population / 2;
            // The gradient of another method, averaged over the noise of the first members.
            let mut smoothed = |method: &dyn Method| {
                let gradient = |theta: &[f32]| {
                    sample.update(theta)?;
                    let (evaluated, gradient) = method.gradient(batch, sample)?;
                    Ok((evaluated.loss, gradient))
                };
                match adapts {
                    true => rgs_measured(at.theta(), &perturbation, smoothing.samples, gradient),
                    false => Ok(unmeasured(rgs(at.theta(), &perturbation, smoothing.samples, gradient)?)),
                }
            };
            let measured = if let Some(guide) = guide {
                let direction = smoothed(guide)?.estimate.gradient;
                let lengths = lengths(batch.seed, batch.step, pairs);
                guided_measured(at.theta(), &perturbation, &direction, smoothing.samples, &lengths, |theta| {
                    sample.update(theta)?;
                    Ok(method.loss(batch, sample)?.loss)
                })?
            } else {
                let losses = |method| population_losses(method, batch, at, perturbation, pairs, smoothing.split);
                let mut values = losses(method)?;
                let loss = pgpe_loss(&values);
                let control = control.map(|control| {
                    let coefficient = subtract(&mut values, &losses(control)?);
                    Ok::<_, TrainError>((coefficient as f32, smoothed(control)?))
                });
                let control = control.transpose()?;
                let mut measured = match adapts {
                    true => pgpe_measured(at.theta().len(), &perturbation, &values)?,
                    false => {
                        let gradient = pgpe_gradient(at.theta().len(), &perturbation, &values)?;
                        unmeasured(Estimate { loss, gradient })
                    }
                };
                measured.estimate.loss = loss;
                if let Some((coefficient, smoothed)) = control {
                    let gradients = measured.estimate.gradient.iter_mut().zip(&smoothed.estimate.gradient);
                    gradients.for_each(|(g, s)| *g += coefficient * s);
                    // As if the two were independent, though they share members.
                    let both = measured.variance.zip(smoothed.variance);
                    measured.variance = both.map(|(own, other)| own + f64::from(coefficient).powi(2) * other);
                }
                measured
            };
            if measure {
                tally.count(&method.loss(batch, at)?, samples);
            }
            measured
        }
    };
    if measure && tally.natural_seen == 0 {
        let (_, correct) = natural_loss(batch, at)?;
        tally.count(&Evaluated { natural_correct: Some(correct), ..Evaluated::default() }, samples);
    }
    match smoothing.kind {
        SmoothingKind::Grad => {}
        // What falls off belongs to perturbed parameters.
        SmoothingKind::Rgs | SmoothingKind::Pgpe | SmoothingKind::Mixed if at.buffers().is_empty() => {}
        SmoothingKind::Rgs | SmoothingKind::Pgpe | SmoothingKind::Mixed => {
            statistics = at.forward_batch(batch.inputs)?.statistics;
        }
    }
    tally.samples = samples;
    let signal = if adapts { measured.signal() } else { None };
    let estimate = measured.estimate;
    tally.loss = estimate.loss * samples as f64;
    Ok(StepEstimate { estimate, signal, tally, statistics })
}

/// Subtracts from the losses so many times those of a control at the same points that their antithetic differences vary least,
/// and tells how many times: the slope of the regression of one's differences on the other's.
///
/// The slope is found from the same losses, which costs a bias of the order of 1/pairs of what the control explains.
fn subtract(losses: &mut [[f64; 2]], control: &[[f64; 2]]) -> f64 {
    let difference = |[plus, minus]: &[f64; 2]| plus - minus;
    let pairs = || losses.iter().map(difference).zip(control.iter().map(difference));
    let squares: f64 = pairs().map(|(_, c)| c * c).sum();
    let slope = if squares > 0.0 { pairs().map(|(l, c)| l * c).sum::<f64>() / squares } else { 0.0 };
    losses.iter_mut().flatten().zip(control.iter().flatten()).for_each(|(loss, control)| *loss -= slope * control);
    slope
}
