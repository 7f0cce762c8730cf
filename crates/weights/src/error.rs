//! What can be wrong with foreign weights.

use std::path::{Path, PathBuf};

/// Why weights cannot be taken; each message says what is wrong, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file cannot be read or is damaged.
    #[error("{path}: {problem}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// Tensors and network do not fit each other.
    #[error("the weights do not fit the network: {0}")]
    Fit(String),
    /// The network refuses the numbers.
    #[error(transparent)]
    Network(#[from] tightrope_network::NetworkError),
}

impl WeightsError {
    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        WeightsError::File { path: path.into(), problem: problem.into() }
    }
}
