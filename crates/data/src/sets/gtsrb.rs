//! GTSRB: traffic signs of 43 kinds (Stallkamp et al. 2012), PPM images of many sizes, brought to 32×32.
//!
//! The training images lie in class folders `00000` to `00042`; the test images of the published archive lie in one folder,
//! and `GT-final_test.csv` names their classes. Class folders of test images are read as well.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Form, Split};
use crate::error::DataError;
use crate::images::{Entry, Tree, Wanted, classes_of, file_name, listing, read};
use crate::registry::{DatasetInfo, Options, Source};

const NAME: &str = "gtsrb";
const SHAPE: [usize; 3] = [3, 32, 32];
const CLASSES: usize = 43;
const ANNOTATIONS: &str = "GT-final_test.csv";
const MEND: &str = "unpack the archives again";

/// GTSRB as published, unpacked; the statistics are those in common use.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: NAME,
    title: "GTSRB traffic signs of 43 kinds, brought to 32×32 colour",
    shape: Some(SHAPE),
    classes: Some(CLASSES),
    class_names: None,
    counts: Some([39_209, 12_630]),
    mean: &[0.3403, 0.3121, 0.3214],
    std: &[0.2724, 0.2608, 0.2669],
    checksums: [None, None],
    get: Some(
        "unpack GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip into one \
         folder, and name it with --data-dir",
    ),
    source: Source::Files { mirrors: &[], files: &[], holds, load },
};

/// Where the images of a split are.
enum Images {
    /// In class folders below this one.
    Classes(PathBuf),
    /// In this folder, with their classes in this file.
    Listed(PathBuf, PathBuf),
}

/// What lies in `folder`, as published or in class folders.
fn images(folder: &Path, split: Split) -> Option<Images> {
    let roots = [folder.join("GTSRB"), folder.to_path_buf()];
    let first = |names: &[&str]| {
        let places = roots.iter().flat_map(|root| names.iter().map(|name| root.join(name)));
        places.into_iter().find(|path| path.is_dir())
    };
    match split {
        Split::Train => first(&["Final_Training/Images", "Training", "train"]).map(Images::Classes),
        Split::Test => {
            let listed = first(&["Final_Test/Images"]).and_then(|images| {
                // The list comes in an archive of its own, which has no folder.
                let places = [images.as_path(), folder, &roots[0]].map(|place| place.join(ANNOTATIONS));
                places.into_iter().find(|path| path.is_file()).map(|list| Images::Listed(images, list))
            });
            listed.or_else(|| first(&["Testing", "test"]).map(Images::Classes))
        }
        Split::Validation => None,
    }
}

fn holds(folder: &Path, split: Split) -> bool {
    images(folder, split).is_some()
}

fn load(folder: &Path, split: Split, options: &Options<'_>) -> Result<Dataset, DataError> {
    let (entries, classes) = match images(folder, split) {
        Some(Images::Classes(images)) => {
            let train = match self::images(folder, Split::Train) {
                Some(Images::Classes(train)) => train,
                _ => images.clone(),
            };
            let classes = classes_of(folder, &train)?;
            if classes.len() != CLASSES {
                let problem = format!("holds {} class folders, and the set has {CLASSES}; {MEND}", classes.len());
                return Err(DataError::file(train, problem));
            }
            (listing(&images, &classes)?, Some(classes))
        }
        Some(Images::Listed(images, list)) => (listed(&images, &list)?, None),
        None => {
            let problem = "holds no images of this split; keep a part of the training images by train.validation";
            return Err(DataError::file(folder, problem));
        }
    };
    let size = Some([SHAPE[1], SHAPE[2]]);
    let wanted = Wanted { tree: &Tree::Disk, shape: Some(SHAPE), resize: size, progress: options.progress };
    let (shape, pixels) = read(&entries, &wanted)?;
    let labels = entries.into_iter().map(|entry| entry.label).collect();
    let mut set = Dataset::from_bytes(NAME, split, shape, CLASSES, pixels, labels, Form::Files);
    set.class_names = classes;
    Ok(set)
}

/// The images that the list names, in its order: `Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId`.
fn listed(images: &Path, list: &Path) -> Result<Vec<Entry>, DataError> {
    let text = std::fs::read_to_string(list)
        .map_err(|error| DataError::file(list, format!("cannot be read ({error}); {MEND}")))?;
    let mut lines = text.lines();
    let heads: HashMap<&str, usize> =
        lines.next().unwrap_or_default().split(';').enumerate().map(|(place, head)| (head.trim(), place)).collect();
    let (Some(&file), Some(&class)) = (heads.get("Filename"), heads.get("ClassId")) else {
        return Err(DataError::file(list, format!("has no columns Filename and ClassId; {MEND}")));
    };
    let mut entries = Vec::new();
    for (number, line) in (2..).zip(lines).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(';').map(str::trim).collect();
        let name = fields.get(file).and_then(|name| file_name(name));
        let label = fields.get(class).and_then(|text| text.parse().ok()).filter(|label| *label < CLASSES);
        let (Some(name), Some(label)) = (name, label) else {
            let problem = format!("line {number}: expected an image and a class from 0 to {}; {MEND}", CLASSES - 1);
            return Err(DataError::file(list, problem));
        };
        entries.push(Entry { path: images.join(name), label });
    }
    if entries.is_empty() {
        return Err(DataError::file(list, format!("names no image; {MEND}")));
    }
    Ok(entries)
}
