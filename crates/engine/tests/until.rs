//! Bounds of a node in place of the logits: sound, and those of the sub-network that ends there, gradients included.

use tightrope_engine::{BoundRequest, Cotangents, Engine, Loaded, Reference, Region, Relaxation, Spec, Wants};
use tightrope_network::{Network, NodeId};
use tightrope_testkit::evaluate::evaluate;
use tightrope_testkit::random::{Family, Rng, Shape, network, region};
use tightrope_testkit::sampling::points;

/// A random network with a region of two samples.
fn case(family: usize, shape: usize) -> (Rng, Network, Vec<f64>, Region<f64>) {
    let rng = Rng::new((family * 100 + shape) as u64);
    let (network, theta) = network(&rng, Family::ALL[family]);
    let region = region(&rng, Shape::ALL[shape], 2, network.input_len(), 0.5);
    (rng, network, theta, region)
}

fn load(network: &Network, theta: &[f64]) -> Box<dyn Loaded<f64>> {
    Reference.load(network, theta, &[]).unwrap()
}

#[test]
fn no_point_leaves_the_bounds_of_a_node() {
    let mut checked = 0;
    for family in 0..Family::ALL.len() {
        for shape in 0..Shape::ALL.len() {
            let (rng, network, theta, region) = case(family, shape);
            let at = load(&network, &theta);
            let values: Vec<Vec<Vec<Vec<f64>>>> = (0..2)
                .map(|s| points(&rng, &region, s, 6).iter().map(|x| evaluate(&network, &theta, x)).collect())
                .collect();
            for relaxation in Relaxation::ALL {
                for node in 1..=network.output() {
                    let n = network.node(node).len();
                    let bounds = at.bound(&region, &Spec::Logits, BoundRequest::until(relaxation, node)).unwrap();
                    let upper = bounds.upper.unwrap();
                    assert_eq!((bounds.rows, bounds.lower.len(), upper.len()), (n, 2 * n, 2 * n));
                    for (sample, points) in values.iter().enumerate() {
                        for value in points.iter().flat_map(|all| all[node].iter().enumerate()) {
                            let (i, &value) = value;
                            let (l, u) = (bounds.lower[sample * n + i], upper[sample * n + i]);
                            let slack = 1e-9 * (1.0 + l.abs().max(u.abs()));
                            assert!(l - slack <= value && value <= u + slack, "{family} {relaxation} {node}: {i}");
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(checked > 100_000, "only {checked} values were compared");
}

/// The bounds and gradients of `node` are those of the logits of the network that ends there.
fn compare(network: &Network, theta: &[f64], region: &Region<f64>, relaxation: Relaxation, node: NodeId) -> bool {
    let Ok((first, _)) = network.split_at(node) else { return false };
    let count = first.parameters().total();
    let (whole, part) = (load(network, theta), load(&first, &theta[..count]));
    let logits = BoundRequest { upper: true, ..BoundRequest::lower(relaxation) };
    let (of_node, node_tape) = whole.bound_taped(region, &Spec::Logits, BoundRequest::until(relaxation, node)).unwrap();
    let (of_part, part_tape) = part.bound_taped(region, &Spec::Logits, logits).unwrap();
    assert_eq!(of_node, of_part, "{relaxation}, node {node}");
    let g: Vec<f64> = (0..of_node.lower.len()).map(|i| (i % 7) as f64 - 3.0).collect();
    let cotangents = Cotangents { upper: g.iter().map(|g| 0.5 - g).collect(), ..Cotangents::on_lower(g) };
    let wants = Wants { input: true, ..Wants::THETA };
    let of_node = whole.vjp(&node_tape, &cotangents, wants).unwrap();
    let of_part = part.vjp(&part_tape, &cotangents, wants).unwrap();
    assert_eq!(of_node.region, of_part.region, "{relaxation}, node {node}");
    let gradient = of_node.theta.unwrap();
    assert_eq!(gradient[..count], of_part.theta.unwrap(), "{relaxation}, node {node}");
    assert!(gradient[count..].iter().all(|&g| g == 0.0), "parameters behind node {node} have a gradient");
    true
}

#[test]
fn a_node_is_bounded_as_the_network_that_ends_there() {
    let mut compared = 0;
    for family in 0..Family::ALL.len() {
        for shape in 0..Shape::ALL.len() {
            let (_, network, theta, region) = case(family, shape);
            for relaxation in Relaxation::ALL {
                for node in 1..network.output() {
                    compared += usize::from(compare(&network, &theta, &region, relaxation, node));
                }
            }
        }
    }
    assert!(compared > 500, "only {compared} nodes were compared");
}

#[test]
fn nodes_that_cannot_be_bounded_are_refused() {
    let (_, network, theta, region) = case(0, 0);
    let at = load(&network, &theta);
    let bound = |spec: &Spec<f64>, node| {
        at.bound(&region, spec, BoundRequest::until(Relaxation::Ibp, node)).unwrap_err().to_string()
    };
    assert!(bound(&Spec::Logits, 0).contains("no layer 0"));
    assert!(bound(&Spec::Logits, network.output() + 1).contains("no layer"));
    assert!(bound(&Spec::Margins { labels: vec![0, 0] }, 1).contains("the specification of logits"));
}
