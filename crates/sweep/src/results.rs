//! `results.csv` and `results.jsonl`: one row for each trial that has ended.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::SweepError;
use crate::folder::{Merged, Sweep};
use crate::journal::{Measured, Outcome, State, TrialRecord};
use crate::space::Parameters;
use crate::{lock, summary};

/// The table's name.
const CSV: &str = "results.csv";
/// The lines' name.
const JSONL: &str = "results.jsonl";
/// Held while both are written.
const LOCK: &str = "results.lock";

/// A line of results.jsonl.
#[derive(Serialize)]
struct Row<'a> {
    trial: u64,
    configuration: u64,
    parameters: &'a Parameters,
    seed: u64,
    status: &'static str,
    natural: Option<f64>,
    adversarial: Option<f64>,
    certified: Option<f64>,
    samples: Option<u64>,
    train_seconds: Option<f64>,
    certify_seconds: Option<f64>,
    error: Option<&'a str>,
    complete: bool,
}

impl<'a> Row<'a> {
    fn of(record: &'a TrialRecord, complete: &BTreeSet<u64>) -> Self {
        let of = |measured: Option<&Measured>, status, error| Row {
            trial: record.trial,
            configuration: record.configuration,
            parameters: &record.parameters,
            seed: record.seed,
            status,
            natural: measured.map(|measured| measured.natural),
            adversarial: measured.and_then(|measured| measured.adversarial),
            certified: measured.map(|measured| measured.certified),
            samples: measured.and_then(|measured| measured.samples),
            train_seconds: measured.and_then(|measured| measured.train_seconds),
            certify_seconds: measured.and_then(|measured| measured.certify_seconds),
            error,
            complete: complete.contains(&record.configuration),
        };
        match &record.outcome {
            Outcome::Done(measured) => of(Some(measured), "done", None),
            Outcome::Failed(error) => of(None, "failed", Some(error)),
        }
    }
}

impl Sweep {
    /// Writes results.csv and results.jsonl anew from the journals of all shards.
    ///
    /// # Errors
    /// If a journal cannot be read or a file not be written.
    pub fn write_results(&self) -> Result<(), SweepError> {
        write(&self.folder)
    }
}

fn write(folder: &Path) -> Result<(), SweepError> {
    let path = folder.join(LOCK);
    let held = lock::open(&path)?;
    // The journals are read under the lock, so that a slower shard does not write what was true before. Where there are
    // no locks that may happen; the journals are what counts.
    let _ = held.lock();
    let Merged { plan, state, .. } = Merged::read(folder)?;
    let complete = plan.map(|plan| summary::complete(&plan, &state)).unwrap_or_default();
    let error = |name: &str, e: &dyn std::fmt::Display| SweepError::file(&folder.join(name), e);
    let mut lines = Vec::new();
    for record in state.records.values() {
        serde_json::to_writer(&mut lines, &Row::of(record, &complete)).map_err(|e| error(JSONL, &e))?;
        lines.push(b'\n');
    }
    let table = table(&state, &complete).map_err(|e| error(CSV, &e))?;
    for (name, bytes) in [(JSONL, lines), (CSV, table)] {
        replace(&folder.join(name), &bytes).map_err(|e| error(name, &e))?;
    }
    Ok(())
}

fn table(state: &State, complete: &BTreeSet<u64>) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut keys: Vec<&String> = Vec::new();
    for key in state.records.values().flat_map(|record| record.parameters.keys()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let (before, after) = (["trial", "configuration"], ["seed", "status"]);
    let measured =
        ["natural", "adversarial", "certified", "samples", "train_seconds", "certify_seconds", "error", "complete"];
    let columns = keys.iter().map(|key| key.as_str());
    writer.write_record(before.into_iter().chain(columns).chain(after).chain(measured))?;
    for record in state.records.values() {
        let row = match serde_json::to_value(Row::of(record, complete))? {
            Value::Object(row) => row,
            _ => Map::new(),
        };
        let own = |name: &&str| text(row.get(*name));
        let values = keys.iter().map(|key| text(record.parameters.get(*key)));
        writer.write_record(
            before.iter().map(own).chain(values).chain(after.iter().map(own)).chain(measured.iter().map(own)),
        )?;
    }
    Ok(writer.into_inner()?)
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
