//! What sweeps can refuse.

use std::path::{Path, PathBuf};

use tightrope_network::screen_text;

/// Everything that a sweep can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// An option, or a line that was told, makes no sense.
    #[error("{text}: {problem}")]
    Usage {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be read or written, or the folder is taken.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong and how to mend it.
        problem: String,
    },
    /// The folder holds a sweep of other trials.
    #[error(
        "{path}: holds a sweep with other settings ({differences}); give the same ones, or choose another folder by --out",
        path = path.display()
    )]
    OtherSettings {
        /// The journal.
        path: PathBuf,
        /// Each setting with both values.
        differences: String,
    },
}

impl SweepError {
    pub(crate) fn usage(text: impl Into<String>, problem: impl Into<String>) -> Self {
        SweepError::Usage { text: screen_text(&text.into()), problem: screen_text(&problem.into()) }
    }

    pub(crate) fn file(path: &Path, problem: impl ToString) -> Self {
        SweepError::File { path: path.into(), problem: screen_text(&problem.to_string()) }
    }
}
