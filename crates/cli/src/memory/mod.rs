//! How much memory a command will need, told before it starts and refused where it surely is not there.

mod jobs;
mod passes;
mod sizes;

use anyhow::bail;
use tightrope_data::Dataset;
use tightrope_network::bytes_text;

use crate::context::Context;
pub use jobs::{Wanted, bounding, certification, training};

/// Bytes of a number in single and in double precision.
const SINGLE: usize = 4;
const DOUBLE: usize = 8;
/// What the program itself takes.
const PROGRAM: usize = 14_500_000;

/// What reading a data set leaves behind.
const READING: usize = 1_500_000;

/// Bytes that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// What is there for certain: data and parameters.
    sure: usize,
    /// What the computation takes besides, roughly.
    working: usize,
}

impl Estimate {
    /// Of data, bytes of parameters, and what the computation takes besides.
    fn of(sets: &[&Dataset], parameters: usize, working: usize) -> Self {
        let data: usize = sets.iter().map(|set| set.bytes() + READING).sum();
        Estimate { sure: data.saturating_add(parameters).saturating_add(PROGRAM), working }
    }

    fn total(&self) -> usize {
        self.sure.saturating_add(self.working)
    }
}

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

/// Says under `-v` how much was in use at most, where the system tells.
pub fn tell_peak(context: &Context) {
    if let Some(peak) = std::fs::read_to_string("/proc/self/status").ok().and_then(|text| kilobytes(&text, "VmHWM:")) {
        context.detail(&format!("memory: at most {} were in use", bytes_text(peak)));
    }
}

/// The number of bytes that stands in kilobytes in the line of `text` that begins with `key`.
fn kilobytes(text: &str, key: &str) -> Option<usize> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Bytes that this process may take in all, what it has already included (data are loaded by now); where the system tells.
fn free() -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
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
    use tightrope_engine::{Reference, Relaxation};
    use tightrope_fused::Fused;
    use tightrope_network::Preset;
    use tightrope_train::Config;
    use tightrope_verify::Stage;

    use super::{SINGLE, Wanted, bounding, certification, training};

    #[test]
    fn larger_things_need_more() {
        let set = load("digits", Split::Test, None).unwrap();
        let network = |preset: Preset| preset.build(&[1, 28, 28], 10, None).unwrap();
        let fused = Fused::new().unwrap();
        let need = |preset, overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
            let config = Config::parse("", "(test)", &overrides).unwrap();
            let estimates = [
                training(&network(preset), &fused, &config, &[&set]).total(),
                training(&network(preset), &Reference, &config, &[&set]).total(),
            ];
            assert!(estimates.iter().all(|&bytes| set.len() * 784 < bytes && bytes < 1 << 30), "{estimates:?}");
            estimates[0]
        };
        let usual = need(Preset::Cnn3, &[]);
        assert!(need(Preset::Cnn5, &[]) > usual);
        for more in [
            &["train.batch=2000"][..],
            &["train.accumulate=2"],
            &["train.average=ema"],
            &["method.name=crown"],
            &["method.name=crown-ibp"],
            &["method.name=sabr"],
            &["smoothing.kind=rgs"],
        ] {
            assert!(need(Preset::Cnn3, more) > usual, "{more:?}");
        }
        assert!(need(Preset::Cnn3, &["method.name=standard"]) < usual);
        let certify = |stages: &[Stage]| certification(&network(Preset::Cnn3), &fused, &set, stages).total();
        assert!(certify(&Stage::DEFAULT) > certify(&Stage::DEFAULT[..2]));
        let bound = |relaxation, layers, gradients| {
            let wanted = Wanted { layers, gradients, optimised: false };
            bounding(&network(Preset::Cnn5), &fused, relaxation, [100, 64], SINGLE, wanted).total()
        };
        assert!(bound(Relaxation::Crown, false, false) > bound(Relaxation::Ibp, false, false));
        assert!(bound(Relaxation::Ibp, true, false) > bound(Relaxation::Ibp, false, false));
        assert!(bound(Relaxation::Crown, false, true) > bound(Relaxation::Crown, false, false));
    }
}
