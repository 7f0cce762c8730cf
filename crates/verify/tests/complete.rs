//! Complete verification against exact truths: minima of tiny networks found by enumerating where they are linear.

use std::time::Duration;

use tightrope_certificate::{CaseProof, Checker, Proof};
use tightrope_engine::{Engine, Reference};
use tightrope_network::{Initialisation, Network, Preset, Weights};
use tightrope_testkit::networks::{Chain, dense};
use tightrope_testkit::random::{Rng, draws};
use tightrope_testkit::sampling::in_box;
use tightrope_verify::VerifyError;
use tightrope_verify::complete::{AlphaCrown, Branching, Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

/// Parameters of a network.
fn parameters(network: &Network, seed: u64) -> Vec<f32> {
    Initialisation::Default.theta(network, seed).iter().map(|v| 2.0 * v).collect()
}

#[test]
fn kinds_that_are_not_covered_are_refused() {
    let network = Chain::new(&[1]).batch_norm().build();
    let weights = Weights::new(vec![1.0, 0.0]);
    let property = property(1, &[(&[1.0], 0.0)]);
    let decision = decide(&network, &weights, &property, &Settings::default(), &|_| {});
    for refused in [decision.err(), AlphaCrown::new(&network, &weights).err()] {
        let Some(VerifyError::Layer { layer, kind }) = refused else { panic!("{refused:?}") };
        assert_eq!((layer.as_str(), kind), ("layer 1", "batchnorm"));
    }
    let proof = Proof { cases: vec![CaseProof::default()], ..Proof::default() };
    let message = Checker::new(&network, &weights).check(&property, &proof).unwrap_err().to_string();
    assert!(message.contains("layer `layer 1`") && message.contains("batchnorm"), "{message}");
    // Before the search.
    let with_proof = Settings { proof: true, ..Settings::default() };
    let message = decide(&network, &weights, &property, &with_proof, &|_| {}).unwrap_err().to_string();
    assert!(message.contains("proofs do not cover layers of kind `batchnorm`"), "{message}");
}

/// Weights `[out][in]` and biases of each linear layer of these widths, in f64.
fn layers(widths: &[usize], theta: &[f32]) -> Vec<(Vec<Vec<f64>>, Vec<f64>)> {
    let mut rest = theta.iter().map(|&v| f64::from(v));
    widths
        .windows(2)
        .map(|pair| {
            let weight = (0..pair[1]).map(|_| rest.by_ref().take(pair[0]).collect()).collect();
            (weight, rest.by_ref().take(pair[1]).collect())
        })
        .collect()
}

fn evaluate(layers: &[(Vec<Vec<f64>>, Vec<f64>)], x: &[f64]) -> Vec<f64> {
    let mut values = x.to_vec();
    for (index, (weight, bias)) in layers.iter().enumerate() {
        let affine = |(row, b): (&Vec<f64>, &f64)| row.iter().zip(&values).map(|(w, v)| w * v).sum::<f64>() + b;
        let next: Vec<f64> = weight.iter().zip(bias).map(affine).collect();
        values = if index + 1 < layers.len() { next.iter().map(|v| v.max(0.0)).collect() } else { next };
    }
    values
}

/// Values of some functions of the input.
type Forms<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;

/// Points among which the minimum over [-1, 1] lies, one input: the ends and every zero of `forms`, each of which is
/// linear between the zeros of those before it.
fn corners_of_one_input(forms: &[Forms<'_>]) -> Vec<Vec<f64>> {
    let mut breaks = vec![-1.0, 1.0];
    for form in forms {
        let mut found = Vec::new();
        for pair in breaks.windows(2) {
            let (a, b) = (form(&[pair[0]]), form(&[pair[1]]));
            let zeros = a.iter().zip(&b).filter(|(a, b)| *a * *b < 0.0);
            found.extend(zeros.map(|(a, b)| pair[0] + (pair[1] - pair[0]) * a / (a - b)));
        }
        breaks.extend(found);
        breaks.sort_by(f64::total_cmp);
    }
    breaks.into_iter().map(|x| vec![x]).collect()
}

/// The same for two inputs and one hidden layer: every crossing of two of the neurons' lines and the box's edges.
fn corners_of_two_inputs(layers: &[(Vec<Vec<f64>>, Vec<f64>)]) -> Vec<Vec<f64>> {
    let (weight, bias) = &layers[0];
    let mut lines: Vec<[f64; 3]> = weight.iter().zip(bias).map(|(w, &b)| [w[0], w[1], b]).collect();
    lines.extend([[1.0, 0.0, 1.0], [1.0, 0.0, -1.0], [0.0, 1.0, 1.0], [0.0, 1.0, -1.0]]);
    let mut corners = Vec::new();
    for (i, p) in lines.iter().enumerate() {
        for q in &lines[..i] {
            let determinant = p[0] * q[1] - p[1] * q[0];
            let x = (p[1] * q[2] - p[2] * q[1]) / determinant;
            let y = (p[2] * q[0] - p[0] * q[2]) / determinant;
            if x.abs() <= 1.0 + 1e-12 && y.abs() <= 1.0 + 1e-12 {
                corners.push(vec![x.clamp(-1.0, 1.0), y.clamp(-1.0, 1.0)]);
            }
        }
    }
    corners
}

/// "Some input of [-1, 1]^d has c·y ≤ bound for every (c, bound)".
fn property(inputs: usize, rows: &[(&[f64], f64)]) -> Property {
    let row = |&(c, bound): &(&[f64], f64)| Constraint::at_most(c.to_vec(), bound);
    let unsafe_outputs = vec![rows.iter().map(row).collect()];
    let case = Case::closed(vec![-1.0; inputs], vec![1.0; inputs], unsafe_outputs);
    Property::new(inputs, rows[0].0.len(), vec![case])
}

fn settings(branching: Branching) -> Settings {
    Settings { timeout: Duration::from_secs(60), branching, proof: true, ..Settings::default() }
}

/// Decides `property` in every way: the verdict is `holds`, proofs pass the independent checker, and counterexamples
/// have an `excess` ≤ 0.
fn agrees(
    place: &str,
    (network, theta): (&Network, &[f32]),
    property: &Property,
    holds: bool,
    excess: &dyn Fn(&[f64]) -> f64,
) {
    let weights = Weights::from_single(theta);
    let checker = Checker::new(network, &weights);
    // Boxes are clipped where no proof is asked for.
    for (branching, kept) in
        [(Branching::Auto, true), (Branching::Auto, false), (Branching::Fsb, true), (Branching::Babsr, true)]
    {
        let place = format!("{place}, holds {holds}, {branching:?}, proof {kept}");
        let settings = Settings { proof: kept, ..settings(branching) };
        let decision = decide(network, &weights, property, &settings, &|_| {}).unwrap();
        match decision.outcome {
            Outcome::Holds { .. } if !kept => assert!(holds, "{place}: proved what is false"),
            Outcome::Holds { proof } => {
                assert!(holds, "{place}: proved what is false");
                let proof = proof.unwrap_or_else(|| panic!("{place}: no proof"));
                let report = checker.check(property, &proof);
                assert!(report.is_ok(), "{place}: {}", report.unwrap_err());
            }
            Outcome::Violated { input, .. } => {
                assert!(input.iter().all(|v| v.abs() <= 1.0), "{place}: outside the box");
                assert!(excess(&input) <= 0.0, "{place}: no counterexample");
                assert!(!holds, "{place}: refuted what is true");
            }
            other => panic!("{place}: {other:?}"),
        }
    }
}

/// 500 networks, each with a property that just holds and one that is just violated.
#[test]
fn verdicts_agree_with_the_exact_minimum() {
    for seed in 0..500_u64 {
        let widths: &[usize] = if seed % 2 == 0 { &[1, 5, 4, 4, 2] } else { &[2, 6, 2] };
        let network = dense(widths);
        let theta = parameters(&network, seed);
        let layers = layers(widths, &theta);
        let (first, second) = (|x: &[f64]| evaluate(&layers[..1], x), |x: &[f64]| evaluate(&layers[..2], x));
        let third = |x: &[f64]| evaluate(&layers[..3], x);
        let corners = match seed % 2 {
            0 => corners_of_one_input(&[&first, &second, &third]),
            _ => corners_of_two_inputs(&layers),
        };
        let c = [1.0, -0.75];
        let form = |x: &[f64]| evaluate(&layers, x).iter().zip(&c).map(|(y, c)| y * c).sum::<f64>();
        let minimum = corners.iter().map(|x| form(x)).fold(f64::INFINITY, f64::min);
        let gap = if seed % 4 < 2 { 1e-3 } else { 1e-5 } * (1.0 + minimum.abs());
        for (holds, bound) in [(true, minimum - gap), (false, minimum + gap)] {
            let property = property(widths[0], &[(&c, bound)]);
            agrees(&format!("network {seed}"), (&network, &theta), &property, holds, &|x| form(x) - bound);
        }
    }
}

/// Networks z₂ = W₂·relu(z₁) + b₂ + z₁, y = W₃·relu(z₂) + b₃ with conjunctions of two constraints, the largest of which is
/// just above or just below its exact minimum.
#[test]
fn residual_networks_and_conjunctions_agree_with_the_exact_minimum() {
    for seed in 0..150_u64 {
        let chain = Chain::new(&[1]).linear(4);
        let z1 = chain.node();
        let chain = chain.relu().linear(4);
        let inner = chain.node();
        let network = chain.sum(&[inner, z1]).relu().linear(2).build();
        let theta = parameters(&network, seed);
        let layers = layers(&[1, 4, 4, 2], &theta);
        let relu = |values: Vec<f64>| -> Vec<f64> { values.into_iter().map(|v| v.max(0.0)).collect() };
        let z1 = |x: &[f64]| evaluate(&layers[..1], x);
        let z2 = |x: &[f64]| -> Vec<f64> {
            let inner = evaluate(&layers[1..2], &relu(z1(x)));
            inner.iter().zip(z1(x)).map(|(a, b)| a + b).collect()
        };
        let rows = [[1.0, -0.75], [-0.5, 0.25]];
        let values = |x: &[f64]| -> [f64; 2] {
            let y = evaluate(&layers[2..], &relu(z2(x)));
            rows.map(|c| c[0] * y[0] + c[1] * y[1])
        };
        let difference = |x: &[f64]| {
            let [a, b] = values(x);
            vec![a - b]
        };
        let worst = |x: &[f64]| {
            let [a, b] = values(x);
            a.max(b)
        };
        let corners = corners_of_one_input(&[&z1, &z2, &difference]);
        let minimum = corners.iter().map(|x| worst(x)).fold(f64::INFINITY, f64::min);
        let gap = if seed % 2 == 0 { 1e-3 } else { 1e-5 } * (1.0 + minimum.abs());
        for (holds, bound) in [(true, minimum - gap), (false, minimum + gap)] {
            let property = property(1, &[(&rows[0], bound), (&rows[1], bound)]);
            agrees(&format!("network {seed}"), (&network, &theta), &property, holds, &|x| worst(x) - bound);
        }
    }
}

/// Convolutional networks: where `holds` is said, no sample contradicts it and the checker agrees; and it is said.
#[test]
fn no_sample_contradicts_a_convolutional_verdict() {
    let mut proved = 0;
    for seed in 0..6_u64 {
        let network = Preset::Cnn3Tiny.build(&[1, 8, 8], 3, None).unwrap();
        let theta = Initialisation::Default.theta(&network, seed);
        let center = draws(seed, 0, 64, 0.0, 1.0);
        let epsilon = 0.1_f64;
        let lower: Vec<f64> = center.iter().map(|&v| f64::from(v) - epsilon).collect();
        let upper: Vec<f64> = center.iter().map(|&v| f64::from(v) + epsilon).collect();
        let loaded = Reference.load(&network, &theta, &[]).unwrap();
        let logits = |points: &[f32]| loaded.forward(points).unwrap();
        let at = logits(&center);
        let top = (0..3).max_by(|&a, &b| at[a].total_cmp(&at[b])).unwrap();
        let rival = |j: usize| {
            let mut coefficients = vec![0.0; 3];
            (coefficients[top], coefficients[j]) = (1.0, -1.0);
            vec![Constraint::at_most(coefficients, 0.0)]
        };
        let unsafe_outputs = (0..3).filter(|&j| j != top).map(rival).collect();
        let case = Case::closed(lower.clone(), upper.clone(), unsafe_outputs);
        let property = Property::new(64, 3, vec![case]);
        let weights = Weights::from_single(&theta);
        let settings = Settings { timeout: Duration::from_secs(20), ..settings(Branching::Auto) };
        let decision = decide(&network, &weights, &property, &settings, &|_| {}).unwrap();
        let Outcome::Holds { proof } = decision.outcome else { continue };
        proved += 1;
        Checker::new(&network, &weights).check(&property, &proof.expect("a proof")).unwrap();
        let points = in_box(&Rng::new(seed), &lower, &upper, 20_000);
        let samples: Vec<f32> = points.iter().map(|&value| value as f32).collect();
        for z in logits(&samples).chunks(3) {
            assert!((0..3).all(|j| j == top || z[top] > z[j] - 1e-5), "network {seed}: a sample contradicts the proof");
        }
    }
    assert!(proved >= 2, "{proved} of 6 proved");
}
