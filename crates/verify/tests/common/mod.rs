//! What the tests share: published verdicts with their networks, and a small network of their own.
#![allow(dead_code, reason = "each test binary uses its own part")]

use tightrope_attack::Target;
use tightrope_engine::Reference;
use tightrope_network::{Initialisation, Model, Preset};
use tightrope_testkit::evaluate;
use tightrope_testkit::golden::{Case as Golden, TensorFile, cast};
use tightrope_testkit::networks::dense;
use tightrope_testkit::random::{Rng, draws};
use tightrope_testkit::shared::shared;
use tightrope_verify::complete::{Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

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
    (Golden::read(&golden, name).model, cast(&file.values("x")), file.indices("y"))
}

/// A published network with the inputs `[8, d]` and labels that belong to it.
pub fn case(name: &str) -> Option<(Model, Vec<f32>, Vec<usize>)> {
    let case = Golden::read(&shared("golden")?, name);
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

/// A random network of one output over [−1, 1]^d, and the property that this is nowhere ≤ a value between the least one seen
/// and the root's bound, at `share` of the way: with small shares it takes long, and may be false.
pub fn open_between(widths: &[usize], share: f64) -> (Model, Property) {
    let (network, d) = (dense(widths), widths[0]);
    let theta = Rng::new(5).normals(network.parameters().total()).iter().map(|v| *v as f32).collect();
    let model = Model::new(network, theta);
    let above = |bound: f64| {
        let unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], bound)]];
        Property::new(d, 1, vec![Case::closed(vec![-1.0; d], vec![1.0; d], unsafe_outputs)])
    };
    let rng = Rng::new(6);
    let point = || (0..d).map(|_| rng.between(-1.0, 1.0)).collect::<Vec<f64>>();
    let least = (0..2000).map(|_| evaluate::logits(&model, &point())[0]).fold(f64::INFINITY, f64::min);
    let settings = Settings { branch: false, attack_restarts: 0, ..Settings::default() };
    let decision = decide(&model.network, &model.weights(), &above(least - 1e-3), &settings, &|_| ()).unwrap();
    let Outcome::Unknown { lower_bound } = decision.outcome else { panic!("{decision:?}") };
    let property = above(least + share * lower_bound);
    (model, property)
}
