//! The configuration of a training run; [`Config::keys`] documents every key.

mod check;
mod keys;
mod method;
mod parse;
mod smoothing;
mod values;

use std::path::Path;

use serde::{Deserialize, Serialize};
use tightrope_data::{Dataset, Form};
use tightrope_engine::{Norm, Relaxation};
use tightrope_network::{Architecture, Description, Initialisation, Network, Normalisation};

pub use keys::{Key, Setting};
pub use method::MethodSection;
pub use parse::Difference;
pub use values::{Range, Values};

pub(crate) use keys::nearest;
pub(crate) use parse::{flatten, plain_types};

use crate::TrainError;
use crate::augment::CropPadding;
use crate::average::AverageKind;
use crate::methods::{self, WarmUp};
use crate::optimiser::{OptimiserKind, OptimiserSettings};
use crate::schedule::{LrSchedule, Ramp, RampShape, between, cosine, milestones, one_cycle};
use crate::smoothing::{AdaptationKind, SmoothingKind};

/// Everything that determines a run besides the data and the engine.
///
/// Read one with [`Config::parse`] or fill one in code and call [`Config::resolved`]; keys that
/// are `None` then get a default that depends on the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seed of initialisation, sample order and smoothing noise.
    pub seed: u64,
    /// Name of the data set.
    pub dataset: String,
    /// Safetensors file with training images `x` and labels `y` that take the place of the data set; "" for none.
    pub inputs: String,
    /// As `inputs`, for the evaluations and for `certify`; "" for none.
    pub test_inputs: String,
    /// Train on the first so many samples only; 0 for all.
    pub limit_train: usize,
    /// An [`Architecture`] by name, or the path of a network description.
    pub model: String,
    /// Put the data set's input normalisation before a preset's first layer.
    pub normalise: bool,
    /// Run folder or model file whose parameters the run starts from; "" for a fresh initialisation.
    pub init_from: String,
    /// Initialisation; the method's by default.
    pub init: Option<Init>,
    /// Radius ε that is certified in evaluations; a number or a fraction such as "2/255".
    #[serde(deserialize_with = "parse::radius")]
    pub eps: f64,
    /// Norm of the perturbation.
    pub norm: NormName,
    /// Data range that perturbed inputs are clipped to.
    pub clip: Clip,
    /// How images are read.
    pub data: DataSection,
    /// Optimisation.
    pub train: TrainSection,
    /// How ε rises.
    pub warmup: WarmupSection,
    /// The loss.
    pub method: MethodSection,
    /// The gradient estimator.
    pub smoothing: SmoothingSection,
}

/// `[data]`: how images are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// Height and width that the images of an image folder are brought to; empty for as they are.
    pub resize: Vec<usize>,
}

/// `[train]`: optimisation, evaluation and checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSection {
    /// Passes over the training set.
    pub epochs: usize,
    /// Samples per micro-batch.
    pub batch: usize,
    /// Micro-batches per step.
    pub accumulate: usize,
    /// Optimiser.
    pub optimiser: OptimiserKind,
    /// SGD: momentum.
    pub momentum: f64,
    /// SGD: Nesterov's momentum.
    pub nesterov: bool,
    /// Weight decay; [`OptimiserKind::weight_decay`] by default.
    pub weight_decay: Option<f64>,
    /// Learning rate, the largest one of every schedule.
    pub lr: f64,
    /// How it changes.
    pub schedule: LrSchedule,
    /// Cosine and one-cycle: learning rate at the end of the run.
    pub lr_final: f64,
    /// One-cycle: learning rate at the start; `lr` / 25 by default.
    pub lr_start: Option<f64>,
    /// One-cycle: part of the run over which the learning rate rises.
    pub lr_warmup: f64,
    /// Epochs at which the learning rate is multiplied by `lr_decay`; 70 % and 85 % of the run by default.
    pub milestones: Option<Vec<f64>>,
    /// Factor at each milestone.
    pub lr_decay: f64,
    /// Radius ε trained with after the warm-up; `eps` by default.
    #[serde(deserialize_with = "parse::optional_radius")]
    pub eps: Option<f64>,
    /// Longest gradient norm; 0 for no limit.
    pub grad_clip: f64,
    /// Weight of the ℓ1 norm of the weights (not of biases).
    pub l1: f64,
    /// Radius ρ of sharpness-aware minimisation; 0 for none.
    pub sam: f64,
    /// Average of θ that is evaluated and saved in its place.
    pub average: AverageKind,
    /// Epoch from which on it is taken; 75 % of the run for SWA, else 0 by default.
    pub average_start: Option<f64>,
    /// EMA: part of the average that stays at each step.
    pub average_decay: f64,
    /// Part of the training images that is kept for the evaluations, each class in proportion; 0 for none, and
    /// evaluations on the test set.
    pub validation: f64,
    /// Mirror every second training image, left to right.
    pub flip: bool,
    /// Pixels of padding around training images, out of which each is cropped at a random place; 0 for none.
    pub crop: usize,
    /// What stands in the padding.
    pub crop_padding: CropPadding,
    /// Evaluate every so many epochs and after the last, on the validation split if there is one, else on the test set; 0
    /// for never.
    pub eval_every: usize,
    /// Evaluate the first so many test samples; 0 for all, the default but for backward relaxations (1000).
    pub eval_limit: Option<usize>,
    /// Relaxation of the evaluation; the method's by default.
    pub eval_relaxation: Option<String>,
    /// Take the statistics of batch norms over the whole training set at the end of each epoch, for evaluations and the
    /// model, pooled over minibatches of which earlier batch norms take their own; else the running ones.
    pub precise_bn: bool,
    /// Also write a checkpoint every so many steps; 0 for at epochs only.
    pub checkpoint_steps: u64,
    /// Also write a checkpoint after so many seconds; 0 for never.
    pub checkpoint_seconds: f64,
}

/// `[warmup]`: how ε rises from 0 to `train.eps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmupSection {
    /// Shape of the rise.
    pub shape: RampShape,
    /// Epoch at which it begins.
    pub start: f64,
    /// Epoch at which it ends; 30 % of the run by default.
    pub end: Option<f64>,
}

/// `[smoothing]`: the gradient estimator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothingSection {
    /// Estimator.
    pub kind: SmoothingKind,
    /// Standard deviation σ of the noise on θ at the start.
    pub sigma: f64,
    /// σ at the end of the run, to which it goes linearly; `sigma` by default.
    pub sigma_end: Option<f64>,
    /// Whether σ is in units of the root mean square of each layer's weights.
    pub relative: bool,
    /// Epochs at which σ is multiplied by `sigma_decay`.
    pub sigma_milestones: Vec<f64>,
    /// Factor at each σ milestone.
    pub sigma_decay: f64,
    /// PGPE: loss evaluations per step, two for each antithetic pair.
    pub population: u64,
    /// PGPE: whether each pair has images of its own.
    pub split: bool,
    /// PGPE: method whose loss is the control variate, or "none".
    pub control: String,
    /// PGPE: method along whose gradient alone the slope is measured, or "none".
    pub guide: String,
    /// RGS: gradients per step.
    pub samples: u64,
    /// What is adapted to the signal-to-noise ratio of the gradients.
    pub adapt: AdaptationKind,
    /// The ratio that is wanted, signal over variance.
    pub snr: f64,
    /// Least members of an adapted population; a quarter of those at the start by default.
    pub population_min: Option<u64>,
    /// Most of them; four times those at the start by default.
    pub population_max: Option<u64>,
    /// Least adapted σ; `sigma` / 10 by default.
    pub sigma_min: Option<f64>,
    /// Largest adapted σ; 10 `sigma` by default.
    pub sigma_max: Option<f64>,
}

/// Initialisations by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Uniform in ±1/√n_in.
    Default,
    /// N(0, 2π/n_in²) (Shi et al. 2021).
    Ibp,
}

impl From<Initialisation> for Init {
    fn from(initialisation: Initialisation) -> Self {
        match initialisation {
            Initialisation::Default => Init::Default,
            Initialisation::Ibp => Init::Ibp,
        }
    }
}

impl From<Init> for Initialisation {
    fn from(init: Init) -> Self {
        match init {
            Init::Default => Initialisation::Default,
            Init::Ibp => Initialisation::Ibp,
        }
    }
}

/// Norms by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "parse::NormText")]
pub enum NormName {
    /// ℓ∞.
    #[serde(rename = "inf")]
    Inf,
    /// ℓ2.
    #[serde(rename = "2")]
    L2,
    /// ℓ1.
    #[serde(rename = "1")]
    L1,
}

/// Whether perturbed inputs are clipped to a data range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`clip` must be true (for [0, 1]), false or [low, high]")]
pub enum Clip {
    /// true for [0, 1], false for no clipping.
    Unit(bool),
    /// [low, high].
    Range([f64; 2]),
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 0,
            dataset: "mnist".into(),
            inputs: String::new(),
            test_inputs: String::new(),
            limit_train: 0,
            model: "cnn3".into(),
            normalise: false,
            init_from: String::new(),
            init: None,
            eps: 0.1,
            norm: NormName::Inf,
            clip: Clip::Range([0.0, 1.0]),
            data: DataSection::default(),
            train: TrainSection::default(),
            warmup: WarmupSection::default(),
            method: MethodSection::default(),
            smoothing: SmoothingSection::default(),
        }
    }
}

impl Default for TrainSection {
    fn default() -> Self {
        TrainSection {
            epochs: 20,
            batch: 128,
            accumulate: 1,
            optimiser: OptimiserKind::Adam,
            momentum: 0.9,
            nesterov: false,
            weight_decay: None,
            lr: 2e-3,
            schedule: LrSchedule::Step,
            lr_final: 0.0,
            lr_start: None,
            lr_warmup: 0.3,
            milestones: None,
            lr_decay: 0.2,
            eps: None,
            grad_clip: 10.0,
            l1: 0.0,
            sam: 0.0,
            average: AverageKind::None,
            average_start: None,
            average_decay: 0.999,
            validation: 0.0,
            flip: false,
            crop: 0,
            crop_padding: CropPadding::Zero,
            eval_every: 1,
            eval_limit: None,
            eval_relaxation: None,
            precise_bn: true,
            checkpoint_steps: 0,
            checkpoint_seconds: 300.0,
        }
    }
}

impl Default for WarmupSection {
    fn default() -> Self {
        WarmupSection { shape: RampShape::Smooth, start: 0.0, end: None }
    }
}

impl Default for SmoothingSection {
    fn default() -> Self {
        SmoothingSection {
            kind: SmoothingKind::Grad,
            sigma: 1e-3,
            sigma_end: None,
            relative: false,
            sigma_milestones: Vec::new(),
            sigma_decay: 0.5,
            population: 256,
            split: false,
            control: "none".into(),
            guide: "none".into(),
            samples: 2,
            adapt: AdaptationKind::None,
            snr: 1.0,
            population_min: None,
            population_max: None,
            sigma_min: None,
            sigma_max: None,
        }
    }
}

impl TrainSection {
    /// Learning rate at `time`, in epochs from 0.
    fn lr_at(&self, time: f64) -> f64 {
        let part = time / self.epochs as f64;
        match self.schedule {
            LrSchedule::Step => milestones(self.lr, self.lr_decay, self.milestones.as_deref().unwrap_or(&[]), time),
            LrSchedule::Cosine => cosine(self.lr, self.lr_final, part),
            LrSchedule::OneCycle => {
                one_cycle(self.lr_start.unwrap_or(self.lr), self.lr, self.lr_final, self.lr_warmup, part)
            }
        }
    }

    /// The settings of the optimiser.
    pub fn optimiser(&self) -> OptimiserSettings {
        OptimiserSettings {
            kind: self.optimiser,
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay.unwrap_or_else(|| self.optimiser.weight_decay()),
        }
    }
}

/// The schedules' values at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheduled {
    /// Learning rate.
    pub lr: f64,
    /// Radius ε.
    pub epsilon: f64,
    /// Standard deviation σ of the noise on θ.
    pub sigma: f64,
    /// Weight of the robust part of the loss.
    pub robust_weight: f64,
    /// How far the warm-up has come.
    pub warmup: WarmUp,
}

impl Config {
    /// The schedules at `time`, in epochs from 0.
    pub fn at(&self, time: f64) -> Scheduled {
        let (train, method, smoothing) = (&self.train, &self.method, &self.smoothing);
        let end = self.warmup.end.unwrap_or(self.warmup.start);
        let ramp = |shape| Ramp { shape, start: self.warmup.start, end };
        let weight_start = method.robust_weight_start.unwrap_or(method.robust_weight);
        let sigma_end = smoothing.sigma_end.unwrap_or(smoothing.sigma);
        let warmup = WarmUp { time: ramp(RampShape::Linear).at(time), epsilon: ramp(self.warmup.shape).at(time) };
        let sigma = between(smoothing.sigma, sigma_end, (time / train.epochs as f64).clamp(0.0, 1.0));
        Scheduled {
            lr: train.lr_at(time),
            epsilon: train.eps.unwrap_or(self.eps) * warmup.epsilon,
            sigma: milestones(sigma, smoothing.sigma_decay, &smoothing.sigma_milestones, time),
            robust_weight: between(weight_start, method.robust_weight, warmup.time),
            warmup,
        }
    }

    /// The perturbation norm.
    pub fn norm(&self) -> Norm {
        match self.norm {
            NormName::Inf => Norm::Inf,
            NormName::L2 => Norm::L2,
            NormName::L1 => Norm::L1,
        }
    }

    /// The data range, if perturbed inputs are clipped to one.
    pub fn clip(&self) -> Option<(f32, f32)> {
        match self.clip {
            Clip::Unit(false) => None,
            Clip::Unit(true) => Some((0.0, 1.0)),
            Clip::Range([low, high]) => Some((low as f32, high as f32)),
        }
    }

    /// As [`Config::clip`], without the rounding to single precision.
    pub fn data_range(&self) -> Option<(f64, f64)> {
        match self.clip {
            Clip::Unit(false) => None,
            Clip::Unit(true) => Some((0.0, 1.0)),
            Clip::Range([low, high]) => Some((low, high)),
        }
    }

    /// What the run is trained on, in a word: the data set, or the name of the file that takes its place.
    pub fn data_name(&self) -> &str {
        match Path::new(&self.inputs).file_stem().and_then(|stem| stem.to_str()) {
            Some(stem) => stem,
            None => &self.dataset,
        }
    }

    /// The relaxation that evaluations bound with.
    ///
    /// # Errors
    /// If there is none of this name, or the method, which says it by default, cannot be made.
    pub fn eval_relaxation(&self) -> Result<Relaxation, TrainError> {
        match &self.train.eval_relaxation {
            Some(name) => name
                .parse()
                .map_err(|problem: String| TrainError::value("train.eval_relaxation", format!("\"{name}\""), problem)),
            None => Ok(methods::method(&self.method)?.evaluation()),
        }
    }

    /// The initialisation.
    ///
    /// # Errors
    /// If the method, which says it by default, cannot be made.
    pub fn initialisation(&self) -> Result<Initialisation, TrainError> {
        match self.init {
            Some(init) => Ok(init.into()),
            None => Ok(methods::method(&self.method)?.initialisation()),
        }
    }

    /// The network that `model` names, for inputs of `shape` and `classes` logits.
    ///
    /// # Errors
    /// If the model is neither a preset nor a usable TOML or JSON description, or does not fit the data.
    pub fn network(&self, shape: &[usize], classes: usize) -> Result<Network, TrainError> {
        self.network_with(shape, classes, || self.normalisation(shape))
    }

    /// The same for training images; where no statistics are published, a normalisation takes those of the images.
    ///
    /// # Errors
    /// As [`Config::network`].
    pub fn network_for(&self, train: &Dataset) -> Result<Network, TrainError> {
        self.network_with(&train.shape, train.classes, || match train.form {
            Form::Folder => {
                let (mean, std) = train.statistics();
                match std.iter().position(|&deviation| deviation == 0.0) {
                    Some(channel) => Err(TrainError::value(
                        "normalise",
                        self.normalise,
                        format!("channel {channel} of all images of `{}` has one value; set it to false", self.dataset),
                    )),
                    None => Ok(Normalisation { mean, std }),
                }
            }
            Form::Embedded | Form::Files | Form::StandIn | Form::Arrays => self.normalisation(&train.shape),
        })
    }

    fn network_with(
        &self,
        shape: &[usize],
        classes: usize,
        normalisation: impl FnOnce() -> Result<Normalisation, TrainError>,
    ) -> Result<Network, TrainError> {
        let path = Path::new(&self.model);
        if path.extension().is_some_and(|extension| extension == "onnx" || extension == "safetensors") {
            let stem = path.with_extension("");
            let (model, stem) = (path.display(), stem.display());
            return Err(TrainError::value(
                "model",
                format!("\"{}\"", self.model),
                format!(
                    "is a trained network, and `model` names a preset or a .toml/.json description; to go on training it, \
                     run `tightrope export {model} --to safetensors -o {stem}-start.safetensors`, then train with \
                     --model {stem}-start.json --init-from {stem}-start.safetensors"
                ),
            ));
        }
        let described = path.extension().is_some_and(|extension| extension == "toml" || extension == "json");
        let network = if described {
            Description::read(path)?.build()?
        } else {
            let normalisation = if self.normalise { Some(normalisation()?) } else { None };
            Architecture::from_name(&self.model)?.build(shape, classes, normalisation.as_ref())?
        };
        // Arrays of one's own may be flat, [N, d].
        let flat = |shape: &[usize]| shape.iter().filter(|&&side| side > 1).count() <= 1;
        let same_length = network.input_len() == shape.iter().product::<usize>();
        let fits = network.input_shape() == shape
            || same_length && !self.inputs.is_empty() && (flat(shape) || flat(network.input_shape()));
        if !fits || network.output_len() != classes {
            return Err(TrainError::value(
                "model",
                format!("\"{}\"", self.model),
                format!(
                    "reads inputs {:?} and has {} logits, but `{}` has images {shape:?} and {classes} classes",
                    network.input_shape(),
                    network.output_len(),
                    self.data_name()
                ),
            ));
        }
        Ok(network)
    }

    /// Mean and standard deviation per channel of the training pixels.
    fn normalisation(&self, shape: &[usize]) -> Result<Normalisation, TrainError> {
        match tightrope_data::info(&self.dataset) {
            Ok(info) if self.inputs.is_empty() && info.shape.is_some_and(|own| own[..] == *shape) => {
                Ok(Normalisation { mean: info.mean.to_vec(), std: info.std.to_vec() })
            }
            _ => Err(TrainError::value(
                "normalise",
                self.normalise,
                format!(
                    "no statistics are known for `{}` with images {shape:?}; set it to false, or describe a network with an affine first layer",
                    self.data_name()
                ),
            )),
        }
    }
}
