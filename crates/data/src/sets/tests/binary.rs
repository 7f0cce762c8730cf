//! Sets in IDX, CIFAR's and MATLAB's files.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{message, write};
use crate::{Form, Split, fetch, has_validation, load, mat, tar};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn the_relatives_of_mnist_read_the_same_files() {
    for (name, second) in [("fashion-mnist", "Trouser"), ("kmnist", "ki")] {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(name);
        write(folder.join("train-images-idx3-ubyte.gz"), &gzip(&idx(&[2, 28, 28], &[51; 1568])));
        write(folder.join("train-labels-idx1-ubyte"), &idx(&[2], &[9, 1]));
        let set = load(name, Split::Train, Some(root.path())).unwrap();
        assert_eq!((&*set.name, &set.labels[..], set.images()[0], set.form), (name, &[9, 1][..], 0.2, Form::Files));
        assert_eq!(set.class_names.unwrap()[1], second);
        assert!(!set.canonical);
        let text = message(name, Split::Test, root.path());
        assert!(text.contains(&format!("`tightrope data fetch {name}`")), "{text}");
        // Labels under the name of images.
        write(folder.join("train-images-idx3-ubyte.gz"), &idx(&[2], &[9, 1]));
        let text = message(name, Split::Train, root.path());
        assert!(text.contains("wrong magic number 0x00000801") || text.contains("its name says gzip"), "{text}");
    }
}

/// A record: label bytes, then planes of 2·label, 2·label + 1 and 2·label + 2.
fn record(labels: &[u8]) -> Vec<u8> {
    let value = labels[labels.len() - 1] * 2;
    let mut bytes = labels.to_vec();
    (0..3).for_each(|channel| bytes.extend([value + channel; 1024]));
    bytes
}

#[test]
fn cifar10_reads_the_archive_and_what_was_unpacked_alike() {
    let batches: Vec<(String, Vec<u8>)> = (1..=5)
        .map(|i| (format!("cifar-10-batches-bin/data_batch_{i}.bin"), [record(&[i]), record(&[9 - i])].concat()))
        .collect();
    let test = ("cifar-10-batches-bin/test_batch.bin".to_string(), record(&[3]));
    // The archive's order is no matter, and what else it holds neither.
    let mut files: Vec<(&str, &[u8])> = vec![("cifar-10-batches-bin/readme.html", b"<html>")];
    files.extend(batches.iter().rev().chain([&test]).map(|(name, bytes)| (&**name, &bytes[..])));
    let root = tempfile::tempdir().unwrap();
    let archive = root.path().join("cifar10/cifar-10-binary.tar.gz");
    write(&archive, &gzip(&tar::tests::archive(&files)));
    let set = load("cifar10", Split::Train, Some(root.path())).unwrap();
    assert_eq!(set.labels, [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]);
    assert_eq!((set.shape, set.classes, set.form, set.canonical), ([3, 32, 32], 10, Form::Files, false));
    let image = set.image(0);
    assert_eq!([image[0], image[1024], image[3071]], [2, 3, 4].map(|byte| f32::from(byte as u8) / 255.0));
    assert_eq!(set.class_names.as_ref().unwrap()[9], "truck");

    let other = tempfile::tempdir().unwrap();
    for (name, bytes) in batches.iter().chain([&test]) {
        write(other.path().join(name), bytes);
    }
    assert_eq!(load("cifar10", Split::Train, Some(other.path())).unwrap(), set);
    let inner = other.path().join("cifar-10-batches-bin");
    assert_eq!(load("cifar10", Split::Train, Some(&inner)).unwrap(), set);
    assert_eq!(load("cifar10", Split::Test, Some(other.path())).unwrap().labels, [3]);

    std::fs::remove_file(inner.join("data_batch_4.bin")).unwrap();
    let text = message("cifar10", Split::Train, other.path());
    assert!(text.contains("data_batch_4.bin: missing") && text.contains("unpack the archive again"), "{text}");
    write(inner.join("test_batch.bin"), &record(&[3])[..3000]);
    let text = message("cifar10", Split::Test, other.path());
    assert!(text.contains("test_batch.bin: holds 3000 bytes") && text.contains("data fetch cifar10"), "{text}");
    write(inner.join("test_batch.bin"), b"");
    assert!(message("cifar10", Split::Test, other.path()).contains("holds 0 bytes"));
    write(inner.join("test_batch.bin"), &record(&[10]));
    let text = message("cifar10", Split::Test, other.path());
    assert!(text.contains("record 0 has label 10, not between 0 and 9"), "{text}");
    let whole = std::fs::read(&archive).unwrap();
    write(&archive, &whole[..whole.len() / 2]);
    let text = message("cifar10", Split::Train, root.path());
    assert!(text.contains("tar.gz: truncated") && text.contains("data fetch cifar10"), "{text}");
}

#[test]
fn cifar100_takes_the_fine_label() {
    let root = tempfile::tempdir().unwrap();
    write(root.path().join("cifar100/train.bin"), &[record(&[19, 99]), record(&[0, 7])].concat());
    let set = load("cifar100", Split::Train, Some(root.path())).unwrap();
    assert_eq!((&set.labels[..], set.classes), (&[99, 7][..], 100));
    assert!(message("cifar100", Split::Test, root.path()).contains("`tightrope data fetch cifar100`"));
}

#[test]
fn svhn_turns_matlabs_columns_into_rows() {
    // X[row, column, channel, image] = 4·row + column + 100·channel + image, for the first rows and columns.
    let mut x = vec![0; 32 * 32 * 3 * 2];
    for image in 0..2 {
        for channel in 0..3 {
            for (column, row) in [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1)] {
                let place = ((image * 3 + channel) * 32 + column) * 32 + row;
                x[place] = (4 * row + column + 60 * channel + image) as u8;
            }
        }
    }
    for compressed in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("svhn/train_32x32.mat");
        write(&path, &mat::tests::svhn(&x, &[10, 3], compressed));
        let set = load("svhn", Split::Train, Some(root.path())).unwrap();
        assert_eq!((&set.labels[..], set.shape), (&[0, 3][..], [3, 32, 32]));
        for image in 0..2 {
            let pixels: Vec<u8> = set.image(image).iter().map(|value| (value * 255.0).round() as u8).collect();
            for channel in 0..3 {
                let base = (60 * channel + image) as u8;
                assert_eq!(pixels[channel * 1024..][..4], [base, base + 1, base + 2, base + 3]);
                assert_eq!(pixels[channel * 1024 + 32..][..2], [base + 4, base + 5]);
            }
        }
        write(&path, &mat::tests::svhn(&x, &[10, 11], compressed));
        let text = message("svhn", Split::Train, root.path());
        assert!(text.contains("label 11 of image 1 is no digit") && text.contains("data fetch svhn"), "{text}");
        write(&path, &mat::tests::svhn(&x, &[10, 1, 2], compressed));
        assert!(message("svhn", Split::Train, root.path()).contains("promises 9216 numbers and holds 6144"));
        write(&path, b"");
        assert!(message("svhn", Split::Train, root.path()).contains("truncated"));
    }
}

#[test]
fn only_some_sets_have_a_validation_split() {
    let root = tempfile::tempdir().unwrap();
    assert!(!has_validation("digits", None).unwrap());
    assert!(!has_validation("cifar10", Some(root.path())).unwrap());
    let text = message("digits", Split::Validation, root.path());
    assert!(text.contains("train.validation"), "{text}");
}

#[test]
fn what_nobody_offers_is_said_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let text = fetch("folder", Some(root.path()), &mut |_, _, _| ()).unwrap_err().to_string();
    assert!(text.contains("cannot be fetched") && text.contains("FOLDER/train/CLASS"), "{text}");
    let text = message("folder", Split::Train, root.path());
    assert!(text.contains("not found") && text.contains("FOLDER/train/CLASS") && text.contains("--data-dir"), "{text}");
}
