//! `tightrope landscape`: its files, directions, refusals and interruption.

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::{TINY, command, fails, files, run, succeeds, text};

fn train(out: &Path, more: &[&str]) {
    succeeds(
        &[&["train", "--out", text(out), "--limit-train", "64", "--epochs", "1", "--quiet"], &TINY[..], more].concat(),
    );
}

/// The rows of a table without its head.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let table = std::fs::read_to_string(path).unwrap();
    table.lines().skip(1).map(|line| line.split(',').map(String::from).collect()).collect()
}

#[test]
fn lines_and_planes_are_written_whole_the_same_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = path("run");
    train(&model, &[]);
    let small = ["--methods", "ibp,deeppoly", "--sigma", "1e-3,1e-2", "--samples", "4", "--images", "8"];
    let line = [&["landscape", text(&model), "--points", "9"], &small[..]].concat();
    let document: Value =
        serde_json::from_str(&succeeds(&[&line[..], &["--threads", "1", "--json"]].concat())).unwrap();
    let own = model.join("landscape");
    assert_eq!(document["files"], serde_json::json!(["ibp.svg", "deeppoly.svg", "slice.csv"]));
    assert_eq!(document["methods"][1]["curves"][2]["sigma"], 0.01);
    assert_eq!(document["methods"][0]["curves"][0]["metrics"]["jumps"], serde_json::json!([]));
    let table = rows(&own.join("slice.csv"));
    assert_eq!(table.len(), 2 * 3 * 9);
    assert!(table[..9].iter().all(|row| row[0] == "ibp" && row[1] == "0" && row[5] == "0"), "{table:?}");
    assert!(table[9..27].iter().all(|row| row[5].parse::<f64>().unwrap() > 0.0), "{table:?}");
    assert!(std::fs::read_to_string(own.join("deeppoly.svg")).unwrap().starts_with("<svg "));
    let again = path("again");
    let said = succeeds(&[&line[..], &["--threads", "2", "-o", text(&again)]].concat());
    assert!(said.contains("along the gradient of ibp") && said.contains("non-convexity"), "{said}");
    let names = |folder: &Path| -> Vec<(String, Vec<u8>)> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        files(folder).into_iter().map(|(path, bytes)| (name(&path), bytes)).collect()
    };
    assert!(names(&own) == names(&again), "files depend on the number of threads");

    // The report shows what lies in the run's folder.
    let page = path("page.html");
    succeeds(&["report", text(&model), "-o", text(&page), "--samples", "0"]);
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("data:image/svg+xml;base64,").count(), 2);
    assert!(html.contains("8 images of digits test"), "no title");

    // What is there is replaced only when told, and then as a whole.
    fails(&line, &["holds a landscape", "--overwrite"]);
    let plane = ["landscape", text(&model), "--plane", "--points", "3", "--images", "8", "--overwrite"];
    let said = succeeds(&plane);
    assert!(said.contains("and a random direction"), "{said}");
    let left: Vec<String> = names(&own).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["ibp-plane-original.svg", "landscape.json", "plane.csv"]);
    assert_eq!(rows(&own.join("plane.csv")).len(), 9);

    // Another run in the folder has none.
    train(&model, &["--overwrite"]);
    assert!(own.join("plane.csv").exists() && !own.join("landscape.json").exists());
}

#[test]
fn a_line_between_two_runs_has_their_losses_at_its_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (a, b) = (path("a"), path("b"));
    train(&a, &[]);
    train(&b, &["--seed", "1"]);
    let batch = ["--images", "16", "--points", "3"];
    succeeds(&[&["landscape", text(&a), "--direction", text(&b), "--range", "0", "1"], &batch[..]].concat());
    succeeds(&[&["landscape", text(&b), "--direction", "random", "--range", "-1", "1"], &batch[..]].concat());
    let loss = |run: &Path, row: usize| rows(&run.join("landscape/slice.csv"))[row][4].parse::<f64>().unwrap();
    let (at_the_other, there) = (loss(&a, 2), loss(&b, 1));
    assert!((at_the_other / there - 1.0).abs() < 1e-5, "{at_the_other} is not {there}");
    assert!((loss(&a, 0) / there - 1.0).abs() > 1e-3);
}

#[test]
fn batch_norms_take_the_statistics_of_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let tiny: Vec<&str> = TINY.iter().map(|word| if *word == "cnn3-tiny" { "cnn3-tiny-bn" } else { word }).collect();
    succeeds(&[&["train", "--out", text(&out), "--limit-train", "64", "--epochs", "1", "--quiet"], &tiny[..]].concat());
    let said =
        succeeds(&["landscape", text(&out), "--points", "3", "--images", "16", "--sigma", "0.01", "--samples", "4"]);
    assert!(said.contains("batch norms take the statistics of the batch"), "{said}");
    let document = std::fs::read_to_string(out.join("landscape/landscape.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&document).unwrap()["batch_statistics"], true);
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (model, wider) = (path("run"), path("wider"));
    train(&model, &[]);
    let wide: Vec<&str> = TINY.iter().map(|word| if *word == "cnn3-tiny" { "mlp" } else { word }).collect();
    succeeds(
        &[&["train", "--out", text(&wider), "--limit-train", "64", "--epochs", "1", "--quiet"], &wide[..]].concat(),
    );
    std::fs::create_dir(path("mine")).unwrap();
    std::fs::write(path("mine/notes.svg"), "x").unwrap();
    std::fs::create_dir(path("none")).unwrap();
    let before = files(folder.path());
    let (mine, gone, notes) = (path("mine"), path("gone"), path("mine/notes.svg"));
    let cases: [(&[&str], &[&str]); 17] = [
        (&["--methods", "deeppolly"], &["deeppolly", "did you mean `deeppoly`"]),
        (&["--methods", "deeppoly,crown"], &["deeppoly stands twice"]),
        (&["--sigma", "-1e-3"], &["a standard deviation is a finite number above 0"]),
        (&["--sigma", "1e-3,0"], &["a standard deviation is a finite number above 0"]),
        (&["--sigma", "1e-3,0.001"], &["--sigma: 1e-3 stands twice"]),
        (&["--noise", "nan"], &["a standard deviation is a finite number above 0"]),
        (&["--samples", "3"], &["--samples 3", "an even number from 4 on"]),
        (&["--samples", "2"], &["an even number from 4 on"]),
        (&["--points", "2"], &["--points 2", "at least 3"]),
        (&["--images", "0"], &["--images 0"]),
        (&["--images", "1000000"], &["--images 1000000", "has only"]),
        (&["--range", "0.1", "-0.1"], &["FROM < TO"]),
        (&["--direction", text(&gone)], &["gone", "neither `gradient` nor `random`"]),
        (&["--direction", text(&wider)], &["another architecture"]),
        (&["--direction", text(&model)], &["same parameters"]),
        (&["-o", text(&mine), "--overwrite"], &["notes.svg", "no part of a landscape"]),
        (&["-o", text(&notes)], &["is a file, not a folder"]),
    ];
    for (arguments, parts) in cases {
        fails(&[&["landscape", text(&model)], arguments].concat(), parts);
    }
    fails(&["landscape", text(&gone)], &["gone", "no such file or folder"]);
    fails(&["landscape", text(&path("none"))], &["holds no config.toml", "tightrope train --out"]);
    assert!(files(folder.path()) == before, "files changed");
}

#[cfg(unix)]
#[test]
fn an_interrupted_landscape_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(&path("run"), &[]);
    let (model, out) = (path("run"), path("out"));
    let long = ["landscape", text(&model), "--sigma", "1e-3", "--samples", "100000", "-o", text(&out)];
    let child = command(&long).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let killed = std::process::Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert!(errors.contains("nothing is written; begin again with: tightrope landscape"), "{errors}");
    assert!(output.stdout.is_empty() && !out.exists());
    assert!(run(&["landscape", text(&model), "--points", "3", "--images", "4", "-o", text(&out)]).status.success());
}
