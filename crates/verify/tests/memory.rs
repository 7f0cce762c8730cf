//! What a search keeps: open subproblems and the proof so far stay within what they are allowed.

use std::time::Duration;

use tightrope_network::Model;
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::memory::{Counting, peak_of, turn};
use tightrope_testkit::networks::dense;
use tightrope_testkit::random::Rng;
use tightrope_verify::complete::{Branching, Decision, Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A random network of one output over [−1, 1]^d.
fn random(widths: &[usize]) -> Model {
    let (network, rng) = (dense(widths), Rng::new(5));
    let theta = rng.normals(network.parameters().total()).iter().map(|v| *v as f32).collect();
    Model::new(network, theta)
}

/// That the output is nowhere ≤ `bound`.
fn above(model: &Model, bound: f64) -> Property {
    let d = model.network.input_len();
    let unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], bound)]];
    Property::new(d, 1, vec![Case::closed(vec![-1.0; d], vec![1.0; d], unsafe_outputs)])
}

/// The least output at random points, and a lower bound of all outputs.
fn ends(model: &Model) -> (f64, f64) {
    let (d, rng) = (model.network.input_len(), Rng::new(6));
    let point = |_| (0..d).map(|_| rng.between(-1.0, 1.0)).collect::<Vec<f64>>();
    let least = (0..2000).map(|i| logits(model, &point(i))[0]).fold(f64::INFINITY, f64::min);
    let settings = Settings { branch: false, attack_restarts: 0, ..Settings::default() };
    match search(model, &above(model, least - 1e-3), &settings).outcome {
        Outcome::Unknown { lower_bound } => (least, least + lower_bound),
        other => panic!("{other:?}"),
    }
}

fn search(model: &Model, property: &Property, settings: &Settings) -> Decision {
    decide(&model.network, &model.weights(), property, settings, &|_| ()).unwrap()
}

#[test]
fn open_subproblems_stay_within_their_share() {
    const MEGABYTE: usize = 1 << 20;
    let _turn = turn();
    for (widths, branching) in [(&[24, 40, 40, 1], Branching::Babsr), (&[8, 40, 40, 1], Branching::Input)] {
        let model = random(widths);
        let (least, bound) = ends(&model);
        // Neither found nor proved in the time that it is given.
        let property = above(&model, least + 0.4 * (bound - least));
        let peak = |queue_bytes| {
            let settings = Settings {
                timeout: Duration::from_secs(3),
                branching,
                mixed_split_limit: 0,
                node_iterations: 0,
                region_iterations: 0,
                attack_restarts: 0,
                queue_bytes,
                ..Settings::default()
            };
            let (decision, peak) = peak_of(|| search(&model, &property, &settings));
            eprintln!("{branching:?}, {queue_bytes} bytes: {peak}, {decision:?}");
            assert!(matches!(decision.outcome, Outcome::Timeout { .. }), "{decision:?}");
            peak
        };
        let [none, some, many] = [0, 4 * MEGABYTE, 1 << 30].map(peak);
        assert!(some < none + 6 * MEGABYTE, "{branching:?}: {some} bytes, {none} without a queue");
        assert!(many > some + 6 * MEGABYTE, "{branching:?}: the search is too short to need its share: {many} bytes");
    }
}

#[test]
fn proofs_stay_within_their_share_or_are_given_up() {
    let _turn = turn();
    for branching in [Branching::Babsr, Branching::Input, Branching::Auto] {
        let model = random(&[4, 30, 30, 1]);
        let (least, bound) = ends(&model);
        let property = above(&model, least + 0.4 * (bound - least));
        let search = |proof_bytes| {
            let settings = Settings { branching, proof: true, proof_bytes, ..Settings::default() };
            let (decision, peak) = peak_of(|| search(&model, &property, &settings));
            let Outcome::Holds { proof } = decision.outcome else { panic!("{decision:?}") };
            eprintln!("{branching:?}, {proof_bytes} bytes: {peak}, {:?}", decision.statistics);
            (proof, decision.statistics.subproblems)
        };
        let (whole, subproblems) = search(1 << 30);
        assert!(subproblems > 100, "{branching:?}: {subproblems} subproblems");
        let size = tightrope_certificate::Certificate::new(&model.network, &model.weights(), &property, whole.unwrap());
        let size = size.unwrap().to_bytes().unwrap().len();
        // A verdict does not hang on its proof.
        let (none, same) = search(size / 8);
        assert_eq!((none, same), (None, subproblems), "{branching:?}");
    }
}
