//! How much memory a command will need, told before it starts and refused where it surely is not there.

use anyhow::bail;
use tightrope_data::Dataset;
use tightrope_engine::{Final, Intermediate, Relaxation};
use tightrope_network::{Network, bytes_text};
use tightrope_train::{AverageKind, Config, SmoothingKind};
use tightrope_verify::{Cascade, Stage};

use crate::context::Context;

/// Bytes of a single-precision number.
const SINGLE: usize = 4;
/// Gradients that engines sum separately, so that results do not depend on threads: many, unless they are large.
const GRADIENT_SLOTS: [usize; 2] = [16, 4];
/// Parameters from which on there are few.
const LARGE: usize = 1 << 22;
/// What the program itself takes.
const PROGRAM: usize = 16 << 20;

/// Bytes that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// What is there for certain: data and parameters.
    sure: usize,
    /// What the computation takes besides, roughly.
    working: usize,
}

impl Estimate {
    fn total(&self) -> usize {
        self.sure.saturating_add(self.working)
    }
}

/// Of a training run.
pub fn training(network: &Network, config: &Config, sets: &[&Dataset]) -> Estimate {
    let parameters = network.parameters().total();
    let slots = GRADIENT_SLOTS[usize::from(parameters >= LARGE)];
    // An average with the checkpoint's bytes and the handle it is evaluated on; a sum of gradients in double precision.
    let average = match config.train.average {
        AverageKind::None => 0,
        AverageKind::Swa | AverageKind::Ema => 4,
    };
    let gradients = if config.train.accumulate > 1 { 2 } else { 0 };
    // θ, two of the optimiser, the gradient and the checkpoint's bytes.
    let copies = 8
        + average
        + gradients
        + match config.smoothing.kind {
            SmoothingKind::Grad => slots,
            SmoothingKind::Rgs => slots + 2,
            SmoothingKind::Pgpe => 2 + rayon::current_num_threads(),
        };
    let relaxation = config.eval_relaxation().unwrap_or(Relaxation::Ibp);
    let batch = config.train.batch.min(sets.first().map_or(0, |set| set.len()));
    let signs = match relaxation.intermediate() {
        Intermediate::Interval => 0,
        // One bit for each pixel of each row that is walked back to the input.
        Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable => {
            let rows: usize = network.pre_activations().iter().map(|&node| network.node(node).len()).sum();
            batch.saturating_mul(rows + network.output_len()).saturating_mul(network.input_len()) / 8
        }
    };
    // Minibatches in single precision: the one at hand and those made ahead.
    let batches = 4 * batch.saturating_mul(network.input_len() * SINGLE);
    let working = layers(network, relaxation, batch, 2).saturating_add(signs).saturating_add(batches);
    sum(sets, copies.saturating_mul(parameters), working)
}

/// Of a certification of `set`.
pub fn certification(network: &Network, set: &Dataset, stages: &[Stage]) -> Estimate {
    let batch = Cascade::BATCH.min(set.len());
    let working = stages.iter().map(|stage| match stage {
        Stage::Bound(relaxation) => layers(network, *relaxation, batch, 1),
        Stage::Pgd => layers(network, Relaxation::Ibp, batch, 3),
        // One sample a thread.
        Stage::AlphaCrown | Stage::Bab => layers(network, Relaxation::Crown, rayon::current_num_threads(), 4),
    });
    // All images in single precision, while the data set itself may hold bytes.
    let working = working.max().unwrap_or(0).saturating_add(set.values().saturating_mul(SINGLE));
    // θ in single and in double precision, and as it is packed for the kernels.
    sum(&[set], network.parameters().total().saturating_mul(5), working)
}

fn sum(sets: &[&Dataset], parameters: usize, working: usize) -> Estimate {
    let data: usize = sets.iter().map(|set| set.bytes()).sum();
    Estimate { sure: data.saturating_add(parameters.saturating_mul(SINGLE)).saturating_add(PROGRAM), working }
}

/// Bytes of bounding `batch` samples at once, `times` over for adjoints and the like.
fn layers(network: &Network, relaxation: Relaxation, batch: usize, times: usize) -> usize {
    let neurons: usize = network.nodes().iter().map(|node| node.len()).sum();
    // Both bounds of every neuron.
    let bounds = batch.saturating_mul(2 * neurons);
    let rows = match (relaxation.last(), relaxation.intermediate()) {
        (Final::Interval, _) => 0,
        (Final::Backward, Intermediate::Interval) => ROWS.min(network.output_len()),
        (Final::Backward, Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable) => {
            ROWS
        }
    };
    // Rows of coefficients that are walked at a time, as wide as the widest layer, on every thread.
    let widest = network.nodes().iter().map(|node| node.len()).max().unwrap_or(0);
    let backward = rayon::current_num_threads().saturating_mul(rows).saturating_mul(widest);
    bounds.saturating_add(backward).saturating_mul(times * SINGLE)
}

/// Coefficient rows in work on a thread.
const ROWS: usize = 256;

/// Says how much is needed.
///
/// # Errors
/// If not even what is needed for certain is there.
pub fn tell(context: &Context, estimate: &Estimate) -> anyhow::Result<()> {
    let needed = bytes_text(estimate.total());
    let Some(free) = free() else {
        context.note(&format!("memory: about {needed} needed"));
        return Ok(());
    };
    if estimate.sure > free {
        bail!(
            "memory: at least {} needed for data and parameters, but only {} to be had; free memory, raise its limit (ulimit -v), \
             or ask for less: fewer samples or a smaller network",
            bytes_text(estimate.sure),
            bytes_text(free)
        );
    }
    let warning = if estimate.total() > free { "; it may not suffice: a smaller batch needs less" } else { "" };
    context.note(&format!("memory: about {needed} needed, {} free{warning}", bytes_text(free)));
    Ok(())
}

/// Bytes that this process may take in all, what it has already included (data are loaded by now); where the system tells.
fn free() -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kilobytes = |text: &str, key: &str| -> Option<usize> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
    };
    let available = read("/proc/meminfo").and_then(|text| kilobytes(&text, "MemAvailable:"));
    let group = |limit: &str, used: &str| -> Option<usize> {
        let number = |path: &str| read(path)?.trim().parse::<usize>().ok();
        Some(number(limit)?.saturating_sub(number(used)?))
    };
    let group = group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current");
    let space = || -> Option<usize> {
        let limits = read("/proc/self/limits")?;
        let line = limits.lines().find(|line| line.starts_with("Max address space"))?;
        let limit = line.split_whitespace().nth(3)?.parse::<usize>().ok()?;
        let used = kilobytes(&read("/proc/self/status")?, "VmSize:")?;
        Some(limit.saturating_sub(used))
    };
    let own = read("/proc/self/status").and_then(|text| kilobytes(&text, "VmRSS:")).unwrap_or(0);
    [available, group, space()].into_iter().flatten().min().map(|free| free.saturating_add(own))
}

#[cfg(test)]
mod tests {
    use tightrope_data::{Split, load};
    use tightrope_network::Preset;
    use tightrope_train::Config;
    use tightrope_verify::Stage;

    use super::{certification, training};

    #[test]
    fn larger_things_need_more() {
        let set = load("digits", Split::Test, None).unwrap();
        let network = |preset: Preset| preset.build(&[1, 28, 28], 10, None).unwrap();
        let need = |preset, overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
            training(&network(preset), &Config::parse("", "(test)", &overrides).unwrap(), &[&set]).total()
        };
        let usual = need(Preset::Cnn3, &[]);
        assert!(set.len() * 784 < usual && usual < 1 << 30, "{usual}");
        assert!(need(Preset::Cnn5, &[]) > usual);
        assert!(need(Preset::Cnn3, &["train.batch=2000"]) > usual);
        assert!(need(Preset::Cnn3, &["train.accumulate=2", "train.average=ema"]) > usual);
        assert!(need(Preset::Cnn3, &["method.name=crown"]) > usual);
        let certify = |stages: &[Stage]| certification(&network(Preset::Cnn3), &set, stages).total();
        assert!(certify(&Stage::DEFAULT) >= certify(&Stage::DEFAULT[..2]));
    }
}
