//! What the tests share: random models as files hold them, and what is the same.
#![allow(dead_code, reason = "each test binary uses a part")]

use tightrope_network::{Description, Initialisation, Layer, Model};
use tightrope_testkit::random::{Constants, Knobs, Piece, Recipe, Rng, draws, gaussian};

/// A random model of every layer kind that is written, with numbers that come back: an image part, perhaps with a residual block, and
/// a flat part.
pub fn random_model(seed: u64) -> Model {
    let rng = Rng::new(seed);
    let mut pieces = Vec::new();
    if rng.coin() {
        pieces.push(Piece::Normalise);
    }
    for _ in 0..rng.integer(1, 3) {
        pieces.push(*rng.one_of(&[Piece::Conv, Piece::GroupedConv, Piece::DepthwiseConv]));
        if rng.coin() {
            pieces.push(Piece::BatchNorm);
        }
        pieces.push(*rng.one_of(&[Piece::Relu, Piece::Activation, Piece::TwoActivations]));
        if rng.coin() {
            pieces.extend([Piece::Residual, Piece::Relu]);
        }
    }
    match rng.below(3) {
        0 => pieces.push(Piece::AvgPool),
        1 => pieces.push(Piece::MaxPool),
        _ => {}
    }
    pieces.push(Piece::Flatten);
    for _ in 0..rng.integer(0, 2) {
        pieces.push(Piece::Hidden);
        if rng.coin() {
            pieces.push(Piece::BatchNorm);
        }
        pieces.push(*rng.one_of(&[Piece::Relu, Piece::Activation]));
    }
    pieces.push(Piece::Logits);
    let knobs = Knobs {
        channels: 1..=4,
        sides: 5..=8,
        filters: (1..=6).collect(),
        hidden: (1..=6).collect(),
        classes: (1..=6).collect(),
        constants: Constants::OfFiles,
        ..Knobs::default()
    };
    let network = Recipe { pieces, knobs }.network(&rng);
    let theta = gaussian(&rng, &network).iter().map(|&value| value as f32).collect();
    Model::new(network, theta)
}

/// Fails unless two models are the same but for the last places of f64 constants: a file of f32 constants and the
/// arithmetic of an import keep them only nearly.
#[track_caller]
pub fn assert_same(found: &Model, expected: &Model, place: &str) {
    let without = |model: &Model| {
        let mut nodes = model.network.nodes().to_vec();
        let mut constants = Vec::new();
        for node in &mut nodes {
            if let Layer::Affine(affine) = &mut node.layer {
                constants.append(&mut affine.scale);
                constants.append(&mut affine.shift);
            }
        }
        (nodes, constants)
    };
    let (nodes, constants) = without(found);
    let (expected_nodes, expected_constants) = without(expected);
    assert_eq!((nodes, &found.theta), (expected_nodes, &expected.theta), "{place}");
    assert_eq!(constants.len(), expected_constants.len(), "{place}");
    for (a, b) in constants.iter().zip(&expected_constants) {
        assert!((a - b).abs() <= 1e-14 * b.abs(), "{place}: {a} {b}");
    }
}

/// Batch norms behind a convolution, a linear layer, the input, an activation, and a layer with another reader.
pub fn batch_norms() -> Model {
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
    let noise = draws(7, 1, theta.len(), 0.0, 1.0);
    theta.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.2 * (noise - 0.5));
    let buffers = draws(7, 2, network.buffers().total(), 0.1, 1.1);
    Model { buffers, ..Model::new(network, theta) }
}
