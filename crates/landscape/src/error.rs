//! Why there is no landscape.

use tightrope_engine::EngineError;
use tightrope_train::TrainError;

/// Everything that the landscape crate can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum LandscapeError {
    /// An argument that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The observer asked to stop.
    #[error("stopped before the landscape was complete")]
    Stopped,
    /// A loss or a gradient cannot be evaluated.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// An engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
