//! Constraints on inputs and whole inputs: verdicts against sampled and enumerated points, proofs against the checker.

use std::time::Duration;

use tightrope_certificate::{Certificate, CertificateError, Checker, check};
use tightrope_network::{Initialisation, Model};
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::Rng;
use tightrope_testkit::sampling::in_box;
use tightrope_verify::complete::{Branching, Outcome, Settings, decide};
use tightrope_verify::replay_counterexample;
use tightrope_vnnlib::Property;

fn network(seed: u64) -> Model {
    let network = Chain::new(&[1, 1, 2]).flatten().linear(6).relu().linear(4).relu().linear(2).build();
    let theta = Initialisation::Default.theta(&network, seed).iter().map(|v| 2.0 * v).collect();
    Model::new(network, theta)
}

fn property(text: &str) -> Property {
    let mut whole = "(vnnlib-version <2.0>)\n".to_string();
    whole.push_str(text);
    Property::parse(whole.as_bytes(), "(inline)").unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn real(assertions: &str) -> Property {
    property(&format!(
        "(declare-network f (declare-input X float32 [2]) (declare-output Y float32 [2]))
         (assert (and (<= -1 X[0] 1) (<= -1 X[1] 1))) {assertions}"
    ))
}

fn settings(branching: Branching) -> Settings {
    Settings { branching, proof: true, timeout: Duration::from_secs(60), ..Settings::default() }
}

/// Whether a point, its outputs given, is a counterexample, and by what margin (negative if it is not).
fn margin(property: &Property, x: &[f64], y: &[f64]) -> f64 {
    let sums = property.sums.iter().map(|sum| sum.iter().map(|&(i, f)| f * x[i as usize]).sum());
    let values: Vec<f64> = y.iter().copied().chain(sums).collect();
    let mut best = f64::NEG_INFINITY;
    for case in property.cases.iter().filter(|case| case.contains(x)) {
        for rows in &case.unsafe_outputs {
            let room = |row: &tightrope_vnnlib::Constraint| {
                row.bound - row.coefficients.iter().zip(&values).map(|(c, v)| c * v).sum::<f64>()
            };
            best = best.max(rows.iter().map(room).fold(f64::INFINITY, f64::min));
        }
    }
    best
}

#[test]
fn half_planes_of_inputs_and_mixed_constraints_are_decided() {
    let mut seen = [0, 0];
    for seed in 0..12 {
        let (model, rng) = (network(seed), Rng::new(100 + seed));
        let points = in_box(&Rng::new(seed), &[-1.0; 2], &[1.0; 2], 20_000);
        let outputs = logits(&model, &points);
        let pairs = || points.chunks(2).zip(outputs.chunks(2));
        let [a, b, c, d] = std::array::from_fn(|_| rng.between(-1.0, 1.0));
        // Inputs of a half-plane, of which the outputs are compared with a linear function.
        let constraint = format!("(assert (<= (+ (* {a} X[0]) (* {b} X[1])) 0.25))");
        let mixed = |bound: f64| format!("{constraint} (assert (<= (+ Y[0] (* {c} X[0]) (* {d} Y[1])) {bound}))");
        let least = pairs()
            .filter(|(x, _)| a * x[0] + b * x[1] <= 0.25)
            .map(|(x, y)| y[0] + c * x[0] + d * y[1])
            .fold(f64::INFINITY, f64::min);
        for (offset, branching) in
            [(0.05, Branching::Input), (0.05, Branching::Babsr), (-0.05, Branching::Input), (-0.05, Branching::Fsb)]
        {
            let property = real(&mixed(least + offset));
            assert_eq!(property.sums.len(), 2);
            let found = decide(&model.network, &model.weights(), &property, &settings(branching), &|_| ()).unwrap();
            let clipped = Settings { proof: false, ..settings(branching) };
            let clipped = decide(&model.network, &model.weights(), &property, &clipped, &|_| ()).unwrap();
            assert_eq!(matches!(clipped.outcome, Outcome::Holds { .. }), offset < 0.0, "{clipped:?}");
            match found.outcome {
                Outcome::Violated { input, output, .. } => {
                    assert_eq!(output.len(), 2);
                    let replay = replay_counterexample(&model, &property, &input).unwrap();
                    assert!(replay.confirmed && replay.output.len() == 2, "{replay:?}");
                    assert!(margin(&property, &input, &replay.output) > -1e-12);
                    seen[0] += 1;
                }
                Outcome::Holds { proof } => {
                    assert!(offset < 0.0, "seed {seed}: a sampled point is a counterexample");
                    assert!(pairs().all(|(x, y)| margin(&property, x, y) < 1e-12));
                    let (proof, weights) = (proof.unwrap(), model.weights());
                    Checker::new(&model.network, &weights).check(&property, &proof).unwrap();
                    let certificate = Certificate::new(&model.network, &weights, &property, proof.clone()).unwrap();
                    check(&certificate, &model.network, &weights, &property, None).unwrap();
                    // The same proof is none of the stronger claim, nor the certificate one of another sum.
                    let wider = real(&mixed(least + 0.05));
                    assert!(Checker::new(&model.network, &weights).check(&wider, &proof).is_err());
                    let mut other = property.clone();
                    other.sums[1][0].1 += 0.5;
                    let refused = check(&certificate, &model.network, &weights, &other, None);
                    assert!(matches!(refused, Err(CertificateError::Other { what: "property" })));
                    seen[1] += 1;
                }
                other => panic!("seed {seed}: {other:?}"),
            }
        }
    }
    assert!(seen[0] >= 24 && seen[1] >= 12, "{seen:?}");
}

#[test]
fn inputs_alone_are_decided_exactly() {
    let model = network(1);
    let verdict = |assertions: &str| {
        let property = real(assertions);
        decide(&model.network, &model.weights(), &property, &settings(Branching::Auto), &|_| ()).unwrap().outcome
    };
    // A corner of the triangle is its only point, or none.
    let corner = |sign: &str| format!("(assert (and (>= (+ X[0] X[1]) 2) ({sign} (- X[0] X[1]) 0)))");
    assert!(matches!(verdict(&corner("<=")), Outcome::Violated { input, .. } if input == [1.0, 1.0]));
    assert!(matches!(verdict(&corner("<")), Outcome::Holds { .. }));
    // A line through the box.
    let line = "(assert (= (+ X[0] (* 2 X[1])) 0.5))";
    assert!(matches!(verdict(line), Outcome::Violated { input, .. } if input[0] + 2.0 * input[1] == 0.5));
}

#[test]
fn whole_inputs_are_enumerated_alike() {
    let mut seen = [0, 0];
    for seed in 0..10 {
        let model = network(seed);
        let points: Vec<f64> =
            (-3..=3).flat_map(|i| (-3..=3).flat_map(move |j| [f64::from(i), f64::from(j)])).collect();
        let values: Vec<f64> = logits(&model, &points).chunks(2).map(|y| y[0] - y[1]).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        for offset in [1e-3, -1e-3] {
            let property = property(&format!(
                "(declare-network f (declare-input X int8 [2]) (declare-output Y float32 [2]))
                 (assert (and (<= -3.5 X[0] 3.5) (<= -3 X[1]) (< X[1] 4) (<= (- Y[0] Y[1]) {})))",
                least + offset
            ));
            let found =
                decide(&model.network, &model.weights(), &property, &settings(Branching::Auto), &|_| ()).unwrap();
            match found.outcome {
                Outcome::Violated { input, .. } if offset > 0.0 => {
                    assert!(input.iter().all(|x| x.fract() == 0.0), "{input:?}");
                    assert!(replay_counterexample(&model, &property, &input).unwrap().confirmed);
                    seen[0] += 1;
                }
                Outcome::Holds { proof } if offset < 0.0 => {
                    if let Some(proof) = proof {
                        Checker::new(&model.network, &model.weights()).check(&property, &proof).unwrap();
                    }
                    seen[1] += 1;
                }
                other => panic!("seed {seed}, offset {offset}: {other:?}"),
            }
            let half = replay_counterexample(&model, &property, &[0.5, 0.0]).unwrap();
            assert!(!half.confirmed && !half.in_double);
        }
    }
    assert_eq!(seen, [10, 10]);
}
