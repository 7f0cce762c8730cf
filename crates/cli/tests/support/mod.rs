//! Running the program and making its inputs.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, TensorView};
use tightrope_network::{Initialisation, Model, Preset};

/// Flags of a training run of about a second.
pub const TINY: [&str; 8] =
    ["--dataset", "digits", "--model", "cnn3-tiny", "--batch", "32", "--set", "train.eval_limit=64"];

/// The program with `arguments`.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tightrope"));
    command.args(arguments).env_remove("TIGHTROPE_DATA").env_remove("RUST_BACKTRACE");
    command
}

/// Runs the program.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the program, which must succeed; its standard output.
pub fn succeeds(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program, which must fail with exit code 4, a message that holds every one of `parts`, and no output.
pub fn fails(arguments: &[&str], parts: &[&str]) {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{arguments:?}: {errors}");
    assert!(errors.contains("error: ") && !errors.contains("internal error"), "{arguments:?}: {errors}");
    for part in parts {
        assert!(errors.contains(part), "{arguments:?}: `{part}` is missing in: {errors}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?} wrote to standard output");
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file below `folder` with its content.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// An untrained cnn3-tiny for 28×28 images and ten classes.
pub fn model() -> Model {
    let network = Preset::Cnn3Tiny.build(&[1, 28, 28], 10, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 3);
    Model::new(network, theta)
}

/// A tensor for [`write_tensors`]: name, type, shape, little-endian bytes.
pub type Tensor<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

/// f32 data.
pub fn floats<'a>(name: &'a str, shape: &[usize], values: &[f32]) -> Tensor<'a> {
    (name, Dtype::F32, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// i64 data.
pub fn integers<'a>(name: &'a str, values: &[i64]) -> Tensor<'a> {
    (name, Dtype::I64, vec![values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Writes a safetensors file.
pub fn write_tensors(path: &Path, tensors: &[Tensor<'_>]) {
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Five grey images of 28×28 with labels 0 to 4.
pub fn write_inputs(path: &Path) {
    let pixels: Vec<f32> = (0..5 * 784).map(|i| (i * 37 % 256) as f32 / 255.0).collect();
    write_tensors(path, &[floats("x", &[5, 1, 28, 28], &pixels), integers("y", &[0, 1, 2, 3, 4])]);
}

/// A safetensors file as name → (type, shape, bytes).
pub fn read_tensors(path: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let entry =
        |(name, view): (String, TensorView<'_>)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    file.tensors().into_iter().map(entry).collect()
}

/// The records of a certification log without their times, the header first.
pub fn timeless_log(path: &Path) -> Vec<serde_json::Value> {
    let lines = std::fs::read_to_string(path).unwrap();
    let mut records: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for record in &mut records {
        let record = record.as_object_mut().unwrap();
        record.remove("seconds");
        if let Some(stages) = record.get_mut("stage_seconds").and_then(|s| s.as_object_mut()) {
            stages.values_mut().for_each(|seconds| *seconds = 0.into());
        }
    }
    records
}
