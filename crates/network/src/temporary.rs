//! Names of files under construction, and removal of those whose process died.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a file that is to become `path` is written: beside it, named after it and this process.
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// The process that wrote the temporary file `name` of the file called `file`, if it is one.
pub fn temporary_owner(name: &str, file: &str) -> Option<u32> {
    let process = name.strip_prefix(file)?.strip_prefix('.')?.strip_suffix(".tmp")?;
    process.bytes().all(|b| b.is_ascii_digit()).then(|| process.parse().ok())?
}

/// Removes what processes that are gone left beside `path` while they wrote it.
///
/// A writer holds its temporary file locked, so that one which runs on another machine, or has the number of a process
/// that is gone here, keeps it. A leftover that cannot be removed is harmless and stays.
pub fn remove_abandoned(path: &Path) {
    let Some(file) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let owner = temporary_owner(&entry.file_name().to_string_lossy(), &file);
        if owner.is_some_and(|owner| is_abandoned(&entry.path(), owner)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(path: &Path, owner: u32) -> bool {
    let processes = Path::new("/proc");
    let gone = if processes.join("self").exists() {
        owner != std::process::id() && !runs(&processes.join(owner.to_string()))
    } else {
        // A file is locked right after it is made; a minute is enough for that.
        let age = path.metadata().and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
        owner != std::process::id() && age.is_some_and(|age| age > Duration::from_secs(60))
    };
    gone && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Whether the process with this folder in /proc runs. One that has ended and that nobody has waited for is still listed.
fn runs(process: &Path) -> bool {
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else { return process.exists() };
    // The state follows the program's name, which stands in parentheses and may hold anything.
    stat.rsplit(')').next().is_none_or(|rest| !rest.trim_start().starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::{remove_abandoned, temporary_owner, temporary_path};

    /// Within five seconds, what was left as `left` beside `path` is removed.
    #[cfg(target_os = "linux")]
    fn goes(path: &Path, left: &Path) {
        for _ in 0..500 {
            remove_abandoned(path);
            if !left.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{} stays", left.display());
    }

    #[test]
    fn names_tell_file_and_process() {
        let path = temporary_path("a/model.onnx".as_ref());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(temporary_owner(&name, "model.onnx"), Some(std::process::id()));
        for other in
            ["model.onnx", "model.onnx..tmp", "model.onnx.1x.tmp", "x.model.onnx.1.tmp", "model.onnx.1.tmp.old"]
        {
            assert_eq!(temporary_owner(other, "model.onnx"), None, "{other}");
        }
    }

    /// No process has the number 4294967295.
    #[cfg(target_os = "linux")]
    #[test]
    fn only_what_dead_processes_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let kept = ["out", "other.4294967295.tmp", "out.notes.tmp", "out.4294967294.tmp"].map(&path);
        kept.iter().for_each(|path| std::fs::write(path, b"x").unwrap());
        std::fs::write(temporary_path(&path("out")), b"x").unwrap();
        std::fs::write(path("out.4294967295.tmp"), b"x").unwrap();
        let held = File::open(path("out.4294967294.tmp")).unwrap();
        held.lock().unwrap();
        remove_abandoned(&path("out"));
        assert!(!path("out.4294967295.tmp").exists());
        assert!(kept.iter().all(|path| path.exists()) && temporary_path(&path("out")).exists());
        drop(held);
        // A process that another test starts holds what is open here, locks too, until it becomes another program.
        goes(&path("out"), &path("out.4294967294.tmp"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn processes_that_ended_and_were_not_waited_for_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let left = folder.path().join(format!("out.{}.tmp", process.id()));
        std::fs::write(&left, b"x").unwrap();
        remove_abandoned(&folder.path().join("out"));
        assert!(left.exists(), "the process still runs");
        process.kill().unwrap();
        goes(&folder.path().join("out"), &left);
        process.wait().unwrap();
    }
}
