//! `certify.jsonl`: the append-only log of the cascade, one line per sample, that survives a kill at any moment.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tightrope_network::{bytes_text, number_text, output_target, quoted_text, remove_abandoned, temporary_path};

use crate::VerifyError;

/// Name of the log in a run folder.
pub const LOG_FILE: &str = "certify.jsonl";

/// What the cascade says about one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Lower bounds of all margins are above 0.
    Verified,
    /// Misclassified, or a replayed counterexample.
    Falsified,
    /// Neither.
    Unknown,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleRecord {
    /// Index in the data set.
    pub index: u64,
    /// True class.
    pub label: usize,
    /// Class of the largest clean logit.
    pub prediction: usize,
    /// True if the label's clean logit is strictly the largest.
    pub natural_correct: bool,
    /// The outcome.
    pub verdict: Verdict,
    /// The stage that decided (`natural` for misclassified samples); none if unknown.
    pub stage: Option<String>,
    /// Lower bound of the smallest margin, best of the stages that ran; branch and bound proves that it is above 0, not
    /// by how much, and leaves a 0.
    pub margin_lower: Option<f64>,
    /// Smallest margin an attack met, or branch and bound at its counterexample.
    pub margin_attack: Option<f64>,
    /// Seconds spent; a stage that takes batches shares its time evenly.
    pub seconds: f64,
    /// Seconds by stage entered, in order.
    pub stage_seconds: Map<String, Value>,
}

impl SampleRecord {
    pub(crate) fn open(index: u64, label: usize, prediction: usize, natural_correct: bool) -> Self {
        SampleRecord {
            index,
            label,
            prediction,
            natural_correct,
            verdict: Verdict::Unknown,
            stage: None,
            margin_lower: None,
            margin_attack: None,
            seconds: 0.0,
            stage_seconds: Map::new(),
        }
    }

    pub(crate) fn decide(&mut self, verdict: Verdict, stage: &str) {
        self.verdict = verdict;
        self.stage = Some(stage.into());
    }

    pub(crate) fn spend(&mut self, stage: &str, seconds: f64) {
        self.seconds += seconds;
        self.stage_seconds.insert(stage.into(), seconds.into());
    }
}

/// Everything that must agree before a log may be continued, by name: model and data checksums, ε, norm, clip, stages, ….
pub type LogSettings = BTreeMap<String, Value>;

/// One setting that differs between a log and a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Name of the setting.
    pub setting: String,
    /// Its value in the log; `null` if absent.
    pub logged: Value,
    /// Its value now; `null` if absent.
    pub now: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |value: &Value| match value.as_f64() {
            Some(number) if value.is_f64() => number_text(number),
            _ => quoted_text(&value.to_string()).into_owned(),
        };
        write!(f, "{}: {} there, {} now", quoted_text(&self.setting), short(&self.logged), short(&self.now))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    certify_log: u32,
    settings: LogSettings,
}

/// The open log; every append is one write, so a kill leaves at most one torn last line.
#[derive(Debug)]
pub struct CertifyLog {
    path: PathBuf,
    file: File,
    /// The log that this one took the place of, held until the end.
    _replaced: Option<File>,
}

impl CertifyLog {
    /// Begins a new log with a header line.
    ///
    /// # Errors
    /// If there is a log at `path` already, whether or not a process works on it, or it cannot be written.
    pub fn create(path: &Path, settings: &LogSettings) -> Result<Self, VerifyError> {
        output_target(path).map_err(|e| VerifyError::file(path, e))?;
        remove_abandoned(path);
        let (file, temporary) = begin(path, settings)?;
        // A link, unlike a rename, takes nothing away from a process that was quicker.
        let placed = match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => {
                // A file system without links.
                std::fs::rename(&temporary, path)
            }
            placed => placed,
        };
        let _ = std::fs::remove_file(&temporary);
        match placed {
            Err(_) if path.exists() => Err(exists(path)),
            Err(error) => Err(VerifyError::file(path, error)),
            Ok(()) => Ok(CertifyLog { path: path.into(), file, _replaced: None }),
        }
    }

    /// Begins a new log in place of the one at `path`, if there is one.
    ///
    /// # Errors
    /// If a process works on that one, or the new one cannot be written.
    pub fn overwrite(path: &Path, settings: &LogSettings) -> Result<Self, VerifyError> {
        if !path.exists() {
            return CertifyLog::create(path, settings);
        }
        let path = &*output_target(path).map_err(|e| VerifyError::file(path, e))?;
        remove_abandoned(path);
        let replaced = OpenOptions::new().append(true).open(path).map_err(|e| VerifyError::file(path, e))?;
        lock(path, &replaced)?;
        let (file, temporary) = begin(path, settings)?;
        std::fs::rename(&temporary, path).map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            VerifyError::file(path, e)
        })?;
        // Whoever opened the old log before it was replaced must find it locked, not write where nobody reads.
        Ok(CertifyLog { path: path.into(), file, _replaced: Some(replaced) })
    }

    /// The log's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a log to continue it and returns the records it holds; a torn last line is cut off.
    ///
    /// # Errors
    /// If it was made with other settings, or is damaged before its last line.
    pub fn resume(path: &Path, settings: &LogSettings) -> Result<(Self, Vec<SampleRecord>), VerifyError> {
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(|e| VerifyError::file(path, e))?;
        lock(path, &file)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|e| VerifyError::file(path, e))?;
        let whole = whole_lines(&text);
        let agree = |logged: &LogSettings| match differences(logged, settings) {
            differences if differences.is_empty() => Ok(()),
            differences => Err(VerifyError::OtherSettings { path: path.into(), differences }),
        };
        let (_, records) = parse(path, &text[..whole], agree)?;
        file.set_len(whole as u64).map_err(|e| VerifyError::file(path, e))?;
        Ok((CertifyLog { path: path.into(), file, _replaced: None }, records))
    }

    /// Appends records as lines.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, records: &[SampleRecord]) -> Result<(), VerifyError> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(|e| VerifyError::file(&self.path, e))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).map_err(|e| {
            let size = bytes_text(lines.len());
            VerifyError::file(&self.path, format!("{e} while writing {size}; free some space and --resume"))
        })
    }
}

/// Length of the lines that are whole.
fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1)
}

/// Settings, which are checked first, and records of a log's whole lines.
fn parse(
    path: &Path,
    text: &[u8],
    check: impl FnOnce(&LogSettings) -> Result<(), VerifyError>,
) -> Result<(LogSettings, Vec<SampleRecord>), VerifyError> {
    let bad = |line: usize, problem: String| VerifyError::Log {
        path: path.into(),
        line,
        problem: quoted_text(&problem).into_owned(),
    };
    let mut lines = text.split(|&b| b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let header: Header = match lines.next() {
        Some((_, line)) => {
            serde_json::from_slice(line).map_err(|e| bad(1, format!("no certification log begins so ({e})")))?
        }
        None => return Err(bad(1, "the header line is missing".into())),
    };
    if header.certify_log != 1 {
        return Err(bad(1, format!("log version {} is newer than this program", header.certify_log)));
    }
    check(&header.settings)?;
    let mut records: Vec<SampleRecord> = Vec::new();
    let mut seen = HashSet::new();
    for (number, line) in lines {
        let record: SampleRecord = serde_json::from_slice(line).map_err(|e| bad(number + 1, e.to_string()))?;
        if !seen.insert(record.index) {
            return Err(bad(number + 1, format!("sample {} stands twice", record.index)));
        }
        records.push(record);
    }
    Ok((header.settings, records))
}

/// Settings and records of the log at `path`, and whether its last line is torn.
pub(crate) fn read_log(path: &Path) -> Result<(LogSettings, Vec<SampleRecord>, bool), VerifyError> {
    let text = std::fs::read(path).map_err(|e| VerifyError::file(path, e))?;
    let whole = whole_lines(&text);
    let (settings, records) = parse(path, &text[..whole], |_| Ok(()))?;
    Ok((settings, records, whole < text.len()))
}

/// A whole log.
pub(crate) fn log_text(settings: &LogSettings, records: &[SampleRecord]) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Header { certify_log: 1, settings: settings.clone() })?;
    text.push(b'\n');
    for record in records {
        serde_json::to_writer(&mut text, record)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// That there is a log already, and what to do.
fn exists(path: &Path) -> VerifyError {
    VerifyError::file(
        path,
        "holds a certification already; go on with it by --resume, replace it by --overwrite, or write elsewhere by --out",
    )
}

/// A locked file beside `path` with the header line.
fn begin(path: &Path, settings: &LogSettings) -> Result<(File, PathBuf), VerifyError> {
    let header = Header { certify_log: 1, settings: settings.clone() };
    let mut line = serde_json::to_string(&header).map_err(|e| VerifyError::file(path, e))?;
    line.push('\n');
    let temporary = temporary_path(path);
    // Left by a process with this one's number; otherwise there is nothing to remove.
    let _ = std::fs::remove_file(&temporary);
    let open = || {
        let mut file = OpenOptions::new().append(true).create_new(true).open(&temporary)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        Ok(file)
    };
    let file = open().map_err(|e: std::io::Error| {
        let _ = std::fs::remove_file(&temporary);
        VerifyError::file(path, e)
    })?;
    lock(path, &file)?;
    Ok((file, temporary))
}

/// Holds the log until the file is closed, so that no two processes write to it.
fn lock(path: &Path, file: &File) -> Result<(), VerifyError> {
    let taken = || {
        Err(VerifyError::file(
            path,
            "another process certifies into this log; wait for it, stop it, or write elsewhere by --out",
        ))
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => taken(),
        // Some network file systems have no locks; there the user must take care.
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => {
            Err(VerifyError::file(path, error))
        }
        // Between opening and locking, another process may have replaced the log and ended.
        _ if replaced(path, file) => taken(),
        _ => Ok(()),
    }
}

/// True if `file` once was at `path` but another file is there now.
#[cfg(unix)]
fn replaced(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        // A log under construction has no path yet, and nobody knows it.
        (Ok(held), Ok(there)) => held.nlink() == 0 && identity(held) != identity(there),
        _ => false,
    }
}

#[cfg(not(unix))]
fn replaced(_path: &Path, _file: &File) -> bool {
    false
}

fn differences(logged: &LogSettings, now: &LogSettings) -> Vec<Difference> {
    let names: BTreeSet<&String> = logged.keys().chain(now.keys()).collect();
    let value = |settings: &LogSettings, name: &String| settings.get(name).cloned().unwrap_or(Value::Null);
    names
        .into_iter()
        .map(|name| Difference { setting: name.clone(), logged: value(logged, name), now: value(now, name) })
        .filter(|difference| difference.logged != difference.now)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CertifyLog, LogSettings, SampleRecord, Verdict};

    fn record(index: u64) -> SampleRecord {
        let mut record = SampleRecord::open(index, 3, 3, true);
        record.spend("ibp", 0.25);
        record.margin_lower = Some(0.1);
        record.decide(Verdict::Verified, "ibp");
        record
    }

    fn settings(epsilon: f64) -> LogSettings {
        LogSettings::from([("eps".to_string(), json!(epsilon)), ("model".to_string(), json!("ab12"))])
    }

    #[test]
    fn a_log_cut_at_any_byte_resumes_with_its_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certify.jsonl");
        let mut log = CertifyLog::create(&path, &settings(0.1)).unwrap();
        let header = std::fs::metadata(&path).unwrap().len() as usize;
        log.append(&[record(0), record(1)]).unwrap();
        log.append(&[record(2)]).unwrap();
        drop(log);
        let whole = std::fs::read(&path).unwrap();
        for cut in header..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, records) = CertifyLog::resume(&path, &settings(0.1)).unwrap();
            assert!(CertifyLog::resume(&path, &settings(0.1)).unwrap_err().to_string().contains("another process"));
            let complete = whole[header..cut].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(records, (0..complete as u64).map(record).collect::<Vec<_>>());
            log.append(&(complete as u64..3).map(record).collect::<Vec<_>>()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_log_is_replaced_only_when_asked_for_and_not_while_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certify.jsonl");
        let mut log = CertifyLog::create(&path, &settings(0.1)).unwrap();
        log.append(&[record(0)]).unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = |result: Result<CertifyLog, crate::VerifyError>, part: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
        };
        refused(CertifyLog::create(&path, &settings(0.3)), "--overwrite");
        refused(CertifyLog::overwrite(&path, &settings(0.3)), "another process");
        drop(log);
        refused(CertifyLog::create(&path, &settings(0.3)), "--overwrite");

        // One who opened the old log before it was replaced does not get it.
        let early = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let log = CertifyLog::overwrite(&path, &settings(0.3)).unwrap();
        assert!(super::lock(&path, &early).is_err());
        drop(log);
        #[cfg(unix)]
        assert!(super::lock(&path, &early).is_err());
        assert_eq!(CertifyLog::resume(&path, &settings(0.3)).unwrap().1, []);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_settings_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certify.jsonl");
        CertifyLog::create(&path, &settings(0.1)).unwrap();
        let message = CertifyLog::resume(&path, &settings(0.3)).unwrap_err().to_string();
        assert!(message.contains("eps: 0.1 there, 0.3 now"), "{message}");
        assert!(!message.contains("ab12"), "{message}");
    }

    #[test]
    fn damage_before_the_last_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certify.jsonl");
        let mut log = CertifyLog::create(&path, &settings(0.1)).unwrap();
        log.append(&[record(0), record(0)]).unwrap();
        drop(log);
        let message = CertifyLog::resume(&path, &settings(0.1)).unwrap_err().to_string();
        assert!(message.contains("line 3") && message.contains("sample 0 stands twice"), "{message}");
        std::fs::write(&path, "\0\0\0\n").unwrap();
        assert!(CertifyLog::resume(&path, &settings(0.1)).unwrap_err().to_string().contains("line 1"));
    }
}
