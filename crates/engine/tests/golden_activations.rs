//! Networks of activations other than ReLU against numbers that auto_LiRPA gives for them.
//!
//! The recipe, in double precision: number k of a list (k = 0, 1, …) is ((7919·(k + 1)) mod 1000)/500 − 1. θ is the list
//! from k = 0 on, in network order, and the input half of it from k = 1000 on. With
//! `BoundedModule(net, x, bound_opts={"sparse_intermediate_bounds": False, "sparse_conv_intermediate_bounds": False})` the
//! numbers are those of `compute_bounds(x=(BoundedTensor(x, PerturbationLpNorm(norm=inf, eps=ε)),), method=…)`.

use tightrope_engine::{BoundRequest, Norm, Reference, Region, Relaxation, Spec};
use tightrope_network::{Activation, Layer, MaxPool2d, Network};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::networks::Chain;

fn numbers(from: usize, count: usize, scale: f64) -> Vec<f64> {
    (from..from + count).map(|k| scale * ((7919 * (k + 1) % 1000) as f64 / 500.0 - 1.0)).collect()
}

/// Lower and upper bounds of both logits.
fn bounds(network: &Network, epsilon: f64, relaxation: Relaxation) -> [Vec<f64>; 2] {
    let theta = numbers(0, network.parameters().total(), 1.0);
    let x = numbers(1000, network.input_len(), 0.5);
    let region = Region::ball(&x, x.len(), epsilon, Norm::Inf, None).unwrap();
    let request = BoundRequest { upper: true, ..BoundRequest::lower(relaxation) };
    let bounds = Reference.bound(network, &theta, &region, &Spec::Logits, request).unwrap();
    [bounds.lower, bounds.upper.unwrap()]
}

/// 4–5–5–2 with `activation` between.
fn dense(activation: Activation) -> Network {
    let activation = Layer::Activation(activation);
    Chain::new(&[4]).linear(5).layer(activation.clone()).linear(5).layer(activation).linear(2).build()
}

#[track_caller]
fn agree(found: &[Vec<f64>; 2], expected: [[f64; 2]; 2], tolerance: f64) {
    for (found, expected) in found.iter().flatten().zip(expected.as_flattened()) {
        assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
    }
}

const EXACT: f64 = 1e-9;

/// Its lower line follows the right branch where the chord's slope is above ½, ours where u > −l, which leaves less area:
/// for a slope as small as this one the two rules agree.
#[test]
fn leaky_relu_has_nearly_the_same_rule() {
    let network = dense(Activation::LeakyRelu { slope: 0.0078125 });
    let of = |relaxation| bounds(&network, 0.25, relaxation);
    let ibp = [[-1.4396602215906247, -1.4523621870975632], [0.2337674565607959, 1.330967208724375]];
    let crown_ibp = [[-1.0151219582677584, -0.8742009034565135], [-0.17807619972831523, 0.9784035317362931]];
    let crown = [[-0.9917947860359899, -0.8742009034565135], [-0.17807619972831523, 0.9495153472707125]];
    agree(&of(Relaxation::Ibp), ibp, EXACT);
    agree(&of(Relaxation::CrownIbp), crown_ibp, EXACT);
    agree(&of(Relaxation::Crown), crown, EXACT);
}

/// Its tangents through an end of the interval come from a table, so that they leave a little more room than ours.
#[test]
fn s_shaped_functions_have_the_same_rule_but_for_a_table() {
    for (activation, ibp, crown_ibp, crown) in [
        (
            Activation::Sigmoid,
            [[-0.8234845531152482, 0.6517332337754853], [-0.5905061188881687, 1.0144709905120555]],
            [[-0.7383276562052224, 0.7788646441627824], [-0.6763131956969501, 0.8856941887242321]],
            [[-0.7369942506007015, 0.7812598440526235], [-0.6776507837114034, 0.8830505576912886]],
        ),
        (
            Activation::Tanh,
            [[-1.1424865145825247, -0.9218841723665729], [0.3286045470130464, 2.482920373523217]],
            [[-0.6991395435976935, -0.06417502962723254], [-0.2926971130755811, 1.6801373867162537]],
            [[-0.6946098970127826, 0.1591209861871068], [-0.4494464411158964, 1.6495030982719352]],
        ),
    ] {
        let network = dense(activation);
        let of = |relaxation| bounds(&network, 0.25, relaxation);
        agree(&of(Relaxation::Ibp), ibp, EXACT);
        agree(&of(Relaxation::CrownIbp), crown_ibp, 5e-3);
        agree(&of(Relaxation::Crown), crown, 5e-3);
    }
}

#[test]
fn max_pooling() {
    let pool = Layer::MaxPool2d(MaxPool2d { kernel: [2; 2], stride: [2; 2], padding: [0; 4] });
    let network = Chain::new(&[1, 5, 5]).conv(2, [2; 2], [1; 2], [0; 4]).layer(pool).relu().flatten().linear(2).build();
    let of = |relaxation| bounds(&network, 0.1, relaxation);
    let ibp = [[0.3576003959999999, 0.20606651599999992], [0.9260189839999999, 0.46399999999999997]];
    let backward = [[0.30918737999999996, 0.20606651599999995], [1.0298513799999998, 0.5116585159999999]];
    agree(&of(Relaxation::Ibp), ibp, EXACT);
    agree(&of(Relaxation::CrownIbp), backward, EXACT);
    agree(&of(Relaxation::Crown), backward, EXACT);
}
