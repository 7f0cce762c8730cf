//! A sweep of runs of a second.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{fails, succeeds, text};
use tightrope_testkit::peer;

const RECIPE: &str = "dataset = \"digits\"\nmodel = \"cnn3-tiny\"\nlimit_train = 64\n\n\
                      [train]\nepochs = 1\nbatch = 32\neval_limit = 64\n";

#[test]
fn a_grid_is_trained_certified_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (recipe, out) = (path("recipe.toml"), path("sweep"));
    std::fs::write(&recipe, RECIPE).unwrap();
    let sweep =
        ["sweep", text(&recipe), "--limit", "5", "--timeout", "5", "--stages", "ibp,crown", "--out", text(&out)];
    let words = [&sweep[..], &["--grid", "train.lr=1e-3,5e-4", "--seeds", "2", "--jobs", "2", "--json"]].concat();
    let document = |words: &[&str]| serde_json::from_str::<Value>(&succeeds(words)).unwrap();
    let found = document(&words);
    assert_eq!((&found["trials"], &found["done"], &found["failed"]), (&4.into(), &4.into(), &0.into()));
    assert_eq!(found["configurations"][0]["certified"]["count"], 2);
    let table = std::fs::read_to_string(out.join("results.csv")).unwrap();
    assert!(
        table.starts_with("trial,configuration,train.lr,seed,status,natural,") && table.lines().count() == 5,
        "{table}"
    );

    assert_eq!(document(&[&words[..], &["--resume"]].concat()), found);
    assert_eq!(document(&["sweep", "show", text(&out), "--json"]), found);
    fails(&words, &["--resume"]);
    fails(
        &[&sweep[..], &["--grid", "train.lr=1e-3", "--resume"]].concat(),
        &["axes: ", " there, ", "seeds: 2 there, 1 now"],
    );
    fails(
        &["sweep", text(&recipe), "--grid", "train.lrr=1", "--out", text(&path("x"))],
        &["`train.lrr`", "`train.lr`"],
    );
    // A trial's folder is a run folder.
    succeeds(&["attack", text(&out.join("trials/0003")), "--limit", "5", "--steps", "1"]);
}

/// Tells the sweep in the folder `out` the `lines`; what it answers.
fn tell(out: &str, lines: &str) -> String {
    let (input, output) = (std::process::Stdio::piped(), std::process::Stdio::piped());
    let mut child = support::command(&["sweep", "tell", out]).stdin(input).stdout(output).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn trials_are_asked_for_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sweep");
    let out = text(&out);
    succeeds(&["sweep", "--prepare", "--random", "1", "--range", "train.lr=1e-4..1e-2:log", "--out", out]);
    let asked: Value = serde_json::from_str(&succeeds(&["sweep", "ask", out])).unwrap();
    assert!(asked["trial"] == 0 && asked["parameters"]["train.lr"].is_number(), "{asked}");
    let last: Value = serde_json::from_str(&succeeds(&["sweep", "ask", out])).unwrap();
    assert!(last["trial"].is_null(), "{last}");
    let said = tell(out, "{\"trial\": 0, \"natural\": 0.75, \"certified\": 0.5}\n");
    assert_eq!(said, "{\"trial\":0,\"configuration\":0,\"status\":\"done\"}\n");
    assert!(succeeds(&["sweep", "show", out]).contains("hypervolume 0.3750"));
}

#[test]
fn configurations_that_lack_a_seed_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sweep");
    let out = text(&out);
    succeeds(&["sweep", "--prepare", "--grid", "train.lr=1e-3,5e-4", "--seeds", "2", "--out", out]);
    (0..4).for_each(|_| drop(succeeds(&["sweep", "ask", out])));
    let lines = r#"{"trial": 0, "natural": 0.9, "certified": 0.8}
{"trial": 1, "failed": "out of memory"}
{"trial": 2, "natural": 0.75, "certified": 0.5}
{"trial": 3, "natural": 0.75, "certified": 0.5}
"#;
    tell(out, lines);
    let shown = succeeds(&["sweep", "show", out]);
    let row = |number: &str| {
        let line = shown.lines().find(|line| line.starts_with(number)).unwrap();
        line.split_whitespace().skip(2).take(2).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!((row("0:"), row("1:")), (vec!["incomplete".into(), "1/2".into()], vec!["*".into(), "2/2".into()]));
    assert!(
        shown.contains("incomplete: a seed has failed") && shown.contains("1 of 1 configurations, hypervolume 0.3750")
    );
}

#[test]
fn optuna_proposes_and_the_sweep_keeps_the_book() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (recipe, out) = (path("recipe.toml"), path("sweep"));
    let longer = "eps = 0.02\n".to_string() + &RECIPE.replace("= 64", "= 256").replace("epochs = 1", "epochs = 8");
    std::fs::write(&recipe, longer).unwrap();
    succeeds(&["sweep", text(&recipe), "--prepare", "--out", text(&out)]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/optuna_search.py");
    let arguments = [env!("CARGO_BIN_EXE_tightrope"), text(&out), text(&recipe), "8"];
    let Some(best) = peer::python(&script, "optuna", &arguments) else { return };
    let found: Value = serde_json::from_str(&succeeds(&["sweep", "show", text(&out), "--json"])).unwrap();
    assert_eq!((&found["trials"], &found["done"]), (&8.into(), &8.into()), "{found}");
    // Both call the same trials best, and not all: each of Optuna's trials is a configuration of its own.
    let front = &found["fronts"][0]["configurations"];
    let mut front: Vec<u64> = front.as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
    front.sort_unstable();
    assert_eq!(serde_json::from_str::<Vec<u64>>(&best).unwrap(), front, "{found}");
    assert!(front.len() < 8, "{found}");
}
