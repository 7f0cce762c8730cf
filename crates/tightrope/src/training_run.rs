//! Training runs in one call.

use std::sync::Arc;

use tightrope_data::{Dataset, Split};
use tightrope_train::{Config, Job, Outcome, Silent};

use crate::{Error, default_engine};

/// A split of a known data set, from the user's data folder; `digits` is embedded.
///
/// # Errors
/// If the name is unknown or the files are not there; the message says how to get them.
pub fn dataset(name: &str, split: Split) -> Result<Dataset, Error> {
    Ok(tightrope_data::load(name, split, None)?)
}

/// Trains what `config` describes on its own data set, without a run folder; evaluations are on its validation split, if it
/// has one or keeps one, else on the test split.
///
/// # Errors
/// If the configuration is out of range, the data are not there, or the loss diverges.
///
/// ```
/// use tightrope::{Config, train};
///
/// let overrides = ["dataset=digits", "model=mlp", "limit_train=64", "train.epochs=1", "train.eval_limit=32"];
/// let outcome = train(&Config::parse("", "(inline)", &overrides.map(String::from))?)?;
/// assert_eq!(outcome.metrics.len(), 1);
/// # Ok::<(), tightrope::Error>(())
/// ```
pub fn train(config: &Config) -> Result<Outcome, Error> {
    let (train, evaluated) = config.load_splits(&config.data_options(None, &|_, _| ()))?;
    train_on(config, train, evaluated)
}

/// As [`train`], on data of the caller's.
///
/// # Errors
/// As [`train`], and if network and data do not fit each other.
pub fn train_on(config: &Config, train: Dataset, test: Option<Dataset>) -> Result<Outcome, Error> {
    let job = Job::new(config, default_engine()?, Arc::new(train), test.map(Arc::new))?;
    Ok(tightrope_train::train(&job, None, &mut Silent)?)
}
