//! Agreement with onnxruntime, for what is written and for what is read.

mod common;

use std::ffi::OsStr;
use std::path::Path;

use common::{batch_norms, random_model};
use tightrope_network::{Description, Initialisation, Layer, Model, Normalisation, Preset};
use tightrope_onnx::{export, import};
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::peer;
use tightrope_testkit::random::{Family, Rng, draws, network};

/// Runs a script of `tests/peer` on `folder`; false where it cannot be run and need not be.
fn python(script: &str, modules: &str, folder: &Path, arguments: &[&str]) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer").join(script);
    let all: Vec<&OsStr> = [folder.as_os_str()].into_iter().chain(arguments.iter().map(OsStr::new)).collect();
    peer::python(&script, modules, &all).is_some()
}

fn read(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
}

fn compare(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.1, |max: f64, value| max.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * scale, "{what}: logit {index}: {found} is not {expected}");
    }
}

fn preset(preset: Preset, input: &[usize], normalisation: Option<Normalisation>) -> Model {
    let network = preset.build(input, 10, normalisation.as_ref()).unwrap();
    let theta = Initialisation::Default.theta(&network, 11);
    Model::new(network, theta)
}

/// A residual network with batch norm, grouped and dilated convolutions and an average pooling.
fn residual() -> Model {
    let text = r#"
        input = [3, 12, 12]
        layers = [
            { kind = "affine", mean = [0.4914, 0.4822, 0.4465], std = [0.2023, 0.1994, 0.201] },
            { name = "stem", kind = "conv2d", out_channels = 8, kernel = 3, padding = 1, bias = false },
            { kind = "affine", scale = [0.5, 1.5, 2.5, 0.25, 1.0, 3.0, 0.7, 0.1], shift = [0.1, -0.2, 0.3, 0.0, 0.5, -0.6, 0.7, -0.8], weight = true, bias = true },
            { name = "top", kind = "relu" },
            { kind = "conv2d", out_channels = 8, kernel = [3, 2], padding = [2, 1, 2, 0], dilation = [2, 1], groups = 4 },
            { kind = "affine", scale = [-0.5, 1.5, 2.5, 0.25, 1.0, 3.0, 0.7, 0.1], weight = true },
            { name = "sum", kind = "add", inputs = ["5", "top"] },
            { kind = "relu" },
            { kind = "avgpool2d", kernel = 3, stride = 2, padding = [1, 0, 1, 1], count_include_pad = false },
            { kind = "flatten" },
            { kind = "linear", out_features = 12, bias = false },
            { kind = "affine", scale = [2.0, 1.0, 1.5, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.3], bias = true },
            { kind = "relu" },
            { kind = "linear", out_features = 10 },
        ]
    "#;
    let network = Description::from_toml(text, "(inline)").unwrap().build().unwrap();
    let mut theta = Initialisation::Default.theta(&network, 5);
    let noise = draws(3, 0, theta.len(), 0.0, 1.0);
    theta.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.1 * (noise - 0.5));
    Model::new(network, theta)
}

#[test]
fn exported_models_run_to_the_same_logits() {
    let mnist = Normalisation { mean: vec![0.1307], std: vec![0.3081] };
    let mut models = vec![
        ("cnn3".to_string(), preset(Preset::Cnn3, &[1, 28, 28], Some(mnist.clone()))),
        ("cnn5".to_string(), preset(Preset::Cnn5, &[1, 28, 28], None)),
        ("mlp".to_string(), preset(Preset::Mlp, &[1, 28, 28], Some(mnist))),
        ("residual".to_string(), residual()),
        ("batch-norms".to_string(), batch_norms()),
        ("folded-batch-norms".to_string(), batch_norms().folded().unwrap()),
    ];
    models.extend((0..60).map(|seed| (format!("random{seed}"), random_model(seed))));
    for family in [Family::Gathered, Family::Curved, Family::Multiplied] {
        models.extend((0..20).map(|seed| {
            let (network, theta) = network(&Rng::new(seed), family);
            let theta = theta.iter().map(|&value| value as f32).collect();
            (format!("{family:?}{seed}"), Model::new(network, theta))
        }));
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, model) in &models {
        export(model, &folder.path().join(format!("{name}.onnx"))).unwrap();
        let values = draws(9, 0, 5 * model.network.input_len(), 0.0, 1.0);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(folder.path().join(format!("{name}.input")), bytes).unwrap();
    }
    if !python("run.py", "numpy, onnxruntime", folder.path(), &[]) {
        return;
    }
    for (name, model) in &models {
        let inputs = read(&folder.path().join(format!("{name}.input")));
        let expected = read(&folder.path().join(format!("{name}.output")));
        compare(&logits(model, &inputs), &expected, name);
    }
}

#[test]
fn every_operator_is_read_as_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    if !python("make.py", "numpy, onnx, onnxruntime", folder.path(), &[]) {
        return;
    }
    let mut checked = 0;
    for path in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let model = import(&path).unwrap_or_else(|e| panic!("{e}"));
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        let inputs = read(&path.with_extension("input"));
        compare(&logits(&model, &inputs), &read(&path.with_extension("output")), &name);
        check_structure(&name, &model);
        checked += 1;
    }
    assert!(checked >= 88, "only {checked} models");
}

/// As many random graphs of every operator as TIGHTROPE_RANDOM_GRAPHS says, 300 if nothing.
#[test]
fn random_graphs_are_read_as_they_run() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::env::var("TIGHTROPE_RANDOM_GRAPHS").unwrap_or_else(|_| "300".into());
    if !python("graphs.py", "numpy, onnx, onnxruntime", folder.path(), &[&count]) {
        return;
    }
    let mut checked = 0;
    for path in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let model = import(&path).unwrap_or_else(|e| panic!("{e}"));
        let inputs = read(&path.with_extension("input"));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        compare(&logits(&model, &inputs), &read(&path.with_extension("output")), &name);
        // What is written of it is the same function, but for constants in single precision.
        let again = tightrope_onnx::import_bytes(&tightrope_onnx::export_bytes(&model).unwrap(), &name).unwrap();
        compare(&logits(&again, &inputs), &logits(&model, &inputs), &format!("{name}, written"));
        checked += 1;
    }
    assert_eq!(checked.to_string(), count);
}

/// What the folding rules promise for some of the models of `make.py`.
fn check_structure(name: &str, model: &Model) {
    let kinds: Vec<&str> = model.network.nodes().iter().map(|node| node.layer.kind()).collect();
    let parameters: Vec<&str> = model.network.parameters().iter().map(|info| info.name.as_str()).collect();
    match name {
        "gemm_no_bias" => assert_eq!((kinds, parameters), (vec!["input", "linear"], vec!["w", "b"])),
        "matmul_right" => assert_eq!((kinds, parameters), (vec!["input", "flatten", "linear"], vec!["w", "b"])),
        "conv_depthwise" => assert_eq!((kinds, parameters), (vec!["input", "conv2d", "flatten"], vec!["w", "b"])),
        "matmul_shared" => assert_eq!(parameters, ["w", "w.2"]),
        "identities" => assert_eq!(parameters, ["w", "b", "w.2", "d"]),
        "scalars" | "normalised" | "elementwise" => assert_eq!(kinds, ["input", "affine", "flatten"]),
        "read_twice" => assert_eq!(kinds, ["input", "affine", "affine", "add", "flatten"]),
        "bias_read_twice" => assert_eq!(kinds, ["input", "linear", "affine", "add"]),
        "norm_13" => assert_eq!(parameters, ["scale", "shift"]),
        "norm_half_constant" => assert_eq!(parameters, ["scale", "shift"]),
        "norm_constant" => assert!(parameters.is_empty()),
        "reshape_image" => assert_eq!(model.network.input_shape(), [2, 3, 4]),
        "reshape_back" => assert_eq!(kinds, ["input", "relu", "conv2d", "flatten"]),
        "transposed" => assert_eq!(model.network.parameters().find("w").unwrap().shape, [3, 6]),
        "clip_below" => assert_eq!(kinds, ["input", "relu"]),
        "dead_end" => assert_eq!(kinds, ["input", "relu"]),
        // A square is a function of one number; other products have both factors in one layer.
        "squared" => assert_eq!(kinds, ["input", "power", "flatten"]),
        "multiplied" => assert_eq!(kinds, ["input", "sigmoid", "gather", "gather", "add", "product"]),
        "softmax" => {
            assert!(
                !kinds.contains(&"product") && kinds.contains(&"exp") && kinds.contains(&"reciprocal"),
                "{kinds:?}"
            );
        }
        "residual" => {
            let add = model.network.nodes().iter().find(|node| node.layer == Layer::Add).unwrap();
            assert_eq!(add.inputs.len(), 3);
        }
        _ => {}
    }
}
