//! Accuracies with confidence intervals, and counts and seconds per stage.

use serde::Serialize;

use crate::Stage;
use crate::cascade::log::{SampleRecord, Verdict};

/// A share of samples with its Wilson 95 % interval, as if the samples were drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Proportion {
    /// Samples that have the property.
    pub count: usize,
    /// Samples in all.
    pub total: usize,
    /// count/total; 0 for no samples.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Proportion {
    /// `count` of `total` (Wilson 1927).
    pub fn new(count: usize, total: usize) -> Self {
        if total == 0 {
            return Proportion { count, total, value: 0.0, low: 0.0, high: 1.0 };
        }
        const Z: f64 = 1.959_963_984_540_054;
        let n = total as f64;
        let p = count as f64 / n;
        let scale = 1.0 + Z * Z / n;
        let center = (p + Z * Z / (2.0 * n)) / scale;
        let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Proportion { count, total, value: p, low: (center - half).max(0.0), high: (center + half).min(1.0) }
    }
}

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

#[cfg(test)]
mod tests {
    use super::Proportion;

    /// Newcombe (1998), table I, method 3: 81/263 → 0.2553 to 0.3662; 0/20 → 0 to 0.1611.
    #[test]
    fn wilson_intervals_match_published_values() {
        let p = Proportion::new(81, 263);
        assert!((p.low - 0.2553).abs() < 5e-5 && (p.high - 0.3662).abs() < 5e-5, "{p:?}");
        let p = Proportion::new(0, 20);
        assert!(p.low == 0.0 && (p.high - 0.1611).abs() < 5e-5, "{p:?}");
        assert_eq!(Proportion::new(0, 0).high, 1.0);
    }
}
