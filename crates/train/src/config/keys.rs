//! The declarations of the configuration's keys, from which help is written, ranges are checked and unknown keys recognised.

use std::iter::once;
use std::sync::LazyLock;

use tightrope_engine::Relaxation;
use tightrope_network::{Preset, compared_text, number_text};
use toml::{Table, Value};

use super::parse::value_text;
use super::smoothing::LARGEST_POPULATION;
use super::values::{Values, at};
use super::{Config, MethodSection};
use crate::TrainError;
use crate::augment::CropPadding;
use crate::average::AverageKind;
use crate::methods::METHODS;
use crate::optimiser::OptimiserKind;
use crate::schedule::LrSchedule;
use crate::smoothing::{AdaptationKind, SmoothingKind};

/// One configuration key, for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Dotted path.
    pub path: &'static str,
    /// What a value looks like: "number", "text", ….
    pub kind: &'static str,
    /// The range of numbers: "in [0, 1]"; "" where there is none.
    pub range: String,
    /// The default as TOML, or in words where it depends on other keys.
    pub default: String,
    /// What it sets.
    pub about: String,
    /// A value as TOML.
    pub example: &'static str,
}

impl Key {
    /// What a value looks like, with its range: "number in [0, 1]".
    pub fn values(&self) -> String {
        format!("{} {}", self.kind, self.range).trim_end().into()
    }
}

/// The declaration of a key: all that is to be said of it besides its default, which the field of its section has.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Dotted path.
    pub path: &'static str,
    /// What its values may be.
    pub values: Values,
    /// The default in words, where it depends on other keys.
    pub default: Option<&'static str>,
    /// What it sets.
    pub about: &'static str,
    /// A value as TOML.
    pub example: &'static str,
}

impl Setting {
    /// The key at `path`, whose default is a value.
    pub const fn new(path: &'static str, values: Values, about: &'static str, example: &'static str) -> Self {
        Setting { path, values, default: None, about, example }
    }

    /// The same with a default that depends on other keys, in words.
    const fn or(self, default: &'static str) -> Self {
        Setting { default: Some(default), ..self }
    }

    /// The key for readers; `defaults` holds the values of keys that are not set.
    pub(crate) fn key(&self, defaults: &Table) -> Key {
        let value = || at(defaults, self.path).map(|value| short_text(&value)).unwrap_or_default();
        let about = match self.values.names() {
            Some(names) => format!("{}: {names}", self.about),
            None => self.about.into(),
        };
        Key {
            path: self.path,
            kind: self.values.kind(),
            range: self.values.range(),
            default: self.default.map_or_else(value, Into::into),
            about,
            example: self.example,
        }
    }

    /// Refuses the value in `table`, if there is one, if it is out of range.
    pub(crate) fn check(&self, table: &Table) -> Result<(), TrainError> {
        at(table, self.path).map_or(Ok(()), |value| self.values.check(self.path, &value))
    }
}

/// A value as TOML in the shortest form that users may write.
fn short_text(value: &Value) -> String {
    match value {
        Value::Float(number) => number_text(*number),
        Value::Array(list) => format!("[{}]", list.iter().map(short_text).collect::<Vec<_>>().join(", ")),
        other => value_text(other),
    }
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

const MODEL: Values = Values::Name(|| {
    Preset::ALL
        .map(|preset| preset.name().to_string())
        .into_iter()
        .chain(once("the path of a .toml/.json description".into()))
        .collect()
});
const INIT: Values = Values::Name(|| named(&["ibp", "default"]));
const NORM: Values = Values::Name(|| named(&["\"inf\"", "\"2\"", "\"1\""]));
const RAMP: Values = Values::Name(|| named(&["smooth", "linear", "constant"]));
const RELAXATION: Values = Values::Name(|| Relaxation::ALL.map(Relaxation::listed).to_vec());
const PADDING: Values = Values::Name(|| named(&CropPadding::ALL.map(CropPadding::name)));
const METHOD: Values = Values::Name(|| METHODS.iter().map(|info| info.listed()).collect());
const CONTROL: Values =
    Values::Name(|| ["none"].into_iter().chain(METHODS.iter().map(|info| info.name)).map(String::from).collect());
const ADAPTATION: Values = Values::Name(|| named(&AdaptationKind::ALL.map(AdaptationKind::name)));
const ESTIMATOR: Values = Values::Name(|| named(&SmoothingKind::ALL.map(SmoothingKind::name)));

const GENERAL: &[Setting] = &[
    Setting::new(
        "seed",
        Values::COUNT,
        "seed of initialisation, sample order and smoothing noise, at most 2^63-1",
        "7",
    ),
    Setting::new("dataset", Values::Text, "name of the data set, as `tightrope data list` shows it", "\"digits\""),
    Setting::new(
        "inputs",
        Values::Text,
        "safetensors file with training images `x` [N, …shape] and labels `y` [N] instead of a data set",
        "\"train.safetensors\"",
    ),
    Setting::new(
        "test_inputs",
        Values::Text,
        "the same for evaluations and `certify`; without it such a run is not evaluated",
        "\"test.safetensors\"",
    ),
    Setting::new("limit_train", Values::COUNT, "train on the first so many samples only; 0 for all", "2000"),
    Setting::new(
        "model",
        MODEL,
        "network, a preset with -bn behind its name for batch norms and :W for another width, as in cnn5-bn:64",
        "\"cnn5-bn:64\"",
    ),
    Setting::new(
        "normalise",
        Values::Switch,
        "put the data set's input normalisation before a preset's first layer",
        "true",
    ),
    Setting::new(
        "init_from",
        Values::Text,
        "run folder or model file whose parameters the run starts from; \"\" for a fresh initialisation",
        "\"runs/first\"",
    ),
    Setting::new("init", INIT, "initialisation", "\"default\"").or("the method's"),
    Setting::new(
        "eps",
        Values::Radius,
        "perturbation radius that evaluations certify, a number or a fraction such as 8/255",
        "\"2/255\"",
    ),
    Setting::new("norm", NORM, "norm of the perturbation", "\"2\""),
    Setting::new(
        "clip",
        Values::DataRange,
        "data range that perturbed inputs are clipped to: [low, high], true for [0, 1] or false for none",
        "[-1, 1]",
    ),
];

const OPTIMISER: Values = Values::Name(|| named(&OptimiserKind::ALL.map(OptimiserKind::name)));
const SCHEDULE: Values = Values::Name(|| named(&LrSchedule::ALL.map(LrSchedule::name)));
const AVERAGE: Values = Values::Name(|| named(&AverageKind::ALL.map(AverageKind::name)));
const DATA: &[Setting] = &[Setting::new(
    "data.resize",
    Values::Size,
    "height and width that the images of an image folder are brought to (bilinear); [] for as they are",
    "[32, 32]",
)];

const TRAIN: &[Setting] = &[
    Setting::new("train.epochs", Values::Whole(1, 100_000), "passes over the training set", "70"),
    Setting::new("train.batch", Values::Whole(1, 1 << 24), "samples per step, or per micro-batch of a step", "256"),
    Setting::new(
        "train.accumulate",
        Values::Whole(1, 1 << 16),
        "micro-batches per step, whose gradients are averaged: as batch · accumulate samples at once, in the memory of batch; \
         batch norms and method.regulariser take the statistics of each micro-batch",
        "4",
    ),
    Setting::new("train.optimiser", OPTIMISER, "optimiser", "\"radam\""),
    Setting::new("train.momentum", Values::PART, "sgd: momentum", "0.95"),
    Setting::new("train.nesterov", Values::Switch, "sgd: Nesterov's momentum", "true"),
    Setting::new(
        "train.weight_decay",
        Values::NOT_NEGATIVE,
        "weight decay of all parameters: part of the gradient, but for adamw, where lr times it is taken off the weights",
        "1e-4",
    )
    .or("0; 0.01 for adamw"),
    Setting::new("train.lr", Values::POSITIVE, "learning rate, the largest one of every schedule", "5e-4"),
    Setting::new("train.schedule", SCHEDULE, "how the learning rate changes", "\"cosine\""),
    Setting::new(
        "train.lr_final",
        Values::NOT_NEGATIVE,
        "cosine, one-cycle: learning rate at the end of the run, at most lr",
        "1e-5",
    ),
    Setting::new("train.lr_start", Values::POSITIVE, "one-cycle: learning rate at the start, at most lr", "1e-5")
        .or("lr / 25"),
    Setting::new("train.lr_warmup", Values::WEIGHT, "one-cycle: part of the run over which the rate rises to lr", "0.1"),
    Setting::new(
        "train.milestones",
        Values::Epochs,
        "step: epochs at which the learning rate is multiplied by lr_decay",
        "[50, 60]",
    )
    .or("70 % and 85 % of the run"),
    Setting::new("train.lr_decay", Values::FACTOR, "step: factor at each milestone", "0.5"),
    Setting::new("train.eps", Values::Radius, "radius trained with after the warm-up", "\"2.2/255\"").or("eps"),
    Setting::new("train.grad_clip", Values::NOT_NEGATIVE, "longest gradient norm; 0 for no limit", "1"),
    Setting::new("train.l1", Values::NOT_NEGATIVE, "weight of the l1 norm of the weights, biases excepted", "1e-5"),
    Setting::new(
        "train.sam",
        Values::NOT_NEGATIVE,
        "sharpness-aware minimisation with smoothing.kind = \"grad\": radius ρ of the step uphill, at whose end the gradient \
         is taken, ∇L(θ + ρ g/‖g‖); 0 for none. Two gradients a step; each micro-batch climbs by its own g",
        "0.05",
    ),
    Setting::new(
        "train.average",
        AVERAGE,
        "average of the parameters along the run that is evaluated and saved in their place, with statistics of its own in \
         batch norms: of the ends of epochs (swa) or of steps (ema). The training stays as it is, unlike with \
         smoothing.kind = \"rgs\", which averages gradients over noise on the parameters. Choices",
        "\"ema\"",
    ),
    Setting::new("train.average_start", Values::NOT_NEGATIVE, "epoch from which on the average is taken", "15")
        .or("75 % of the run for swa, else 0"),
    Setting::new("train.average_decay", Values::PART, "ema: part of the average that stays at each step", "0.99"),
    Setting::new(
        "train.validation",
        Values::PART,
        "part of the training images kept for evaluations, each class in proportion; 0 evaluates on the test set",
        "0.1",
    ),
    Setting::new("train.flip", Values::Switch, "mirror every second training image, left to right", "true"),
    Setting::new(
        "train.crop",
        Values::COUNT,
        "pixels of padding around training images, out of which each is cropped at a random place; 0 for none",
        "4",
    ),
    Setting::new("train.crop_padding", PADDING, "what stands in the padding of train.crop", "\"edge\""),
    Setting::new(
        "train.eval_every",
        Values::COUNT,
        "evaluate (on the validation split if there is one, else on the test set) every so many epochs and after the last; 0 for never",
        "5",
    ),
    Setting::new("train.eval_limit", Values::COUNT, "evaluate the first so many of those samples; 0 for all", "500")
        .or("0; 1000 for backward relaxations"),
    Setting::new("train.eval_relaxation", RELAXATION, "relaxation of the evaluation", "\"crown-ibp\"")
        .or("the method's"),
    Setting::new(
        "train.precise_bn",
        Values::Switch,
        "batch norms: statistics over the training set after each epoch, for evaluations and the model, pooled over minibatches \
         of which earlier batch norms take their own; false for running ones",
        "false",
    ),
    Setting::new(
        "train.checkpoint_steps",
        Values::COUNT,
        "also write a checkpoint every so many steps; 0 for at epochs only",
        "100",
    ),
    Setting::new(
        "train.checkpoint_seconds",
        Values::NOT_NEGATIVE,
        "also write a checkpoint after so many seconds; 0 for never",
        "60",
    ),
];

const WARMUP: &[Setting] = &[
    Setting::new("warmup.shape", RAMP, "how eps rises", "\"linear\""),
    Setting::new("warmup.start", Values::NOT_NEGATIVE, "epoch at which eps begins to rise from 0", "1"),
    Setting::new(
        "warmup.end",
        Values::NOT_NEGATIVE,
        "epoch at which eps reaches train.eps, not before warmup.start",
        "20",
    )
    .or("30 % of the run"),
];

const SMOOTHING: &[Setting] = &[
    Setting::new("smoothing.kind", ESTIMATOR, "gradient estimator", "\"rgs\""),
    Setting::new(
        "smoothing.sigma",
        Values::NOT_NEGATIVE,
        "standard deviation of the noise on the parameters; at least 1e-6 for pgpe and mixed",
        "5e-4",
    ),
    Setting::new(
        "smoothing.sigma_end",
        Values::NOT_NEGATIVE,
        "sigma at the end of the run, to which it goes linearly",
        "1e-4",
    )
    .or("sigma"),
    Setting::new(
        "smoothing.relative",
        Values::Switch,
        "whether sigma is in units of the root mean square of each layer's weights, as they are at the step; biases take that \
         of the weights beside them",
        "true",
    ),
    Setting::new(
        "smoothing.sigma_milestones",
        Values::Epochs,
        "epochs at which sigma is multiplied by sigma_decay",
        "[50, 60]",
    ),
    Setting::new("smoothing.sigma_decay", Values::FACTOR, "factor at each sigma milestone", "0.4"),
    Setting::new(
        "smoothing.population",
        Values::Whole(2, LARGEST_POPULATION),
        "pgpe, mixed: loss evaluations per step, even",
        "64",
    ),
    Setting::new(
        "smoothing.split",
        Values::Switch,
        "pgpe, mixed: whether each pair sees images of its own, a part of the minibatch, so that a population costs as much as one pair \
         on the whole of it; batch norms take the statistics of these few images",
        "true",
    ),
    Setting::new(
        "smoothing.control",
        CONTROL,
        "pgpe: method whose loss is subtracted as a control variate as many times as leaves least spread, and whose gradient, \
         averaged over smoothing.samples perturbations, is added back; it must have one. Choices",
        "\"ibp\"",
    ),
    Setting::new(
        "smoothing.guide",
        CONTROL,
        "pgpe: method along whose gradient, averaged over smoothing.samples perturbations, the slope of the smoothed loss is \
         measured, nothing being asked of other directions; a population of 8 to 32 is enough. Choices",
        "\"deeppoly\"",
    ),
    Setting::new(
        "smoothing.samples",
        Values::Whole(1, 100_000),
        "rgs, mixed: gradients per step; pgpe: those of smoothing.control or smoothing.guide",
        "4",
    ),
    Setting::new(
        "smoothing.adapt",
        ADAPTATION,
        "what is changed along the run so that gradients have the signal-to-noise ratio smoothing.snr: with population the \
         members of a step (rgs: smoothing.samples, else smoothing.population, smoothing.samples of mixed in proportion) double \
         below it and halve above twice of it; with sigma, smoothing.sigma changes by a factor of 1.41, down below the ratio \
         and up above twice of it, for plain pgpe the other way round. Choices",
        "\"population\"",
    ),
    Setting::new(
        "smoothing.snr",
        Values::POSITIVE,
        "adapt: wanted ratio q of the squared length of the gradient to the variance of its estimate (trace of the covariance \
         over noise), averaged over some ten steps; estimates then have a cosine of √(q/(1+q)) to their mean. Plain pgpe has \
         about half its population over the number of parameters; with a guide it is the ratio along the guide alone. It tells \
         of noise, not of what rgs misses where the loss jumps",
        "0.25",
    ),
    Setting::new(
        "smoothing.population_min",
        Values::Whole(2, LARGEST_POPULATION),
        "adapt = population: least members, even and at least 4 but for rgs",
        "16",
    )
    .or("a quarter of those at the start"),
    Setting::new(
        "smoothing.population_max",
        Values::Whole(2, LARGEST_POPULATION),
        "adapt = population: most members, even but for rgs",
        "512",
    )
    .or("four times those at the start"),
    Setting::new("smoothing.sigma_min", Values::NOT_NEGATIVE, "adapt = sigma: least sigma, above 0", "5e-4")
        .or("sigma / 10"),
    Setting::new("smoothing.sigma_max", Values::NOT_NEGATIVE, "adapt = sigma: largest sigma", "0.1").or("10 · sigma"),
];

impl MethodSection {
    /// The keys that all methods share.
    pub(crate) const COMMON: &'static [Setting] = &[
        Setting::new("method.name", METHOD, "loss", "\"deeppoly\""),
        Setting::new("method.robust_weight", Values::WEIGHT, "weight w of the certified part after the warm-up", "0.5"),
        Setting::new(
            "method.robust_weight_start",
            Values::WEIGHT,
            "w at the start of the warm-up, from which it goes linearly",
            "0",
        )
        .or("robust_weight"),
    ];
}

/// The keys of every configuration, in the order of the file; those of a method are in its own declaration.
const SECTIONS: [&[Setting]; 6] = [GENERAL, DATA, TRAIN, WARMUP, MethodSection::COMMON, SMOOTHING];

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let defaults = Config::default().table();
    settings().map(|setting| setting.key(&defaults)).collect()
});

impl Config {
    /// Every key that all runs have, with its documentation, in the order of the file;
    /// [`crate::methods::MethodInfo::keys`] has those of one method.
    pub fn keys() -> &'static [Key] {
        &KEYS
    }
}

/// The settings of every configuration.
pub(super) fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.into_iter().flatten()
}

/// The setting of the key `path`, those of all methods included.
pub(super) fn setting(path: &str) -> Option<&'static Setting> {
    let methods = METHODS.into_iter().flat_map(|info| info.own());
    settings().chain(methods).find(|setting| setting.path == path)
}

/// The paths of all keys, those of all methods included.
fn paths() -> impl Iterator<Item = &'static str> {
    let methods = METHODS.into_iter().flat_map(|info| info.own());
    settings().chain(methods).map(|setting| setting.path)
}

/// A key inside the section `path`, if it is one.
pub(super) fn inside_section(path: &str) -> Option<&'static str> {
    paths().find(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key most like `path`, unless nothing is much like it.
pub(super) fn nearest_key(path: &str) -> Option<&'static str> {
    nearest(paths(), path)
}

/// The one of `keys` most like `path`, by its whole path and by its last part, unless nothing is much like it.
pub(crate) fn nearest(keys: impl Iterator<Item = &'static str>, path: &str) -> Option<&'static str> {
    let leaf = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let wanted = compared_text(path.rsplit('.').next().unwrap_or(path));
    let path = compared_text(path);
    let score = |key: &'static str| {
        let (whole, last) = (strsim::jaro_winkler(path, key), strsim::jaro_winkler(wanted, leaf(key)));
        (whole.max(last), whole + last)
    };
    let best = keys.max_by(|a, b| score(a).1.total_cmp(&score(b).1))?;
    (score(best).0 > 0.75).then_some(best)
}
