//! ONNX files of every kind that other programs write: logits as stored beside them, and bounds that hold.

mod support;

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use support::{succeeds, text};
use tightrope_testkit::random::draws;
use tightrope_testkit::shared::shared;

/// The F64 (or F32) numbers of a tensor.
fn numbers(path: &Path, name: &str) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    match tensor.dtype() {
        Dtype::F64 => tensor.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        _ => tensor.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
    }
}

/// The cases hold inputs `x`, outputs `y` as onnxruntime has them, and labels `label`.
#[test]
fn files_of_every_construct_give_the_logits_stored_beside_them_and_bounds_that_hold() {
    let Some(cases) = shared("cases/import") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let mut checked = 0;
    for path in std::fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let io = path.with_extension("io.safetensors");
        let bounds = |eps: &str| {
            let arguments = ["bounds", text(&path), "--inputs", text(&io), "--eps", eps, "--no-clip"];
            succeeds(&[&arguments[..], &["--method", "crown", "--precision", "f64", "-o", text(&out)]].concat());
            (numbers(&out, "logits"), numbers(&out, "margins_lower"))
        };
        let expected = numbers(&io, "y");
        let (logits, margins) = bounds("0");
        assert_eq!(logits.len(), expected.len(), "{}", path.display());
        let place = |i: usize| format!("{}, output {i}", path.display());
        for (i, (found, expected)) in logits.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() <= 2e-5, "{}: {found} is not {expected}", place(i));
        }
        let classes = logits.len() / 4;
        let exact = (0..logits.len()).map(|i| logits[i / classes * classes] - logits[i]);
        margins.iter().zip(exact).enumerate().for_each(|(i, (lower, exact))| {
            assert!((lower - exact).abs() <= 1e-9 * (1.0 + exact.abs()), "{}: {lower} is not {exact}", place(i));
        });
        let (eps, (_, wide)) = (0.1, bounds("0.1"));
        let model = tightrope_onnx::import(&path).unwrap();
        let x = numbers(&io, "x");
        let d = model.network.input_len();
        for sample in 0..4 {
            let moves = draws(checked, sample as u64, 50 * d, -1.0, 1.0);
            for (index, moves) in moves.chunks_exact(d).enumerate() {
                // Corners, as points in the middle are seldom the worst.
                let moved =
                    |(x, m): (&f64, &f32)| x + eps * if index % 2 == 0 { f64::from(m.signum()) } else { f64::from(*m) };
                let point: Vec<f64> = x[sample * d..(sample + 1) * d].iter().zip(moves).map(moved).collect();
                let weights = model.weights();
                let z = tightrope_testkit::evaluate::evaluate(&model.network, weights.theta(), &point).pop().unwrap();
                for (class, value) in z.iter().enumerate() {
                    let (lower, margin) = (wide[sample * classes + class], z[0] - value);
                    assert!(lower <= margin + 1e-9, "{}: {lower} is above {margin}", place(class));
                }
            }
        }
        checked += 1;
    }
    assert!(checked >= 31, "only {checked} cases");
}
