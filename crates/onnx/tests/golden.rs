//! Reference models: parameters and logits as the tools that made them say.

use std::path::Path;

use tightrope_network::{Layer, Model};
use tightrope_onnx::import;
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::golden::TensorFile;
use tightrope_testkit::shared::shared;

/// Logits agree to 1e-9 of their scale.
fn check_logits(folder: &Path, model: &Model, what: &str) {
    let inputs = TensorFile::read(&folder.join("inputs.safetensors")).values("x");
    let expected = TensorFile::read(&folder.join("expected.safetensors")).values("logits");
    let found = logits(model, &inputs);
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = 1.0 + expected.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= 1e-9 * scale, "{what}: logit {index}: {found} is not {expected}");
    }
}

#[test]
fn parameters_and_logits_of_every_case() {
    let Some(cases) = shared("golden/cases") else { return };
    let mut checked = 0;
    for folder in std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()) {
        let path = folder.join("model.onnx");
        if !path.exists() {
            continue;
        }
        let model = import(&path).unwrap();
        let weights = TensorFile::read(&folder.join("weights.safetensors"));
        let buffers = ["running_mean", "running_var", "0.mean", "0.sigma"];
        let mut expected: Vec<&str> = weights.0.keys().map(String::as_str).collect();
        expected.retain(|name| !buffers.iter().any(|buffer| name.ends_with(buffer)));
        expected.sort_unstable();
        let layout = model.network.parameters();
        let mut names: Vec<&str> = layout.iter().map(|info| info.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{}", path.display());
        for info in layout.iter() {
            assert_eq!(info.shape, weights.get(&info.name).shape, "{}", info.name);
            let found: Vec<f64> = model.theta[info.range()].iter().map(|&value| f64::from(value)).collect();
            assert_eq!(found, weights.values(&info.name), "{}: {}", path.display(), info.name);
        }
        check_logits(&folder, &model, &path.display().to_string());
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} cases found");
}

#[test]
fn fused_batch_norms_give_the_same_logits() {
    let Some(cases) = shared("golden/cases") else { return };
    let mut checked = 0;
    for folder in std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()) {
        let path = folder.join("model_bn_fused.onnx");
        if !path.exists() {
            continue;
        }
        let fused = import(&path).unwrap();
        // The exporter rounded the fused weights to single precision.
        let inputs = TensorFile::read(&folder.join("inputs.safetensors")).values("x");
        let expected = TensorFile::read(&folder.join("expected.safetensors")).values("logits");
        let scale = expected.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        for (found, expected) in logits(&fused, &inputs).iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * scale, "{}: {found} is not {expected}", path.display());
        }
        let norms =
            |model: &Model| model.network.nodes().iter().filter(|node| matches!(node.layer, Layer::Affine(_))).count();
        assert!(norms(&fused) < norms(&import(&folder.join("model.onnx")).unwrap()));
        checked += 1;
    }
    assert!(checked >= 2, "only {checked} cases found");
}

#[test]
fn normalisation_is_one_affine_layer() {
    let Some(cases) = shared("golden/cases") else { return };
    let model = import(&cases.join("cnn3_norm_nat/model.onnx")).unwrap();
    let Layer::Affine(affine) = &model.network.node(1).layer else { panic!("{:?}", model.network.node(1)) };
    assert_eq!((affine.inner, affine.scale.len()), (784, 1));
    assert_eq!(affine.scale[0], 1.0 / f64::from(0.3081_f32));
    assert_eq!(affine.shift[0], -f64::from(0.1307_f32) * affine.scale[0]);
    assert!(!matches!(model.network.node(2).layer, Layer::Affine(_)));
}
