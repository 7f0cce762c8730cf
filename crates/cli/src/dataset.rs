//! `--dataset`, `--data-dir` and `--limit`: the test samples a command works on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use tightrope_data::{Dataset, Split};
use tightrope_network::Network;
use tightrope_train::Config;

/// Where data sets are looked for.
#[derive(Clone, Debug, Args)]
pub struct DataDir {
    /// Folder of data sets: D/NAME, then D itself [default: $TIGHTROPE_DATA, else the user's cache].
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
}

/// The test split of data set `name`, cut to `limit` samples, checked against `network`; also the size of the whole split.
pub fn test_split(
    name: &str,
    folder: &DataDir,
    limit: Option<usize>,
    network: &Network,
) -> anyhow::Result<(Dataset, usize)> {
    let set = tightrope_data::load(name, Split::Test, folder.data_dir.as_deref())?;
    if set.image_len() != network.input_len() || set.classes != network.output_len() {
        bail!(
            "data set `{name}` has images {:?} and {} classes, but the model reads {:?} and has {} logits; \
             give the data set the model was trained on",
            set.shape,
            set.classes,
            network.input_shape(),
            network.output_len()
        );
    }
    if limit == Some(0) {
        bail!("--limit 0 leaves no samples; give at least 1 or leave it out");
    }
    let all = set.len();
    Ok((set.limit(limit.unwrap_or(all)), all))
}

/// The data set asked for, or the one a run folder was trained on.
pub fn name(asked: Option<&str>, model: &Path) -> anyhow::Result<String> {
    match (asked, run_config(model)?) {
        (Some(name), _) => Ok(name.into()),
        (None, Some(config)) => Ok(config.dataset),
        (None, None) => bail!("{}: is no run folder, so --dataset D is needed", model.display()),
    }
}

/// The radius asked for, or the one a run folder was trained to certify.
pub fn epsilon(asked: Option<f64>, model: &Path) -> anyhow::Result<f64> {
    match (asked, run_config(model)?) {
        (Some(epsilon), _) => Ok(epsilon),
        (None, Some(config)) => Ok(config.eps),
        (None, None) => bail!("{}: is no run folder, so --eps E is needed", model.display()),
    }
}

/// The configuration of a run folder; none for other models.
fn run_config(model: &Path) -> anyhow::Result<Option<Config>> {
    let path = model.join("config.toml");
    if !path.is_file() {
        return Ok(None);
    }
    Config::read(&path, &[]).map(Some).context("the run folder's configuration cannot be used")
}
