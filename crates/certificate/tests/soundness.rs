//! Bounds that the checker accepts are met by no point, whatever the certificate says, and are as tight as they should be.

mod common;

use common::{outputs, proof, property, random_box, random_row};
use proptest::prelude::*;
use tightrope_certificate::{
    BoundProof, Checker, LayerRefinement, LayerSlopes, Leaf, Neuron, Proof, Refinement, RefinementId, Side, Slopes,
    SlopesId, Tree, TreeBuilder,
};
use tightrope_engine::{BoundRequest, Reference, Region, Relaxation, Spec};
use tightrope_network::Model;
use tightrope_testkit::differences::dot;
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::networks::dense;
use tightrope_testkit::random::{Family, Rng};
use tightrope_testkit::sampling::in_box;

/// So low that every finite bound lies above it.
const FLOOR: f64 = -1e6;

/// The lower bound of row·y that the checker finds with `proof`.
fn lower_bound(model: &Model, lower: &[f64], upper: &[f64], row: &[f64], proof: &Proof) -> f64 {
    let property = property(model, lower, upper, row, FLOOR);
    let report = Checker::new(&model.network, &model.weights()).check(&property, proof);
    report.unwrap_or_else(|e| panic!("{e}")).smallest_bound + FLOOR
}

fn leaf() -> Leaf {
    Leaf { rows: vec![(0, 1.0)], ..Leaf::default() }
}

fn single_leaf() -> Tree {
    let mut tree = TreeBuilder::new();
    tree.leaf(TreeBuilder::ROOT, leaf());
    tree.finish().unwrap()
}

/// Narrow dense networks, or networks of every layer kind.
fn random_model(seed: u64) -> (Model, Rng) {
    let rng = Rng::new(seed);
    let network = if seed.is_multiple_of(2) {
        dense(&[3, 6, 5, 4])
    } else {
        // Trees split ReLUs.
        let families = Family::RELU.into_iter().filter(|&family| family != Family::Linear);
        let families = families.chain([Family::Gathered, Family::Curved, Family::Multiplied]);
        let families: Vec<Family> = families.collect();
        rng.one_of(&families).recipe().network(&rng)
    };
    (common::model(network, &rng), rng)
}

/// Slopes for some of the neurons.
fn random_slopes(model: &Model, rng: &Rng) -> Slopes {
    let mut layers = Vec::new();
    for node in model.network.pre_activations() {
        let neurons: Vec<u32> = (0..model.network.node(node).len() as u32).filter(|_| rng.below(3) > 0).collect();
        let values = neurons.iter().map(|_| (rng.between(-1.0, 1.0).abs() as f32).min(1.0)).collect();
        layers.push(LayerSlopes { node: node as u32, neurons, values });
    }
    Slopes { layers }
}

/// A tree of every kind of step with random dual variables.
fn random_tree(model: &Model, lower: &[f64], upper: &[f64], slopes: usize, refinements: usize, rng: &Rng) -> Tree {
    let layers = model.network.pre_activations();
    let mut tree = TreeBuilder::new();
    let mut open = vec![(TreeBuilder::ROOT, lower.to_vec(), upper.to_vec(), 0)];
    let mut budget = 12;
    while let Some((node, lower, upper, splits)) = open.pop() {
        budget -= 1;
        match if budget > 0 { rng.below(4) } else { 3 } {
            0 => {
                let layer = layers[rng.below(layers.len())];
                let index = rng.below(model.network.node(layer).len()) as u32;
                let children = tree.split_relu(node, Neuron { node: layer as u32, index });
                open.extend(children.map(|child| (child, lower.clone(), upper.clone(), splits + 1)));
            }
            1 => {
                let index = rng.below(lower.len());
                let at = lower[index] + (upper[index] - lower[index]) * rng.between(-1.0, 1.0).abs();
                let [below, above] = tree.split_input(node, index as u32, at);
                let cut =
                    |ends: &[f64]| ends.iter().enumerate().map(|(i, &e)| if i == index { at } else { e }).collect();
                open.push((below, lower.clone(), cut(&upper), splits));
                open.push((above, cut(&lower), upper.clone(), splits));
            }
            2 => {
                let child = tree.refine(node, RefinementId(rng.below(refinements) as u32));
                open.push((child, lower, upper, splits));
            }
            _ => {
                let slopes = (rng.below(3) > 0).then(|| SlopesId(rng.below(slopes) as u32));
                let with = rng.below(3) > 0;
                let multipliers =
                    if with { (0..splits).map(|_| rng.between(-1.0, 1.0).abs() as f32).collect() } else { vec![] };
                tree.leaf(node, Leaf { slopes, multipliers, ..leaf() });
            }
        }
    }
    tree.finish().unwrap()
}

/// CROWN everywhere, or some bounds with slopes of their own.
fn random_refinements(model: &Model, slopes: usize, rng: &Rng) -> Vec<Refinement> {
    let layers = model.network.pre_activations();
    let mut some = Vec::new();
    for &node in &layers {
        let bound = |_| BoundProof {
            index: rng.below(model.network.node(node).len()) as u32,
            side: if rng.below(2) == 0 { Side::Lower } else { Side::Upper },
            slopes: (rng.below(2) == 0).then(|| SlopesId(rng.below(slopes) as u32)),
            multipliers: Vec::new(),
        };
        some.push(LayerRefinement { node: node as u32, crown: false, bounds: (0..5).map(bound).collect() });
    }
    vec![Refinement::crown(layers), Refinement { layers: some }]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the tree, the slopes and the multipliers, no point of the box lies below the bound.
    #[test]
    fn no_point_lies_below_a_bound(seed in 0_u64..10_000, radius in 0.01_f64..1.0) {
        let (model, rng) = random_model(seed);
        let (lower, upper) = random_box(&model, radius, &rng);
        let row = random_row(&model, &rng);
        let slopes: Vec<Slopes> = (0..3).map(|_| random_slopes(&model, &rng)).collect();
        let refinements = random_refinements(&model, slopes.len(), &rng);
        let tree = random_tree(&model, &lower, &upper, slopes.len(), refinements.len(), &rng);
        let proof = Proof { slopes, refinements, ..proof(tree) };
        let bound = lower_bound(&model, &lower, &upper, &row, &proof);
        for point in in_box(&rng, &lower, &upper, 60).chunks(lower.len()) {
            let value = dot(&row, &outputs(&model, point));
            prop_assert!(bound <= value + 1e-12 * value.abs(), "{bound} > {value} at {point:?}");
        }
    }

    /// A leaf without refinements is CROWN-IBP, as another implementation computes it in f64.
    #[test]
    fn a_single_leaf_is_crown_ibp(seed in 0_u64..10_000, radius in 0.001_f64..0.5) {
        let (model, rng) = random_model(seed);
        let (lower, upper) = random_box(&model, radius, &rng);
        let row = random_row(&model, &rng);
        let bound = lower_bound(&model, &lower, &upper, &row, &proof(single_leaf()));
        let region = Region::boxes(&lower, &upper, lower.len()).unwrap();
        let spec = Spec::Matrix { rows: 1, matrix: row, offset: vec![] };
        let request = BoundRequest::lower(Relaxation::CrownIbp);
        let expected = Reference.bound(&model.network, model.weights().theta(), &region, &spec, request).unwrap().lower[0];
        // FLOOR costs some digits, which steep functions magnify.
        prop_assert!((bound - expected).abs() < 1e-6 * expected.abs().max(1.0), "{bound} instead of {expected}");
    }

    /// A property that a known point violates is proved by no tree.
    #[test]
    fn false_properties_are_not_proved(seed in 0_u64..10_000, radius in 0.01_f64..0.5) {
        let (model, rng) = random_model(seed);
        let (lower, upper) = random_box(&model, radius, &rng);
        let row = random_row(&model, &rng);
        let points = in_box(&rng, &lower, &upper, 40);
        let values = points.chunks(lower.len()).map(|point| dot(&row, &outputs(&model, point)));
        let smallest = values.fold(f64::INFINITY, f64::min);
        let slopes: Vec<Slopes> = (0..2).map(|_| random_slopes(&model, &rng)).collect();
        let refinements = random_refinements(&model, slopes.len(), &rng);
        let tree = random_tree(&model, &lower, &upper, slopes.len(), refinements.len(), &rng);
        let proof = Proof { slopes, refinements, ..proof(tree) };
        let property = property(&model, &lower, &upper, &row, smallest + 1e-9 * smallest.abs());
        let weights = model.weights();
        let checker = Checker::new(&model.network, &weights);
        prop_assert!(checker.check(&property, &proof).is_err());
    }

    /// Bisection of the inputs proves whatever holds with a margin: the bounds get as tight as the boxes get small.
    #[test]
    fn bisection_proves_what_holds(seed in 0_u64..5_000) {
        let rng = Rng::new(seed);
        let model = common::model(dense(&[1, 6, 5, 2]), &rng);
        let (lower, upper) = random_box(&model, 0.5, &rng);
        let row = random_row(&model, &rng);
        let smallest = (0..=2000).map(|i| {
            let point = lower[0] + (upper[0] - lower[0]) * f64::from(i) / 2000.0;
            dot(&row, &outputs(&model, &[point.min(upper[0])]))
        }).fold(f64::INFINITY, f64::min);
        let mut tree = TreeBuilder::new();
        let mut open = vec![(TreeBuilder::ROOT, lower[0], upper[0], 0)];
        while let Some((node, l, u, depth)) = open.pop() {
            if depth == 9 {
                let refined = tree.refine(node, RefinementId(0));
                tree.leaf(refined, leaf());
                continue;
            }
            let middle = (l + u) / 2.0;
            let [below, above] = tree.split_input(node, 0, middle);
            open.extend([(below, l, middle, depth + 1), (above, middle, u, depth + 1)]);
        }
        let refinements = vec![Refinement::crown(model.network.pre_activations())];
        let proof = Proof { refinements, ..proof(tree.finish().unwrap()) };
        let property = property(&model, &lower, &upper, &row, smallest - 0.05);
        let report = Checker::new(&model.network, &model.weights()).check(&property, &proof).unwrap();
        prop_assert_eq!((report.leaves, report.splits), (512, 511));
        prop_assert!(report.smallest_bound <= 0.05 + 1e-9);
    }
}
