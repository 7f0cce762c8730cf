//! MNIST: 28×28 handwritten digits in four IDX files (LeCun, Cortes and Burges 1998).

use std::path::Path;

use crate::dataset::{Dataset, Split};
use crate::error::DataError;
use crate::idx;
use crate::registry::{DatasetInfo, PublishedFile, Source};

const SHAPE: [usize; 3] = [1, 28, 28];
const CLASSES: usize = 10;
/// More than any MNIST variant in these file names holds; bounds the memory that a forged file can take.
const MAX_IMAGES: usize = 200_000;

/// MNIST as published.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: "mnist",
    title: "MNIST handwritten digits, 28×28 grey",
    shape: SHAPE,
    classes: CLASSES,
    counts: [60_000, 10_000],
    mean: &[0.1307],
    std: &[0.3081],
    checksums: [
        "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
        "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
    ],
    source: Source::Files {
        mirrors: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ],
        files: &FILES,
        load,
    },
};

const TRAIN_IMAGES: PublishedFile = PublishedFile {
    name: "train-images-idx3-ubyte",
    alias: "train-images.idx3-ubyte",
    split: Split::Train,
    bytes: 47_040_016,
    sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    remote: "train-images-idx3-ubyte.gz",
};
const TRAIN_LABELS: PublishedFile = PublishedFile {
    name: "train-labels-idx1-ubyte",
    alias: "train-labels.idx1-ubyte",
    split: Split::Train,
    bytes: 60_008,
    sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    remote: "train-labels-idx1-ubyte.gz",
};
const TEST_IMAGES: PublishedFile = PublishedFile {
    name: "t10k-images-idx3-ubyte",
    alias: "t10k-images.idx3-ubyte",
    split: Split::Test,
    bytes: 7_840_016,
    sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    remote: "t10k-images-idx3-ubyte.gz",
};
const TEST_LABELS: PublishedFile = PublishedFile {
    name: "t10k-labels-idx1-ubyte",
    alias: "t10k-labels.idx1-ubyte",
    split: Split::Test,
    bytes: 10_008,
    sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    remote: "t10k-labels-idx1-ubyte.gz",
};
static FILES: [PublishedFile; 4] = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS];

/// Reads a split from `folder`, which holds at least one of its files.
fn load(folder: &Path, split: Split) -> Result<Dataset, DataError> {
    let (images, labels) = match split {
        Split::Train => (&TRAIN_IMAGES, &TRAIN_LABELS),
        Split::Test => (&TEST_IMAGES, &TEST_LABELS),
    };
    let mend = "delete it and run `tightrope data fetch mnist` again";
    let find = |file: &PublishedFile| {
        file.find(folder).ok_or_else(|| {
            let path = folder.join(file.name);
            DataError::file(path, "missing (also as .gz); run `tightrope data fetch mnist` to get every file")
        })
    };
    let (images_path, labels_path) = (find(images)?, find(labels)?);
    let labels = idx::read::<1>(&labels_path, &[], MAX_IMAGES, mend)?.bytes;
    if let Some(position) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
        let problem = format!("label {} at position {position} is not between 0 and 9; {mend}", labels[position]);
        return Err(DataError::file(labels_path, problem));
    }
    let images = idx::read::<3>(&images_path, &SHAPE[1..], MAX_IMAGES, mend)?;
    if images.dims[0] != labels.len() {
        return Err(DataError::file(
            images_path,
            format!(
                "holds {} images, but {} holds {} labels; delete both and run `tightrope data fetch mnist` again",
                images.dims[0],
                labels_path.display(),
                labels.len()
            ),
        ));
    }
    Ok(Dataset::from_bytes("mnist", split, SHAPE, CLASSES, &images.bytes, &labels))
}
