//! The typed exceptions of `tightrope.errors`, with the messages of the command.

use pyo3::prelude::*;
use pyo3::types::PyType;
use tightrope::training::TrainError;
use tightrope::verification::VerifyError;

/// The module that defines the exceptions.
const MODULE: &str = "tightrope.errors";

/// An error of any layer as the exception for its kind.
pub fn raise(py: Python<'_>, error: impl Into<tightrope::Error>) -> PyErr {
    let error = error.into();
    named(py, class(&error), error.to_string())
}

/// The exception `class` of [`MODULE`] with `message`.
pub fn named(py: Python<'_>, class: &str, message: String) -> PyErr {
    let found = py.import(MODULE).and_then(|module| module.getattr(class)?.cast_into::<PyType>().map_err(PyErr::from));
    match found {
        Ok(class) => PyErr::from_type(class, message),
        Err(error) => error,
    }
}

/// An argument that does not fit, with what is wrong and how to mend it.
pub fn input(py: Python<'_>, message: impl Into<String>) -> PyErr {
    named(py, "InputError", message.into())
}

fn class(error: &tightrope::Error) -> &'static str {
    use tightrope::Error;
    match error {
        Error::NoModel { .. } | Error::Numbers { .. } | Error::Network(_) | Error::Onnx(_) => "ModelError",
        Error::Engine(_) | Error::Attack(_) | Error::Output { .. } | Error::Threads { .. } => "InputError",
        Error::Data(_) => "DataError",
        Error::Train(error) => match error {
            TrainError::ConfigText { .. }
            | TrainError::UnknownKey { .. }
            | TrainError::ForeignKey { .. }
            | TrainError::Value { .. }
            | TrainError::Recipe { .. } => "ConfigError",
            TrainError::Data { .. } => "DataError",
            TrainError::Network(_) => "ModelError",
            TrainError::Engine(_) => "InputError",
            TrainError::Smoothing { .. }
            | TrainError::Diverged { .. }
            | TrainError::File { .. }
            | TrainError::Mismatch { .. } => "TrainingError",
        },
        Error::Vnnlib(_) => "PropertyError",
        Error::Verify(VerifyError::Engine(_)) => "InputError",
        Error::Verify(_) => "VerificationError",
        Error::Certificate(_) => "CertificateError",
    }
}
