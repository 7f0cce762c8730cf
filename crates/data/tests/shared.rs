//! The real image folders, where they are at hand: CIFAR-10 as JPEG files and a slice of TinyImageNet.

use std::path::Path;

use tightrope_data::{Dataset, Form, Split, info, load};
use tightrope_testkit::shared::{cifar10, tinyimagenet};

fn checked(name: &str, root: &Path, split: Split, count: usize, form: Form) -> Dataset {
    let (set, known) = (load(name, split, Some(root)).unwrap(), info(name).unwrap());
    assert_eq!((set.len(), Some(set.shape), Some(set.classes)), (count, known.shape, known.classes));
    assert_eq!((set.form, set.canonical), (form, false));
    set
}

#[test]
fn cifar10_as_jpeg_files_stands_in_for_the_published_ones() {
    let Some(root) = cifar10() else { return };
    let train = checked("cifar10", root.path(), Split::Train, 1000, Form::StandIn);
    checked("cifar10", root.path(), Split::Test, 1000, Form::StandIn);
    // Classes in turn, so that every hundred images have ten of each.
    assert_eq!(train.labels[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(train.class_names.as_ref().unwrap()[9], "truck");
    // Compression takes little away from the statistics; the published deviations are of images, not of all pixels.
    let ((mean, _), known) = (train.statistics(), info("cifar10").unwrap());
    for (mean, known) in mean.iter().zip(known.mean) {
        assert!((mean - known).abs() < 0.02, "{mean} and {known}");
    }
}

#[test]
fn tinyimagenet_reads_as_published() {
    let Some(root) = tinyimagenet() else { return };
    let train = checked("tinyimagenet", root.path(), Split::Train, 5000, Form::Files);
    let test = checked("tinyimagenet", root.path(), Split::Test, 2000, Form::Files);
    assert_eq!(train.labels[..200], (0..200).collect::<Vec<_>>());
    let ((mean, std), known) = (train.statistics(), info("tinyimagenet").unwrap());
    for (found, known) in mean.iter().chain(&std).zip(known.mean.iter().chain(known.std)) {
        assert!((found - known).abs() < 0.06, "{found} and {known}");
    }
    // n03444034, the class of the first annotated image, among the sorted names.
    let names = test.class_names.as_ref().unwrap();
    assert_eq!(names[test.labels[0]], "n03444034");
}
