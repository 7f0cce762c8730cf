//! Image folders: one's own, and those that stand in for a named set.

use crate::dataset::{Dataset, Split};
use crate::error::DataError;
use crate::images::{Tree, Wanted, classes_of, image_folder, listing, read};
use crate::locate::Place;
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
    let classes = in_official_order(classes, info.class_names);
    let entries = listing(&folder, &classes)?;
    let wanted = Wanted { tree: &Tree::Disk, shape: info.shape, resize: options.resize, progress: options.progress };
    let (shape, pixels) = read(&entries, &wanted)?;
    let labels = entries.into_iter().map(|entry| entry.label).collect();
    let mut set = Dataset::from_bytes(info.name, split, shape, classes.len(), pixels, labels, place.form);
    set.class_names = Some(classes);
    Ok(set)
}

/// Folder names in the order of the set's own class names, if they are those but for letters' case and signs; else as sorted.
fn in_official_order(folders: Vec<String>, official: Option<&[&str]>) -> Vec<String> {
    let plain =
        |name: &str| -> String { name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase() };
    let Some(official) = official else { return folders };
    let find = |name: &&str| folders.iter().find(|folder| plain(folder) == plain(name)).cloned();
    let ordered: Option<Vec<String>> = official.iter().map(find).collect();
    match ordered {
        Some(ordered) if ordered.len() == folders.len() => ordered,
        _ => folders,
    }
}
