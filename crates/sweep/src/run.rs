//! Running trials: so many at once, each a training and then a certification in processes of their own.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::SweepError;
use crate::child::{Process, status_text};
use crate::folder::Sweep;
use crate::journal::{Measured, Outcome, Record, TrialRecord, sync_folder};
use crate::lock;
use crate::plan::{Strategy, Trial};
use crate::space::setting;

/// How often processes are looked after.
const POLL: Duration = Duration::from_millis(20);

/// How trials are run.
#[derive(Clone, Debug)]
pub struct Commands {
    /// The program.
    pub program: PathBuf,
    /// Words of the training before those of the trial: `train RECIPE …`.
    pub train: Vec<String>,
    /// Options of the certification: `--limit N …`.
    pub certify: Vec<String>,
    /// Worker threads of each process.
    pub threads: usize,
}

/// What happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A trial begins or goes on.
    Begun(&'a Trial),
    /// A process of a sweep that was killed still works on the trial.
    Waiting(&'a Trial),
    /// A trial is trained and about to be certified.
    Trained(&'a Trial),
    /// A trial has ended.
    Ended {
        /// With this.
        record: &'a TrialRecord,
        /// Trials that have ended.
        ended: u64,
        /// Trials of this process.
        all: u64,
    },
}

/// How a sweep is run.
pub struct Run<'a> {
    /// What trials are.
    pub commands: &'a Commands,
    /// Trials at once, at least 1.
    pub jobs: usize,
    /// Whether trials that failed are run again.
    pub retry: bool,
    /// Whether to stop: processes are asked to end, and what they have done is kept.
    pub stop: &'a dyn Fn() -> bool,
    /// Hears what happens.
    pub tell: &'a mut dyn FnMut(Event<'_>),
}

/// A trial at hand.
struct Slot {
    trial: Trial,
    /// Held by this process and the trial's, so that no two work on a trial even if a sweep is killed.
    lock: File,
    stage: Stage,
}

enum Stage {
    /// For the lock.
    Waiting {
        /// Whether that was told.
        told: bool,
    },
    Training(Process),
    Certifying(Process),
}

impl Sweep {
    /// Runs all trials that have no result; true if none is left.
    ///
    /// Results are written after each. With TPE, a configuration is proposed when all but the last `lag − 1` before it
    /// have ended, so that proposals do not depend on which trial was quicker.
    ///
    /// # Errors
    /// If a process cannot be started or a file not be written. A trial that fails is a result.
    pub fn run(&mut self, mut run: Run<'_>) -> Result<bool, SweepError> {
        for name in ["trials", "logs"] {
            let folder = self.folder.join(name);
            std::fs::create_dir_all(&folder).map_err(|e| SweepError::file(&folder, e))?;
            sync_folder(&folder);
        }
        let mut slots = Vec::new();
        let outcome = self.work(&mut run, &mut slots);
        // After a signal or an error.
        let mut processes: Vec<Process> = slots.into_iter().filter_map(|slot| slot.stage.process()).collect();
        processes.iter_mut().for_each(Process::stop);
        processes.iter_mut().for_each(Process::wait);
        outcome
    }

    fn work(&mut self, run: &mut Run<'_>, slots: &mut Vec<Slot>) -> Result<bool, SweepError> {
        let open = |record: &TrialRecord| run.retry && record.measured().is_none();
        let mut left: BTreeSet<u64> =
            self.numbers().filter(|number| self.state.records.get(number).is_none_or(open)).collect();
        let all = self.numbers().count() as u64;
        if !self.state.records.is_empty() {
            // A sweep that was killed between a trial's line in the journal and its row left the row out.
            self.write_results()?;
        }
        loop {
            if (run.stop)() {
                return Ok(left.is_empty() && slots.is_empty());
            }
            while slots.len() < run.jobs.max(1)
                && let Some(&number) = left.first()
                && let Some(before) = self.may_begin(number)
            {
                left.remove(&number);
                let trial = self.trial(number, before)?;
                (run.tell)(Event::Begun(&trial));
                slots.push(Slot {
                    lock: lock::open(&self.log(number, "lock"))?,
                    trial,
                    stage: Stage::Waiting { told: false },
                });
            }
            if slots.is_empty() {
                return Ok(true);
            }
            let mut changed = false;
            for at in (0..slots.len()).rev() {
                let Some(outcome) = self.attend(&mut slots[at], run)? else { continue };
                changed = true;
                let Trial { number, configuration, seed, parameters } = slots.remove(at).trial;
                let record = TrialRecord { trial: number, configuration, parameters, seed, outcome };
                self.record(Record::Trial(record.clone()))?;
                self.write_results()?;
                let ended = all - (left.len() + slots.len()) as u64;
                (run.tell)(Event::Ended { record: &record, ended, all });
            }
            if !changed {
                std::thread::sleep(POLL);
            }
        }
    }

    /// The configuration before which results are known to the proposal of a trial; none if they are not there yet.
    fn may_begin(&self, number: u64) -> Option<u64> {
        let (configuration, _) = self.plan.split(number);
        let Strategy::Tpe { lag, .. } = self.plan.strategy else { return Some(0) };
        let before = (configuration + 1).saturating_sub(lag);
        let proposed = self.state.proposals.contains_key(&configuration);
        (proposed || (0..before).all(|earlier| self.is_over(earlier))).then_some(before)
    }

    /// Looks after a trial; what came out if it has ended.
    fn attend(&self, slot: &mut Slot, run: &mut Run<'_>) -> Result<Option<Outcome>, SweepError> {
        let number = slot.trial.number;
        let failed = |what: &str, status, process: &Process| {
            let words = process.last_words();
            let between = if words.is_empty() { "" } else { ": " };
            Ok(Some(Outcome::Failed(format!("{what} {}{between}{words}", status_text(status)))))
        };
        match &mut slot.stage {
            Stage::Waiting { told } => {
                if lock::hold(&self.log(number, "lock"), &slot.lock, false, Duration::ZERO)? {
                    slot.stage = Stage::Training(self.train(&slot.trial, &slot.lock, run.commands)?);
                } else if !std::mem::replace(told, true) {
                    (run.tell)(Event::Waiting(&slot.trial));
                }
            }
            Stage::Training(process) => match process.ended()? {
                None => {}
                Some(status) if status.success() => {
                    (run.tell)(Event::Trained(&slot.trial));
                    slot.stage = Stage::Certifying(self.certify(&slot.trial, &slot.lock, run.commands)?);
                }
                Some(status) => return failed("train", status, process),
            },
            Stage::Certifying(process) => match process.ended()? {
                None => {}
                Some(status) if status.success() => return Ok(Some(self.outcome_of(number))),
                Some(status) => return failed("certify", status, process),
            },
        }
        Ok(None)
    }

    fn train(&self, trial: &Trial, lock: &File, commands: &Commands) -> Result<Process, SweepError> {
        let folder = Sweep::trial_folder(&self.folder, trial.number);
        let mut words = commands.train.clone();
        for (key, value) in &trial.parameters {
            words.extend(["--set".into(), setting(key, value)]);
        }
        words.extend(["--set".into(), format!("seed={}", trial.seed)]);
        words.extend(["--out".into(), folder.display().to_string()]);
        // Only what has written its configuration can go on; before, a run begins.
        if ["config.toml", "checkpoint.safetensors"].iter().any(|name| folder.join(name).is_file()) {
            words.push("--resume".into());
        }
        words.extend(["--threads".into(), commands.threads.to_string()]);
        let (log, output) = (self.log(trial.number, "train.log"), self.log(trial.number, "train.out"));
        Process::start(&commands.program, &words, lock, &log, &output)
    }

    fn certify(&self, trial: &Trial, lock: &File, commands: &Commands) -> Result<Process, SweepError> {
        let mut words = vec!["certify".into(), Sweep::trial_folder(&self.folder, trial.number).display().to_string()];
        words.extend(commands.certify.iter().cloned());
        words.extend(["--resume", "--json", "--threads"].map(String::from));
        words.push(commands.threads.to_string());
        let (log, output) = (self.log(trial.number, "certify.log"), self.log(trial.number, "certify.json"));
        Process::start(&commands.program, &words, lock, &log, &output)
    }

    /// What the certification printed.
    fn outcome_of(&self, number: u64) -> Outcome {
        let path = self.log(number, "certify.json");
        let document: Value =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let result = &document["result"];
        let share = |name: &str| result[name]["value"].as_f64();
        match (share("natural"), share("certified")) {
            (Some(natural), Some(certified)) => Outcome::Done(Measured {
                natural,
                adversarial: share("adversarial"),
                certified,
                samples: result["samples"].as_u64(),
                train_seconds: train_seconds(&Sweep::trial_folder(&self.folder, number)),
                certify_seconds: result["seconds"].as_f64(),
            }),
            _ => Outcome::Failed(format!("certify printed no result into {}", path.display())),
        }
    }

    fn log(&self, number: u64, kind: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{number:04}.{kind}"))
    }
}

impl Stage {
    fn process(self) -> Option<Process> {
        match self {
            Stage::Waiting { .. } => None,
            Stage::Training(process) | Stage::Certifying(process) => Some(process),
        }
    }
}

/// Seconds of all epochs of a run, over every interruption.
fn train_seconds(folder: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Some(lines.filter_map(|epoch| epoch["seconds"].as_f64()).sum())
}
