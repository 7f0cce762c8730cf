//! What a model's run knows: perturbation and data set of commands that are not told otherwise.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tightrope_attack::ThreatModel;
use tightrope_engine::Norm;
use tightrope_train::Config;

use crate::values::{self, Perturbation};

/// The run a model comes from, and what was taken from it.
pub struct Origin<'a> {
    model: &'a Path,
    config: Option<Config>,
    taken: Vec<(&'static str, String)>,
}

impl<'a> Origin<'a> {
    /// Of `model`, which must exist: a run folder has a configuration, other models have none.
    pub fn of(model: &'a Path) -> anyhow::Result<Self> {
        if !model.exists() {
            bail!(
                "{}: no such file or folder; give a run folder, an .onnx file or a .safetensors file",
                model.display()
            );
        }
        let path = model.join("config.toml");
        let config = if path.is_file() {
            Some(Config::read(&path, &[]).context("the run folder's configuration cannot be used")?)
        } else {
            None
        };
        Ok(Origin { model, config, taken: Vec::new() })
    }

    /// The perturbations asked for; what is left open is the run's, or else clipped to [0, 1] in ℓ∞.
    pub fn threat(&mut self, asked: &Perturbation) -> anyhow::Result<ThreatModel> {
        let epsilon = match (&asked.eps, &self.config) {
            (Some(epsilon), _) => epsilon.clone(),
            (None, Some(config)) => {
                self.take("eps", config.eps, |epsilon| format!("ε = {}", values::number(*epsilon))).into()
            }
            (None, None) => bail!(
                "{}: is no run folder, so --eps E is needed, and samples by --dataset D or --inputs X.safetensors",
                self.model.display()
            ),
        };
        let norm = match (asked.norm, &self.config) {
            (Some(norm), _) => norm.into(),
            (None, Some(config)) => self.take("norm", config.norm(), |norm| values::norm_title(*norm).into()),
            (None, None) => Norm::Inf,
        };
        let clip = match (&asked.clip, asked.no_clip, &self.config) {
            (_, true, _) => None,
            (Some(range), false, _) => Some(values::clip_range(range)?),
            (None, false, Some(config)) => self.take("clip", config.data_range(), |range| values::clip_text(*range)),
            (None, false, None) => Some((0.0, 1.0)),
        };
        Ok(ThreatModel::new(norm, epsilon, clip))
    }

    /// The test data of the run: a data set's name, or a file of arrays.
    pub fn data(&mut self) -> anyhow::Result<Data> {
        let needed = "--dataset D or --inputs X.safetensors is needed";
        let Some(config) = &self.config else { bail!("{}: is no run folder, so {needed}", self.model.display()) };
        if !config.test_inputs.is_empty() {
            let path = config.test_inputs.clone();
            self.take("inputs", (), |()| format!("test samples of {path}"));
            return Ok(Data::Arrays(path.into()));
        }
        if !config.inputs.is_empty() {
            bail!(
                "{}: was trained on arrays ({}) and has no test arrays, so {needed}",
                self.model.display(),
                config.inputs
            );
        }
        let name = config.dataset.clone();
        Ok(Data::Set(self.take("dataset", name, |name| format!("data set {name}"))))
    }

    /// The training arrays of the run, and its configuration, if it kept a part of them for evaluations.
    pub fn kept_arrays(&self) -> Option<(PathBuf, &Config)> {
        let config = self.config.as_ref()?;
        let kept = !config.inputs.is_empty() && config.train.validation > 0.0;
        kept.then(|| (PathBuf::from(&config.inputs), config))
    }

    /// The model: a run folder or a file.
    pub fn model(&self) -> &Path {
        self.model
    }

    /// The configuration of the run; none if the model is of no run.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// The configuration of the run, if it was on the data set called `name`.
    pub fn run_on(&self, name: &str) -> Option<&Config> {
        self.config.as_ref().filter(|config| config.inputs.is_empty() && config.dataset == name)
    }

    fn take<T>(&mut self, key: &'static str, value: T, words: impl FnOnce(&T) -> String) -> T {
        self.taken.push((key, words(&value)));
        value
    }

    /// A line that says what was taken from the run; empty if nothing was.
    pub fn text(&self) -> String {
        if self.taken.is_empty() {
            return String::new();
        }
        let words: Vec<&str> = self.taken.iter().map(|(_, words)| words.as_str()).collect();
        format!("from the run's configuration: {}\n", words.join(", "))
    }

    /// The same as a list of names.
    pub fn document(&self) -> Value {
        json!(self.taken.iter().map(|(key, _)| key).collect::<Vec<_>>())
    }
}

/// Where test samples come from.
pub enum Data {
    /// The test split of a known data set.
    Set(String),
    /// A safetensors file with `x` and `y`.
    Arrays(PathBuf),
}
