//! The memory that a command says it needs, before it starts, beside what it has used at most when it ends.
#![cfg(target_os = "linux")]

mod support;

use std::path::Path;

use support::{command, text, write_inputs};
use tightrope_network::{Initialisation, Model, Preset};

/// By how much an estimate may be off: what the allocator keeps, and how far threads run apart, is not foreseen.
const TOLERANCE: f64 = 0.25;

/// The number of bytes behind `before` and in front of `after` in a line of `errors`.
fn bytes(errors: &str, before: &str, after: &str) -> f64 {
    let part = errors.lines().find_map(|line| line.split_once(before)?.1.split_once(after).map(|(part, _)| part));
    let part = part.unwrap_or_else(|| panic!("no line says `{before}`: {errors}"));
    let (number, unit) = part.split_once(' ').unwrap();
    let units = ["bytes", "kB", "MB", "GB"];
    let power = units.iter().position(|known| *known == unit).unwrap_or_else(|| panic!("{part}"));
    number.parse::<f64>().unwrap() * 1000_f64.powi(power as i32)
}

/// Runs the command, which must tell an estimate that its peak bears out.
fn told(arguments: &[&str]) {
    let output = command(&[arguments, &["--threads", "2", "-v"]].concat()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    let estimate = bytes(&errors, "memory: about ", " needed");
    let peak = bytes(&errors, "memory: at most ", " were in use");
    eprintln!("{arguments:?}: estimated {:.1} MB, used {:.1} MB: {:.2}", estimate / 1e6, peak / 1e6, estimate / peak);
    assert!((estimate / peak - 1.0).abs() <= TOLERANCE, "{arguments:?}: estimated {estimate}, used {peak}");
}

/// Trains on the digits for an epoch.
fn training(out: &Path, arguments: &[&str]) {
    let digits = ["train", "--dataset", "digits", "--epochs", "1", "--overwrite", "--out", text(out)];
    told(&[&digits[..], arguments].concat());
}

#[test]
fn training_tells_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    training(&out, &["--model", "cnn3", "--method", "ibp", "--limit-train", "512"]);
    training(&out, &["--model", "cnn3", "--method", "ibp", "--limit-train", "1024", "--batch", "512"]);
    let few = ["--limit-train", "32", "--set", "train.eval_limit=16"];
    training(&out, &[&["--model", "cnn5", "--method", "deeppoly", "--batch", "16"][..], &few].concat());
    training(&out, &[&["--model", "cnn5", "--method", "crown-ibp", "--batch", "32"][..], &few].concat());
    let pgpe = ["--method", "ibp", "--smoothing", "pgpe", "--population", "8", "--batch", "32"];
    training(&out, &[&["--model", "cnn5"][..], &pgpe, &few].concat());
    training(&out, &[&["--model", "resnet-2b", "--method", "ibp", "--batch", "32"][..], &few].concat());
}

#[test]
fn bounds_and_certification_tell_what_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_inputs(&path("x.safetensors"));
    for preset in [Preset::Cnn3, Preset::Cnn5] {
        let network = preset.build(&[1, 28, 28], 10, None).unwrap();
        let theta = Initialisation::Default.theta(&network, 3);
        std::fs::create_dir(path(preset.name())).unwrap();
        Model::new(network, theta).save(&path(preset.name())).unwrap();
    }
    let (cnn3, cnn5) = (path("cnn3"), path("cnn5"));
    let (inputs, out) = (path("x.safetensors"), path("out.safetensors"));
    let bounds = ["bounds", text(&cnn5), "--inputs", text(&inputs), "--eps", "0.01", "-o", text(&out), "--method"];
    told(&[&bounds[..], &["crown"]].concat());
    told(&[&bounds[..], &["ibp", "--layers"]].concat());
    told(&[&bounds[..], &["crown", "--gradients"]].concat());
    let certify = ["certify", text(&cnn3), "--dataset", "digits", "--eps", "0.01", "--limit", "300", "--timeout", "2"];
    told(&[&certify[..], &["--stages", "pgd,ibp,crown,alpha-crown", "--out", text(&path("log"))]].concat());
}
