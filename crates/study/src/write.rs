//! The files that tell a study's results.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tightrope_network::{remove_abandoned, temporary_path};

use crate::definition::short;
use crate::results::Results;
use crate::{StudyError, latex, markdown};

/// Writes results.md, results.csv, results.tex and results.json into `folder`, each whole or not at all; their paths.
///
/// `command` is what makes them again.
///
/// # Errors
/// If a file cannot be written.
pub fn write(results: &Results, folder: &Path, command: &str) -> Result<Vec<PathBuf>, StudyError> {
    let json = serde_json::to_vec_pretty(results).map_err(|e| StudyError::file(folder, e))?;
    let table = table(results).map_err(|e| StudyError::file(folder, e))?;
    let files = [
        ("results.md", markdown::document(results, command).into_bytes()),
        ("results.csv", table),
        ("results.tex", latex::document(results).into_bytes()),
        ("results.json", json),
    ];
    let mut paths = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        replace(&path, &bytes).map_err(|e| StudyError::file(&path, e))?;
        paths.push(path);
    }
    Ok(paths)
}

/// One line for each trial.
fn table(results: &Results) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "study",
        "profile",
        "block",
        "cell",
        "seed",
        "samples",
        "natural",
        "adversarial",
        "certified",
        "undecided",
        "stages",
        "train_seconds",
        "certify_seconds",
        "settings",
    ])?;
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for block in &results.blocks {
        for cell in &block.cells {
            let settings = cell.settings.iter().map(|(key, value)| format!("{key}={}", short(value)));
            let settings = settings.collect::<Vec<_>>().join(" ");
            for trial in &cell.trials {
                let stages: Vec<String> = trial.stages.iter().map(|(name, share)| format!("{name}={share}")).collect();
                writer.write_record([
                    &results.study,
                    &results.profile,
                    &block.name,
                    &cell.name,
                    &trial.seed.to_string(),
                    &trial.samples.to_string(),
                    &trial.natural.to_string(),
                    &number(trial.adversarial),
                    &trial.certified.to_string(),
                    &trial.undecided.map_or_else(String::new, |count| count.to_string()),
                    &stages.join(" "),
                    &number(trial.train_seconds),
                    &number(trial.certify_seconds),
                    &settings,
                ])?;
            }
        }
    }
    Ok(writer.into_inner()?)
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    remove_abandoned(path);
    let temporary = temporary_path(path);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
