//! Getting a data set's files: from public mirrors or from a folder, always checked against what is published.

mod download;
mod partial;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::error::DataError;
use crate::published::{Packing, PublishedFile, Verified};
use crate::registry::{DatasetInfo, Source, info};
use crate::{idx, locate};
use download::{Failure, download};
use partial::PartialFile;

/// Called with (file name, bytes so far, bytes in all if known).
pub type Progress<'a> = dyn FnMut(&str, u64, Option<u64>) + 'a;

/// What [`fetch`] or [`fetch_from`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder that holds the files now; `None` for an embedded set, which needs none.
    pub folder: Option<PathBuf>,
    /// One entry per file of the data set.
    pub files: Vec<FetchedFile>,
}

impl Fetched {
    /// The outcome for an embedded set.
    fn nothing() -> Self {
        Fetched { folder: None, files: Vec::new() }
    }
}

/// One file that is there now, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Origin,
    /// What the check rests on.
    pub verified: Verified,
}

/// Where a fetched file came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there, whole and right.
    Kept,
    /// It was downloaded from this address.
    Downloaded(String),
    /// It was copied from this file.
    Copied(PathBuf),
}

/// Downloads the data set called `name` into `dir`/NAME (`dir` as in [`crate::load`]) from its public mirrors.
///
/// Files that are there and verify are kept. Each file is checked before it takes its name, so a
/// failure leaves nothing half-written.
///
/// # Errors
/// If no mirror gives a file whole (each mirror's error is listed) or the folder cannot be written.
pub fn fetch(name: &str, dir: Option<&Path>, progress: &mut Progress<'_>) -> Result<Fetched, DataError> {
    match offered(name)? {
        None => Ok(Fetched::nothing()),
        Some((files, mirrors)) => fetch_files(name, files, mirrors, dir, progress),
    }
}

/// A set's files and their mirrors; none for an embedded set.
type Offered = Option<(&'static [PublishedFile], &'static [&'static str])>;

/// What is offered of the data set called `name`.
fn offered(name: &str) -> Result<Offered, DataError> {
    let info: &'static DatasetInfo = info(name)?;
    match &info.source {
        Source::Embedded(_) => Ok(None),
        Source::Files { mirrors, files, .. } if !files.is_empty() => Ok(Some((files, mirrors))),
        Source::Files { .. } | Source::Folder => {
            Err(DataError::NotOffered { name: name.into(), get: info.how_to_get() })
        }
    }
}

/// [`fetch`] from other mirrors: base addresses ending with `/`, tried in order for every file.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_through(
    name: &str,
    mirrors: &[&str],
    dir: Option<&Path>,
    progress: &mut Progress<'_>,
) -> Result<Fetched, DataError> {
    match offered(name)? {
        None => Ok(Fetched::nothing()),
        Some((files, _)) => fetch_files(name, files, mirrors, dir, progress),
    }
}

fn fetch_files(
    name: &str,
    files: &[PublishedFile],
    mirrors: &[&str],
    dir: Option<&Path>,
    progress: &mut Progress<'_>,
) -> Result<Fetched, DataError> {
    fetch_with(name, files, dir, &mut |file, destination| {
        let mut attempts = Vec::new();
        for mirror in mirrors {
            let url = format!("{mirror}{}", file.remote);
            let mut partial = create(destination)?;
            let result =
                download(&url, file.most(), &mut partial, &mut |done, total| progress(file.remote, done, total));
            match result {
                Ok(()) => {}
                Err(Failure::Address(problem)) => {
                    attempts.push(format!("{url}: {problem}"));
                    continue;
                }
                Err(Failure::Local(error)) => return Err(unwritable(destination, &error)),
            }
            match file.verify(partial.path()) {
                Ok(verified) => {
                    partial.finish().map_err(|error| unwritable(destination, &error))?;
                    return Ok((Origin::Downloaded(url), verified));
                }
                Err(problem) => attempts.push(format!("{url}: {problem}")),
            }
        }
        Err(DataError::Download { name: name.into(), file: file.remote.into(), attempts })
    })
}

/// Copies the files of the data set called `name` from `folder` (or `folder`/NAME) into `dir`/NAME, verifying each.
///
/// They may be plain or gzip-compressed; they are stored compressed. Files that are there and verify are kept.
///
/// # Errors
/// If a file is missing from `folder`, is not the published one, or cannot be written.
pub fn fetch_from(name: &str, folder: &Path, dir: Option<&Path>) -> Result<Fetched, DataError> {
    match offered(name)? {
        None => Ok(Fetched::nothing()),
        Some((files, _)) => copy_files(name, files, folder, dir),
    }
}

fn copy_files(name: &str, files: &[PublishedFile], folder: &Path, dir: Option<&Path>) -> Result<Fetched, DataError> {
    fetch_with(name, files, dir, &mut |file, destination| {
        if !folder.is_dir() {
            return Err(DataError::file(folder, "is no folder that exists; name the folder with the files"));
        }
        let inner = folder.join(name);
        let Some(source) = file.find(folder).or_else(|| file.find(&inner)) else {
            let packed = match file.packing {
                Packing::Gzip => " with .gz, nor",
                Packing::Only => "",
            };
            let problem =
                format!("holds no {} (nor{packed} {}); name the folder with the files", file.name, file.alias);
            return Err(DataError::file(folder, problem));
        };
        let verified = file
            .verify(&source)
            .map_err(|problem| DataError::file(&source, format!("{problem}; copy it again from where it came")))?;
        let mut partial = create(destination)?;
        store(&source, file.packing, &mut partial)
            .and_then(|()| partial.finish())
            .map_err(|error| unwritable(destination, &error))?;
        Ok((Origin::Copied(source), verified))
    })
}

/// Where a file came from, and what its check rests on.
type Got = (Origin, Verified);

/// Runs `get` (which makes a file at the given path) for every file that is not there yet.
fn fetch_with(
    name: &str,
    files: &[PublishedFile],
    dir: Option<&Path>,
    get: &mut dyn FnMut(&PublishedFile, &Path) -> Result<Got, DataError>,
) -> Result<Fetched, DataError> {
    let folder = locate::root(dir)?.join(name);
    let mut fetched = Vec::new();
    for file in files {
        // The form that loading would choose is the one that counts.
        if let Some(path) = file.find(&folder)
            && let Ok(verified) = file.verify(&path)
        {
            fetched.push(FetchedFile { path, origin: Origin::Kept, verified });
            continue;
        }
        let destination = file.candidates(&folder).swap_remove(0);
        let (origin, verified) = get(file, &destination)?;
        fetched.push(FetchedFile { path: destination, origin, verified });
    }
    Ok(Fetched { folder: Some(folder), files: fetched })
}

/// Copies `source` to `partial`; what is published compressed is compressed if it is plain.
fn store(source: &Path, packing: Packing, partial: &mut PartialFile) -> io::Result<()> {
    match (packing, idx::open(source)?) {
        (Packing::Gzip, (mut reader, Some(_))) => {
            let mut encoder = GzEncoder::new(partial, Compression::default());
            io::copy(&mut reader, &mut encoder)?;
            encoder.finish()?.flush()
        }
        (Packing::Gzip, (_, None)) | (Packing::Only, _) => {
            io::copy(&mut std::fs::File::open(source)?, partial).map(drop)
        }
    }
}

fn create(destination: &Path) -> Result<PartialFile, DataError> {
    PartialFile::create(destination).map_err(|error| unwritable(destination, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> DataError {
    DataError::file(
        path,
        format!("cannot be written ({error}); choose another folder with --data-dir or free some space"),
    )
}
