//! No concrete point ever leaves a bound: random networks of every layer kind, regions of every norm, every relaxation.

use tightrope_engine::{BoundRequest, Bounds, Cotangents, Real, Reference, Region, Relaxation, Spec, Tape, Wants};
use tightrope_network::Network;
use tightrope_testkit::evaluate::{Ask, evaluate, is_settled};
use tightrope_testkit::golden::cast;
use tightrope_testkit::random::{Family, Rng, Shape, network, region, specification};
use tightrope_testkit::sampling::{contains, minimiser, points};

const EVERYTHING: fn(Relaxation) -> BoundRequest =
    |relaxation| BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation) };

/// The same region in another precision.
fn region_as<T: Real>(region: &Region<f64>) -> Region<T> {
    let lower: Vec<T> = region.center.iter().zip(&region.radius).map(|(c, r)| T::from_f64(c - r)).collect();
    let upper: Vec<T> = region.center.iter().zip(&region.radius).map(|(c, r)| T::from_f64(c + r)).collect();
    let mut result = Region::boxes(&lower, &upper, region.dimension()).unwrap();
    if let Some(ball) = &region.ball {
        let center = cast(&ball.center);
        result.ball = Some(tightrope_engine::Ball { norm: ball.norm, center, epsilon: T::from_f64(ball.epsilon) });
        result.clipped = region.clipped;
    }
    result
}

/// Points that gradient descent on each logit difference finds, one list per sample.
fn attacked(network: &Network, theta: &[f64], region: &Region<f64>, sample: usize) -> Vec<Vec<f64>> {
    let (d, classes) = (region.dimension(), network.output_len());
    let start = match &region.ball {
        Some(ball) => ball.center[sample * d..(sample + 1) * d].to_vec(),
        None => region.center[sample * d..(sample + 1) * d].to_vec(),
    };
    let mut found = Vec::new();
    for j in 1..classes {
        for sign in [1.0, -1.0] {
            let mut x = start.clone();
            for step in 0..4 {
                let mut g = vec![0.0; classes];
                (g[0], g[j]) = (sign, -sign);
                let (_, tape): (_, Tape) = Reference.forward_taped(network, theta, &x).unwrap();
                let gradient = Reference
                    .vjp(network, theta, &tape, &Cotangents::on_lower(g), Wants::INPUT)
                    .unwrap()
                    .input
                    .unwrap();
                let target = minimiser(region, sample, &gradient);
                found.push(target.clone());
                let share = 1.0 / (1.0 + f64::from(step));
                x = x.iter().zip(target).map(|(x, t)| x + share * (t - x)).collect();
                found.push(x.clone());
            }
        }
    }
    found
}

/// Asserts lower ≤ value ≤ upper up to `tolerance` relative to the bounds; returns the number of values checked.
fn assert_between<T: Real>(what: &str, lower: &[T], value: &[f64], upper: &[T], tolerance: f64) -> usize {
    assert!(lower.len() == value.len() && upper.len() == value.len());
    for (i, ((l, &v), u)) in lower.iter().zip(value).zip(upper).enumerate() {
        let (l, u) = (l.to_f64(), u.to_f64());
        let slack = tolerance * (1.0 + l.abs().max(u.abs()));
        assert!(l - slack <= v && v <= u + slack, "{what}: element {i} is {v}, bounds [{l}, {u}]");
    }
    value.len()
}

/// C·logits + d of one sample.
fn apply_spec(spec: &Spec<f64>, sample: usize, logits: &[f64]) -> Vec<f64> {
    let classes = logits.len();
    let matrix = spec.matrix_of(sample, classes);
    let rows = matrix.chunks_exact(classes).map(|row| row.iter().zip(logits).map(|(c, z)| c * z).sum::<f64>());
    rows.zip(spec.offset_of(classes)).map(|(value, offset)| value + offset).collect()
}

fn check_containment<T: Real>(
    what: &str,
    network: &Network,
    spec: &Spec<f64>,
    bounds: &Bounds<T>,
    (sample, values): (usize, &[Vec<f64>]),
    tolerance: f64,
) -> usize {
    let of = |all: &[T], n: usize| all[sample * n..(sample + 1) * n].to_vec();
    let rows = bounds.rows;
    let upper = bounds.upper.as_ref().unwrap();
    let value = apply_spec(spec, sample, &values[network.output()]);
    let mut checked = assert_between(what, &of(&bounds.lower, rows), &value, &of(upper, rows), tolerance);
    assert_eq!(bounds.layers.len(), network.pre_activations().len());
    for layer in &bounds.layers {
        let value = &values[layer.node];
        let n = value.len();
        let what = format!("{what}, node {}", layer.node);
        checked += assert_between(&what, &of(&layer.lower, n), value, &of(&layer.upper, n), tolerance);
    }
    checked
}

fn spec_as<T: Real>(spec: &Spec<f64>) -> Spec<T> {
    match spec {
        Spec::Logits => Spec::Logits,
        Spec::Margins { labels } => Spec::Margins { labels: labels.clone() },
        Spec::Matrix { rows, matrix, offset } => {
            Spec::Matrix { rows: *rows, matrix: cast(matrix), offset: cast(offset) }
        }
    }
}

#[test]
fn no_point_leaves_a_bound() {
    let mut checked = 0;
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
        for (shape_index, shape) in Shape::ALL.into_iter().enumerate() {
            for repeat in 0..3 {
                let rng = Rng::in_turn((family_index * 1000 + shape_index * 10 + repeat) as u64);
                let (network, theta) = network(&rng, family);
                let batch = rng.integer(1, 3);
                let region = region(&rng, shape, batch, network.input_len(), rng.between(0.2, 1.5));
                let spec = specification(&rng, batch, network.output_len());
                let all_values: Vec<Vec<Vec<Vec<f64>>>> = (0..batch)
                    .map(|sample| {
                        let mut all = points(&rng, &region, sample, 12);
                        all.extend(attacked(&network, &theta, &region, sample));
                        all.iter()
                            .map(|x| {
                                assert!(contains(&region, sample, x), "the test's own point is outside");
                                evaluate(&network, &theta, x)
                            })
                            .collect()
                    })
                    .collect();
                for relaxation in Relaxation::ALL {
                    let what = format!("{family:?} {shape:?} {repeat} {relaxation}");
                    let request = EVERYTHING(relaxation);
                    let bounds = Reference.bound(&network, &theta, &region, &spec, request).unwrap();
                    let single = Reference
                        .bound(&network, &cast::<f32>(&theta), &region_as(&region), &spec_as::<f32>(&spec), request)
                        .unwrap();
                    for (sample, values) in all_values.iter().enumerate() {
                        for value in values {
                            checked += check_containment(&what, &network, &spec, &bounds, (sample, value), 1e-9);
                            checked += check_containment(&what, &network, &spec, &single, (sample, value), 1e-4);
                        }
                    }
                }
            }
        }
    }
    eprintln!("{checked} values inside their bounds");
    assert!(checked > 1_000_000);
}

#[test]
fn the_forward_pass_is_the_definition() {
    for (index, family) in Family::ALL.into_iter().enumerate() {
        for repeat in 0..10 {
            let rng = Rng::in_turn((index * 100 + repeat) as u64);
            let (network, theta) = network(&rng, family);
            let x = rng.normals(20 * network.input_len());
            let logits = Reference.forward(&network, &theta, &x).unwrap();
            for (x, z) in x.chunks(network.input_len()).zip(logits.chunks(network.output_len())) {
                let expected = &evaluate(&network, &theta, x)[network.output()];
                assert_between(&format!("{family:?}"), z, expected, z, 1e-12);
            }
        }
    }
}

/// Runs `check` on one random problem of every family and shape.
fn for_problems(salt: u64, size: f64, mut check: impl FnMut(&str, &Rng, &Network, &[f64], &Region<f64>)) {
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
        for (shape_index, shape) in Shape::ALL.into_iter().enumerate() {
            let rng = Rng::in_turn(salt * 100_000 + (family_index * 100 + shape_index) as u64);
            let (network, theta) = network(&rng, family);
            let region = region(&rng, shape, 3, network.input_len(), size);
            check(&format!("{family:?} {shape:?}"), &rng, &network, &theta, &region);
        }
    }
}

#[test]
fn margins_are_the_matrix_of_margin_rows() {
    for_problems(1, 1.0, |what, rng, network, theta, region| {
        let classes = network.output_len();
        let labels: Vec<usize> = (0..region.batch()).map(|_| rng.integer(0, classes - 1)).collect();
        let mut matrix = Vec::new();
        for &y in &labels {
            for j in 0..classes {
                matrix.extend((0..classes).map(|i| f64::from(i == y) - f64::from(i == j)));
            }
        }
        let as_matrix = Spec::Matrix { rows: classes, matrix, offset: Vec::new() };
        for relaxation in Relaxation::ALL {
            let request = EVERYTHING(relaxation);
            let margins = Spec::Margins { labels: labels.clone() };
            let margins = Reference.bound(network, theta, region, &margins, request).unwrap();
            assert_eq!(margins, Reference.bound(network, theta, region, &as_matrix, request).unwrap(), "{what}");
            let logits = Reference.bound(network, theta, region, &Spec::Logits, request).unwrap();
            let upper = logits.upper.unwrap();
            for (sample, &y) in labels.iter().enumerate() {
                let row = sample * classes;
                assert_eq!(margins.lower[row + y], 0.0);
                for j in (0..classes).filter(|&j| j != y && relaxation == Relaxation::Ibp) {
                    let apart = logits.lower[row + y] - upper[row + j];
                    assert!(margins.lower[row + j] >= apart - 1e-9 * (1.0 + apart.abs()), "{what}: merging must help");
                }
            }
        }
    });
}

#[test]
fn requests_do_not_change_each_other() {
    for_problems(2, 1.0, |what, rng, network, theta, region| {
        let spec = specification(rng, region.batch(), network.output_len());
        for relaxation in Relaxation::ALL {
            let whole = Reference.bound(network, theta, region, &spec, EVERYTHING(relaxation)).unwrap();
            let least = Reference.bound(network, theta, region, &spec, BoundRequest::lower(relaxation)).unwrap();
            let (taped, _) = Reference.bound_taped(network, theta, region, &spec, EVERYTHING(relaxation)).unwrap();
            assert_eq!(taped, whole, "{what}");
            assert!(least.upper.is_none() && least.layers.is_empty());
            assert_close(what, &least.lower, &whole.lower, 1e-12);
        }
    });
}

#[test]
fn a_batch_is_its_samples() {
    for_problems(3, 1.0, |what, rng, network, theta, region| {
        let classes = network.output_len();
        let labels: Vec<usize> = (0..region.batch()).map(|_| rng.integer(0, classes - 1)).collect();
        for relaxation in Relaxation::ALL {
            let request = EVERYTHING(relaxation);
            let spec = Spec::Margins { labels: labels.clone() };
            let batch = Reference.bound(network, theta, region, &spec, request).unwrap();
            for sample in 0..region.batch() {
                let spec = Spec::Margins { labels: vec![labels[sample]] };
                let alone = Reference.bound(network, theta, &region.slice(sample, 1), &spec, request).unwrap();
                // Matrix products may round differently for other batch sizes; walks go sample by sample.
                let batched = matches!(relaxation, Relaxation::Ibp | Relaxation::CrownIbp);
                let tolerance = if batched { 1e-12 } else { 0.0 };
                let what = format!("{what} {relaxation}");
                let range = sample * classes..(sample + 1) * classes;
                assert_close(&what, &alone.lower, &batch.lower[range.clone()], tolerance);
                assert_close(&what, &alone.upper.unwrap(), &batch.upper.as_ref().unwrap()[range], tolerance);
                for (alone, batch) in alone.layers.iter().zip(&batch.layers) {
                    let n = alone.lower.len();
                    assert_close(&what, &alone.lower, &batch.lower[sample * n..(sample + 1) * n], tolerance);
                    assert_close(&what, &alone.upper, &batch.upper[sample * n..(sample + 1) * n], tolerance);
                }
            }
        }
    });
}

fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance * (1.0 + e.abs()), "{what}: {g} instead of {e}");
    }
}

#[test]
fn a_point_region_gives_the_clean_values() {
    for_problems(4, 0.0, |what, rng, network, theta, region| {
        let spec = specification(rng, region.batch(), network.output_len());
        let d = network.input_len();
        for relaxation in Relaxation::ALL {
            let bounds = Reference.bound(network, theta, region, &spec, EVERYTHING(relaxation)).unwrap();
            let upper = bounds.upper.as_ref().unwrap();
            for sample in 0..region.batch() {
                let values = evaluate(network, theta, &region.center[sample * d..(sample + 1) * d]);
                let expected = apply_spec(&spec, sample, &values[network.output()]);
                let range = sample * bounds.rows..(sample + 1) * bounds.rows;
                assert_close(what, &bounds.lower[range.clone()], &expected, 1e-9);
                assert_close(what, &upper[range], &expected, 1e-9);
                for layer in &bounds.layers {
                    let n = values[layer.node].len();
                    assert_close(what, &layer.lower[sample * n..(sample + 1) * n], &values[layer.node], 1e-9);
                    assert_close(what, &layer.upper[sample * n..(sample + 1) * n], &values[layer.node], 1e-9);
                }
            }
        }
    });
}

#[test]
fn relaxations_keep_their_order_at_the_layers() {
    for_problems(5, 1.0, |what, _, network, theta, region| {
        let bound =
            |relaxation| Reference.bound(network, theta, region, &Spec::Logits, EVERYTHING(relaxation)).unwrap().layers;
        let ibp = bound(Relaxation::Ibp);
        assert_eq!(bound(Relaxation::CrownIbp), ibp, "{what}: CROWN-IBP uses IBP's layers");
        let (meet, skip) = (bound(Relaxation::CrownMeetIbp), bound(Relaxation::CrownSkipIbp));
        for ((ibp, meet), skip) in ibp.iter().zip(&meet).zip(&skip) {
            for i in 0..ibp.lower.len() {
                let slack = 1e-12 * (1.0 + ibp.lower[i].abs().max(ibp.upper[i].abs()));
                assert!(meet.lower[i] >= ibp.lower[i] - slack && meet.upper[i] <= ibp.upper[i] + slack, "{what}");
                if is_settled(network, ibp.node, ibp.lower[i], ibp.upper[i]) {
                    // Groups of other sizes may round otherwise.
                    let gaps = [skip.lower[i] - ibp.lower[i], skip.upper[i] - ibp.upper[i]];
                    assert!(gaps.iter().all(|gap| gap.abs() <= slack), "{what}: stable by IBP, but {gaps:?}");
                }
            }
        }
    });
}

/// Without ReLUs back-substitution is exact: the bound is attained at the minimiser of the row.
#[test]
fn backward_bounds_of_affine_networks_are_attained() {
    for (index, shape) in Shape::ALL.into_iter().enumerate() {
        for repeat in 0..5 {
            let rng = Rng::in_turn((9000 + index * 10 + repeat) as u64);
            let (network, theta) = network(&rng, Family::Linear);
            let region = region(&rng, shape, 2, network.input_len(), 1.0);
            let classes = network.output_len();
            let row = rng.normals(classes);
            let spec = Spec::Matrix { rows: 1, matrix: row.clone(), offset: Vec::new() };
            for relaxation in [Relaxation::CrownIbp, Relaxation::Crown, Relaxation::CrownMeetIbp] {
                let bounds = Reference.bound(&network, &theta, &region, &spec, EVERYTHING(relaxation)).unwrap();
                for sample in 0..2 {
                    let (_, tape) = Reference.forward_taped(&network, &theta, &vec![0.5; network.input_len()]).unwrap();
                    let gradient = Reference
                        .vjp(&network, &theta, &tape, &Cotangents::on_lower(row.clone()), Wants::INPUT)
                        .unwrap()
                        .input
                        .unwrap();
                    for (sign, bound) in [(1.0, bounds.lower[sample]), (-1.0, bounds.upper.as_ref().unwrap()[sample])] {
                        let direction: Vec<f64> = gradient.iter().map(|g| sign * g).collect();
                        let x = minimiser(&region, sample, &direction);
                        let value = apply_spec(&spec, sample, &evaluate(&network, &theta, &x)[network.output()])[0];
                        // A clipped ball has the better of two bounds, neither exact.
                        let exact = !(shape.clipped() && region.ball.is_some());
                        assert!(sign * (value - bound) >= -1e-9 * (1.0 + bound.abs()));
                        assert!(
                            !exact || (value - bound).abs() <= 1e-9 * (1.0 + bound.abs()),
                            "{shape:?} {relaxation}"
                        );
                    }
                }
            }
        }
    }
}

/// A clipped ball is the intersection of a ball and a box: its bounds are those of the tighter one.
#[test]
fn clipping_takes_the_better_of_ball_and_box() {
    let mut strictly = [0, 0];
    for shape in [Shape::L2Clipped, Shape::L1Clipped] {
        for repeat in 0..20 {
            let rng = Rng::in_turn(9500 + repeat);
            let (network, theta) = network(&rng, Family::Linear);
            let clipped = region(&rng, shape, 2, network.input_len(), 1.0);
            let (mut ball, mut boxed) = (clipped.clone(), clipped.clone());
            ball.clipped = false;
            (boxed.clipped, boxed.ball) = (false, None);
            let [clipped, ball, boxed] = [clipped, ball, boxed].map(|region| {
                let request = EVERYTHING(Relaxation::Crown);
                Reference.bound(&network, &theta, &region, &Spec::Logits, request).unwrap()
            });
            let upper = |bounds: &Bounds<f64>| bounds.upper.clone().unwrap();
            for i in 0..clipped.lower.len() {
                assert_eq!(clipped.lower[i], ball.lower[i].max(boxed.lower[i]), "{shape:?}");
                assert_eq!(upper(&clipped)[i], upper(&ball)[i].min(upper(&boxed)[i]), "{shape:?}");
                strictly[usize::from(ball.lower[i] < boxed.lower[i])] += 1;
            }
        }
    }
    assert!(strictly.iter().all(|&count| count > 10), "each must win now and then: {strictly:?}");
}
