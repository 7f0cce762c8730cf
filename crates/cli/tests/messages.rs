//! What commands say, in the same words everywhere.

mod support;

use support::{TINY, run, succeeds, text, write_inputs};

/// What the command says on standard error; it must succeed.
fn said(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    errors
}

#[test]
fn relaxations_have_both_their_names_and_bounds_tell_of_clipping() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tightrope_onnx::export(&support::model(), &path("model.onnx")).unwrap();
    write_inputs(&path("x.safetensors"));
    let (model, inputs, out) = (path("model.onnx"), path("x.safetensors"), path("out.safetensors"));
    let bounds = ["bounds", text(&model), "--inputs", text(&inputs), "--eps", "0.1", "-o", text(&out), "--method"];
    for name in ["crown", "deeppoly"] {
        let text = succeeds(&[&bounds[..], &[name]].concat());
        assert!(text.contains("certified by crown (= deeppoly); ℓ∞ ε = 0.1, not clipped;"), "{text}");
    }
    let text = succeeds(&[&bounds[..], &["zonotope", "--clip", "0", "1"]].concat());
    assert!(text.contains("by zonotope (= deepz); ℓ∞ ε = 0.1, clipped to [0, 1];"), "{text}");
    let certify = ["certify", self::text(&model), "--dataset", "digits", "--eps", "0.1", "--limit", "3"];
    let log = path("log");
    let table = succeeds(&[&certify[..], &["--stages", "deeppoly", "--out", self::text(&log)]].concat());
    assert!(table.contains("crown (= deeppoly)"), "{table}");
    let run = path("run");
    let train = ["train", "--out", self::text(&run), "--limit-train", "32", "--epochs", "1", "--method", "crown"];
    let text = succeeds(&[&train[..], &TINY[..]].concat());
    assert!(text.contains("certified by crown (= deeppoly) at ε = 0.1"), "{text}");
}

/// α-CROWN keeps to its budget in `bounds`, where what is not optimised by then is not looser than CROWN.
#[test]
fn bounds_have_a_budget_for_optimisation() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    tightrope_onnx::export(&support::model(), &path("model.onnx")).unwrap();
    write_inputs(&path("x.safetensors"));
    let (model, inputs) = (path("model.onnx"), path("x.safetensors"));
    let margins = |name: &str, arguments: &[&str]| -> (Vec<f32>, std::time::Duration) {
        let out = path(name);
        let bounds = ["bounds", text(&model), "--inputs", text(&inputs), "--eps", "0.3", "-o", text(&out)];
        let start = std::time::Instant::now();
        succeeds(&[&bounds[..], arguments].concat());
        let (_, _, bytes) = support::read_tensors(&out).remove("margins_lower").unwrap();
        (bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(), start.elapsed())
    };
    let (crown, _) = margins("crown", &["--method", "crown"]);
    let long = ["--method", "alpha-crown", "--alpha-steps", "1000000"];
    let (short, took) = margins("short", &[&long[..], &["--alpha-seconds", "0.2"]].concat());
    assert!(took.as_secs() < 30, "{took:?} for five samples of 0.2 s");
    assert!(crown.iter().zip(&short).all(|(crown, short)| short >= crown));
    assert!(crown.iter().zip(&short).any(|(crown, short)| short > crown));
}

#[test]
fn schedules_that_do_not_follow_a_longer_run_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = ["train", "--out", text(&run), "--limit-train", "64", "--epochs", "1"];
    let errors = said(&[&train[..], &TINY[..]].concat());
    assert!(errors.contains("on 64 samples, 1 epoch, in"), "{errors}");
    let errors = said(&["train", "--out", text(&run), "--resume", "--epochs", "2"]);
    let told =
        errors.lines().find(|line| line.starts_with("2 epochs instead of 1: ")).unwrap_or_else(|| panic!("{errors}"));
    assert!(told.contains("train.milestones = [") && told.contains("stay as the run began with them"), "{told}");
    assert!(!said(&["train", "--out", text(&run), "--resume"]).contains("instead of"));
}
