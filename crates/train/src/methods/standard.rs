//! Standard training: natural cross-entropy, no robustness.

use super::{Evaluated, Method, Minibatch, natural_gradient, natural_loss};
use crate::TrainError;

/// Natural cross-entropy on the clean inputs; ε and the robust weight are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

impl Method for Standard {
    fn name(&self) -> &'static str {
        "standard"
    }

    fn loss(&self, batch: &Minibatch<'_>, theta: &[f32]) -> Result<Evaluated, TrainError> {
        let (loss, correct) = natural_loss(batch, theta)?;
        Ok(evaluated(loss, correct))
    }

    fn gradient(&self, batch: &Minibatch<'_>, theta: &[f32]) -> Result<(Evaluated, Vec<f32>), TrainError> {
        let (loss, correct, gradient) = natural_gradient(batch, theta, 1.0)?;
        Ok((evaluated(loss, correct), gradient))
    }
}

fn evaluated(loss: f64, correct: usize) -> Evaluated {
    Evaluated { loss, natural_loss: Some(loss), natural_correct: Some(correct), certified: None }
}
