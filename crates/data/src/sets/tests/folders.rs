//! Image folders: one's own, in place of a named set, and TinyImageNet's.

use std::path::Path;
use std::sync::Mutex;

use jpeg_encoder::ColorType;

use super::{message, write};
use crate::images::tests::{jpeg, png};
use crate::{Form, Options, Split, has_validation, load, load_with, zip};

const EIGHT: png::BitDepth = png::BitDepth::Eight;

fn grey(value: u8, [height, width]: [u32; 2]) -> Vec<u8> {
    png(png::ColorType::Grayscale, EIGHT, [height, width], &vec![value; (height * width) as usize])
}

fn colour(value: [u8; 3], [height, width]: [u32; 2]) -> Vec<u8> {
    png(png::ColorType::Rgb, EIGHT, [height, width], &value.repeat((height * width) as usize))
}

/// Three classes: 3, 1 and 2 training images of 2×3, and a test image of two of them.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, value) in
        [("a/1.png", 10), ("a/2.PNG", 11), ("a/10.png", 12), ("b/x.png", 20), ("c/1.png", 30), ("c/2.png", 31)]
    {
        write(root.path().join("train").join(name), &grey(value, [2, 3]));
    }
    write(root.path().join("train/a/notes.txt"), b"passed over");
    write(root.path().join("train/.hidden/1.png"), b"");
    write(root.path().join("test/c/1.png"), &grey(32, [2, 3]));
    write(root.path().join("test/a/1.png"), &grey(13, [2, 3]));
    root
}

fn bytes(set: &crate::Dataset) -> Vec<u8> {
    set.images().iter().map(|value| (value * 255.0).round() as u8).collect()
}

#[test]
fn classes_are_sorted_and_images_come_in_turn() {
    let root = folder();
    let set = load("folder", Split::Train, Some(root.path())).unwrap();
    assert_eq!((set.shape, set.classes, set.form), ([1, 2, 3], 3, Form::Folder));
    assert_eq!(set.class_names.as_ref().unwrap(), &["a", "b", "c"]);
    // By name: 1, 10, 2.
    assert_eq!(set.labels, [0, 1, 2, 0, 2, 0]);
    assert_eq!(bytes(&set).chunks(6).map(|image| image[0]).collect::<Vec<_>>(), [10, 20, 30, 12, 31, 11]);
    let test = load("folder", Split::Test, Some(root.path())).unwrap();
    // Numbered as in training, though a class is missing.
    assert_eq!((&test.labels[..], test.classes), (&[0, 2][..], 3));
    assert!(!has_validation("folder", Some(root.path())).unwrap());
}

#[test]
fn numbered_classes_go_by_their_number() {
    let root = tempfile::tempdir().unwrap();
    for class in ["10", "9", "007"] {
        write(root.path().join("train").join(class).join("1.png"), &grey(1, [1, 1]));
    }
    let set = load("folder", Split::Train, Some(root.path())).unwrap();
    assert_eq!(set.class_names.unwrap(), ["007", "9", "10"]);
}

#[test]
fn a_folder_val_is_for_tests_unless_there_is_one_for_tests() {
    let root = folder();
    write(root.path().join("val/b/1.png"), &grey(22, [2, 3]));
    let labels = |split| load("folder", split, Some(root.path())).unwrap().labels;
    assert!(has_validation("folder", Some(root.path())).unwrap());
    assert_eq!((labels(Split::Validation), labels(Split::Test)), (vec![1], vec![0, 2]));
    std::fs::remove_dir_all(root.path().join("test")).unwrap();
    assert!(!has_validation("folder", Some(root.path())).unwrap());
    assert_eq!(labels(Split::Test), [1]);
}

#[test]
fn one_colour_image_makes_all_of_them_three_channels() {
    let root = folder();
    write(root.path().join("train/c/3.png"), &colour([1, 2, 3], [2, 3]));
    let set = load("folder", Split::Train, Some(root.path())).unwrap();
    assert_eq!(set.shape, [3, 2, 3]);
    assert_eq!(bytes(&set)[..18], [10; 18]);
    assert_eq!(bytes(&set)[6 * 18..], [[1; 6], [2; 6], [3; 6]].concat());
    // Grey in three channels is grey.
    write(root.path().join("train/c/3.png"), &colour([9, 9, 9], [2, 3]));
    assert_eq!(load("folder", Split::Train, Some(root.path())).unwrap().shape, [1, 2, 3]);
}

#[test]
fn sizes_must_agree_or_be_made_to() {
    let root = folder();
    write(root.path().join("train/b/y.png"), &grey(21, [4, 4]));
    let text = message("folder", Split::Train, root.path());
    assert!(text.contains("train/b/y.png: has 4×4 pixels") && text.contains("train/a/1.png has 2×3"), "{text}");
    assert!(text.contains("data.resize = [2, 3]"), "{text}");
    let options = Options { dir: Some(root.path()), resize: Some([5, 4]), ..Options::default() };
    let set = load_with("folder", Split::Train, &options).unwrap();
    assert_eq!((set.shape, set.len()), ([1, 5, 4], 7));
    assert_eq!(bytes(&set)[..20], [10; 20]);
    let text = load_with("digits", Split::Test, &options).unwrap_err().to_string();
    assert!(text.contains("data.resize is for image folders"), "{text}");
}

#[test]
fn threads_change_nothing_and_progress_reaches_the_end() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..150 {
        write(root.path().join(format!("train/{}/{i:03}.png", i % 2)), &grey(i as u8, [3, 3]));
    }
    let read = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let told = Mutex::new(Vec::new());
        let progress = |done, all| told.lock().unwrap().push((done, all));
        let options = Options { dir: Some(root.path()), progress: &progress, ..Options::default() };
        let set = pool.install(|| load_with("folder", Split::Train, &options)).unwrap();
        (set, told.into_inner().unwrap())
    };
    let ((one, told), (three, _)) = (read(1), read(3));
    assert_eq!(one, three);
    assert_eq!(told, [(64, 150), (128, 150), (150, 150)]);
    // Of many damaged files the first in the list is told.
    for i in [149, 40, 90] {
        write(root.path().join(format!("train/{}/{i:03}.png", i % 2)), b"");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let text = pool.install(|| message("folder", Split::Train, root.path()));
        assert!(text.contains("train/0/040.png: is empty, 0 bytes; put a good copy in its place"), "{text}");
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&Path), split: Split, parts: &[&str]) {
    let root = folder();
    change(root.path());
    let text = message("folder", split, root.path());
    parts.iter().for_each(|part| assert!(text.contains(part), "`{part}` is missing in: {text}"));
}

#[test]
fn what_is_wrong_with_a_folder_is_told_by_file() {
    let cut = |root: &Path| {
        let whole = jpeg(ColorType::Luma, [2, 3], &[50, 60, 70, 80, 90, 100]);
        write(root.join("train/b/cut.jpg"), &whole[..whole.len() - 6]);
    };
    refused(cut, Split::Train, &["train/b/cut.jpg", "truncated JPEG", "put a good copy in its place"]);
    let cmyk = |root: &Path| write(root.join("train/b/c.jpeg"), &jpeg(ColorType::Cmyk, [2, 3], &[9; 24]));
    refused(cmyk, Split::Train, &["train/b/c.jpeg", "CMYK", "convert it to RGB"]);
    let deep = png(png::ColorType::Grayscale, png::BitDepth::Sixteen, [2, 3], &[7; 12]);
    refused(
        |root| write(root.join("train/b/d.png"), &deep),
        Split::Train,
        &["train/b/d.png", "16 bits", "convert it to 8"],
    );
    refused(|root| write(root.join("test/d/1.png"), &grey(1, [2, 3])), Split::Test, &["test/d", "no class", "a, b, c"]);
    let empty = |root: &Path| std::fs::create_dir(root.join("train/d")).unwrap();
    refused(empty, Split::Train, &["train/d", "holds no .png", "take the folder away"]);
    let others = |root: &Path| write(root.join("train/d/list.csv"), b"");
    refused(others, Split::Train, &["train/d", "but 1 other file(s)"]);
    let other_format = |root: &Path| write(root.join("train/b/1.bmp"), b"BM");
    refused(other_format, Split::Train, &["train/b/1.bmp", ".bmp", "convert it to PNG"]);
    let loose = |root: &Path| write(root.join("train/1.png"), &grey(1, [2, 3]));
    refused(loose, Split::Train, &["train/1.png", "outside the class folders"]);
    let one_class = |root: &Path| {
        ["a", "b"].iter().for_each(|class| std::fs::remove_dir_all(root.join("train").join(class)).unwrap());
    };
    refused(one_class, Split::Train, &["train", "1 class folder", "at least two"]);
}

#[test]
fn a_folder_stands_in_for_a_named_set_that_it_fits() {
    let root = tempfile::tempdir().unwrap();
    let names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    for (class, name) in names.iter().enumerate() {
        let image = colour([class as u8, 100, 200], [32, 32]);
        write(root.path().join("cifar10/train").join(name).join("0000.png"), &image);
    }
    let set = load("cifar10", Split::Train, Some(root.path())).unwrap();
    assert_eq!((set.shape, set.form, set.canonical), ([3, 32, 32], Form::StandIn, false));
    assert_eq!(set.labels, (0..10).collect::<Vec<_>>());
    let text = message("cifar10", Split::Test, root.path());
    assert!(text.contains("`tightrope data fetch cifar10`"), "{text}");
    // The set's own files go before.
    write(root.path().join("cifar10/data_batch_1.bin"), b"");
    assert!(message("cifar10", Split::Train, root.path()).contains("data_batch_2.bin: missing"));
    std::fs::remove_file(root.path().join("cifar10/data_batch_1.bin")).unwrap();

    write(root.path().join("cifar10/train/dog/1.png"), &colour([1, 2, 3], [30, 32]));
    let text = message("cifar10", Split::Train, root.path());
    assert!(text.contains("has 30×32 pixels") && text.contains("images of this data set have 32×32"), "{text}");
    std::fs::remove_dir_all(root.path().join("cifar10/train/dog")).unwrap();
    let text = message("cifar10", Split::Train, root.path());
    assert!(
        text.contains("holds 9 class folders, but `cifar10` has 10") && text.contains("--dataset folder"),
        "{text}"
    );
}

#[test]
fn class_folders_named_as_the_classes_take_their_order() {
    let root = tempfile::tempdir().unwrap();
    let names =
        ["ankle-boot", "bag", "coat", "dress", "Pullover", "sandal", "shirt", "sneaker", "T-shirt_top", "trouser"];
    for name in names {
        write(root.path().join("train").join(name).join("1.png"), &grey(1, [28, 28]));
    }
    let set = load("fashion-mnist", Split::Train, Some(root.path())).unwrap();
    assert_eq!(set.class_names.unwrap()[..3], ["T-shirt_top", "trouser", "Pullover"]);
    write(root.path().join("train/bag/2.png"), &colour([1, 2, 3], [28, 28]));
    let text = message("fashion-mnist", Split::Train, root.path());
    assert!(text.contains("train/bag/2.png: is a colour image, and this data set is grey"), "{text}");
}

#[test]
fn a_folder_with_other_classes_does_not_stand_in() {
    let root = tempfile::tempdir().unwrap();
    let names = ["airplane", "CAR", "bird", "cat", "deer", "dog", "frog", "horse", "Ship", "truck"];
    for name in names {
        write(root.path().join("train").join(name).join("1.png"), &colour([1, 2, 3], [32, 32]));
    }
    let text = message("cifar10", Split::Train, root.path());
    for part in ["are not those of `cifar10`", "(missing: automobile; unknown: CAR)", "rename", "--dataset folder"] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    std::fs::rename(root.path().join("train/CAR"), root.path().join("train/Automobile")).unwrap();
    let set = load("cifar10", Split::Train, Some(root.path())).unwrap();
    // Capitals are sorted before other letters.
    assert_eq!(set.class_names.unwrap()[..2], ["airplane", "Automobile"]);
    assert_eq!(set.labels, (0..10).collect::<Vec<_>>());
    // Two for one class, none for another.
    std::fs::rename(root.path().join("train/truck"), root.path().join("train/c_at")).unwrap();
    let text = message("cifar10", Split::Train, root.path());
    assert!(text.contains("missing: truck; unknown: "), "{text}");
}

#[test]
fn classes_of_a_named_set_may_be_called_by_their_indices() {
    let root = tempfile::tempdir().unwrap();
    for class in 0..10 {
        write(root.path().join(format!("train/{class}/1.png")), &colour([class, 2, 3], [32, 32]));
    }
    let set = load("cifar10", Split::Train, Some(root.path())).unwrap();
    assert_eq!(set.labels, (0..10).collect::<Vec<_>>());
    assert_eq!(set.class_names.unwrap()[1], "automobile");
    // From 1 on it could be either.
    std::fs::rename(root.path().join("train/0"), root.path().join("train/10")).unwrap();
    let text = message("cifar10", Split::Train, root.path());
    assert!(text.contains("missing: airplane, automobile, bird, "), "{text}");
    // The classes of these digits have no other names.
    let root = tempfile::tempdir().unwrap();
    for class in 0..10 {
        write(root.path().join(format!("train/{class}/1.png")), &grey(class, [28, 28]));
    }
    let set = load("mnist", Split::Train, Some(root.path())).unwrap();
    assert_eq!((&*set.class_names.unwrap()[9], &set.labels[..3]), ("9", &[0, 1, 2][..]));
}

/// 200 classes with one training image each, one of them grey, and three annotated images of which two are there.
fn tiny() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("tiny-imagenet-200");
    let mut list = String::new();
    for class in (0..200).rev() {
        let name = format!("n{class:08}");
        list.push_str(&format!("{name}\n"));
        let image = if class == 7 {
            jpeg(ColorType::Luma, [64, 64], &[class as u8; 4096])
        } else {
            jpeg(ColorType::Rgb, [64, 64], &[class as u8; 3 * 4096])
        };
        write(folder.join(format!("train/{name}/images/{name}_0.JPEG")), &image);
        write(folder.join(format!("train/{name}/{name}_boxes.txt")), b"");
    }
    write(folder.join("wnids.txt"), list.as_bytes());
    let annotations =
        "val_0.JPEG\tn00000150\t0\t0\t1\t1\nval_1.JPEG\tn00000003\t0\t0\t1\t1\nval_2.JPEG\tn00000001\t0\t0\t1\t1\n";
    write(folder.join("val/val_annotations.txt"), annotations.as_bytes());
    for image in ["val_0", "val_1"] {
        write(folder.join(format!("val/images/{image}.JPEG")), &jpeg(ColorType::Rgb, [64, 64], &[90; 3 * 4096]));
    }
    root
}

/// Every file below `folder` with its path from `root`.
fn files(root: &Path, folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(root, &path));
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn tinyimagenet_reads_its_own_layout() {
    let root = tiny();
    let set = load("tinyimagenet", Split::Train, Some(root.path())).unwrap();
    assert_eq!((set.shape, set.classes, set.form), ([3, 64, 64], 200, Form::Files));
    assert_eq!(set.labels, (0..200).collect::<Vec<_>>());
    assert_eq!(set.class_names.as_ref().unwrap()[1], "n00000001");
    assert_eq!(bytes(&set)[7 * 12288..8 * 12288], [7; 12288]);
    let test = load("tinyimagenet", Split::Test, Some(&root.path().join("tiny-imagenet-200"))).unwrap();
    assert_eq!(test.labels, [150, 3]);

    assert!(!has_validation("tinyimagenet", Some(root.path())).unwrap());

    // The archive reads the same, and names files as if it were a folder.
    let packed = tempfile::tempdir().unwrap();
    let archive = packed.path().join("tinyimagenet/tiny-imagenet-200.zip");
    write(&archive, &zip::tests::archive(&files(root.path(), root.path())));
    let dir = Some(packed.path());
    assert_eq!(load("tinyimagenet", Split::Train, dir).unwrap(), set);
    assert_eq!(load("tinyimagenet", Split::Test, dir).unwrap(), test);
    let image = root.path().join("tiny-imagenet-200/train/n00000005/images/n00000005_0.JPEG");
    let good = std::fs::read(&image).unwrap();
    std::fs::write(&image, &good[..60]).unwrap();
    write(&archive, &zip::tests::archive(&files(root.path(), root.path())));
    let text = message("tinyimagenet", Split::Train, packed.path());
    assert!(
        text.contains("tiny-imagenet-200.zip/tiny-imagenet-200/train/n00000005/images") && text.contains("truncated"),
        "{text}"
    );
    std::fs::write(&image, &good).unwrap();
    write(&archive, b"PK");
    let text = message("tinyimagenet", Split::Train, packed.path());
    assert!(
        text.contains("tiny-imagenet-200.zip: damaged archive") && text.contains("data fetch tinyimagenet"),
        "{text}"
    );

    let folder = root.path().join("tiny-imagenet-200");
    std::fs::remove_file(folder.join("val/images/val_0.JPEG")).unwrap();
    let text = message("tinyimagenet", Split::Test, root.path());
    assert!(text.contains("val_0.JPEG: is missing, and val_1.JPEG"), "{text}");
    write(folder.join("val/val_annotations.txt"), b"val_1.JPEG\tn77\n");
    let text = message("tinyimagenet", Split::Test, root.path());
    assert!(text.contains("val_annotations.txt: line 1: `n77` is no class"), "{text}");
    write(folder.join("train/n77/images/1.JPEG"), b"");
    assert!(message("tinyimagenet", Split::Train, root.path()).contains("train/n77: is no class of wnids.txt"));
    write(folder.join("wnids.txt"), b"n00000001\n");
    assert!(message("tinyimagenet", Split::Train, root.path()).contains("names 1 classes, expected 200"));
}
