//! What can be wrong with a network, its description or its files.

use std::path::PathBuf;

/// Everything the network crate can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A layer cannot follow its inputs.
    #[error("layer `{layer}`: {problem}")]
    Layer {
        /// Name of the layer.
        layer: String,
        /// What does not fit, and how to mend it.
        problem: String,
    },
    /// The network as a whole is not usable.
    #[error("network: {0}")]
    Network(String),
    /// A description (TOML or JSON) does not parse or does not make sense.
    #[error("network description {origin}: {problem}")]
    Description {
        /// File name or "(inline)".
        origin: String,
        /// What is wrong, with the line where the format gives one.
        problem: String,
    },
    /// No preset of that name.
    #[error(
        "unknown network `{name}`{}; presets: {known}, each with -bn and with :WIDTH, as in cnn5-bn:64; or give a \
         .toml/.json description",
        suggestion(.nearest.as_deref())
    )]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// The most similar name that exists.
        nearest: Option<String>,
        /// Comma-separated preset names.
        known: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong and how to mend it.
        problem: String,
    },
    /// A parameter or buffer is missing, has another shape or is not finite.
    #[error("{path}: parameter `{name}`: {problem}", path = path.display())]
    Parameter {
        /// The file.
        path: PathBuf,
        /// The parameter's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl NetworkError {
    pub(crate) fn layer(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        NetworkError::Layer { layer: layer.into(), problem: problem.into() }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        NetworkError::File { path: path.into(), problem: problem.to_string() }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
