//! `tightrope train`: from a recipe and flags to a run folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use tightrope_data::{Dataset, Split};
use tightrope_engine::{BoundRequest, Engine};
use tightrope_network::Network;
use tightrope_train::{
    CHECKPOINT_FILE, CONFIG_FILE, Config, Initial, Job, Outcome, RunFolder, SmoothingKind, TrainError,
};

use crate::commands::certify::Begin;
use crate::commands::export::without_norms;
use crate::context::Context;
use crate::dataset::{self, DataDir};
use crate::engines::{self, EngineChoice, Precision};
use crate::interruption::Interruption;
use crate::origin::Origin;
use crate::progress::{Reading, Training};
use crate::{classes, memory, shell, values};

/// Name of the exported network in a run folder.
const ONNX_FILE: &str = "model.onnx";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tightrope train --dataset mnist --model cnn3 --eps 0.1 --method ibp --epochs 20 --out runs/mnist\n  \
                        tightrope train recipe.toml --set train.lr=1e-3 --smoothing rgs --sigma 5e-4\n  \
                        tightrope train --inputs train.safetensors --test-inputs test.safetensors --model mlp\n  \
                        tightrope train --init-from runs/mnist --eps 0.2 --out runs/wider\n  \
                        tightrope train --out runs/mnist --resume\n\n\
                        `tightrope config` explains every key of --set and of recipes, with its default.\n\n\
                        Exit codes: 0 trained; 4 error; 130 or 143 ended by Ctrl-C or SIGTERM after a checkpoint."
)]
pub struct Options {
    /// Configuration file; flags and --set go before its values.
    #[arg(value_name = "RECIPE.toml")]
    recipe: Option<PathBuf>,
    #[arg(long, value_name = "D", help = values::key_help("dataset"))]
    dataset: Option<String>,
    /// Train on `x` [N, …shape] with labels `y` [N] of this file instead of a data set.
    #[arg(long, value_name = "X.safetensors", conflicts_with = "dataset")]
    inputs: Option<PathBuf>,
    /// Evaluate on such a file; with --inputs.
    #[arg(long, value_name = "X.safetensors")]
    test_inputs: Option<PathBuf>,
    #[arg(long, value_name = "M", help = values::key_help("model"))]
    model: Option<String>,
    /// Start from the parameters of this run folder, .onnx or .safetensors file, which has the network of --model.
    #[arg(long, value_name = "RUN|MODEL")]
    init_from: Option<PathBuf>,
    #[arg(long, value_name = "E", value_parser = values::radius, allow_hyphen_values = true, help = values::key_help("eps"))]
    eps: Option<f64>,
    #[arg(long, value_name = "METHOD", help = values::key_help("method.name"))]
    method: Option<String>,
    #[arg(long, value_name = "S", help = values::key_help("smoothing.kind"))]
    smoothing: Option<String>,
    #[arg(long, value_name = "S", help = values::key_help("smoothing.sigma"))]
    sigma: Option<f64>,
    /// Evaluations per step: losses (pgpe, even) or gradients (rgs) [default: 256 or 2].
    #[arg(long, value_name = "N", value_parser = values::count)]
    population: Option<usize>,
    #[arg(long, value_name = "N", value_parser = values::positive, help = values::key_help("train.epochs"))]
    epochs: Option<usize>,
    #[arg(long, value_name = "N", value_parser = values::positive, help = values::key_help("train.batch"))]
    batch: Option<usize>,
    #[arg(long, value_name = "R", help = values::key_help("train.lr"))]
    lr: Option<f64>,
    /// Train on the first N samples only [default: all].
    #[arg(long, value_name = "N", value_parser = values::count)]
    limit_train: Option<usize>,
    /// Any configuration key, such as warmup.end=10; may be repeated.
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Run folder [default: runs/DATASET-MODEL-METHOD-SMOOTHING].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in the folder where it was interrupted.
    #[arg(long)]
    resume: bool,
    /// Replace the run in the folder; files that are not a run's stay.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    #[command(flatten)]
    folder: DataDir,
    /// Engine.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let interruption = Interruption::watch()?;
    let config = options.config(context)?;
    let folder = options.out.clone().unwrap_or_else(|| default_folder(&config));
    let begin = match (options.resume, options.overwrite) {
        (true, _) => Begin::Resume,
        (_, true) => {
            let named = [&config.inputs, &config.test_inputs, &config.init_from, &config.model].map(Path::new);
            let read: Vec<&Path> = named.into_iter().chain(options.recipe.as_deref()).collect();
            tightrope::check_outside(&folder, &read)?;
            Begin::Overwrite
        }
        _ => Begin::Create,
    };
    let run = Run {
        config: &config,
        folder: &folder,
        begin,
        data: &options.folder,
        engine: options.engine,
        interruption: &interruption,
    };
    let outcome = run.train(context)?;
    memory::tell_peak(context);
    context.print(&document(&outcome, &folder), &text(&outcome, &run))
}

impl Options {
    /// The recipe (or, when a run is resumed, its own configuration) with the flags.
    fn config(&self, context: &Context) -> anyhow::Result<Config> {
        let (text, origin) = match (&self.recipe, &self.out) {
            (Some(recipe), _) => (Config::recipe(recipe)?, recipe.clone()),
            (None, Some(out)) if self.resume => {
                RunFolder::check_begun(out)?;
                match RunFolder::stored_config(out)? {
                    Some(stored) => stored,
                    None => (String::new(), "(command line)".into()),
                }
            }
            _ => (String::new(), "(command line)".into()),
        };
        let origin = origin.display().to_string();
        let read =
            |overrides: &[String]| Config::parse(&text, &origin, overrides).map_err(|error| self.with_flag(error));
        let mut overrides = self.overrides(context.seed)?;
        if let Some(population) = self.population {
            // What the flag stands for depends on the estimator, and whether other values fit on the flag.
            let kind = Config::parse_unresolved(&text, &origin, &overrides).map_err(|error| self.with_flag(error))?;
            let rgs = kind.smoothing.kind == SmoothingKind::Rgs;
            overrides.insert(0, format!("smoothing.{}={population}", if rgs { "samples" } else { "population" }));
        }
        let config = read(&overrides)?;
        let (end, epochs) = (config.warmup.end.unwrap_or(0.0), config.train.epochs as f64);
        if end > epochs {
            context.note(&format!(
                "warning: eps still rises when the run ends: warmup.end = {0} is beyond train.epochs = {1}, so the network \
                 is never trained at the full radius; set warmup.end to at most {1}",
                values::number(end),
                values::number(epochs)
            ));
        }
        if self.resume && self.recipe.is_none() {
            schedule_stays(&read(&[])?, &config, context);
        }
        Ok(config)
    }

    /// The error with the flag that was given, if it names the override that stands for one.
    fn with_flag(&self, error: TrainError) -> TrainError {
        let TrainError::ConfigText { origin, problem } = error else { return error };
        let own =
            |key: &str| self.set.iter().any(|text| text.split_once('=').is_some_and(|(set, _)| set.trim() == key));
        let flag = FLAGS.iter().find_map(|(key, flag)| {
            let value = origin.strip_prefix("--set ")?.strip_prefix(key)?.strip_prefix('=').filter(|_| !own(key))?;
            Some(format!("--{flag} {}", value.trim_matches('"')))
        });
        TrainError::ConfigText { origin: flag.unwrap_or(origin), problem }
    }

    /// The flags as `key=value`, then those of --set, which go before them.
    fn overrides(&self, seed: Option<u64>) -> anyhow::Result<Vec<String>> {
        let quoted = |text: &Option<String>| text.as_ref().map(|text| Value::from(text.as_str()).to_string());
        // Debug form keeps a decimal point, without which TOML would read an integer.
        let number = |value: Option<f64>| value.map(|value| format!("{value:?}"));
        let integer = |value: Option<usize>| value.map(|value| value.to_string());
        // Whole, so that the run can be resumed and certified from another folder.
        let path = |path: &Option<PathBuf>| -> anyhow::Result<Option<String>> {
            let Some(path) = path else { return Ok(None) };
            let whole = std::path::absolute(path).with_context(|| path.display().to_string())?;
            let text = whole.to_str().with_context(|| format!("{}: the path is no text; rename it", path.display()))?;
            Ok(Some(Value::from(text).to_string()))
        };
        let flags = [
            ("seed", seed.map(|seed| seed.to_string())),
            ("dataset", quoted(&self.dataset)),
            ("inputs", path(&self.inputs)?),
            ("test_inputs", path(&self.test_inputs)?),
            ("model", quoted(&self.model)),
            ("init_from", path(&self.init_from)?),
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
        Ok(given.chain(self.set.iter().cloned()).collect())
    }
}

/// Flags that take any text, and what they set.
const FLAGS: [(&str, &str); 4] =
    [("dataset", "dataset"), ("model", "model"), ("method.name", "method"), ("smoothing.kind", "smoothing")];

/// Says that schedules do not follow a run that is made longer or shorter: steps already done have used them.
fn schedule_stays(before: &Config, now: &Config, context: &Context) {
    if before.train.epochs == now.train.epochs {
        return;
    }
    let list: Vec<String> = now.train.milestones.iter().flatten().map(|&epoch| values::number(epoch)).collect();
    context.note(&format!(
        "{} instead of {}: train.milestones = [{}] and warmup.end = {} stay as the run began with them",
        values::counted(now.train.epochs, "epoch", "epochs"),
        before.train.epochs,
        list.join(", "),
        values::number(now.warmup.end.unwrap_or(now.warmup.start))
    ));
}

/// A training run as the command line describes it.
pub struct Run<'a> {
    /// Configuration.
    pub config: &'a Config,
    /// Run folder.
    pub folder: &'a Path,
    /// What is done with a run that is there already.
    pub begin: Begin,
    /// Where data sets lie.
    pub data: &'a DataDir,
    /// Engine.
    pub engine: EngineChoice,
    /// Ends the run after the step at hand.
    pub interruption: &'a Interruption,
}

impl Run<'_> {
    /// Trains, and writes the network as ONNX beside the run's other files.
    pub fn train(&self, context: &Context) -> anyhow::Result<Outcome> {
        if self.begin == Begin::Resume {
            RunFolder::check_begun(self.folder)?;
        }
        let engine: Arc<dyn Engine<f32>> = f32::engine(self.engine)?.into();
        let (train, test) = self.samples(context)?;
        let network = self.config.network_for(&train)?;
        let sets: Vec<&Dataset> = [Some(&train), test.as_ref()].into_iter().flatten().collect();
        memory::tell(context, &memory::training(&network, &*engine, self.config, &sets))?;
        let begun = self.begin == Begin::Resume && self.folder.join(CHECKPOINT_FILE).is_file();
        if begun {
            classes::check_own(&train, self.folder, self.data.data_dir.as_deref())?;
        }
        let initial = match &*self.config.init_from {
            from if !from.is_empty() && !begun => {
                let initial = start(Path::new(from), &network)?;
                // Other classes may be learnt on purpose; a model whose configuration is damaged still has its numbers.
                if let Ok(origin) = Origin::of(Path::new(from)) {
                    classes::tell(&train, &origin, context);
                }
                Some(initial)
            }
            _ => None,
        };
        let job =
            Job::with_network(self.config, network, initial, Arc::clone(&engine), Arc::new(train), test.map(Arc::new))?;
        let command: Vec<String> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let mut folder = match self.begin {
            Begin::Create => RunFolder::create(self.folder, &command)?,
            Begin::Resume => RunFolder::resume(self.folder, &command)?,
            Begin::Overwrite => RunFolder::overwrite(self.folder, &command)?,
        };
        let mut kernels = "no vector kernels";
        if self.engine != EngineChoice::Reference {
            kernels = tightrope_fused::Isa::detect()?.name();
            folder.set_instructions(kernels);
        }
        let (name, threads) = (engine.name(), rayon::current_num_threads());
        context.detail(&format!(
            "engine {name} ({kernels}), {}, command {}",
            values::counted(threads, "thread", "threads"),
            shell::this_command(&[], &[])
        ));
        engines::tell(context, &*engine, job.network(), &BoundRequest::lower(self.config.eval_relaxation()?));
        if self.begin == Begin::Resume && !begun {
            context.note(&format!(
                "{}: the run was stopped before its first checkpoint; it begins from the start",
                self.folder.display()
            ));
        }
        let mut progress = Training::new(context, self.folder, self.interruption);
        let outcome = tightrope_train::train(&job, Some(&mut folder), &mut progress)?;
        progress.finish();
        if !outcome.finished
            && let Some(interrupted) = self.interruption.ended(self.how_to_go_on())
        {
            return Err(interrupted.into());
        }
        let onnx = self.folder.join(ONNX_FILE);
        let folded = without_norms(&outcome.model)?;
        tightrope_onnx::export(&folded, &onnx).context("the run is complete, but not its ONNX file")?;
        Ok(outcome)
    }

    /// Training samples, and those of the evaluations unless they are taken from the former.
    fn samples(&self, context: &Context) -> anyhow::Result<(Dataset, Option<Dataset>)> {
        let (inputs, test) = (&self.config.inputs, &self.config.test_inputs);
        if !inputs.is_empty() {
            let test = (!test.is_empty()).then(|| Path::new(test));
            return dataset::own_splits(Path::new(inputs), test);
        }
        if !test.is_empty() {
            bail!("--test-inputs {test}: belongs to --inputs; a data set has a test split of its own");
        }
        let reading = Reading::new(context, &self.config.dataset);
        let progress = |done, all| reading.tell(done, all);
        let options = self.config.data_options(self.data.data_dir.as_deref(), &progress);
        let sets = self.config.load_splits(&options)?;
        dataset::tell(context, &sets.0, options.dir);
        Ok(sets)
    }

    fn how_to_go_on(&self) -> String {
        format!(
            "the checkpoint is written; go on with: tightrope train --out {} --resume{}",
            shell::path(self.folder),
            self.flags()
        )
    }

    /// The flags of this run that other commands on its folder need, too.
    fn flags(&self) -> String {
        let mut flags = String::new();
        if let Some(folder) = &self.data.data_dir
            && self.config.inputs.is_empty()
        {
            flags.push_str(&format!(" --data-dir {}", shell::path(folder)));
        }
        if self.engine == EngineChoice::Reference {
            flags.push_str(" --engine reference");
        }
        flags
    }
}

/// The numbers of the model at `from`, which must be those of `network`.
fn start(from: &Path, network: &Network) -> anyhow::Result<Initial> {
    let model = tightrope::load_trainable(from).context("--init-from")?;
    let shapes = |network: &Network| network.parameters().iter().map(|info| info.shape.clone()).collect::<Vec<_>>();
    let statistics = |network: &Network| network.buffers().iter().map(|info| info.shape.clone()).collect::<Vec<_>>();
    let (theirs, ours) = (shapes(&model.network), shapes(network));
    if theirs == ours && statistics(&model.network) == statistics(network) {
        return Ok(Initial { theta: model.theta, buffers: model.buffers });
    }
    let known = Config::read(&from.join(CONFIG_FILE), &[]).ok();
    let known = known.map_or_else(String::new, |config| format!(" (it was trained with --model {})", config.model));
    let place = theirs.iter().zip(&ours).position(|(theirs, ours)| theirs != ours);
    let difference = match place {
        Some(i) => format!("parameter {i} has shape {:?} there and {:?} here", theirs[i], ours[i]),
        None if theirs.len() == ours.len() => "the two have other batch norms".into(),
        None => format!("it has {} parameter tensors, this network has {}", theirs.len(), ours.len()),
    };
    bail!("--init-from {}: another network: {difference}; give the --model that it has{known}", from.display())
}

fn default_folder(config: &Config) -> PathBuf {
    // Not every file system has colons in names.
    let model =
        Path::new(&config.model).file_stem().and_then(|stem| stem.to_str()).unwrap_or("model").replace(':', "-");
    let name = format!("{}-{model}-{}-{}", config.data_name(), config.method.name, config.smoothing.kind.name());
    Path::new("runs").join(name)
}

fn document(outcome: &Outcome, folder: &Path) -> Value {
    json!({
        "folder": folder.display().to_string(),
        "epochs": outcome.metrics.len(),
        "parameters": outcome.model.theta.len(),
        "last": outcome.metrics.last(),
        "warning": outcome.warning,
    })
}

/// What evaluations on `split` look at: the data set, or the name of the file in its place.
fn evaluated(config: &Config, split: &str) -> String {
    // What is kept for validation is a part of the training samples.
    let file = if split == Split::Test.name() { &config.test_inputs } else { &config.inputs };
    if file.is_empty() { config.dataset.clone() } else { dataset::file_name(Path::new(file)) }
}

fn text(outcome: &Outcome, run: &Run<'_>) -> String {
    let mut text = String::new();
    if let Some(test) = outcome.metrics.iter().rev().find_map(|epoch| epoch.test.as_ref()) {
        text.push_str(&format!(
            "{} {}, {}: natural accuracy {}, certified by {} at ε = {}: {}\n",
            evaluated(run.config, &test.split),
            test.split,
            values::counted(test.samples, "sample", "samples"),
            values::percent(test.natural_accuracy),
            values::relaxation_title(&test.relaxation),
            values::number(test.eps),
            values::percent(test.certified_accuracy)
        ));
    }
    // Perturbation and data set are the run's own unless told otherwise; arrays to certify may be missing.
    let own =
        if run.config.inputs.is_empty() || !run.config.test_inputs.is_empty() { "" } else { " --inputs X.safetensors" };
    let place = run.folder.display();
    text.push_str(&format!(
        "run folder: {place}\nnext: tightrope certify {}{own}{}",
        shell::path(run.folder),
        run.flags()
    ));
    text
}
