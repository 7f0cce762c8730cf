//! Image folders: one's own, and those that stand in for a named set.

use std::path::Path;

use crate::dataset::{Dataset, Split};
use crate::error::DataError;
use crate::images::{Tree, Wanted, classes_of, image_folder, listing, read};
use crate::locate::Place;
use crate::names::{ClassDifference, are_indices, plain};
use crate::registry::{DatasetInfo, Options, Source};

/// Any image folder: `train/CLASS` and `test/CLASS` or `val/CLASS` with PNG, JPEG, PPM and PGM files.
pub(crate) static INFO: DatasetInfo = DatasetInfo {
    name: "folder",
    title: "an image folder of your own: train/CLASS/*.png|jpg|ppm, and test or val likewise",
    shape: None,
    classes: None,
    class_names: None,
    counts: None,
    mean: &[],
    std: &[],
    checksums: [None, None],
    get: Some(
        "put the images of each class into FOLDER/train/CLASS and FOLDER/test/CLASS, and name the folder with --data-dir",
    ),
    source: Source::Folder,
};

/// Reads a split of `info` from the image folder at `place`.
pub(crate) fn load(
    info: &DatasetInfo,
    place: &Place,
    split: Split,
    options: &Options<'_>,
) -> Result<Dataset, DataError> {
    let root = &place.folder;
    let folder = image_folder(root, split).unwrap_or_else(|| root.clone());
    let classes = classes_of(root, &folder)?;
    if let Some(count) = info.classes
        && classes.len() != count
    {
        let problem = format!(
            "holds {} class folders, but `{}` has {count} classes; give the folder that stands in for it, or train on \
             this one by --dataset folder",
            classes.len(),
            info.name
        );
        return Err(DataError::file(root, problem));
    }
    let classes = match info.class_names {
        Some(official) => in_official_order(info.name, classes, official, root)?,
        None => classes,
    };
    let entries = listing(&folder, &classes)?;
    let wanted = Wanted { tree: &Tree::Disk, shape: info.shape, resize: options.resize, progress: options.progress };
    let (shape, pixels) = read(&entries, &wanted)?;
    let labels = entries.into_iter().map(|entry| entry.label).collect();
    let mut set = Dataset::from_bytes(info.name, split, shape, classes.len(), pixels, labels, place.form);
    // The set's own names, where it has any, say more than indices.
    set.class_names = (info.class_names.is_none() || !are_indices(&classes)).then_some(classes);
    Ok(set)
}

/// The class folders in `root` in the order of the class names of `set`, which they must have but for letters' case and
/// signs; a class may be called by its index.
fn in_official_order(
    set: &str,
    folders: Vec<String>,
    official: &[&str],
    root: &Path,
) -> Result<Vec<String>, DataError> {
    let names: Vec<String> = official.iter().map(|name| name.to_string()).collect();
    let Some(difference) = ClassDifference::between((set, &names), (set, &folders)) else { return Ok(folders) };
    let find = |name: &&str| folders.iter().find(|folder| plain(folder) == plain(name)).cloned();
    let ordered: Option<Vec<String>> = official.iter().map(find).collect();
    ordered.filter(|ordered| ordered.len() == folders.len()).ok_or_else(|| {
        let problem = format!(
            "holds class folders that are not those of `{set}` ({difference}), so that its labels cannot be told; rename \
             them, or train on this folder by --dataset folder"
        );
        DataError::file(root, problem)
    })
}
