//! What a run tells its observer, and the metrics of an epoch.

use serde::{Deserialize, Serialize};
use tightrope_data::Split;

/// What lies ahead when a run starts or resumes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Epochs in all.
    pub epochs: usize,
    /// Epochs already done.
    pub epochs_done: usize,
    /// Steps per epoch.
    pub steps_per_epoch: usize,
    /// Steps already done in all; > 0 for a resumed run.
    pub steps_done: u64,
    /// Training samples per epoch.
    pub samples: usize,
    /// Parameters of the network.
    pub parameters: usize,
}

/// One step done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Epoch at hand, from 1.
    pub epoch: usize,
    /// Steps done in it.
    pub position: usize,
    /// Steps per epoch.
    pub steps_per_epoch: usize,
    /// Steps done in all.
    pub step: u64,
    /// Mean loss over the epoch so far.
    pub loss: f64,
    /// Part of the training samples of the epoch so far classified correctly (measured on some of them).
    pub natural_accuracy: Option<f64>,
    /// Part of the training samples of the epoch so far certified at the ε of their step.
    pub certified_accuracy: Option<f64>,
    /// Euclidean norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Radius ε.
    pub epsilon: f64,
    /// Images per second, since the start of the epoch or the resumption.
    pub images_per_second: f64,
    /// Seconds to the end of the run at the pace so far, evaluations included.
    pub eta_seconds: f64,
}

/// Metrics of one epoch: a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Epochs done, from 1.
    pub epoch: usize,
    /// Steps done in all.
    pub step: u64,
    /// Seconds since 1970 when the epoch ended.
    pub time: f64,
    /// Mean training loss, without ℓ1.
    pub loss: f64,
    /// Part of the training samples classified correctly (measured on some of them).
    pub train_natural_accuracy: Option<f64>,
    /// Part of the training samples certified at the ε of their step.
    pub train_certified_accuracy: Option<f64>,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Radius ε of the last step.
    pub eps: f64,
    /// Standard deviation σ of the last step, or of the next where it is adapted; 0 without smoothing.
    pub sigma: f64,
    /// Members of the last step, or of the next where they are adapted: gradients of `rgs`, else losses; 0 without smoothing,
    /// and in metrics of programs that did not tell.
    #[serde(default)]
    pub population: u64,
    /// Signal-to-noise ratio of the gradients of the last steps, where something is adapted to it.
    #[serde(default)]
    pub snr: Option<f64>,
    /// Weight of the robust part at the last step.
    pub robust_weight: f64,
    /// Training images per second, since the start of the epoch or the resumption.
    pub images_per_second: f64,
    /// Seconds of training, since the start of the epoch or the resumption.
    pub seconds: f64,
    /// The evaluation, if there was one.
    pub test: Option<TestMetrics>,
}

/// Metrics on the test set, or on the validation split where there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestMetrics {
    /// `test` or `validation`.
    #[serde(default = "test")]
    pub split: String,
    /// Samples evaluated.
    pub samples: usize,
    /// Radius ε certified.
    pub eps: f64,
    /// Relaxation that certified.
    pub relaxation: String,
    /// Part classified correctly.
    pub natural_accuracy: f64,
    /// Part certified.
    pub certified_accuracy: f64,
    /// Mean natural cross-entropy.
    pub natural_loss: f64,
    /// Mean certified cross-entropy.
    pub certified_loss: f64,
    /// Seconds it took.
    pub seconds: f64,
}

/// The split of metrics that were written before there was a choice.
fn test() -> String {
    Split::Test.name().into()
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Write a checkpoint and return.
    Stop,
}

/// An observer of a run, such as a progress bar.
pub trait Progress {
    /// The run starts or resumes.
    fn started(&mut self, _plan: &Plan) {}

    /// A step is done.
    fn step(&mut self, _report: &StepReport) -> Flow {
        Flow::Continue
    }

    /// Something the user should hear of, such as a line that was lost.
    fn remark(&mut self, _text: &str) {}

    /// Asked in the course of an evaluation; [`Flow::Stop`] leaves it to the run that resumes.
    fn flow(&mut self) -> Flow {
        Flow::Continue
    }

    /// The evaluation after epoch `epoch` (from 1) begins.
    fn evaluating(&mut self, _epoch: usize) {}

    /// An epoch is done, its metrics and checkpoint are written.
    fn epoch(&mut self, _metrics: &EpochMetrics) {}
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
