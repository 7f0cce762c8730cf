//! Complete verification of properties, and the check of certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use serde_json::{Value, json};
use tightrope::certificate::{self, Certificate};
use tightrope::verification::complete::Branching;
use tightrope::vnnlib::VnnlibError;
use tightrope::{Error, Property, Settings, Verified};

use crate::errors::{named, raise};
use crate::network::{Network, Shared};
use crate::running::{self, Stop};

/// What unwinds a search that was told to stop: its rounds cannot be left otherwise.
struct Stopped;

/// Decides the property at `property` for `network`; the answer as JSON, and a certificate at `certificate` if it holds, which is
/// neither the property nor the file `origin` that the network was read from.
#[pyfunction]
pub fn verify(
    py: Python<'_>,
    network: &Bound<'_, Network>,
    property: PathBuf,
    timeout: f64,
    branching: &str,
    restarts: usize,
    seed: u64,
    certificate: Option<PathBuf>,
    origin: Option<PathBuf>,
) -> PyResult<String> {
    if let Some(path) = &certificate {
        let read: Vec<&Path> = [Some(&*property), origin.as_deref()].into_iter().flatten().collect();
        tightrope::check_outputs(&[("certificate", path)], &read).map_err(|error| raise(py, error))?;
    }
    let branching = match branching {
        "auto" => Branching::Auto,
        "input" => Branching::Input,
        "babsr" => Branching::Babsr,
        "fsb" => Branching::Fsb,
        _ => return Err(named(py, "ConfigError", format!("branching `{branching}`: use auto, input, babsr or fsb"))),
    };
    let Ok(timeout) = Duration::try_from_secs_f64(timeout) else {
        return Err(named(py, "ConfigError", format!("timeout {timeout}: give a positive number of seconds")));
    };
    let settings = Settings {
        timeout,
        branching,
        attack_restarts: restarts,
        seed,
        proof: certificate.is_some(),
        ..Settings::default()
    };
    let shared = Arc::clone(&network.get().0);
    let answer = running::job(py, move |stop| answer(&shared, &property, &settings, certificate.as_deref(), stop))?;
    Ok(answer.map_err(|error| raise(py, error))?.to_string())
}

fn answer(
    shared: &Shared,
    property: &Path,
    settings: &Settings,
    certificate: Option<&Path>,
    stop: &Stop,
) -> Result<Value, Error> {
    let start = Instant::now();
    let observe = |_| {
        if stop.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new(Stopped));
        }
    };
    let found = match Property::read_until(property, start.checked_add(settings.timeout)) {
        Err(VnnlibError::Late { .. }) => Verified::late(),
        property => {
            let (property, timeout) = (property?, settings.timeout.saturating_sub(start.elapsed()));
            let settings = Settings { timeout, ..settings.clone() };
            tightrope::verify_watched(&shared.model, &property, &settings, &observe)?
        }
    };
    let mut answer = found.document();
    let mut written = None;
    if let (Some(made), Some(path)) = (&found.certificate, certificate) {
        made.write(path)?;
        written = Some(path.display().to_string());
    }
    answer["certificate"] = json!(written);
    answer["remark"] = json!(found.remark);
    answer["seconds"] = json!(start.elapsed().as_secs_f64());
    Ok(answer)
}

/// Checks a certificate without any engine; what it proves as JSON.
#[pyfunction]
pub fn check(
    py: Python<'_>,
    certificate: PathBuf,
    network: &Bound<'_, Network>,
    property: PathBuf,
) -> PyResult<String> {
    let shared = Arc::clone(&network.get().0);
    let checked = running::job(py, move |_| -> Result<Value, Error> {
        let (made, property) = (Certificate::read(&certificate)?, Property::read(&property)?);
        let model = shared.model.frozen()?;
        let report = certificate::check(&made, &model.network, &model.weights(), &property, None)?;
        Ok(json!({
            "verdict": "holds", "conjunctions": report.conjunctions, "splits": report.splits, "leaves": report.leaves,
            "exact_leaves": report.exact_leaves,
            "smallest_bound": Some(report.smallest_bound).filter(|bound| bound.is_finite()),
        }))
    })?;
    Ok(checked.map_err(|error| raise(py, error))?.to_string())
}
