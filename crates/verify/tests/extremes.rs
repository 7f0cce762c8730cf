//! What leaves f64, ends that no f64 is, and ReLUs on the input itself: nothing wrong is said of them.

use std::time::Duration;

use tightrope_certificate::{Certificate, check};
use tightrope_network::{Activation, Layer, Model, Network, NetworkBuilder, Weights};
use tightrope_verify::complete::{Branching, Decision, Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

fn run(model: &Model, property: &Property, branching: Branching, sound: bool) -> Decision {
    let timeout = Duration::from_secs(10);
    let settings = Settings { timeout, branching, sound, proof: true, ..Settings::default() };
    let decision = decide(&model.network, &model.weights(), property, &settings, &|_| {}).unwrap();
    if let Outcome::Holds { proof: Some(proof) } = &decision.outcome {
        let certificate = Certificate::new(&model.network, &model.weights(), property, proof.clone()).unwrap();
        check(&certificate, &model.network, &model.weights(), property, None).unwrap();
    }
    decision
}

/// q = factor²·Σx through two layers, r = relu(q), y = r − r.
fn beyond(inputs: usize, factor: f64) -> Model {
    let mut builder = NetworkBuilder::new(&[inputs]).unwrap();
    let first = builder.linear("first", 1, false, builder.input()).unwrap();
    let second = builder.linear("second", 2, false, first).unwrap();
    let relu = builder.add("relu", Layer::RELU, &[second]).unwrap();
    builder.linear("last", 1, false, relu).unwrap();
    let mut theta = vec![factor; inputs + 2];
    theta.extend([1.0, -1.0]);
    Model::with_weights(builder.build().unwrap(), Weights::new(theta))
}

#[test]
fn what_overflows_proves_nothing() {
    for (inputs, factor) in [(1, 1e200), (25, 1e200), (3, 1e160), (2, 1e18)] {
        let model = beyond(inputs, factor);
        let row = vec![vec![Constraint::at_most(vec![1.0], 0.5)]];
        let property = Property::new(inputs, 1, vec![Case::closed(vec![1.0; inputs], vec![2.0; inputs], row)]);
        for branching in [Branching::Auto, Branching::Input, Branching::Babsr, Branching::Fsb] {
            for sound in [true, false] {
                let outcome = run(&model, &property, branching, sound).outcome;
                // y is 0 everywhere, so that every input is a counterexample.
                assert!(!matches!(outcome, Outcome::Holds { .. }), "{inputs} {factor:e} {branching:?}: {outcome:?}");
            }
        }
    }
}

/// y = w_n·relu(… w_1·relu(w_0·(x_0 − x_1))).
fn falling(factors: &[f64]) -> Model {
    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let mut node = builder.linear("0", 1, false, builder.input()).unwrap();
    for i in 1..factors.len() {
        let relu = builder.add(format!("relu{i}"), Layer::RELU, &[node]).unwrap();
        node = builder.linear(&i.to_string(), 1, false, relu).unwrap();
    }
    let theta = [&[factors[0], -factors[0]], &factors[1..]].concat();
    Model::with_weights(builder.build().unwrap(), Weights::new(theta))
}

/// Coefficients that underflow stand at values so large that what they lose counts.
#[test]
fn what_underflows_proves_nothing() {
    let single = [&[1e37_f32; 8][..], &[1e-37; 8], &[-1e-37]].concat();
    let single: Vec<f64> = single.into_iter().map(f64::from).collect();
    for factors in [vec![1e150, 1e150, 1e-200, -1e-200], single] {
        let model = falling(&factors);
        // At (1, 0) y is the product, which is less than a tenth of itself.
        let product: f64 = factors.iter().product();
        let row = vec![vec![Constraint::at_most(vec![1.0], 0.1 * product)]];
        let property = Property::new(2, 1, vec![Case::closed(vec![0.0; 2], vec![1.0; 2], row)]);
        assert!(product < 0.0 && product.is_finite());
        for branching in [Branching::Auto, Branching::Input, Branching::Babsr, Branching::Fsb] {
            let outcome = run(&model, &property, branching, true).outcome;
            assert!(!matches!(outcome, Outcome::Holds { .. }), "{factors:?} {branching:?}: {outcome:?}");
        }
    }
}

/// y = relu(1e300·x_0 + shift) + tanh(x_1) or 1e300·relu(x_0) + tanh(x_1); the second function keeps the usual units.
fn smallest(inside: bool, shift: f64) -> Model {
    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let input = builder.input();
    let tanh = Layer::Activation(Activation::Tanh);
    let (first, theta) = if inside {
        let scaled = builder.linear("scaled", 1, true, input).unwrap();
        (builder.add("relu", Layer::RELU, &[scaled]).unwrap(), vec![1e300, 0.0, shift])
    } else {
        let relu = builder.add("relu", Layer::RELU, &[input]).unwrap();
        (builder.linear("scaled", 1, false, relu).unwrap(), vec![1e300, 0.0])
    };
    let other = builder.linear("other", 1, false, input).unwrap();
    let other = builder.add("tanh", tanh, &[other]).unwrap();
    builder.add("sum", Layer::Add, &[first, other]).unwrap();
    Model::with_weights(builder.build().unwrap(), Weights::new([theta, vec![0.0, 1.0]].concat()))
}

/// Halves of the smallest numbers are none, and neither are their products with slopes.
#[test]
fn the_smallest_numbers_are_not_lost() {
    const LEAST: f64 = 5e-324;
    for (model, low, bound) in [(smallest(true, -1e-24), 0.0, 2e-24), (smallest(false, 0.0), -LEAST, 4e-24)] {
        // At x_0 = 5e-324 y is 3.9e-24 and 4.9e-24.
        let row = vec![vec![Constraint::at_most(vec![-1.0], -bound)]];
        let property = Property::new(2, 1, vec![Case::closed(vec![low, 0.0], vec![LEAST, 0.0], row)]);
        for branching in [Branching::Auto, Branching::Input, Branching::Babsr, Branching::Fsb] {
            let outcome = run(&model, &property, branching, true).outcome;
            assert!(!matches!(outcome, Outcome::Holds { .. }), "{bound:e} {branching:?}: {outcome:?}");
        }
    }
}

fn triple() -> Network {
    let mut builder = NetworkBuilder::new(&[1]).unwrap();
    builder.linear("triple", 1, false, builder.input()).unwrap();
    builder.build().unwrap()
}

/// 3x ≤ 1 ends between two f64 numbers: nothing beyond the exact end is a counterexample, nothing before it is left out.
#[test]
fn quotients_are_neither_too_wide_nor_too_narrow() {
    let model = Model::with_weights(triple(), Weights::new(vec![3.0]));
    let parse = |assertion: &str| {
        let text = format!(
            "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= (* 3 X_0) 1)){assertion}"
        );
        Property::parse(text.as_bytes(), "(inline)").unwrap()
    };
    let above = run(&model, &parse("(assert (> Y_0 1))"), Branching::Auto, true).outcome;
    assert!(!matches!(above, Outcome::Violated { .. }), "{above:?}");
    let inside = run(&model, &parse("(assert (> Y_0 0.99999999999999))"), Branching::Auto, true).outcome;
    let Outcome::Violated { input, .. } = inside else { panic!("{inside:?}") };
    assert!(input[0].mul_add(3.0, -1.0) <= 0.0);
    let beyond = run(&model, &parse("(assert (> Y_0 1.0000000000001))"), Branching::Auto, true).outcome;
    assert!(matches!(beyond, Outcome::Holds { .. }), "{beyond:?}");
}

/// relu(x) + 1/4 < 1/4 nowhere in [−1, 0), and nowhere at all.
#[test]
fn relus_may_read_the_input_itself() {
    let mut builder = NetworkBuilder::new(&[1]).unwrap();
    let relu = builder.add("relu", Layer::RELU, &[builder.input()]).unwrap();
    builder.linear("last", 1, true, relu).unwrap();
    let model = Model::with_weights(builder.build().unwrap(), Weights::new(vec![1.0, 0.25]));
    let mut case = Case::closed(vec![-1.0], vec![0.0], vec![vec![Constraint::below(vec![1.0], 0.25)]]);
    for open in [vec![], vec![0]] {
        case.open_upper = open;
        for branching in [Branching::Auto, Branching::Fsb] {
            let outcome = run(&model, &Property::new(1, 1, vec![case.clone()]), branching, true).outcome;
            assert!(matches!(outcome, Outcome::Holds { .. }), "{outcome:?}");
        }
    }
    case.unsafe_outputs = vec![vec![Constraint::at_most(vec![1.0], 0.25)]];
    let attained = run(&model, &Property::new(1, 1, vec![case]), Branching::Auto, true).outcome;
    assert!(matches!(attained, Outcome::Violated { .. }), "{attained:?}");
}
