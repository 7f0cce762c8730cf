//! Standard training: natural cross-entropy, no robustness.

use std::ops::Range;

use tightrope_engine::{Loaded, MemberRequest, Perturbation, Relaxation};
use tightrope_network::Initialisation;

use super::clean::{NaturalGradient, natural_gradient, natural_loss};
use super::{Evaluated, Method, MethodInfo, Minibatch, mean};
use crate::TrainError;
use crate::loss::cross_entropy;

/// Natural cross-entropy on the clean inputs; ε and the robust weight are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

/// `standard`.
pub static STANDARD: MethodInfo = MethodInfo {
    name: "standard",
    title: "Standard training",
    aliases: &[],
    summary: "natural cross-entropy, no robustness",
    description: "L = −log softmax(f_θ(x))_y, averaged over the batch. ε and the robust weight are ignored. Networks \
                  trained so are evaluated with interval bounds, which say little about them.",
    source: "none; the baseline of all others",
    settings: &[],
    build: |_| Ok(Box::new(Standard)),
};

impl Method for Standard {
    fn info(&self) -> &'static MethodInfo {
        &STANDARD
    }

    fn evaluation(&self) -> Relaxation {
        Relaxation::Ibp
    }

    fn initialisation(&self) -> Initialisation {
        Initialisation::Default
    }

    fn loss(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<Evaluated, TrainError> {
        let (loss, correct) = natural_loss(batch, at)?;
        Ok(evaluated(loss, correct, Vec::new()))
    }

    fn gradient(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<(Evaluated, Vec<f32>), TrainError> {
        let NaturalGradient { loss, correct, gradient, statistics } = natural_gradient(batch, at, 1.0)?;
        Ok((evaluated(loss, correct, statistics), gradient))
    }

    fn population_loss(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
    ) -> Result<Vec<[f64; 2]>, TrainError> {
        let request = MemberRequest { inputs: Some(batch.inputs), bounds: None };
        Ok(at.members(perturbation, pairs, &request, &|output| {
            mean(&cross_entropy(output.logits.unwrap_or_default(), batch.labels).per_sample)
        })?)
    }
}

fn evaluated(loss: f64, correct: usize, statistics: Vec<f32>) -> Evaluated {
    Evaluated { loss, natural_loss: Some(loss), natural_correct: Some(correct), certified: None, statistics }
}
