//! What commands take from a run, from arrays of one's own, and from another network.

mod support;

use std::path::Path;

use support::{TINY, fails, floats, integers, run, succeeds, text, timeless_log, write_tensors};

fn document(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeeds(&[arguments, &["--json"]].concat())).unwrap()
}

/// A run that is not like the defaults in anything that a certification depends on.
fn unusual_run(out: &Path) {
    let settings = ["--set", "norm=2", "--set", "clip=[-0.5, 1.5]", "--eps", "0.3", "--limit-train", "320"];
    succeeds(&[&["train", "--out", text(out), "--epochs", "1"], &TINY[..], &settings[..]].concat());
}

#[test]
fn perturbation_and_data_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    unusual_run(&run);
    let out = |name: &str| text(&folder.path().join(name)).to_string();
    let certified = document(&["certify", text(&run), "--limit", "5"]);
    let expected = serde_json::json!({"eps": 0.3, "norm": "2", "clip": [-0.5, 1.5], "data": "digits"});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&certified[key], value, "{key}");
    }
    assert_eq!(certified["from_run"], serde_json::json!(["eps", "norm", "clip", "dataset"]));
    let header = &timeless_log(&run.join("certify.jsonl"))[0]["settings"];
    assert_eq!((&header["norm"], &header["eps"]), (&"2".into(), &0.3.into()));
    let attacked = document(&["attack", text(&run), "--limit", "5", "--steps", "2"]);
    assert_eq!((&attacked["norm"], &attacked["eps"]), (&"2".into(), &0.3.into()));
    assert_eq!((&attacked["samples"], &attacked["samples_in_split"]), (&5.into(), &2000.into()));
    let table = succeeds(&["attack", text(&run), "--limit", "5", "--steps", "2"]);
    for part in ["digits test, first 5 of 2000 samples, ℓ2 ε = 0.3", "/5  95 % interval "] {
        assert!(table.contains(part), "{table}");
    }
    // Flags go before, one by one.
    let asked = ["--norm", "inf", "--eps", "0.01", "--no-clip", "--out", &out("a")];
    let asked = document(&[&["certify", text(&run), "--limit", "5"], &asked[..]].concat());
    assert_eq!(
        (&asked["norm"], &asked["eps"], &asked["clip"]),
        (&"inf".into(), &0.01.into(), &serde_json::Value::Null)
    );
    assert_eq!(asked["from_run"], serde_json::json!(["dataset"]));
    let table = succeeds(&["certify", text(&run), "--limit", "5", "--norm", "1", "--out", &out("b")]);
    assert!(table.contains("ℓ1 ε = 0.3, clipped to [-0.5, 1.5]"), "{table}");
    assert!(
        table.contains("from the run's configuration: ε = 0.3, clipped to [-0.5, 1.5], data set digits"),
        "{table}"
    );
}

#[test]
fn what_train_says_next_works_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a run");
    let data = folder.path().join("no data");
    let train = ["train", "--out", text(&out), "--epochs", "1", "--limit-train", "320", "--data-dir", text(&data)];
    let said = succeeds(&[&train[..], &TINY[..]].concat());
    let next = said.lines().find_map(|line| line.strip_prefix("next: tightrope ")).unwrap();
    assert!(next.contains(&format!("--data-dir '{}'", text(&data))), "{next}");
    let shell = format!("'{}' {next} --limit 3", env!("CARGO_BIN_EXE_tightrope"));
    let done = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(done.status.success(), "{shell}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Four kinds of 6×6 images, told apart by the bright quarter; their halves may be two channels.
fn write_quarters(path: &Path, count: usize, channels: usize) {
    let labels: Vec<i64> = (0..count as i64).map(|i| i % 4).collect();
    let pixel = |i: usize, p: usize| {
        let quarter = (p / 6 / 3) * 2 + p % 6 / 3;
        if quarter as i64 == labels[i] { 0.9 } else { (i * 7 + p * 3) as f32 % 10.0 / 40.0 }
    };
    let pixels: Vec<f32> = (0..count).flat_map(|i| (0..36).map(move |p| (i, p))).map(|(i, p)| pixel(i, p)).collect();
    write_tensors(path, &[floats("x", &[count, channels, 6 / channels, 6], &pixels), integers("y", &labels)]);
}

#[test]
fn own_arrays_are_trained_on_certified_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_quarters(&path("train.safetensors"), 200, 1);
    write_quarters(&path("test.safetensors"), 40, 1);
    let (train, test, first) = (path("train.safetensors"), path("test.safetensors"), path("first"));
    let own =
        ["--inputs", text(&train), "--test-inputs", text(&test), "--model", "mlp", "--eps", "0.05", "--batch", "20"];
    let said = succeeds(&[&["train", "--out", text(&first), "--epochs", "4"], &own[..]].concat());
    assert!(said.contains("test.safetensors test, 40 samples: natural accuracy 100.00 %"), "{said}");
    let certified = document(&["certify", text(&first)]);
    assert_eq!((&certified["result"]["samples"], &certified["eps"]), (&40.into(), &0.05.into()));
    assert_eq!(certified["from_run"], serde_json::json!(["eps", "norm", "clip", "inputs"]));
    let elsewhere = text(&path("elsewhere")).to_string();
    let asked = document(&["certify", text(&first), "--inputs", text(&train), "--limit", "9", "--out", &elsewhere]);
    assert_eq!((&asked["result"]["samples"], &asked["samples_in_split"]), (&9.into(), &200.into()));

    // A second run from the first one's parameters starts where that one ended.
    let losses = |folder: &Path| -> Vec<f64> {
        let lines = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap())
            .collect()
    };
    for (start, name) in [(first.clone(), "second"), (first.join("model.onnx"), "third")] {
        let second = path(name);
        let more =
            ["--init-from", text(&start), "--epochs", "1", "--out", text(&second), "--set", "warmup.shape=constant"];
        succeeds(&[&["train"], &own[..], &more[..]].concat());
        assert!(losses(&second)[0] < 0.5 * losses(&first)[0], "{:?} {:?}", losses(&first), losses(&second));
    }
    let other = ["--init-from", text(&first), "--out", text(&path("x")), "--dataset", "digits", "--model", "mlp"]
        .map(String::from);
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    fails(&[&["train"], &other[..]].concat(), &["--init-from", "shape", "--model mlp"]);
    fails(&["train", "--test-inputs", text(&test), "--dataset", "digits"], &["--test-inputs", "--inputs"]);

    // A run is replaced only when that is asked for.
    let again = [&["train", "--out", text(&first), "--epochs", "1"], &own[..]].concat();
    fails(&again, &["not empty", "--overwrite"]);
    succeeds(&[&again[..], &["--overwrite"]].concat());
    assert_eq!(losses(&first).len(), 1);
    assert!(!first.join("certify.jsonl").exists());
}

#[test]
fn channels_have_radii_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_string();
    write_quarters(folder.path().join("data.safetensors").as_path(), 200, 2);
    let (data, run) = (path("data.safetensors"), path("run"));
    let own = ["--inputs", &data, "--test-inputs", &data, "--model", "mlp", "--eps", "0.05", "--batch", "20"];
    succeeds(&[&["train", "--out", &run, "--epochs", "3"], &own[..]].concat());
    let certified = |eps: &str, name: &str| {
        let out = path(name);
        let asked = ["certify", &run, "--eps", eps, "--out", &out, "--limit", "60", "--stages", "pgd,ibp,crown"];
        let document = document(&asked);
        let lines = timeless_log(&folder.path().join(name).join("certify.jsonl"));
        let verdicts: Vec<String> = lines[1..].iter().map(|line| line["verdict"].to_string()).collect();
        (document, lines[0]["settings"]["eps"].clone(), verdicts)
    };
    let (told, header, same) = certified("0.25,0.25", "same");
    assert_eq!((&told["eps"], &header), (&serde_json::json!([0.25, 0.25]), &serde_json::json!([0.25, 0.25])));
    assert!(told["perturbation"].as_str().unwrap().contains("ε = (0.25, 0.25)"), "{told}");
    // Equal radii are one radius; less in one channel proves no less, and more than that here.
    assert_eq!(same, certified("0.25", "one").2);
    let upper_half = certified("0.25,0", "half").2;
    let count = |verdicts: &[String], word: &str| verdicts.iter().filter(|verdict| verdict.contains(word)).count();
    assert!(same.iter().zip(&upper_half).all(|(all, half)| !all.contains("verified") || half.contains("verified")));
    assert!(count(&upper_half, "verified") > count(&same, "verified"), "{same:?} {upper_half:?}");

    // An attack moves each channel as far as it may.
    let worst = path("worst.safetensors");
    let attacked = document(&["attack", &run, "--eps", "1/4,0", "--limit", "60", "-o", &worst]);
    assert_eq!(attacked["eps"], serde_json::json!([0.25, 0.0]));
    let values = |file: &str| -> Vec<f32> {
        let tensors = support::read_tensors(Path::new(file));
        tensors["x"].2.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let moved = |channel: usize| {
        let pairs = values(&worst).into_iter().zip(values(&data)).enumerate();
        let moves = pairs.filter(|(i, _)| i / 18 % 2 == channel).map(|(_, (a, b))| (a - b).abs());
        moves.fold(0.0, f32::max)
    };
    assert!((0.249..=0.25).contains(&moved(0)) && moved(1) == 0.0, "{} {}", moved(0), moved(1));

    fails(&["certify", &run, "--eps", "0.1,0.1,0.1", "--out", &path("x")], &["--eps", "3 radii", "2 channels"]);
    fails(&["attack", &run, "--eps", "0.1,0.1", "--norm", "2"], &["--eps", "norm inf alone"]);
    fails(&["attack", &run, "--eps", "0.1,nine"], &["channel 2", "8/255"]);
    fails(&["landscape", &run, "--eps", "0.1,0.1"], &["--eps", "one number"]);
    fails(&["certify", &run, "--eps", "0.25,0.1", "--out", &path("half"), "--resume"], &["eps"]);
}

#[test]
fn a_run_without_its_configuration_file_is_resumed_by_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    unusual_run(&out);
    let before = std::fs::read(out.join("config.toml")).unwrap();
    std::fs::remove_file(out.join("config.toml")).unwrap();
    succeeds(&["train", "--out", text(&out), "--resume"]);
    assert!(std::fs::read(out.join("config.toml")).unwrap() == before);
    // Made longer, its schedules stay, which is said.
    let output = run(&["train", "--out", text(&out), "--resume", "--epochs", "3"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.contains("3 epochs instead of 1: train.milestones = ["), "{errors}");
}

#[test]
fn verbose_training_says_more() {
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str, flag: &[&str]| {
        let out = folder.path().join(name);
        let train = ["train", "--out", text(&out), "--epochs", "2", "--limit-train", "64"];
        let output = run(&[&train[..], &TINY[..], flag].concat());
        String::from_utf8(output.stderr).unwrap()
    };
    let (more, usual) = (said("a", &["-v"]), said("b", &[]));
    for part in ["robust weight", ", trained in ", ", evaluated in ", "engine"] {
        assert!(more.contains(part) && !usual.contains(part), "{part}: {more}\n{usual}");
    }
}
