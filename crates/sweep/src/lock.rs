//! Files that are held locked by whoever works on what they stand for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::SweepError;

/// How long to wait for a file that is held: a process that was killed while it started another leaves its locks to that
/// one for a moment.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);
/// How often to look.
const POLL: Duration = Duration::from_millis(10);

/// The file that stands for something, made if it is not there.
pub(crate) fn open(path: &Path) -> Result<File, SweepError> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    open.map_err(|e| SweepError::file(path, e))
}

/// Holds `file` until it is closed, with others if `shared`; false if somebody else holds it for longer than `patience`.
pub(crate) fn hold(path: &Path, file: &File, shared: bool, patience: Duration) -> Result<bool, SweepError> {
    let start = Instant::now();
    loop {
        match if shared { file.try_lock_shared() } else { file.try_lock() } {
            Ok(()) => return Ok(true),
            // Some network file systems have no locks; there the user must take care.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(SweepError::file(path, error)),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => return Ok(false),
        }
    }
}
