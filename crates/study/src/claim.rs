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
    /// Nothing to compare: of each seed, one of both has failed.
    Failed,
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
            VerdictKind::Failed => "failed",
            VerdictKind::NotRun => "not run",
        }
    }
}

/// A claim in one block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The claim in words.
    pub claim: String,
    /// The block of `higher`.
    pub block: String,
    /// The block of `lower`, mostly the same.
    pub lower_block: String,
    /// `COLUMN/ROW`.
    pub higher: String,
    /// `COLUMN/ROW`.
    pub lower: String,
    /// What the runs say.
    pub verdict: VerdictKind,
    /// Differences in certified accuracy over the seeds that both have.
    pub seeds: Option<PairedDifferences>,
    /// Samples, over these seeds, that are certified in one of both only; none where both were certified on other samples.
    pub samples: Option<Discordant>,
}

impl Verdict {
    /// The block, or both where they differ.
    pub fn blocks(&self) -> String {
        match self.block == self.lower_block {
            true => self.block.clone(),
            false => format!("{} and {}", self.block, self.lower_block),
        }
    }

    /// Both cells, with their blocks where these differ.
    pub fn cells(&self) -> String {
        match self.block == self.lower_block {
            true => format!("{} > {}", self.higher, self.lower),
            false => format!("{} of {} > {} of {}", self.higher, self.block, self.lower, self.lower_block),
        }
    }
}

/// A cell and its block.
type Placed<'a> = (&'a BlockResults, &'a CellResults);

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
            Some(self.verdict((block, block.cell(&self.higher)?), (other, other.cell(&self.lower)?)))
        });
        pairs.collect()
    }

    fn verdict(&self, (block, higher): Placed<'_>, (lower_block, lower): Placed<'_>) -> Verdict {
        let mut accuracies = Vec::new();
        let mut outcomes = Some(Vec::new());
        for first in &higher.trials {
            let Some(second) = lower.trials.iter().find(|second| second.seed == first.seed) else { continue };
            accuracies.push((first.certified, second.certified));
            // One index is one sample only in the same data.
            if first.data.as_ref().zip(second.data.as_ref()).is_some_and(|(first, second)| !first.is(second)) {
                outcomes = None;
            }
            let both = first.verified.iter().filter_map(|(index, &won)| Some((won, *second.verified.get(index)?)));
            outcomes.iter_mut().for_each(|outcomes| outcomes.extend(both.clone()));
        }
        let seeds = PairedDifferences::of(&accuracies);
        let samples = outcomes.map(Discordant::of);
        // Seeds are counted from 1; the cell with fewer has no more to give.
        let has_failed = |seed: u64| higher.failed.contains(&seed) || lower.failed.contains(&seed);
        let verdict = match &seeds {
            None if (1..=higher.seeds.min(lower.seeds)).all(has_failed) => VerdictKind::Failed,
            None => VerdictKind::NotRun,
            Some(seeds) => judge(seeds, samples.as_ref()),
        };
        Verdict {
            claim: self.text.clone(),
            block: block.name.clone(),
            lower_block: lower_block.name.clone(),
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
/// count as independent there, which they are not quite, so that it never decides alone. Neither does the first, where
/// samples are not the same.
fn judge(seeds: &PairedDifferences, samples: Option<&Discordant>) -> VerdictKind {
    let Some(samples) = samples else { return VerdictKind::Inconclusive };
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

    use super::{Claim, Verdict, VerdictKind, judge};
    use crate::results::{BlockResults, CellResults, Data, TrialResults};

    #[test]
    fn both_tests_must_agree() {
        let of = |differences: &[f64], first, second| {
            let pairs: Vec<(f64, f64)> = differences.iter().map(|&d| (d, 0.0)).collect();
            judge(&PairedDifferences::of(&pairs).unwrap(), Some(&Discordant { first, second }))
        };
        assert_eq!(of(&[0.02, 0.03, 0.025], 90, 10), VerdictKind::Supported);
        assert_eq!(of(&[-0.02, -0.03, -0.025], 10, 90), VerdictKind::NotSupported);
        // One lucky seed, few samples, few seeds, and tests that contradict each other.
        assert_eq!(of(&[0.2, -0.01, -0.01], 90, 10), VerdictKind::Inconclusive);
        assert_eq!(of(&[0.02, 0.03, 0.025], 4, 3), VerdictKind::Inconclusive);
        assert_eq!(of(&[0.02, 0.03], 90, 10), VerdictKind::Inconclusive);
        assert_eq!(of(&[0.02, 0.03, 0.025], 10, 90), VerdictKind::Inconclusive);
    }

    /// A block of one cell, `x/y`, with four samples a seed, all certified or none; seeds without a share have failed.
    fn block(name: &str, checksum: &str, shares: &[Option<bool>]) -> BlockResults {
        let trial = |(seed, certified): (u64, bool)| TrialResults {
            seed,
            samples: 4,
            natural: 1.0,
            adversarial: None,
            certified: f64::from(u8::from(certified)),
            undecided: None,
            stages: Vec::new(),
            train_seconds: None,
            certify_seconds: None,
            verified: (0..4).map(|index| (index, certified)).collect(),
            data: Some(Data { name: "digits test".into(), checksum: Some(checksum.into()) }),
        };
        let seeds = || (1..).zip(shares);
        let failed = seeds().filter(|(_, share)| share.is_none()).map(|(seed, _)| seed);
        let cell = CellResults {
            name: "x/y".into(),
            row: 0,
            column: 0,
            settings: Default::default(),
            seeds: 3,
            trials: seeds().filter_map(|(seed, &share)| Some(trial((seed, share?)))).collect(),
            failures: failed.clone().map(|seed| format!("seed {seed}: no loss")).collect(),
            failed: failed.collect(),
        };
        let study = crate::Study::load("rate", "smoke").unwrap();
        BlockResults {
            name: name.into(),
            title: name.into(),
            column: "c".into(),
            columns: Vec::new(),
            row: "r".into(),
            rows: Vec::new(),
            certify: study.blocks[0].certify.clone(),
            cells: vec![cell],
            machines: Default::default(),
        }
    }

    fn verdict(higher: &BlockResults, lower: &BlockResults) -> Verdict {
        let claim = Claim {
            text: "more".into(),
            higher: "x/y".into(),
            lower: "x/y".into(),
            lower_block: Some(lower.name.clone()),
            blocks: vec![higher.name.clone()],
        };
        let mut verdicts = claim.verdicts(&[higher.clone(), lower.clone()]);
        assert_eq!(verdicts.len(), 1);
        verdicts.remove(0)
    }

    #[test]
    fn both_blocks_are_named_and_only_the_same_samples_paired() {
        let good = block("b", "0123", &[Some(true); 3]);
        let found = verdict(&good, &block("a", "0123", &[Some(false); 3]));
        assert_eq!((found.cells(), found.blocks()), ("x/y of b > x/y of a".into(), "b and a".into()));
        assert_eq!((found.verdict, found.samples), (VerdictKind::Supported, Some(Discordant { first: 12, second: 0 })));
        assert_eq!(serde_json::to_value(&found).unwrap()["lower_block"], "a");
        let other = verdict(&good, &block("a", "4567", &[Some(false); 3]));
        assert_eq!((other.verdict, other.samples), (VerdictKind::Inconclusive, None));
    }

    #[test]
    fn what_has_failed_is_told_from_what_has_not_run() {
        let good = block("b", "0", &[Some(true); 3]);
        let of = |first: &BlockResults, shares: &[Option<bool>]| verdict(first, &block("a", "0", shares)).verdict;
        assert_eq!(of(&good, &[None; 3]), VerdictKind::Failed);
        assert_eq!(of(&good, &[None; 2]), VerdictKind::NotRun);
        assert_eq!(of(&good, &[]), VerdictKind::NotRun);
        let half = block("b", "0", &[None, Some(true), Some(true)]);
        assert_eq!(of(&half, &[Some(true), None, None]), VerdictKind::Failed);
        assert_eq!(of(&half, &[None, None, Some(true)]), VerdictKind::Inconclusive);
    }
}
