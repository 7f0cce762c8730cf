//! docs/formats.md names everything that a sweep writes and is told, and nothing else.
#![cfg(unix)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use support::{lists, plan, ranges, run};
use tightrope_sweep::{Strategy, Sweep};

/// The names in the first column of the table in the section `heading` whose head begins with `head`.
fn documented(heading: &str, head: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md")).unwrap();
    let start = text.find(&format!("\n## {heading}\n")).unwrap() + 1;
    let section = text[start..].split("\n## ").next().unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with(&format!("| {head} |")));
    let rows = lines.skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|line| line[3..].split('`').next().unwrap().to_string()).collect()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn first(path: &Path) -> Value {
    serde_json::from_str(std::fs::read_to_string(path).unwrap().lines().next().unwrap()).unwrap()
}

#[test]
fn journal_and_results() {
    let folder = tempfile::tempdir().unwrap();
    let mut tpe = plan(Strategy::Tpe { configurations: 1, lag: 1 }, ranges(), 1);
    // What the command adds.
    for name in ["recipe", "set", "split", "limit", "timeout", "stages"] {
        tpe.setting.insert(name.into(), Value::Null);
    }
    let mut sweep = Sweep::begin(&folder.path().join("tpe"), tpe, None, false).unwrap();
    sweep.ask(false).unwrap();
    sweep.tell(r#"{"trial": 0, "natural": 1, "certified": 1}"#).unwrap();
    let path = folder.path().join("tpe/journal.jsonl");
    assert_eq!(names(&first(&path)["settings"]), documented("A sweep's journal", "setting"));
    let text = std::fs::read_to_string(path).unwrap();
    let kinds = text.lines().skip(1).flat_map(|line| names(&serde_json::from_str(line).unwrap()));
    let kinds: BTreeSet<String> = kinds.filter(|name| name != "crc32c").collect();
    assert_eq!(kinds, documented("A sweep's journal", "line"));

    let mut sweep =
        Sweep::begin(&folder.path().join("grid"), plan(Strategy::Grid, lists(&["x=0"]), 1), None, false).unwrap();
    run(&mut sweep, 1, false, None);
    let columns = documented("Results of a sweep", "column");
    assert_eq!(names(&first(&folder.path().join("grid/results.jsonl"))), columns);
    let table = std::fs::read_to_string(folder.path().join("grid/results.csv")).unwrap();
    let head = table.lines().next().unwrap().split(',').map(|name| if name == "x" { "parameters" } else { name });
    assert_eq!(head.map(String::from).collect::<BTreeSet<_>>(), columns);
}

#[test]
fn lines_that_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut sweep = Sweep::begin(folder.path(), plan(Strategy::Told, vec![], 1), None, false).unwrap();
    // The reader's own list of fields, as it names them in errors.
    let error = sweep.tell(&json!({ "nothing": 1 }).to_string()).unwrap_err().to_string();
    let list = error.split("expected one of ").nth(1).unwrap().split(" at line").next().unwrap();
    let known: BTreeSet<String> = list.split('`').skip(1).step_by(2).map(String::from).collect();
    assert_eq!(known, documented("Results of a sweep", "field"));
}
