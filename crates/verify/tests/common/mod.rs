//! What the tests share: published verdicts with their networks, and a small network of their own.
#![allow(dead_code, reason = "each test binary uses its own part")]

use tightrope_attack::Target;
use tightrope_engine::Reference;
use tightrope_network::{Initialisation, Model, Preset};
use tightrope_testkit::golden::{Case, TensorFile, cast};
use tightrope_testkit::random::draws;
use tightrope_testkit::shared::shared;

/// The networks with published verdicts that are small enough for every test.
pub const VERIFICATION: [&str; 2] = ["mlp_nat", "cnn3_tiny_ibp"];

/// Published verdicts: per network and radius in [0, 1], the `instances` with `i`, `verdict` and `by`.
pub fn verdicts() -> Option<serde_json::Value> {
    let bytes = std::fs::read(shared("golden")?.join("verification/verdicts.json")).unwrap();
    let mut file: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    Some(file["results"].take())
}

/// One of those networks, with the inputs `[30, d]` and labels of its instances; only after [`verdicts`] found them.
pub fn verification(name: &str) -> (Model, Vec<f32>, Vec<usize>) {
    let golden = shared("golden").expect("found before");
    let file = TensorFile::read(&golden.join(format!("verification/{name}.safetensors")));
    (Case::read(&golden, name).model, cast(&file.values("x")), file.indices("y"))
}

/// A published network with the inputs `[8, d]` and labels that belong to it.
pub fn case(name: &str) -> Option<(Model, Vec<f32>, Vec<usize>)> {
    let case = Case::read(&shared("golden")?, name);
    let (inputs, labels) = (case.x(), case.labels());
    Some((case.model, inputs, labels))
}

/// A small network on 8×8 images with samples labelled by its own prediction, two of them wrongly.
pub fn small() -> (Model, Vec<f32>, Vec<usize>) {
    let network = Preset::Cnn3Tiny.build(&[1, 8, 8], 4, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 5).iter().map(|v| 3.0 * v).collect();
    let model = Model::new(network, theta);
    let inputs = draws(1, 0, 200 * 64, 0.0, 1.0);
    let logits = Target::new(&model, &Reference, &Reference).unwrap().logits(&inputs).unwrap();
    let mut labels: Vec<usize> =
        logits.chunks(4).map(|z| (0..4).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap()).collect();
    labels[3] = (labels[3] + 1) % 4;
    labels[40] = (labels[40] + 1) % 4;
    (model, inputs, labels)
}
