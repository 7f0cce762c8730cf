//! Where image files lie: on disk, or in a zip archive that is read as a folder.

use std::path::{Path, PathBuf};

use super::folder;
use crate::error::DataError;
use crate::zip::Zip;

/// A place whose files have paths.
#[derive(Debug)]
pub(crate) enum Tree {
    Disk,
    Zip(Zip),
}

impl Tree {
    /// The content of the file at `path`.
    pub(crate) fn content(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match self {
            Tree::Disk => std::fs::read(path),
            Tree::Zip(zip) => zip.content(path),
        }
    }

    pub(crate) fn is_file(&self, path: &Path) -> bool {
        match self {
            Tree::Disk => path.is_file(),
            Tree::Zip(zip) => zip.is_file(path),
        }
    }

    /// Names of the class folders in `folder`.
    pub(crate) fn class_folders(&self, folder: &Path) -> Result<Vec<String>, DataError> {
        match self {
            Tree::Disk => folder::class_folders(folder),
            Tree::Zip(zip) => {
                let entries = zip.entries(folder);
                Ok(entries.iter().filter_map(|name| name.strip_suffix('/')).map(String::from).collect())
            }
        }
    }

    /// The images in a class folder, sorted by name; there must be some.
    pub(crate) fn class_images(&self, folder: &Path) -> Result<Vec<PathBuf>, DataError> {
        match self {
            Tree::Disk => folder::class_images(folder),
            Tree::Zip(zip) => {
                let paths: Vec<PathBuf> = zip.entries(folder).iter().map(|name| folder.join(name)).collect();
                folder::images_among(folder, paths)
            }
        }
    }
}
