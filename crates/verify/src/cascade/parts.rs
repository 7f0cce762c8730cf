//! A certification in parts that run by themselves, and their logs as one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tightrope_network::write_atomically;

use crate::cascade::Cascade;
use crate::cascade::log::{LogSettings, SampleRecord, log_text, read_log};
use crate::{Stage, VerifyError};

/// One of several parts of a certification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part, from 1 to `of`.
    pub index: u64,
    /// How many parts.
    pub of: u64,
}

impl Part {
    /// The indices among `samples` that are the part's, in order: every `of`-th batch, smaller ones where there would be none
    /// for some part.
    pub fn samples(self, samples: usize) -> Vec<u64> {
        let size = (samples as u64).div_ceil(self.of.max(1)).clamp(1, Cascade::BATCH as u64);
        (0..samples as u64).filter(|sample| sample / size % self.of == self.index - 1).collect()
    }

    /// Adds to the settings of a log what tells that it is of this part of so many samples.
    pub fn mark(self, settings: &mut LogSettings, samples: usize) {
        settings.insert("shard".into(), json!(format!("{}/{}", self.index, self.of)));
        settings.insert("samples".into(), json!(samples));
    }

    /// Takes away what [`Part::mark`] added.
    fn unmark(settings: &mut LogSettings) -> Option<(Self, usize)> {
        let (shard, samples) = (settings.remove("shard")?, settings.remove("samples")?);
        let (index, of) = shard.as_str()?.split_once('/')?;
        let part = Part { index: index.parse().ok()?, of: of.parse().ok()? };
        let samples = usize::try_from(samples.as_u64()?).ok()?;
        (1..=part.of).contains(&part.index).then_some((part, samples))
    }
}

/// What [`merge_logs`] put together.
#[derive(Clone, Debug)]
pub struct MergedLogs {
    /// The settings that all parts have.
    pub settings: LogSettings,
    /// The stages among them.
    pub stages: Vec<Stage>,
    /// All records, by index.
    pub records: Vec<SampleRecord>,
}

/// Writes the log of a whole certification from the logs of all its parts: the records by index, under the settings of a
/// certification that was not divided, which may go on with it.
///
/// # Errors
/// If a file is no log of a part, parts are of other certifications, one is missing, stands twice or is not finished, or
/// `target` cannot be written; then nothing is.
pub fn merge_logs(parts: &[PathBuf], target: &Path) -> Result<MergedLogs, VerifyError> {
    let mut first: Option<(&Path, LogSettings, u64, usize)> = None;
    let (mut seen, mut records) = (HashSet::new(), Vec::new());
    for path in parts {
        let (mut settings, own, torn) = read_log(path)?;
        let Some((part, samples)) = Part::unmark(&mut settings) else {
            return Err(VerifyError::file(path, "is the log of no part; certify parts with --shard i/n"));
        };
        match &first {
            None => first = Some((path, settings, part.of, samples)),
            Some((other, theirs, of, count)) => {
                if *theirs != settings || *count != samples {
                    let problem = format!(
                        "is of another certification than {}: {}",
                        other.display(),
                        differing(theirs, &settings)
                    );
                    return Err(VerifyError::file(path, problem));
                }
                if *of != part.of {
                    return Err(VerifyError::file(
                        path,
                        format!("is one of {} parts, {} of {of}", part.of, other.display()),
                    ));
                }
            }
        }
        if !seen.insert(part.index) {
            return Err(VerifyError::file(path, format!("is part {} of {} once more", part.index, part.of)));
        }
        let due = part.samples(samples);
        let due_set: HashSet<u64> = due.iter().copied().collect();
        if let Some(foreign) = own.iter().find(|record| !due_set.contains(&record.index)) {
            let problem = format!("has a record of sample {}, which is not of part {}", foreign.index, part.index);
            return Err(VerifyError::file(path, problem));
        }
        if torn || own.len() < due.len() {
            let problem =
                format!("is not finished: {} of {} samples are in it; go on with --resume", own.len(), due.len());
            return Err(VerifyError::file(path, problem));
        }
        records.extend(own);
    }
    let Some((path, settings, of, _)) = first else {
        return Err(VerifyError::Usage("there are no parts to merge".into()));
    };
    let missing: Vec<String> =
        (1..=of).filter(|index| !seen.contains(index)).map(|index| index.to_string()).take(9).collect();
    if !missing.is_empty() {
        return Err(VerifyError::file(
            path,
            format!("is one of {of} parts, of which {} are missing here", missing.join(", ")),
        ));
    }
    records.sort_by_key(|record: &SampleRecord| record.index);
    let names = settings.get("stages").and_then(Value::as_str).unwrap_or_default();
    let stages = names.split(',').filter(|name| !name.is_empty()).map(str::parse).collect::<Result<_, String>>();
    let stages = stages.map_err(|problem| VerifyError::file(path, problem))?;
    let text = log_text(&settings, &records).map_err(|e| VerifyError::file(target, e))?;
    write_atomically(target, &text).map_err(|e| VerifyError::file(target, e))?;
    Ok(MergedLogs { settings, stages, records })
}

fn differing(one: &LogSettings, other: &LogSettings) -> String {
    let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    let differing: Vec<&str> =
        names.filter(|name| one.get(*name) != other.get(*name)).map(|name| &**name).take(9).collect();
    if differing.is_empty() {
        "the number of samples differs".into()
    } else {
        format!("{} differ", differing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn parts_share_all_samples_by_whole_batches_where_there_are_enough() {
        for (samples, of) in [(1000, 3), (256, 2), (5, 4), (3, 4), (0, 2), (129, 1)] {
            let parts: Vec<Vec<u64>> = (1..=of).map(|index| Part { index, of }.samples(samples)).collect();
            let mut all: Vec<u64> = parts.concat();
            all.sort_unstable();
            assert_eq!(all, (0..samples as u64).collect::<Vec<_>>(), "{samples} in {of}");
        }
        let second = Part { index: 2, of: 2 }.samples(1000);
        assert_eq!((second[0], second[127], second[128], second.len()), (128, 255, 384, 488));
        assert_eq!(Part { index: 2, of: 4 }.samples(5), [2, 3]);
    }
}
