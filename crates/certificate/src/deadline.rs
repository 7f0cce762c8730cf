//! The time until which a proof is checked.

use std::time::Instant;

/// A moment after which no more work begins; never, if there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline(pub Option<Instant>);

/// Why a step of a proof was not accepted.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It proves nothing.
    Wrong(String),
    /// Time was out.
    Late,
}

impl Deadline {
    /// Fails once the time is out.
    pub(crate) fn check(self) -> Result<(), Failure> {
        match self.0.is_some_and(|end| Instant::now() >= end) {
            true => Err(Failure::Late),
            false => Ok(()),
        }
    }
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Failure::Wrong(problem)
    }
}

impl From<&str> for Failure {
    fn from(problem: &str) -> Self {
        Failure::Wrong(problem.into())
    }
}
