//! Certified accuracy over a data set.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use serde_json::{Value, json};
use tightrope::attack::{Attack, Samples, Target};
use tightrope::engine::Reference;
use tightrope::verification::{AlphaBudget, Cascade, CertifyLog, SampleRecord, Summary, VerifyError};
use tightrope::{Dataset, Error, Model, Radius, Stage, ThreatModel};

use crate::bounding::norm;
use crate::data::Given;
use crate::errors::{named, raise};
use crate::network::Network;
use crate::running;
use crate::training::Listener;

/// The perturbations as Python says them: radius, norm, data range.
pub type Perturbation = (Radii, String, Option<(f64, f64)>);

/// One radius, or one for each channel.
#[derive(FromPyObject)]
pub enum Radii {
    Same(f64),
    Channels(Vec<f64>),
}

/// What may happen to the samples.
pub fn threat(py: Python<'_>, (radii, norm_name, clip): Perturbation) -> PyResult<ThreatModel> {
    let radius = match radii {
        Radii::Same(epsilon) => Radius::Same(epsilon),
        Radii::Channels(radii) => Radius::Channels(radii),
    };
    Ok(ThreatModel::new(norm(py, &norm_name)?, radius, clip))
}

/// Everything a certification reads.
struct Certification {
    model: Model,
    cascade: Cascade,
    set: Dataset,
    log: Option<PathBuf>,
    begin: String,
}

impl Certification {
    fn run(&self, listener: &mut Listener) -> Result<Option<Value>, Error> {
        let engine = tightrope::default_engine()?;
        let settings = tightrope::log_settings(&self.cascade, &self.model, &self.set, engine.name());
        let place = |error: std::io::Error| VerifyError::File {
            path: std::env::temp_dir(),
            problem: format!("cannot hold a log ({error})"),
        };
        // Without a place of its own the log is a temporary one.
        let temporary = tempfile::tempdir().map_err(place)?;
        let path = self.log.clone().unwrap_or_else(|| temporary.path().join("certify.jsonl"));
        let (mut log, done): (CertifyLog, Vec<SampleRecord>) = match &*self.begin {
            "resume" if path.exists() => CertifyLog::resume(&path, &settings)?,
            "overwrite" => (CertifyLog::overwrite(&path, &settings)?, Vec::new()),
            _ => (CertifyLog::create(&path, &settings)?, Vec::new()),
        };
        let target = Target::new(&self.model, &*engine, &Reference)?;
        let mut decided = done.len();
        let (indices, images): (Vec<u64>, _) = ((0..self.set.len() as u64).collect(), self.set.images());
        let samples = Samples { indices: &indices, inputs: &images, labels: &self.set.labels };
        let outcome = self.cascade.run(&target, &samples, &mut log, &done, |new| {
            decided += new.len();
            listener.tell("samples", &json!({ "decided": decided, "samples": self.set.len(), "records": new }));
            if listener.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match outcome {
            Err(VerifyError::Interrupted) => Ok(None),
            outcome => {
                let records = outcome?;
                let summary = Summary::new(&records, &self.cascade.stages);
                Ok(Some(json!({ "summary": summary, "records": records })))
            }
        }
    }
}

/// Takes every sample through `stages`; the summary and the records as JSON, nothing if the callback ended it.
#[pyfunction]
pub fn certify(
    py: Python<'_>,
    network: &Bound<'_, Network>,
    data: Given<'_>,
    perturbation: Perturbation,
    stages: Option<Vec<String>>,
    timeout: Option<f64>,
    attack: (usize, usize, u64),
    alpha: (usize, Option<f64>),
    log: Option<PathBuf>,
    begin: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<Option<String>> {
    let threat = threat(py, perturbation)?;
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let stage =
        |name: &String| name.parse::<Stage>().map_err(|problem| named(py, "ConfigError", format!("stages: {problem}")));
    let stages = match stages {
        Some(names) => names.iter().map(stage).collect::<PyResult<_>>()?,
        None => Stage::DEFAULT.to_vec(),
    };
    let (steps, restarts, seed) = attack;
    let cascade = Cascade {
        stages,
        attack: Attack { steps, restarts, seed, ..Attack::default() },
        threat,
        timeout: timeout.map(seconds),
        alpha: AlphaBudget { iterations: alpha.0, time: alpha.1.map(seconds) },
    };
    cascade.check_stages().map_err(|error| raise(py, error))?;
    let shared = &network.get().0;
    let set = data.of(py, &shared.model.network)?;
    let model = shared.model.frozen().map_err(|error| raise(py, error))?.into_owned();
    let certification = Certification { model, cascade, set, log, begin };
    let (outcome, failure) = running::job(py, move |stop| {
        let mut listener = Listener::new(progress, stop);
        let outcome = certification.run(&mut listener);
        (outcome, listener.failure())
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(outcome.map_err(|error| raise(py, error))?.map(|value| value.to_string())),
    }
}
