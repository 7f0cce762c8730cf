//! The folder of a sweep: who works on it, its journals, and what they say together.

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tightrope_network::screen_text;

use crate::SweepError;
use crate::journal::{self, Contents, Journal, Record, State, TrialRecord};
use crate::lock;
use crate::plan::{Objective, Plan, Strategy, Trial};
use crate::sampler::Known;
use crate::space::Parameters;
use crate::summary::Summary;

/// Held by whoever works on the folder; shards share it.
const LOCK: &str = "sweep.lock";
/// The journal of a sweep without shards.
const JOURNAL: &str = "journal.jsonl";
/// So long `ask` and `tell` wait for each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// A part of the trials: those whose number leaves the remainder `index − 1` on division by `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 1 to `of`.
    pub index: u64,
    /// How many parts.
    pub of: u64,
}

impl Shard {
    /// Whether it has number `place` of what is divided, counted from 0.
    pub fn has(self, place: u64) -> bool {
        place % self.of == self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `i/n`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(index, of)| Some((index.trim().parse().ok()?, of.trim().parse().ok()?)));
        match parts {
            Some((index, of)) if 1 <= index && index <= of => Ok(Shard { index, of }),
            _ => Err(format!("`{text}` is no part; write i/n with i from 1 to n, such as 1/4")),
        }
    }
}

/// A sweep that this process works on.
#[derive(Debug)]
pub struct Sweep {
    pub(crate) folder: PathBuf,
    pub(crate) plan: Plan,
    pub(crate) state: State,
    shard: Option<Shard>,
    journal: Journal,
    remarks: Vec<String>,
    /// Ends with the value, or with the process however it ends.
    _lock: File,
}

impl Sweep {
    /// Begins a sweep in `folder`, which is made if it is not there, or goes on with the one that is there.
    ///
    /// # Errors
    /// If the plan is none, there is a sweep but `resume` is false or it has other settings, or another process works
    /// on it.
    pub fn begin(folder: &Path, plan: Plan, shard: Option<Shard>, resume: bool) -> Result<Self, SweepError> {
        plan.check()?;
        if shard.is_some() && !matches!(plan.strategy, Strategy::Grid | Strategy::Random { .. } | Strategy::Listed) {
            let problem = "proposals that learn need the results of all trials; share a grid or a random search, or run \
                           more trials at once by --jobs";
            return Err(SweepError::usage("--shard", problem));
        }
        std::fs::create_dir_all(folder)
            .map_err(|e| SweepError::file(folder, format!("cannot make this folder ({e}); choose another by --out")))?;
        let lock = hold(folder, shard.is_some(), lock::MOMENT)?;
        let own = folder.join(match shard {
            Some(Shard { index, of }) => format!("journal-{index}-of-{of}.jsonl"),
            None => JOURNAL.into(),
        });
        let there = journals(folder)?;
        let taken = if shard.is_some() { own.exists() } else { !there.is_empty() };
        if taken && !resume {
            let problem = "holds a sweep already; go on with it by --resume, or choose another folder by --out";
            return Err(SweepError::file(folder, problem));
        }
        let mut sweep = Merged::of(&there, &own, Some(&plan))?;
        let journal = match sweep.journal.take() {
            Some(journal) => journal,
            None => Journal::create(&own, &plan)?,
        };
        let Merged { state, remarks, .. } = sweep;
        Ok(Sweep { folder: folder.into(), plan, state, shard, journal, remarks, _lock: lock })
    }

    /// Opens the sweep in `folder` for [`Sweep::ask`] and [`Sweep::tell`]; waits a while for another process that does.
    ///
    /// # Errors
    /// If there is none, or another process works on it.
    pub fn open(folder: &Path) -> Result<Self, SweepError> {
        let own = folder.join(JOURNAL);
        if !own.exists() {
            return Err(no_sweep(folder));
        }
        let lock = hold(folder, false, PATIENCE)?;
        let merged = Merged::of(&journals(folder)?, &own, None)?;
        match merged {
            Merged { plan: Some(plan), state, remarks, journal: Some(journal) } => {
                Ok(Sweep { folder: folder.into(), plan, state, shard: None, journal, remarks, _lock: lock })
            }
            _ => Err(no_sweep(folder)),
        }
    }

    /// What the user should hear of the journals, once.
    pub fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// What came out so far, in all shards.
    ///
    /// # Errors
    /// As [`Summary::read`].
    pub fn summary(&self) -> Result<Summary, SweepError> {
        Summary::read(&self.folder)
    }

    /// The trials of the sweep in `folder` that have ended, in all shards, by number; none if it has not begun.
    ///
    /// # Errors
    /// If a journal cannot be read, or is that of another plan.
    pub fn records(folder: &Path, plan: &Plan) -> Result<Vec<TrialRecord>, SweepError> {
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let merged = Merged::of(&journals(folder)?, Path::new(""), Some(plan))?;
        Ok(merged.state.records.into_values().collect())
    }

    /// The folder in which a trial of the sweep in `folder` is trained.
    pub fn trial_folder(folder: &Path, number: u64) -> PathBuf {
        folder.join("trials").join(format!("{number:04}"))
    }

    /// Writes a line and takes note of it.
    pub(crate) fn record(&mut self, record: Record) -> Result<(), SweepError> {
        self.journal.append(&record)?;
        self.state.apply(record);
        Ok(())
    }

    /// Trials of this process: all of the plan, or its shard's.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let shard = self.shard;
        (0..self.plan.trials()).filter(move |&number| shard.is_none_or(|shard| shard.has(number)))
    }

    /// The trial with this number. Its configuration is proposed by what the configurations before `known_before` gave,
    /// and written down, unless that was done before.
    pub(crate) fn trial(&mut self, number: u64, known_before: u64) -> Result<Trial, SweepError> {
        let (configuration, seed) = self.plan.split(number);
        let parameters = match self.state.proposals.get(&configuration) {
            Some(parameters) => parameters.clone(),
            None => {
                let parameters = self.plan.propose(configuration, &self.known(known_before));
                self.record(Record::Proposal { configuration, parameters: parameters.clone() })?;
                parameters
            }
        };
        Ok(Trial { number, configuration, seed, parameters })
    }

    /// True if all trials of the configuration have ended.
    pub(crate) fn is_over(&self, configuration: u64) -> bool {
        self.plan.trials_of(configuration).iter().all(|number| self.state.records.contains_key(number))
    }

    /// Configurations before `before` that are over and have results: means over their seeds.
    fn known(&self, before: u64) -> Vec<Known<'_>> {
        let plan = &self.plan;
        let value = |configuration: u64, objective: &Objective| {
            let trials = plan.trials_of(configuration);
            let values = trials.iter().filter_map(|number| self.state.records.get(number)?.measured());
            mean(values.filter_map(|measured| objective.of(measured)))
        };
        let over = self.state.proposals.range(..before).filter(|&(&configuration, _)| self.is_over(configuration));
        let known = over.filter_map(|(&configuration, parameters): (&u64, &Parameters)| {
            let values =
                plan.objectives.iter().map(|objective| value(configuration, objective)).collect::<Option<_>>()?;
            Some(Known { configuration, parameters, values })
        });
        known.collect()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The journals of a folder as one.
pub(crate) struct Merged {
    /// The plan that all have; none if there is no journal.
    pub(crate) plan: Option<Plan>,
    /// What they say.
    pub(crate) state: State,
    /// What is wrong with them.
    pub(crate) remarks: Vec<String>,
    /// The one to write, if it is there.
    journal: Option<Journal>,
}

impl Merged {
    /// All that are in `folder`, for reading.
    pub(crate) fn read(folder: &Path) -> Result<Self, SweepError> {
        let merged = Merged::of(&journals(folder)?, Path::new(""), None)?;
        if merged.plan.is_none() { Err(no_sweep(folder)) } else { Ok(merged) }
    }

    /// Reads `paths` and opens `own` among them; all must have the settings of `plan`, or else of the first.
    fn of(paths: &[PathBuf], own: &Path, plan: Option<&Plan>) -> Result<Self, SweepError> {
        let mut merged = Merged { plan: plan.cloned(), state: State::default(), remarks: Vec::new(), journal: None };
        for path in paths {
            let Contents { plan, records, remarks, .. } = match path == own {
                true => {
                    let (journal, contents) = Journal::resume(path)?;
                    merged.journal = Some(journal);
                    contents
                }
                false => journal::read(path)?,
            };
            match &merged.plan {
                Some(first) => same_settings(path, &plan, first)?,
                None => merged.plan = Some(plan),
            }
            records.into_iter().for_each(|record| merged.state.apply(record));
            merged.remarks.extend(remarks);
        }
        Ok(merged)
    }
}

fn same_settings(path: &Path, there: &Plan, now: &Plan) -> Result<(), SweepError> {
    let (there, now) = (there.settings(), now.settings());
    let names: std::collections::BTreeSet<&String> = there.keys().chain(now.keys()).collect();
    let text = |value: Option<&Value>| value.map_or_else(|| "none".into(), Value::to_string);
    let told = |name: &str, there: Option<&Value>, now: Option<&Value>| {
        format!("{name}: {} there, {} now", text(there), text(now))
    };
    let different = names.into_iter().filter(|name| there.get(*name) != now.get(*name));
    let differences: Vec<String> = different
        .map(|name| match (&**name, there.get(name), now.get(name)) {
            // The list is long, and its first entry that differs says enough.
            ("listed", Some(Value::Array(before)), Some(Value::Array(after))) => {
                let equal = before.iter().zip(after).take_while(|(before, after)| before == after).count();
                told(&format!("configuration {equal}"), before.get(equal), after.get(equal))
            }
            (name, there, now) => told(name, there, now),
        })
        .collect();
    match differences.is_empty() {
        true => Ok(()),
        false => {
            Err(SweepError::OtherSettings { path: path.into(), differences: screen_text(&differences.join("; ")) })
        }
    }
}

/// Every journal in `folder`, that of the whole sweep first.
fn journals(folder: &Path) -> Result<Vec<PathBuf>, SweepError> {
    let entries = std::fs::read_dir(folder).map_err(|e| match e.kind() {
        ErrorKind::NotFound => SweepError::file(
            folder,
            "no such folder; give that of a sweep, or begin one by `tightrope sweep … --out DIR`",
        ),
        _ => SweepError::file(folder, format!("{e}; give the folder of a sweep")),
    })?;
    let names = entries.flatten().map(|entry| entry.path());
    let is_journal = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name == JOURNAL || name.starts_with("journal-") && name.ends_with(".jsonl")
    };
    let mut paths: Vec<PathBuf> = names.filter(is_journal).collect();
    paths.sort_by_key(|path| (path.file_name() != Some(JOURNAL.as_ref()), path.clone()));
    Ok(paths)
}

fn no_sweep(folder: &Path) -> SweepError {
    SweepError::file(
        folder,
        "no sweep in this folder; begin one by `tightrope sweep … --out DIR`, with --prepare to ask and tell",
    )
}

/// Holds the folder: together with other shards or alone.
fn hold(folder: &Path, shared: bool, patience: Duration) -> Result<File, SweepError> {
    let path = folder.join(LOCK);
    let file = lock::open(&path)?;
    if lock::hold(&path, &file, shared, patience)? {
        return Ok(file);
    }
    let problem = "another process works on this sweep; wait for it, stop it, or choose another folder by --out";
    Err(SweepError::file(folder, problem))
}

#[cfg(test)]
mod tests {
    use super::Shard;

    #[test]
    fn shards_cover_every_trial_once() {
        for number in 0..20 {
            let having = (1..=3).filter(|index| format!("{index}/3").parse::<Shard>().unwrap().has(number));
            assert_eq!(having.count(), 1);
        }
        for bad in ["0/3", "4/3", "1", "a/b", "1/0"] {
            assert!(bad.parse::<Shard>().unwrap_err().contains("i/n"), "{bad}");
        }
    }
}
