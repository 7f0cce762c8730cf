//! docs/formats.md names everything that is written and read, and nothing else.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use support::{TINY, read_tensors, succeeds, text, write_inputs};
use tightrope_network::Description;

fn document() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md")).unwrap()
}

/// The part of the document under `heading`.
fn section(heading: &str) -> String {
    let text = document();
    let start = text.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}")) + 1;
    let end = text[start + 3..].find("\n## ").map_or(text.len(), |end| start + 3 + end);
    text[start..end].to_string()
}

/// The names in the first column of the tables in a section whose heads begin with `head`.
fn documented(heading: &str, head: &str) -> BTreeSet<String> {
    let section = section(heading);
    let lines = section.lines().skip_while(|line| !line.starts_with(&format!("| {head} |")));
    let rows = lines.skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|line| line[3..].split('`').next().unwrap().to_string()).collect()
}

fn same(documented: BTreeSet<String>, found: BTreeSet<String>, what: &str) {
    let missing: Vec<_> = found.difference(&documented).collect();
    let extra: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}: not documented {missing:?}, documented in vain {extra:?}");
}

/// Dotted paths of everything in `value`; entries of lists stand under the list's own path.
fn paths(prefix: &str, value: &Value, open: &[&str], found: &mut BTreeSet<String>) {
    if !prefix.is_empty() && !open.contains(&prefix) {
        found.insert(prefix.into());
    }
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                paths(&path, value, open, found);
            }
        }
        Value::Array(list) => list.iter().filter(|value| value.is_object()).for_each(|value| {
            let before = found.contains(prefix);
            paths(prefix, value, open, found);
            if !before && open.contains(&prefix) {
                found.remove(prefix);
            }
        }),
        _ => {}
    }
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn files_of_a_run_and_of_its_certification() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeeds(&[&["train", "--out", text(&run), "--limit-train", "64", "--epochs", "1"], &TINY[..]].concat());
    let read = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();
    let line =
        |name: &str, number: usize| serde_json::from_str::<Value>(read(name).lines().nth(number).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    paths("", &line("metrics.jsonl", 0), &[], &mut found);
    same(documented("metrics.jsonl", "field"), found, "metrics.jsonl");
    let mut found = BTreeSet::new();
    paths("", &serde_json::from_str(&read("manifest.json")).unwrap(), &["machine"], &mut found);
    same(documented("manifest.json", "field"), found, "manifest.json");

    succeeds(&["certify", text(&run), "--limit", "3", "--alpha-steps", "5", "--alpha-seconds", "1"]);
    succeeds(&["certify", text(&run), "--limit", "3", "--alpha-steps", "5", "--alpha-seconds", "1", "--shard", "1/2"]);
    let mut settings = names(&line("certify.jsonl", 0)["settings"]);
    settings.extend(names(&line("certify.shard-1-of-2.jsonl", 0)["settings"]));
    same(documented("certify.jsonl", "setting"), settings, "certify.jsonl, header");
    same(documented("certify.jsonl", "field"), names(&line("certify.jsonl", 1)), "certify.jsonl");

    let checkpoint = std::fs::read(run.join("checkpoint.safetensors")).unwrap();
    let checkpoint = safetensors::SafeTensors::deserialize(&checkpoint).unwrap();
    for name in checkpoint.names() {
        assert!(section("checkpoint.safetensors").contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (onnx, inputs, out) = (path("model.onnx"), path("x.safetensors"), path("out.safetensors"));
    let model = support::model();
    tightrope_onnx::export(&model, &onnx).unwrap();
    write_inputs(&inputs);
    same(documented("Arrays of one's own", "name"), read_tensors(&inputs).into_keys().collect(), "inputs");
    let bounds = ["bounds", text(&onnx), "--inputs", text(&inputs), "--eps", "0.05", "--method", "ibp"];
    succeeds(&[&bounds[..], &["--layers", "--gradients", "-o", text(&out)]].concat());
    let general = |name: &String| {
        if let Some(parameter) = name.strip_prefix("grad.") {
            assert!(model.network.parameters().iter().any(|info| info.name == parameter), "{name}");
            return "grad.{parameter}".to_string();
        }
        match name.strip_prefix("layer").and_then(|rest| rest.split_once('.')) {
            Some((number, side)) if number.parse::<usize>().is_ok() => format!("layer{{i}}.{side}"),
            _ => name.clone(),
        }
    };
    same(documented("Bounds", "name"), read_tensors(&out).keys().map(general).collect(), "bounds");
    let attack = ["attack", text(&onnx), "--inputs", text(&inputs), "--eps", "0.05", "--steps", "1", "-o", text(&out)];
    succeeds(&attack);
    same(documented("Worst inputs", "name"), read_tensors(&out).into_keys().collect(), "attack");
}

#[test]
fn networks_as_text() {
    let section = section("Networks as text");
    let example = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let network = Description::from_toml(example, "docs/formats.md").unwrap().build().unwrap();
    assert_eq!(network.output_len(), 3);
    // The parser's own list of keys and kinds, as it names them in errors.
    let known = |layer: &str| -> BTreeSet<String> {
        let error = Description::from_toml(&format!("input = [1]\nlayers = [{layer}]"), "x").unwrap_err().to_string();
        let list = error.split("expected one of ").nth(1).unwrap_or_else(|| panic!("{error}"));
        list.split('`').skip(1).step_by(2).map(String::from).collect()
    };
    same(documented("Networks as text", "key"), known("{ kind = \"relu\", nothing = 1 }"), "keys of layers");
    for kind in known("{ kind = \"nothing\" }") {
        assert!(section.contains(&format!("`{kind}`")) && example.contains(&format!("kind = \"{kind}\"")), "{kind}");
    }
}

#[test]
fn results_of_a_list_have_the_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tightrope_onnx::export(&support::model(), &path("model.onnx")).unwrap();
    std::fs::write(path("list.csv"), "model.onnx,absent.vnnlib,1\n").unwrap();
    let (list, results) = (path("list.csv"), path("results.csv"));
    support::run(&["verify", text(&list), "--results-file", text(&results)]);
    let line = std::fs::read_to_string(&results).unwrap();
    let fields: Vec<&str> = line.trim_end().split(',').collect();
    assert_eq!(fields[1..3], ["model.onnx", "absent.vnnlib"]);
    assert_eq!(fields[4], "error");
    let columns = ["category", "network", "property", "preparation", "result", "seconds"];
    assert_eq!(fields.len(), columns.len());
    same(documented("Results of a list", "column"), columns.map(String::from).into(), "results file");
}

#[test]
fn landscapes() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeeds(&[&["train", "--out", text(&run), "--limit-train", "64", "--epochs", "1"], &TINY[..]].concat());
    let small = ["landscape", text(&run), "--images", "8", "--overwrite"];
    let read = |name: &str| std::fs::read_to_string(run.join("landscape").join(name)).unwrap();
    let mut found = BTreeSet::new();
    let mut columns = BTreeSet::new();
    for more in [["--points=41", "--methods=deeppoly"], ["--points=3", "--plane"]] {
        succeeds(&[&small[..], &more[..]].concat());
        paths("", &serde_json::from_str(&read("landscape.json")).unwrap(), &[], &mut found);
        let table = read(if more[1] == "--plane" { "plane.csv" } else { "slice.csv" });
        columns.extend(table.lines().next().unwrap().split(',').map(String::from));
    }
    // A small run may have no jump or kink to tell.
    for list in ["jumps", "kinks"] {
        found.extend(["from", "to", "size"].map(|name| format!("methods.curves.metrics.{list}.{name}")));
    }
    same(documented("Landscapes", "field"), found, "landscape.json");
    same(documented("Landscapes", "column"), columns, "slice.csv and plane.csv");
}
