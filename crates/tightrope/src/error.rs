//! What can go wrong, from whichever layer it comes.

use std::path::PathBuf;

/// An error of one of the crates below, or a model file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that holds no model.
    #[error("{}: {problem}; give a run folder, an .onnx file or a .safetensors file", path.display())]
    NoModel {
        /// The path.
        path: PathBuf,
        /// Why.
        problem: &'static str,
    },
    /// A file that was to be written, or that would not outlive what is written.
    #[error("{name}: {problem}")]
    Output {
        /// The file, behind the option that names it.
        name: String,
        /// Why, and what to do instead.
        problem: String,
    },
    /// A number of threads, or of processes, that makes no sense.
    #[error("{asked}: {problem}")]
    Threads {
        /// The number, behind the option, variable or argument that asks for it.
        asked: String,
        /// Why, and what to do instead.
        problem: String,
    },
    /// A model with numbers that cannot be used.
    #[error("{}: {problem}", path.display())]
    Numbers {
        /// The model's path.
        path: PathBuf,
        /// Which.
        problem: tightrope_network::NetworkError,
    },
    /// A network, a description or a model file.
    #[error(transparent)]
    Network(#[from] tightrope_network::NetworkError),
    /// An ONNX file.
    #[error(transparent)]
    Onnx(#[from] tightrope_onnx::OnnxError),
    /// An engine call.
    #[error(transparent)]
    Engine(#[from] tightrope_engine::EngineError),
    /// An attack.
    #[error(transparent)]
    Attack(#[from] tightrope_attack::AttackError),
    /// A data set.
    #[error(transparent)]
    Data(#[from] tightrope_data::DataError),
    /// A configuration or a training run.
    #[error(transparent)]
    Train(#[from] tightrope_train::TrainError),
    /// A property.
    #[error(transparent)]
    Vnnlib(#[from] tightrope_vnnlib::VnnlibError),
    /// A certification or verification.
    #[error(transparent)]
    Verify(#[from] tightrope_verify::VerifyError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] tightrope_certificate::CertificateError),
}
