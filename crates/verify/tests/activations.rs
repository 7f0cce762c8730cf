//! Complete verification, α-CROWN, the cascade and proofs for every activation and max pooling: verdicts are those of a
//! grid, no point and no attack contradicts what is proved, and the independent checker accepts every proof.

use std::time::Duration;

use tightrope_attack::{Attack, Samples, Target, ThreatModel};
use tightrope_certificate::Checker;
use tightrope_engine::{BoundRequest, Norm, Reference, Region, Relaxation, Spec};
use tightrope_network::{Activation, Gather, Layer, MaxPool2d, Model, Network};
use tightrope_testkit::evaluate::{Ask, logits};
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::{Family, Rng, draws, gaussian, network};
use tightrope_testkit::sampling::in_box;
use tightrope_verify::complete::{AlphaCrown, AlphaSettings, Branching, Outcome, Settings, decide};
use tightrope_verify::{AlphaBudget, Cascade, Stage, Verdict};
use tightrope_vnnlib::{Case, Constraint, Property};

const ACTIVATIONS: [Activation; 10] = [
    Activation::LeakyRelu { slope: 0.1 },
    Activation::LeakyRelu { slope: 0.6 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Clip { lower: -1.0, upper: 1.0 },
    Activation::Clip { lower: 0.1, upper: 0.7 },
    Activation::Exp,
    Activation::Softplus,
    Activation::Power { exponent: 2 },
    Activation::Power { exponent: 3 },
];

fn pool() -> Layer {
    Layer::MaxPool2d(MaxPool2d { kernel: [1, 2], stride: [1, 1], padding: [0; 4] })
}

/// Networks of two inputs: two hidden layers of each activation, and max poolings before and behind some.
fn networks() -> Vec<(String, Network)> {
    let mut all = Vec::new();
    for activation in ACTIVATIONS {
        let layer = || Layer::Activation(activation);
        // Twice in a row these leave f32.
        let is_steep = matches!(activation, Activation::Exp | Activation::Power { .. });
        let second = if is_steep { Layer::Activation(Activation::Tanh) } else { layer() };
        let chain = Chain::new(&[2]).linear(4).layer(layer()).linear(4).layer(second).linear(2);
        all.push((format!("{activation:?}"), chain.build()));
    }
    let reciprocal = |chain: Chain| {
        let width = chain.shape()[0];
        let chain =
            chain.layer(Layer::Activation(Activation::Softplus)).affine(vec![1.0; width], vec![0.5; width], [false; 2]);
        chain.layer(Layer::Activation(Activation::Reciprocal))
    };
    all.push(("reciprocal".into(), reciprocal(reciprocal(Chain::new(&[2]).linear(4)).linear(4)).linear(2).build()));
    let product = || Chain::new(&[2]).linear(8).layer(Layer::Product).linear(4);
    all.push(("product".into(), product().relu().linear(2).build()));
    all.push(("two products".into(), product().relu().layer(Layer::Product).linear(2).build()));
    // A quotient: what is divided beside the reciprocal.
    let chain = Chain::new(&[2]).linear(4);
    let read = chain.node();
    let beside = |chain: Chain, first: usize| {
        let counts: Vec<usize> = (0..8).map(|i| usize::from(i / 4 == first)).collect();
        chain.layer(Layer::Gather(Gather::sums(vec![8], &counts, (0..4).collect())))
    };
    let chain = beside(chain.relu(), 0);
    let top = chain.node();
    let chain = beside(reciprocal(chain.from(read)), 1);
    let bottom = chain.node();
    all.push(("quotient".into(), chain.sum(&[top, bottom]).layer(Layer::Product).linear(2).build()));
    for (name, activation) in
        [("relu", Activation::Relu), ("tanh", Activation::Tanh), ("clip", ACTIVATIONS[4]), ("square", ACTIVATIONS[8])]
    {
        let layer = || Layer::Activation(activation);
        let start = || Chain::new(&[1, 1, 2]).conv(3, [1, 2], [1, 1], [0, 1, 0, 1]);
        let end = |chain: Chain| chain.flatten().linear(4).layer(layer()).linear(2).build();
        all.push((format!("{name}, pooled"), end(start().layer(layer()).layer(pool()))));
        all.push((format!("pooled {name}"), end(start().layer(pool()).layer(layer()))));
    }
    all
}

fn model(network: Network, rng: &Rng, scale: f64) -> Model {
    let theta = gaussian(rng, &network).iter().map(|&v| (scale * v) as f32).collect();
    Model::new(network, theta)
}

/// "Some input of the box has c·y ≤ bound".
fn property((lower, upper): (Vec<f64>, Vec<f64>), c: &[f64], bound: f64) -> Property {
    let inputs = lower.len();
    let case = Case::closed(lower, upper, vec![vec![Constraint::at_most(c.to_vec(), bound)]]);
    Property::new(inputs, c.len(), vec![case])
}

fn value(model: &Model, c: &[f64], points: &[f64]) -> Vec<f64> {
    let dot = |y: &[f64]| y.iter().zip(c).map(|(y, c)| y * c).sum();
    logits(model, points).chunks(c.len()).map(dot).collect()
}

fn settings(branching: Branching) -> Settings {
    // Without an attack of its own, so that only the search stands between a false claim and this test.
    let attack_restarts = if branching == Branching::Auto { 4 } else { 0 };
    Settings { timeout: Duration::from_secs(60), branching, attack_restarts, proof: true, ..Settings::default() }
}

#[test]
fn verdicts_agree_with_a_grid() {
    const SIDE: usize = 401;
    let c = [1.0, -0.75];
    for (number, (name, network)) in networks().into_iter().enumerate() {
        for repeat in 0..2 {
            let model = model(network.clone(), &Rng::new((10 * number + repeat) as u64), 1.5);
            let at = |i: usize| -1.0 + 2.0 * i as f64 / (SIDE - 1) as f64;
            let points: Vec<f64> = (0..SIDE * SIDE).flat_map(|i| [at(i / SIDE), at(i % SIDE)]).collect();
            let least = value(&model, &c, &points).into_iter().fold(f64::INFINITY, f64::min);
            let size = 1.0 + least.abs();
            let weights = model.weights();
            for (holds, bound) in [(true, least - 0.05 * size), (false, least + 1e-3 * size)] {
                let property = property((vec![-1.0; 2], vec![1.0; 2]), &c, bound);
                for branching in [Branching::Auto, Branching::Fsb, Branching::Babsr] {
                    let place = format!("{name} {repeat}, holds {holds}, {branching:?}");
                    // Splits of neurons do not say which input of a window is the largest, and no sign of a factor's makes a
                    // product linear.
                    let reads_one = ["pooled", "product", "quotient"].iter().all(|kind| !name.contains(kind));
                    let demanded = branching == Branching::Auto || reads_one;
                    let timeout = Duration::from_secs(if demanded { 60 } else { 1 });
                    let settings = Settings { timeout, ..settings(branching) };
                    let decision = decide(&model.network, &weights, &property, &settings, &|_| {}).unwrap();
                    match decision.outcome {
                        Outcome::Holds { proof } => {
                            assert!(holds, "{place}: proved what is false");
                            let proof = proof.unwrap_or_else(|| panic!("{place}: no proof"));
                            let report = Checker::new(&model.network, &weights).check(&property, &proof);
                            assert!(report.is_ok(), "{place}: {}", report.unwrap_err());
                        }
                        Outcome::Violated { input, .. } => {
                            assert!(!holds, "{place}: refuted what is true");
                            assert!(input.iter().all(|v| v.abs() <= 1.0), "{place}: outside the box");
                            let found = value(&model, &c, &input)[0];
                            assert!(found <= bound + 1e-12 * size, "{place}: {found} is no counterexample");
                        }
                        other => assert!(!demanded, "{place}: {other:?}"),
                    }
                }
            }
        }
    }
}

/// Random networks of these families with more inputs than are split.
#[test]
fn no_point_contradicts_bounds_and_proofs() {
    let (mut proved, mut tried) = (0, 0);
    for (number, family) in
        [Family::Activations, Family::MaxPooled, Family::Gathered, Family::Curved, Family::Multiplied]
            .into_iter()
            .enumerate()
    {
        for repeat in 0..10 {
            let rng = Rng::new((500 * number + repeat) as u64);
            let (network, theta) = network(&rng, family);
            let model = Model::new(network, theta.iter().map(|&v| v as f32).collect());
            let (d, k) = (model.network.input_len(), model.network.output_len());
            let weights = model.weights();
            let center = rng.uniforms(d);
            let radius = rng.between(0.02, 0.3);
            let (lower, upper): (Vec<f64>, Vec<f64>) = center.iter().map(|x| (x - radius, x + radius)).unzip();
            let c: Vec<f32> = rng.normals(k).iter().map(|&v| v as f32).collect();
            let wide: Vec<f64> = c.iter().map(|&v| f64::from(v)).collect();
            let values = value(&model, &wide, &in_box(&rng, &lower, &upper, 2000));
            let least = values.into_iter().fold(f64::INFINITY, f64::min);
            // Bounds.
            let alpha = AlphaCrown::new(&model.network, &weights).unwrap();
            let bound = alpha.bound((&lower, &upper), None, &c, &AlphaSettings::default()).unwrap().rows[0];
            let region = Region::boxes(&lower, &upper, d).unwrap();
            let spec = Spec::Matrix { rows: 1, matrix: wide.clone(), offset: Vec::new() };
            let theta: Vec<f64> = model.theta.iter().map(|&v| v.into()).collect();
            let request = BoundRequest::lower(Relaxation::Crown);
            let crown = Reference.bound(&model.network, &theta, &region, &spec, request).unwrap().lower[0];
            let place = format!("{family:?} {repeat}");
            // Neurons that are nearly known keep their intervals, which steep functions magnify.
            let demanded = !matches!(family, Family::Curved | Family::Multiplied);
            let near = if demanded { 1e-8 } else { 1e-4 };
            assert!(bound >= crown - near * (1.0 + crown.abs()), "{place}: {bound}, CROWN has {crown}");
            assert!(bound <= least, "{place}: the bound {bound} is above {least}");
            // Halfway to what sampling has found.
            let goal = 0.5 * (bound + least) - 1e-3;
            let property = property((lower.clone(), upper.clone()), &wide, goal);
            // Splits of neurons make no steep function and no product linear.
            let timeout = Duration::from_secs(if demanded { 60 } else { 2 });
            let settings = Settings { timeout, ..settings(Branching::Fsb) };
            let decision = decide(&model.network, &weights, &property, &settings, &|_| {}).unwrap();
            tried += usize::from(demanded);
            match decision.outcome {
                Outcome::Holds { proof } => {
                    proved += usize::from(demanded);
                    let report = Checker::new(&model.network, &weights).check(&property, &proof.expect("a proof"));
                    assert!(report.is_ok(), "{place}: {}", report.unwrap_err());
                    let values = value(&model, &wide, &in_box(&rng, &lower, &upper, 20_000));
                    let least = values.into_iter().fold(f64::INFINITY, f64::min);
                    assert!(least > goal, "{place}: {least} contradicts the proof of {goal}");
                }
                Outcome::Violated { input, .. } => assert!(value(&model, &wide, &input)[0] <= goal + 1e-9, "{place}"),
                Outcome::Unknown { .. } | Outcome::Timeout { .. } => {}
            }
        }
    }
    eprintln!("{proved} of {tried} proved");
    assert!(proved * 4 >= tried * 3, "{proved} of {tried} proved");
}

/// The default stages run through; what they verify no attack breaks, and what they falsify is there.
#[test]
fn the_cascade_decides_networks_of_every_kind() {
    let kinds = [
        Layer::Activation(Activation::Tanh),
        Layer::Activation(Activation::Sigmoid),
        Layer::Activation(Activation::LeakyRelu { slope: 0.05 }),
        Layer::Activation(Activation::Clip { lower: 0.0, upper: 1.0 }),
        Layer::Activation(Activation::Softplus),
        Layer::Activation(Activation::Power { exponent: 2 }),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let chain = Chain::new(&[1, 5, 5]).conv(3, [3; 2], [1; 2], [0; 4]).layer(kind.clone());
        let pooled = MaxPool2d { kernel: [2; 2], stride: [1; 2], padding: [0; 4] };
        let chain = if number % 2 == 0 { chain.layer(Layer::MaxPool2d(pooled)) } else { chain };
        let network = chain.flatten().linear(8).layer(kind.clone()).linear(3).build();
        let model = model(network, &Rng::new(number as u64), 1.6);
        let inputs = draws(number as u64, 0, 24 * 25, 0.0, 1.0);
        let target = Target::new(&model, &Reference, &Reference).unwrap();
        let top = |z: &[f32]| (0..3).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap();
        let labels: Vec<usize> = target.logits(&inputs).unwrap().chunks(3).map(top).collect();
        let indices: Vec<u64> = (0..24).collect();
        let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
        let threat = ThreatModel::new(Norm::Inf, 0.05, Some((0.0, 1.0)));
        let cascade = Cascade {
            stages: Stage::DEFAULT.to_vec(),
            attack: Attack { steps: 5, restarts: 1, ..Attack::default() },
            threat: threat.clone(),
            timeout: Some(Duration::from_secs(20)),
            alpha: AlphaBudget::default(),
        };
        let records = cascade.certify(&target, &samples).unwrap();
        let count = |verdict| records.iter().filter(|record| record.verdict == verdict).count();
        let (verified, falsified) = (count(Verdict::Verified), count(Verdict::Falsified));
        eprintln!("{kind:?}: {verified} verified, {falsified} falsified of 24");
        assert!(verified + falsified >= 20 && verified >= 3, "{kind:?}: {records:?}");
        let strong = Attack { steps: 100, restarts: 5, seed: 9, ..Attack::default() };
        let attacked = strong.run(&target, &threat, &samples).unwrap();
        for (i, record) in records.iter().enumerate() {
            let broken = record.verdict == Verdict::Verified && attacked.broken[i];
            assert!(!broken, "{kind:?}, sample {i} is broken: {record:?}");
        }
    }
}
