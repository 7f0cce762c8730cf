//! Complete verification of properties, and the check of certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use serde_json::{Value, json};
use tightrope::certificate::{self, Certificate, CertificateError};
use tightrope::verification::complete::{Branching, Decision, Outcome, Settings, decide};
use tightrope::verification::replay_counterexample;
use tightrope::{Error, Model, Property};

use crate::errors::{named, raise};
use crate::network::{Network, Shared};
use crate::running::{self, Stop};

/// What unwinds a search that was told to stop: its rounds cannot be left otherwise.
struct Stopped;

/// Decides the property at `property` for `network`; the answer as JSON, and a certificate at `certificate` if it holds.
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
) -> PyResult<String> {
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
    let property = Property::read(property)?;
    let model = shared.model.frozen()?;
    let observe = |_| {
        if stop.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new(Stopped));
        }
    };
    let decision = decide(&model.network, &model.weights(), &property, settings, &observe)?;
    let mut answer = told(&model, &property, &decision)?;
    if let (Outcome::Holds { proof: Some(proof) }, Some(path)) = (decision.outcome, certificate) {
        let weights = model.weights();
        let made = Certificate::new(&model.network, &weights, &property, proof)?;
        // A proof that the independent checker refuses proves nothing, whatever the search says.
        match certificate::check(&made, &model.network, &weights, &property, None) {
            Ok(_) => {
                made.write(path)?;
                answer["certificate"] = json!(path.display().to_string());
            }
            Err(CertificateError::Network(problem)) => answer["remark"] = json!(problem.to_string()),
            Err(CertificateError::Proof { place, problem }) => {
                answer["verdict"] = json!("unknown");
                answer["remark"] = json!(format!("the proof found does not pass the checker ({place}: {problem})"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    answer["seconds"] = json!(start.elapsed().as_secs_f64());
    Ok(answer)
}

/// The decision as JSON; a counterexample counts only if its replay confirms it.
fn told(model: &Model, property: &Property, decision: &Decision) -> Result<Value, Error> {
    let mut counterexample = Value::Null;
    let finite = |bound: f64| Some(bound).filter(|bound| bound.is_finite());
    let (verdict, lower_bound) = match &decision.outcome {
        Outcome::Holds { .. } => ("holds", None),
        Outcome::Violated { input, output, fractions } => {
            let replay = replay_counterexample(model, property, input)?;
            if replay.confirmed || fractions.is_some() {
                counterexample = json!({
                    "input": input, "output": output, "fractions": fractions,
                    "unsafe_in_f64": replay.in_double, "unsafe_in_f32": replay.in_single,
                });
                ("violated", None)
            } else {
                ("unknown", None)
            }
        }
        Outcome::Unknown { lower_bound } => ("unknown", finite(*lower_bound)),
        Outcome::Timeout { lower_bound } => ("timeout", finite(*lower_bound)),
    };
    let statistics = &decision.statistics;
    Ok(json!({
        "verdict": verdict, "lower_bound": lower_bound, "counterexample": counterexample,
        "contradiction": property.contradiction, "certificate": Value::Null, "remark": Value::Null,
        "statistics": {
            "subproblems": statistics.subproblems, "peak_open": statistics.peak_open,
            "attack_seconds": statistics.attack_seconds, "root_seconds": statistics.root_seconds,
            "branch_seconds": statistics.branch_seconds,
        },
    }))
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
