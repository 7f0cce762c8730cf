//! Help texts and the JSON form of results.

mod support;

use support::{TINY, succeeds, text, write_inputs};

#[test]
fn every_command_has_help_with_an_example_and_the_common_options() {
    let commands: [&[&str]; 11] = [
        &["quickstart"],
        &["train"],
        &["certify"],
        &["attack"],
        &["bounds"],
        &["verify"],
        &["check"],
        &["export"],
        &["data"],
        &["data", "list"],
        &["data", "fetch"],
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
