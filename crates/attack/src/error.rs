//! What attacks can refuse.

use tightrope_engine::EngineError;

/// Everything an attack can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// The engine refused a call, or samples do not fit the network.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A setting that makes no sense.
    #[error("{0}")]
    Usage(String),
}
