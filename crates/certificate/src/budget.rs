//! How much memory a check may hold at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::deadline::Failure;

/// Most bytes of intervals at open tree nodes: 4 GB. What is refined along one path of a tree is open at a time.
const MOST: usize = 4 << 30;

/// The bytes that are held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

/// A share of a budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Takes `bytes`.
    ///
    /// # Errors
    /// If more than [`MOST`] would be held.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, Failure> {
        let held = Held { budget: self.clone(), bytes };
        match self.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > MOST {
            true => Err(format!(
                "more than {MOST} bytes of intervals are open at a time; check a proof with fewer refinements"
            )
            .into()),
            false => Ok(held),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, MOST};

    #[test]
    fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::default();
        let first = budget.hold(MOST / 2 + 1).unwrap();
        assert!(budget.hold(MOST / 2).is_err());
        drop(first);
        assert!(budget.hold(MOST).is_ok());
        assert!(budget.hold(MOST + 1).is_err());
        assert!(budget.hold(MOST).is_ok());
    }
}
