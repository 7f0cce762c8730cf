//! What can be wrong with an ONNX file, or with a network that shall become one.

use tightrope_network::NetworkError;

use crate::import::SUPPORTED_OPERATORS;

/// A refusal, with the file it concerns.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct OnnxError {
    /// The file's name, or what the caller called the bytes.
    pub origin: String,
    /// What was wrong.
    pub problem: Problem,
}

/// What was wrong with the file, where in it, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file could not be read or written.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// The bytes are no ONNX model.
    #[error("not a whole ONNX file ({0}); export it again")]
    Damaged(#[from] prost::DecodeError),
    /// The model or its graph as a whole is not usable.
    #[error("{0}")]
    Model(String),
    /// An operator that is not read.
    #[error(
        "node `{node}`: operator {operator} is not supported; {advice}; supported are {}",
        SUPPORTED_OPERATORS.join(", ")
    )]
    Operator {
        /// The node's name, or that of its output where it has none.
        node: String,
        /// The operator, with its domain where that is not ONNX's own.
        operator: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// A supported operator in a form that is not.
    #[error("node `{node}` ({operator}): {problem}")]
    Node {
        /// The node's name, or that of its output where it has none.
        node: String,
        /// The operator.
        operator: String,
        /// What does not fit, and how to mend it.
        problem: String,
    },
    /// A stored tensor is not usable.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A layer cannot be written as ONNX.
    #[error("layer `{layer}`: {problem}")]
    Layer {
        /// The layer's name.
        layer: String,
        /// Why not, and how to mend it.
        problem: String,
    },
    /// The graph makes no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Problem {
    pub(crate) fn at(self, origin: impl Into<String>) -> OnnxError {
        OnnxError { origin: origin.into(), problem: self }
    }

    pub(crate) fn tensor(name: &str, problem: impl Into<String>) -> Self {
        Problem::Tensor { name: name.into(), problem: problem.into() }
    }
}
