//! What can be wrong with a certificate or its file.

use std::path::PathBuf;

/// Everything that makes a certificate no proof; each message says what was wrong, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read or written.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong and how to mend it.
        problem: String,
    },
    /// The bytes are no certificate of this version, or are damaged.
    #[error("no usable certificate: {0}")]
    Format(String),
    /// The certificate speaks of another network or property.
    #[error("the certificate belongs to another {what}; give the {what} it was made for")]
    Other {
        /// "network" or "property".
        what: &'static str,
    },
    /// The network cannot be used.
    #[error("network: {0}")]
    Network(String),
    /// The network has a layer of a kind for which there are no proofs.
    #[error("layer `{layer}`: proofs do not cover layers of kind `{kind}`")]
    Layer {
        /// The layer's name.
        layer: String,
        /// Its kind.
        kind: &'static str,
    },
    /// The time ran out.
    #[error("the time was out before the proof was checked to its end; allow more time")]
    Late,
    /// The proof does not prove the property.
    #[error("{place}: {problem}")]
    Proof {
        /// Case, conjunction and step.
        place: String,
        /// Why the proof fails there.
        problem: String,
    },
}

impl CertificateError {
    pub(crate) fn file(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        CertificateError::File { path: path.into(), problem: problem.to_string() }
    }
}
