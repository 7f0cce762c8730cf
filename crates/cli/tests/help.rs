//! Help texts and the JSON form of results.

mod support;

use support::{TINY, succeeds, text, write_inputs};

#[test]
fn every_command_has_help_with_an_example_and_the_common_options() {
    let commands: [&[&str]; 24] = [
        &["quickstart"],
        &["train"],
        &["sweep"],
        &["sweep", "ask"],
        &["sweep", "tell"],
        &["sweep", "show"],
        &["certify"],
        &["attack"],
        &["bounds"],
        &["verify"],
        &["merge"],
        &["check"],
        &["export"],
        &["report"],
        &["landscape"],
        &["data"],
        &["data", "list"],
        &["data", "fetch"],
        &["config"],
        &["recipe"],
        &["recipe", "list"],
        &["recipe", "show"],
        &["completions"],
        &["man"],
    ];
    for command in commands {
        let help = succeeds(&[command, &["--help"]].concat());
        assert!(help.contains("Example:\n  tightrope "), "{command:?}: {help}");
        for option in ["--seed", "--threads", "--device", "--json", "--quiet", "--verbose"] {
            assert!(help.contains(option), "{command:?}: {option} is missing in {help}");
        }
    }
    assert!(succeeds(&["--help"]).contains("quickstart"));
    assert!(succeeds(&["--version"]).starts_with("tightrope "));
}

#[test]
fn json_is_one_document_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_inputs(&path("x.safetensors"));
    let (run, inputs, out) = (path("run"), path("x.safetensors"), path("out.safetensors"));
    let (run, inputs, out) = (text(&run), text(&inputs), text(&out));
    let document = |arguments: &[&str]| {
        let output = succeeds(&[arguments, &["--json"]].concat());
        serde_json::from_str::<serde_json::Value>(&output).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {output}"))
    };
    let train = [&["train", "--out", run, "--limit-train", "64", "--epochs", "1"], &TINY[..]].concat();
    assert_eq!(document(&train)["epochs"], 1);
    let certified = document(&["certify", run, "--limit", "20", "--eps", "0.05"]);
    assert_eq!(certified["result"]["samples"], 20);
    assert_eq!(document(&["attack", run, "--limit", "20", "--steps", "2"])["samples"], 20);
    let bounds = document(&["bounds", run, "--inputs", inputs, "--eps", "8/255", "--method", "crown", "-o", out]);
    assert_eq!(bounds["samples"], 5);
    assert_eq!(document(&["export", run, "--to", "safetensors", "-o", out])["files"][0], out);
    let listed = document(&["data", "list"]);
    assert!(listed.as_array().unwrap().iter().any(|set| set["name"] == "digits" && set["available"] == true));
    assert_eq!(document(&["data", "fetch", "digits"])["name"], "digits");
    let keys = document(&["config", "train.lr"]);
    assert_eq!((keys[0]["key"].as_str(), keys[0]["type"].as_str()), (Some("train.lr"), Some("number")));
}

#[test]
fn every_configuration_key_is_explained_and_flags_tell_their_defaults() {
    let text = succeeds(&["config"]);
    let help = succeeds(&["train", "--help"]);
    let flags = [
        ("dataset", "--dataset"),
        ("model", "--model"),
        ("eps", "--eps"),
        ("method.name", "--method"),
        ("smoothing.kind", "--smoothing"),
        ("smoothing.sigma", "--sigma"),
        ("train.epochs", "--epochs"),
        ("train.batch", "--batch"),
        ("train.lr", "--lr"),
    ];
    for key in tightrope_train::Config::keys() {
        let example = format!("    for example {} = {}\n", key.path, key.example);
        let entry = format!("{}  ({}, default {})\n    {}\n{example}", key.path, key.values(), key.default, key.about);
        assert!(text.contains(&entry), "{entry}");
        if let Some((_, flag)) = flags.iter().find(|(path, _)| *path == key.path) {
            let start = help.find(&format!("{flag} <")).unwrap();
            let own: String = help[start..].lines().take(4).map(|line| format!("{} ", line.trim())).collect();
            assert!(own.contains(&format!("[default: {}]", key.default.trim_matches('"'))), "{flag}: {own}");
        }
    }
    for info in tightrope_train::methods::METHODS {
        for key in info.keys().unwrap() {
            let head = format!("{}  ({}, default {}, of method {})", key.path, key.values(), key.default, info.name);
            let entry = format!("{head}\n    {}\n", key.about);
            assert!(text.contains(&entry), "{entry}");
        }
    }
    support::fails(&["config", "train.lrr"], &["`train.lrr` is no configuration key", "`train.lr`"]);
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeeds(&["completions", shell]);
        assert!(script.contains("tightrope") && script.contains("init-from"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    let document: serde_json::Value = serde_json::from_str(&succeeds(&["man", text(&pages), "--json"])).unwrap();
    for name in ["tightrope", "tightrope-certify", "tightrope-sweep-ask", "tightrope-man"] {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS") && page.contains("\\-\\-threads"), "{name}: {page}");
        assert!(
            document["files"]
                .as_array()
                .unwrap()
                .iter()
                .any(|file| file.as_str().unwrap().ends_with(&format!("{name}.1")))
        );
    }
    assert!(std::fs::read_to_string(pages.join("tightrope-certify.1")).unwrap().contains("tightrope certify"));
    std::fs::write(folder.path().join("file"), "x").unwrap();
    support::fails(&["man", text(&folder.path().join("file"))], &["cannot make the folder"]);
}

#[test]
fn quiet_is_quiet_and_bars_stay_off_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = [&["train", "--out", text(&out), "--limit-train", "64", "--epochs", "2"], &TINY[..]].concat();
    let output = support::run(&[&train[..], &["--quiet"]].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));

    std::fs::remove_dir_all(&out).unwrap();
    let output = support::run(&train);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !log.contains('\u{1b}') && !log.contains('\r'), "{log:?}");
    assert_eq!(log.lines().filter(|line| line.starts_with("epoch ")).count(), 2, "{log}");
}
