//! Studies of runs of a second.

mod support;

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use support::{command, fails, files, succeeds, text};
use tightrope_study::{Study, builtins};
use tightrope_sweep::setting;
use tightrope_train::Config;

/// The profiles that every study has.
const PROFILES: [&str; 3] = ["smoke", "laptop", "paper"];

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
    for trial in found["blocks"][0]["cells"].as_array().unwrap().iter().flat_map(|c| c["trials"].as_array().unwrap()) {
        // Stages that certify nothing are told, too, or the means over seeds would leave them out.
        let stages: Vec<(String, f64)> = serde_json::from_value(trial["stages"].clone()).unwrap();
        assert!(stages.iter().map(|(name, _)| &**name).eq(["ibp", "crown"]), "{trial}");
        let certified = trial["certified"].as_f64().unwrap();
        assert!((stages.iter().map(|(_, share)| share).sum::<f64>() - certified).abs() < 1e-9, "{trial}");
        // Without an attack, all that is right and not certified is open.
        let open = trial["undecided"].as_u64().unwrap() as f64;
        assert!((trial["natural"].as_f64().unwrap() - certified - open / 60.0).abs() < 1e-9, "{trial}");
    }
    let told = std::fs::read_to_string(whole.join("results.md")).unwrap();
    for part in [
        "# Two rates",
        "6 of 6 trials",
        "| method \\ rate | 1e-2 | 1e-9 |",
        "**not supported**",
        "by crown | undecided |",
        " of 360 samples of all cells and seeds. What the stages decide within 5 s",
        "Machine: ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let table = std::fs::read_to_string(whole.join("results.csv")).unwrap();
    assert!(
        table.starts_with("study,profile,block,cell,seed,samples,natural,") && table.lines().count() == 7,
        "{table}"
    );
    let formats = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md")).unwrap();
    let section = formats.split("\n## Results of a study\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert!(table.lines().next().unwrap().split(',').eq(documented), "{table}");
    let latex = std::fs::read_to_string(whole.join("results.tex")).unwrap();
    for part in
        ["\\toprule", "% A useful rate learns more | digits | 1e-2/ibp > 1e-9/ibp | 3 |", "| supported\n", "by crown"]
    {
        assert!(latex.contains(part), "{part}: {latex}");
    }

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

    // What is refused leaves nothing behind.
    let refused = |words: &[&str], parts: &[&str]| {
        fails(words, parts);
        assert!(!path("none").exists(), "{words:?}");
    };
    let none = path("none");
    let merge = |study: &Path, profile: &str, parts: &[&Path], why: &[&str]| {
        let parts: Vec<&str> = parts.iter().map(|part| text(part)).collect();
        let words = ["reproduce", text(study), "--profile", profile, "-o", text(&none), "--merge"];
        refused(&[&words[..], &parts].concat(), why);
    };
    merge(&study, "smoke", &[&parts[0], &path("rates")], &["rates: holds no part of the study"]);
    merge(&study, "laptop", &[&parts[0]], &["part1: holds the study", "in the profile \"smoke\""]);
    merge("rate".as_ref(), "smoke", &[&parts[0]], &["part1: holds the study", "put together is rate"]);
    succeeds(&[&words[..], &[text(&path("other1")), "--shard", "1/2", "--jobs", "2"]].concat());
    let journal = path("other1").join("digits/journal-1-of-2.jsonl");
    let lines = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, lines.lines().next().unwrap().to_owned() + "\n").unwrap();
    merge(&study, "smoke", &[&parts[0], &path("other1")], &["is another journal than", "each its own i"]);

    // Neither is a definition that has changed since told or put together.
    let told = files(&whole);
    let shown = [&words[..], &[text(&whole), "--show"]].concat();
    let lines: Vec<&str> = STUDY.lines().collect();
    let first = lines.iter().position(|line| line.contains("name = \"1e-2\"")).unwrap();
    let mut swapped = lines.clone();
    swapped.swap(first, first + 1);
    for (changed, parts) in [
        (swapped.join("\n"), ["configuration 0: ", "\"train.lr\":1e-9"]),
        (STUDY.replace("limit = 60", "limit = 10000"), ["limit: 60 there, 10000 now", "digits/journal.jsonl"]),
    ] {
        std::fs::write(&study, changed).unwrap();
        fails(&shown, &parts);
        fails(&[&words[..], &[text(&whole), "--resume"]].concat(), &parts);
        assert_eq!(files(&whole), told);
        merge(&study, "smoke", &[&whole], &parts);
    }
}

#[test]
fn parts_that_begin_at_once_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("rates.toml");
    std::fs::write(&study, STUDY.replace("limit_train = 1000", "limit_train = 40")).unwrap();
    for attempt in 0..3 {
        let out = folder.path().join(attempt.to_string());
        let part = |shard: &str| {
            let words = ["reproduce", text(&study), "--profile", "laptop", "-o", text(&out), "--shard", shard];
            command(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for child in ["1/2", "2/2"].map(part) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{attempt}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let found = json(&["reproduce", text(&study), "--profile", "laptop", "-o", text(&out), "--show"]);
        let cells = found["blocks"][0]["cells"].as_array().unwrap();
        assert!(cells.iter().all(|cell| cell["trials"].as_array().unwrap().len() == 1), "{found}");
    }
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
    // Seeds are the definition's.
    let out = folder.path().join("x");
    fails(&["reproduce", "rate", "--profile", "smoke", "--seed", "7", "-o", text(&out)], &["--seed 7", "`seeds`"]);
    assert!(!out.exists());
    // A profile that asks for ten seeds gets them.
    let study = |name: &str| listed["studies"].as_array().unwrap().iter().find(|study| study["study"] == name).unwrap();
    assert_eq!(study("sigma")["trials"], serde_json::json!({ "smoke": 11, "laptop": 55, "paper": 110 }));
}

/// A rate at which all trials fail, and a claim of two blocks.
#[test]
fn what_has_failed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (study, out) = (folder.path().join("rates.toml"), folder.path().join("out"));
    let definition = STUDY
        .replace("set = { \"train.lr\" = 1e-9 }", "set = { \"train.lr\" = 3e38, \"train.grad_clip\" = 0 }")
        .replace("limit_train = 1000", "limit_train = 1000\ntrain.validation = 0.5");
    let block = definition.split("[[block]]").nth(1).unwrap().split("[[claim]]").next().unwrap();
    let other =
        block.replace("\"digits\"", "\"kept\"").replace("seeds = 3", "seeds = 3\ncertify = { split = \"validation\" }");
    let claim =
        "text = \"Data\"\nhigher = \"1e-2/ibp\"\nlower = \"1e-2/ibp\"\nlower_block = \"kept\"\nblocks = [\"digits\"]";
    let definition = definition.replacen("[[claim]]", &format!("[[block]]{other}\n[[claim]]\n{claim}\n\n[[claim]]"), 1);
    std::fs::write(&study, definition).unwrap();
    let words = ["reproduce", text(&study), "--profile", "laptop", "-o", text(&out)];
    succeeds(&[&words[..], &["--jobs", "2"]].concat());
    let shown = succeeds(&[&words[..], &["--show"]].concat());
    let failed = "1e-9/ibp, seed 1: train ended with exit code 4: training diverged: ";
    for part in
        ["4 of 4 trials, 2 failed", "[digits]: failed", "[digits and kept]: inconclusive", &format!("failed: {failed}")]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let row = shown.lines().find(|line| line.starts_with("1e-9/ibp ")).unwrap();
    assert_eq!(row.split_whitespace().nth(1), Some("0/1"), "{shown}");
    let told = std::fs::read_to_string(out.join("results.md")).unwrap();
    let both = "1e-2/ibp of digits > 1e-2/ibp of kept";
    for part in [
        "4 of 4 trials, 2 failed.",
        &format!("| {both} |"),
        "| other data |",
        "**failed**",
        &format!("Failed: {failed}"),
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(std::fs::read_to_string(out.join("results.tex")).unwrap().contains(both));
}

/// Each built-in study in each profile.
fn all_studies() -> impl Iterator<Item = Study> {
    builtins().flat_map(|(name, _)| PROFILES.map(|profile| Study::load(name, profile).unwrap()))
}

#[test]
fn the_rate_falls_within_each_run_of_the_studies() {
    for study in all_studies() {
        for (block, cell) in study.blocks.iter().flat_map(|block| block.cells.iter().map(move |cell| (block, cell))) {
            let sets: Vec<String> = cell.settings.iter().map(|(key, value)| setting(key, value)).collect();
            let train = Config::parse("", &cell.name, &sets).unwrap().train;
            let milestones = train.milestones.unwrap();
            assert!(
                !milestones.is_empty() && milestones.iter().all(|&milestone| milestone < train.epochs as f64),
                "{}, {}, {}, {}: milestones {milestones:?} of {} epochs",
                study.name,
                study.profile,
                block.name,
                cell.name,
                train.epochs
            );
        }
    }
}

#[test]
fn what_is_claimed_of_the_default_rate_is_of_the_default_rate() {
    let default = Config::default().train.lr;
    let mut seen = 0;
    for study in all_studies() {
        for claim in study.claims.iter().filter(|claim| claim.text.ends_with("the default rate")) {
            let times = [
                ("at a quarter of the", 0.25),
                ("at the", 1.0),
                ("at two and a half times the", 2.5),
                ("at ten times the", 10.0),
                ("at twenty-five times the", 25.0),
            ];
            let told = claim.text.strip_suffix(" default rate").unwrap();
            let (_, factor) = times.into_iter().find(|(words, _)| told.ends_with(words)).unwrap();
            for name in [&claim.higher, &claim.lower] {
                let rate = study.blocks[0].cell(name).unwrap().settings["train.lr"].as_f64().unwrap();
                assert!((rate / default - factor).abs() < 1e-9, "{}: {name}", claim.text);
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 15, "five claims in each profile of the study `rate`");
}
