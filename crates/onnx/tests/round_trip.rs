//! Export and import give back the same network and the same θ.

mod common;

use common::{assert_same, random_model};
use tightrope_network::{Activation, Affine, Initialisation, Layer, Model, NetworkBuilder, Normalisation, Preset};
use tightrope_onnx::{export, export_bytes, import, import_bytes};
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::random::{Family, Rng, draws, network};

fn round_trip(model: &Model) -> Model {
    import_bytes(&export_bytes(model).unwrap(), "(memory)").unwrap()
}

#[test]
fn random_networks_come_back_whole() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let model = random_model(seed);
        kinds.extend(model.network.nodes().iter().map(|node| node.layer.kind()));
        assert_same(&round_trip(&model), &model, &format!("seed {seed}"));
    }
    assert_eq!(kinds.len(), 13, "{kinds:?}");
}

/// Functions and products come back as such, however their inputs were put together.
#[test]
fn smooth_functions_and_products_keep_their_function() {
    for family in [Family::Curved, Family::Multiplied] {
        for seed in 0..100 {
            let (network, theta) = network(&Rng::new(seed), family);
            let model = Model::new(network, theta.iter().map(|&value| value as f32).collect());
            let again = round_trip(&model);
            let count = |model: &Model, kind: &str| {
                model.network.nodes().iter().filter(|node| node.layer.kind() == kind).count()
            };
            for kind in ["product", "exp", "softplus", "reciprocal", "power"] {
                assert_eq!(count(&again, kind), count(&model, kind), "{family:?} {seed}");
            }
            let inputs = draws(seed, 0, 3 * model.network.input_len(), 0.0, 1.0);
            let inputs: Vec<f64> = inputs.iter().map(|&v| f64::from(v)).collect();
            for (found, expected) in logits(&again, &inputs).iter().zip(logits(&model, &inputs)) {
                assert!(
                    (found - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                    "{family:?} {seed}: {found}, {expected}"
                );
            }
        }
    }
}

#[test]
fn presets_come_back_whole() {
    for preset in Preset::ALL {
        let normalisation = Normalisation { mean: vec![0.5, 0.25, 0.125], std: vec![0.25, 0.3_f32.into(), 0.5] };
        for normalisation in [None, Some(&normalisation)] {
            let network = preset.build(&[3, 16, 16], 7, normalisation).unwrap();
            let theta = Initialisation::Ibp.theta(&network, 3);
            let model = Model::new(network, theta);
            assert_same(&round_trip(&model), &model, preset.name());
        }
    }
}

#[test]
fn constants_that_float32_cannot_hold_are_rounded() {
    let normalisation = Normalisation { mean: vec![0.1307], std: vec![0.3081] };
    let network = Preset::Cnn3Tiny.build(&[1, 28, 28], 10, Some(&normalisation)).unwrap();
    let theta = Initialisation::Default.theta(&network, 3);
    let model = Model::new(network, theta);
    let again = round_trip(&model);
    assert_eq!(again.theta, model.theta);
    let (Layer::Affine(found), Layer::Affine(expected)) = (&again.network.node(1).layer, &model.network.node(1).layer)
    else {
        panic!("node 1 is no affine layer")
    };
    assert_eq!((found.inner, found.scale.len()), (expected.inner, expected.scale.len()));
    assert!((found.scale[0] / expected.scale[0] - 1.0).abs() < 6e-8);
    assert!((found.shift[0] / expected.shift[0] - 1.0).abs() < 6e-8);
    assert_same(&round_trip(&again), &again, "again");
}

/// Trainable affine layers whose constants no variance gives: zero, negative and tiny scales.
#[test]
fn affine_layers_that_are_no_batch_norm_keep_their_function() {
    for scale in [vec![-1.5, 2.0], vec![0.0, 1.0], vec![1e-30, 1.0]] {
        let mut builder = NetworkBuilder::new(&[2, 3, 1]).unwrap();
        let weight = Some(builder.parameter("w", &[2]).unwrap());
        let bias = Some(builder.parameter("b", &[2]).unwrap());
        let layer = Layer::Affine(Affine { inner: 3, scale, shift: vec![0.5, -0.25], weight, bias });
        let affine = builder.add("a", layer, &[builder.input()]).unwrap();
        builder.add("f", Layer::Flatten, &[affine]).unwrap();
        let model = Model::new(builder.build().unwrap(), vec![0.75, -3.0, 0.1, 0.2]);
        let inputs: Vec<f64> = draws(5, 0, 12, 0.0, 1.0).iter().map(|&v| f64::from(v)).collect();
        let again = round_trip(&model);
        assert_eq!(again.theta, model.theta);
        for (found, expected) in logits(&again, &inputs).iter().zip(logits(&model, &inputs)) {
            assert!((found - expected).abs() < 1e-7, "{found} is not {expected}");
        }
    }
}

#[test]
fn channels_across_axes_keep_their_function() {
    let mut builder = NetworkBuilder::new(&[2, 3, 2]).unwrap();
    let scale: Vec<f64> = (1..=3).map(f64::from).collect();
    let affine = builder.normalise("n", scale, vec![0.5; 3], builder.input()).unwrap();
    builder.add("f", Layer::Flatten, &[affine]).unwrap();
    let model = Model::new(builder.build().unwrap(), vec![]);
    let inputs: Vec<f64> = draws(5, 0, 12, 0.0, 1.0).iter().map(|&v| f64::from(v)).collect();
    assert_eq!(logits(&round_trip(&model), &inputs), logits(&model, &inputs));
}

/// Layers may be called like anything the file format uses.
#[test]
fn awkward_names_do_not_collide() {
    let mut builder = NetworkBuilder::new(&[4]).unwrap();
    let first = builder.linear("logits.output", 3, true, builder.input()).unwrap();
    let second = builder.add("logits", Layer::RELU, &[first]).unwrap();
    let third = builder.linear("", 3, false, second).unwrap();
    let weight = builder.parameter("logits.output.2", &[2, 3]).unwrap();
    let linear = tightrope_network::Linear { in_features: 3, out_features: 2, weight, bias: None };
    builder.add("last", Layer::Linear(linear), &[third]).unwrap();
    let network = builder.build().unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let model = Model::new(network, theta);
    let again = round_trip(&model);
    assert_eq!(again.theta, model.theta);
    assert_eq!(again.network.parameters(), model.network.parameters());
}

#[test]
fn refuses_what_it_cannot_write() {
    let model = random_model(1);
    let mut damaged = model.clone();
    damaged.theta[3] = f32::NAN;
    let message = export_bytes(&damaged).unwrap_err().to_string();
    assert!(message.contains("NaN at element 3"), "{message}");
    damaged.theta.truncate(5);
    assert!(export_bytes(&damaged).unwrap_err().to_string().contains("5 values"));

    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let weight = builder.parameter("input", &[2, 2]).unwrap();
    let linear = tightrope_network::Linear { in_features: 2, out_features: 2, weight, bias: None };
    builder.add("l", Layer::Linear(linear), &[0]).unwrap();
    let named_input = Model::new(builder.build().unwrap(), vec![1.0; 4]);
    assert!(export_bytes(&named_input).unwrap_err().to_string().contains("tensor `input`"));

    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let huge = Affine { inner: 2, scale: vec![1e200], shift: vec![0.0], weight: None, bias: None };
    builder.add("big", Layer::Affine(huge), &[0]).unwrap();
    let huge = Model::new(builder.build().unwrap(), vec![]);
    assert!(export_bytes(&huge).unwrap_err().to_string().contains("layer `big`"));

    for (function, problem) in [
        (Activation::LeakyRelu { slope: 0.99999999 }, "slope 0.99999999 is 1 in single precision"),
        (Activation::Clip { lower: 0.1, upper: 0.1000000001 }, "[0.1, 0.1000000001]"),
        (Activation::Clip { lower: 0.0, upper: 1e39 }, "[0, 1000"),
        (Activation::Clip { lower: -f64::from(f32::MAX), upper: 0.0 }, "no range of single precision"),
    ] {
        let message = export_bytes(&alone(function)).unwrap_err().to_string();
        assert!(message.contains("layer `bent`") && message.contains(problem), "{message}");
    }
}

/// A network of one activation called `bent`.
fn alone(function: Activation) -> Model {
    let mut builder = NetworkBuilder::new(&[3]).unwrap();
    builder.add("bent", Layer::Activation(function), &[0]).unwrap();
    Model::new(builder.build().unwrap(), vec![])
}

/// Constants that float32 holds come back to the bit, others as the nearest float32.
#[test]
fn activations_come_back_whole() {
    let constants = [0.0, 0.25, f64::from(0.01_f32), f64::from(f32::MIN_POSITIVE)];
    let mut functions: Vec<Activation> = constants.iter().map(|&slope| Activation::LeakyRelu { slope }).collect();
    functions.extend([Activation::Relu, Activation::Sigmoid, Activation::Tanh]);
    functions.extend(constants.iter().map(|&lower| Activation::Clip { lower, upper: 6.0 }));
    functions.push(Activation::Clip { lower: -3.0, upper: -0.0 });
    for function in functions {
        let model = alone(function);
        let again = round_trip(&model);
        assert_eq!(again, model);
        assert_eq!(format!("{:?}", again.network.node(1)), format!("{:?}", model.network.node(1)), "signs of zeros");
    }
    let rounded = round_trip(&alone(Activation::LeakyRelu { slope: 0.01 }));
    assert_eq!(rounded, alone(Activation::LeakyRelu { slope: 0.01_f32.into() }));
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let model = random_model(4);
    let path = folder.path().join("model.onnx");
    export(&model, &path).unwrap();
    assert_same(&import(&path).unwrap(), &model, "the file");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let mut damaged = model.clone();
    damaged.theta[0] = f32::INFINITY;
    export(&damaged, &path).unwrap_err();
    assert_same(&import(&path).unwrap(), &model, "a failed export left the old file alone");

    let nowhere = folder.path().join("absent/model.onnx");
    let message = export(&model, &nowhere).unwrap_err().to_string();
    assert!(message.contains("absent/model.onnx"), "{message}");
    assert!(import(&nowhere).unwrap_err().to_string().contains("absent/model.onnx"));
}
