//! The clean pass of a training loss: natural cross-entropy, and the statistics that the bounds of batch norms take from it.

use tightrope_engine::{BatchPass, Cotangents, Loaded, Wants};

use super::{Minibatch, mean, scaled, theta_of};
use crate::TrainError;
use crate::loss::cross_entropy;

/// Whether the network normalises by the statistics of the minibatch, so that every loss needs the clean pass.
pub(super) fn takes_statistics(at: &dyn Loaded<f32>) -> bool {
    !at.buffers().is_empty()
}

/// A clean pass without its tape.
pub(super) struct Clean {
    /// Logits of the minibatch.
    pub(super) logits: Vec<f32>,
    /// For networks with batch norms, a handle at the statistics of the pass.
    pub(super) own: Option<Box<dyn Loaded<f32>>>,
}

/// The clean pass of the minibatch.
pub(super) fn clean(batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<Clean, TrainError> {
    if !takes_statistics(at) {
        return Ok(Clean { logits: at.forward(batch.inputs)?, own: None });
    }
    let BatchPass { logits, statistics, tape: _ } = at.forward_batch(batch.inputs)?;
    Ok(Clean { logits, own: Some(at.with_buffers(&statistics)?) })
}

/// Mean natural cross-entropy and the number of correct samples.
pub(crate) fn natural_loss(batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<(f64, usize), TrainError> {
    let natural = cross_entropy(&clean(batch, at)?.logits, batch.labels);
    Ok((mean(&natural.per_sample), natural.correct))
}

/// A natural loss with a gradient.
pub(super) struct NaturalGradient {
    /// Mean cross-entropy.
    pub(super) loss: f64,
    /// Correct samples.
    pub(super) correct: usize,
    /// Gradient of the weighted loss `[|θ|]`.
    pub(super) gradient: Vec<f32>,
    /// Statistics of the minibatch, laid out as the buffers.
    pub(super) statistics: Vec<f32>,
}

/// As [`natural_loss`], with the gradient of `weight` times the loss.
pub(super) fn natural_gradient(
    batch: &Minibatch<'_>,
    at: &dyn Loaded<f32>,
    weight: f64,
) -> Result<NaturalGradient, TrainError> {
    let BatchPass { logits, statistics, tape } = at.forward_batch(batch.inputs)?;
    let natural = cross_entropy(&logits, batch.labels);
    let cotangents = Cotangents::on_lower(scaled(natural.cotangent, weight));
    let gradients = at.vjp(&tape, &cotangents, Wants::THETA)?;
    let (loss, correct) = (mean(&natural.per_sample), natural.correct);
    Ok(NaturalGradient { loss, correct, gradient: theta_of(gradients.theta, at), statistics })
}
