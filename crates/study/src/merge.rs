//! Parts of a study that ran in folders of their own, as one.

use std::path::{Path, PathBuf};

use crate::StudyError;
use crate::study::Study;

/// Copies journals and trials of `parts`, which ran with `--shard`, into `folder`; what is there already stays.
///
/// # Errors
/// If a part holds nothing of the study, or a file cannot be copied. Whether the parts belong together is seen when the
/// results are read: journals with other settings are refused.
pub fn merge(study: &Study, parts: &[PathBuf], folder: &Path) -> Result<(), StudyError> {
    for part in parts {
        let blocks = study.blocks.iter().filter(|block| part.join(&block.name).is_dir());
        let mut found = false;
        for block in blocks {
            found = true;
            copy(&part.join(&block.name), &folder.join(&block.name))?;
        }
        if !found {
            return Err(StudyError::file(part, format!("holds no block of the study {}", study.name)));
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), StudyError> {
    std::fs::create_dir_all(to).map_err(|e| StudyError::file(to, e))?;
    for entry in std::fs::read_dir(from).map_err(|e| StudyError::file(from, e))? {
        let entry = entry.map_err(|e| StudyError::file(from, e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target)?;
        } else if entry.file_name().to_string_lossy().starts_with("journal") && target.exists() {
            let read = |path: &Path| std::fs::read(path).map_err(|e| StudyError::file(path, e));
            if read(&source)? != read(&target)? {
                let problem =
                    format!("is another journal than {}; run parts with --shard i/n, each its own i", target.display());
                return Err(StudyError::file(&source, problem));
            }
        } else if !target.exists() {
            // A name of its own until it is whole.
            let mut temporary = target.as_os_str().to_owned();
            temporary.push(".tmp");
            std::fs::copy(&source, &temporary).map_err(|e| StudyError::file(&source, e))?;
            std::fs::rename(&temporary, &target).map_err(|e| StudyError::file(&target, e))?;
        }
    }
    Ok(())
}
