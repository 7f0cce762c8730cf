//! Finds the reference data that tests compare with, in `$TIGHTROPE_SHARED` or else in `../shared` beside the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file or folder of the reference data; `None`, said on stderr, where it is absent.
///
/// # Panics
/// Where it is absent and `TIGHTROPE_REQUIRE_SHARED=1`.
pub fn shared(part: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let path = std::env::var_os("TIGHTROPE_SHARED").map_or_else(|| PathBuf::from(default), PathBuf::from).join(part);
    if path.exists() {
        return Some(path);
    }
    let message = format!("{} is absent; set TIGHTROPE_SHARED to the folder of reference data", path.display());
    assert!(std::env::var_os("TIGHTROPE_REQUIRE_SHARED").is_none_or(|value| value != "1"), "{message}");
    eprintln!("SKIPPED: {message}");
    None
}

/// The instances of VNN-COMP 2021 (`acasxu/`, `mnistfc/`, `oval21/`), unpacked into a folder of their own; absent as [`shared`].
///
/// # Panics
/// If they cannot be unpacked.
pub fn vnncomp() -> Option<TempDir> {
    let archive = shared("vnncomp/vnncomp2021-dev.tar.xz")?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    unpack(&archive, folder.path());
    Some(folder)
}

fn unpack(archive: &Path, folder: &Path) {
    let status = Command::new("tar").arg("xJf").arg(archive).arg("-C").arg(folder).status();
    assert!(status.expect("the tar command").success(), "unpacking {}", archive.display());
}
