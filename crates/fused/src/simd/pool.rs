//! Free memory that calls leave behind for the next ones.

use std::sync::{Mutex, PoisonError};

/// Free values of one kind: at most as many as were ever in use at once. A value keeps the memory that it has grown to.
pub struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool(Mutex::default())
    }
}

impl<T> Pool<T> {
    /// Gives a value back.
    pub fn give(&self, item: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }
}

impl<T: Default> Pool<T> {
    /// A free value, in whatever state it was given back, or a new one.
    pub fn take(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Runs `work` with a value that goes back afterwards.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut item = self.take();
        let result = work(&mut item);
        self.give(item);
        result
    }
}
