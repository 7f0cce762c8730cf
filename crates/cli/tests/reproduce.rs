//! Studies of runs of a second.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{command, fails, succeeds, text};

const STUDY: &str = r#"
title = "Two rates"
about = "Does a network learn more at a useful rate than at none?"

[set]
dataset = "digits"
model = "mlp:20"
eps = 0.01
limit_train = 1000
train.epochs = 3
train.batch = 20
train.eval_every = 0
warmup.end = 1

[certify]
limit = 60
timeout = 5
stages = ["ibp", "crown"]

[profiles.smoke]
[profiles.laptop]
seeds = 1

[[block]]
name = "digits"
title = "Digits"
seeds = 3
column = "rate"
columns = [
    { name = "1e-2", at = 1e-2, set = { "train.lr" = 1e-2 } },
    { name = "1e-9", at = 1e-9, set = { "train.lr" = 1e-9 } },
]
row = "method"
rows = [{ name = "ibp", set = { "method.name" = "ibp" } }]

[[claim]]
text = "A useful rate learns more"
higher = "1e-2/ibp"
lower = "1e-9/ibp"

[[claim]]
text = "No rate learns more"
higher = "1e-9/ibp"
lower = "1e-2/ibp"
"#;

fn json(words: &[&str]) -> Value {
    serde_json::from_str(&succeeds(&[words, &["--json"]].concat())).unwrap()
}

/// Everything but what depends on time.
fn timeless(results: &Value) -> Value {
    let mut results = results.clone();
    results["folder"] = Value::Null;
    for trial in results["blocks"][0]["cells"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|c| c["trials"].as_array_mut().unwrap())
    {
        (trial["train_seconds"], trial["certify_seconds"]) = (Value::Null, Value::Null);
    }
    results
}

fn verdicts(results: &Value) -> Vec<&str> {
    results["verdicts"].as_array().unwrap().iter().map(|verdict| verdict["verdict"].as_str().unwrap()).collect()
}

#[test]
fn a_study_is_run_in_parts_put_together_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let study = path("rates.toml");
    std::fs::write(&study, STUDY).unwrap();
    let words = ["reproduce", text(&study), "--profile", "smoke", "-o"];
    let whole = path("whole");
    let found = json(&[&words[..], &[text(&whole), "--jobs", "2"]].concat());
    assert_eq!(verdicts(&found), ["supported", "not-supported"]);
    assert_eq!(found["blocks"][0]["cells"][0]["trials"].as_array().unwrap().len(), 3);
    let told = std::fs::read_to_string(whole.join("results.md")).unwrap();
    for part in [
        "# Two rates",
        "6 of 6 trials",
        "| method \\ rate | 1e-2 | 1e-9 |",
        "**not supported**",
        "by crown",
        "Machine: ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let table = std::fs::read_to_string(whole.join("results.csv")).unwrap();
    assert!(
        table.starts_with("study,profile,block,cell,seed,samples,natural,") && table.lines().count() == 7,
        "{table}"
    );
    assert!(std::fs::read_to_string(whole.join("results.tex")).unwrap().contains("\\toprule"));

    // Once more only tells it; another begin, another profile or another study are refused.
    assert_eq!(timeless(&json(&[&words[..], &[text(&whole), "--resume"]].concat())), timeless(&found));
    assert_eq!(json(&[&words[..], &[text(&whole), "--show"]].concat()), found);
    fails(&[&words[..], &[text(&whole)]].concat(), &["holds this study already", "--resume"]);
    fails(
        &["reproduce", text(&study), "--profile", "laptop", "-o", text(&whole), "--resume"],
        &["in the profile \"smoke\"", "add --profile smoke"],
    );
    fails(&["reproduce", "paradox", "--profile", "smoke", "-o", text(&whole), "--resume"], &["holds the study"]);
    std::fs::rename(whole.join("study.json"), path("mark")).unwrap();
    fails(&[&words[..], &[text(&whole), "--resume"]].concat(), &["study.json: is missing", "\"profile\":\"smoke\""]);
    std::fs::rename(path("mark"), whole.join("study.json")).unwrap();
    fails(&[&words[..], &[text(folder.path())]].concat(), &["no study's"]);

    // Parts in folders of their own give the same.
    let parts = [path("part1"), path("part2")];
    for (part, shard) in parts.iter().zip(["1/2", "2/2"]) {
        succeeds(&[&words[..], &[text(part), "--shard", shard]].concat());
    }
    let merged = path("merged");
    let merge = [&words[..], &[text(&merged), "--merge", text(&parts[0]), text(&parts[1])]].concat();
    assert_eq!(timeless(&json(&merge)), timeless(&found));
    fails(&[&words[..], &[text(&path("none")), "--merge", text(&path("rates"))]].concat(), &["holds no block"]);
}

#[test]
fn a_killed_study_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (study, out) = (folder.path().join("rates.toml"), folder.path().join("out"));
    std::fs::write(&study, STUDY).unwrap();
    let words = ["reproduce", text(&study), "--profile", "smoke", "-o", text(&out)];
    let done = |out: &Path| {
        std::fs::read_to_string(out.join("digits/journal.jsonl")).map_or(0, |text| text.matches("\"trial\":{").count())
    };
    let mut child = command(&words).stderr(std::process::Stdio::null()).spawn().unwrap();
    while done(&out) < 2 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = done(&out);
    assert!(before >= 2, "{before}");
    let found = json(&[&words[..], &["--resume"]].concat());
    assert_eq!((verdicts(&found), done(&out)), (vec!["supported", "not-supported"], 6));
}

#[test]
fn studies_are_listed_printed_and_checked() {
    let listed = json(&["reproduce", "--list"]);
    let names: Vec<&str> = listed["studies"].as_array().unwrap().iter().map(|s| s["study"].as_str().unwrap()).collect();
    assert!(names.starts_with(&["paradox", "rate"]), "{names:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    for name in names {
        // Settings that no training has would be told before anything is written: an empty folder is taken for a study's
        // only if all are right.
        let text_of = succeeds(&["reproduce", name, "--print"]);
        std::fs::write(&path, text_of.replace("[set]", "[set]\nnot_a_key = 1")).unwrap();
        let out = folder.path().join("x");
        fails(&["reproduce", text(&path), "--profile", "smoke", "-o", text(&out)], &["not_a_key", "block "]);
        let lines: Vec<&str> = text_of.lines().filter(|line| !line.starts_with("stages = ")).collect();
        std::fs::write(&path, lines.join("\n").replace("[certify]", "[certify]\nstages = [\"guess\"]")).unwrap();
        fails(&["reproduce", text(&path), "--profile", "smoke", "-o", text(&out)], &["guess"]);
        assert!(!out.exists());
    }
    fails(&["reproduce", "paradx", "-o", "x"], &["did you mean `paradox`"]);
    fails(&["reproduce", "paradox", "--profile", "smoke", "--blocks", "nowhere", "-o", "x"], &["cnn3-tiny-0.1"]);
    fails(&["reproduce", "paradox"], &["--out"]);
}
