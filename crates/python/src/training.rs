//! Training runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::PyBool;
use serde_json::{Value, json};
use tightrope::training::{EpochMetrics, Flow, Initial, Job, Plan, Progress, RunFolder, StepReport};
use tightrope::{Config, Dataset, Outcome};

use crate::data::Given;
use crate::errors::{named, raise};
use crate::network::Network;
use crate::running::{self, Stop};

/// The network's ONNX file in a run folder.
const ONNX_FILE: &str = "model.onnx";

/// A callback of Python's that hears of a job: `callback(kind, json)`.
pub struct Listener {
    callback: Option<Py<PyAny>>,
    stop: Stop,
    failure: Option<PyErr>,
}

impl Listener {
    pub fn new(callback: Option<Py<PyAny>>, stop: &Stop) -> Self {
        Listener { callback, stop: Arc::clone(stop), failure: None }
    }

    /// Tells the callback, which ends the job by returning False or raising.
    pub fn tell(&mut self, kind: &str, event: &Value) {
        if self.stopped() {
            return;
        }
        let Some(callback) = &self.callback else { return };
        let answer = Python::attach(|py| {
            let answer = callback.bind(py).call1((kind, event.to_string()))?;
            Ok::<bool, PyErr>(answer.cast::<PyBool>().is_ok_and(|answer| !answer.is_true()))
        });
        match answer {
            Ok(ends) => self.stop.fetch_or(ends, Ordering::Relaxed),
            Err(error) => {
                self.failure = Some(error);
                self.stop.swap(true, Ordering::Relaxed)
            }
        };
    }

    /// Whether the job is to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What the callback raised.
    pub fn failure(self) -> Option<PyErr> {
        self.failure
    }

    fn flow(&self) -> Flow {
        if self.stopped() { Flow::Stop } else { Flow::Continue }
    }
}

impl Progress for Listener {
    fn started(&mut self, plan: &Plan) {
        let event = json!({
            "epochs": plan.epochs, "epochs_done": plan.epochs_done, "steps_per_epoch": plan.steps_per_epoch,
            "steps_done": plan.steps_done, "samples": plan.samples, "parameters": plan.parameters,
        });
        self.tell("started", &event);
    }

    fn step(&mut self, report: &StepReport) -> Flow {
        let event = json!({
            "epoch": report.epoch, "position": report.position, "steps_per_epoch": report.steps_per_epoch,
            "step": report.step, "loss": report.loss, "natural_accuracy": report.natural_accuracy,
            "certified_accuracy": report.certified_accuracy, "gradient_norm": report.gradient_norm, "lr": report.lr,
            "eps": report.epsilon, "images_per_second": report.images_per_second, "eta_seconds": report.eta_seconds,
        });
        self.tell("step", &event);
        Listener::flow(self)
    }

    fn remark(&mut self, text: &str) {
        self.tell("remark", &json!({ "text": text }));
    }

    fn flow(&mut self) -> Flow {
        Listener::flow(self)
    }

    fn evaluating(&mut self, epoch: usize) {
        self.tell("evaluating", &json!({ "epoch": epoch }));
    }

    fn epoch(&mut self, metrics: &EpochMetrics) {
        self.tell("epoch", &json!(metrics));
    }
}

/// Network, metrics of the epochs as JSON, whether the run ended by itself, and a warning.
type Trained = (Network, String, bool, Option<String>);

/// Everything a run reads.
struct Run {
    config: Config,
    train: Dataset,
    test: Option<Dataset>,
    start: Option<tightrope::Model>,
    out: Option<PathBuf>,
    begin: String,
}

impl Run {
    fn train(&self, listener: &mut Listener) -> Result<Outcome, tightrope::Error> {
        let (train, test) = (Arc::new(self.train.clone()), self.test.clone().map(Arc::new));
        let engine = tightrope::default_engine()?;
        let job = match &self.start {
            None => Job::new(&self.config, engine, train, test)?,
            Some(model) => {
                let initial = Initial { theta: model.theta.clone(), buffers: model.buffers.clone() };
                Job::with_network(&self.config, model.network.clone(), Some(initial), engine, train, test)?
            }
        };
        let command = ["python".to_string(), "tightrope.train".to_string()];
        let mut folder = match &self.out {
            None => None,
            Some(out) => Some(match &*self.begin {
                "resume" => RunFolder::resume(out, &command)?,
                "overwrite" => RunFolder::overwrite(out, &command)?,
                _ => RunFolder::create(out, &command)?,
            }),
        };
        if let Some(folder) = &mut folder {
            folder.set_instructions(tightrope_fused::Isa::detect()?.name());
        }
        let outcome = tightrope::training::train(&job, folder.as_mut(), listener)?;
        if let (Some(out), true) = (&self.out, outcome.finished) {
            tightrope::onnx::export(&outcome.model, &out.join(ONNX_FILE))?;
        }
        Ok(outcome)
    }
}

/// Trains what the TOML `text` with `overrides` describes, on its own data or on arrays.
#[pyfunction]
pub fn train(
    py: Python<'_>,
    text: String,
    origin: String,
    overrides: Vec<String>,
    data: (Option<Given<'_>>, Option<Given<'_>>),
    start: Option<&Bound<'_, Network>>,
    out: Option<PathBuf>,
    begin: String,
    data_dir: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Trained> {
    let config = Config::parse(&text, &origin, &overrides).map_err(|error| raise(py, error))?;
    let (train, test) = match data {
        (Some(train), test) => (train.dataset(py)?, test.map(|test| test.dataset(py)).transpose()?),
        (None, Some(_)) => {
            return Err(named(py, "DataError", "test data of your own need training data of your own".into()));
        }
        (None, None) => py
            .detach(|| config.load_splits(&config.data_options(data_dir.as_deref(), &|_, _| ())))
            .map_err(|error| raise(py, error))?,
    };
    let start = start.map(|network| network.get().0.model.clone());
    let run = Run { config, train, test, start, out, begin };
    let (outcome, failure) = running::job(py, move |stop| {
        let mut listener = Listener::new(progress, stop);
        let outcome = run.train(&mut listener);
        (outcome, listener.failure())
    })?;
    match failure {
        Some(error) => Err(error),
        None => {
            let outcome = outcome.map_err(|error| raise(py, error))?;
            let metrics = json!(outcome.metrics).to_string();
            Ok((Network::of(outcome.model), metrics, outcome.finished, outcome.warning))
        }
    }
}
