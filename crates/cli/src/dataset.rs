//! `--dataset`, `--inputs`, `--data-dir` and `--limit`: the samples a command works on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use tightrope_data::{Dataset, Form, Options, Split};
use tightrope_network::Network;

use crate::classes;
use crate::context::Context;
use crate::origin::{Data, Origin};
use crate::progress::Reading;
use crate::tensors::{Arrays, Inputs};
use crate::values;

/// Where data sets are looked for.
#[derive(Clone, Debug, Args)]
pub struct DataDir {
    /// Folder of data sets: D/NAME, then D itself [default: $TIGHTROPE_DATA, else the user's cache].
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
}

/// Which samples.
#[derive(Clone, Debug, Args)]
pub struct SampleOptions {
    /// Data set whose test split is used [default: a run folder's own].
    #[arg(long, value_name = "D", conflicts_with = "inputs")]
    dataset: Option<String>,
    /// Which samples of the data; `validation`: the set's own, or those that the run kept by train.validation.
    #[arg(long, value_enum, default_value = "test", conflicts_with = "inputs")]
    split: SplitChoice,
    /// Use `x` [N, …input shape] with labels `y` [N] of this file instead.
    #[arg(long, value_name = "X.safetensors")]
    pub inputs: Option<PathBuf>,
    /// Only the first N samples [default: all].
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub folder: DataDir,
}

/// Splits that results are told on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SplitChoice {
    Test,
    Validation,
}

/// Labelled samples.
pub struct TestSamples {
    /// The samples, cut to the limit.
    pub set: Dataset,
    /// How many there are without the limit.
    pub all: usize,
    /// What they are called in texts.
    pub title: String,
}

impl TestSamples {
    /// How many of all samples the first `count` are, in words.
    pub fn portion(&self, count: usize) -> String {
        let all = self.all;
        if count < all { format!("first {count} of {all} samples") } else { format!("all {all} samples") }
    }
}

impl SampleOptions {
    /// As if only `--limit` and `--data-dir` were given: the first `limit` test samples of a run's own data.
    pub fn of_run(limit: usize, folder: DataDir) -> Self {
        SampleOptions { dataset: None, split: SplitChoice::Test, inputs: None, limit: Some(limit), folder }
    }

    /// Fails for a limit that leaves nothing; asked before anything is read.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.limit == Some(0) {
            bail!("--limit 0 leaves no samples; give at least 1 or leave it out");
        }
        Ok(())
    }

    /// The samples asked for, or those of the run that `origin` knows; checked against `network`.
    pub fn load(&self, origin: &mut Origin<'_>, network: &Network, context: &Context) -> anyhow::Result<TestSamples> {
        self.check()?;
        let of_run = self.inputs.is_none() && self.dataset.is_none();
        if self.split == SplitChoice::Validation
            && of_run
            && let Some((path, config)) = origin.kept_arrays()
        {
            let train = arrays(&path, network)?;
            let parts = train.parts(config.train.validation, config.seed);
            let set = train.part(Split::Validation, &parts.validation);
            return Ok(self.cut(set, format!("{} validation", path.display())));
        }
        let data = match (&self.inputs, &self.dataset) {
            (Some(path), _) => Data::Arrays(path.clone()),
            (None, Some(name)) => Data::Set(name.clone()),
            (None, None) => origin.data()?,
        };
        let (set, title) = match data {
            Data::Arrays(path) if self.split == SplitChoice::Validation => {
                bail!(
                    "--split validation: the run kept no part of its training arrays; train with --set \
                     train.validation=0.1, or give the samples of {} by --inputs",
                    path.display()
                )
            }
            Data::Arrays(path) => (arrays(&path, network)?, path.display().to_string()),
            Data::Set(name) => {
                let set = self.read(&name, origin, context)?;
                classes::check(&set, origin, self.folder.data_dir.as_deref(), context)?;
                check(&set, network)?;
                tell(context, &set, self.folder.data_dir.as_deref());
                let title = format!("{name} {}{}", set.split, remark(&set));
                (set, title)
            }
        };
        Ok(self.cut(set, title))
    }

    /// The samples, called `title`, as far as the limit goes.
    fn cut(&self, set: Dataset, title: String) -> TestSamples {
        let all = set.len();
        TestSamples { set: set.limit(self.limit.unwrap_or(all)), all, title }
    }

    /// The split asked for of data set `name`, read as the run reads it.
    fn read(&self, name: &str, origin: &Origin<'_>, context: &Context) -> anyhow::Result<Dataset> {
        let reading = Reading::new(context, name);
        let progress = |done, all| reading.tell(done, all);
        let dir = self.folder.data_dir.as_deref();
        let run = origin.run_on(name);
        let options = match run {
            Some(config) => config.data_options(dir, &progress),
            None => Options { dir, progress: &progress, ..Options::default() },
        };
        if self.split == SplitChoice::Test {
            return Ok(tightrope_data::load_with(name, Split::Test, &options)?);
        }
        if tightrope_data::has_validation(name, dir)? {
            return Ok(tightrope_data::load_with(name, Split::Validation, &options)?);
        }
        let Some(config) = run.filter(|config| config.train.validation > 0.0) else {
            bail!(
                "--split validation: `{name}` has no validation split of its own, and this model is of no run on it that \
                 kept one; train with --set train.validation=0.1, or leave --split out"
            );
        };
        let train = tightrope_data::load_with(name, Split::Train, &options)?;
        let parts = train.parts(config.train.validation, config.seed);
        Ok(train.part(Split::Validation, &parts.validation))
    }
}

fn check(set: &Dataset, network: &Network) -> anyhow::Result<()> {
    if set.image_len() != network.input_len() || set.classes != network.output_len() {
        bail!(
            "data set `{}` has images {:?} and {} classes, but the model reads {:?} and has {} logits; \
             give the data set the model was trained on",
            set.name,
            set.shape,
            set.classes,
            network.input_shape(),
            network.output_len()
        );
    }
    Ok(())
}

/// Says where `set` comes from, if not from its own files; `dir` as in [`DataDir`].
pub fn tell(context: &Context, set: &Dataset, dir: Option<&Path>) {
    let place = tightrope_data::info(&set.name).and_then(|info| info.place(set.split, dir));
    let place = place.ok().flatten().map_or_else(String::new, |place| format!(" {}", place.folder.display()));
    let classes = set.class_names.as_ref().map_or(0, Vec::len);
    match set.form {
        Form::StandIn => context
            .note(&format!("{}: read from the image folder{place}, which stands in for the published files", set.name)),
        Form::Folder => context.note(&format!("{}: the image folder{place}, {classes} classes", set.name)),
        Form::Embedded | Form::Files | Form::Arrays => {}
    }
}

/// What must be said beside a figure on `set`.
fn remark(set: &Dataset) -> &'static str {
    match set.form {
        Form::StandIn => " (image folder in place of the published files)",
        Form::Embedded | Form::Files | Form::Folder | Form::Arrays => "",
    }
}

/// The arrays in the file `path` as test samples of `network`.
fn arrays(path: &Path, network: &Network) -> anyhow::Result<Dataset> {
    let Inputs { x, y } = Inputs::<f32>::read(path, network)?;
    let shape = image_shape(network.input_shape());
    Ok(Dataset::own(&file_name(path), Split::Test, shape, network.output_len(), x, y))
}

/// Training and test samples from files of arrays; the classes are those that occur in either.
pub fn own_splits(train: &Path, test: Option<&Path>) -> anyhow::Result<(Dataset, Option<Dataset>)> {
    let read = |path: &Path| Arrays::<f32>::read(path);
    let (train_arrays, test_arrays) = (read(train)?, test.map(read).transpose()?);
    if let (Some(test), Some(other)) = (test, test_arrays.as_ref().filter(|other| other.shape != train_arrays.shape)) {
        bail!(
            "{}: samples have shape {:?}, but those of {} have {:?}; give both the same",
            test.display(),
            other.shape,
            train.display(),
            train_arrays.shape
        );
    }
    let labels = |arrays: &Arrays<f32>, path: &Path| -> anyhow::Result<Vec<usize>> {
        let label = |(i, &y): (usize, &i64)| {
            usize::try_from(y).ok().filter(|&label| label < MOST_CLASSES).with_context(|| {
                format!("{}, tensor `y`: sample {i} has label {y}; number the classes from 0", path.display())
            })
        };
        arrays.y.iter().enumerate().map(label).collect()
    };
    let train_labels = labels(&train_arrays, train)?;
    let test_labels = match (&test_arrays, test) {
        (Some(arrays), Some(path)) => Some(labels(arrays, path)?),
        _ => None,
    };
    let classes = train_labels.iter().chain(test_labels.iter().flatten()).max().map_or(0, |&largest| largest + 1);
    if classes < 2 {
        bail!("{}, tensor `y`: all labels are 0; a classifier needs at least two classes", train.display());
    }
    let shape = image_shape(&train_arrays.shape);
    let own =
        |path: &Path, split, arrays: Arrays<f32>, y| Dataset::own(&file_name(path), split, shape, classes, arrays.x, y);
    let test = match (test, test_arrays, test_labels) {
        (Some(path), Some(arrays), Some(y)) => Some(own(path, Split::Test, arrays, y)),
        _ => None,
    };
    Ok((own(train, Split::Train, train_arrays, train_labels), test))
}

/// More would be a mistake: the network gets a logit for each.
const MOST_CLASSES: usize = 1 << 20;

/// What samples from the file `path` are called.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Channels, height, width; a flat vector is a row, and further axes go into the height.
fn image_shape(shape: &[usize]) -> [usize; 3] {
    match *shape {
        [channels, height, width] => [channels, height, width],
        [height, width] => [1, height, width],
        _ => [1, 1, shape.iter().product()],
    }
}
