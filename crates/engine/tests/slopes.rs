//! Lower slopes from outside: sound wherever they lie, their gradients right, and what does not fit refused.

use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Engine, EngineError, LayerBounds, LayerSlopes, Reference, Region, Relaxation,
    Spec, Wants,
};
use tightrope_network::Network;
use tightrope_testkit::differences::{Count, directions, dot, moved, objective, random_cotangents};
use tightrope_testkit::evaluate::evaluate;
use tightrope_testkit::random::{Family, Rng, Shape, network, region, region_in};
use tightrope_testkit::sampling::points;

const SLOPED: [Relaxation; 4] =
    [Relaxation::CrownIbp, Relaxation::Crown, Relaxation::CrownMeetIbp, Relaxation::CrownSkipIbp];

/// Slopes for some of the pre-activations of `network`, or all.
fn random_slopes(rng: &Rng, network: &Network, batch: usize, all: bool) -> Vec<LayerSlopes<f64>> {
    let nodes = network.pre_activations().into_iter().filter(|_| all || rng.coin());
    nodes
        .map(|node| {
            let count = batch * network.node(node).len();
            // The ends of the interval are slopes too.
            let slope = |rng: &Rng| (rng.between(-0.2, 1.2)).clamp(0.0, 1.0);
            LayerSlopes { node, lower: (0..count).map(|_| slope(rng)).collect() }
        })
        .collect()
}

fn everything(relaxation: Relaxation) -> BoundRequest {
    BoundRequest { relaxation, upper: true, layers: true, until: None }
}

#[test]
fn no_point_leaves_a_bound() {
    let mut checked = 0;
    for (family_index, family) in Family::RELU.into_iter().enumerate() {
        for (shape_index, shape) in Shape::ALL.into_iter().enumerate() {
            let rng = Rng::new((20_000 + family_index * 100 + shape_index) as u64);
            let (network, theta) = network(&rng, family);
            let region = region(&rng, shape, 2, network.input_len(), rng.between(0.2, 1.5));
            let values: Vec<Vec<Vec<Vec<f64>>>> = (0..2)
                .map(|sample| {
                    let points = points(&rng, &region, sample, 16);
                    points.iter().map(|x| evaluate(&network, &theta, x)).collect()
                })
                .collect();
            for relaxation in SLOPED {
                let slopes = random_slopes(&rng, &network, 2, false);
                let request = everything(relaxation);
                let (bounds, _) =
                    Reference.bound_with_slopes(&network, &theta, &region, &Spec::Logits, request, &slopes).unwrap();
                let logits = LayerBounds { node: network.output(), lower: bounds.lower, upper: bounds.upper.unwrap() };
                for layer in bounds.layers.iter().chain([&logits]) {
                    for (sample, point) in (0..2).flat_map(|s| values[s].iter().map(move |v| (s, v))) {
                        let value = &point[layer.node];
                        let n = value.len();
                        for i in 0..n {
                            let (l, u) = (layer.lower[sample * n + i], layer.upper[sample * n + i]);
                            let slack = 1e-9 * (1.0 + l.abs().max(u.abs()));
                            assert!(
                                l - slack <= value[i] && value[i] <= u + slack,
                                "{relaxation} {family:?} {shape:?}, node {}: {} is not in [{l}, {u}]",
                                layer.node,
                                value[i]
                            );
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(checked > 100_000, "only {checked} values checked");
}

/// The derivatives of everything with respect to slopes, θ and centre where slopes are given.
#[test]
fn gradients() {
    let mut count = Count::default();
    for (family_index, family) in Family::RELU.into_iter().enumerate() {
        for (shape_index, shape) in Shape::ALL.into_iter().enumerate() {
            for (index, relaxation) in SLOPED.into_iter().enumerate() {
                let rng = Rng::new((30_000 + family_index * 1000 + shape_index * 10 + index) as u64);
                let (network, theta) = network(&rng, family);
                let region = region_in((0.05, 0.95), &rng, shape, 2, network.input_len(), rng.between(0.3, 1.0));
                let slopes = random_slopes(&rng, &network, 2, true);
                let request = everything(relaxation);
                let at = |theta: &[f64], region: &Region<f64>, slopes: &[LayerSlopes<f64>]| {
                    Reference.bound_with_slopes(&network, theta, region, &Spec::Logits, request, slopes).unwrap()
                };
                let (bounds, tape) = at(&theta, &region, &slopes);
                let mut cotangents = random_cotangents(&rng, &network, &bounds);
                if relaxation == Relaxation::CrownSkipIbp {
                    // Bounds kept from IBP carry no gradient.
                    cotangents.layers.clear();
                }
                let wants = Wants { theta: true, input: true };
                let found = Reference.vjp(&network, &theta, &tape, &cotangents, wants).unwrap();
                let what = format!("{relaxation} {family:?} {shape:?}");
                let value = |bounds: Bounds<f64>| objective(&bounds, &cotangents);
                let of_slopes = found.slopes.unwrap();
                assert_eq!(of_slopes.iter().map(|layer| layer.node).collect::<Vec<_>>(), network.pre_activations());
                for (layer, given) in slopes.iter().enumerate() {
                    for mut direction in directions(&rng, given.lower.len(), 3) {
                        // Slopes at an end of [0, 1] can move one way only.
                        for (d, &slope) in direction.iter_mut().zip(&given.lower) {
                            *d = if slope == 0.0 || slope == 1.0 { 0.0 } else { *d };
                        }
                        let adjoint = dot(&of_slopes[layer].lower, &direction);
                        count.compare(&format!("{what}, slopes"), adjoint, |t| {
                            let mut there = slopes.clone();
                            there[layer].lower = moved(&given.lower, t, &direction);
                            value(at(&theta, &region, &there).0)
                        });
                    }
                }
                let g_theta = found.theta.unwrap();
                for direction in directions(&rng, theta.len(), 0) {
                    let adjoint = dot(&g_theta, &direction);
                    count.compare(&format!("{what}, θ"), adjoint, |t| {
                        value(at(&moved(&theta, t, &direction), &region, &slopes).0)
                    });
                }
            }
        }
    }
    count.finish(1500);
}

/// Slopes that DeepPoly's rule chose itself change nothing, and a tape without given slopes has their gradient too.
#[test]
fn own_choice() {
    let rng = Rng::new(77);
    let (network, theta) = network(&rng, Family::Residual);
    let region = region(&rng, Shape::Linf, 2, network.input_len(), 1.0);
    let request = everything(Relaxation::Crown);
    let (bounds, tape) = Reference.bound_taped(&network, &theta, &region, &Spec::Logits, request).unwrap();
    let own = |layer: &LayerBounds<f64>| LayerSlopes {
        node: layer.node,
        lower: layer.lower.iter().zip(&layer.upper).map(|(l, u)| f64::from(u8::from(*u > -l))).collect(),
    };
    let slopes: Vec<_> = bounds.layers.iter().map(own).collect();
    let (same, sloped) =
        Reference.bound_with_slopes(&network, &theta, &region, &Spec::Logits, request, &slopes).unwrap();
    assert_eq!(bounds, same);
    let cotangents = Cotangents::on_lower(rng.normals(bounds.lower.len()));
    let pull = |tape| Reference.vjp(&network, &theta, tape, &cotangents, Wants::SLOPES).unwrap();
    let (of_own, of_given) = (pull(&tape), pull(&sloped));
    assert_eq!(of_own, of_given);
    assert!(of_own.theta.is_none() && of_own.region.is_none());
    assert!(of_own.slopes.unwrap().iter().any(|layer| layer.lower.iter().any(|&g| g != 0.0)));
}

#[test]
fn refused() {
    let rng = Rng::new(78);
    let (network, theta) = network(&rng, Family::Conv);
    let region = region(&rng, Shape::Linf, 2, network.input_len(), 1.0);
    let node = network.pre_activations()[0];
    let count = 2 * network.node(node).len();
    let good = LayerSlopes { node, lower: vec![0.5; count] };
    let bad = |index: usize, value: f64| {
        let mut slopes = good.clone();
        slopes.lower[index] = value;
        vec![slopes]
    };
    let cases = [
        (bad(3, -0.1), "slope 3"),
        (bad(4, 1.01), "[0, 1]"),
        (bad(5, f64::NAN), "NaN"),
        (vec![LayerSlopes { node, lower: vec![0.5; count - 1] }], "slopes has"),
        (vec![LayerSlopes { node: 0, lower: Vec::new() }], "node 0 is no pre-activation"),
        (vec![good.clone(), good.clone()], "twice"),
    ];
    let bound = |slopes: &[LayerSlopes<f64>], relaxation| {
        let request = BoundRequest::lower(relaxation);
        Reference.bound_with_slopes(&network, &theta, &region, &Spec::Logits, request, slopes)
    };
    let message = |result: Result<_, EngineError>| result.map(|_: Bounds<f64>| ()).unwrap_err().to_string();
    for (slopes, part) in cases {
        let error = message(bound(&slopes, Relaxation::Crown).map(|(bounds, _)| bounds));
        assert!(error.contains(part), "`{error}` does not speak of `{part}`");
    }
    assert!(message(bound(&[good], Relaxation::Ibp).map(|(bounds, _)| bounds)).contains("ibp has no slopes"));
    let (bounds, tape) = bound(&[], Relaxation::Ibp).unwrap();
    let cotangents = Cotangents::on_lower(vec![1.0; bounds.lower.len()]);
    let error = Reference.vjp(&network, &theta, &tape, &cotangents, Wants::SLOPES).unwrap_err();
    assert!(error.to_string().contains("ibp has no slopes"), "{error}");
}
