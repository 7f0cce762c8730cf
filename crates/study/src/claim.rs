//! Claims about cells, and the tests that they are held against.

use serde::Serialize;
use tightrope_statistics::{Discordant, PairedDifferences};

use crate::definition::ClaimFile;
use crate::results::{BlockResults, CellResults};

/// Seeds below which nothing is claimed.
const FEWEST_SEEDS: usize = 3;
/// Probability of error of each of the two tests.
const LEVEL: f64 = 0.05;

/// One cell has a higher certified accuracy than another.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// In words.
    pub text: String,
    /// `COLUMN/ROW`.
    pub higher: String,
    /// `COLUMN/ROW`.
    pub lower: String,
    /// Block of `lower`, if it is another than that of `higher`.
    pub lower_block: Option<String>,
    /// Blocks it is made of; all that have both cells if there are none.
    pub blocks: Vec<String>,
}

/// What the runs say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictKind {
    /// The first is higher by both tests.
    Supported,
    /// The second is higher by both tests.
    NotSupported,
    /// Neither, or too few seeds.
    Inconclusive,
    /// Nothing to compare yet.
    NotRun,
}

impl VerdictKind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            VerdictKind::Supported => "supported",
            VerdictKind::NotSupported => "not supported",
            VerdictKind::Inconclusive => "inconclusive",
            VerdictKind::NotRun => "not run",
        }
    }
}

/// A claim in one block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The claim in words.
    pub claim: String,
    /// The block.
    pub block: String,
    /// `COLUMN/ROW`.
    pub higher: String,
    /// `COLUMN/ROW`.
    pub lower: String,
    /// What the runs say.
    pub verdict: VerdictKind,
    /// Differences in certified accuracy over the seeds that both have.
    pub seeds: Option<PairedDifferences>,
    /// Samples, over these seeds, that are certified in one of both only.
    pub samples: Discordant,
}

impl Claim {
    pub(crate) fn from_file(file: &ClaimFile) -> Self {
        Claim {
            text: file.text.clone(),
            higher: file.higher.clone(),
            lower: file.lower.clone(),
            lower_block: file.lower_block.clone(),
            blocks: file.blocks.clone(),
        }
    }

    /// The claim in each block that it is about.
    pub(crate) fn verdicts(&self, blocks: &[BlockResults]) -> Vec<Verdict> {
        let about = |block: &&BlockResults| self.blocks.is_empty() || self.blocks.contains(&block.name);
        let pairs = blocks.iter().filter(about).filter_map(|block| {
            let other = match &self.lower_block {
                Some(name) => blocks.iter().find(|block| block.name == *name)?,
                None => block,
            };
            Some((block, block.cell(&self.higher)?, other.cell(&self.lower)?))
        });
        pairs.map(|(block, higher, lower)| self.verdict(block, higher, lower)).collect()
    }

    fn verdict(&self, block: &BlockResults, higher: &CellResults, lower: &CellResults) -> Verdict {
        let mut accuracies = Vec::new();
        let mut outcomes = Vec::new();
        for first in &higher.trials {
            let Some(second) = lower.trials.iter().find(|second| second.seed == first.seed) else { continue };
            accuracies.push((first.certified, second.certified));
            let both = first.verified.iter().filter_map(|(index, &won)| Some((won, *second.verified.get(index)?)));
            outcomes.extend(both);
        }
        let seeds = PairedDifferences::of(&accuracies);
        let samples = Discordant::of(outcomes);
        let verdict = match &seeds {
            None => VerdictKind::NotRun,
            Some(seeds) => judge(seeds, &samples),
        };
        Verdict {
            claim: self.text.clone(),
            block: block.name.clone(),
            higher: self.higher.clone(),
            lower: self.lower.clone(),
            verdict,
            seeds,
            samples,
        }
    }
}

/// By the paired t-test over seeds, one-sided, and McNemar's over samples: both at [`LEVEL`] in the same direction.
///
/// The first says that another seed would come out the same, the second that other images would; samples of several seeds
/// count as independent there, which they are not quite, so that it never decides alone.
fn judge(seeds: &PairedDifferences, samples: &Discordant) -> VerdictKind {
    if seeds.moments.count < FEWEST_SEEDS || samples.p() >= LEVEL {
        return VerdictKind::Inconclusive;
    }
    let below = |p: Option<f64>| p.is_some_and(|p| p < LEVEL);
    match samples.first > samples.second {
        true if below(seeds.p_above) => VerdictKind::Supported,
        false if below(seeds.p_below()) => VerdictKind::NotSupported,
        _ => VerdictKind::Inconclusive,
    }
}

#[cfg(test)]
mod tests {
    use tightrope_statistics::{Discordant, PairedDifferences};

    use super::{VerdictKind, judge};

    #[test]
    fn both_tests_must_agree() {
        let of = |differences: &[f64], first, second| {
            let pairs: Vec<(f64, f64)> = differences.iter().map(|&d| (d, 0.0)).collect();
            judge(&PairedDifferences::of(&pairs).unwrap(), &Discordant { first, second })
        };
        assert_eq!(of(&[0.02, 0.03, 0.025], 90, 10), VerdictKind::Supported);
        assert_eq!(of(&[-0.02, -0.03, -0.025], 10, 90), VerdictKind::NotSupported);
        // One lucky seed, few samples, few seeds, and tests that contradict each other.
        assert_eq!(of(&[0.2, -0.01, -0.01], 90, 10), VerdictKind::Inconclusive);
        assert_eq!(of(&[0.02, 0.03, 0.025], 4, 3), VerdictKind::Inconclusive);
        assert_eq!(of(&[0.02, 0.03], 90, 10), VerdictKind::Inconclusive);
        assert_eq!(of(&[0.02, 0.03, 0.025], 10, 90), VerdictKind::Inconclusive);
    }
}
