//! `manifest.json`: what a run was made with, for whoever finds the folder later.

use std::iter::once;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tightrope_data::Dataset;

use super::checkpoint::sha256;
use crate::trainer::Job;

/// Seconds since 1970, with fractions.
pub(crate) fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn now() -> String {
    timestamp(SystemTime::now())
}

/// A time as RFC 3339 text; a clock that stands where the format has no year is told as such.
fn timestamp(time: SystemTime) -> String {
    // 9999-12-31T23:59:59Z, the last second that the format can tell.
    const LAST: u64 = 253_402_300_799;
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) if since.as_secs() <= LAST => humantime::format_rfc3339_seconds(time).to_string(),
        Ok(_) => "unknown: the clock is beyond the year 9999".into(),
        Err(_) => "unknown: the clock is before the year 1970".into(),
    }
}

/// The whole manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    program: String,
    version: String,
    engine: String,
    seed: u64,
    config_sha256: String,
    parameters: usize,
    machine: Machine,
    data: Vec<Data>,
    /// One entry for each process that worked on the run.
    sessions: Vec<Session>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
    threads: usize,
    os: String,
    architecture: String,
    /// The instruction set of the kernels, where the engine has a choice.
    instructions: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Data {
    name: String,
    split: String,
    samples: usize,
    sha256: String,
    /// What it was read from: `files`, `stand-in`, `folder`, `arrays` or `embedded`.
    form: String,
    /// Whether the content is that of the published data set by its checksum.
    verified: bool,
    /// Names of the classes in the order of their numbers, where they have any.
    classes: Option<Vec<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Session {
    command: Vec<String>,
    version: String,
    first_step: u64,
    started: String,
    /// Absent where the process was killed or failed.
    finished: Option<String>,
}

impl Manifest {
    /// The manifest of `job`; the sessions of the file at `path` are kept if the run is `resumed`.
    pub(super) fn open(path: &Path, job: &Job, instructions: Option<&str>, resumed: bool) -> Self {
        let old = || serde_json::from_slice::<Manifest>(&std::fs::read(path).ok()?).ok();
        let data = |set: &Dataset, samples: usize| Data {
            name: set.name.clone(),
            split: set.split.to_string(),
            samples,
            sha256: set.checksum.clone(),
            form: set.form.name().into(),
            verified: set.canonical,
            classes: set.class_names.clone(),
        };
        Manifest {
            program: "tightrope".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            engine: job.engine.name().into(),
            seed: job.config.seed,
            config_sha256: sha256(job.config.to_toml().as_bytes()),
            parameters: job.network.parameters().total(),
            machine: Machine {
                cpu: cpu(),
                cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
                threads: rayon::current_num_threads(),
                os: std::env::consts::OS.into(),
                architecture: std::env::consts::ARCH.into(),
                instructions: instructions.map(Into::into),
            },
            data: once(data(&job.train, job.trained_on()))
                .chain(job.test.as_ref().map(|set| data(set, set.len())))
                .collect(),
            sessions: if resumed { old().map_or_else(Vec::new, |old| old.sessions) } else { Vec::new() },
        }
    }

    pub(super) fn begin_session(&mut self, command: &[String], first_step: u64) {
        let version = self.version.clone();
        self.sessions.push(Session { command: command.into(), version, first_step, started: now(), finished: None });
    }

    pub(super) fn finish_session(&mut self) {
        if let Some(session) = self.sessions.last_mut() {
            session.finished = Some(now());
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Names of the classes of the data set called `name` in the manifest at `path`; none where it does not tell them, whatever
/// else is wrong with it.
pub(super) fn classes(path: &Path, name: &str) -> Option<Vec<String>> {
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let mut of_set = manifest["data"].as_array()?.iter().filter(|set| set["name"] == name);
    of_set.find_map(|set| serde_json::from_value::<Vec<String>>(set["classes"].clone()).ok())
}

/// The processor's name where the system tells it, else its architecture.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_string());
    name.unwrap_or_else(|| std::env::consts::ARCH.into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::timestamp;

    #[test]
    fn no_clock_is_too_wrong() {
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), "2023-11-14T22:13:20Z");
        assert!(timestamp(UNIX_EPOCH - Duration::from_secs(1)).contains("before the year 1970"));
        let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        assert_eq!(timestamp(last), "9999-12-31T23:59:59Z");
        assert!(timestamp(last + Duration::from_secs(1)).contains("beyond the year 9999"));
    }
}
