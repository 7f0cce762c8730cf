//! Everything that changes during a run: what a checkpoint holds.

use std::sync::Arc;

use crate::average::Average;
use crate::methods::Evaluated;
use crate::optimiser::Optimiser;
use crate::smoothing::Adaptation;

/// Parameters, optimiser and position of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The mean parameters θ, shared with the handle that is trained on.
    pub theta: Arc<Vec<f32>>,
    /// The buffers: running statistics of batch norms, or population ones after an epoch.
    pub buffers: Vec<f32>,
    /// Optimiser.
    pub optimiser: Optimiser,
    /// The average of θ that is evaluated and saved in its place, once it has begun.
    pub average: Option<Average>,
    /// Population and σ of the next step, where they are adapted.
    pub adaptation: Option<Adaptation>,
    /// Epochs completed.
    pub epoch: usize,
    /// Steps done in the epoch at hand.
    pub position: usize,
    /// Steps done in all.
    pub step: u64,
    /// Sums over the epoch at hand.
    pub tally: Tally,
}

/// Sums from which an epoch's training metrics are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Samples trained on.
    pub samples: u64,
    /// Sum over samples of the loss.
    pub loss: f64,
    /// Samples whose prediction is known.
    pub natural_seen: u64,
    /// Of these, the correct ones.
    pub natural_correct: u64,
    /// Samples whose margins were bounded.
    pub certified_seen: u64,
    /// Of these, the certified ones.
    pub certified: u64,
}

impl State {
    /// The state before the first step.
    pub fn new(theta: Vec<f32>, buffers: Vec<f32>, optimiser: Optimiser, adaptation: Option<Adaptation>) -> Self {
        State {
            theta: Arc::new(theta),
            buffers,
            optimiser,
            average: None,
            adaptation,
            epoch: 0,
            position: 0,
            step: 0,
            tally: Tally::default(),
        }
    }

    /// θ and buffers of the model that is evaluated and saved: the average, where there is one.
    pub fn shown(&self) -> (&[f32], &[f32]) {
        match &self.average {
            Some(average) => (&average.theta, &average.buffers),
            None => (&self.theta, &self.buffers),
        }
    }
}

impl Tally {
    /// Counts what one evaluation of `samples` samples found out about accuracies.
    pub(crate) fn count(&mut self, evaluated: &Evaluated, samples: u64) {
        if let Some(correct) = evaluated.natural_correct {
            self.natural_seen += samples;
            self.natural_correct += correct as u64;
        }
        if let Some(certified) = evaluated.certified {
            self.certified_seen += samples;
            self.certified += certified as u64;
        }
    }

    /// Adds the sums of another step.
    pub(crate) fn add(&mut self, step: &Tally) {
        self.samples += step.samples;
        self.loss += step.loss;
        self.natural_seen += step.natural_seen;
        self.natural_correct += step.natural_correct;
        self.certified_seen += step.certified_seen;
        self.certified += step.certified;
    }

    /// Mean loss over the samples; 0 before the first.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    /// Part of the samples classified correctly, where known.
    pub fn natural_accuracy(&self) -> Option<f64> {
        (self.natural_seen > 0).then(|| self.natural_correct as f64 / self.natural_seen as f64)
    }

    /// Part of the samples certified, where known.
    pub fn certified_accuracy(&self) -> Option<f64> {
        (self.certified_seen > 0).then(|| self.certified as f64 / self.certified_seen as f64)
    }
}
