//! Proofs built by hand hold; with one part changed in the unsound direction they fail.

mod common;

use common::{model, proof, property, random_box};
use tightrope_certificate::{
    CaseProof, Certificate, CertificateError, Checker, LayerSlopes, Leaf, Neuron, Proof, Refinement, RefinementId,
    Slopes, SlopesId, Step, TreeBuilder, VERSION, check,
};
use tightrope_network::{Layer, Model, NetworkBuilder, Weights};
use tightrope_testkit::networks::{dense, residual};
use tightrope_testkit::random::Rng;
use tightrope_vnnlib::{Constraint, Property};

/// y = relu(z) + relu(−z) for z = x₀ + x₁: |x₀ + x₁|.
fn absolute() -> Model {
    let mut builder = NetworkBuilder::new(&[2]).unwrap();
    let pair = builder.linear("pair", 2, false, builder.input()).unwrap();
    let relu = builder.add("relu", Layer::RELU, &[pair]).unwrap();
    builder.linear("sum", 1, false, relu).unwrap();
    Model::new(builder.build().unwrap(), vec![1.0, 1.0, -1.0, -1.0, 1.0, 1.0])
}

/// |x₀ + x₁| ≤ bound nowhere in [−1, 1]².
fn above(bound: f64) -> Property {
    property(&absolute(), &[-1.0; 2], &[1.0; 2], &[1.0], bound)
}

/// Splits by both neurons' signs. Where they contradict each other (z and −z both ≤ 0 or both ≥ 0) or not, one
/// multiplier 1 makes the form vanish: the bound is then 0 − b.
fn split_proof() -> Proof {
    let mut tree = TreeBuilder::new();
    let pair = |index| Neuron { node: 1, index };
    let [first_off, first_on] = tree.split_relu(TreeBuilder::ROOT, pair(0));
    let leaf = |multipliers: [f32; 2]| Leaf { rows: vec![(0, 1.0)], slopes: None, multipliers: multipliers.to_vec() };
    let [off_off, off_on] = tree.split_relu(first_off, pair(1));
    tree.leaf(off_off, leaf([0.0, 0.0]));
    // y = −z: minus β·(−z) with β = 1 leaves nothing.
    tree.leaf(off_on, leaf([0.0, 1.0]));
    let [on_off, on_on] = tree.split_relu(first_on, pair(1));
    tree.leaf(on_off, leaf([1.0, 0.0]));
    tree.leaf(on_on, leaf([0.0, 0.0]));
    proof(tree.finish().unwrap())
}

fn verdict(model: &Model, property: &Property, proof: &Proof) -> Result<f64, String> {
    let report = Checker::new(&model.network, &model.weights()).check(property, proof);
    report.map(|report| report.smallest_bound).map_err(|e| e.to_string())
}

fn leaf_of(proof: &mut Proof, number: usize) -> &mut Leaf {
    let steps = proof.cases[0].conjunctions[0].steps.iter_mut();
    steps.filter_map(|step| if let Step::Leaf(leaf) = step { Some(leaf) } else { None }).nth(number).unwrap()
}

/// Changes the proof of |x₀ + x₁| > −0.001 and returns why it fails.
fn mutated(change: impl FnOnce(&mut Proof)) -> String {
    let mut proof = split_proof();
    change(&mut proof);
    verdict(&absolute(), &above(-0.001), &proof).expect_err("a mutated proof was accepted")
}

#[test]
fn splits_with_multipliers_prove_what_they_should() {
    let bound = verdict(&absolute(), &above(-0.001), &split_proof()).unwrap();
    assert!(bound <= 0.001 && bound > 0.001 - 1e-12, "{bound}");
    // 0 is attained.
    assert!(verdict(&absolute(), &above(0.0), &split_proof()).unwrap_err().contains("not > 0"));
}

#[test]
fn mutated_multipliers_fail() {
    assert!(mutated(|proof| leaf_of(proof, 1).multipliers[1] = 0.9).contains("not > 0"));
    assert!(mutated(|proof| leaf_of(proof, 2).multipliers[0] = 1.1).contains("not > 0"));
    assert!(mutated(|proof| leaf_of(proof, 2).multipliers[0] = -1.0).contains("not a finite number ≥ 0"));
    assert!(mutated(|proof| leaf_of(proof, 2).multipliers[0] = f32::NAN).contains("not a finite number ≥ 0"));
    assert!(mutated(|proof| leaf_of(proof, 2).multipliers[0] = f32::INFINITY).contains("not a finite number ≥ 0"));
    assert!(mutated(|proof| leaf_of(proof, 2).multipliers.truncate(1)).contains("1 multipliers for 2 splits"));
    assert!(mutated(|proof| leaf_of(proof, 2).multipliers.clear()).contains("not > 0"));
}

#[test]
fn mutated_trees_fail() {
    let steps = |proof: &mut Proof, change: fn(&mut Vec<Step>)| change(&mut proof.cases[0].conjunctions[0].steps);
    assert!(mutated(|p| steps(p, |s| drop(s.pop()))).contains("a branch is missing"));
    assert!(mutated(|p| steps(p, |s| drop(s.remove(2)))).contains("a branch is missing"));
    assert!(mutated(|p| steps(p, Vec::clear)).contains("the tree is empty"));
    assert!(mutated(|p| steps(p, |s| s.push(s[2].clone()))).contains("follow the end"));
    assert!(
        mutated(|p| steps(p, |s| s[0] = Step::SplitRelu(Neuron { node: 2, index: 0 }))).contains("no pre-activation")
    );
    assert!(
        mutated(|p| steps(p, |s| s[0] = Step::SplitRelu(Neuron { node: 1, index: 2 }))).contains("no pre-activation")
    );
    assert!(mutated(|p| steps(p, |s| s.swap(2, 3))).contains("not > 0"));
    assert!(mutated(|p| steps(p, |s| s[0] = Step::SplitInput { index: 2, at: 0.0 })).contains("no input 2"));
    assert!(mutated(|p| steps(p, |s| s[0] = Step::SplitInput { index: 0, at: 1.5 })).contains("does not cut"));
    assert!(mutated(|p| steps(p, |s| s[0] = Step::SplitInput { index: 0, at: f64::NAN })).contains("does not cut"));
    assert!(mutated(|p| steps(p, |s| s[0] = Step::Refine(RefinementId(0)))).contains("follow the end"));
    assert!(mutated(|p| steps(p, |s| s.insert(0, Step::Refine(RefinementId(0))))).contains("no refinement 0"));
    assert!(mutated(|p| p.cases.clear()).contains("0 cases"));
    assert!(mutated(|p| p.cases[0].conjunctions.clear()).contains("0 trees for 1"));
}

#[test]
fn mutated_rows_fail() {
    let rows = |rows: &[(u32, f64)]| {
        let rows = rows.to_vec();
        mutated(|proof| leaf_of(proof, 0).rows = rows)
    };
    assert!(rows(&[]).contains("not > 0"));
    assert!(rows(&[(0, 0.0)]).contains("not > 0"));
    assert!(rows(&[(1, 1.0)]).contains("no row 1"));
    assert!(rows(&[(0, -1.0)]).contains("not a finite number ≥ 0"));
    assert!(rows(&[(0, f64::NAN)]).contains("not a finite number ≥ 0"));
    assert!(rows(&[(0, 1.0), (0, 1.0)]).contains("stands twice"));
}

/// |x₀ + x₁| > −0.1 without splits, by lower slopes 1/2 (which cancel) for both neurons.
fn slope_proof() -> Proof {
    let mut tree = TreeBuilder::new();
    tree.leaf(TreeBuilder::ROOT, Leaf { rows: vec![(0, 1.0)], slopes: Some(SlopesId(0)), multipliers: vec![] });
    let layer = LayerSlopes { node: 1, neurons: vec![0, 1], values: vec![0.5, 0.5] };
    Proof { slopes: vec![Slopes { layers: vec![layer] }], ..proof(tree.finish().unwrap()) }
}

#[test]
fn mutated_slopes_fail() {
    assert!(verdict(&absolute(), &above(-0.1), &slope_proof()).is_ok());
    let mutated = |change: fn(&mut Proof)| {
        let mut proof = slope_proof();
        change(&mut proof);
        verdict(&absolute(), &above(-0.1), &proof).expect_err("a mutated proof was accepted")
    };
    assert!(mutated(|p| p.slopes[0].layers[0].values[0] = 0.75).contains("not > 0"));
    for value in ["1.01", "-0.01", "NaN", "inf"] {
        let mut proof = slope_proof();
        proof.slopes[0].layers[0].values = vec![value.parse().unwrap(); 2];
        let error = verdict(&absolute(), &above(-0.1), &proof).unwrap_err();
        assert!(error.contains("not in [0, 1]"), "{error}");
    }
    assert!(mutated(|p| p.slopes[0].layers[0].neurons = vec![1, 0]).contains("in order"));
    assert!(mutated(|p| p.slopes[0].layers[0].neurons = vec![1, 2]).contains("in order"));
    assert!(mutated(|p| p.slopes[0].layers[0].values.truncate(1)).contains("in order"));
    assert!(mutated(|p| p.slopes[0].layers[0].node = 2).contains("no pre-activation"));
    assert!(mutated(|p| p.slopes.clear()).contains("slopes do not exist"));
}

/// The sum of two rows is needed: neither y₀ ≤ −0.1 nor y₁ ≤ −0.1 is refuted alone, for y₀ = x, y₁ = −x.
#[test]
fn combinations_of_rows() {
    let mut builder = NetworkBuilder::new(&[1]).unwrap();
    builder.linear("both", 2, false, builder.input()).unwrap();
    let model = Model::new(builder.build().unwrap(), vec![1.0, -1.0]);
    let mut property = property(&model, &[-1.0], &[1.0], &[1.0, 0.0], -0.1);
    property.cases[0].unsafe_outputs[0].push(Constraint::at_most(vec![0.0, 1.0], -0.1));
    let with = |rows: &[(u32, f64)]| {
        let mut tree = TreeBuilder::new();
        tree.leaf(TreeBuilder::ROOT, Leaf { rows: rows.to_vec(), ..Leaf::default() });
        verdict(&model, &property, &proof(tree.finish().unwrap()))
    };
    assert!((with(&[(0, 1.0), (1, 1.0)]).unwrap() - 0.2).abs() < 1e-12);
    assert!(with(&[(0, 1.0)]).is_err() && with(&[(1, 1.0)]).is_err());
    assert!(with(&[(0, 1.0), (1, 0.5)]).is_err());
}

/// A tight proof on a network with convolutions: the root bound minus a little is proved, plus a little is not, and
/// every change of a weight or of the box that moves the bound makes it fail.
#[test]
fn convolutional_networks() {
    for seed in 0..4 {
        let rng = Rng::new(seed);
        let model = model(residual(seed.is_multiple_of(2)), &rng);
        let (lower, upper) = random_box(&model, 0.2, &rng);
        let mut tree = TreeBuilder::new();
        let refined = tree.refine(TreeBuilder::ROOT, RefinementId(0));
        tree.leaf(refined, Leaf { rows: vec![(0, 1.0)], ..Leaf::default() });
        let refinements = vec![Refinement::crown(model.network.pre_activations())];
        let proof = Proof { refinements, ..proof(tree.finish().unwrap()) };
        let at = |bound: f64| property(&model, &lower, &upper, &[1.0, -1.0, 0.5], bound);
        let bound = verdict(&model, &at(-1000.0), &proof).unwrap() - 1000.0;
        assert!(verdict(&model, &at(bound - 1e-9), &proof).is_ok());
        assert!(verdict(&model, &at(bound + 1e-9), &proof).is_err());
        let tight = at(bound - 1e-9);
        let mut without = proof.clone();
        without.refinements[0].layers.clear();
        assert!(verdict(&model, &tight, &without).is_err());
        let mut theta = model.weights().theta().to_vec();
        *theta.last_mut().unwrap() += 0.01;
        let other = Model::with_weights(model.network.clone(), Weights::new(theta));
        let moved = verdict(&other, &tight, &proof).unwrap_or(f64::NEG_INFINITY);
        assert!((moved - 0.005).abs() < 1e-6 || moved == f64::NEG_INFINITY, "{moved}");
    }
}

#[test]
fn files_round_trip_and_damage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proof.cert");
    let (model, property) = (absolute(), above(-0.001));
    let certificate = Certificate::new(&model.network, &model.weights(), &property, split_proof()).unwrap();
    certificate.write(&path).unwrap();
    let again = Certificate::read(&path).unwrap();
    assert_eq!(again, certificate);
    assert_eq!(check(&again, &model.network, &model.weights(), &property, None).unwrap().leaves, 4);

    let bytes = certificate.to_bytes().unwrap();
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        assert!(Certificate::from_bytes(&damaged).is_err(), "byte {position}");
        assert!(Certificate::from_bytes(&bytes[..position]).is_err(), "cut at {position}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Certificate::from_bytes(&longer).is_err());
    let mut newer = bytes;
    newer[8] = VERSION as u8 + 1;
    assert!(Certificate::from_bytes(&newer).unwrap_err().to_string().contains("format version 3"));
    assert!(Certificate::read(&folder.path().join("absent")).unwrap_err().to_string().contains("absent"));

    let mut theta = model.weights().theta().to_vec();
    // By the last place of an f64.
    theta[0] = theta[0].next_up();
    let other = Weights::new(theta.clone());
    let error = check(&certificate, &model.network, &other, &property, None).unwrap_err();
    assert!(matches!(error, CertificateError::Other { what: "network" }), "{error}");
    let error = check(&certificate, &model.network, &model.weights(), &above(-0.002), None).unwrap_err();
    assert!(matches!(error, CertificateError::Other { what: "property" }), "{error}");
    let error = check(&certificate, &model.network, &Weights::new(theta[1..].to_vec()), &property, None).unwrap_err();
    assert!(matches!(error, CertificateError::Network(_)), "{error}");
}

/// A body that decodes to senseless numbers, behind a right checksum.
#[test]
fn senseless_proofs_are_refused_without_a_panic() {
    let rng = Rng::new(1);
    let model = model(dense(&[2, 4, 3, 1]), &rng);
    let property = property(&model, &[-1.0; 2], &[1.0; 2], &[1.0], -100.0);
    let weights = model.weights();
    let checker = Checker::new(&model.network, &weights);
    let mut tree = TreeBuilder::new();
    let [below, above] = tree.split_input(TreeBuilder::ROOT, 0, 0.25);
    let refined = tree.refine(below, RefinementId(0));
    for node in [refined, above] {
        tree.leaf(node, Leaf { rows: vec![(0, 1.0)], ..Leaf::default() });
    }
    let refinements = vec![Refinement::crown(model.network.pre_activations())];
    let whole = Proof {
        refinements,
        cases: vec![CaseProof { conjunctions: vec![tree.finish().unwrap()] }],
        ..Proof::default()
    };
    assert!(checker.check(&property, &whole).is_ok());
    let certificate = Certificate::new(&model.network, &weights, &property, whole).unwrap();
    let body = postcard::to_allocvec(&certificate).unwrap();
    let mut decoded = 0;
    for position in 64..body.len() {
        for value in [0, 1, 2, 5, 0x7f, 0x80, 0xff] {
            let mut changed = body.clone();
            changed[position] = value;
            if let Ok(certificate) = postcard::from_bytes::<Certificate>(&changed) {
                decoded += 1;
                let _ = checker.check(&property, &certificate.proof);
            }
        }
    }
    assert!(decoded > 20, "{decoded}");
}

/// What has no end is not read to it.
#[cfg(target_os = "linux")]
#[test]
fn devices_are_refused_by_their_first_bytes() {
    let problem = Certificate::read(std::path::Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(problem.contains("does not begin as a certificate does"), "{problem}");
}
