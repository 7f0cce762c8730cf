//! What the tests share: published verdicts with their networks, and a small network of their own.
#![allow(dead_code, reason = "each test binary uses its own part")]

use safetensors::SafeTensors;
use tightrope_engine::Reference;
use tightrope_network::{Initialisation, Model, Preset};
use tightrope_noise::{Purpose, Stream};
use tightrope_testkit::shared::shared;
use tightrope_verify::Target;

/// The networks with published verdicts that are small enough for every test.
pub const VERIFICATION: [(&str, Preset); 2] = [("mlp_nat", Preset::Mlp), ("cnn3_tiny_ibp", Preset::Cnn3Tiny)];

/// Published verdicts: per network and radius in [0, 1], the `instances` with `i`, `verdict` and `by`.
pub fn verdicts() -> Option<serde_json::Value> {
    let bytes = std::fs::read(shared("golden")?.join("verification/verdicts.json")).unwrap();
    let mut file: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    Some(file["results"].take())
}

/// One of those networks, with the inputs `[30, d]` and labels of its instances; only after [`verdicts`] found them.
pub fn verification(name: &str, preset: Preset) -> (Model, Vec<f32>, Vec<usize>) {
    published(name, preset, &format!("verification/{name}")).expect("found before")
}

/// A published network with the inputs `[8, d]` and labels that belong to it.
pub fn case(name: &str, preset: Preset) -> Option<(Model, Vec<f32>, Vec<usize>)> {
    published(name, preset, &format!("cases/{name}/inputs"))
}

/// A published network with inputs and labels of a file.
fn published(name: &str, preset: Preset, inputs: &str) -> Option<(Model, Vec<f32>, Vec<usize>)> {
    let golden = shared("golden")?;
    let network = preset.build(&[1, 28, 28], 10, None).unwrap();
    let weights = network.weights_from_safetensors(&golden.join(format!("cases/{name}/weights.safetensors"))).unwrap();
    let bytes = std::fs::read(golden.join(format!("{inputs}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (x, y) = (file.tensor("x").unwrap(), file.tensor("y").unwrap());
    let inputs = x.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let labels = y.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b).try_into().unwrap()).collect();
    Some((Model::with_weights(network, weights), inputs, labels))
}

/// A small network on 8×8 images with samples labelled by its own prediction, two of them wrongly.
pub fn small() -> (Model, Vec<f32>, Vec<usize>) {
    let network = Preset::Cnn3Tiny.build(&[1, 8, 8], 4, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 5).iter().map(|v| 3.0 * v).collect();
    let model = Model::new(network, theta);
    let mut inputs = vec![0.0; 200 * 64];
    Stream::new(1, Purpose::Test, 0, 0).uniform(0, &mut inputs);
    let logits = Target::new(&model, &Reference, &Reference).logits(&inputs).unwrap();
    let mut labels: Vec<usize> =
        logits.chunks(4).map(|z| (0..4).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap()).collect();
    labels[3] = (labels[3] + 1) % 4;
    labels[40] = (labels[40] + 1) % 4;
    (model, inputs, labels)
}
