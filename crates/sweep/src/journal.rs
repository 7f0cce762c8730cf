//! The journal of a sweep: JSON lines, each with its checksum, which survive a kill at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SweepError;
use crate::lock;
use crate::plan::Plan;
use crate::space::Parameters;

/// What ends a line: its checksum in place of the closing brace.
const SEAL: &str = r#","crc32c":"@@@@@@@@"}"#;

/// What the program's errors begin with.
const ERROR: &str = "error: ";

/// What a trial measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Natural accuracy, in [0, 1].
    pub natural: f64,
    /// Share of samples that are not falsified, in [0, 1].
    #[serde(default)]
    pub adversarial: Option<f64>,
    /// Certified accuracy, in [0, 1].
    pub certified: f64,
    /// Samples certified.
    #[serde(default)]
    pub samples: Option<u64>,
    /// Seconds of training.
    #[serde(default)]
    pub train_seconds: Option<f64>,
    /// Seconds of certification.
    #[serde(default)]
    pub certify_seconds: Option<f64>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With results.
    Done(Measured),
    /// With this error.
    Failed(String),
}

/// One trial that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// Number of the trial.
    pub trial: u64,
    /// Number of its configuration.
    pub configuration: u64,
    /// Values of the axes.
    pub parameters: Parameters,
    /// Seed.
    pub seed: u64,
    /// What came out.
    pub outcome: Outcome,
}

impl Outcome {
    /// What a failure comes down to, in one line: how the process ended and its error, without what it had told before;
    /// all of it where it names no error.
    pub fn error(&self) -> Option<String> {
        let Outcome::Failed(words) = self else { return None };
        let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let error = lines.iter().rposition(|line| line.starts_with(ERROR));
        Some(match error {
            Some(place) if place > 0 => {
                let error = lines[place..].join(" ");
                let error = error.strip_prefix(ERROR).unwrap_or(&error);
                // The first line begins with the process's end.
                lines[0].split_once(": ").map_or_else(|| error.into(), |(end, _)| format!("{end}: {error}"))
            }
            _ => lines.join(" ").replacen(&format!(": {ERROR}"), ": ", 1),
        })
    }
}

impl TrialRecord {
    /// The results, if there are some.
    pub fn measured(&self) -> Option<&Measured> {
        match &self.outcome {
            Outcome::Done(measured) => Some(measured),
            Outcome::Failed(_) => None,
        }
    }
}

/// One line after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Record {
    /// The parameters of a configuration, before its first trial begins.
    Proposal {
        /// Its number.
        configuration: u64,
        /// Its parameters.
        parameters: Parameters,
    },
    /// A trial that was given away.
    Asked(u64),
    /// A trial that has ended.
    Trial(TrialRecord),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    sweep_journal: u32,
    configurations: u64,
    settings: BTreeMap<String, Value>,
}

/// What journals say together.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Parameters by configuration.
    pub(crate) proposals: BTreeMap<u64, Parameters>,
    /// Trials that were given away.
    pub(crate) asked: BTreeSet<u64>,
    /// Trials that have ended.
    pub(crate) records: BTreeMap<u64, TrialRecord>,
}

impl State {
    /// Takes note of a line. The first proposal stays; results stay, and replace a failure, as a later failure does.
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::Proposal { configuration, parameters } => {
                self.proposals.entry(configuration).or_insert(parameters);
            }
            Record::Asked(trial) => {
                self.asked.insert(trial);
            }
            Record::Trial(record) => {
                self.proposals.entry(record.configuration).or_insert_with(|| record.parameters.clone());
                let stands = self.records.get(&record.trial).is_some_and(|before| before.measured().is_some());
                if !stands {
                    self.records.insert(record.trial, record);
                }
            }
        }
    }
}

/// What a journal file holds.
pub(crate) struct Contents {
    /// The plan its head describes.
    pub(crate) plan: Plan,
    /// Its lines.
    pub(crate) records: Vec<Record>,
    /// What is wrong with others.
    pub(crate) remarks: Vec<String>,
    /// Bytes of whole lines.
    whole: u64,
}

/// Reads a journal that another process may be writing; a torn last line is left out.
pub(crate) fn read(path: &Path) -> Result<Contents, SweepError> {
    parse(path, &std::fs::read(path).map_err(|e| SweepError::file(path, e))?)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Contents, SweepError> {
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let mut lines = bytes[..whole].split(|&b| b == b'\n').zip(1_usize..).filter(|(line, _)| !line.is_empty());
    let head = lines.next().map(|(line, _)| unsealed::<Header>(line));
    let header = match head {
        Some(Ok(header)) if header.sweep_journal == 1 => header,
        Some(Ok(header)) => {
            let problem = format!("version {} of the journal is newer than this program", header.sweep_journal);
            return Err(SweepError::file(path, problem));
        }
        Some(Err(problem)) => {
            let advice = "restore it, or begin another sweep by --out";
            return Err(SweepError::file(path, format!("line 1, which says what the sweep is, {problem}; {advice}")));
        }
        None => return Err(SweepError::file(path, "no sweep begins so: the first line is missing; remove the file")),
    };
    let plan = Plan::restored(&header.settings, header.configurations)
        .map_err(|problem| SweepError::file(path, format!("line 1: {problem}")))?;
    let (mut records, mut remarks) = (Vec::new(), Vec::new());
    for (line, number) in lines {
        match unsealed(line) {
            Ok(record) => records.push(record),
            Err(problem) => {
                remarks.push(format!("{}, line {number}: {problem}; what it told is done again", path.display()))
            }
        }
    }
    Ok(Contents { plan, records, remarks, whole: whole as u64 })
}

/// `value`, an object, as one line with its checksum.
fn sealed(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_string(value)?;
    let checksum = crc32c::crc32c(line.as_bytes());
    line.pop();
    line.push_str(&SEAL.replace("@@@@@@@@", &format!("{checksum:08x}")));
    line.push('\n');
    Ok(line.into_bytes())
}

/// The object of a line, or what is wrong with it.
fn unsealed<T: for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T, String> {
    let damaged = || "is damaged (its checksum is another)".to_string();
    let text = std::str::from_utf8(line).map_err(|_| damaged())?;
    let split = text.len().checked_sub(SEAL.len()).filter(|&at| text.is_char_boundary(at)).ok_or_else(damaged)?;
    let body = format!("{}}}", &text[..split]);
    if text[split..] != SEAL.replace("@@@@@@@@", &format!("{:08x}", crc32c::crc32c(body.as_bytes()))) {
        return Err(damaged());
    }
    serde_json::from_str(&body).map_err(|e| format!("is of no known kind ({e})"))
}

/// The journal that this process writes, held locked.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Begins a journal with its first line, unless there is one.
    pub(crate) fn create(path: &Path, plan: &Plan) -> Result<Self, SweepError> {
        let error = |e: std::io::Error| SweepError::file(path, e);
        let header =
            Header { sweep_journal: 1, configurations: plan.configurations().unwrap_or(0), settings: plan.settings() };
        let line = sealed(&header).map_err(|e| SweepError::file(path, e))?;
        // Whole or not at all; the folder's lock is held, so that nobody else writes under this name.
        let temporary = path.with_extension("jsonl.tmp");
        let mut file = File::create(&temporary).map_err(error)?;
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(error)?;
        std::fs::rename(&temporary, path).map_err(error)?;
        sync_folder(path);
        let file = OpenOptions::new().append(true).open(path).map_err(error)?;
        hold(path, &file)?;
        Ok(Journal { path: path.into(), file })
    }

    /// Opens a journal to go on with it; a torn last line is cut off.
    pub(crate) fn resume(path: &Path) -> Result<(Self, Contents), SweepError> {
        let error = |e: std::io::Error| SweepError::file(path, e);
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(error)?;
        hold(path, &file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(error)?;
        let contents = parse(path, &bytes)?;
        file.set_len(contents.whole).map_err(error)?;
        Ok((Journal { path: path.into(), file }, contents))
    }

    /// Appends a line, which is on the disk afterwards.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), SweepError> {
        let full =
            |e: &dyn std::fmt::Display| SweepError::file(&self.path, format!("{e}; free some space and --resume"));
        let line = sealed(record).map_err(|e| full(&e))?;
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(|e| full(&e))
    }
}

/// Makes a new name in the folder of `path` last; where that is impossible, the file lasts without it, too.
pub(crate) fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
}

fn hold(path: &Path, file: &File) -> Result<(), SweepError> {
    match lock::hold(path, file, false, lock::MOMENT)? {
        true => Ok(()),
        false => Err(SweepError::file(path, "another process writes this journal; wait for it or stop it")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Journal, Measured, Outcome, Record, State, TrialRecord, read};
    use crate::{Objective, Plan, Strategy};

    fn plan() -> Plan {
        let axes = vec![crate::Axis::values("a=1,2,3").unwrap()];
        let objectives = vec![Objective::Natural];
        Plan {
            axes,
            listed: vec![],
            strategy: Strategy::Grid,
            seeds: 1,
            seed: 0,
            objectives,
            setting: Default::default(),
        }
    }

    #[test]
    fn failures_come_down_to_their_errors() {
        let told = |words: &str| Outcome::Failed(words.into()).error().unwrap();
        let whole = "train ended with exit code 4: memory: about 74.1 MB needed\ntraining on 60 images\n\nerror: no loss. Likely\n  cause: ε";
        assert_eq!(told(whole), "train ended with exit code 4: no loss. Likely cause: ε");
        assert_eq!(told("certify ended with exit code 4: error: no bound"), "certify ended with exit code 4: no bound");
        assert_eq!(
            told("train was ended by signal 9: memory: 1 GB\nepoch 1"),
            "train was ended by signal 9: memory: 1 GB epoch 1"
        );
        assert_eq!([told("out of memory"), told("one\nerror: two")], ["out of memory", "two"]);
    }

    fn trial(trial: u64) -> Record {
        let measured = Measured {
            natural: 1.0 / (trial + 3) as f64,
            adversarial: None,
            certified: 0.25,
            samples: Some(10),
            train_seconds: Some(0.5),
            certify_seconds: None,
        };
        let parameters = json!({"a": trial}).as_object().unwrap().clone();
        let outcome = Outcome::Done(measured);
        Record::Trial(TrialRecord { trial, configuration: trial, parameters, seed: 0, outcome })
    }

    #[test]
    fn a_journal_cut_at_any_byte_goes_on_with_its_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::create(&path, &plan()).unwrap();
        let head = std::fs::metadata(&path).unwrap().len() as usize;
        let records = [trial(0), Record::Asked(1), trial(1)];
        records.iter().for_each(|record| journal.append(record).unwrap());
        assert!(Journal::resume(&path).err().unwrap().to_string().contains("another process"));
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in (head..=whole.len()).rev().step_by(5) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let complete = whole[head..cut].iter().filter(|&&b| b == b'\n').count();
            let (mut journal, contents) = Journal::resume(&path).unwrap();
            assert_eq!((contents.plan, contents.records), (plan(), records[..complete].to_vec()));
            assert!(contents.remarks.is_empty());
            records[complete..].iter().for_each(|record| journal.append(record).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_and_costs_its_line_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::create(&path, &plan()).unwrap();
        (0..3).for_each(|number| journal.append(&trial(number)).unwrap());
        let whole = std::fs::read(&path).unwrap();
        let starts: Vec<usize> = whole.iter().zip(1..).filter(|(b, _)| **b == b'\n').map(|(_, after)| after).collect();
        for at in starts[1]..starts[2] - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            let contents = read(&path).unwrap();
            assert_eq!(contents.records, [trial(0), trial(2)], "byte {at}");
            assert!(contents.remarks.len() == 1 && contents.remarks[0].contains("line 3: is damaged"));
        }
        std::fs::write(&path, &whole[1..]).unwrap();
        assert!(read(&path).err().unwrap().to_string().contains("line 1"));
    }

    #[test]
    fn results_stay_and_failures_are_replaced() {
        let failed = |why: &str| match trial(0) {
            Record::Trial(record) => Record::Trial(TrialRecord { outcome: Outcome::Failed(why.into()), ..record }),
            other => other,
        };
        let mut state = State::default();
        let outcome = |state: &State| state.records[&0].outcome.clone();
        state.apply(failed("first"));
        state.apply(failed("second"));
        assert_eq!(outcome(&state), Outcome::Failed("second".into()));
        state.apply(trial(0));
        state.apply(failed("third"));
        assert!(matches!(outcome(&state), Outcome::Done(_)));
        assert_eq!(state.proposals[&0]["a"], 0);
    }
}
