//! Training losses composed from engine calls; one method per file.
//!
//! A method turns a [`Minibatch`] and θ into a loss and its gradient. A new one is a file that implements [`Method`] and
//! declares its [`MethodInfo`], and a line in [`METHODS`].

mod clean;
mod info;
mod relaxed;
mod standard;

/// Every method, in the order of help texts.
pub static METHODS: [&MethodInfo; 8] = [
    &standard::STANDARD,
    &relaxed::IBP,
    &relaxed::HBOX,
    &relaxed::CROWN_IBP,
    &relaxed::ZONOTOPE,
    &relaxed::DEEPPOLY,
    &relaxed::CROWN_MEET_IBP,
    &relaxed::CROWN_SKIP_IBP,
];

use std::ops::Range;
use std::sync::OnceLock;

use tightrope_engine::{Loaded, Norm, Perturbation, Region, Relaxation};
use tightrope_network::Initialisation;
use toml::Table;

pub(crate) use clean::natural_loss;
pub use info::{MethodInfo, method, read_settings, write_settings};
pub use relaxed::Relaxed;
pub use standard::Standard;

use crate::TrainError;

/// What a training loss is evaluated on.
#[derive(Clone, Debug)]
pub struct Minibatch<'a> {
    /// Clean inputs `[N, d]`.
    pub inputs: &'a [f32],
    /// One label per sample.
    pub labels: &'a [usize],
    /// The perturbations of this step.
    pub threat: StepThreat,
    /// Weight w in [0, 1] of the robust part.
    pub robust_weight: f64,
    /// Seed of the run, for methods that draw random numbers.
    pub seed: u64,
    /// Optimiser step, for methods that draw random numbers.
    pub step: u64,
    region: OnceLock<Region<f32>>,
}

/// The perturbations of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepThreat {
    /// Radius ε ≥ 0.
    pub epsilon: f32,
    /// Norm.
    pub norm: Norm,
    /// Data range that perturbed inputs are clipped to.
    pub clip: Option<(f32, f32)>,
}

impl<'a> Minibatch<'a> {
    /// The batch of `inputs` with `labels`.
    pub fn new(
        inputs: &'a [f32],
        labels: &'a [usize],
        threat: StepThreat,
        robust_weight: f64,
        seed: u64,
        step: u64,
    ) -> Self {
        Minibatch { inputs, labels, threat, robust_weight, seed, step, region: OnceLock::new() }
    }

    /// The perturbation sets of the samples, made once however many members or samples of θ ask for them.
    ///
    /// # Errors
    /// If an input lies outside the data range by more than ε or is no number.
    pub fn region(&self) -> Result<&Region<f32>, TrainError> {
        if let Some(region) = self.region.get() {
            return Ok(region);
        }
        let StepThreat { epsilon, norm, clip } = self.threat;
        let dimension = self.inputs.len() / self.labels.len().max(1);
        let region = Region::ball(self.inputs, dimension, epsilon, norm, clip)?;
        Ok(self.region.get_or_init(|| region))
    }
}

/// The mean loss of a minibatch at some θ, with what fell off on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluated {
    /// The mean loss that is trained on.
    pub loss: f64,
    /// Mean natural cross-entropy, if it is a part of the loss.
    pub natural_loss: Option<f64>,
    /// Samples classified correctly, if logits were computed.
    pub natural_correct: Option<usize>,
    /// Samples certified, if sound margins were computed.
    pub certified: Option<usize>,
    /// Statistics of the minibatch in its batch norms, laid out as the buffers, from [`Method::gradient`].
    pub statistics: Vec<f32>,
}

/// A training loss; implementations compose engine calls at the level of margins.
///
/// Batch norms take the statistics of the clean minibatch, for its bounds as well, and gradients flow through them.
pub trait Method: Send + Sync {
    /// What help texts and documents say of it.
    fn info(&self) -> &'static MethodInfo;

    /// The name in configurations.
    fn name(&self) -> &'static str {
        self.info().name
    }

    /// Its own keys of `[method]`, every one with its value.
    fn settings(&self) -> Table {
        Table::new()
    }

    /// The relaxation by which what it trains is evaluated unless told otherwise.
    fn evaluation(&self) -> Relaxation;

    /// The initialisation that it starts from unless told otherwise.
    fn initialisation(&self) -> Initialisation;

    /// The loss at the θ of `at`.
    ///
    /// # Errors
    /// If the engine refuses.
    fn loss(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<Evaluated, TrainError>;

    /// The loss and its gradient `[|θ|]`.
    ///
    /// # Errors
    /// As [`Method::loss`].
    fn gradient(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<(Evaluated, Vec<f32>), TrainError>;

    /// The losses at θ + δ and θ − δ of each member in `pairs`.
    ///
    /// # Errors
    /// As [`Method::loss`].
    fn population_loss(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        perturbation: Perturbation,
        pairs: Range<u64>,
    ) -> Result<Vec<[f64; 2]>, TrainError>;
}

/// Mean of per-sample losses, summed in order in f64.
fn mean(losses: &[f32]) -> f64 {
    losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64
}

fn scaled(mut cotangent: Vec<f32>, weight: f64) -> Vec<f32> {
    cotangent.iter_mut().for_each(|value| *value *= weight as f32);
    cotangent
}

/// An engine that returns no gradient found that nothing depends on θ.
fn theta_of(gradient: Option<Vec<f32>>, at: &dyn Loaded<f32>) -> Vec<f32> {
    gradient.unwrap_or_else(|| vec![0.0; at.theta().len()])
}
