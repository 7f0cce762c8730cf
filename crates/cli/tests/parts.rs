//! Parts of a certification that run by themselves, and their logs as one.

mod support;

use support::{TINY, fails, succeeds, text, timeless_log};

#[test]
fn parts_of_a_certification_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_string();
    let run = path("run");
    succeeds(&[&["train", "--out", &run, "--epochs", "1", "--limit-train", "320"], &TINY[..]].concat());
    let certify = ["certify", &run, "--limit", "300", "--stages", "pgd,ibp,crown"];
    let table = succeeds(&certify);
    let part = |shard: &str, more: &[&str]| succeeds(&[&certify[..], &["--shard", shard], more].concat());
    let told = part("1/2", &[]);
    assert!(told.contains("part 1 of 2 of first 300 of 2000 samples"), "{told}");
    let document: serde_json::Value = serde_json::from_str(&part("2/2", &["--json"])).unwrap();
    assert_eq!((&document["shard"], &document["result"]["samples"]), (&"2/2".into(), &128.into()));
    let parts = [1, 2].map(|index| format!("{run}/certify.shard-{index}-of-2.jsonl"));
    let merged = path("merged.jsonl");
    let said = succeeds(&["merge", "-o", &merged, &parts[1], &parts[0]]);
    let sorted = |file: &str| {
        let mut lines = timeless_log(file.as_ref());
        lines[1..].sort_by_key(|line| line["index"].as_u64());
        lines
    };
    assert_eq!(timeless_log(merged.as_ref()), sorted(&format!("{run}/certify.jsonl")));
    // The accuracies of the whole, as one certification tells them.
    let accuracies =
        |text: &str| text.lines().filter(|line| line.contains("accuracy")).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(accuracies(&said), accuracies(&table));

    // The whole goes on with what was put together, a part with its own log alone.
    std::fs::rename(&merged, format!("{run}/certify.jsonl")).unwrap();
    assert!(succeeds(&[&certify[..], &["--resume"]].concat()).contains("300"));
    fails(&[&certify[..], &["--shard", "1/2"]].concat(), &["certify.shard-1-of-2.jsonl", "--resume"]);
    part("1/2", &["--resume"]);
    fails(&["merge", "-o", &merged, &parts[0]], &["2 are missing"]);
    fails(&["merge", "-o", &parts[1], &parts[0], &parts[1]], &["is the input itself"]);
    std::fs::write(path("results.csv"), "a,b.onnx,c.vnnlib,0.1,unsat,0.2\n").unwrap();
    fails(&["merge", "-o", &merged, &parts[0], &path("results.csv")], &["results.csv is no such log"]);
    fails(&["merge", "-o", &path("results.csv"), &parts[0], &parts[1]], &["exists already", "--overwrite"]);
    fails(&["merge", "-o", &merged, &run], &["is a folder", "reproduce"]);
    fails(&[&certify[..], &["--shard", "3/2"]].concat(), &["`3/2`", "1/4"]);
    assert!(!folder.path().join("merged.jsonl").exists());
}
