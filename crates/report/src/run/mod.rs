//! What a run folder tells: configuration, epochs, certification, manifest, and what of it could not be read.

mod config;
mod find;
mod landscape;
mod manifest;
mod metrics;
mod model;

pub use find::read_runs;
pub use landscape::{Landscape, LandscapeCurve};
pub use manifest::{Manifest, Session};
pub use metrics::{Epoch, Evaluation};

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tightrope_network::screen_text;

use crate::Certification;

/// Resolved configuration of a run.
const CONFIG: &str = "config.toml";
/// One line per epoch.
const METRICS: &str = "metrics.jsonl";
/// Versions, machine, data.
const MANIFEST: &str = "manifest.json";
/// One line per certified sample.
const CERTIFY: &str = "certify.jsonl";

/// The split that figures are of where none is told: logs that were written before there was a choice.
pub(crate) const TEST: &str = "test";

/// Remarks on a run at most.
const MOST_REMARKS: usize = 50;

/// One run folder. Whatever is missing or damaged in it is left out and told in `remarks`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Short name: the path without what all runs of the report have in common.
    pub name: String,
    /// The folder, as it was named or found.
    pub folder: PathBuf,
    /// Configuration: dotted keys with their values as TOML writes them, by name.
    pub config: Vec<(String, String)>,
    /// Epochs, by rising number.
    pub epochs: Vec<Epoch>,
    /// The certification, if there was one.
    pub certification: Option<Certification>,
    /// The landscape in the run's folder, if there is one.
    pub landscape: Option<Landscape>,
    /// Versions, machine, data and sessions.
    pub manifest: Option<Manifest>,
    /// What could not be read, and how to mend it.
    pub remarks: Vec<String>,
}

impl Run {
    /// Reads the run in `folder`.
    pub fn read(folder: &Path) -> Self {
        let mut run = Run { folder: folder.into(), name: folder.display().to_string(), ..Run::default() };
        run.config = run.file(CONFIG, config::parse).unwrap_or_default();
        run.epochs = run.file(METRICS, metrics::parse).unwrap_or_default();
        run.manifest = run.file(MANIFEST, manifest::parse);
        // A run that was not certified is no damage.
        if folder.join(CERTIFY).exists() {
            run.certification = run.file(CERTIFY, Certification::parse);
        }
        let classes = run.manifest.as_ref().and_then(Manifest::classes);
        if let (Some(certification), Some(classes)) = (&mut run.certification, classes) {
            let known = |record: &crate::Record| record.label.max(record.prediction) < classes as u64;
            let all = certification.records.len();
            certification.records.retain(known);
            if certification.records.len() < all {
                let count = all - certification.records.len();
                run.remarks.push(format!(
                    "{CERTIFY}: {count} left out, whose label or prediction is none of the {classes} classes of the data"
                ));
            }
        }
        if folder.join(landscape::DOCUMENT).exists() {
            run.landscape = run.file(landscape::DOCUMENT, landscape::parse);
            let remarks = run.landscape.as_mut().map(|landscape| landscape.read_drawings(folder));
            run.remarks.extend(remarks.unwrap_or_default());
        }
        run.cut_remarks();
        run
    }

    /// Keeps the remarks readable, whatever a damaged file has in its place.
    fn cut_remarks(&mut self) {
        let left_out = self.remarks.len().saturating_sub(MOST_REMARKS);
        self.remarks.truncate(MOST_REMARKS);
        self.remarks.iter_mut().for_each(|remark| *remark = screen_text(remark));
        if left_out > 0 {
            self.remarks.push(format!("and {left_out} more remarks of this kind"));
        }
    }

    /// The configuration's value of `key`; texts without their quotes.
    pub fn setting(&self, key: &str) -> Option<&str> {
        let (_, value) = self.config.iter().find(|(name, _)| name == key)?;
        Some(value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value))
    }

    /// The last evaluation on samples that were not trained on.
    pub fn last_evaluation(&self) -> Option<&Evaluation> {
        self.epochs.iter().rev().find_map(|epoch| epoch.test.as_ref())
    }

    /// Seconds of training of all epochs.
    pub fn training_seconds(&self) -> f64 {
        self.epochs
            .iter()
            .filter_map(|epoch| epoch.seconds)
            .filter(|s| s.is_finite() && *s > 0.0)
            .fold(0.0, |a, b| a + b)
    }

    /// What `parse` makes of the file `name`; what is wrong with it becomes a remark.
    fn file<T>(&mut self, name: &str, parse: fn(&[u8], &mut Vec<String>) -> Result<T, String>) -> Option<T> {
        let mut remarks = Vec::new();
        let parsed = match content(&self.folder.join(name)) {
            Ok(bytes) if bytes.is_empty() => {
                remarks.push("is empty".into());
                parse(&bytes, &mut remarks)
            }
            Ok(bytes) => parse(&bytes, &mut remarks),
            Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => {
                Err("is not there; what it would tell is left out".into())
            }
            Err(problem) => Err(format!("cannot be read ({problem}); see to its permissions")),
        };
        let parsed = parsed.map_err(|problem| remarks.push(problem)).ok();
        self.remarks.extend(remarks.into_iter().map(|remark| format!("{name}: {remark}")));
        parsed
    }
}

/// What a file of a run holds; devices and pipes, which may never end, are refused, and so is what no run writes.
fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if metadata.len() > MOST_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MOST_BYTES} bytes, which no run writes")));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    std::fs::File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A log of a million samples has some three hundred megabytes.
const MOST_BYTES: u64 = 1 << 30;

/// The lines of an append-only log with their numbers from 1, empty ones left out. A last line without an end was torn by
/// a kill, or is being written: it is left out with a remark.
pub(crate) fn log_lines<'a>(bytes: &'a [u8], remarks: &mut Vec<String>) -> Vec<(usize, &'a [u8])> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    if whole < bytes.len() {
        remarks.push("the last line is not complete and is left out".into());
    }
    let lines = bytes[..whole].split(|&byte| byte == b'\n').enumerate();
    lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(place, line)| (place + 1, line)).collect()
}
