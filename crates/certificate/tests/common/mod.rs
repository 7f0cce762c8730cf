//! Models, boxes, properties and proofs for the checker's tests, and the network's values by another implementation.
#![allow(dead_code, reason = "each test file uses a part")]

use tightrope_certificate::{CaseProof, Proof, Tree};
use tightrope_network::{Model, Network, Weights};
use tightrope_testkit::evaluate::evaluate;
use tightrope_testkit::random::{Rng, gaussian};
use tightrope_vnnlib::{Case, Constraint, Property};

/// A network with random parameters that single precision does not hold.
pub fn model(network: Network, rng: &Rng) -> Model {
    let theta = gaussian(rng, &network);
    Model::with_weights(network, Weights::new(theta))
}

/// The network's values in f64, each layer by its definition.
pub fn outputs(model: &Model, input: &[f64]) -> Vec<f64> {
    evaluate(&model.network, model.weights().theta(), input).pop().expect("the last layer's values")
}

/// A box around a random point.
pub fn random_box(model: &Model, radius: f64, rng: &Rng) -> (Vec<f64>, Vec<f64>) {
    let center: Vec<f64> = (0..model.network.input_len()).map(|_| rng.between(-1.0, 1.0)).collect();
    let radii: Vec<f64> = center.iter().map(|_| radius * (1.0 + rng.between(-1.0, 1.0)) / 2.0).collect();
    let end = |sign: f64| center.iter().zip(&radii).map(|(c, r)| c + sign * r).collect();
    (end(-1.0), end(1.0))
}

/// A random row over the outputs.
pub fn random_row(model: &Model, rng: &Rng) -> Vec<f64> {
    (0..model.network.output_len()).map(|_| rng.between(-1.0, 1.0)).collect()
}

/// The property that row·y ≤ bound nowhere in the box.
pub fn property(model: &Model, lower: &[f64], upper: &[f64], row: &[f64], bound: f64) -> Property {
    let unsafe_outputs = vec![vec![Constraint::at_most(row.to_vec(), bound)]];
    let case = Case::closed(lower.to_vec(), upper.to_vec(), unsafe_outputs);
    Property::new(model.network.input_len(), model.network.output_len(), vec![case])
}

/// A proof of one tree.
pub fn proof(tree: Tree) -> Proof {
    Proof { cases: vec![CaseProof { conjunctions: vec![tree] }], ..Proof::default() }
}
