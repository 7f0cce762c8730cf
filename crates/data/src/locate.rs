//! Where data sets lie on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::dataset::{Form, Split};
use crate::error::DataError;
use crate::images::image_folder;
use crate::registry::{DatasetInfo, NO_VALIDATION, Source};

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

/// Where a split lies, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder of the data set.
    pub folder: PathBuf,
    /// What lies there: files, or an image folder.
    pub form: Form,
}

/// The folder under `root` that holds something of `split`: `root`/NAME, then `root` itself; in each the set's own files
/// go before an image folder.
pub(crate) fn find(info: &DatasetInfo, split: Split, root: &Path) -> Result<Place, DataError> {
    let folders = [root.join(info.name), root.to_path_buf()];
    for folder in &folders {
        let own = match &info.source {
            Source::Embedded(_) | Source::Folder => false,
            Source::Files { holds, .. } => holds(folder, split),
        };
        if own {
            return Ok(Place { folder: folder.clone(), form: Form::Files });
        }
        if image_folder(folder, split).is_some() {
            let form = if matches!(info.source, Source::Folder) { Form::Folder } else { Form::StandIn };
            return Ok(Place { folder: folder.clone(), form });
        }
    }
    let get = if split == Split::Validation { NO_VALIDATION.into() } else { info.how_to_get() };
    let looked = folders.iter().map(|path| remark(path, split)).collect();
    Err(DataError::Missing { name: info.name.into(), looked, get })
}

/// The folder, and whether it exists at all; of an image folder, what it lacks of `split`.
fn remark(folder: &Path, split: Split) -> String {
    let has = |split| image_folder(folder, split).is_some();
    let why = match split {
        Split::Test if has(Split::Train) => "holds train, but neither test nor val",
        Split::Train if has(Split::Test) => "holds test images, but no train",
        _ if folder.is_dir() => "holds none of its files",
        _ => "no such folder",
    };
    format!("{} ({why})", folder.display())
}

#[cfg(test)]
mod tests {
    use super::{remark, root_from};
    use crate::Split;
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
    fn image_folders_without_a_split_are_told() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("train")).unwrap();
        assert!(remark(root.path(), Split::Test).ends_with("(holds train, but neither test nor val)"));
        std::fs::rename(root.path().join("train"), root.path().join("test")).unwrap();
        assert!(remark(root.path(), Split::Train).ends_with("(holds test images, but no train)"));
        assert!(remark(&root.path().join("train"), Split::Test).ends_with("(no such folder)"));
    }

    #[test]
    fn empty_and_relative_variables_are_passed_over() {
        assert_eq!(root(&[("TIGHTROPE_DATA", ""), ("HOME", "/h")]), Some("/h/.cache/tightrope".into()));
        assert_eq!(root(&[("XDG_CACHE_HOME", "c"), ("HOME", "/h")]), Some("/h/.cache/tightrope".into()));
    }
}
