//! TinyImageNet: 64×64 colour images of 200 classes, in the folder layout in which it is published, unpacked or in its zip
//! archive.
//!
//! `wnids.txt` names the classes, `train/CLASS/images` holds their training images, `val/images` the images of the
//! published validation split, which is the test split here since the labels of the other are not published, and
//! `val/val_annotations.txt` their classes.

use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Form, Split};
use crate::error::DataError;
use crate::images::{Entry, Tree, Wanted, file_name, read};
use crate::published::{Check, Packing, PublishedFile};
use crate::registry::{DatasetInfo, Options, Source};
use crate::zip::Zip;

const NAME: &str = "tinyimagenet";
const SHAPE: [usize; 3] = [3, 64, 64];
const CLASSES: usize = 200;
/// The folder in the published archive.
const FOLDER: &str = "tiny-imagenet-200";
const WNIDS: &str = "wnids.txt";
const ANNOTATIONS: &str = "val_annotations.txt";

/// TinyImageNet as published; the statistics are those in common use with certified training.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: NAME,
    title: "TinyImageNet, objects and animals of 200 kinds, 64×64 colour",
    shape: Some(SHAPE),
    classes: Some(CLASSES),
    class_names: None,
    counts: Some([100_000, 10_000]),
    mean: &[0.4802, 0.4481, 0.3975],
    std: &[0.2302, 0.2265, 0.2262],
    checksums: [None, None],
    get: None,
    source: Source::Files { mirrors: &["http://cs231n.stanford.edu/"], files: &FILES, holds, load },
};

static FILES: [PublishedFile; 1] = [PublishedFile {
    name: "tiny-imagenet-200.zip",
    alias: "tinyimagenet.zip",
    split: None,
    packing: Packing::Only,
    bytes: 248_100_043,
    check: Check::Md5("90528d7ca1a48142e341f4ef8d21d0de"),
    remote: "tiny-imagenet-200.zip",
}];

/// The published validation split is the test split here, and there is no other.
fn holds(folder: &Path, split: Split) -> bool {
    match split {
        Split::Train | Split::Test => root(folder).is_some() || FILES[0].find(folder).is_some(),
        Split::Validation => false,
    }
}

/// The unpacked folder with the list of classes: `folder`, or the archive's own in it.
fn root(folder: &Path) -> Option<PathBuf> {
    [folder.join(FOLDER), folder.to_path_buf()].into_iter().find(|path| path.join(WNIDS).is_file())
}

/// Where the files lie and below which path: unpacked, or in the archive.
fn open(folder: &Path) -> Result<(Tree, PathBuf), DataError> {
    if let Some(root) = root(folder) {
        return Ok((Tree::Disk, root));
    }
    let path = FILES[0].find(folder).unwrap_or_else(|| folder.join(FILES[0].name));
    let zip = Zip::open(&path).map_err(|error| {
        let problem = format!("damaged archive ({error}); delete it and run `tightrope data fetch {NAME}` again");
        DataError::file(&path, problem)
    })?;
    let root = zip.path().join(FOLDER);
    Ok((Tree::Zip(zip), root))
}

fn load(folder: &Path, split: Split, options: &Options<'_>) -> Result<Dataset, DataError> {
    let (tree, root) = open(folder)?;
    let tree = &tree;
    let classes = classes(tree, &root)?;
    let entries = match split {
        Split::Train => train(tree, &root, &classes)?,
        Split::Test => validation(tree, &root.join("val"), &classes)?,
        Split::Validation => {
            let problem = "has no labelled split beside training and validation; keep a part of the training images by \
                           train.validation";
            return Err(DataError::file(root, problem));
        }
    };
    let wanted = Wanted { tree, shape: Some(SHAPE), resize: None, progress: options.progress };
    let (shape, pixels) = read(&entries, &wanted)?;
    let labels = entries.into_iter().map(|entry| entry.label).collect();
    let mut set = Dataset::from_bytes(NAME, split, shape, CLASSES, pixels, labels, Form::Files);
    set.class_names = Some(classes);
    Ok(set)
}

/// The classes in the order of their names.
fn classes(tree: &Tree, root: &Path) -> Result<Vec<String>, DataError> {
    let path = root.join(WNIDS);
    let mut classes: Vec<String> = text(tree, &path)?.split_whitespace().map(String::from).collect();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() != CLASSES {
        let problem = format!("names {} classes, expected {CLASSES}; unpack the archive again", classes.len());
        return Err(DataError::file(path, problem));
    }
    Ok(classes)
}

/// The first image of each class, then the second of each.
fn train(tree: &Tree, root: &Path, classes: &[String]) -> Result<Vec<Entry>, DataError> {
    let folder = root.join("train");
    if let Some(other) = tree.class_folders(&folder)?.iter().find(|name| classes.binary_search(name).is_err()) {
        let problem = format!("is no class of {WNIDS}; take the folder out");
        return Err(DataError::file(folder.join(other), problem));
    }
    let members = classes.iter().map(|class| tree.class_images(&folder.join(class).join("images")));
    let members = members.collect::<Result<Vec<_>, _>>()?;
    Ok(Entry::in_turn(&members))
}

/// The annotated images in the order of their list. It may be longer than the images at hand, as where only the first so
/// many were kept; a gap is an error.
fn validation(tree: &Tree, folder: &Path, classes: &[String]) -> Result<Vec<Entry>, DataError> {
    let list = folder.join(ANNOTATIONS);
    let mut entries: Vec<Entry> = Vec::new();
    let mut absent: Option<PathBuf> = None;
    for (number, line) in text(tree, &list)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem: &str| {
            let problem = format!("line {}: {problem}; unpack the archive again", number + 1);
            DataError::file(&list, problem)
        };
        let mut fields = line.split('\t');
        let (Some(file), Some(class)) = (fields.next(), fields.next()) else {
            return Err(wrong("expected an image and its class, separated by a tab"));
        };
        let class = class.trim();
        let label = classes.binary_search_by(|known| known.as_str().cmp(class));
        let label = label.map_err(|_| match file_name(class) {
            Some(class) => wrong(&format!("`{class}` is no class of {WNIDS}")),
            None => wrong(&format!("the class is none of {WNIDS}")),
        })?;
        let file = file_name(file).ok_or_else(|| wrong("the image is no name of a file in the folder images"))?;
        let path = folder.join("images").join(file);
        match (tree.is_file(&path), &absent) {
            (true, None) => entries.push(Entry { path, label }),
            (true, Some(missing)) => {
                let problem = format!("is missing, and {file}, which follows in {ANNOTATIONS}, is there");
                return Err(DataError::file(missing, format!("{problem}; unpack the archive again")));
            }
            (false, None) => absent = Some(path),
            (false, Some(_)) => {}
        }
    }
    if entries.is_empty() {
        return Err(DataError::file(list, "none of its images is in the folder images; unpack the archive again"));
    }
    Ok(entries)
}

fn text(tree: &Tree, path: &Path) -> Result<String, DataError> {
    let wrong = |error: String| DataError::file(path, format!("cannot be read ({error}); unpack the archive again"));
    let bytes = tree.content(path).map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}
