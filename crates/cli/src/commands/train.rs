//! `tightrope train`: from a recipe and flags to a run folder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tightrope_data::Split;
use tightrope_train::{CHECKPOINT_FILE, CONFIG_FILE, Config, Job, Outcome, RunFolder, SmoothingKind};

use crate::context::Context;
use crate::dataset::DataDir;
use crate::engines::{EngineChoice, Precision};
use crate::progress::Training;
use crate::values;

/// Name of the exported network in a run folder.
const ONNX_FILE: &str = "model.onnx";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tightrope train --dataset mnist --model cnn3 --eps 0.1 --method ibp --epochs 20 --out runs/mnist\n  \
                        tightrope train recipe.toml --set train.lr=1e-3 --smoothing rgs --sigma 5e-4\n  \
                        tightrope train --out runs/mnist --resume"
)]
pub struct Options {
    /// Configuration file; flags and --set go before its values.
    #[arg(value_name = "RECIPE.toml")]
    recipe: Option<PathBuf>,
    /// Data set.
    #[arg(long, value_name = "D")]
    dataset: Option<String>,
    /// Preset (cnn3-tiny, cnn3, cnn5, cnn5-l, cnn7, mlp) or a .toml/.json network description.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Perturbation radius ε, a number or a fraction such as 8/255.
    #[arg(long, value_name = "E", value_parser = values::radius, allow_hyphen_values = true)]
    eps: Option<f64>,
    /// Loss: standard, ibp, crown-ibp, deeppoly, crown-meet-ibp or crown-skip-ibp.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Gradient estimator: grad, rgs or pgpe.
    #[arg(long, value_name = "S")]
    smoothing: Option<String>,
    /// Standard deviation σ of the smoothing noise.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    sigma: Option<f64>,
    /// Evaluations per step: losses (pgpe, even) or gradients (rgs).
    #[arg(long, value_name = "N")]
    population: Option<u64>,
    /// Passes over the training set.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Samples per step.
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// Learning rate.
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Train on the first N samples only.
    #[arg(long, value_name = "N")]
    limit_train: Option<u64>,
    /// Any configuration key, such as warmup.end=10; may be repeated.
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Run folder [default: runs/DATASET-MODEL-METHOD-SMOOTHING].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in the folder where it was interrupted.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    folder: DataDir,
    /// Engine.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let config = options.config(context.seed)?;
    let folder = options.out.clone().unwrap_or_else(|| default_folder(&config));
    let run =
        Run { config: &config, folder: &folder, resume: options.resume, data: &options.folder, engine: options.engine };
    let outcome = run.train(context)?;
    context.print(&document(&outcome, &folder), &text(&outcome, &config, &folder))
}

impl Options {
    /// The recipe (or, when a run is resumed, its own configuration) with the flags.
    fn config(&self, seed: Option<u64>) -> anyhow::Result<Config> {
        if let (true, Some(out)) = (self.resume, &self.out) {
            RunFolder::check_begun(out)?;
        }
        let base = match (&self.recipe, &self.out) {
            (Some(recipe), _) => Some(recipe.clone()),
            (None, Some(out)) if self.resume => Some(out.join(CONFIG_FILE)).filter(|path| path.is_file()),
            _ => None,
        };
        let read = |overrides: &[String]| match &base {
            Some(path) => Config::read(path, overrides),
            None => Config::parse("", "(command line)", overrides),
        };
        let mut overrides = self.overrides(seed);
        if let Some(population) = self.population {
            let rgs = read(&overrides)?.smoothing.kind == SmoothingKind::Rgs;
            overrides.insert(0, format!("smoothing.{}={population}", if rgs { "samples" } else { "population" }));
        }
        Ok(read(&overrides)?)
    }

    /// The flags as `key=value`, then those of --set, which go before them.
    fn overrides(&self, seed: Option<u64>) -> Vec<String> {
        let quoted = |text: &Option<String>| text.as_ref().map(|text| Value::from(text.as_str()).to_string());
        // Debug form keeps a decimal point, without which TOML would read an integer.
        let number = |value: Option<f64>| value.map(|value| format!("{value:?}"));
        let integer = |value: Option<u64>| value.map(|value| value.to_string());
        let flags = [
            ("seed", integer(seed)),
            ("dataset", quoted(&self.dataset)),
            ("model", quoted(&self.model)),
            ("eps", number(self.eps)),
            ("method.name", quoted(&self.method)),
            ("smoothing.kind", quoted(&self.smoothing)),
            ("smoothing.sigma", number(self.sigma)),
            ("train.epochs", integer(self.epochs)),
            ("train.batch", integer(self.batch)),
            ("train.lr", number(self.lr)),
            ("limit_train", integer(self.limit_train)),
        ];
        let given = flags.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        given.chain(self.set.iter().cloned()).collect()
    }
}

/// A training run as the command line describes it.
pub struct Run<'a> {
    /// Configuration.
    pub config: &'a Config,
    /// Run folder.
    pub folder: &'a Path,
    /// Go on where the folder's run stopped.
    pub resume: bool,
    /// Where data sets lie.
    pub data: &'a DataDir,
    /// Engine.
    pub engine: EngineChoice,
}

impl Run<'_> {
    /// Trains, and writes the network as ONNX beside the run's other files.
    pub fn train(&self, context: &Context) -> anyhow::Result<Outcome> {
        if self.resume {
            RunFolder::check_begun(self.folder)?;
        }
        let engine = f32::engine(self.engine)?;
        let load = |split| tightrope_data::load(&self.config.dataset, split, self.data.data_dir.as_deref());
        let (train, test) = (load(Split::Train)?, load(Split::Test)?);
        let job = Job::new(self.config, &*engine, &train, Some(&test))?;
        let command: Vec<String> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let mut folder = match self.resume {
            true => RunFolder::resume(self.folder, &command)?,
            false => RunFolder::create(self.folder, &command)?,
        };
        if self.resume && !self.folder.join(CHECKPOINT_FILE).is_file() {
            context.note(&format!(
                "{}: the run was stopped before its first checkpoint; it begins from the start",
                self.folder.display()
            ));
        }
        let mut progress = Training::new(context, self.folder);
        let outcome = tightrope_train::train(&job, Some(&mut folder), &mut progress)?;
        progress.finish();
        let onnx = self.folder.join(ONNX_FILE);
        tightrope_onnx::export(&outcome.model, &onnx).context("the run is complete, but not its ONNX file")?;
        Ok(outcome)
    }
}

fn default_folder(config: &Config) -> PathBuf {
    let model = Path::new(&config.model).file_stem().and_then(|stem| stem.to_str()).unwrap_or("model");
    let name = format!("{}-{model}-{}-{}", config.dataset, config.method.name, config.smoothing.kind.name());
    Path::new("runs").join(name)
}

fn document(outcome: &Outcome, folder: &Path) -> Value {
    json!({
        "folder": folder.display().to_string(),
        "epochs": outcome.metrics.len(),
        "parameters": outcome.model.theta.len(),
        "last": outcome.metrics.last(),
    })
}

fn text(outcome: &Outcome, config: &Config, folder: &Path) -> String {
    let mut text = String::new();
    if let Some(test) = outcome.metrics.iter().rev().find_map(|epoch| epoch.test.as_ref()) {
        text.push_str(&format!(
            "{} test, {} samples: natural accuracy {}, certified by {} at ε = {}: {}\n",
            config.dataset,
            test.samples,
            values::percent(test.natural_accuracy),
            test.relaxation,
            test.eps,
            values::percent(test.certified_accuracy)
        ));
    }
    let place = folder.display();
    text.push_str(&format!(
        "run folder: {place}\nnext: tightrope certify {place} --dataset {} --eps {}",
        config.dataset, config.eps
    ));
    text
}
