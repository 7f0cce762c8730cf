//! The main job on real MNIST, through the command: interval training to a certified accuracy, and both smoothing estimators.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{succeeds, text};
use tempfile::tempdir;
use tightrope_testkit::shared::shared;

/// Trains CNN3 at ε = 0.1 with `extra` flags; the lines of metrics.
fn train(data: &Path, run: &Path, extra: &[&str]) -> Vec<Value> {
    let mut arguments =
        vec!["train", "--dataset", "mnist", "--model", "cnn3", "--eps", "0.1", "--data-dir", text(data), "-q"];
    arguments.extend(extra);
    arguments.extend(["--out", text(run)]);
    succeeds(&arguments);
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn losses(metrics: &[Value]) -> Vec<f64> {
    metrics.iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect()
}

#[test]
fn six_epochs_of_interval_training_certify_mnist() {
    let Some(data) = shared("data") else { return };
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    train(&data, &run, &["--method", "ibp", "--epochs", "6", "--set", "train.eval_every=0"]);
    let report = succeeds(&[
        "certify",
        text(&run),
        "--data-dir",
        text(&data),
        "--limit",
        "2000",
        "--steps",
        "10",
        "--restarts",
        "1",
        "-q",
        "--json",
    ]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let accuracy = |kind: &str| report["result"][kind]["value"].as_f64().unwrap();
    assert_eq!(report["result"]["samples"], 2000);
    assert!(accuracy("natural") >= 0.95, "natural {}", accuracy("natural"));
    assert!(accuracy("certified") >= 0.88, "certified {}", accuracy("certified"));
    let unknown = report["result"]["unknown"].as_u64().unwrap();
    assert!(unknown <= 10, "{unknown} of 2,000 undecided after 20 s each");
    assert!(accuracy("certified") <= accuracy("adversarial") && accuracy("adversarial") <= accuracy("natural"));
}

/// At a fixed ε the loss of tight bounds under averaged gradients falls every epoch.
#[test]
fn deeppoly_with_averaged_gradients_learns() {
    let Some(data) = shared("data") else { return };
    let folder = tempdir().unwrap();
    let fixed = ["--set", "warmup.shape=constant", "--set", "train.eval_every=0"];
    let rgs =
        ["--method", "deeppoly", "--smoothing", "rgs", "--sigma", "1e-3", "--limit-train", "1500", "--epochs", "3"];
    let metrics = train(&data, &folder.path().join("run"), &[&rgs[..], &["--batch", "50"], &fixed].concat());
    let losses = losses(&metrics);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "losses {losses:?}");
    assert!(losses[2] < 0.8 * losses[0], "losses {losses:?}");
}

/// Loss values alone teach the network: while ε is still small the loss falls every epoch and the accuracy leaves chance behind.
#[test]
fn intervals_with_loss_values_alone_learn() {
    let Some(data) = shared("data") else { return };
    let folder = tempdir().unwrap();
    let slow = ["--set", "warmup.end=20", "--set", "train.milestones=[]", "--set", "train.eval_every=0"];
    let pgpe = ["--method", "ibp", "--smoothing", "pgpe", "--population", "32", "--sigma", "1e-3"];
    let size = ["--limit-train", "5000", "--batch", "32", "--epochs", "3"];
    let metrics = train(&data, &folder.path().join("run"), &[&pgpe[..], &size, &slow].concat());
    let losses = losses(&metrics);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "losses {losses:?}");
    assert!(losses[2] < 1.8, "losses {losses:?}");
    let natural = metrics[2]["train_natural_accuracy"].as_f64().unwrap();
    assert!(natural > 0.5, "natural accuracy {natural}, losses {losses:?}");
}
