//! What training, certifying and bounding need, from the passes that they make.

use tightrope_data::Dataset;
use tightrope_engine::{Engine, Intermediate, Relaxation};
use tightrope_network::Network;
use tightrope_train::methods::METHODS;
use tightrope_train::{AverageKind, Config, Optimiser, SmoothingKind};
use tightrope_verify::{Cascade, Stage};

use super::passes::Numbers;
use super::sizes::{LANES, Sizes};
use super::{DOUBLE, Estimate, SINGLE};

/// Methods that bound nothing while they train.
const UNBOUNDED: [&str; 2] = ["standard", "pgd"];
/// The key of methods that attack.
const ATTACK: &str = "method.attack_steps";
/// Samples of an evaluation that are bounded at a time.
const EVALUATED: usize = 256;
/// Most coefficients that an optimisation of slopes keeps of a sample.
const TRACED: usize = 1 << 20;
/// Forms of θ that it keeps.
const FORMS: usize = 4;

/// Of a training run.
pub fn training(network: &Network, engine: &dyn Engine<f32>, config: &Config, sets: &[&Dataset]) -> Estimate {
    let sizes = Sizes::of(network, engine);
    let relaxation = config.eval_relaxation().unwrap_or(Relaxation::Ibp);
    let samples = sets.first().map_or(0, |set| set.len());
    let batch = config.train.batch.min(samples);
    let info =
        METHODS.iter().find(|info| info.name == config.method.name || info.aliases.contains(&&*config.method.name));
    let attacks = info.and_then(|info| info.keys().ok()).is_some_and(|keys| keys.iter().any(|key| key.path == ATTACK));
    let bounded = info.is_none_or(|info| !UNBOUNDED.contains(&info.name));
    let taped = config.smoothing.kind != SmoothingKind::Pgpe;
    let mut passes = Numbers::default();
    if bounded {
        passes = passes.then(sizes.bounds(relaxation, batch, taped));
    }
    if !bounded || attacks {
        passes = passes.then(sizes.clean(batch, taped || attacks));
    }
    if attacks {
        // Forms of θ that bounds do not need.
        passes.own += 6 * sizes.parameters;
    }
    if let Some(evaluated) = sets.get(1).filter(|_| config.train.eval_every > 0) {
        let limit = config.train.eval_limit.filter(|&limit| limit > 0).unwrap_or(usize::MAX);
        let evaluated = EVALUATED.min(evaluated.len()).min(limit);
        passes = passes.then(sizes.bounds(relaxation, evaluated, false)).then(sizes.clean(evaluated, false));
    }
    // Minibatches: the one at hand and those made ahead.
    let minibatches = 4 * batch * config.train.accumulate * sizes.input;
    let copies = copies(&sizes, config);
    Estimate::of(sets, copies, passes.total().saturating_add(minibatches).saturating_mul(SINGLE))
}

/// Bytes of the parameters and of all that is as long.
fn copies(sizes: &Sizes, config: &Config) -> usize {
    let (whole, packed) = (sizes.parameters, sizes.packed());
    let moments = Optimiser::new(config.train.optimiser(), 0).tensors().len();
    // θ and what the optimiser remembers, twice more while a checkpoint is written; two handles, the gradient, the model.
    let mut numbers = whole * (3 * (1 + moments) + 4) + 3 * packed;
    if config.train.average != AverageKind::None {
        numbers += 5 * whole + 3 * packed;
    }
    if config.train.accumulate > 1 {
        numbers += whole;
    }
    numbers += match config.smoothing.kind {
        SmoothingKind::Grad => 0,
        SmoothingKind::Rgs => packed,
        // Each thread perturbs parameters of its own.
        SmoothingKind::Pgpe => sizes.threads * (2 * whole + 5 * packed / 2),
        SmoothingKind::Mixed => packed + whole + sizes.threads * (2 * whole + 5 * packed / 2),
    };
    numbers.saturating_mul(SINGLE)
}

/// Of a certification of `set`.
pub fn certification(network: &Network, engine: &dyn Engine<f32>, set: &Dataset, stages: &[Stage]) -> Estimate {
    let sizes = Sizes::of(network, engine);
    let batch = Cascade::BATCH.min(set.len());
    let mut passes = sizes.clean(batch, false);
    let (mut packed, mut singly) = (0, 0);
    for stage in stages {
        match stage {
            Stage::Bound(relaxation) => {
                passes = passes.then(sizes.bounds(*relaxation, batch, false));
                packed = 3 * sizes.parameters;
            }
            Stage::Pgd => passes = passes.then(sizes.clean(batch, true)),
            Stage::AlphaCrown | Stage::Bab => singly = one_by_one(&sizes),
        }
    }
    // θ and all f64 forms of it; the images in single precision, while the data set may hold bytes.
    let parameters = sizes.parameters * (3 * SINGLE + 2 * DOUBLE) + packed * SINGLE;
    let working = passes.total() * SINGLE + singly + set.values() * SINGLE;
    Estimate::of(&[set], parameters, working)
}

/// Bytes of samples whose slopes are optimised, or that are branched on, one on each thread.
fn one_by_one(sizes: &Sizes) -> usize {
    let traced = TRACED.min(sizes.neurons * sizes.nodes);
    (sizes.threads * (traced + 4 * LANES * sizes.neurons) + FORMS * sizes.parameters) * DOUBLE
}

/// What is written of bounds besides the margins.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Bounds of all layers.
    pub layers: bool,
    /// Gradients of the loss.
    pub gradients: bool,
    /// Whether slopes are optimised.
    pub optimised: bool,
}

/// Of bounds of `samples` samples, so many `at_once`, in numbers of `bytes` each.
pub fn bounding(
    network: &Network,
    engine: &dyn Engine<f32>,
    relaxation: Relaxation,
    [samples, at_once]: [usize; 2],
    bytes: usize,
    wanted: Wanted,
) -> Estimate {
    let sizes = Sizes { fused: bytes == SINGLE && Sizes::of(network, engine).fused, ..Sizes::of(network, engine) };
    let batch = samples.min(at_once);
    let mut passes = sizes.bounds(relaxation, batch, wanted.gradients).then(sizes.clean(batch, false));
    if wanted.layers {
        // Of each chunk, of all chunks, and in the file's order.
        passes.own += 4 * batch * 2 * sizes.neurons;
    }
    let singly = if wanted.optimised { one_by_one(&sizes) } else { 0 };
    // θ as it is read, in f64, for the engine, and as walks want it; then its gradient.
    let packed =
        3 * if relaxation.intermediate() == Intermediate::Interval { sizes.packed() } else { sizes.parameters };
    let gradient = if wanted.gradients { 3 * sizes.parameters } else { 0 };
    let parameters = sizes.parameters * (SINGLE + 2 * DOUBLE) + (sizes.parameters + packed + gradient) * bytes;
    let inputs = samples * sizes.input * 3 * bytes;
    Estimate::of(&[], parameters, passes.total() * bytes + singly + inputs)
}
