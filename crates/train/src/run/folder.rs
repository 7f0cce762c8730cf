//! Opening, locking and writing a run folder.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tightrope_network::{MODEL_FILE, Model, NETWORK_FILE, remove_abandoned, temporary_owner, write_atomically};

use super::checkpoint::{self, cannot_write};
use super::manifest::{self, Manifest};
use super::metrics::MetricsLog;
use super::{CHECKPOINT_FILE, CONFIG_FILE, EVENTS_FILE, LOCK_FILE, MANIFEST_FILE, METRICS_FILE, RESULT_FILES};
use crate::state::State;
use crate::trainer::Job;
use crate::{EpochMetrics, TrainError};

/// Files that only the holder of the lock writes.
const OWN_FILES: [&str; 7] =
    [CHECKPOINT_FILE, MODEL_FILE, NETWORK_FILE, METRICS_FILE, EVENTS_FILE, MANIFEST_FILE, CONFIG_FILE];

/// Files that a run which never wrote a checkpoint may have left.
const EARLY_FILES: [&str; 4] = [CONFIG_FILE, MANIFEST_FILE, METRICS_FILE, EVENTS_FILE];

/// A run folder held by this process; the lock ends with the value, or with the process however it ends.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    resumes: bool,
    command: Vec<String>,
    _lock: File,
    instructions: Option<String>,
    manifest: Option<Manifest>,
    metrics: Option<MetricsLog>,
}

/// What a run starts from.
pub(crate) struct Beginning {
    /// The state.
    pub(crate) state: State,
    /// Metrics of the epochs before it.
    pub(crate) metrics: Vec<EpochMetrics>,
    /// What the user should hear of.
    pub(crate) remarks: Vec<String>,
}

impl RunFolder {
    /// A folder for a new run, made if it is not there; `command` is recorded in the manifest.
    ///
    /// # Errors
    /// If it holds anything already, cannot be written, or another process trains in it.
    pub fn create(path: &Path, command: &[String]) -> Result<Self, TrainError> {
        let folder = RunFolder::lock(path, command, false, |entries| {
            match entries.iter().find(|name| !is_temporary(name)) {
                // Nothing, or what a process left that was killed before it wrote the configuration.
                None => Ok(()),
                Some(file) => Err(TrainError::file(
                    path,
                    format!(
                        "the folder is not empty (it holds `{file}`); go on with its run by --resume, begin anew by --overwrite, or choose another --out"
                    ),
                )),
            }
        })?;
        Ok(folder)
    }

    /// The folder of a run for another one in its place; the files of the old one are removed, and no others.
    ///
    /// # Errors
    /// If it holds something but no run, cannot be written, or another process trains or certifies in it.
    pub fn overwrite(path: &Path, command: &[String]) -> Result<Self, TrainError> {
        let folder =
            RunFolder::lock(path, command, false, |entries| match entries.iter().find(|name| !is_temporary(name)) {
                Some(_) => RunFolder::check_begun(path),
                None => Ok(()),
            })?;
        // Results go first and what the run is known by last, so that a kill leaves no mixture.
        let files: Vec<PathBuf> = RESULT_FILES.iter().chain(&OWN_FILES).map(|name| path.join(name)).collect();
        for file in files.iter().filter(|file| file.is_file()) {
            // A certification holds its log locked.
            if let Ok(held) = File::open(file)
                && let Err(TryLockError::WouldBlock) = held.try_lock()
            {
                return Err(TrainError::file(
                    file,
                    "another process works on it; wait for it, stop it, or choose another --out",
                ));
            }
        }
        for file in files.iter().filter(|file| file.exists()) {
            fs::remove_file(file)
                .map_err(|e| TrainError::file(file, format!("cannot be removed ({e}); choose another --out")))?;
        }
        Ok(folder)
    }

    /// True if a run may begin in `path`: nothing is there, or only what a process left that was killed before it
    /// wrote the configuration.
    pub fn is_free(path: &Path) -> bool {
        !path.exists() || entries(path).is_ok_and(|entries| entries.iter().all(|name| is_temporary(name)))
    }

    /// Fails unless a run was begun in `path`, that is, unless it holds a configuration or a checkpoint.
    ///
    /// # Errors
    /// If it holds neither, or cannot be read.
    pub fn check_begun(path: &Path) -> Result<(), TrainError> {
        let held = if path.exists() { entries(path)? } else { Vec::new() };
        let begun = |name: &String| name == CONFIG_FILE || name == CHECKPOINT_FILE;
        match held.iter().find(|name| !is_temporary(name)) {
            _ if held.iter().any(begun) => Ok(()),
            Some(file) => Err(TrainError::file(
                path,
                format!(
                    "holds `{file}` but no {CONFIG_FILE} and no {CHECKPOINT_FILE}, so there is no run to resume or to overwrite; choose another --out"
                ),
            )),
            None => Err(TrainError::file(path, "no run in this folder to resume; leave out --resume to begin one")),
        }
    }

    /// The folder of a run to go on with; one that was begun but has no checkpoint yet begins from the start.
    ///
    /// # Errors
    /// As [`RunFolder::check_begun`], or if it holds other files than a run's, cannot be written, or another process trains in it.
    pub fn resume(path: &Path, command: &[String]) -> Result<Self, TrainError> {
        RunFolder::check_begun(path)?;
        RunFolder::lock(path, command, true, |entries| {
            let foreign = entries.iter().find(|name| !EARLY_FILES.contains(&name.as_str()) && !is_temporary(name));
            match foreign {
                Some(file) if !entries.iter().any(|name| name == CHECKPOINT_FILE) => Err(TrainError::file(
                    path,
                    format!(
                        "holds `{file}` but no {CHECKPOINT_FILE}, so there is no run to resume; choose another --out"
                    ),
                )),
                _ => Ok(()),
            }
        })
    }

    /// Checks the folder's entries before anything is put into it and again under the lock.
    fn lock(
        path: &Path,
        command: &[String],
        resumes: bool,
        check: impl Fn(&[String]) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        if path.exists() {
            check(&entries(path)?)?;
        } else {
            fs::create_dir_all(path).map_err(|e| cannot_write(path, &e))?;
        }
        let lock_path = path.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(|e| cannot_write(&lock_path, &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            // Some network file systems have no locks; there the user must take care.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(cannot_write(&lock_path, &error)),
            Err(TryLockError::WouldBlock) => {
                return Err(TrainError::file(
                    path,
                    "another process trains in this folder; wait for it, stop it, or choose another --out",
                ));
            }
        }
        check(&entries(path)?)?;
        Ok(RunFolder {
            path: path.into(),
            resumes,
            command: command.into(),
            _lock: lock,
            instructions: None,
            manifest: None,
            metrics: None,
        })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration of the run in `path` as TOML, with the file that it comes from: config.toml or, where
    /// that is lost, the checkpoint. None if there is neither.
    ///
    /// # Errors
    /// If a file that is there cannot be read.
    pub fn stored_config(path: &Path) -> Result<Option<(String, PathBuf)>, TrainError> {
        let (config, checkpoint) = (path.join(CONFIG_FILE), path.join(CHECKPOINT_FILE));
        if config.is_file() {
            let text = fs::read_to_string(&config).map_err(|e| {
                TrainError::file(&config, format!("cannot be read ({e}); give the recipe of the run with --resume"))
            })?;
            return Ok(Some((text, config)));
        }
        if checkpoint.is_file() {
            return Ok(Some((checkpoint::stored_config(&checkpoint)?, checkpoint)));
        }
        Ok(None)
    }

    /// Names of the classes that the run in `path` was trained on, if its manifest tells them and its data set is the one
    /// called `dataset`.
    pub fn stored_classes(path: &Path, dataset: &str) -> Option<Vec<String>> {
        manifest::classes(&path.join(MANIFEST_FILE), dataset)
    }

    /// Records in the manifest which instruction set the engine computes with.
    pub fn set_instructions(&mut self, name: &str) {
        self.instructions = Some(name.into());
    }

    /// Writes the first files and returns what to start from.
    pub(crate) fn begin(&mut self, job: &Job, initial: State) -> Result<Beginning, TrainError> {
        let file = self.path.join(CHECKPOINT_FILE);
        let resumed = self.resumes && file.is_file();
        let state = if resumed { checkpoint::read(&file, job)? } else { initial };
        for name in
            entries(&self.path)?.iter().filter(|name| OWN_FILES.iter().any(|f| temporary_owner(name, f).is_some()))
        {
            // Left by a process that was killed while writing, since the lock is ours; harmless if it stays.
            let _ = fs::remove_file(self.path.join(name));
        }
        // Others write these without the lock.
        RESULT_FILES.iter().for_each(|name| remove_abandoned(&self.path.join(name)));
        let config = format!("# Resolved configuration of this run.\n{}", job.config.to_toml());
        self.write(CONFIG_FILE, config.as_bytes())?;
        let mut manifest = Manifest::open(&self.path.join(MANIFEST_FILE), job, self.instructions.as_deref(), resumed);
        manifest.begin_session(&self.command, state.step);
        self.write(MANIFEST_FILE, manifest.to_json().as_bytes())?;
        self.manifest = Some(manifest);
        let (log, metrics, remarks) = MetricsLog::open(&self.path, state.epoch)?;
        self.metrics = Some(log);
        if !resumed {
            self.checkpoint(job, &state)?;
        }
        Ok(Beginning { state, metrics, remarks })
    }

    pub(crate) fn checkpoint(&self, job: &Job, state: &State) -> Result<(), TrainError> {
        checkpoint::write(&self.path.join(CHECKPOINT_FILE), job, state)
    }

    pub(crate) fn append(&mut self, metrics: &EpochMetrics) -> Result<(), TrainError> {
        match &mut self.metrics {
            Some(log) => log.append(metrics),
            None => Ok(()),
        }
    }

    pub(crate) fn save_model(&self, model: &Model) -> Result<(), TrainError> {
        Ok(model.save(&self.path)?)
    }

    pub(crate) fn finish(&mut self) -> Result<(), TrainError> {
        let Some(manifest) = &mut self.manifest else { return Ok(()) };
        manifest.finish_session();
        let json = manifest.to_json();
        self.write(MANIFEST_FILE, json.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let path = self.path.join(name);
        write_atomically(&path, bytes).map_err(|e| cannot_write(&path, &e))
    }
}

/// Names in the folder but the lock's, sorted.
fn entries(path: &Path) -> Result<Vec<String>, TrainError> {
    let unreadable = |e| TrainError::file(path, format!("cannot be read as a folder ({e}); choose another --out"));
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if name != LOCK_FILE {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// True for what an interrupted atomic write of one of the run's files leaves.
fn is_temporary(name: &str) -> bool {
    OWN_FILES.iter().chain(&RESULT_FILES).any(|file| temporary_owner(name, file).is_some())
}
