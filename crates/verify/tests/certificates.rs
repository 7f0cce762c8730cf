//! Proofs of residual networks and of conjunctions that only a combination of their rows refutes pass the independent
//! checker; the same proofs of stronger claims, which are false, do not.

use std::time::Duration;

use tightrope_certificate::{Checker, Proof, Step};
use tightrope_network::{Initialisation, Model};
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::Rng;
use tightrope_testkit::sampling::in_box;
use tightrope_verify::complete::{Branching, Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

fn finish(chain: Chain, seed: u64) -> Model {
    let network = chain.build();
    let theta = Initialisation::Default.theta(&network, seed).iter().map(|v| 2.0 * v).collect();
    Model::new(network, theta)
}

/// Dense layers with a sum of two branches and one of three.
fn dense(seed: u64) -> Model {
    let mut chain = Chain::new(&[2]).linear(5).relu();
    let skip = chain.node();
    chain = chain.linear(5);
    let branch = chain.node();
    chain = chain.sum(&[skip, branch]).relu();
    let skip = chain.node();
    chain = chain.linear_with(5, false);
    let one = chain.node();
    chain = chain.from(skip).linear(5);
    let two = chain.node();
    finish(chain.sum(&[one, skip, two]).relu().linear(2), seed)
}

/// Convolutions with an identity around one of them.
fn convolutional(seed: u64) -> Model {
    let mut chain = Chain::new(&[1, 2, 2]).conv(2, [3; 2], [1; 2], [1; 4]).relu();
    let skip = chain.node();
    chain = chain.conv(2, [3; 2], [1; 2], [1; 4]);
    let branch = chain.node();
    finish(chain.sum(&[branch, skip]).relu().flatten().linear(2), seed)
}

/// Outputs at corners, at the faces and at random points of [−1, 1]^d.
fn outputs(model: &Model, seed: u64) -> Vec<Vec<f64>> {
    let end = vec![1.0; model.network.input_len()];
    let start: Vec<f64> = end.iter().map(|v| -v).collect();
    let points = in_box(&Rng::new(seed), &start, &end, 20_000);
    logits(model, &points).chunks(2).map(<[f64]>::to_vec).collect()
}

/// "Some input of [−1, 1]^d has y₀ ≤ bounds₀ and y₁ ≤ bounds₁".
fn conjunction(model: &Model, bounds: [f64; 2]) -> Property {
    let row = |i: usize| {
        let mut coefficients = vec![0.0; 2];
        coefficients[i] = 1.0;
        Constraint::at_most(coefficients, bounds[i])
    };
    let inputs = model.network.input_len();
    let case = Case::closed(vec![-1.0; inputs], vec![1.0; inputs], vec![vec![row(0), row(1)]]);
    Property::new(inputs, 2, vec![case])
}

fn smallest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

/// The proof with every leaf's rows replaced.
fn with_rows(proof: &Proof, rows: &[(u32, f64)]) -> Proof {
    let mut changed = proof.clone();
    for step in changed.cases.iter_mut().flat_map(|case| &mut case.conjunctions).flat_map(|tree| &mut tree.steps) {
        if let Step::Leaf(leaf) = step {
            leaf.rows = rows.to_vec();
        }
    }
    changed
}

#[test]
fn sums_and_combinations_of_rows_are_proved_and_checked() {
    let (mut proved, mut combined) = (0, 0);
    for seed in 0..24_u64 {
        let model = if seed % 3 == 2 { convolutional(seed) } else { dense(seed) };
        let seen = outputs(&model, seed);
        let least = |weights: [f64; 2]| smallest(seen.iter().map(|y| weights[0] * y[0] + weights[1] * y[1]));
        let (first, second) = (least([1.0, 0.0]), least([0.0, 1.0]));
        // Each row can be satisfied; both at once would make the weighted sum smaller than it ever is.
        let weights = [0.6, 0.4];
        let spare = least(weights) - weights[0] * first - weights[1] * second;
        let bounds = [first + 0.7 * spare, second + 0.7 * spare];
        if spare < 0.05 {
            continue;
        }
        let property = conjunction(&model, bounds);
        let weights = model.weights();
        let checker = Checker::new(&model.network, &weights);
        for branching in [Branching::Auto, Branching::Babsr] {
            let settings = Settings { timeout: Duration::from_secs(10), branching, proof: true, ..Settings::default() };
            let place = format!("network {seed}, {branching:?}");
            let decision = decide(&model.network, &model.weights(), &property, &settings, &|_| {}).unwrap();
            let proof = match decision.outcome {
                Outcome::Holds { proof } => proof.unwrap_or_else(|| panic!("{place}: no proof")),
                other => {
                    assert_ne!(branching, Branching::Auto, "{place}: {other:?}");
                    continue;
                }
            };
            proved += 1;
            checker.check(&property, &proof).unwrap_or_else(|e| panic!("{place}: {e}"));
            let steps = || proof.cases.iter().flat_map(|case| &case.conjunctions).flat_map(|tree| &tree.steps);
            let both =
                |step: &Step| matches!(step, Step::Leaf(leaf) if leaf.rows.iter().filter(|r| r.1 > 0.0).count() > 1);
            combined += usize::from(steps().any(both));
            // No single row is refuted over the whole box, whatever the rest of the proof says.
            for rows in [&[(0, 1.0)][..], &[(1, 1.0)], &[(0, 0.0), (1, 0.0)], &[]] {
                assert!(checker.check(&property, &with_rows(&proof, rows)).is_err(), "{place}: rows {rows:?} suffice");
            }
            for rows in
                [&[(0, 1.0), (1, -1.0)][..], &[(0, 1.0), (0, 1.0)], &[(2, 1.0)], &[(0, f64::INFINITY), (1, 1.0)]]
            {
                assert!(checker.check(&property, &with_rows(&proof, rows)).is_err(), "{place}: rows {rows:?} pass");
            }
            // Some point satisfies both rows here.
            let met = seen.iter().max_by(|a, b| (b[0] + b[1]).total_cmp(&(a[0] + a[1]))).unwrap();
            let false_claim = conjunction(&model, [met[0] + 1e-9, met[1] + 1e-9]);
            assert!(checker.check(&false_claim, &proof).is_err(), "{place}: a false claim passes");
        }
    }
    assert!(proved >= 16 && combined >= 8, "{proved} proofs, {combined} by combinations of rows");
}
