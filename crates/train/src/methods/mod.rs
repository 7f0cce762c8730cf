//! Training losses composed from engine calls; one method per file.
//!
//! A method turns a [`Minibatch`] and θ into a loss and its gradient. A new one is a file that implements [`Method`] and
//! declares its [`MethodInfo`], and a line in [`METHODS`].

mod alpha_crown;
mod clean;
mod expressive;
mod info;
mod pgd;
mod relaxed;
mod robust;
mod sabr;
mod standard;
mod taps;

/// Every method, in the order of help texts.
pub static METHODS: [&MethodInfo; 16] = [
    &standard::STANDARD,
    &relaxed::IBP,
    &relaxed::HBOX,
    &relaxed::CROWN_IBP,
    &relaxed::ZONOTOPE,
    &relaxed::DEEPPOLY,
    &relaxed::CROWN_MEET_IBP,
    &relaxed::CROWN_SKIP_IBP,
    &alpha_crown::ALPHA_CROWN,
    &pgd::PGD,
    &sabr::SABR,
    &taps::TAPS,
    &taps::STAPS,
    &expressive::MTL_IBP,
    &expressive::CC_IBP,
    &expressive::EXP_IBP,
];

use std::ops::Range;
use std::sync::OnceLock;

use tightrope_engine::{Loaded, Norm, Perturbation, Region, Relaxation};
use tightrope_network::Initialisation;
use toml::{Table, Value};

pub(crate) use clean::natural_loss;
pub use info::{MethodInfo, method, read_settings, write_settings};
pub use standard::Standard;

use crate::TrainError;
use crate::config::{Setting, Values};
use crate::smoothing::Noise;

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
    /// How far the warm-up has come; over by default.
    pub warmup: WarmUp,
    /// Samples of the step in the micro-batches before this one, for methods that draw random numbers.
    pub first: usize,
    region: OnceLock<Region<f32>>,
    worst_points: OnceLock<Vec<f32>>,
}

/// How far the warm-up has come at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp {
    /// The part of its time that is over, in [0, 1].
    pub time: f64,
    /// ε as a part of the radius that it rises to, in [0, 1].
    pub epsilon: f64,
}

impl Default for WarmUp {
    fn default() -> Self {
        WarmUp { time: 1.0, epsilon: 1.0 }
    }
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
        Minibatch {
            inputs,
            labels,
            threat,
            robust_weight,
            seed,
            step,
            warmup: WarmUp::default(),
            first: 0,
            region: OnceLock::new(),
            worst_points: OnceLock::new(),
        }
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

    /// Worst points `[N, d]` that [`Method::prepare`] has found for all samples of θ.
    fn worst_points(&self) -> Option<&[f32]> {
        self.worst_points.get().map(Vec::as_slice)
    }

    /// Keeps worst points; those that are kept already stay.
    fn set_worst_points(&self, points: Vec<f32>) {
        self.worst_points.get_or_init(|| points);
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

    /// False if the loss has no gradient of use, so that only `pgpe` trains it.
    fn differentiable(&self) -> bool {
        true
    }

    /// False if it cannot train over balls of `norm`.
    fn covers(&self, _norm: Norm) -> bool {
        true
    }

    /// What is done once for a minibatch at the mean parameters of `at` before a smoothing estimator moves them.
    ///
    /// # Errors
    /// As [`Method::loss`].
    fn prepare(&self, _batch: &Minibatch<'_>, _at: &dyn Loaded<f32>) -> Result<(), TrainError> {
        Ok(())
    }

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
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
    ) -> Result<Vec<[f64; 2]>, TrainError>;
}

/// [`Method::population_loss`] one member after the other, for losses that need more of a member than bounds and logits.
fn losses_in_turn(
    method: &dyn Method,
    batch: &Minibatch<'_>,
    at: &dyn Loaded<f32>,
    perturbation: Perturbation<'_>,
    pairs: Range<u64>,
) -> Result<Vec<[f64; 2]>, TrainError> {
    let mut own = at.with_buffers(at.buffers())?;
    let mut member = at.theta().to_vec();
    let mut losses = Vec::new();
    for pair in pairs {
        let mut both = [0.0; 2];
        for (loss, sign) in both.iter_mut().zip([1.0, -1.0]) {
            perturbation.perturb(at.theta(), pair, sign, &mut member);
            own.update(&member)?;
            *loss = method.loss(batch, &*own)?.loss;
        }
        losses.push(both);
    }
    Ok(losses)
}

/// The key of the relaxation in methods that have a bounded part beside others.
const BOUNDED_BY: &[Setting] = &[Setting::new(
    "method.relaxation",
    Values::Name(|| Relaxation::ALL.map(Relaxation::listed).to_vec()),
    "relaxation of the bounded part",
    "\"deeppoly\"",
)];

/// The relaxation of a bounded part.
struct BoundedBy {
    relaxation: Relaxation,
}

impl BoundedBy {
    const KEY: &str = "relaxation";

    fn read(table: &Table) -> Result<Self, TrainError> {
        let relaxation = match table.get(BoundedBy::KEY) {
            None => Relaxation::Ibp,
            Some(Value::String(name)) => name
                .parse()
                .map_err(|problem: String| TrainError::value("method.relaxation", format!("\"{name}\""), problem))?,
            Some(other) => {
                return Err(TrainError::value("method.relaxation", other, "must be the name of a relaxation"));
            }
        };
        Ok(BoundedBy { relaxation })
    }

    fn write(&self) -> Table {
        Table::from_iter([(BoundedBy::KEY.to_string(), Value::String(self.relaxation.name().into()))])
    }
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
