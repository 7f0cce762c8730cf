//! Where data sets lie on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::dataset::Split;
use crate::error::DataError;
use crate::registry::PublishedFile;

/// The folder of data sets when none is given: `TIGHTROPE_DATA`, else `tightrope` in the user's cache directory.
pub fn default_root() -> Option<PathBuf> {
    root_from(|name| std::env::var_os(name))
}

/// `dir` if given, else the default.
pub(crate) fn root(dir: Option<&Path>) -> Result<PathBuf, DataError> {
    dir.map(Path::to_path_buf).or_else(default_root).ok_or(DataError::NoFolder)
}

/// The rule of [`default_root`] over any environment; empty variables count as unset, and so does a relative
/// `XDG_CACHE_HOME` (as its specification asks).
fn root_from(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let variable = |name| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("TIGHTROPE_DATA") {
        return Some(folder);
    }
    let cache = variable("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(".cache")));
    cache.map(|folder| folder.join("tightrope"))
}

/// The folder under `root` that holds a file of `split`: `root`/NAME, then `root` itself.
pub(crate) fn find(name: &str, files: &[PublishedFile], split: Split, root: &Path) -> Result<PathBuf, DataError> {
    let folders = [root.join(name), root.to_path_buf()];
    let holds = |folder: &PathBuf| files.iter().any(|file| file.split == split && file.find(folder).is_some());
    match folders.iter().find(|folder| holds(folder)) {
        Some(folder) => Ok(folder.clone()),
        None => {
            Err(DataError::Missing { name: name.into(), looked: folders.iter().map(|path| remark(path)).collect() })
        }
    }
}

/// The folder, and whether it exists at all.
fn remark(folder: &Path) -> String {
    let path = folder.display();
    if folder.is_dir() { format!("{path} (holds none of its files)") } else { format!("{path} (no such folder)") }
}

#[cfg(test)]
mod tests {
    use super::root_from;
    use std::path::PathBuf;

    fn root(variables: &[(&str, &str)]) -> Option<PathBuf> {
        root_from(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_environment_gives_the_folder_in_order() {
        let all = [("TIGHTROPE_DATA", "/d"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")];
        assert_eq!(root(&all), Some("/d".into()));
        assert_eq!(root(&all[1..]), Some("/c/tightrope".into()));
        assert_eq!(root(&all[2..]), Some("/h/.cache/tightrope".into()));
        assert_eq!(root(&[]), None);
    }

    #[test]
    fn empty_and_relative_variables_are_passed_over() {
        assert_eq!(root(&[("TIGHTROPE_DATA", ""), ("HOME", "/h")]), Some("/h/.cache/tightrope".into()));
        assert_eq!(root(&[("XDG_CACHE_HOME", "c"), ("HOME", "/h")]), Some("/h/.cache/tightrope".into()));
    }
}
