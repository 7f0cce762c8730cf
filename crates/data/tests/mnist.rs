//! MNIST: damaged and missing files made here, and the real files where they are at hand.

use std::path::Path;

use tempfile::TempDir;
use tightrope_data::{Dataset, Origin, Split, fetch_from, info, load};
use tightrope_testkit::shared::shared;

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// Three test images whose pixels are all 0, 51 and 255, with labels 7, 0, 9, in `FOLDER/mnist`.
fn three() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("mnist");
    std::fs::create_dir(&folder).unwrap();
    let pixels: Vec<u8> = [0, 51, 255].into_iter().flat_map(|value| [value; 784]).collect();
    std::fs::write(folder.join("t10k-images-idx3-ubyte"), idx(&[3, 28, 28], &pixels)).unwrap();
    std::fs::write(folder.join("t10k-labels-idx1-ubyte"), idx(&[3], &[7, 0, 9])).unwrap();
    root
}

fn message(root: &Path, split: Split) -> String {
    load("mnist", split, Some(root)).unwrap_err().to_string()
}

#[test]
fn small_files_load() {
    let root = three();
    let set = load("mnist", Split::Test, Some(root.path())).unwrap();
    assert_eq!(set.labels, [7, 0, 9]);
    let images = set.images();
    assert_eq!([images[0], images[784], images[3 * 784 - 1]], [0.0, 0.2, 1.0]);
    assert!(!set.canonical);
    // The folder of the files themselves, and the other usual names, are as good.
    let folder = root.path().join("mnist");
    assert_eq!(load("mnist", Split::Test, Some(&folder)).unwrap(), set);
    std::fs::rename(folder.join("t10k-images-idx3-ubyte"), folder.join("t10k-images.idx3-ubyte")).unwrap();
    assert_eq!(load("mnist", Split::Test, Some(root.path())).unwrap(), set);
}

#[test]
fn missing_files_name_the_places_and_the_command() {
    let root = three();
    let text = message(root.path(), Split::Train);
    assert!(text.contains(&format!("{} (holds none of its files)", root.path().join("mnist").display())), "{text}");
    assert!(text.contains(&format!("{} (holds none of its files)", root.path().display())), "{text}");
    assert!(text.contains("`tightrope data fetch mnist`") && text.contains("--from FOLDER"), "{text}");
    let text = message(&root.path().join("none"), Split::Test);
    assert!(text.contains("none/mnist (no such folder)"), "{text}");
    std::fs::remove_file(root.path().join("mnist/t10k-labels-idx1-ubyte")).unwrap();
    let text = message(root.path(), Split::Test);
    assert!(text.contains("t10k-labels-idx1-ubyte: missing") && text.contains("data fetch mnist"), "{text}");
}

#[test]
fn damaged_files_are_named_with_the_remedy() {
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("images-idx3", idx(&[3, 28, 28], &[0; 2351]), "truncated"),
        ("images-idx3", idx(&[3, 32, 32], &[0; 3072]), "holds items of [32, 32], expected [28, 28]"),
        ("images-idx3", idx(&[2, 28, 28], &[0; 1568]), "holds 2 images, but"),
        ("labels-idx1", idx(&[3], &[1, 2, 10]), "label 10 at position 2 is not between 0 and 9"),
        ("labels-idx1", idx(&[3, 28, 28], &[0; 2352]), "wrong magic number 0x00000803"),
    ];
    for (part, bytes, problem) in cases {
        let root = three();
        let path = root.path().join(format!("mnist/t10k-{part}-ubyte"));
        std::fs::write(&path, bytes).unwrap();
        let text = message(root.path(), Split::Test);
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert!(text.contains(problem) && text.contains("`tightrope data fetch mnist` again"), "{text}");
    }
}

fn check(set: &Dataset, count: usize, first: [usize; 5], sum: u64) {
    assert_eq!((set.len(), set.values(), set.shape), (count, count * 784, [1, 28, 28]));
    assert_eq!(set.labels[..5], first);
    let total: u64 = set.images().iter().map(|value| (value * 255.0).round() as u64).sum();
    assert_eq!(total, sum);
    assert!(set.canonical);
}

#[test]
fn the_real_files_load_and_are_canonical() {
    let Some(folder) = shared("data/mnist") else { return };
    let train = load("mnist", Split::Train, Some(&folder)).unwrap();
    check(&train, 60_000, [5, 0, 4, 1, 9], TRAIN_SUM);
    let ((mean, std), known) = (train.statistics(), info("mnist").unwrap());
    assert!((mean[0] - known.mean[0]).abs() < 5e-5 && (std[0] - known.std[0]).abs() < 5e-5);
    drop(train);
    check(&load("mnist", Split::Test, Some(&folder)).unwrap(), 10_000, [7, 2, 1, 0, 4], TEST_SUM);
}

const TRAIN_SUM: u64 = 1_567_298_545;
const TEST_SUM: u64 = 264_923_200;

#[test]
fn the_real_files_pass_the_published_checksums() {
    let Some(folder) = shared("data/mnist") else { return };
    let root = tempfile::tempdir().unwrap();
    let fetched = fetch_from("mnist", &folder, Some(root.path())).unwrap();
    assert_eq!(fetched.files.len(), 4);
    assert!(fetched.files.iter().all(|file| matches!(file.origin, Origin::Copied(_))));
    let again = fetch_from("mnist", &folder, Some(root.path())).unwrap();
    assert!(again.files.iter().all(|file| file.origin == Origin::Kept));
    assert!(load("mnist", Split::Test, Some(root.path())).unwrap().canonical);
}
