//! Networks where one kind of splits alone gets stuck: two functions of one neuron, whose sum no split makes linear.

use std::time::Duration;

use tightrope_certificate::{Certificate, check};
use tightrope_network::{Activation, Layer, Model};
use tightrope_testkit::evaluate::logits;
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::{Rng, gaussian};
use tightrope_testkit::sampling::in_box;
use tightrope_verify::complete::{Branching, Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

/// clip(z) − tanh(z) of every neuron z of two layers.
fn model(seed: u64) -> Model {
    let mixed = |chain: Chain| {
        let neurons = chain.node();
        let width = chain.shape().iter().product();
        let clipped = chain.layer(Layer::Activation(Activation::Clip { lower: -0.5, upper: 0.5 }));
        let first = clipped.affine(vec![-1.0; width], vec![0.0; width], [false; 2]);
        let scaled = first.node();
        let smooth = first.from(neurons).layer(Layer::Activation(Activation::Tanh));
        let other = smooth.node();
        smooth.sum(&[scaled, other])
    };
    let chain = mixed(Chain::new(&[3]).linear(5));
    let network = mixed(chain.linear(4)).linear(1).build();
    let theta = gaussian(&Rng::new(seed), &network).iter().map(|&v| (2.0 * v) as f32).collect();
    Model::new(network, theta)
}

#[test]
fn what_one_kind_of_splits_cannot_decide_the_other_does() {
    for seed in 0..4 {
        let model = model(seed);
        let points = in_box(&Rng::new(100 + seed), &[-1.0; 3], &[1.0; 3], 50_000);
        let least = logits(&model, &points).into_iter().fold(f64::INFINITY, f64::min);
        let weights = model.weights();
        for (holds, bound) in [(true, least - 0.02), (false, least + 1e-3)] {
            let rows = vec![Constraint::at_most(vec![1.0], bound)];
            let property = Property::new(3, 1, vec![Case::closed(vec![-1.0; 3], vec![1.0; 3], vec![rows])]);
            for branching in [Branching::Auto, Branching::Babsr, Branching::Fsb] {
                let place = format!("seed {seed}, holds {holds}, {branching:?}");
                let timeout = Duration::from_secs(60);
                let settings = Settings { timeout, branching, attack_restarts: 0, proof: true, ..Settings::default() };
                let decision = decide(&model.network, &weights, &property, &settings, &|_| {}).unwrap();
                eprintln!("{place}: {} subproblems", decision.statistics.subproblems);
                match decision.outcome {
                    Outcome::Holds { proof } => {
                        assert!(holds, "{place}: proved what is false");
                        let certificate =
                            Certificate::new(&model.network, &weights, &property, proof.unwrap()).unwrap();
                        let report = check(&certificate, &model.network, &weights, &property, None);
                        assert!(report.is_ok(), "{place}: {}", report.unwrap_err());
                    }
                    Outcome::Violated { input, .. } => {
                        assert!(!holds, "{place}: refuted what is true");
                        assert!(logits(&model, &input)[0] <= bound + 1e-12, "{place}");
                    }
                    other => panic!("{place}: {other:?}"),
                }
            }
        }
    }
}
