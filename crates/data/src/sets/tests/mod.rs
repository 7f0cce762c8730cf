//! Data sets from files made here: every form in which they come, and what is wrong with damaged ones.

mod binary;
mod folders;
mod gtsrb;

use std::path::Path;

use crate::{Split, load};

/// Writes a file and the folders above it.
pub(super) fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// The error of loading.
#[track_caller]
pub(super) fn message(name: &str, split: Split, root: &Path) -> String {
    load(name, split, Some(root)).unwrap_err().to_string()
}
