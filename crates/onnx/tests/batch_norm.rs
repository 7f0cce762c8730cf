//! Batch norms in ONNX files: folded into the layers before them, or written with their statistics.

use tightrope_engine::{Engine, Reference};
use tightrope_network::{Description, Initialisation, Layer, Model};
use tightrope_noise::{Purpose, Stream};
use tightrope_onnx::{export_bytes, import_bytes};

fn values(purpose: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    Stream::new(7, Purpose::Test, purpose, 0).uniform(0, &mut values);
    values
}

/// Batch norms behind a convolution, a linear layer, the input, an activation, and a layer with another reader.
fn model() -> Model {
    let text = r#"
        input = [2, 6, 6]
        layers = [
            { name = "first", kind = "batchnorm", epsilon = 1e-3 },
            { name = "conv", kind = "conv2d", out_channels = 4, kernel = 3, padding = 1, groups = 2, bias = false },
            { name = "bn1", kind = "batchnorm" },
            { name = "open", kind = "relu" },
            { name = "bn2", kind = "batchnorm" },
            { name = "shared", kind = "conv2d", out_channels = 4, kernel = 1 },
            { name = "bn3", kind = "batchnorm" },
            { name = "sum", kind = "add", inputs = ["bn3", "shared"] },
            { kind = "relu" },
            { kind = "flatten" },
            { name = "hidden", kind = "linear", out_features = 5 },
            { name = "bn4", kind = "batchnorm" },
            { kind = "relu" },
            { name = "last", kind = "linear", out_features = 3 },
        ]
    "#;
    let network = Description::from_toml(text, "(inline)").unwrap().build().unwrap();
    let mut theta = Initialisation::Default.theta(&network, 5);
    let noise = values(1, theta.len());
    theta.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.2 * (noise - 0.5));
    let buffers = values(2, network.buffers().total()).iter().map(|value| 0.1 + value).collect();
    Model { buffers, ..Model::new(network, theta) }
}

fn logits(model: &Model, inputs: &[f32]) -> Vec<f64> {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let at = Reference.load(&model.network, &wide(&model.theta), &wide(&model.buffers)).unwrap();
    at.forward(&wide(inputs)).unwrap()
}

#[test]
fn exported_batch_norms_keep_their_function() {
    let model = model();
    let again = import_bytes(&export_bytes(&model).unwrap(), "(memory)").unwrap();
    let kinds: Vec<&str> = again.network.nodes().iter().skip(1).map(|node| node.layer.kind()).collect();
    let expected = [
        "affine", "conv2d", "relu", "affine", "conv2d", "affine", "add", "relu", "flatten", "linear", "relu", "linear",
    ];
    assert_eq!(kinds, expected);
    let inputs = values(3, 8 * model.network.input_len());
    let (found, expected) = (logits(&again, &inputs), logits(&model, &inputs));
    let scale = expected.iter().fold(0.0_f64, |max, value| max.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5 * scale, "{found} instead of {expected}");
    }
}

/// What is frozen and what is read back from BatchNormalization with the same statistics are the same numbers.
#[test]
fn an_unfolded_batch_norm_comes_back_as_it_is_frozen() {
    let text = r#"
        input = [3]
        layers = [{ name = "bn", kind = "batchnorm", epsilon = 0.0009765625 }]
    "#;
    let network = Description::from_toml(text, "(inline)").unwrap().build().unwrap();
    let model = Model {
        buffers: vec![0.5, -1.25, 3.0, 0.1, 2.0, 0.0],
        ..Model::new(network, vec![1.5, -2.0, 0.5, 0.25, 1.0, 0.0])
    };
    let again = import_bytes(&export_bytes(&model).unwrap(), "(memory)").unwrap();
    let frozen = model.frozen().unwrap();
    let (Layer::Affine(found), Layer::Affine(expected)) = (&again.network.node(1).layer, &frozen.network.node(1).layer)
    else {
        panic!("node 1 is no affine layer")
    };
    assert_eq!(found, expected);
    assert_eq!(again.weights().into_owned(), frozen.weights().into_owned());
}
