//! What attacks, the cascade and its log can refuse.

use std::path::PathBuf;

use tightrope_attack::AttackError;
use tightrope_engine::EngineError;

use crate::cascade::log::Difference;

/// Everything the verify crate can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The engine refused a call.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A setting that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The network has a layer of a kind that complete verification and α-CROWN do not cover.
    #[error("layer `{layer}`: complete verification and alpha-crown do not cover layers of kind `{kind}`")]
    Layer {
        /// The layer's name.
        layer: String,
        /// Its kind.
        kind: &'static str,
    },
    /// A file could not be read or written.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong and how to mend it.
        problem: String,
    },
    /// A line of the log is no record.
    #[error("{path}, line {line}: {problem}; move the file away, or certify anew with --overwrite", path = path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A record of the log is not about the data and the model at hand.
    #[error(
        "{path}: the record of sample {index} says {logged}, but it is {now}; the log is damaged or was made from other \
         data: move it away, or certify anew with --overwrite",
        path = path.display()
    )]
    Record {
        /// The log.
        path: PathBuf,
        /// Index of the sample.
        index: u64,
        /// What the record says.
        logged: String,
        /// What the data and the model say.
        now: String,
    },
    /// The observer asked the cascade to stop; what was decided is in the log.
    #[error("interrupted")]
    Interrupted,
    /// The log belongs to other settings.
    #[error(
        "{path} was made with other settings ({differences}); use the old settings, replace it by --overwrite, or write elsewhere by --out",
        path = path.display(),
        differences = told(differences)
    )]
    OtherSettings {
        /// The log.
        path: PathBuf,
        /// What differs; never empty.
        differences: Vec<Difference>,
    },
}

/// The cascade refuses what its attack refuses, for the same reason.
impl From<AttackError> for VerifyError {
    fn from(error: AttackError) -> Self {
        match error {
            AttackError::Engine(error) => VerifyError::Engine(error),
            AttackError::Usage(problem) => VerifyError::Usage(problem),
        }
    }
}

impl VerifyError {
    pub(crate) fn file(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        VerifyError::File { path: path.into(), problem: problem.to_string() }
    }
}

/// The first few of what differs.
fn told(differences: &[Difference]) -> String {
    const FEW: usize = 12;
    let mut text = differences.iter().take(FEW).map(Difference::to_string).collect::<Vec<_>>().join("; ");
    if differences.len() > FEW {
        text.push_str(&format!("; and {} more", differences.len() - FEW));
    }
    text
}
