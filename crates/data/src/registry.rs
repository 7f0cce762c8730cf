//! The data sets by name.

use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Split};
use crate::error::DataError;
use crate::{locate, sets};

/// Every known data set, in the order of help texts.
pub static ALL: [&DatasetInfo; 2] = [&sets::digits::INFO, &sets::mnist::INFO];

/// What is known of a data set before any of its files is opened.
#[derive(Debug)]
pub struct DatasetInfo {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for lists.
    pub title: &'static str,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes K.
    pub classes: usize,
    /// Number of training and of test images as published.
    pub counts: [usize; 2],
    /// Mean of the training pixels per channel, for the network's normalisation.
    pub mean: &'static [f64],
    /// Standard deviation of the training pixels per channel.
    pub std: &'static [f64],
    /// [`Dataset::checksum`] of the published training and test split.
    pub checksums: [&'static str; 2],
    /// Where the images come from.
    pub source: Source,
}

/// Where a data set's images come from.
#[derive(Debug)]
pub enum Source {
    /// Made on the spot.
    Embedded(fn(Split) -> Dataset),
    /// Read from files.
    Files {
        /// Base addresses that serve every file's [`PublishedFile::remote`], best first; each ends with `/`.
        mirrors: &'static [&'static str],
        /// All files of both splits.
        files: &'static [PublishedFile],
        /// Reads a split from the folder that holds the files.
        load: fn(&Path, Split) -> Result<Dataset, DataError>,
    },
}

/// One file of a data set; on disk it may be gzip-compressed (`NAME.gz`) or plain.
#[derive(Debug)]
pub struct PublishedFile {
    /// Name of the plain file.
    pub name: &'static str,
    /// Another name that is in use for the same file.
    pub alias: &'static str,
    /// The split it belongs to.
    pub split: Split,
    /// Size of the plain content in bytes.
    pub bytes: u64,
    /// Hexadecimal SHA-256 of the plain content; compressed copies differ from each other, their content does not.
    pub sha256: &'static str,
    /// Name on the mirrors.
    pub remote: &'static str,
}

impl PublishedFile {
    /// The forms in which the file may lie in `folder`, in the order in which they are tried.
    pub fn candidates(&self, folder: &Path) -> [PathBuf; 4] {
        [format!("{}.gz", self.name), self.name.into(), format!("{}.gz", self.alias), self.alias.into()]
            .map(|name| folder.join(name))
    }

    /// The first form that is there.
    pub fn find(&self, folder: &Path) -> Option<PathBuf> {
        self.candidates(folder).into_iter().find(|path| path.is_file())
    }
}

impl DatasetInfo {
    /// Number of images of `split` as published.
    pub fn count(&self, split: Split) -> usize {
        self.counts[split as usize]
    }

    /// The folder that holds the files of `split` (`dir` as in [`load`]); `None` if the set needs none.
    ///
    /// # Errors
    /// If they are nowhere: [`DataError::Missing`] with the places searched.
    pub fn folder(&self, split: Split, dir: Option<&Path>) -> Result<Option<PathBuf>, DataError> {
        match &self.source {
            Source::Embedded(_) => Ok(None),
            Source::Files { files, .. } => locate::find(self.name, files, split, &locate::root(dir)?).map(Some),
        }
    }
}

/// What is known of the data set called `name`.
///
/// # Errors
/// If there is none; the message names the nearest one.
pub fn info(name: &str) -> Result<&'static DatasetInfo, DataError> {
    ALL.into_iter().find(|info| info.name == name).ok_or_else(|| {
        let nearest = ALL.iter().map(|info| (strsim::damerau_levenshtein(info.name, name), info.name)).min();
        DataError::Unknown {
            name: name.into(),
            known: ALL.map(|info| info.name).join(", "),
            hint: match nearest {
                Some((distance, near)) if distance <= 2 => format!("; did you mean `{near}`?"),
                _ => String::new(),
            },
        }
    })
}

/// Reads a split of the data set called `name`.
///
/// Its files are looked for in `dir`/NAME, then in `dir` itself; without `dir` the environment
/// variable `TIGHTROPE_DATA` takes its place, else `tightrope` in the user's cache directory.
/// Embedded sets need no files.
///
/// # Errors
/// If the name is unknown, or the files are missing (the message lists where it looked and names the
/// command that gets them) or damaged.
pub fn load(name: &str, split: Split, dir: Option<&Path>) -> Result<Dataset, DataError> {
    let info = info(name)?;
    let mut set = match &info.source {
        Source::Embedded(make) => make(split),
        Source::Files { files, load, .. } => load(&locate::find(info.name, files, split, &locate::root(dir)?)?, split)?,
    };
    set.canonical = set.checksum == info.checksums[split as usize];
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::{ALL, Source, info};
    use crate::Split;

    #[test]
    fn entries_are_consistent() {
        for set in ALL {
            assert_eq!(info(set.name).unwrap().name, set.name);
            assert_eq!((set.mean.len(), set.std.len()), (set.shape[0], set.shape[0]), "{}", set.name);
            assert!(set.checksums.iter().all(|hex| hex.len() == 64), "{}", set.name);
            if let Source::Files { mirrors, files, .. } = &set.source {
                assert!(mirrors.iter().all(|url| url.starts_with("https://") && url.ends_with('/')), "{}", set.name);
                assert!(files.iter().all(|file| file.sha256.len() == 64), "{}", set.name);
                for split in [Split::Train, Split::Test] {
                    assert!(files.iter().any(|file| file.split == split), "{}", set.name);
                }
            }
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_and_the_nearest() {
        let message = info("minst").unwrap_err().to_string();
        assert!(message.contains("`minst`; did you mean `mnist`?"), "{message}");
        assert!(message.contains("known: digits, mnist"), "{message}");
        assert!(!info("imagenet").unwrap_err().to_string().contains("did you mean"));
    }
}
