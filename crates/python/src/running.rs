//! Work without the interpreter's lock, which Ctrl-C interrupts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::errors;

/// How often a waiting thread looks for a signal.
const POLL: Duration = Duration::from_millis(20);
/// How long work that was asked to stop is waited for; after it the work ends by itself, unheard.
const GRACE: Duration = Duration::from_millis(100);

/// What work asks whether it shall go on.
pub type Stop = Arc<AtomicBool>;

/// Runs a computation that cannot be stopped on a thread of the engines' pool, whose buffers stay warm. After Ctrl-C it
/// goes on unheard to its end, so it owns all that it reads.
pub fn in_pool<R: Send + 'static>(py: Python<'_>, work: impl FnOnce() -> R + Send + 'static) -> PyResult<R> {
    let (sender, receiver) = sync_channel(1);
    rayon::spawn(move || {
        // Nobody listens any more after Ctrl-C.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    });
    wait(py, receiver, None)
}

/// Runs a long job on a thread of its own; `work` looks at the flag and ends soon after it is set.
pub fn job<R: Send + 'static>(py: Python<'_>, work: impl FnOnce(&Stop) -> R + Send + 'static) -> PyResult<R> {
    let (sender, receiver) = sync_channel(1);
    let stop = Stop::default();
    let seen = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = sender.send(catch_unwind(AssertUnwindSafe(|| work(&seen))));
    });
    wait(py, receiver, Some(&stop))
}

fn wait<R: Send>(py: Python<'_>, mut receiver: Receiver<std::thread::Result<R>>, stop: Option<&Stop>) -> PyResult<R> {
    loop {
        let (back, result) = py.detach(move || {
            let result = receiver.recv_timeout(POLL);
            (receiver, result)
        });
        receiver = back;
        match result {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                let message =
                    "internal error, told above: this is a defect of tightrope, not of your input".to_string();
                return Err(errors::named(py, "TightropeError", message));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(signal) = py.check_signals() {
                    if let Some(stop) = stop {
                        stop.store(true, Ordering::Relaxed);
                        py.detach(move || {
                            let until = Instant::now() + GRACE;
                            let _ = receiver.recv_timeout(until.saturating_duration_since(Instant::now()));
                        });
                    }
                    return Err(signal);
                }
            }
        }
    }
}
