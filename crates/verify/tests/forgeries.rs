//! Forged certificates: proofs of what is true, changed in every way and resealed for what is false, are never accepted.

use std::time::Duration;

use tightrope_certificate::{Certificate, ExactLeaf, Leaf, Neuron, Proof, Step, check, property_digest};
use tightrope_engine::Reference;
use tightrope_network::{Activation, Affine, Layer, MaxPool2d, Model, NetworkBuilder, Weights};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::Rng;
use tightrope_verify::complete::{Branching, Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

/// Bytes before the body of a certificate file: magic, version, SHA-256.
const HEADER: usize = 8 + 4 + 32;
/// Bytes of the two digests at the beginning of the body.
const DIGESTS: usize = 64;

/// A true statement about a model with its proof, and a false one about the same.
struct Subject {
    name: String,
    model: Model,
    proof: Proof,
    lie: Property,
}

/// A network of two inputs with a normalisation, some of whose numbers no f64 holds, and weights times `scale` in the first
/// layer and over it in the second.
fn network(seed: u64, scale: f64) -> Model {
    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let third = 1.0 / 3.0;
    let affine = Affine { inner: 1, scale: vec![third, 1.5], shift: vec![0.125, -0.25], weight: None, bias: None };
    let first = builder.add("normalise", Layer::Affine(affine), &[0]).unwrap();
    let first = builder.linear("first", 5, true, first).unwrap();
    let relu = builder.add("relu0", Layer::RELU, &[first]).unwrap();
    let second = builder.linear("second", 4, true, relu).unwrap();
    let relu = builder.add("relu1", Layer::RELU, &[second]).unwrap();
    builder.linear("last", 2, true, relu).unwrap();
    let network = builder.build().unwrap();
    let rng = Rng::new(seed);
    let mut theta: Vec<f64> = (0..network.parameters().total()).map(|_| rng.between(-1.0, 1.0)).collect();
    let mut rescale = |name: &str, factor: f64| {
        let range = network.parameters().find(name).unwrap().range();
        theta[range].iter_mut().for_each(|value| *value *= factor);
    };
    rescale("first.weight", scale);
    rescale("first.bias", scale);
    rescale("second.weight", 1.0 / scale);
    let mut weights = Weights::new(theta);
    if seed % 2 == 1 {
        let number = tightrope_exact::Enclosure::from(1.0).over(&tightrope_exact::Enclosure::from(3.0)).unwrap();
        weights.refine(tightrope_network::Place::Scale(1, 0), number);
    }
    Model::with_weights(network, weights)
}

/// That y₀ − y₁/2 ≤ `bound` (< if `strict`) somewhere in [−1, 1]².
fn unsafe_below(bound: f64, strict: bool, open: bool) -> Property {
    let row = Constraint { coefficients: vec![1.0, -0.5], bound, strict };
    let mut case = Case::closed(vec![-1.0; 2], vec![1.0; 2], vec![vec![row]]);
    if open {
        case.open_upper = vec![0, 1];
    }
    Property::new(2, 2, vec![case])
}

/// The value of y₀ − y₁/2 at points of a grid, the least of them.
fn least(model: &Model) -> f64 {
    let theta = model.weights().theta().to_vec();
    let mut least = f64::INFINITY;
    for i in 0..=64 {
        for j in 0..=64 {
            // Away from the ends, which a property may leave out.
            let x = [i, j].map(|n| -0.999 + 1.998 * f64::from(n) / 64.0);
            let y = Reference.forward(&model.network, &theta, &x).unwrap();
            least = least.min(y[0] - 0.5 * y[1]);
        }
    }
    least
}

/// A network of two inputs with activations of another kind.
fn other_kind(activation: Activation, seed: u64) -> Model {
    let layer = || Layer::Activation(activation);
    // Twice in a row these leave f32.
    let is_steep = matches!(activation, Activation::Exp | Activation::Power { .. });
    let second = if is_steep { Layer::Activation(Activation::Tanh) } else { layer() };
    let network = Chain::new(&[2]).linear(5).layer(layer()).linear(4).layer(second).linear(2).build();
    let rng = Rng::new(seed);
    let theta = (0..network.parameters().total()).map(|_| rng.between(-1.5, 1.5)).collect();
    Model::with_weights(network, Weights::new(theta))
}

/// A network of two inputs with a max pooling.
fn pooled(seed: u64) -> Model {
    let pool = Layer::MaxPool2d(MaxPool2d { kernel: [1, 2], stride: [1; 2], padding: [0; 4] });
    let chain = Chain::new(&[1, 1, 2]).conv(3, [1, 2], [1; 2], [0, 1, 0, 1]).layer(pool);
    let network = chain.relu().flatten().linear(4).relu().linear(2).build();
    let rng = Rng::new(seed);
    let theta = (0..network.parameters().total()).map(|_| rng.between(-1.0, 1.0)).collect();
    Model::with_weights(network, Weights::new(theta))
}

/// A network of two inputs with a product.
fn multiplied(seed: u64) -> Model {
    let network = Chain::new(&[2]).linear(8).layer(Layer::Product).linear(4).relu().linear(2).build();
    let rng = Rng::new(seed);
    let theta = (0..network.parameters().total()).map(|_| rng.between(-1.0, 1.0)).collect();
    Model::with_weights(network, Weights::new(theta))
}

/// Models with the way to search them.
fn models() -> Vec<(u64, Branching, String, Model)> {
    let mut models = Vec::new();
    for seed in 0..4_u64 {
        for (branching, scale) in [(Branching::Input, 1.0), (Branching::Fsb, 1.0), (Branching::Fsb, 1e25)] {
            models.push((seed, branching, format!("{seed} {branching:?} {scale:e}"), network(seed, scale)));
        }
    }
    let kinds = [
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Clip { lower: -0.3, upper: 0.9 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Exp,
        Activation::Softplus,
        Activation::Power { exponent: 2 },
        Activation::Power { exponent: 3 },
    ];
    for (seed, kind) in kinds.into_iter().enumerate() {
        for branching in [Branching::Input, Branching::Fsb] {
            models.push((0, branching, format!("{branching:?} {kind:?}"), other_kind(kind, seed as u64)));
        }
    }
    models.push((0, Branching::Input, "max pooling".into(), pooled(1)));
    models.push((0, Branching::Input, "product".into(), multiplied(1)));
    models.push((0, Branching::Fsb, "product, neurons".into(), multiplied(1)));
    models
}

fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (seed, branching, name, model) in models() {
        let least = least(&model);
        let size = 1.0 + least.abs();
        let settings = Settings {
            timeout: Duration::from_secs(20),
            branching,
            root_iterations: 5,
            proof: true,
            ..Settings::default()
        };
        // The nearest bound on a ladder that can be proved.
        let proved = [1e-9, 1e-3, 1e-2, 0.1].iter().find_map(|gap| {
            let truth = unsafe_below(least - gap * size, seed == 2, seed == 3);
            let decision = decide(&model.network, &model.weights(), &truth, &settings, &|_| {}).unwrap();
            match decision.outcome {
                Outcome::Holds { proof } => proof,
                _ => None,
            }
        });
        let proof = proved.unwrap_or_else(|| panic!("{name}: nothing is proved"));
        let lie = unsafe_below(least + 1e-9 * size, seed == 2, seed == 3);
        subjects.push(Subject { name, model, proof, lie });
    }
    subjects
}

/// Changes a proof by one of many rules.
fn change(proof: &mut Proof, rng: &Rng) {
    let trees = &mut proof.cases[0].conjunctions;
    let tree = rng.below(trees.len());
    let steps = &mut trees[tree].steps;
    let at = rng.below(steps.len());
    let factor = [0.0, 0.5, -1.0, 2.0, 1e3, 1e30, f64::NAN, f64::INFINITY, 1.0 + 1e-9][rng.below(9)];
    match rng.below(11) {
        0 => drop(steps.remove(at)),
        1 => steps.insert(at, steps[rng.below(steps.len())].clone()),
        2 => {
            let other = rng.below(steps.len());
            steps.swap(at, other);
        }
        3 => steps.truncate(at),
        4 => steps[at] = Step::Leaf(Leaf { rows: vec![(0, 1.0)], ..Leaf::default() }),
        5 => steps[at] = Step::Exact(ExactLeaf { rows: vec![(0, vec![1])], ..ExactLeaf::default() }),
        6 => {
            let leaves = steps.iter_mut().filter(|step| matches!(step, Step::Leaf(_) | Step::Exact(_)));
            for step in leaves {
                match step {
                    Step::Leaf(leaf) => {
                        leaf.rows.iter_mut().for_each(|(_, weight)| *weight *= factor);
                        leaf.multipliers.iter_mut().for_each(|beta| *beta *= factor as f32);
                    }
                    Step::Exact(leaf) => leaf.rows.clear(),
                    _ => {}
                }
            }
        }
        7 => {
            let neuron = Neuron { node: rng.below(8) as u32, index: rng.below(6) as u32 };
            for step in steps.iter_mut() {
                match step {
                    Step::SplitRelu(split) => {
                        *split = neuron;
                        break;
                    }
                    Step::SplitNeuron { neuron: split, at } => {
                        let other = [*at * factor, *at + 0.1, -*at, factor][rng.below(4)];
                        (*split, *at) = if rng.coin() { (neuron, *at) } else { (*split, other) };
                        break;
                    }
                    Step::Refine(_) | Step::SplitInput { .. } | Step::Leaf(_) | Step::Exact(_) => {}
                }
            }
        }
        8 => {
            if let Some(Step::SplitInput { index, at }) =
                steps.iter_mut().find(|step| matches!(step, Step::SplitInput { .. }))
            {
                *index = rng.below(3) as u32;
                *at = factor;
            }
        }
        9 => {
            let units = [0, 1, -1, 40, -40, 1000, 5000];
            let count = [0, 1, proof.units.len().max(7)][rng.below(3)];
            proof.units = (0..count).map(|_| units[rng.below(units.len())]).collect();
        }
        _ => {
            for slopes in proof.slopes.iter_mut().flat_map(|slopes| &mut slopes.layers) {
                slopes.values.iter_mut().for_each(|alpha| *alpha *= factor as f32);
            }
            for refinement in proof.refinements.iter_mut().flat_map(|refinement| &mut refinement.layers) {
                refinement.crown = !refinement.crown;
                for bound in &mut refinement.bounds {
                    bound.multipliers.iter_mut().for_each(|beta| *beta *= factor as f32);
                }
            }
        }
    }
}

/// Damages the body behind the digests and seals the file anew.
fn damage(bytes: &mut Vec<u8>, rng: &Rng) {
    for _ in 0..1 + rng.below(4) {
        let at = HEADER + DIGESTS + rng.below(bytes.len() - HEADER - DIGESTS);
        match rng.below(5) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.below(256) as u8,
            2 => bytes.insert(at, rng.below(256) as u8),
            3 if bytes.len() > HEADER + DIGESTS + 8 => drop(bytes.remove(at)),
            _ => bytes[at] = [0, 0x7f, 0x80, 0xff][rng.below(4)],
        }
    }
    seal(bytes);
}

fn seal(bytes: &mut [u8]) {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(&bytes[HEADER..]);
    bytes[HEADER - 32..HEADER].copy_from_slice(&digest);
}

/// `TIGHTROPE_FORGERIES` certificates in all, 10,000 if it is not set, from seed `TIGHTROPE_FORGERY_SEED` on.
#[test]
fn no_forged_certificate_is_accepted() {
    let variable = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    };
    let count = variable("TIGHTROPE_FORGERIES", 10_000);
    let first = variable("TIGHTROPE_FORGERY_SEED", 0);
    let subjects = subjects();
    let (mut decoded, mut kinds) = (0, [0; 2]);
    for number in first..first + count {
        let rng = Rng::new(number);
        let subject = &subjects[rng.below(subjects.len())];
        let weights = subject.model.weights();
        let mut proof = subject.proof.clone();
        let structured = rng.below(2) == 0;
        if structured {
            (0..1 + rng.below(3)).for_each(|_| {
                if !proof.cases[0].conjunctions.iter().any(|tree| tree.steps.is_empty()) {
                    change(&mut proof, &rng);
                }
            });
        }
        let certificate = Certificate::new(&subject.model.network, &weights, &subject.lie, proof).unwrap();
        let mut bytes = certificate.to_bytes().unwrap();
        if !structured {
            damage(&mut bytes, &rng);
        }
        let Ok(forged) = Certificate::from_bytes(&bytes) else { continue };
        decoded += 1;
        kinds[usize::from(structured)] += 1;
        let accepted = check(&forged, &subject.model.network, &weights, &subject.lie, None);
        assert!(accepted.is_err(), "forgery {number} of {} is accepted: {accepted:?}", subject.name);
    }
    eprintln!("{count} forgeries, {decoded} of them read: {} of bytes, {} of parts", kinds[0], kinds[1]);
    assert!(kinds[0] > 0 && kinds[1] > 0 && decoded > count / 4, "{kinds:?}");
}

/// True proofs are accepted, and refused for another network or property.
#[test]
fn foreign_certificates_are_refused() {
    let subjects = subjects();
    for (i, subject) in subjects.iter().enumerate() {
        let weights = subject.model.weights();
        let certificate =
            Certificate::new(&subject.model.network, &weights, &subject.lie, subject.proof.clone()).unwrap();
        let other = &subjects[(i + 3) % subjects.len()];
        let foreign = check(&certificate, &other.model.network, &other.model.weights(), &subject.lie, None);
        assert!(foreign.unwrap_err().to_string().contains("another network"));
        let near = unsafe_below(subject.lie.cases[0].unsafe_outputs[0][0].bound.next_up(), false, false);
        let foreign = check(&certificate, &subject.model.network, &weights, &near, None);
        assert!(foreign.unwrap_err().to_string().contains("another property"));
        assert_eq!(certificate.property, property_digest(&subject.lie));
    }
}

/// 1e300·x·y over boxes so small that x·y underflows: −1e-30 at a corner, whatever a leaf says.
#[test]
fn products_that_underflow_refute_nothing() {
    let network = Chain::new(&[2]).layer(Layer::Product).linear(1).build();
    let theta = network.parameters().iter().map(|info| if info.shape.len() == 1 { 0.0 } else { 1e300 }).collect();
    let model = Model::with_weights(network, Weights::new(theta));
    let below = |bound: f64| {
        let row = vec![vec![Constraint::at_most(vec![1.0], bound)]];
        Property::new(2, 1, vec![Case::closed(vec![-1e-165; 2], vec![1e-165; 2], row)])
    };
    let settings = Settings { timeout: Duration::from_secs(20), proof: true, ..Settings::default() };
    let decision = decide(&model.network, &model.weights(), &below(-1.0), &settings, &|_| {}).unwrap();
    let Outcome::Holds { proof: Some(mut proof) } = decision.outcome else { panic!("{:?}", decision.outcome) };
    proof.cases[0].conjunctions[0].steps = vec![Step::Leaf(Leaf { rows: vec![(0, 1.0)], ..Leaf::default() })];
    for (bound, accepted) in [(-1.0, true), (-1e-31, false)] {
        let property = below(bound);
        let certificate = Certificate::new(&model.network, &model.weights(), &property, proof.clone()).unwrap();
        let found = check(&certificate, &model.network, &model.weights(), &property, None);
        assert_eq!(found.is_ok(), accepted, "{bound:e}: {found:?}");
    }
}
