//! Networks of the verification competition, as other exporters wrote them.

use tightrope_network::Layer;
use tightrope_onnx::{export_bytes, import, import_bytes};
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::random::draws;
use tightrope_testkit::shared::{vnncomp, vnncomp_later};

#[test]
fn every_network_imports() {
    let Some(folder) = vnncomp() else { return };
    let mut checked = 0;
    for (part, input, outputs) in
        [("acasxu", vec![1, 1, 5], 5), ("mnistfc", vec![784, 1], 10), ("oval21", vec![3, 32, 32], 10)]
    {
        for path in std::fs::read_dir(folder.path().join(part)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|extension| extension != "onnx") {
                continue;
            }
            let model = import(&path).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(model.network.input_shape(), input, "{}", path.display());
            assert_eq!(model.network.output_len(), outputs, "{}", path.display());
            for node in model.network.nodes() {
                if let Layer::Linear(linear) = &node.layer {
                    assert!(linear.bias.is_some(), "{}: `{}` lost its bias", path.display(), node.name);
                }
            }
            let again = import_bytes(&export_bytes(&model).unwrap(), "(memory)").unwrap();
            let inputs: Vec<f64> =
                draws(1, 0, 2 * model.network.input_len(), 0.0, 1.0).iter().map(|&v| f64::from(v)).collect();
            assert_eq!(logits(&again, &inputs), logits(&model, &inputs), "{}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} networks found");
}

/// Means over masks, shares of cubes and quotients of values that depend on the input.
#[test]
fn networks_that_multiply_and_divide_import() {
    let Some(folder) = vnncomp_later() else { return };
    for (network, inputs, kinds) in [
        ("mscn_128d.onnx", 154, &["product", "reciprocal", "sigmoid"][..]),
        ("pensieve_big_parallel.onnx", 96, &["product", "reciprocal", "power"]),
    ] {
        let model = import(&folder.path().join("dev/nn4sys_2023").join(network)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((model.network.input_len(), model.network.output_len()), (inputs, 1), "{network}");
        for kind in kinds {
            assert!(model.network.nodes().iter().any(|node| node.layer.kind() == *kind), "{network} has no {kind}");
        }
        let again = import_bytes(&export_bytes(&model).unwrap(), "(memory)").unwrap();
        let points: Vec<f64> = draws(1, 0, 4 * inputs, 0.5, 1.0).iter().map(|&v| f64::from(v)).collect();
        for (found, expected) in logits(&again, &points).iter().zip(logits(&model, &points)) {
            assert!((found - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{network}: {found}, not {expected}");
        }
    }
}
