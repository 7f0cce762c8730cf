//! `tightrope report` on real runs, on what is no run, and where the page must not go.

mod support;

use std::path::Path;

use support::{TINY, fails, files, succeeds, text, write_tensors};

fn train(out: &Path, more: &[&str]) {
    succeeds(&[&["train", "--out", text(out), "--limit-train", "64", "--epochs", "1"], &TINY[..], more].concat());
}

#[test]
fn a_page_of_runs_is_written_whole_and_tells_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(&path("runs/certified"), &[]);
    succeeds(&["certify", text(&path("runs/certified")), "--limit", "4", "--stages", "ibp"]);
    train(&path("runs/deeper/plain"), &["--method", "standard"]);
    let page = path("page.html");
    let document: serde_json::Value = serde_json::from_str(&succeeds(&[
        "report",
        text(&path("runs")),
        "-o",
        text(&page),
        "--samples",
        "3",
        "--json",
    ]))
    .unwrap();
    assert_eq!((&document["runs"], &document["remarks"]), (&2.into(), &serde_json::json!([])));
    assert_eq!(document["fronts"][0]["outcomes"].as_array().unwrap().len(), 2);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.trim_end().ends_with("</html>"));
    assert_eq!(html.matches("data:image/png;base64,").count(), 6, "three images of each of two runs");
    for part in ["certified", "deeper/plain", "by crown (= deeppoly) in 8 steps", "sample 0", "data.test.sha256"] {
        assert!(html.to_lowercase().contains(part), "{part}");
    }
    // The same runs give the same page, in place of the one that is there.
    let said = succeeds(&["report", text(&path("runs")), "-o", text(&page), "--samples", "3"]);
    assert!(said.contains("hypervolume") && said.contains("(2 runs, "), "{said}");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), html);

    // Without data, without samples, and with damage there is a page nonetheless.
    let config = path("runs/deeper/plain/config.toml");
    let renamed = std::fs::read_to_string(&config).unwrap().replace("\"digits\"", "\"mnist\"");
    std::fs::write(&config, renamed).unwrap();
    std::fs::write(path("runs/certified/metrics.jsonl"), "{\n").unwrap();
    let nowhere = path("nowhere");
    let output = support::run(&["report", text(&path("runs")), "-o", text(&page), "--data-dir", text(&nowhere)]);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("certified, metrics.jsonl: 1 damaged and left out: line 1"), "{notes}");
    assert!(notes.contains("deeper/plain, sample images: ") && notes.contains("mnist"), "{notes}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("Not everything could be read"));
    let quiet = support::run(&["report", text(&path("runs/deeper")), "-o", text(&page), "--samples", "0", "-q"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty());
    assert!(!std::fs::read_to_string(&page).unwrap().contains("data:image"));
}

/// What was certified and drawn before a run went on is no result of the model that it has now.
#[test]
fn results_of_an_earlier_model_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (run, page) = (folder.path().join("run"), folder.path().join("page.html"));
    train(&run, &[]);
    let certify = ["certify", text(&run), "--limit", "4", "--stages", "ibp"];
    succeeds(&certify);
    succeeds(&["landscape", text(&run), "--points", "3", "--samples", "4", "--images", "4"]);
    // Whether the front has the certification, and what is said beside.
    let report = || {
        let output = support::run(&["report", text(&run), "-o", text(&page), "--samples", "0", "--json"]);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{notes}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (document["fronts"][0]["outcomes"][0]["cascade"].as_bool(), notes)
    };
    let (cascade, notes) = report();
    assert!(cascade == Some(true) && !notes.contains("earlier model"), "{notes}");
    succeeds(&["train", "--out", text(&run), "--resume", "--epochs", "2"]);
    let (cascade, notes) = report();
    assert_eq!(cascade, Some(false), "{notes}");
    for part in ["certify.jsonl: is of an earlier model", "landscape.json: is of an earlier model", "--overwrite"] {
        assert!(notes.contains(part), "{notes}");
    }
    assert!(std::fs::read_to_string(&page).unwrap().contains(", of an earlier model"));
    succeeds(&[&certify[..], &["--overwrite"]].concat());
    let (cascade, notes) = report();
    assert!(cascade == Some(true) && !notes.contains("certify.jsonl"), "{notes}");
}

#[test]
fn runs_on_arrays_show_their_test_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let inputs = path("x.safetensors");
    let pixels: Vec<f32> = (0..8 * 12).map(|i| (i % 7) as f32 / 7.0).collect();
    let labels: Vec<i64> = (0..8).map(|i| i % 2).collect();
    write_tensors(&inputs, &[support::floats("x", &[8, 3, 2, 2], &pixels), support::integers("y", &labels)]);
    let arrays = ["--inputs", text(&inputs), "--model", "mlp", "--epochs", "1"];
    let (with, without, page) = (path("runs/with"), path("runs/without"), path("page.html"));
    succeeds(&[&["train", "--out", text(&with), "--test-inputs", text(&inputs)], &arrays[..]].concat());
    succeeds(&[&["train", "--out", text(&without)], &arrays[..]].concat());
    let output = support::run(&["report", text(&path("runs")), "-o", text(&page)]);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && notes.contains("without, sample images: the run was trained on arrays"),
        "{notes}"
    );
    assert_eq!(std::fs::read_to_string(&page).unwrap().matches("data:image/png").count(), 8);
}

#[test]
fn one_run_has_its_page_in_its_folder_until_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]);
    let said = succeeds(&["report", text(&run), "--samples", "0"]);
    let page = run.join("report.html");
    assert!(said.contains(text(&page)) && std::fs::read_to_string(&page).unwrap().ends_with("</html>\n"), "{said}");
    // Several runs have theirs where the command runs, whatever lies in their folders.
    let mut command = support::command(&["report", text(folder.path()), "--samples", "0"]);
    assert!(command.current_dir(folder.path()).output().unwrap().status.success());
    assert!(folder.path().join("report.html").is_file());
    train(&run, &["--overwrite"]);
    assert!(!page.exists());
}

#[test]
fn what_is_no_run_and_what_would_be_overwritten_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(&path("run"), &[]);
    std::fs::write(path("run/certify.jsonl"), "").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    let before = files(&path("run"));
    for name in ["config.toml", "metrics.jsonl", "certify.jsonl", "manifest.json", "model.safetensors"] {
        fails(&["report", text(&path("run")), "-o", text(&path("run").join(name))], &["name another file", name]);
    }
    // Runs within a sweep within a study: the files of all three stay.
    let deep = path("study/block/trials/0000");
    std::fs::create_dir_all(&deep).unwrap();
    for (file, bytes) in &before {
        std::fs::write(deep.join(file.file_name().unwrap()), bytes).unwrap();
    }
    let kept = [
        "study/study.json",
        "study/block/journal.jsonl",
        "study/block/journal-1-of-2.jsonl",
        "study/block/results.jsonl",
    ];
    for name in kept {
        std::fs::write(path(name), "kept").unwrap();
        fails(
            &["report", text(&path("study")), "-o", text(&path(name))],
            &["belongs to the input", "name another file"],
        );
        assert_eq!(std::fs::read(path(name)).unwrap(), b"kept");
    }
    let page = path("page.html");
    fails(&["report", text(&path("empty")), "-o", text(&page)], &["there is no run in it", "config.toml"]);
    fails(&["report", text(&path("gone")), "-o", text(&page)], &["gone", "give a run folder"]);
    fails(&["report", text(&path("run")), "-o", text(&path("no/page.html"))], &["no/page.html"]);
    fails(&["report"], &["RUN|DIR"]);
    fails(&["report", text(&path("run")), "--samples", "-1"], &["no whole number"]);
    assert_eq!(files(&path("run")), before);
    assert!(!page.exists());
}
