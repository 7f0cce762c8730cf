//! What can go wrong with studies.

use std::path::{Path, PathBuf};

/// An error of a study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// No study of that name.
    #[error(
        "there is no study `{name}`{nearest}; `tightrope reproduce --list` shows all, and a file NAME.toml is read as one"
    )]
    Unknown {
        /// The name.
        name: String,
        /// A hint at the nearest.
        nearest: String,
    },
    /// A definition that is none.
    #[error("{name}: {problem}")]
    Definition {
        /// Name or path of the study.
        name: String,
        /// What is wrong, where, and how to mend it.
        problem: String,
    },
    /// A file or folder.
    #[error("{}: {problem}", path.display())]
    File {
        /// Path.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The trials' sweep.
    #[error(transparent)]
    Sweep(#[from] tightrope_sweep::SweepError),
}

impl StudyError {
    pub(crate) fn file(path: &Path, problem: impl std::fmt::Display) -> Self {
        StudyError::File { path: path.into(), problem: problem.to_string() }
    }

    pub(crate) fn definition(name: &str, problem: impl Into<String>) -> Self {
        StudyError::Definition { name: name.into(), problem: problem.into() }
    }
}
