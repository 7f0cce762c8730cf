//! `metrics.jsonl` and the TensorBoard file made from it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tightrope_network::write_atomically;

use super::checkpoint::cannot_write;
use super::{EVENTS_FILE, METRICS_FILE, tensorboard};
use crate::{EpochMetrics, TrainError};

/// Both files, open for appending.
#[derive(Debug)]
pub(super) struct MetricsLog {
    lines: (PathBuf, File),
    events: (PathBuf, File),
}

impl MetricsLog {
    /// Opens the files in `folder` and cuts off what stands there beyond `epoch` epochs, so that
    /// epochs which are run again do not stand twice; returns the metrics kept and what is to be said about others.
    pub(super) fn open(folder: &Path, epoch: usize) -> Result<(Self, Vec<EpochMetrics>, Vec<String>), TrainError> {
        let (lines, events) = (folder.join(METRICS_FILE), folder.join(EVENTS_FILE));
        let (kept, remarks) = if lines.is_file() {
            kept(&std::fs::read(&lines).map_err(|e| TrainError::file(&lines, e))?, epoch, &lines)
        } else {
            Default::default()
        };
        let text = kept.iter().map(json_line).collect::<Result<Vec<_>, _>>()?.concat();
        write_atomically(&lines, text.as_bytes()).map_err(|e| cannot_write(&lines, &e))?;
        let mut records = tensorboard::header();
        kept.iter().for_each(|metrics| records.extend(tensorboard::record(metrics)));
        write_atomically(&events, &records).map_err(|e| cannot_write(&events, &e))?;
        let append = |path: PathBuf| -> Result<(PathBuf, File), TrainError> {
            let file = OpenOptions::new().append(true).open(&path).map_err(|e| cannot_write(&path, &e))?;
            Ok((path, file))
        };
        Ok((MetricsLog { lines: append(lines)?, events: append(events)? }, kept, remarks))
    }

    /// Appends one epoch to both files.
    pub(super) fn append(&mut self, metrics: &EpochMetrics) -> Result<(), TrainError> {
        let write = |(path, file): &mut (PathBuf, File), bytes: &[u8]| {
            file.write_all(bytes).and_then(|()| file.sync_data()).map_err(|e| cannot_write(path, &e))
        };
        write(&mut self.lines, json_line(metrics)?.as_bytes())?;
        write(&mut self.events, &tensorboard::record(metrics))
    }
}

/// The metrics in `text` up to `epoch`, and a remark for every line that is lost.
fn kept(text: &[u8], epoch: usize, path: &Path) -> (Vec<EpochMetrics>, Vec<String>) {
    let mut kept: Vec<EpochMetrics> = Vec::new();
    let mut remarks = Vec::new();
    let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    // Behind the last line break stands what a kill cut off; it belongs to an epoch beyond the checkpoint.
    for (number, line) in text[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        match serde_json::from_slice::<EpochMetrics>(line) {
            Ok(metrics) if metrics.epoch > epoch => {}
            Ok(metrics) if kept.last().is_none_or(|last| last.epoch < metrics.epoch) => kept.push(metrics),
            Ok(metrics) => remarks.push(format!(
                "{}, line {}: epoch {} stands there again; the line is left out",
                path.display(),
                number + 1,
                metrics.epoch
            )),
            Err(problem) => remarks.push(format!(
                "{}, line {}: damaged ({problem}); the line is left out, the others are kept",
                path.display(),
                number + 1
            )),
        }
    }
    (kept, remarks)
}

fn json_line(metrics: &EpochMetrics) -> Result<String, TrainError> {
    let line = serde_json::to_string(metrics).map_err(|e| TrainError::file(Path::new(METRICS_FILE), e))?;
    Ok(line + "\n")
}
