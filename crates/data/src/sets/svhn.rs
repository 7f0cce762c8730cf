//! SVHN: 32×32 colour crops of house numbers (Netzer et al. 2011), in two MATLAB files.

use std::path::Path;

use crate::dataset::{Dataset, Form, Split};
use crate::error::DataError;
use crate::idx_pair;
use crate::mat::{self, Array, Numbers};
use crate::published::{Check, Packing, PublishedFile};
use crate::registry::{DatasetInfo, Source};

const SHAPE: [usize; 3] = [3, 32, 32];
const CLASSES: usize = 10;
/// More than either file holds; bounds the memory that a forged one can take.
const MAX_IMAGES: usize = 200_000;

/// SVHN's cropped digits as published, without the extra training images; the statistics are those in common use.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: "svhn",
    title: "SVHN house numbers, cropped digits, 32×32 colour",
    shape: Some(SHAPE),
    classes: Some(CLASSES),
    class_names: None,
    counts: Some([73_257, 26_032]),
    mean: &[0.4377, 0.4438, 0.4728],
    std: &[0.1980, 0.2010, 0.1970],
    checksums: [None, None],
    get: None,
    source: Source::Files {
        mirrors: &["http://ufldl.stanford.edu/housenumbers/"],
        files: &FILES,
        holds: |folder, split| idx_pair::holds(&FILES, folder, split),
        load: |folder, split, _| load(folder, split),
    },
};

static FILES: [PublishedFile; 2] = [
    PublishedFile {
        name: "train_32x32.mat",
        alias: "train.mat",
        split: Some(Split::Train),
        packing: Packing::Only,
        bytes: 182_040_794,
        check: Check::Md5("e26dedcc434d2e4c54c9b2d4a06d8373"),
        remote: "train_32x32.mat",
    },
    PublishedFile {
        name: "test_32x32.mat",
        alias: "test.mat",
        split: Some(Split::Test),
        packing: Packing::Only,
        bytes: 64_275_384,
        check: Check::Md5("eb5a983be6a315427106f1b164d9cef3"),
        remote: "test_32x32.mat",
    },
];

/// Reads a split from `folder`, which holds its file: `X` of [32, 32, 3, N] bytes and `y` of N numbers, 10 for the digit 0.
fn load(folder: &Path, split: Split) -> Result<Dataset, DataError> {
    let file = FILES.iter().find(|file| file.split == Some(split));
    let path = file.and_then(|file| file.find(folder)).unwrap_or_else(|| folder.join("train_32x32.mat"));
    let mend = "delete it and run `tightrope data fetch svhn` again";
    let wrong = |problem: String| DataError::file(&path, format!("{problem}; {mend}"));
    let [channels, height, width] = SHAPE;
    let size = channels * height * width;
    let arrays = mat::read(&path, MAX_IMAGES * size, mend)?;
    let find = |name: &str| {
        arrays.iter().find(|array| array.name == name).ok_or_else(|| wrong(format!("holds no array `{name}`")))
    };
    let (Array { dims, numbers, .. }, y) = (find("X")?, find("y")?);
    let Numbers::Bytes(bytes) = numbers else { return Err(wrong("holds an array `X` that is not of bytes".into())) };
    let count = bytes.len() / size;
    // A single image has no last dimension.
    if count == 0
        || dims[..] != [height, width, channels, count] && !(count == 1 && dims[..] == [height, width, channels])
    {
        return Err(wrong(format!("holds an array `X` of {dims:?}, expected [{height}, {width}, {channels}, N]")));
    }
    let y = y.numbers.floats();
    if y.len() != count {
        return Err(wrong(format!("holds {count} images, but {} labels", y.len())));
    }
    let mut labels = Vec::with_capacity(count);
    for (index, &label) in y.iter().enumerate() {
        match label {
            10.0 => labels.push(0),
            _ if (0.0..10.0).contains(&label) && label.fract() == 0.0 => labels.push(label as usize),
            _ => return Err(wrong(format!("label {label} of image {index} is no digit"))),
        }
    }
    let mut pixels = vec![0; bytes.len()];
    for (image, source) in pixels.chunks_exact_mut(size).zip(bytes.chunks_exact(size)) {
        // Column-major: rows run fastest, then columns, then channels.
        for (plane, source) in image.chunks_exact_mut(height * width).zip(source.chunks_exact(height * width)) {
            for (position, &byte) in source.iter().enumerate() {
                let (column, row) = (position / height, position % height);
                plane[row * width + column] = byte;
            }
        }
    }
    Ok(Dataset::from_bytes("svhn", split, SHAPE, CLASSES, pixels, labels, Form::Files))
}
