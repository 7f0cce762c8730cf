//! Run folders among the folders that were named, and short names for them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{CERTIFY, CONFIG, MANIFEST, METRICS, Run};
use crate::ReportError;

/// Folders below a named one that are searched for runs.
const DEPTH: usize = 3;

/// Reads the runs in `folders`: each a run itself or a folder with runs up to three folders deeper, which then come by
/// name. A run that is found twice is read once.
///
/// # Errors
/// If a path is no folder, or there is no run in it.
pub fn read_runs(folders: &[PathBuf]) -> Result<Vec<Run>, ReportError> {
    if folders.is_empty() {
        return Err(ReportError::Nothing);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for folder in folders {
        let no_folder = |problem: String| ReportError::NoFolder { path: folder.clone(), problem };
        let metadata = std::fs::metadata(folder).map_err(|problem| no_folder(problem.to_string()))?;
        if !metadata.is_dir() {
            return Err(no_folder("is no folder".into()));
        }
        let mut here = Vec::new();
        collect(folder, DEPTH, &mut here);
        if here.is_empty() {
            return Err(ReportError::NoRun { path: folder.clone(), depth: DEPTH });
        }
        found.extend(here.into_iter().filter(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone()))));
    }
    let names = short_names(&found);
    Ok(found.iter().zip(names).map(|(path, name)| Run { name, ..Run::read(path) }).collect())
}

/// Puts `folder` on the list if it is a run, else the runs up to `depth` folders deeper.
fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if [CONFIG, METRICS, MANIFEST, CERTIFY].iter().any(|name| folder.join(name).is_file()) {
        found.push(folder.into());
        return;
    }
    if depth == 0 {
        return;
    }
    // A folder that may not be listed holds nothing to report.
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut inside: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    inside.sort();
    inside.iter().for_each(|path| collect(path, depth - 1, found));
}

/// The paths without the folders that all of them begin with; the last part always stays.
fn short_names(paths: &[PathBuf]) -> Vec<String> {
    let whole: Vec<PathBuf> = paths.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
    let parts: Vec<Vec<String>> = whole
        .iter()
        .map(|path| path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect())
        .collect();
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0);
    let mut common = 0;
    while common + 1 < shortest && parts.iter().all(|path| path[common] == parts[0][common]) {
        common += 1;
    }
    parts.iter().map(|path| path[common..].join("/")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{read_runs, short_names};

    #[test]
    fn names_are_what_tells_the_runs_apart() {
        let names = |paths: &[&str]| short_names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["/no/a/x", "/no/a/y"]), ["x", "y"]);
        assert_eq!(names(&["/no/a/x", "/no/b/x"]), ["a/x", "b/x"]);
        assert_eq!(names(&["/no/a"]), ["a"]);
        assert_eq!(names(&["/no/a", "/no/a/b"]), ["a", "a/b"]);
    }

    #[test]
    fn runs_are_found_up_to_three_folders_deep_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b/c/d", "a", "b/c/d/e", "b/x", "q/r/s/t"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["b/c/d/config.toml", "a/metrics.jsonl", "b/c/d/e/config.toml", "q/r/s/t/config.toml"] {
            std::fs::write(path(name), "").unwrap();
        }
        let names = |folders: &[PathBuf]| -> Vec<String> {
            read_runs(folders).unwrap().into_iter().map(|run| run.name).collect()
        };
        assert_eq!(names(&[folder.path().into()]), ["a", "b/c/d"]);
        assert_eq!(names(&[path("a"), path("b"), path("b/../a")]), ["a", "b/c/d"]);
        assert_eq!(names(&[path("q")]), ["t"]);
        let refused = |folders: &[PathBuf], part: &str| {
            let message = read_runs(folders).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        refused(&[], "no run is named");
        refused(&[path("b/x")], "there is no run in it");
        refused(&[path("gone")], "gone: ");
        refused(&[path("a/metrics.jsonl")], "is no folder");
    }
}
