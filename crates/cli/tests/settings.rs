//! Settings that cannot be: refused before anything is begun, by the name under which they were given.

mod support;

use std::path::Path;

use support::{TINY, fails, floats, integers, run, succeeds, text, write_tensors};

/// The command must fail with these parts in its message and leave no folder `out`.
fn refused(arguments: &[&str], out: &Path, parts: &[&str]) {
    fails(&[arguments, &["--out", text(out)]].concat(), parts);
    assert!(!out.exists(), "{arguments:?} left {}", out.display());
}

#[test]
fn flags_and_settings_are_checked_together() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let few = ["train", "--epochs", "1", "--limit-train", "32", "--smoothing", "pgpe", "--method", "ibp"];
    let adapted = ["--set", "smoothing.adapt=population", "--set", "smoothing.population_max=32"];
    // The bound is below the default population of 256, not below that of the flag.
    succeeds(&[&few[..], &["--population", "8", "--out", text(&out)], &adapted, &TINY].concat());
    let config = std::fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("\npopulation = 8\n") && config.contains("\npopulation_max = 32\n"), "{config}");
    let again = folder.path().join("again");
    refused(&[&few[..], &["--population", "64"], &adapted].concat(), &again, &["smoothing.population = 64"]);
}

#[test]
fn sweeps_do_not_begin_with_values_that_no_run_can_have() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, out) = (folder.path().join("recipe.toml"), folder.path().join("sweep"));
    std::fs::write(&recipe, "dataset = \"digits\"\nmodel = \"cnn3-tiny\"\n").unwrap();
    let grid = |axis: &str, parts: &[&str]| refused(&["sweep", text(&recipe), "--grid", axis], &out, parts);
    grid("eps=abc", &["eps", "abc", "fraction"]);
    grid("train.lr=1e-3,-1", &["the value -1 of the axis train.lr", "> 0"]);
    grid("train.epochs=1,1.5", &["1.5", "whole number"]);
    grid("train.flip=3", &["train.flip", "true or false"]);
    grid("smoothing.kind=rgs,foo", &["foo", "rgs"]);
    grid("method.name=ibp,ipb", &["ipb", "ibp"]);
    grid("method.box_share=0.5,2", &["method.box_share", "(0, 1]"]);
    grid("method.relaxation=crwn", &["crwn", "crown"]);
    let range = |axis: &str, parts: &[&str]| {
        let draw = ["sweep", text(&recipe), "--random", "2", "--range", axis];
        refused(&draw, &out, parts);
    };
    range("train.epochs=1..2", &["train.epochs", "add :int"]);
    range("train.lr=-1..1", &["train.lr", "-1"]);
    range("smoothing.kind=1..2", &["smoothing.kind", "rgs"]);
    range("train.lr=nan..1", &["NaN", "no finite number"]);
    range("train.lr=nan", &["a range is key=lo..hi"]);
    fails(&["sweep", "show", text(&folder.path().join("none"))], &["no such folder", "tightrope sweep"]);
}

#[test]
fn errors_name_the_flag_and_the_choices() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, out) = (folder.path().join("recipe.toml"), folder.path().join("run"));
    std::fs::write(&recipe, "dataset = \"digits\"\nmodel = \"cnn3-tiny\"\n").unwrap();
    let train = |more: &[&str], parts: &[&str]| refused(&[&["train", text(&recipe)], more].concat(), &out, parts);
    train(&["--set", "eps=abc"], &["--set eps=abc", "no radius"]);
    train(&["--set", "train.epochs=many"], &["--set train.epochs=many", "whole number"]);
    train(&["--smoothing", "foo"], &["--smoothing foo", "`rgs`"]);
    train(&["--set", "train.average=true"], &["train.average", "true", "none, swa or ema"]);
    train(&["--set", "train.optimiser=1"], &["train.optimiser", "adam"]);
    train(&["--set", "smoothing.kind=5"], &["smoothing.kind", "grad, rgs, pgpe or mixed"]);
    train(&["--set", "qqqq=5"], &["qqqq", "`tightrope config` lists all"]);
    // What stands in the recipe is the recipe's.
    std::fs::write(&recipe, "eps = \"abc\"\n").unwrap();
    train(&["--set", "train.lr=1e-3"], &["recipe.toml", "no radius"]);
    fails(&["recipe", "show", "nosuch"], &["did you mean", "Others like it"]);
}

#[test]
fn a_warm_up_beyond_the_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = ["train", "--out", text(&out), "--limit-train", "32", "--epochs", "1", "--set", "warmup.end=1e9"];
    let output = run(&[&train, &TINY[..]].concat());
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && notes.contains("warmup.end = 1e9") && notes.contains("train.epochs = 1"),
        "{notes}"
    );
}

/// A part of training arrays that was kept for validation is certified as that of a data set is.
#[test]
fn validation_samples_of_arrays_are_certified() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let count = 40;
    let x: Vec<f32> = (0..count * 16).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let y: Vec<i64> = (0..count as i64).map(|i| i % 2).collect();
    write_tensors(&path("x.safetensors"), &[floats("x", &[count, 1, 4, 4], &x), integers("y", &y)]);
    let (arrays, run) = (path("x.safetensors"), path("run"));
    let train =
        ["train", "--inputs", text(&arrays), "--model", "mlp", "--eps", "0.01", "--epochs", "1", "--out", text(&run)];
    succeeds(&[&train[..], &["--set", "train.validation=0.25"]].concat());
    let certify = ["certify", text(&run), "--split", "validation", "--stages", "ibp", "--json"];
    let found: serde_json::Value = serde_json::from_str(&succeeds(&certify)).unwrap();
    assert_eq!((&found["samples_in_split"], &found["split"]), (&10.into(), &"validation".into()));
    let plain = path("plain");
    let train = ["train", "--inputs", text(&arrays), "--model", "mlp", "--epochs", "1", "--out", text(&plain)];
    succeeds(&train);
    fails(&["certify", text(&plain), "--split", "validation", "--stages", "ibp"], &["no test arrays"]);
}
