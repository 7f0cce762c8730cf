//! The table of configuration keys, from which unknown keys are recognised and help is written.

use super::Config;

/// One configuration key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Dotted path.
    pub path: &'static str,
    /// What a value looks like: "number", "text", ….
    pub kind: &'static str,
    /// The default as TOML, or in words where it depends on other keys.
    pub default: &'static str,
    /// What it sets, and its range.
    pub about: &'static str,
    /// A value as TOML.
    pub example: &'static str,
}

const fn key(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    about: &'static str,
    example: &'static str,
) -> Key {
    Key { path, kind, default, about, example }
}

const COUNT: &str = "whole number";
const LIST: &str = "list of numbers";
const NUMBER: &str = "number";
const RADIUS: &str = "number or fraction";
const SWITCH: &str = "true or false";
const TEXT: &str = "text";

const KEYS: [Key; 39] = [
    key("seed", COUNT, "0", "seed of initialisation, sample order and smoothing noise, 0 to 2^63-1", "7"),
    key("dataset", TEXT, "\"mnist\"", "name of the data set, as `tightrope data list` shows it", "\"digits\""),
    key(
        "inputs",
        TEXT,
        "\"\"",
        "safetensors file with training images `x` [N, …shape] and labels `y` [N] instead of a data set",
        "\"train.safetensors\"",
    ),
    key(
        "test_inputs",
        TEXT,
        "\"\"",
        "the same for evaluations and `certify`; without it such a run is not evaluated",
        "\"test.safetensors\"",
    ),
    key("limit_train", COUNT, "0", "train on the first so many samples only; 0 for all", "2000"),
    key(
        "model",
        TEXT,
        "\"cnn3\"",
        "preset (cnn3-tiny, cnn3, cnn5, cnn5-l, cnn7, mlp), or path of a .toml/.json network description",
        "\"cnn5\"",
    ),
    key("normalise", SWITCH, "false", "put the data set's input normalisation before a preset's first layer", "true"),
    key(
        "init_from",
        TEXT,
        "\"\"",
        "run folder or model file whose parameters the run starts from; \"\" for a fresh initialisation",
        "\"runs/first\"",
    ),
    key("init", TEXT, "\"ibp\"; \"default\" for method standard", "initialisation: ibp or default", "\"default\""),
    key("eps", RADIUS, "0.1", "radius certified in evaluations, >= 0; a number or a fraction", "\"2/255\""),
    key("norm", TEXT, "\"inf\"", "norm of the perturbation: \"inf\", \"2\" or \"1\"", "\"2\""),
    key(
        "clip",
        "range or false",
        "[0, 1]",
        "data range that perturbed inputs are clipped to: [low, high], true for [0, 1] or false for none",
        "[-1, 1]",
    ),
    key("train.epochs", COUNT, "20", "passes over the training set, 1 to 100000", "70"),
    key("train.batch", COUNT, "128", "samples per step, >= 1", "256"),
    key("train.lr", NUMBER, "0.002", "learning rate of Adam, > 0", "5e-4"),
    key(
        "train.milestones",
        LIST,
        "70 % and 85 % of the run",
        "epochs at which the learning rate is multiplied by lr_decay",
        "[50, 60]",
    ),
    key("train.lr_decay", NUMBER, "0.2", "factor at each milestone, in (0, 1]", "0.5"),
    key("train.eps", RADIUS, "eps", "radius trained with after the warm-up, >= 0", "\"2.2/255\""),
    key("train.grad_clip", NUMBER, "10", "longest gradient norm; 0 for no limit", "1"),
    key("train.l1", NUMBER, "0", "weight of the l1 norm of the weights, biases excepted, >= 0", "1e-5"),
    key(
        "train.eval_every",
        COUNT,
        "1",
        "evaluate on the test set every so many epochs and after the last; 0 for never",
        "5",
    ),
    key(
        "train.eval_limit",
        COUNT,
        "0; 1000 for backward relaxations",
        "evaluate the first so many test samples; 0 for all",
        "500",
    ),
    key(
        "train.eval_relaxation",
        TEXT,
        "the method's; \"ibp\" for standard",
        "relaxation of the evaluation: ibp, crown-ibp, crown, crown-meet-ibp or crown-skip-ibp",
        "\"crown-ibp\"",
    ),
    key(
        "train.precise_bn",
        SWITCH,
        "true",
        "batch norms: statistics over the training set after each epoch, for evaluations and the model; false for running ones",
        "false",
    ),
    key(
        "train.checkpoint_steps",
        COUNT,
        "0",
        "also write a checkpoint every so many steps; 0 for at epochs only",
        "100",
    ),
    key("train.checkpoint_seconds", NUMBER, "300", "also write a checkpoint after so many seconds; 0 for never", "60"),
    key("warmup.shape", TEXT, "\"smooth\"", "how eps rises: smooth, linear or constant", "\"linear\""),
    key("warmup.start", NUMBER, "0", "epoch at which eps begins to rise from 0, >= 0", "1"),
    key("warmup.end", NUMBER, "30 % of the run", "epoch at which eps reaches train.eps, >= warmup.start", "20"),
    key(
        "method.name",
        TEXT,
        "\"ibp\"",
        "loss: standard, ibp, crown-ibp, deeppoly (= crown), crown-meet-ibp or crown-skip-ibp",
        "\"deeppoly\"",
    ),
    key("method.robust_weight", NUMBER, "1", "weight w of the certified part after the warm-up, in [0, 1]", "0.5"),
    key(
        "method.robust_weight_start",
        NUMBER,
        "robust_weight",
        "w at the start of the warm-up, from which it goes linearly",
        "0",
    ),
    key("smoothing.kind", TEXT, "\"grad\"", "gradient estimator: grad, rgs or pgpe", "\"rgs\""),
    key(
        "smoothing.sigma",
        NUMBER,
        "0.001",
        "standard deviation of the noise on the parameters, >= 0; > 0 for pgpe",
        "5e-4",
    ),
    key("smoothing.sigma_end", NUMBER, "sigma", "sigma at the end of the run, to which it goes linearly", "1e-4"),
    key("smoothing.sigma_milestones", LIST, "[]", "epochs at which sigma is multiplied by sigma_decay", "[50, 60]"),
    key("smoothing.sigma_decay", NUMBER, "0.5", "factor at each sigma milestone, in (0, 1]", "0.4"),
    key("smoothing.population", COUNT, "256", "pgpe: loss evaluations per step, even, 2 to 1000000", "64"),
    key("smoothing.samples", COUNT, "2", "rgs: gradients per step, 1 to 100000", "4"),
];

impl Config {
    /// Every key with its documentation, in the order of the file.
    pub fn keys() -> &'static [Key] {
        &KEYS
    }
}

/// True for a dotted path that sets a value.
pub(super) fn is_key(path: &str) -> bool {
    KEYS.iter().any(|key| key.path == path)
}

/// A key inside the section `path`, if it is one.
pub(super) fn inside_section(path: &str) -> Option<&'static str> {
    KEYS.iter().map(|key| key.path).find(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key most like `path`, by its whole path and by its last part, unless nothing is much like it.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let leaf = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let wanted = path.rsplit('.').next().unwrap_or(path);
    let score = |key: &'static str| {
        let (whole, last) = (strsim::jaro_winkler(path, key), strsim::jaro_winkler(wanted, leaf(key)));
        (whole.max(last), whole + last)
    };
    let best = KEYS.iter().map(|key| key.path).max_by(|a, b| score(a).1.total_cmp(&score(b).1))?;
    (score(best).0 > 0.75).then_some(best)
}
