//! What can stop a training run.

use std::path::{Path, PathBuf};

use tightrope_engine::EngineError;
use tightrope_network::{NetworkError, number_text};

/// Everything the train crate can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A configuration text is not TOML, or a value has the wrong type.
    #[error("configuration {origin}: {problem}")]
    ConfigText {
        /// File name, or where the text came from.
        origin: String,
        /// What is wrong, with the line where TOML gives one.
        problem: String,
    },
    /// A key that does not exist.
    #[error("configuration {origin}: unknown key `{key}`{}; `tightrope config` lists all", suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// File name, or where the key came from.
        origin: String,
        /// Dotted path of the key.
        key: String,
        /// The most similar key that exists.
        nearest: Option<String>,
    },
    /// A key of `[method]` that belongs to other methods than the chosen one.
    #[error(
        "configuration key `{key}`: method {method} does not take it, it is a key of {owners}{}",
        suggestion(.nearest.as_deref())
    )]
    ForeignKey {
        /// Dotted path of the key.
        key: String,
        /// The chosen method.
        method: &'static str,
        /// The methods that take the key.
        owners: String,
        /// The most similar key that the chosen method takes.
        nearest: Option<String>,
    },
    /// A value outside its range.
    #[error("configuration key `{key}` = {value}: {allowed}")]
    Value {
        /// Dotted path of the key.
        key: &'static str,
        /// The value given.
        value: String,
        /// What is allowed, and how to mend it.
        allowed: String,
    },
    /// There is no recipe of this name.
    #[error("no recipe is called `{name}`{nearest}; `tightrope recipe list` lists all")]
    Recipe {
        /// The name asked for.
        name: String,
        /// "; did you mean …?" or nothing.
        nearest: String,
    },
    /// The data cannot be trained on with this network.
    #[error("data set `{dataset}`: {problem}")]
    Data {
        /// Name of the data set.
        dataset: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// An engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A network or one of its files is not usable.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// An estimator was called with arguments it cannot work with.
    #[error("{estimator}: {problem}")]
    Smoothing {
        /// Name of the estimator.
        estimator: &'static str,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The loss or its gradient is no longer a number, or one beyond all sense.
    #[error(
        "training diverged: {what} is {number} at step {step} (epoch {epoch}). Likely cause: {cause}. {kept}; --resume would \
         end here again",
        number = number(.value),
        kept = kept(*.epoch)
    )]
    Diverged {
        /// "the loss" or "the gradient norm".
        what: &'static str,
        /// The value.
        value: f64,
        /// Optimiser step, from 0.
        step: u64,
        /// Epoch, from 1.
        epoch: usize,
        /// What brought it about, as far as the run shows, and what to change.
        cause: String,
    },
    /// A file or folder of the run could not be read or written.
    #[error("{path}: {problem}", path = .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong and how to mend it.
        problem: String,
    },
    /// The run folder belongs to another configuration, network or data set.
    #[error("{path}: cannot resume: `{key}` was {was} and is now {now}; give the value it had, or start anew with another --out", path = .path.display())]
    Mismatch {
        /// The run folder.
        path: PathBuf,
        /// What differs.
        key: String,
        /// Its value when the run began.
        was: String,
        /// Its value now.
        now: String,
    },
}

impl TrainError {
    pub(crate) fn file(path: &Path, problem: impl std::fmt::Display) -> Self {
        TrainError::File { path: path.into(), problem: problem.to_string() }
    }

    pub(crate) fn value(key: &'static str, value: impl std::fmt::Display, allowed: impl Into<String>) -> Self {
        TrainError::Value { key, value: value.to_string(), allowed: allowed.into() }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |key| format!("; did you mean `{key}`?"))
}

fn number(value: &f64) -> String {
    number_text(*value)
}

/// What a run that diverged in `epoch`, counted from 1, leaves to go on from.
fn kept(epoch: usize) -> &'static str {
    match epoch {
        ..=1 => "To go on, train anew with another value and another --out",
        _ => {
            "The last checkpoint is kept. To go on, train anew with another value and another --out, from the last epoch's \
             parameters by --init-from FOLDER if you like"
        }
    }
}
