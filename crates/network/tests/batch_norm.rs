//! Batch norms as layers: descriptions, files, splits, and the same function frozen and folded.

use tightrope_exact::Enclosure;
use tightrope_network::{
    BatchNorm, Conv2d, Description, Initialisation, Layer, Model, Network, NetworkBuilder, NodeId, Place,
};

const TEXT: &str = r#"
    input = [2, 4, 4]
    [[layers]]
    name = "conv"
    kind = "conv2d"
    out_channels = 3
    kernel = 3
    bias = false
    [[layers]]
    name = "bn"
    kind = "batchnorm"
    [[layers]]
    kind = "relu"
    [[layers]]
    kind = "flatten"
    [[layers]]
    name = "last"
    kind = "linear"
    out_features = 2
    [[layers]]
    name = "out"
    kind = "batchnorm"
    weight = "gamma"
    bias = "beta"
    epsilon = 0.25
    momentum = 0.5
"#;

fn network() -> Network {
    Description::from_toml(TEXT, "(inline)").unwrap().build().unwrap()
}

fn norm(network: &Network, id: NodeId) -> &BatchNorm {
    let Layer::BatchNorm(norm) = &network.node(id).layer else { panic!("{:?}", network.node(id)) };
    norm
}

/// A model with numbers that differ from each other.
fn model() -> Model {
    let network = network();
    let theta = Initialisation::Default.theta(&network, 5).iter().map(|v| v + 0.125).collect();
    let buffers = (0..network.buffers().total()).map(|i| 0.1 + 0.3 * i as f32).collect();
    Model { buffers, ..Model::new(network, theta) }
}

#[test]
fn descriptions_state_batch_norms() {
    let network = network();
    let (first, second) = (norm(&network, 2), norm(&network, 6));
    assert_eq!((first.channels, first.epsilon, first.momentum), (3, 1e-5, 0.1));
    assert_eq!((second.channels, second.epsilon, second.momentum), (2, 0.25, 0.5));
    let names = |layout: &[(String, Vec<usize>)]| layout.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let parameters: Vec<_> = network.parameters().iter().map(|info| (info.name.clone(), info.shape.clone())).collect();
    let buffers: Vec<_> = network.buffers().iter().map(|info| (info.name.clone(), info.shape.clone())).collect();
    assert_eq!(
        names(&parameters),
        ["conv.weight", "bn.weight", "bn.bias", "last.weight", "last.bias", "gamma", "beta"]
    );
    assert_eq!(names(&buffers), ["bn.running_mean", "bn.running_var", "out.running_mean", "out.running_var"]);
    assert_eq!(network.initial_buffers(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    let theta = Initialisation::Ibp.theta(&network, 1);
    assert!(network.parameters().slice(&theta, first.weight).iter().all(|&w| w == 1.0));
    assert!(network.parameters().slice(&theta, first.bias).iter().all(|&b| b == 0.0));
    let text = serde_json::to_string(&Description::of(&network)).unwrap();
    assert_eq!(Description::from_json(&text, "(inline)").unwrap().build().unwrap(), network);
}

#[test]
fn senseless_batch_norms_are_refused() {
    let refusal = |from: &str, to: &str| {
        let text = TEXT.replace(from, to);
        assert_ne!(text, TEXT);
        Description::from_toml(&text, "(inline)").unwrap().build().unwrap_err().to_string()
    };
    assert!(refusal("epsilon = 0.25", "epsilon = 0.0").contains("epsilon is 0"));
    assert!(refusal("momentum = 0.5", "momentum = 1.5").contains("momentum is 1.5"));
    assert!(refusal("weight = \"gamma\"", "weight = false").contains("needs its weight"));
    assert!(refusal("weight = \"gamma\"", "weight = \"bn.running_mean\"").contains("are called `bn.running_mean`"));
    assert!(refusal("epsilon = 0.25", "slope = 0.25").contains("`slope` means nothing"));
    let mut builder = NetworkBuilder::new(&[3]).unwrap();
    builder.buffer("unused", &[3]).unwrap();
    builder.batch_norm("bn", builder.input()).unwrap();
    assert!(builder.build().unwrap_err().to_string().contains("`bn.running_mean` is out of turn"));
}

#[test]
fn buffers_are_saved_beside_the_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model();
    model.save(folder.path()).unwrap();
    assert_eq!(Model::load(folder.path()).unwrap(), model);
    model.buffers[4] = -0.5;
    let message = model.save(folder.path()).unwrap_err().to_string();
    assert!(message.contains("`bn.running_var` holds -0.5 at element 1"), "{message}");
    let bytes = Model::new(model.network.clone(), model.theta.clone()).to_safetensors().unwrap();
    let damaged = bytes.windows(15).position(|part| part == b"bn.running_mean").unwrap();
    let mut missing = bytes;
    missing[damaged] = b'x';
    let message = model.network.buffers_from_bytes(&missing, "file".as_ref()).unwrap_err().to_string();
    assert!(message.contains("`bn.running_mean`: missing"), "{message}");
}

#[test]
fn splitting_divides_the_buffers() {
    let model = model();
    let (first, second) = model.network.split_at(4).unwrap();
    assert_eq!((first.buffers().total(), second.buffers().total()), (6, 4));
    assert_eq!(second.buffers().iter().next().unwrap().name, "out.running_mean");
    assert_eq!(norm(&second, 2).mean.0, 0);
    second.check_buffers(&model.buffers[6..]).unwrap();
}

/// The numbers of the affine layers, against the definition.
#[test]
fn frozen_models_hold_the_numbers_of_the_definition() {
    let model = model();
    let frozen = model.frozen().unwrap().into_owned();
    assert_eq!((frozen.network.buffers().total(), frozen.buffers.len()), (0, 0));
    assert_eq!(frozen.theta, model.theta);
    assert_eq!(frozen.network.parameters(), model.network.parameters());
    let weights = frozen.weights();
    for id in [2, 6] {
        let norm = norm(&model.network, id);
        let Layer::Affine(affine) = &frozen.network.node(id).layer else { panic!() };
        assert_eq!(affine.inner * norm.channels, model.network.node(id).len());
        let read = |buffer| model.network.buffers().slice(&model.buffers, buffer);
        for (channel, (&mean, &variance)) in read(norm.mean).iter().zip(read(norm.variance)).enumerate() {
            let scale = 1.0 / (f64::from(variance) + norm.epsilon).sqrt();
            assert!((affine.scale[channel] - scale).abs() <= 2.0 * f64::EPSILON * scale);
            // scale² · (variance + ε) = 1 and shift = −mean·scale, to hundreds of digits.
            let exact = weights.number(Place::Scale(id, channel), affine.scale[channel]);
            let sum = Enclosure::from(f64::from(variance)).plus(&Enclosure::from(norm.epsilon));
            let rest = exact.times(&exact).times(&sum).plus(&Enclosure::from(-1.0));
            assert!(rest.magnitude().to_f64() < 1e-80, "{rest:?}");
            let shift = weights.number(Place::Shift(id, channel), affine.shift[channel]);
            let rest = shift.plus(&exact.times(&Enclosure::from(f64::from(mean))));
            assert!(rest.magnitude().to_f64() < 1e-80, "{rest:?}");
        }
    }
    let plain = Model::new(Description::of(&frozen.network).build().unwrap(), frozen.theta.clone());
    assert_eq!(*plain.frozen().unwrap(), plain);
    let broken = Model { buffers: vec![0.0; 3], ..model };
    assert!(broken.frozen().is_err());
}

/// Both batch norms of the chain go into the layers before them; one that reads the input stays, and so does one whose
/// layer has another reader.
#[test]
fn folding_takes_batch_norms_into_the_layers_before() {
    let model = model();
    let folded = model.folded().unwrap();
    assert_eq!((folded.network.nodes().len(), folded.network.buffers().total()), (5, 0));
    let names: Vec<&str> = folded.network.parameters().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["conv.weight", "conv.bias", "last.weight", "last.bias"]);
    let (bn, parameters) = (norm(&model.network, 2), model.network.parameters());
    let old = |name: &str| &model.theta[parameters.find(name).unwrap().range()];
    let new = |name: &str| &folded.theta[folded.network.parameters().find(name).unwrap().range()];
    let (mean, variance) = (&model.buffers[..3], &model.buffers[3..6]);
    for channel in 0..3 {
        let factor = old("bn.weight")[channel] / (variance[channel] + bn.epsilon as f32).sqrt();
        let bias = old("bn.bias")[channel] - factor * mean[channel];
        assert!((new("conv.bias")[channel] - bias).abs() < 1e-6);
        let row = 18 * channel..18 * (channel + 1);
        for (new, old) in new("conv.weight")[row.clone()].iter().zip(&old("conv.weight")[row]) {
            assert!((new - factor * old).abs() < 1e-6);
        }
    }

    let mut builder = NetworkBuilder::new(&[2, 3, 3]).unwrap();
    let first = builder.batch_norm("first", builder.input()).unwrap();
    let conv = Conv2d { padding: [1; 4], ..Conv2d::new([2, 2], [3, 3]) };
    let conv = builder.conv2d("conv", conv, true, first).unwrap();
    let shared = builder.batch_norm("shared", conv).unwrap();
    let sum = builder.add("sum", Layer::Add, &[conv, shared]).unwrap();
    builder.add("flat", Layer::Flatten, &[sum]).unwrap();
    let network = builder.build().unwrap();
    let theta = Initialisation::Default.theta(&network, 2);
    let model = Model::new(network, theta);
    assert_eq!(model.folded().unwrap(), model);
}
