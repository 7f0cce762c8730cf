//! Zonotopes and hybrid zonotopes against affine forms that are carried forward, error term by error term.

use tightrope_engine::{BoundRequest, Bounds, Norm, Reference, Region, Relaxation, Spec};
use tightrope_network::{Activation, Layer, Network};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::networks::{Chain, dense};
use tightrope_testkit::random::{Family, Rng, Shape, gaussian, network, region};

/// A layer's values as centre, error terms in [−1, 1] with their coefficients on every value, and the radii of a box.
#[derive(Clone)]
struct Form {
    center: Vec<f64>,
    errors: Vec<Vec<f64>>,
    radii: Vec<f64>,
}

impl Form {
    /// The box {center ± radius}: one error term for each input.
    fn of_box(center: &[f64], radius: &[f64]) -> Self {
        let unit = |i: usize| (0..center.len()).map(|j| if i == j { radius[i] } else { 0.0 }).collect();
        Form { center: center.to_vec(), errors: (0..center.len()).map(unit).collect(), radii: vec![0.0; center.len()] }
    }

    /// W x + b, the box by |W|.
    fn affine(&self, weight: &[f64], bias: &[f64]) -> Self {
        let n = self.center.len();
        let apply = |x: &[f64]| -> Vec<f64> {
            weight.chunks(n).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
        };
        let radii = |row: &[f64]| row.iter().zip(&self.radii).map(|(w, r)| w.abs() * r).sum();
        Form {
            center: apply(&self.center).iter().zip(bias).map(|(c, b)| c + b).collect(),
            errors: self.errors.iter().map(|error| apply(error)).collect(),
            radii: weight.chunks(n).map(radii).collect(),
        }
    }

    fn bounds(&self) -> (Vec<f64>, Vec<f64>) {
        let radius = |i: usize| self.errors.iter().map(|error| error[i].abs()).sum::<f64>() + self.radii[i];
        let n = self.center.len();
        ((0..n).map(|i| self.center[i] - radius(i)).collect(), (0..n).map(|i| self.center[i] + radius(i)).collect())
    }

    /// ReLU of a value times λ plus [−ρ, ρ] + ρ, as a new error term or, for a hybrid, as an interval without the old ones.
    fn relu(mut self, hybrid: bool) -> Self {
        let (lower, upper) = self.bounds();
        for (i, (&l, &u)) in lower.iter().zip(&upper).enumerate() {
            let is_unstable = l < 0.0 && u > 0.0;
            let slope = if is_unstable && !hybrid { u / (u - l) } else { f64::from(l >= 0.0) };
            self.center[i] *= slope;
            self.radii[i] *= slope;
            self.errors.iter_mut().for_each(|error| error[i] *= slope);
            let half = if hybrid { 0.5 * u } else { -0.5 * slope * l };
            if is_unstable {
                self.center[i] += half;
            }
            if is_unstable && hybrid {
                self.radii[i] = half;
            } else if is_unstable {
                let mut error = vec![0.0; self.center.len()];
                error[i] = half;
                self.errors.push(error);
            }
        }
        self
    }
}

/// Bounds of every layer of a dense ReLU network, and of the rows `matrix` of its outputs.
fn carried_forward(
    network: &Network,
    theta: &[f64],
    mut form: Form,
    matrix: &[f64],
    hybrid: bool,
) -> Vec<(Vec<f64>, Vec<f64>)> {
    let mut all = Vec::new();
    for (id, node) in network.nodes().iter().enumerate().skip(1) {
        match &node.layer {
            Layer::Linear(linear) => {
                let weight = &theta[network.parameters().get(linear.weight).range()];
                let bias = &theta[network.parameters().get(linear.bias.unwrap()).range()];
                if id == network.output() {
                    // The rows are merged into the last layer.
                    let (n, classes) = (form.center.len(), bias.len());
                    let merged = matrix.chunks(classes).flat_map(|row| {
                        (0..n).map(move |j| (0..classes).map(|k| row[k] * weight[k * n + j]).sum::<f64>())
                    });
                    let offset = matrix.chunks(classes).map(|row| row.iter().zip(bias).map(|(c, b)| c * b).sum());
                    form = form.affine(&merged.collect::<Vec<_>>(), &offset.collect::<Vec<_>>());
                } else {
                    form = form.affine(weight, bias);
                }
                all.push(form.bounds());
            }
            Layer::Activation(Activation::Relu) => form = form.relu(hybrid),
            other => panic!("{other:?} has no forms here"),
        }
    }
    all
}

fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = 1.0 + expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= tolerance * size, "{what}: {f} instead of {e}");
    }
}

fn bound(
    network: &Network,
    theta: &[f64],
    region: &Region<f64>,
    spec: &Spec<f64>,
    relaxation: Relaxation,
) -> Bounds<f64> {
    let request = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation) };
    Reference.bound(network, theta, region, spec, request).unwrap()
}

/// DeepZ by new error terms and back-substitution along parallel lines are the same numbers, and so are hybrid zonotopes.
#[test]
fn back_substitution_gives_what_forms_carried_forward_give() {
    let mut unstable = 0;
    for seed in 0..40 {
        let rng = Rng::new(seed);
        let widths: Vec<usize> = (0..rng.integer(3, 6)).map(|_| rng.integer(2, 9)).collect();
        let network = dense(&widths);
        let theta = gaussian(&rng, &network);
        let (d, classes) = (widths[0], *widths.last().unwrap());
        let (center, radius) = (rng.normals(d), rng.uniforms(d));
        let ends = |sign: f64| center.iter().zip(&radius).map(|(c, r)| c + sign * r).collect::<Vec<_>>();
        let region = Region::boxes(&ends(-1.0), &ends(1.0), d).unwrap();
        let matrix = rng.normals(3 * classes);
        let spec = Spec::Matrix { rows: 3, matrix: matrix.clone(), offset: Vec::new() };
        for (relaxation, hybrid) in [(Relaxation::Zonotope, false), (Relaxation::Hbox, true)] {
            let bounds = bound(&network, &theta, &region, &spec, relaxation);
            let form = Form::of_box(&region.center, &region.radius);
            let mut expected = carried_forward(&network, &theta, form, &matrix, hybrid);
            let what = format!("{relaxation} {widths:?}");
            let (lower, upper) = expected.pop().unwrap();
            assert_close(&what, &bounds.lower, &lower, 1e-12);
            assert_close(&what, bounds.upper.as_ref().unwrap(), &upper, 1e-12);
            assert_eq!(bounds.layers.len(), expected.len(), "{what}");
            for (layer, (lower, upper)) in bounds.layers.iter().zip(&expected) {
                assert_close(&what, &layer.lower, lower, 1e-12);
                assert_close(&what, &layer.upper, upper, 1e-12);
                unstable += lower.iter().zip(upper).filter(|(l, u)| **l < 0.0 && **u > 0.0).count();
            }
        }
    }
    assert!(unstable > 300, "only {unstable} unstable neurons");
}

/// y = relu(x₁ + x₂) − relu(x₁ − x₂) over [−1, 1]²: both pre-activations are in [−2, 2].
///
/// Zonotope: each ReLU is half its argument plus ½ ± ½, so that y = x₂ + (ε₁ − ε₂)/2, in [−2, 2].
/// HBox: each ReLU is [0, 2], so that y is in [−2, 2], too. One layer on, relu(y) + y: for the zonotope 1.5 y + ½ ± ½ with
/// y = x₂ + …: in [−3, 4]; for HBox [0, 2] + [−2, 2], in [−2, 4].
#[test]
fn a_case_by_hand() {
    let mut chain = Chain::new(&[2]).linear(2).relu().linear(1);
    let sum = chain.node();
    chain = chain.relu();
    let bent = chain.node();
    let network = chain.sum(&[bent, sum]).build();
    let theta = vec![1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
    let region = Region::ball(&[0.0, 0.0], 2, 1.0, Norm::Inf, None).unwrap();
    let ends = |relaxation| {
        let bounds = bound(&network, &theta, &region, &Spec::Logits, relaxation);
        let middle = &bounds.layers[1];
        ([middle.lower[0], middle.upper[0]], [bounds.lower[0], bounds.upper.unwrap()[0]])
    };
    assert_eq!(ends(Relaxation::Zonotope), ([-2.0, 2.0], [-3.0, 4.0]));
    assert_eq!(ends(Relaxation::Hbox), ([-2.0, 2.0], [-2.0, 4.0]));
}

/// Hybrid zonotopes are never looser than intervals: at every layer, for every activation, with max pooling, over boxes
/// and balls. (A clipped ball is bounded by the better of ball and box for each row, which does not have this property.)
#[test]
fn hybrid_zonotopes_lie_inside_the_intervals() {
    let (mut narrower, mut neurons) = (0, 0);
    for (index, family) in Family::ALL.into_iter().enumerate() {
        for shape in Shape::ALL.into_iter().filter(|shape| !shape.clipped() || *shape == Shape::LinfClipped) {
            let rng = Rng::new(600 + index as u64);
            let (network, theta) = network(&rng, family);
            let region = region(&rng, shape, 2, network.input_len(), 1.0);
            let of = |relaxation| bound(&network, &theta, &region, &Spec::Logits, relaxation);
            let (hbox, ibp) = (of(Relaxation::Hbox), of(Relaxation::Ibp));
            let mut check = |inner: [&[f64]; 2], outer: [&[f64]; 2]| {
                for i in 0..inner[0].len() {
                    let slack = 1e-11 * (1.0 + outer[0][i].abs().max(outer[1][i].abs()));
                    let gaps = [inner[0][i] - outer[0][i], outer[1][i] - inner[1][i]];
                    assert!(gaps.iter().all(|&gap| gap >= -slack), "{family:?} {shape:?}: {gaps:?}");
                    narrower += usize::from(gaps.iter().any(|&gap| gap > 1e-3));
                    neurons += 1;
                }
            };
            for (inner, outer) in hbox.layers.iter().zip(&ibp.layers) {
                check([&inner.lower, &inner.upper], [&outer.lower, &outer.upper]);
            }
            let (inner, outer) = (hbox.upper.as_ref().unwrap(), ibp.upper.as_ref().unwrap());
            check([&hbox.lower, inner], [&ibp.lower, outer]);
        }
    }
    assert!(narrower > neurons / 10, "{narrower} of {neurons} narrower");
}
