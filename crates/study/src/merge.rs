//! Parts of a study that ran in folders of their own, as one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tightrope_sweep::Sweep;

use crate::StudyError;
use crate::study::Study;

/// Copies journals and trials of `parts`, which ran with `--shard`, into `folder`, which becomes the study's; what is there
/// already stays. Nothing is written before all parts are known to belong together.
///
/// # Errors
/// If a part or the folder is of another study, profile or definition, a part holds nothing of the study, two parts have
/// one journal between them, or a file cannot be copied.
pub fn merge(study: &Study, parts: &[PathBuf], folder: &Path) -> Result<(), StudyError> {
    study.is_in(folder)?;
    let mut copies = Vec::new();
    for part in parts {
        study.check_part(part)?;
        let blocks: Vec<_> = study.blocks.iter().filter(|block| part.join(&block.name).is_dir()).collect();
        if blocks.is_empty() {
            return Err(StudyError::file(part, format!("holds no block of the study {}", study.name)));
        }
        for block in blocks {
            let (from, to) = (part.join(&block.name), folder.join(&block.name));
            for place in [&from, &to] {
                Sweep::records(place, &block.plan())?;
            }
            list(&from, &to, &mut copies)?;
        }
    }
    check_journals(&copies)?;
    study.enter(folder)?;
    copies.iter().try_for_each(|(source, target)| copy(source, target))
}

/// Appends the files below `from` with the paths below `to` that they are copied to.
fn list(from: &Path, to: &Path, copies: &mut Vec<(PathBuf, PathBuf)>) -> Result<(), StudyError> {
    for entry in std::fs::read_dir(from).map_err(|e| StudyError::file(from, e))? {
        let entry = entry.map_err(|e| StudyError::file(from, e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            list(&source, &target, copies)?;
        } else {
            copies.push((source, target));
        }
    }
    Ok(())
}

/// Fails if two journals would be written to one path.
fn check_journals(copies: &[(PathBuf, PathBuf)]) -> Result<(), StudyError> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| StudyError::file(path, e));
    // What will be at each path, and where it comes from.
    let mut taken: BTreeMap<&Path, (&Path, Vec<u8>)> = BTreeMap::new();
    let is_journal = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal"));
    for (source, target) in copies.iter().filter(|(source, _)| is_journal(source)) {
        if target.exists() && !taken.contains_key(&**target) {
            taken.insert(target, (target, read(target)?));
        }
        let journal = read(source)?;
        match taken.get(&**target) {
            Some((first, there)) if *there != journal => {
                let problem =
                    format!("is another journal than {}; run parts with --shard i/n, each its own i", first.display());
                return Err(StudyError::file(source, problem));
            }
            Some(_) => {}
            None => {
                taken.insert(target, (source, journal));
            }
        }
    }
    Ok(())
}

fn copy(source: &Path, target: &Path) -> Result<(), StudyError> {
    if target.exists() {
        return Ok(());
    }
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(|e| StudyError::file(folder, e))?;
    }
    // A name of its own until it is whole.
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(".tmp");
    std::fs::copy(source, &temporary).map_err(|e| StudyError::file(source, e))?;
    std::fs::rename(&temporary, target).map_err(|e| StudyError::file(target, e))
}
