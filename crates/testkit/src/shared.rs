//! Finds the reference data that tests compare with, in `$TIGHTROPE_SHARED` or else in `../shared` beside the workspace.

use std::path::PathBuf;
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
    unpacked("vnncomp/vnncomp2021-dev.tar.xz", "*")
}

/// Instances of VNN-COMP 2022 to 2024, a folder per category in `dev/`, unpacked as those of [`vnncomp`].
///
/// # Panics
/// If they cannot be unpacked.
pub fn vnncomp_later() -> Option<TempDir> {
    unpacked("vnncomp/vnncomp2022-2024-dev.tar.xz", "*")
}

/// The first hundred images of each class and split of CIFAR-10, as JPEG files in an image folder `cifar10/`.
///
/// # Panics
/// If they cannot be unpacked.
pub fn cifar10() -> Option<TempDir> {
    unpacked("data/cifar10/cifar10-jpeg.tar.xz", "cifar10/*/*/00*")
}

/// A slice of TinyImageNet, 5,000 training and 2,000 validation images, in the published layout `tiny-imagenet-200/`.
///
/// # Panics
/// If it cannot be unpacked.
pub fn tinyimagenet() -> Option<TempDir> {
    unpacked("data/tinyimagenet/tiny-imagenet-slice.tar.xz", "*")
}

/// What fits `pattern` of an archive of the reference data, in a folder of its own; absent as [`shared`].
fn unpacked(archive: &str, pattern: &str) -> Option<TempDir> {
    let archive = shared(archive)?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let status = Command::new("tar")
        .arg("xJf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path())
        .arg("--wildcards")
        .arg(pattern)
        .status();
    assert!(status.expect("the tar command").success(), "unpacking {}", archive.display());
    Some(folder)
}
