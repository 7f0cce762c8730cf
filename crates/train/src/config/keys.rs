//! The table of configuration keys, from which unknown keys are recognised and help is written.

use super::Config;

/// One configuration key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Dotted path.
    pub path: &'static str,
    /// What it sets, its range and its default.
    pub about: &'static str,
}

const fn key(path: &'static str, about: &'static str) -> Key {
    Key { path, about }
}

const KEYS: [Key; 35] = [
    key("seed", "seed of initialisation, sample order and smoothing noise, 0 to 2^63-1 (0)"),
    key("dataset", "name of the data set (mnist)"),
    key("limit_train", "train on the first so many samples only; 0 for all (0)"),
    key("model", "preset name, or path of a .toml/.json network description (cnn3)"),
    key("normalise", "put the data set's input normalisation before a preset's first layer (false)"),
    key("init", "initialisation: ibp or default (ibp; default for method standard)"),
    key("eps", "radius certified in evaluations, >= 0; a number or a fraction such as \"2/255\" (0.1)"),
    key("norm", "norm of the perturbation: \"inf\", \"2\" or \"1\" (inf)"),
    key("clip", "data range that perturbed inputs are clipped to: [low, high] or false ([0, 1])"),
    key("train.epochs", "passes over the training set, 1 to 100000 (20)"),
    key("train.batch", "samples per step, >= 1 (128)"),
    key("train.lr", "learning rate of Adam, > 0 (2e-3)"),
    key("train.milestones", "epochs at which the learning rate is multiplied by lr_decay (70 % and 85 % of the run)"),
    key("train.lr_decay", "factor at each milestone, in (0, 1] (0.2)"),
    key("train.eps", "radius trained with after the warm-up, >= 0 (eps)"),
    key("train.grad_clip", "longest gradient norm; 0 for no limit (10)"),
    key("train.l1", "weight of the l1 norm of the weights, biases excepted, >= 0 (0)"),
    key("train.eval_every", "evaluate on the test set every so many epochs and after the last; 0 for never (1)"),
    key("train.eval_limit", "evaluate the first so many test samples; 0 for all (0; 1000 for backward relaxations)"),
    key("train.eval_relaxation", "relaxation of the evaluation (the method's; ibp for standard)"),
    key("train.checkpoint_steps", "also write a checkpoint every so many steps; 0 for at epochs only (0)"),
    key("train.checkpoint_seconds", "also write a checkpoint after so many seconds; 0 for never (300)"),
    key("warmup.shape", "how eps rises: smooth, linear or constant (smooth)"),
    key("warmup.start", "epoch at which eps begins to rise from 0, >= 0 (0)"),
    key("warmup.end", "epoch at which eps reaches train.eps, >= warmup.start (30 % of the run)"),
    key("method.name", "loss: standard, ibp, crown-ibp, deeppoly, crown-meet-ibp or crown-skip-ibp (ibp)"),
    key("method.robust_weight", "weight w of the certified part after the warm-up, in [0, 1] (1)"),
    key("method.robust_weight_start", "w at the start of the warm-up, from which it goes linearly (robust_weight)"),
    key("smoothing.kind", "gradient estimator: grad, rgs or pgpe (grad)"),
    key("smoothing.sigma", "standard deviation of the noise on the parameters, >= 0; > 0 for pgpe (1e-3)"),
    key("smoothing.sigma_end", "sigma at the end of the run, to which it goes linearly (sigma)"),
    key("smoothing.sigma_milestones", "epochs at which sigma is multiplied by sigma_decay ([])"),
    key("smoothing.sigma_decay", "factor at each sigma milestone, in (0, 1] (0.5)"),
    key("smoothing.population", "pgpe: loss evaluations per step, even, 2 to 1000000 (256)"),
    key("smoothing.samples", "rgs: gradients per step, 1 to 100000 (2)"),
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
