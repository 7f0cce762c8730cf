//! Data sets through the command: image folders of one's own and in place of a named set, validation splits, the list.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{fails, run, succeeds, text};
use tightrope_testkit::shared::{cifar10, tinyimagenet};

/// Writes a grey PNG file of `side`×`side` pixels.
fn write_png(path: &Path, side: u32, value: impl Fn(usize) -> u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let bytes: Vec<u8> = (0..(side * side) as usize).map(value).collect();
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}

/// Writes a PNG file of `side`×`side` pixels of one colour.
fn write_colour_png(path: &Path, side: u32, red: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let bytes = [red, 100, 200].repeat((side * side) as usize);
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}

/// Bright, dark and striped images: twelve of each class to train on, four to test, of two sizes.
fn write_folder(root: &Path) {
    for (class, name) in ["bright", "dark", "striped"].iter().enumerate() {
        for (split, count) in [("train", 12), ("test", 4)] {
            for i in 0..count {
                let path = root.join(split).join(name).join(format!("{i:02}.png"));
                write_png(&path, 8 + 4 * (i % 2), |p| {
                    let noise = ((p * 31 + i as usize * 17) % 50) as u8;
                    [200 + noise, noise, if p % 2 == 0 { 200 } else { noise }][class]
                });
            }
        }
    }
}

fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[test]
fn an_image_folder_is_trained_on_validated_and_certified() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("signs"), folder.path().join("run"));
    write_folder(&data);
    let common = ["train", "--dataset", "folder", "--data-dir", text(&data), "--out", text(&out), "--model", "mlp"];
    fails(&common, &["has 12×12 pixels", "train/bright/00.png has 8×8", "data.resize = [8, 8]"]);
    let more = "--method ibp --eps 0.02 --epochs 4 --batch 8 --set data.resize=[8,8] --set train.validation=0.25 \
                --set train.flip=true --set train.crop=1 --set normalise=true";
    let output = run(&common.into_iter().chain(more.split_whitespace()).collect::<Vec<_>>());
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    assert!(log.contains("folder: the image folder ") && log.contains("3 classes"), "{log}");
    assert!(log.contains("; validation natural "), "{log}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("folder validation, 9 samples"));

    let manifest = json(&std::fs::read_to_string(out.join("manifest.json")).unwrap());
    let sets = manifest["data"].as_array().unwrap();
    assert_eq!((sets[0]["samples"].as_u64(), sets[1]["samples"].as_u64()), (Some(27), Some(9)));
    assert_eq!((&sets[0]["form"], &sets[1]["split"]), (&"folder".into(), &"validation".into()));
    assert_eq!(sets[0]["classes"], serde_json::json!(["bright", "dark", "striped"]));

    let certify = ["certify", text(&out), "--data-dir", text(&data), "--json", "--stages", "ibp"];
    let report = json(&succeeds(&[&certify[..], &["--split", "validation"]].concat()));
    assert_eq!((&report["split"], report["result"]["samples"].as_u64()), (&"validation".into(), Some(9)));
    // Another split is another certification.
    fails(&[&certify[..], &["--resume"]].concat(), &["split"]);
    let report = json(&succeeds(&[&certify[..], &["--overwrite"]].concat()));
    assert_eq!((&report["split"], report["result"]["samples"].as_u64()), (&"test".into(), Some(12)));
    // Only the run knows the size and what was kept.
    let model = out.join("model.onnx");
    let bare = ["certify", text(&model), "--dataset", "folder", "--data-dir", text(&data), "--eps", "0.01"];
    fails(&bare, &["data.resize"]);
    let digits = ["certify", text(&out), "--dataset", "digits", "--split", "validation", "--overwrite"];
    fails(&digits, &["--split validation", "train.validation=0.1"]);
}

#[test]
fn a_folder_val_serves_evaluations_and_keeps_the_test_set_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("signs"), folder.path().join("run"));
    write_folder(&data);
    write_png(&data.join("val/dark/1.png"), 8, |_| 10);
    // A test set that could not be read.
    std::fs::write(data.join("test/dark/00.png"), b"").unwrap();
    let train = ["train", "--dataset", "folder", "--data-dir", text(&data), "--out", text(&out), "--model", "mlp"];
    let sizes = ["--set", "data.resize=[8,8]", "--epochs", "1"];
    let report = json(&succeeds(&[&train[..], &sizes, &["--json"]].concat()));
    assert_eq!(
        (&report["last"]["test"]["split"], &report["last"]["test"]["samples"]),
        (&"validation".into(), &1.into())
    );
    let certify = ["certify", text(&out), "--data-dir", text(&data)];
    fails(&certify, &["test/dark/00.png: is empty, 0 bytes", "put a good copy in its place"]);
    let own = [&train[..], &sizes, &["--overwrite", "--set", "train.validation=0.5"]].concat();
    fails(&own, &["`train.validation`", "validation split of its own"]);
}

#[test]
fn samples_of_a_run_have_the_classes_that_it_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let [first, other, out] = ["first", "other", "run"].map(|name| folder.path().join(name));
    write_folder(&first);
    write_folder(&other);
    let sizes = ["--set", "data.resize=[8,8]", "--set", "train.validation=0.25"];
    let train = ["train", "--dataset", "folder", "--model", "mlp", "--method", "standard", "--epochs", "1"];
    let into = ["--data-dir", text(&first), "--out", text(&out)];
    succeeds(&[&train[..], &sizes, &into].concat());
    // Sorted after the others, so that each would have another's label.
    for split in ["train", "test"] {
        std::fs::rename(other.join(split).join("bright"), other.join(split).join("white")).unwrap();
    }
    let on_other = [text(&out), "--data-dir", text(&other)];
    let told = [text(&other), "(missing: bright; unknown: white)", text(&out), "name the class folders", "--data-dir"];
    fails(&[&["certify"], &on_other[..], &["--stages", "ibp"]].concat(), &told);
    fails(&[&["certify"], &on_other[..], &["--stages", "ibp", "--split", "validation"]].concat(), &told);
    fails(&[&["attack"], &on_other[..], &["--steps", "1"]].concat(), &told);
    fails(&["train", "--out", text(&out), "--data-dir", text(&other), "--resume"], &told);
    assert!(!out.join("certify.jsonl").exists());

    // A run may begin from one on other classes, which is told.
    let next = folder.path().join("next");
    let from = ["--data-dir", text(&other), "--out", text(&next), "--init-from", text(&out)];
    let output = run(&[&train[..], &sizes, &from].concat());
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("warning: the classes of `folder` are not called as"), "{log}");

    // Letters' case alone does not matter.
    for split in ["train", "test"] {
        std::fs::rename(other.join(split).join("white"), other.join(split).join("Bright")).unwrap();
    }
    let report = json(&succeeds(&[&["certify"], &on_other[..], &["--stages", "ibp", "--json"]].concat()));
    assert_eq!(report["result"]["samples"], 12);
}

#[test]
fn other_class_names_of_another_set_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let [own, cifar, out] = ["own", "cifar", "run"].map(|name| folder.path().join(name));
    let names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    for split in ["train", "test"] {
        for (class, name) in names.iter().enumerate() {
            write_colour_png(&own.join(split).join(format!("class {name}")).join("1.png"), 32, class as u8 * 20);
            write_colour_png(&cifar.join(split).join(name).join("1.png"), 32, class as u8 * 20);
        }
    }
    let train = ["train", "--dataset", "folder", "--data-dir", text(&own), "--out", text(&out), "--model", "mlp"];
    succeeds(&[&train[..], &["--epochs", "1", "--method", "standard"]].concat());
    let output = run(&["certify", text(&out), "--dataset", "cifar10", "--data-dir", text(&cifar), "--stages", "ibp"]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    assert!(log.contains("warning: the classes of `cifar10` are not called as"), "{log}");
    assert!(log.contains("missing: class airplane, ") && log.contains("unknown: airplane, "), "{log}");
}

#[test]
fn the_list_tells_what_is_there_and_how_to_get_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let place = ["--data-dir", text(folder.path())];
    for class in 0..10 {
        write_png(&folder.path().join(format!("mnist/train/{class}/1.png")), 28, |_| 0);
        write_png(&folder.path().join(format!("mnist/test/{class}/1.png")), 28, |_| 0);
    }
    let listed = succeeds(&[&["data", "list"], &place[..]].concat());
    let line =
        |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {listed}"));
    assert!(line("mnist").ends_with("mnist (image folder)"), "{listed}");
    assert!(line("digits").contains("built in"), "{listed}");
    assert!(line("cifar10 ").contains("missing; run `tightrope data fetch cifar10`"), "{listed}");
    assert!(line("cifar10 ").contains("3×32×32") && line("cifar10 ").contains("50000"), "{listed}");
    assert!(line("folder").contains("--data-dir"), "{listed}");
    let sets = json(&succeeds(&[&["data", "list", "--json"], &place[..]].concat()));
    let mnist = sets.as_array().unwrap().iter().find(|set| set["name"] == "mnist").unwrap();
    assert_eq!((&mnist["form"], &mnist["available"]), (&"stand-in".into(), &true.into()));
    fails(&[&["data", "fetch", "folder"], &place[..]].concat(), &["cannot be fetched", "FOLDER/train/CLASS"]);
    let out = folder.path().join("run");
    let train = ["train", "--dataset", "svhn", "--out", text(&out)];
    fails(&[&train[..], &place].concat(), &["data set `svhn` not found", "`tightrope data fetch svhn`"]);
}

/// A few steps of CNN5 from the real files; the data set `name` below `root`.
fn steps(name: &str, root: &Path) -> (String, Value) {
    let out = root.join("run");
    let train = ["train", "--dataset", name, "--data-dir", text(root), "--out", text(&out), "--model", "cnn5"];
    let more = "--method ibp --eps 2/255 --epochs 1 --batch 32 --limit-train 128 --set normalise=true --set train.flip=true \
                --set train.crop=4 --set train.validation=0.1 --set train.eval_limit=32";
    let output = run(&train.into_iter().chain(more.split_whitespace()).collect::<Vec<_>>());
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let report = json(metrics.lines().next().unwrap());
    assert_eq!((report["step"].as_u64(), &report["test"]["split"]), (Some(4), &"validation".into()));
    assert!(report["loss"].as_f64().unwrap().is_finite());
    let certify = ["certify", text(&out), "--data-dir", text(root), "--limit", "20", "--stages", "ibp"];
    (log, json(&succeeds(&[&certify[..], &["--json"]].concat())))
}

#[test]
fn cifar10_from_jpeg_files_takes_a_few_steps() {
    let Some(root) = cifar10() else { return };
    let (log, report) = steps("cifar10", root.path());
    assert!(log.contains("cifar10: read from the image folder") && log.contains("stands in"), "{log}");
    assert_eq!(report["samples_in_split"], 1000);
    let again =
        ["certify", text(&root.path().join("run")), "--data-dir", text(root.path()), "--overwrite"].map(String::from);
    let again: Vec<&str> = again.iter().map(String::as_str).chain(["--limit", "5", "--stages", "ibp"]).collect();
    assert!(succeeds(&again).contains("cifar10 test (image folder in place of the published files), first 5 of 1000"));
}

#[test]
fn tinyimagenet_takes_a_few_steps() {
    let Some(root) = tinyimagenet() else { return };
    let (_, report) = steps("tinyimagenet", root.path());
    assert_eq!((&report["data"], &report["samples_in_split"]), (&"tinyimagenet".into(), &2000.into()));
}
