//! Accuracies with confidence intervals, and counts and seconds per stage.

use serde::Serialize;
use tightrope_statistics::Proportion;

use crate::Stage;
use crate::cascade::log::{SampleRecord, Verdict};

/// What one stage did over all samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTotals {
    /// Name.
    pub stage: String,
    /// Samples that entered.
    pub entered: usize,
    /// Samples it verified.
    pub verified: usize,
    /// Samples it falsified.
    pub falsified: usize,
    /// Seconds of all samples together; α-CROWN and branch and bound work on several at once.
    pub seconds: f64,
}

/// The cascade's result over a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Samples certified.
    pub samples: usize,
    /// Natural accuracy.
    pub natural: Proportion,
    /// Samples not falsified: an upper bound of the robust accuracy.
    pub adversarial: Proportion,
    /// Samples verified: a lower bound of the robust accuracy.
    pub certified: Proportion,
    /// Samples neither verified nor falsified.
    pub unknown: usize,
    /// Per stage, in the order they ran.
    pub stages: Vec<StageTotals>,
    /// Seconds of all stages.
    pub seconds: f64,
}

impl Summary {
    /// Sums up `records` of a cascade of `stages`.
    pub fn new(records: &[SampleRecord], stages: &[Stage]) -> Self {
        let share = |property: fn(&SampleRecord) -> bool| {
            Proportion::new(records.iter().filter(|r| property(r)).count(), records.len())
        };
        let totals = |stage: &Stage| {
            let name = stage.name();
            let decided =
                |verdict| records.iter().filter(|r| r.verdict == verdict && r.stage.as_deref() == Some(name)).count();
            let seconds: Vec<f64> =
                records.iter().filter_map(|r| r.stage_seconds.get(name)).filter_map(|s| s.as_f64()).collect();
            StageTotals {
                stage: name.into(),
                entered: seconds.len(),
                verified: decided(Verdict::Verified),
                falsified: decided(Verdict::Falsified),
                // Not `sum`, whose empty value is −0.
                seconds: seconds.iter().fold(0.0, |total, s| total + s),
            }
        };
        Summary {
            samples: records.len(),
            natural: share(|r| r.natural_correct),
            adversarial: share(|r| r.verdict != Verdict::Falsified),
            certified: share(|r| r.verdict == Verdict::Verified),
            unknown: records.iter().filter(|r| r.verdict == Verdict::Unknown).count(),
            stages: stages.iter().map(totals).collect(),
            seconds: records.iter().fold(0.0, |total, r| total + r.seconds),
        }
    }
}
