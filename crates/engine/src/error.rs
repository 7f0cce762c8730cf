//! What an engine can refuse.

/// Everything the engine crate can refuse; each message says what was wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An argument's length does not fit the network or the batch.
    #[error("{what} has {got} values, {needed} needed")]
    Length {
        /// Which argument.
        what: &'static str,
        /// Values given.
        got: usize,
        /// Values the network and batch need.
        needed: usize,
    },
    /// A label is not a class of the network.
    #[error("sample {sample} has label {label}, but the network has classes 0 to {last}", last = .classes - 1)]
    Label {
        /// Position in the batch.
        sample: usize,
        /// The label.
        label: usize,
        /// Number of logits.
        classes: usize,
    },
    /// A region is empty, infinite or NaN.
    #[error("region of sample {sample}: {problem}")]
    Region {
        /// Position in the batch.
        sample: usize,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// A call that makes no sense, such as a tape given to another engine.
    #[error("{0}")]
    Usage(String),
}

impl EngineError {
    /// Fails unless `got == needed`.
    ///
    /// # Errors
    /// [`EngineError::Length`], which names `what`.
    pub fn check_length(what: &'static str, got: usize, needed: usize) -> Result<(), EngineError> {
        if got == needed { Ok(()) } else { Err(EngineError::Length { what, got, needed }) }
    }
}
