//! What complete verification proves is contradicted by no sampled point and by no attack.

mod common;

use std::time::Duration;

use common::case;
use tightrope_attack::{Attack, AttackKind, AttackPlan, Samples, Target, ThreatModel};
use tightrope_engine::{Norm, Reference};
use tightrope_network::{Initialisation, Model, Preset};
use tightrope_testkit::evaluate::{Ask, logits};
use tightrope_testkit::random::{Rng, draws};
use tightrope_testkit::sampling::in_box;
use tightrope_verify::complete::{Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

/// Points tried in all.
const POINTS: usize = 100_000;

/// A label that stays strictly first in a box.
struct Proved {
    model: Model,
    input: Vec<f32>,
    label: usize,
    threat: ThreatModel,
    lower: Vec<f64>,
    upper: Vec<f64>,
}

impl Proved {
    /// The claim that `label` stays first within `epsilon` of `input`, if `decide` says so.
    fn new(model: &Model, input: &[f32], label: usize, epsilon: f64) -> Option<Proved> {
        let end = |sign: f64| input.iter().map(|&v| (f64::from(v) + sign * epsilon).clamp(0.0, 1.0)).collect();
        let (lower, upper): (Vec<f64>, Vec<f64>) = (end(-1.0), end(1.0));
        let outputs = model.network.output_len();
        let rival = |j: usize| {
            let mut coefficients = vec![0.0; outputs];
            (coefficients[label], coefficients[j]) = (1.0, -1.0);
            vec![Constraint::at_most(coefficients, 0.0)]
        };
        let unsafe_outputs = (0..outputs).filter(|&j| j != label).map(rival).collect();
        let cases = vec![Case::closed(lower.clone(), upper.clone(), unsafe_outputs)];
        let property = Property::new(input.len(), outputs, cases);
        // Without an attack of its own, so that only bounds stand between a false claim and this test.
        let settings = Settings { timeout: Duration::from_secs(5), attack_restarts: 0, ..Settings::default() };
        let decision = decide(&model.network, &model.weights(), &property, &settings, &|_| {}).unwrap();
        let threat = ThreatModel::new(Norm::Inf, epsilon, Some((0.0, 1.0)));
        matches!(decision.outcome, Outcome::Holds { .. }).then(|| Proved {
            model: model.clone(),
            input: input.to_vec(),
            label,
            threat,
            lower,
            upper,
        })
    }

    /// Tries `count` points: corners, points on the surface and points inside.
    fn sample(&self, seed: u64, count: usize) {
        let rng = Rng::new(seed);
        for first in (0..count).step_by(256) {
            let points = in_box(&rng, &self.lower, &self.upper, 256.min(count - first));
            for (i, z) in logits(&self.model, &points).chunks(self.model.network.output_len()).enumerate() {
                let first_still = (0..z.len()).all(|j| j == self.label || z[self.label] - z[j] > -1e-10);
                assert!(first_still, "seed {seed}, point {}: the proof is contradicted by {z:?}", first + i);
            }
        }
    }

    /// Tries every attack.
    fn attack(&self, seed: u64) {
        let attack = Attack { steps: 40, restarts: 2, seed, ..Attack::default() };
        let plan = AttackPlan { kinds: AttackKind::sequence(self.model.network.output_len()), attack, targets: 9 };
        let samples = Samples { indices: &[seed], inputs: &self.input, labels: &[self.label] };
        let outcome =
            plan.run(&Target::new(&self.model, &Reference, &Reference).unwrap(), &self.threat, &samples).unwrap();
        assert!(!outcome.broken[0], "seed {seed}: broken by {:?}, though proved", outcome.broken_by[0]);
    }
}

/// The class with the largest logit.
fn prediction(model: &Model, input: &[f32]) -> usize {
    let z = Reference.forward(&model.network, &model.theta, input).unwrap();
    (0..z.len()).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap()
}

fn random_models() -> Vec<Model> {
    let shapes: [(Preset, &[usize], usize); 3] =
        [(Preset::Cnn3Tiny, &[1, 8, 8], 4), (Preset::Mlp, &[1, 3, 3], 3), (Preset::Cnn3Tiny, &[2, 6, 6], 2)];
    let model = |seed: usize| {
        let (preset, shape, classes) = shapes[seed % shapes.len()];
        let network = preset.build(shape, classes, None).unwrap();
        let theta = Initialisation::Default.theta(&network, seed as u64).iter().map(|v| 1.5 * v).collect();
        Model::new(network, theta)
    };
    (0..18).map(model).collect()
}

#[test]
fn no_point_contradicts_a_proof() {
    let mut proved = Vec::new();
    for (seed, model) in random_models().iter().enumerate() {
        let input = draws(seed as u64, 1, model.network.input_len(), 0.0, 1.0);
        let label = prediction(model, &input);
        // The largest of these radii that is proved, where counterexamples are nearest.
        proved.extend([0.1, 0.05, 0.02].into_iter().find_map(|epsilon| Proved::new(model, &input, label, epsilon)));
    }
    assert!(proved.len() >= 9, "only {} of 18 random networks have a proof", proved.len());
    for (name, radii) in [("mlp_ibp", [0.1, 0.05]), ("cnn3_tiny_ibp", [0.15, 0.1])] {
        let Some((model, inputs, labels)) = case(name) else { continue };
        let before = proved.len();
        for (input, &label) in inputs.chunks(784).zip(&labels) {
            proved.extend(radii.into_iter().find_map(|epsilon| Proved::new(&model, input, label, epsilon)));
        }
        assert!(proved.len() >= before + 3, "{name}: only {} of 8 proved", proved.len() - before);
    }
    eprintln!("{} proofs, {POINTS} points", proved.len());
    for (seed, claim) in proved.iter().enumerate() {
        claim.attack(seed as u64);
        claim.sample(seed as u64, POINTS.div_ceil(proved.len()));
    }
}
