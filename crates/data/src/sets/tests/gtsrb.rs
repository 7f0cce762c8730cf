//! GTSRB in the layouts in which it is unpacked.

use std::path::Path;

use super::{message, write};
use crate::{DataError, Form, Options, Split, fetch, info, load, load_with};

/// A PPM file of one colour.
fn sign(value: u8, [height, width]: [usize; 2]) -> Vec<u8> {
    [format!("P6\n{width} {height}\n255\n").into_bytes(), vec![value; 3 * height * width]].concat()
}

fn train(root: &Path, folder: &str) {
    for class in 0..43 {
        write(root.join(format!("{folder}/{class:05}/00000_00000.ppm")), &sign(5 * class as u8, [25 + class, 30]));
        write(root.join(format!("{folder}/{class:05}/GT-{class:05}.csv")), b"passed over");
    }
}

#[test]
fn the_unpacked_archives_are_read() {
    let root = tempfile::tempdir().unwrap();
    train(root.path(), "gtsrb/GTSRB/Final_Training/Images");
    let images = root.path().join("gtsrb/GTSRB/Final_Test/Images");
    write(images.join("00000.ppm"), &sign(7, [40, 50]));
    write(images.join("00001.ppm"), &sign(9, [32, 32]));
    let set = load("gtsrb", Split::Train, Some(root.path())).unwrap();
    assert_eq!((set.shape, set.classes, set.form, set.canonical), ([3, 32, 32], 43, Form::Files, false));
    assert_eq!(set.labels, (0..43).collect::<Vec<_>>());
    assert!(
        set.images()
            .chunks(3 * 32 * 32)
            .zip(0..)
            .all(|(image, class)| { image.iter().all(|pixel| (pixel * 255.0 - 5.0 * class as f32).abs() < 0.01) })
    );
    // The classes of the test images come in a list of their own.
    assert!(message("gtsrb", Split::Test, root.path()).contains("not found"));
    let list = root.path().join("gtsrb/GT-final_test.csv");
    let heads = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n";
    write(&list, format!("{heads}00000.ppm;50;40;5;5;45;35;16\r\n00001.ppm;32;32;5;5;27;27;1\r\n").as_bytes());
    let set = load("gtsrb", Split::Test, Some(root.path())).unwrap();
    assert_eq!((set.len(), set.labels), (2, vec![16, 1]));
    for (line, part) in
        [("00000.ppm;50;40;5;5;45;35;43", "line 2"), ("../x.ppm;1;1;0;0;1;1;3", "line 2"), ("", "no image")]
    {
        write(&list, format!("{heads}{line}\n").as_bytes());
        assert!(message("gtsrb", Split::Test, root.path()).contains(part), "{line}");
    }
    write(&list, format!("{heads}00009.ppm;50;40;5;5;45;35;4\n").as_bytes());
    assert!(message("gtsrb", Split::Test, root.path()).contains("00009.ppm"));
}

#[test]
fn class_folders_of_both_splits_are_read_and_all_classes_must_be_there() {
    let root = tempfile::tempdir().unwrap();
    train(root.path(), "train");
    write(root.path().join("test/00042/1.ppm"), &sign(1, [32, 32]));
    let test = load("gtsrb", Split::Test, Some(root.path())).unwrap();
    assert_eq!((test.labels, test.classes), (vec![42], 43));
    let options = Options { dir: Some(root.path()), resize: Some([16, 16]), ..Options::default() };
    assert!(matches!(load_with("gtsrb", Split::Test, &options), Err(DataError::Resize { .. })));
    std::fs::remove_dir_all(root.path().join("train/00007")).unwrap();
    let text = message("gtsrb", Split::Train, root.path());
    assert!(text.contains("42 class folders") && text.contains("43"), "{text}");
}

#[test]
fn how_to_get_it_is_told() {
    let text = fetch("gtsrb", None, &mut |_, _, _| ()).unwrap_err().to_string();
    assert!(text.contains("GTSRB_Final_Training_Images.zip"), "{text}");
    assert_eq!(info("gtsrb").unwrap().classes, Some(43));
}
