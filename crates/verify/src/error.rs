//! What attacks, the cascade and its log can refuse.

use std::path::PathBuf;

use tightrope_engine::EngineError;

use crate::log::Difference;

/// Everything the verify crate can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The engine refused a call.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A setting that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong and how to mend it.
        problem: String,
    },
    /// A line of the log is no record.
    #[error("{path}, line {line}: {problem}; move the file away and certify again", path = path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The log belongs to other settings.
    #[error(
        "{path} was made with other settings ({differences}); use the old settings, leave out --resume, or write elsewhere",
        path = path.display(),
        differences = .differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
    )]
    OtherSettings {
        /// The log.
        path: PathBuf,
        /// What differs; never empty.
        differences: Vec<Difference>,
    },
}

impl VerifyError {
    pub(crate) fn file(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        VerifyError::File { path: path.into(), problem: problem.to_string() }
    }
}
