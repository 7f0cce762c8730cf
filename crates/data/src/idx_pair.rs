//! Data sets in the four files of MNIST: images and labels of both splits as IDX.

use std::path::Path;

use crate::dataset::{Dataset, Form, Split};
use crate::error::DataError;
use crate::idx;
use crate::published::{Check, Packing, PublishedFile};

/// More than any variant in these file names holds; bounds the memory that a forged file can take.
const MAX_IMAGES: usize = 200_000;

/// What a data set in this form is like; `checks` are of training images and labels, then of test images and labels.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) shape: [usize; 3],
    pub(crate) classes: usize,
    pub(crate) files: &'static [PublishedFile; 4],
}

/// The four files, of 60,000 and 10,000 images of 28×28, with the checksums of training images and labels, then test images
/// and labels.
pub(crate) const fn files(checks: [Check; 4]) -> [PublishedFile; 4] {
    const fn file([name, alias, remote]: [&'static str; 3], split: Split, bytes: u64, check: Check) -> PublishedFile {
        PublishedFile { name, alias, split: Some(split), packing: Packing::Gzip, bytes, check, remote }
    }
    const NAMES: [[&str; 3]; 4] = [
        ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "train-images-idx3-ubyte.gz"],
        ["train-labels-idx1-ubyte", "train-labels.idx1-ubyte", "train-labels-idx1-ubyte.gz"],
        ["t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "t10k-images-idx3-ubyte.gz"],
        ["t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte", "t10k-labels-idx1-ubyte.gz"],
    ];
    [
        file(NAMES[0], Split::Train, 47_040_016, checks[0]),
        file(NAMES[1], Split::Train, 60_008, checks[1]),
        file(NAMES[2], Split::Test, 7_840_016, checks[2]),
        file(NAMES[3], Split::Test, 10_008, checks[3]),
    ]
}

/// True if `folder` holds a file of `split`.
pub(crate) fn holds(files: &[PublishedFile], folder: &Path, split: Split) -> bool {
    files.iter().any(|file| file.belongs_to(split) && file.find(folder).is_some())
}

/// Reads a split from `folder`, which holds at least one of its files.
pub(crate) fn load(layout: &Layout, folder: &Path, split: Split) -> Result<Dataset, DataError> {
    let Layout { name, shape, classes, files } = layout;
    let fetch = format!("`tightrope data fetch {name}`");
    let mend = format!("delete it and run {fetch} again");
    let mut own = files.iter().filter(|file| file.belongs_to(split)).map(|file| {
        file.find(folder).ok_or_else(|| {
            let path = folder.join(file.name);
            DataError::file(path, format!("missing (also as .gz); run {fetch} to get every file"))
        })
    });
    let mut next = || own.next().unwrap_or_else(|| Err(DataError::file(folder, "holds no such split")));
    let (images_path, labels_path) = (next()?, next()?);
    let labels = idx::read::<1>(&labels_path, &[], MAX_IMAGES, &mend)?.bytes;
    if let Some(position) = labels.iter().position(|&label| usize::from(label) >= *classes) {
        let problem =
            format!("label {} at position {position} is not between 0 and {}; {mend}", labels[position], classes - 1);
        return Err(DataError::file(labels_path, problem));
    }
    let images = idx::read::<3>(&images_path, &shape[1..], MAX_IMAGES, &mend)?;
    if images.dims[0] != labels.len() {
        return Err(DataError::file(
            images_path,
            format!(
                "holds {} images, but {} holds {} labels; delete both and run {fetch} again",
                images.dims[0],
                labels_path.display(),
                labels.len()
            ),
        ));
    }
    let labels = labels.into_iter().map(usize::from).collect();
    Ok(Dataset::from_bytes(name, split, *shape, *classes, images.bytes, labels, Form::Files))
}
