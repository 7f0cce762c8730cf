//! Folders of images: `train`, `test` and `val`, in each of them one folder for every class.

use std::fs;
use std::path::{Path, PathBuf};

use super::read::Entry;
use crate::dataset::Split;
use crate::error::DataError;
use crate::names::few;

/// Endings of files that are read, in lower case.
const READ: [&str; 6] = ["png", "jpg", "jpeg", "ppm", "pgm", "pnm"];
/// Endings of images in other formats, which would be missed if they were passed over.
const OTHER: [&str; 6] = ["bmp", "gif", "webp", "tif", "tiff", "npy"];
const VALIDATION: [&str; 2] = ["val", "validation"];

/// The folder of `split` in the image folder `root`, if it has one: a validation folder holds the test images where
/// there is no other, since then it is what results are told on.
pub(crate) fn image_folder(root: &Path, split: Split) -> Option<PathBuf> {
    let there = |name: &str| Some(root.join(name)).filter(|path| path.is_dir());
    let validation = || VALIDATION.into_iter().find_map(there);
    match split {
        Split::Train => there("train"),
        Split::Test => there("test").or_else(validation),
        Split::Validation => there("test").and_then(|_| validation()),
    }
}

/// The classes of the image folder `root`: the folders in `train`, or where there is none, those in `folder`.
pub(crate) fn classes_of(root: &Path, folder: &Path) -> Result<Vec<String>, DataError> {
    let train = image_folder(root, Split::Train);
    let folder = train.as_deref().unwrap_or(folder);
    let classes = class_folders(folder)?;
    if classes.len() < 2 {
        let problem = format!(
            "holds {} class folder(s); a classifier needs at least two: put the images of each class into a folder \
             FOLDER/train/CLASS",
            classes.len()
        );
        return Err(DataError::file(folder, problem));
    }
    Ok(classes)
}

/// Names of the folders in `folder`, sorted: by value if all are whole numbers, else as text.
pub(crate) fn class_folders(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for path in sorted(folder)? {
        if path.is_dir() {
            names.push(name(&path)?);
        } else if ending(&path).is_some_and(|ending| READ.contains(&&*ending)) {
            let problem = "is an image outside the class folders; move it into the folder of its class";
            return Err(DataError::file(path, problem));
        }
    }
    // Names beyond 64 bits are text.
    if names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<u64>().is_ok()) {
        names.sort_by_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
    }
    Ok(names)
}

/// The images below `folder`, whose folders must be among `classes`: the first of each class, then the second of each,
/// so that the first so many of them have all classes alike.
pub(crate) fn listing(folder: &Path, classes: &[String]) -> Result<Vec<Entry>, DataError> {
    let mut members: Vec<Vec<PathBuf>> = vec![Vec::new(); classes.len()];
    for class in class_folders(folder)? {
        let path = folder.join(&class);
        let Some(label) = classes.iter().position(|known| *known == class) else {
            let problem = format!(
                "is no class of the training images, which has {}; rename the folder or take it out",
                few(classes)
            );
            return Err(DataError::file(path, problem));
        };
        members[label] = class_images(&path)?;
    }
    let entries = Entry::in_turn(&members);
    if entries.is_empty() {
        return Err(DataError::file(folder, "holds no class folders; put the images of each class into one"));
    }
    Ok(entries)
}

/// The images in a class folder, sorted by name; there must be some.
pub(crate) fn class_images(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    images_among(folder, sorted(folder)?)
}

/// The images among `paths`, which are what lies in a class folder; there must be some.
pub(crate) fn images_among(folder: &Path, paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
    let mut images = Vec::new();
    let mut others = 0;
    for path in paths {
        match ending(&path) {
            Some(ending) if READ.contains(&&*ending) => images.push(path),
            Some(ending) if OTHER.contains(&&*ending) => {
                let problem = format!("is an image in a format that is not read (.{ending}); convert it to PNG");
                return Err(DataError::file(path, problem));
            }
            _ => others += 1,
        }
    }
    if images.is_empty() {
        let rest = if others > 0 { format!(", but {others} other file(s)") } else { String::new() };
        let problem = format!(
            "is the folder of a class and holds no .png, .jpg or .ppm image{rest}; put its images there, or take the \
             folder away"
        );
        return Err(DataError::file(folder, problem));
    }
    Ok(images)
}

/// What lies in `folder` and is not hidden, sorted by name.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |error: std::io::Error| {
        DataError::file(folder, format!("cannot be listed ({error}); check that it is a readable folder"))
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn name(path: &Path) -> Result<String, DataError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(String::from).ok_or_else(|| DataError::file(path, "has a name that is no text; rename it"))
}

/// The ending of a file's name in lower case.
fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase())
}
