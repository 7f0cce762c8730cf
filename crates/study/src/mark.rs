//! `study.json`: which study, in which profile, a folder holds.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tightrope_network::{quoted_text, remove_abandoned, temporary_owner, temporary_path};

use crate::StudyError;
use crate::study::Study;

/// Name of the file.
const MARK: &str = "study.json";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    study: String,
    profile: String,
}

impl Study {
    /// Whether `folder` holds this study in this profile already; nothing is written.
    ///
    /// # Errors
    /// If it holds another study or profile, or something else.
    pub fn is_in(&self, folder: &Path) -> Result<bool, StudyError> {
        // Before the mark is looked for: another process that has made the folder this study's in between has written the
        // mark before all else.
        let there = others(folder);
        if let Some(mark) = self.mark_of(folder)? {
            if self.is_marked(&mark) {
                return Ok(true);
            }
            let profile = if same(&mark.study, &self.name) { add_profile(&mark.profile) } else { String::new() };
            let problem = format!("holds {}; {profile}choose another folder by -o", told(&mark));
            return Err(StudyError::file(folder, problem));
        }
        if self.blocks.iter().any(|block| there.contains(&block.name)) {
            let problem = format!(
                "is missing, though the folder holds trials; if they are of {} in the profile {}, write {} into this file, else \
                 choose another folder by -o",
                self.name,
                self.profile,
                self.line()
            );
            return Err(StudyError::file(&folder.join(MARK), problem));
        }
        match there.is_empty() {
            true => Ok(false),
            false => Err(StudyError::file(folder, "holds files that are no study's; choose another folder by -o")),
        }
    }

    /// Makes `folder` this study's; false if it was so already, also by another process at this moment.
    ///
    /// # Errors
    /// As [`Study::is_in`], or if the folder or the file cannot be made.
    pub fn enter(&self, folder: &Path) -> Result<bool, StudyError> {
        if self.is_in(folder)? {
            return Ok(false);
        }
        let unmade = |e| StudyError::file(folder, format!("cannot make this folder: {e}"));
        std::fs::create_dir_all(folder).map_err(unmade)?;
        let path = folder.join(MARK);
        match create(&path, self.line().as_bytes()).map_err(|e| StudyError::file(&path, e))? {
            true => Ok(true),
            // Another process was first, with this study or with another.
            false => self.is_in(folder).map(|_| false),
        }
    }

    /// Fails unless `part` holds this study in this profile, as a folder to be merged does.
    pub(crate) fn check_part(&self, part: &Path) -> Result<(), StudyError> {
        let problem = match self.mark_of(part)? {
            Some(mark) if self.is_marked(&mark) => return Ok(()),
            Some(mark) => format!(
                "holds {}, and what is put together is {} in the profile {}; give parts of one study in one profile",
                told(&mark),
                self.name,
                self.profile
            ),
            None => format!("holds no part of the study {}; give folders that it has run in", self.name),
        };
        Err(StudyError::file(part, problem))
    }

    fn is_marked(&self, mark: &Mark) -> bool {
        same(&mark.study, &self.name) && mark.profile == self.profile
    }

    /// The mark of `folder`; none if there is none.
    fn mark_of(&self, folder: &Path) -> Result<Option<Mark>, StudyError> {
        let path = folder.join(MARK);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(StudyError::file(&path, e)),
        };
        let damaged = |_| {
            let problem = format!(
                "is damaged and does not say which study this is; if it is {} in the profile {}, write {} into this file, \
                 else choose another folder",
                self.name,
                self.profile,
                self.line()
            );
            StudyError::file(&path, problem)
        };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// The mark as it is written.
    fn line(&self) -> String {
        serde_json::json!({ "study": self.name, "profile": self.profile }).to_string()
    }
}

/// Whether two names are one study's. Files are known by their names without folders, since parts may have run elsewhere;
/// whether they say the same is seen from the journals.
fn same(first: &str, second: &str) -> bool {
    fn file(name: &str) -> Option<&std::ffi::OsStr> {
        let path = Path::new(name);
        path.file_name().filter(|_| path.extension().is_some_and(|extension| extension == "toml"))
    }
    first == second || file(first).is_some_and(|name| file(second) == Some(name))
}

fn told(mark: &Mark) -> String {
    format!("the study {:?} in the profile {:?}", quoted_text(&mark.study), quoted_text(&mark.profile))
}

fn add_profile(profile: &str) -> String {
    format!("add --profile {}, or ", quoted_text(profile))
}

/// Names of what is in `folder` besides the mark, whole or being written.
fn others(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != MARK && temporary_owner(name, MARK).is_none()).collect()
}

/// Writes a file whole unless there is one of its name; false if there is.
fn create(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    // Of a start that was killed while it wrote the file.
    remove_abandoned(path);
    let temporary = temporary_path(path);
    let made = (|| {
        let mut file = File::create(&temporary)?;
        // Marks the writer as alive; where there are no locks, the process number alone does.
        let _ = file.try_lock();
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename, a link replaces nothing.
        match std::fs::hard_link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
            // Some file systems have no links.
            Err(_) => std::fs::rename(&temporary, path).map(|()| true),
        }
    })();
    // It has the other name now, or is of no use.
    let _ = std::fs::remove_file(&temporary);
    made
}

#[cfg(test)]
mod tests {
    use super::{MARK, Study, create, same};
    use tightrope_network::temporary_path;

    #[test]
    fn a_folder_becomes_one_study_s_once() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let (rate, guide) = (Study::load("rate", "smoke").unwrap(), Study::load("guide", "smoke").unwrap());
        assert!(!rate.is_in(&out).unwrap() && !out.exists());
        assert_eq!([rate.enter(&out).unwrap(), rate.enter(&out).unwrap()], [true, false]);
        assert!(rate.is_in(&out).unwrap());
        let other = Study::load("rate", "laptop").unwrap().enter(&out).unwrap_err().to_string();
        assert!(other.contains("\"smoke\"; add --profile smoke, or choose"), "{other}");
        let other = guide.enter(&out).unwrap_err().to_string();
        assert!(other.contains("the study \"rate\"") && !other.contains("add --profile"), "{other}");
        // Whoever is second leaves the file of the first as it is.
        let path = out.join(MARK);
        let before = std::fs::read(&path).unwrap();
        assert!(!create(&path, b"other").unwrap());
        assert_eq!((std::fs::read(&path).unwrap(), out.read_dir().unwrap().count()), (before, 1));
    }

    #[test]
    fn a_mark_that_another_process_writes_at_this_moment_is_no_foreign_file() {
        let folder = tempfile::tempdir().unwrap();
        // This process stands for the other one, which is alive.
        std::fs::write(temporary_path(&folder.path().join(MARK)), "{").unwrap();
        let study = Study::load("rate", "smoke").unwrap();
        assert!(!study.is_in(folder.path()).unwrap());
        assert!(study.enter(folder.path()).unwrap());
    }

    #[test]
    fn files_are_one_study_wherever_they_lie() {
        assert!(same("a/mine.toml", "mine.toml") && same("rate", "rate"));
        assert!(!same("mine.toml", "yours.toml") && !same("a/rate", "rate") && !same("mine.toml", "mine"));
    }
}
