//! What came out of a study: trials, cells and blocks, read from the sweeps' folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use tightrope_report::{Run, Verdict as SampleVerdict};
use tightrope_statistics::Moments;
use tightrope_sweep::{Outcome, Parameters, Sweep, TrialRecord};

use crate::claim::Verdict;
use crate::study::{Block, Study, Variant};
use crate::{Certify, StudyError};

/// One network that was trained and certified.
#[derive(Clone, Debug, Serialize)]
pub struct TrialResults {
    /// Seed.
    pub seed: u64,
    /// Samples certified, or tried to.
    pub samples: u64,
    /// Natural accuracy.
    pub natural: f64,
    /// Share of samples that are not falsified.
    pub adversarial: Option<f64>,
    /// Certified accuracy.
    pub certified: f64,
    /// Samples that are neither certified nor falsified; none where the log is gone.
    pub undecided: Option<u64>,
    /// Share of samples that each stage certifies, in order, also where it certifies none; empty where the log is gone.
    pub stages: Vec<(String, f64)>,
    /// Seconds of training.
    pub train_seconds: Option<f64>,
    /// Seconds of certification.
    pub certify_seconds: Option<f64>,
    /// Whether each sample is certified, by its index.
    #[serde(skip)]
    pub verified: BTreeMap<u64, bool>,
    /// What the samples are; none where the certification log is gone.
    #[serde(skip)]
    pub data: Option<Data>,
}

/// Which samples were certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Data set and split.
    pub name: String,
    /// SHA-256 of the split; none in a log that does not tell it.
    pub checksum: Option<String>,
}

impl Data {
    /// Whether samples of one index are one sample: by checksum, or by name where one of the two has none.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.checksum, &other.checksum) {
            (Some(own), Some(other)) => own == other,
            _ => self.name == other.name,
        }
    }
}

/// One cell.
#[derive(Clone, Debug, Serialize)]
pub struct CellResults {
    /// `COLUMN/ROW`.
    pub name: String,
    /// Position of its row.
    pub row: usize,
    /// Position of its column.
    pub column: usize,
    /// Settings.
    pub settings: Parameters,
    /// Seeds that were asked for.
    pub seeds: u64,
    /// Trials that have ended well, by seed.
    pub trials: Vec<TrialResults>,
    /// Why others have not, each with its seed.
    pub failures: Vec<String>,
    /// Seeds that have failed.
    #[serde(skip)]
    pub failed: BTreeSet<u64>,
}

/// One block.
#[derive(Clone, Debug, Serialize)]
pub struct BlockResults {
    /// Folder name.
    pub name: String,
    /// Heading.
    pub title: String,
    /// What the columns vary.
    pub column: String,
    /// Columns.
    #[serde(skip)]
    pub columns: Vec<Variant>,
    /// What the rows vary.
    pub row: String,
    /// Rows.
    #[serde(skip)]
    pub rows: Vec<Variant>,
    /// How trials were certified.
    #[serde(skip)]
    pub certify: Certify,
    /// Cells.
    pub cells: Vec<CellResults>,
    /// Machines on which trials ran.
    pub machines: BTreeSet<String>,
}

/// A study's results.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// Name of the study.
    pub study: String,
    /// Title.
    pub title: String,
    /// What is asked.
    pub about: String,
    /// Profile.
    pub profile: String,
    /// Blocks.
    pub blocks: Vec<BlockResults>,
    /// The claims in each block they are about.
    pub verdicts: Vec<Verdict>,
}

impl Results {
    /// Reads what is in `folder`, one sweep in a folder for each block.
    ///
    /// # Errors
    /// If a journal cannot be read, or is of trials with other settings than the study's.
    pub fn read(study: &Study, folder: &Path) -> Result<Self, StudyError> {
        let blocks: Vec<BlockResults> = study
            .blocks
            .iter()
            .map(|block| BlockResults::read(block, &folder.join(&block.name)))
            .collect::<Result<_, _>>()?;
        let verdicts = study.claims.iter().flat_map(|claim| claim.verdicts(&blocks)).collect();
        Ok(Results {
            study: study.name.clone(),
            title: study.title.clone(),
            about: study.about.clone(),
            profile: study.profile.clone(),
            blocks,
            verdicts,
        })
    }

    /// Trials that have failed.
    pub fn failed(&self) -> u64 {
        self.blocks.iter().flat_map(|block| &block.cells).map(|cell| cell.failures.len() as u64).sum()
    }

    /// Trials that have ended, well or not, and all of them, in words: `14 of 14 trials, 6 failed`.
    pub fn progress_text(&self) -> String {
        let ((ended, all), failed) = (self.progress(), self.failed());
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        format!("{ended} of {all} trials{failed}")
    }

    /// Trials that have ended, well or not, and all of them.
    pub fn progress(&self) -> (u64, u64) {
        let cells = || self.blocks.iter().flat_map(|block| &block.cells);
        (
            cells().map(|cell| (cell.trials.len() + cell.failures.len()) as u64).sum(),
            cells().map(|cell| cell.seeds).sum(),
        )
    }
}

impl BlockResults {
    fn read(block: &Block, folder: &Path) -> Result<Self, StudyError> {
        let records = Sweep::records(folder, &block.plan())?;
        let mut machines = BTreeSet::new();
        let mut cells = Vec::new();
        for (place, cell) in (0_u64..).zip(&block.cells) {
            let mut results = CellResults {
                name: cell.name.clone(),
                row: cell.row,
                column: cell.column,
                settings: cell.settings.clone(),
                seeds: cell.seeds,
                trials: Vec::new(),
                failures: Vec::new(),
                failed: BTreeSet::new(),
            };
            for record in records.iter().filter(|record| record.configuration == place) {
                match &record.outcome {
                    Outcome::Done(_) => {
                        let (trial, machine) = trial(record, &Sweep::trial_folder(folder, record.trial));
                        results.trials.extend(trial);
                        machines.extend(machine);
                    }
                    failed @ Outcome::Failed(_) => {
                        let error = failed.error().unwrap_or_default();
                        results.failures.push(format!("seed {}: {error}", record.seed));
                        results.failed.insert(record.seed);
                    }
                }
            }
            results.trials.sort_by_key(|trial| trial.seed);
            cells.push(results);
        }
        Ok(BlockResults {
            name: block.name.clone(),
            title: block.title.clone(),
            column: block.column.clone(),
            columns: block.columns.clone(),
            row: block.row.clone(),
            rows: block.rows.clone(),
            certify: block.certify.clone(),
            cells,
            machines,
        })
    }

    /// The cell called `name`.
    pub fn cell(&self, name: &str) -> Option<&CellResults> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    /// The cell of a row and a column.
    pub(crate) fn at(&self, row: usize, column: usize) -> Option<&CellResults> {
        self.cells.iter().find(|cell| (cell.row, cell.column) == (row, column))
    }

    /// Names of the stages that certified samples of any trial, in order.
    pub(crate) fn stages(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let stages = self.cells.iter().flat_map(|cell| &cell.trials).flat_map(|trial| &trial.stages);
        for (name, _) in stages.filter(|(_, share)| *share > 0.0) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

impl CellResults {
    /// Mean and spread of a figure over the trials that have it.
    pub fn moments(&self, figure: impl Fn(&TrialResults) -> Option<f64>) -> Option<Moments> {
        let values: Vec<f64> = self.trials.iter().filter_map(figure).collect();
        Moments::of(&values)
    }

    /// Samples that are neither certified nor falsified, and all, of the trials whose logs are there; none if there are no
    /// such trials.
    pub(crate) fn undecided(&self) -> Option<(u64, u64)> {
        let counts = self.trials.iter().filter_map(|trial| Some((trial.undecided?, trial.samples)));
        counts.reduce(|sum, next| (sum.0 + next.0, sum.1 + next.1))
    }
}

/// A trial with what its folder tells, and the machine it ran on.
fn trial(record: &TrialRecord, folder: &Path) -> (Option<TrialResults>, Option<String>) {
    let Some(measured) = record.measured() else { return (None, None) };
    let run = Run::read(folder);
    let verified = run.certification.iter().flat_map(|certification| &certification.records);
    let verified = verified.map(|sample| (sample.index, sample.verdict == SampleVerdict::Verified)).collect();
    let stages = run.certification.iter().flat_map(|certification| {
        let all = certification.records.len().max(1) as f64;
        // The first is the clean prediction, which certifies nothing.
        certification.stages().into_iter().skip(1).map(move |stage| (stage.stage, stage.verified as f64 / all))
    });
    let field = |name: &str| {
        let fields = run.manifest.iter().flat_map(|manifest| &manifest.fields);
        fields.clone().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let machine =
        [field("machine.cpu"), field("machine.instructions"), field("version").map(|v| format!("version {v}"))];
    let machine: Vec<String> = machine.into_iter().flatten().collect();
    let results = TrialResults {
        seed: record.seed,
        samples: measured.samples.unwrap_or(0),
        natural: measured.natural,
        adversarial: measured.adversarial,
        certified: measured.certified,
        undecided: run.certification.as_ref().map(|certification| certification.undecided().len() as u64),
        stages: stages.collect(),
        train_seconds: measured.train_seconds,
        certify_seconds: measured.certify_seconds,
        verified,
        data: run.certification.as_ref().map(|certification| Data {
            name: format!("{} {}", certification.setting("dataset").unwrap_or(""), certification.split()),
            checksum: certification.setting("data").map(Into::into),
        }),
    };
    (Some(results), (!machine.is_empty()).then(|| machine.join(", ")))
}
