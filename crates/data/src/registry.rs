//! The data sets by name.

use std::fmt;
use std::path::Path;

use tightrope_network::nearest_name;

use crate::dataset::{Dataset, Form, Split};
use crate::error::DataError;
use crate::locate::Place;
use crate::published::{PublishedFile, Verified};
use crate::sets::folder;
use crate::{locate, sets};

/// Every known data set, in the order of help texts.
pub static ALL: [&DatasetInfo; 10] = [
    &sets::digits::INFO,
    &sets::mnist::INFO,
    &sets::fashion_mnist::INFO,
    &sets::kmnist::INFO,
    &sets::cifar10::INFO,
    &sets::cifar100::INFO,
    &sets::svhn::INFO,
    &sets::gtsrb::INFO,
    &sets::tinyimagenet::INFO,
    &sets::folder::INFO,
];

/// What is known of a data set before any of its files is opened.
#[derive(Debug)]
pub struct DatasetInfo {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for lists.
    pub title: &'static str,
    /// Channels, height, width; none where the files say it.
    pub shape: Option<[usize; 3]>,
    /// Number of classes K; none where the files say it.
    pub classes: Option<usize>,
    /// Names of the classes in order, where they have any beyond their index.
    pub class_names: Option<&'static [&'static str]>,
    /// Number of training and of test images as published.
    pub counts: Option<[usize; 2]>,
    /// Mean of the training pixels per channel, for the network's normalisation; none where it is measured.
    pub mean: &'static [f64],
    /// Standard deviation of the training pixels per channel.
    pub std: &'static [f64],
    /// [`Dataset::checksum`] of the published training and test split, where it is known.
    pub checksums: [Option<&'static str>; 2],
    /// How to get it where nobody offers its files one by one; what to do, in a sentence's middle.
    pub get: Option<&'static str>,
    /// Where the images come from.
    pub source: Source,
}

/// Where a data set's images come from.
#[derive(Debug)]
pub enum Source {
    /// Made on the spot.
    Embedded(fn(Split) -> Dataset),
    /// Read from files, or from an image folder that stands in for them.
    Files {
        /// Base addresses that serve every file's [`PublishedFile::remote`], best first; each ends with `/`.
        mirrors: &'static [&'static str],
        /// All files of both splits, as they are published; none where nobody offers them one by one.
        files: &'static [PublishedFile],
        /// True if a folder holds anything of a split, as published or unpacked.
        holds: fn(&Path, Split) -> bool,
        /// Reads a split from the folder that holds it.
        load: fn(&Path, Split, &Options<'_>) -> Result<Dataset, DataError>,
    },
    /// Read from an image folder of the user's own.
    Folder,
}

/// How a data set is read.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Folder of data sets, as in [`load`].
    pub dir: Option<&'a Path>,
    /// Height and width that the images of an image folder are brought to.
    pub resize: Option<[usize; 2]>,
    /// Called with (images decoded, images in all) while an image folder is read, from any thread.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { dir: None, resize: None, progress: &|_, _| () }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("dir", &self.dir).field("resize", &self.resize).finish_non_exhaustive()
    }
}

impl DatasetInfo {
    /// Number of images of `split` as published; none for a split that is not, and for folders of one's own.
    pub fn count(&self, split: Split) -> Option<usize> {
        match split {
            Split::Train => self.counts.map(|counts| counts[0]),
            Split::Test => self.counts.map(|counts| counts[1]),
            Split::Validation => None,
        }
    }

    /// Bytes of the pixels of both splits in memory.
    pub fn bytes(&self) -> Option<usize> {
        let [channels, height, width] = self.shape?;
        self.counts.map(|counts| counts.iter().sum::<usize>() * channels * height * width)
    }

    /// Where `split` lies (`dir` as in [`load`]); `None` if the set needs no files.
    ///
    /// # Errors
    /// If it is nowhere: [`DataError::Missing`] with the places searched.
    pub fn place(&self, split: Split, dir: Option<&Path>) -> Result<Option<Place>, DataError> {
        match &self.source {
            Source::Embedded(_) => Ok(None),
            Source::Files { .. } | Source::Folder => locate::find(self, split, &locate::root(dir)?).map(Some),
        }
    }

    /// What to run to get the set, in a sentence's middle.
    pub fn how_to_get(&self) -> String {
        match self.get {
            Some(get) => get.into(),
            None => format!(
                "get it with `tightrope data fetch {0}` (or, from files you have, `tightrope data fetch {0} --from FOLDER`)",
                self.name
            ),
        }
    }
}

/// What is known of the data set called `name`.
///
/// # Errors
/// If there is none; the message names the nearest one.
pub fn info(name: &str) -> Result<&'static DatasetInfo, DataError> {
    ALL.into_iter().find(|info| info.name == name).ok_or_else(|| DataError::Unknown {
        name: name.into(),
        known: ALL.map(|info| info.name).join(", "),
        hint: nearest_name(name, ALL.map(|info| info.name))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?")),
    })
}

/// Reads a split of the data set called `name`.
///
/// It is looked for in `dir`/NAME, then in `dir` itself, in each first as the files that are published, then as an image
/// folder; without `dir` the environment variable `TIGHTROPE_DATA` takes its place, else `tightrope` in the user's cache
/// directory. Embedded sets need no files.
///
/// # Errors
/// If the name is unknown, or the files are missing (the message lists where it looked and names the
/// command that gets them) or damaged.
pub fn load(name: &str, split: Split, dir: Option<&Path>) -> Result<Dataset, DataError> {
    load_with(name, split, &Options { dir, ..Options::default() })
}

/// As [`load`], with more to choose.
///
/// # Errors
/// As [`load`], and if images of a set that is no image folder are to be resized.
pub fn load_with(name: &str, split: Split, options: &Options<'_>) -> Result<Dataset, DataError> {
    let info = info(name)?;
    let fixed = |set: Dataset| match options.resize {
        Some(_) => Err(DataError::Resize { name: name.into() }),
        None => Ok(set),
    };
    let index = match split {
        Split::Train => Some(0),
        Split::Test => Some(1),
        Split::Validation => None,
    };
    let published = index.and_then(|index| info.checksums[index]);
    let mut set = match &info.source {
        Source::Embedded(_) if split == Split::Validation => {
            return Err(DataError::Missing { name: name.into(), looked: Vec::new(), get: NO_VALIDATION.into() });
        }
        Source::Embedded(make) => fixed(make(split))?,
        Source::Files { files, load, .. } => {
            let place = locate::find(info, split, &locate::root(options.dir)?)?;
            match place.form {
                Form::Files => {
                    let mut set = fixed(load(&place.folder, split, options)?)?;
                    if published.is_none() {
                        let mut own = files.iter().filter(|file| file.belongs_to(split));
                        let right = |path: &Path, file: &PublishedFile| file.verify(path) == Ok(Verified::Checksum);
                        set.canonical = !files.is_empty()
                            && own.all(|file| file.find(&place.folder).is_some_and(|path| right(&path, file)));
                    }
                    set
                }
                Form::StandIn | Form::Folder | Form::Embedded | Form::Arrays => {
                    folder::load(info, &place, split, options)?
                }
            }
        }
        Source::Folder => {
            let place = locate::find(info, split, &locate::root(options.dir)?)?;
            folder::load(info, &place, split, options)?
        }
    };
    if let Some(published) = published {
        set.canonical = set.checksum == published;
    }
    if set.class_names.is_none() {
        set.class_names = info.class_names.map(|names| names.iter().map(|name| name.to_string()).collect());
    }
    Ok(set)
}

/// Whether the data set called `name` has a validation split beside training and test images, where it lies now.
///
/// # Errors
/// If the name is unknown or no folder can be told.
pub fn has_validation(name: &str, dir: Option<&Path>) -> Result<bool, DataError> {
    match info(name)?.place(Split::Validation, dir) {
        Ok(place) => Ok(place.is_some()),
        Err(DataError::Missing { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

pub(crate) const NO_VALIDATION: &str =
    "it has no validation split of its own; keep a part of the training images by train.validation";

#[cfg(test)]
mod tests {
    use super::{ALL, Source, info};
    use crate::Split;
    use crate::published::Check;

    #[test]
    fn entries_are_consistent() {
        for set in ALL {
            assert_eq!(info(set.name).unwrap().name, set.name);
            let channels = set.shape.map_or(0, |shape| shape[0]);
            assert_eq!((set.mean.len(), set.std.len()), (channels, channels), "{}", set.name);
            assert!(set.checksums.iter().flatten().all(|hex| hex.len() == 64), "{}", set.name);
            assert!(set.class_names.is_none_or(|names| Some(names.len()) == set.classes), "{}", set.name);
            if let Source::Files { mirrors, files, .. } = &set.source {
                // A digest protects what has no address of the other kind.
                assert!(mirrors.iter().all(|url| url.starts_with("http") && url.ends_with('/')), "{}", set.name);
                for file in *files {
                    let digits = match file.check {
                        Check::PlainSha256(_) => 64,
                        Check::Md5(_) => 32,
                    };
                    assert_eq!(file.check.hexadecimal().len(), digits, "{}", file.name);
                }
                assert_eq!((files.is_empty(), mirrors.is_empty()), [set.get.is_some(); 2].into(), "{}", set.name);
                for split in [Split::Train, Split::Test].into_iter().filter(|_| !files.is_empty()) {
                    assert!(files.iter().any(|file| file.belongs_to(split)), "{}", set.name);
                }
            }
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_and_the_nearest() {
        let message = info("minst").unwrap_err().to_string();
        assert!(message.contains("`minst`; did you mean `mnist`?"), "{message}");
        assert!(message.contains("known: digits, mnist, fashion-mnist, "), "{message}");
        assert!(!info("coco").unwrap_err().to_string().contains("did you mean"));
    }
}
