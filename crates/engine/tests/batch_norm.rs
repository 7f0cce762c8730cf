//! Batch norms: values and bounds at given statistics, passes on the batch's own, and gradients through both.

use rayon::ThreadPoolBuilder;
use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Engine, Loaded, MemberRequest, Perturbation, Reference, Region, Relaxation, Spec,
    Wants,
};
use tightrope_network::{Conv2d, Network};
use tightrope_testkit::differences::{Count, directions, dot, moved};
use tightrope_testkit::evaluate::evaluate_batch;
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::{Rng, Shape, gaussian, region_in, statistics};
use tightrope_testkit::sampling::points;

const BOTH: Wants = Wants { theta: true, input: true, buffers: false };
const ALL: Wants = Wants { theta: true, input: true, buffers: true };

/// Networks with batch norms after, before and between convolutions, on flat features, and beside a residual sum.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Conv,
    First,
    Flat,
    Residual,
    Last,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Conv, Kind::First, Kind::Flat, Kind::Residual, Kind::Last];
}

fn network(rng: &Rng, kind: Kind) -> (Network, Vec<f64>, Vec<f64>) {
    let mut chain = Chain::new(&[2, 3, 4]);
    if matches!(kind, Kind::First) {
        chain = chain.batch_norm();
    }
    let same = |channels, bias, chain: Chain| {
        chain.conv2d(Conv2d { padding: [1; 4], ..Conv2d::new([channels, 3], [3, 3]) }, bias)
    };
    chain = same(2, rng.coin(), chain);
    if !matches!(kind, Kind::Flat) {
        chain = chain.batch_norm();
    }
    chain = chain.relu();
    if matches!(kind, Kind::Residual) {
        let skip = chain.node();
        chain = same(3, false, chain).batch_norm();
        let normed = chain.node();
        chain = same(3, true, chain.relu()).batch_norm();
        let branch = chain.node();
        chain = chain.sum(&[branch, skip, normed]).relu();
    }
    chain = chain.flatten().linear(5).batch_norm().relu().linear(3);
    if matches!(kind, Kind::Last) {
        chain = chain.batch_norm();
    }
    let network = chain.build();
    let (theta, buffers) = (gaussian(rng, &network), statistics(rng, &network));
    (network, theta, buffers)
}

fn load(network: &Network, theta: &[f64], buffers: &[f64]) -> Box<dyn Loaded<f64>> {
    Reference.load(network, theta, buffers).unwrap()
}

/// Logits and the batch's statistics by the definitions.
fn naive(network: &Network, theta: &[f64], inputs: &[f64], buffers: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
    let (mut values, statistics) = evaluate_batch(network, theta, buffers, inputs);
    (values.pop().unwrap(), statistics)
}

fn close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance * (1.0 + e.abs()), "{what}: {g} instead of {e}");
    }
}

#[test]
fn values_are_those_of_the_definition() {
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        // More samples than one group holds now and then.
        for (repeat, batch) in [1, 2, 7, 39].into_iter().enumerate() {
            let rng = Rng::new((1000 + 10 * index + repeat) as u64);
            let (network, theta, buffers) = network(&rng, kind);
            let x = rng.normals(batch * network.input_len());
            let at = load(&network, &theta, &buffers);
            let what = format!("{kind:?} {batch}");
            close(&at.forward(&x).unwrap(), &naive(&network, &theta, &x, Some(&buffers)).0, 1e-11, &what);
            let (logits, statistics) = naive(&network, &theta, &x, None);
            let pass = at.forward_batch(&x).unwrap();
            close(&pass.statistics, &statistics, 1e-11, &what);
            // One value in a channel has no variance, and rounding is enlarged by 1/√ε.
            close(&pass.logits, &logits, if batch == 1 { 1e-6 } else { 1e-10 }, &what);
            let there = at.with_buffers(&pass.statistics).unwrap();
            assert_eq!(there.forward(&x).unwrap(), pass.logits, "{what}");
            assert_eq!((&there.theta()[..], there.buffers()), (&theta[..], &pass.statistics[..]));
            assert_eq!(at.buffers(), buffers);
        }
    }
}

#[test]
fn single_precision_agrees_with_double() {
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        let rng = Rng::new(2000 + index as u64);
        let (network, theta, buffers) = network(&rng, kind);
        let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let x = narrow(&rng.normals(37 * network.input_len()));
        let (theta, buffers) = (narrow(&theta), narrow(&buffers));
        let single = Reference.load(&network, &theta, &buffers).unwrap();
        let double = load(&network, &wide(&theta), &wide(&buffers));
        let (a, b) = (single.forward_batch(&x).unwrap(), double.forward_batch(&wide(&x)).unwrap());
        close(&wide(&a.logits), &b.logits, 1e-5, &format!("{kind:?}"));
        close(&wide(&a.statistics), &b.statistics, 1e-5, &format!("{kind:?}"));
        let g = narrow(&rng.normals(a.logits.len()));
        let on = narrow(&rng.normals(a.statistics.len()));
        let cotangents = Cotangents { buffers: on.clone(), ..Cotangents::on_lower(g.clone()) };
        let wider = Cotangents { buffers: wide(&on), ..Cotangents::on_lower(wide(&g)) };
        let (a, b) = (single.vjp(&a.tape, &cotangents, BOTH).unwrap(), double.vjp(&b.tape, &wider, BOTH).unwrap());
        let size = b.theta.as_ref().unwrap().iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        let scaled = |values: Vec<f64>| values.into_iter().map(|v| v / size).collect::<Vec<f64>>();
        close(&scaled(wide(&a.theta.unwrap())), &scaled(b.theta.unwrap()), 1e-4, &format!("{kind:?} θ"));
        close(&scaled(wide(&a.input.unwrap())), &scaled(b.input.unwrap()), 1e-4, &format!("{kind:?} input"));
    }
}

/// Gradients of the batch's pass, cotangents on the statistics included.
#[test]
fn gradients_flow_through_the_statistics_of_the_batch() {
    let mut count = Count::default();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        for (repeat, batch) in [2, 3, 5, 18].into_iter().enumerate() {
            let rng = Rng::new((3000 + 10 * index + repeat) as u64);
            let (network, theta, buffers) = network(&rng, kind);
            let x = rng.normals(batch * network.input_len());
            let at = load(&network, &theta, &buffers);
            let pass = at.forward_batch(&x).unwrap();
            let on = rng.normals(pass.statistics.len());
            let cotangents = Cotangents { buffers: on.clone(), ..Cotangents::on_lower(rng.normals(pass.logits.len())) };
            let gradients = at.vjp(&pass.tape, &cotangents, ALL).unwrap();
            assert!(gradients.buffers.unwrap().iter().all(|&g| g == 0.0));
            let value = |theta: &[f64], x: &[f64]| {
                let pass = load(&network, theta, &buffers).forward_batch(x).unwrap();
                dot(&pass.logits, &cotangents.lower) + dot(&pass.statistics, &on)
            };
            let (g_theta, g_input) = (gradients.theta.unwrap(), gradients.input.unwrap());
            for direction in directions(&rng, theta.len(), 8) {
                let along = |t| value(&moved(&theta, t, &direction), &x);
                count.compare(&format!("{kind:?} {batch} θ"), dot(&g_theta, &direction), along);
            }
            for direction in directions(&rng, x.len(), 4) {
                let along = |t| value(&theta, &moved(&x, t, &direction));
                count.compare(&format!("{kind:?} {batch} input"), dot(&g_input, &direction), along);
            }
        }
    }
    count.finish(300);
}

/// Gradients with respect to given buffers, from clean and from bound tapes.
#[test]
fn gradients_of_given_buffers() {
    let mut count = Count::default();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        for (shape_index, shape) in [Shape::Linf, Shape::L2, Shape::LinfClipped].into_iter().enumerate() {
            let rng = Rng::new((4000 + 10 * index + shape_index) as u64);
            let (network, theta, buffers) = network(&rng, kind);
            let at = load(&network, &theta, &buffers);
            let region = region_in((0.05, 0.95), &rng, shape, 2, network.input_len(), rng.between(0.3, 0.6));
            let compare = |count: &mut Count,
                           what: &str,
                           [g_theta, g_buffers]: [Vec<f64>; 2],
                           value: &dyn Fn(&[f64], &[f64]) -> f64| {
                for direction in directions(&rng, theta.len(), 3) {
                    let along = |t| value(&moved(&theta, t, &direction), &buffers);
                    count.compare(&format!("{what} θ"), dot(&g_theta, &direction), along);
                }
                for direction in directions(&rng, buffers.len(), 6) {
                    let along = |t| value(&theta, &moved(&buffers, t, &direction));
                    count.compare(&format!("{what} buffers"), dot(&g_buffers, &direction), along);
                }
            };
            let (logits, tape) = at.forward_taped(&region.center).unwrap();
            let cotangents = Cotangents::on_lower(rng.normals(logits.len()));
            let gradients = at.vjp(&tape, &cotangents, ALL).unwrap();
            let clean = |theta: &[f64], buffers: &[f64]| {
                dot(&load(&network, theta, buffers).forward(&region.center).unwrap(), &cotangents.lower)
            };
            let both = [gradients.theta.unwrap(), gradients.buffers.unwrap()];
            compare(&mut count, &format!("{kind:?} clean"), both, &clean);
            for relaxation in Relaxation::ALL {
                let request = BoundRequest { upper: true, ..BoundRequest::lower(relaxation) };
                let spec = Spec::Margins { labels: vec![0, 2] };
                let (bounds, tape) = at.bound_taped(&region, &spec, request).unwrap();
                let upper = rng.normals(bounds.lower.len());
                let cotangents = Cotangents { upper, ..Cotangents::on_lower(rng.normals(bounds.lower.len())) };
                let gradients = at.vjp(&tape, &cotangents, ALL).unwrap();
                let objective = |bounds: Bounds<f64>| {
                    dot(&bounds.lower, &cotangents.lower) + dot(&bounds.upper.unwrap(), &cotangents.upper)
                };
                let value = |theta: &[f64], buffers: &[f64]| {
                    objective(load(&network, theta, buffers).bound(&region, &spec, request).unwrap())
                };
                let both = [gradients.theta.unwrap(), gradients.buffers.unwrap()];
                compare(&mut count, &format!("{kind:?} {shape:?} {relaxation}"), both, &value);
            }
        }
    }
    count.finish(800);
}

/// The loss of certified training: bounds over the clean batch's statistics, differentiated through them.
#[test]
fn bounds_over_the_statistics_of_the_batch_are_differentiated_through_them() {
    let mut count = Count::default();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        for (place, relaxation) in [Relaxation::Ibp, Relaxation::CrownIbp, Relaxation::Crown].into_iter().enumerate() {
            let rng = Rng::new((5000 + 10 * index + place) as u64);
            let (network, theta, buffers) = network(&rng, kind);
            let region = region_in((0.05, 0.95), &rng, Shape::Linf, 4, network.input_len(), 0.5);
            let spec = Spec::Margins { labels: vec![0, 1, 2, 0] };
            let request = BoundRequest::lower(relaxation);
            let g = rng.normals(4 * 3);
            let on_logits = rng.normals(4 * 3);
            let value = |theta: &[f64]| {
                let at = load(&network, theta, &buffers);
                let pass = at.forward_batch(&region.center).unwrap();
                let there = at.with_buffers(&pass.statistics).unwrap();
                dot(&there.bound(&region, &spec, request).unwrap().lower, &g) + dot(&pass.logits, &on_logits)
            };
            let at = load(&network, &theta, &buffers);
            let pass = at.forward_batch(&region.center).unwrap();
            let there = at.with_buffers(&pass.statistics).unwrap();
            let (_, tape) = there.bound_taped(&region, &spec, request).unwrap();
            let bounds = there.vjp(&tape, &Cotangents::on_lower(g.clone()), ALL).unwrap();
            let cotangents = Cotangents { buffers: bounds.buffers.unwrap(), ..Cotangents::on_lower(on_logits.clone()) };
            let pulled = at.vjp(&pass.tape, &cotangents, BOTH).unwrap();
            let gradient = moved(&bounds.theta.unwrap(), 1.0, &pulled.theta.unwrap());
            for direction in directions(&rng, theta.len(), 10) {
                let along = |t| value(&moved(&theta, t, &direction));
                count.compare(&format!("{kind:?} {relaxation}"), dot(&gradient, &direction), along);
            }
        }
    }
    count.finish(150);
}

#[test]
fn points_stay_within_the_bounds_at_the_given_statistics() {
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        for (shape_index, shape) in Shape::ALL.into_iter().enumerate() {
            let rng = Rng::new((6000 + 10 * index + shape_index) as u64);
            let (network, theta, buffers) = network(&rng, kind);
            let at = load(&network, &theta, &buffers);
            let region: Region<f64> = region_in((0.0, 1.0), &rng, shape, 3, network.input_len(), rng.between(0.3, 1.0));
            // Bounds over the clean batch's statistics.
            let there = at.with_buffers(&at.forward_batch(&region.center).unwrap().statistics).unwrap();
            for relaxation in Relaxation::ALL {
                let request = BoundRequest { upper: true, ..BoundRequest::lower(relaxation) };
                let bounds = there.bound(&region, &Spec::Logits, request).unwrap();
                let upper = bounds.upper.unwrap();
                for sample in 0..3 {
                    for point in points(&rng, &region, sample, 20) {
                        for (k, value) in there.forward(&point).unwrap().into_iter().enumerate() {
                            let (l, u) = (bounds.lower[3 * sample + k], upper[3 * sample + k]);
                            let slack = 1e-9 * (1.0 + value.abs());
                            let what = format!("{kind:?} {shape:?} {relaxation}: {value} in [{l}, {u}]");
                            assert!(l - slack <= value && value <= u + slack, "{what}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn thread_count_changes_no_bit() {
    let rng = Rng::new(7000);
    let (network, theta, buffers) = network(&rng, Kind::Residual);
    let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
    // More groups than gradient accumulators.
    let x = narrow(rng.normals(300 * network.input_len()));
    let (theta, buffers) = (narrow(theta), narrow(buffers));
    let g = narrow(rng.normals(300 * 3));
    let on = narrow(rng.normals(buffers.len()));
    let outcome = || {
        let at = Reference.load(&network, &theta, &buffers).unwrap();
        let pass = at.forward_batch(&x).unwrap();
        let cotangents = Cotangents { buffers: on.clone(), ..Cotangents::on_lower(g.clone()) };
        (pass.logits, pass.statistics, at.vjp(&pass.tape, &cotangents, BOTH).unwrap())
    };
    let with = |threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(outcome);
    let one = with(1);
    assert!(one.2.theta.as_ref().unwrap().iter().any(|&g| g != 0.0));
    for threads in [2, 5] {
        assert!(one == with(threads), "{threads} threads");
    }
}

/// Members of a population take the statistics of the clean inputs at their own θ.
#[test]
fn members_have_statistics_of_their_own() {
    let rng = Rng::new(8000);
    let (network, theta, buffers) = network(&rng, Kind::Conv);
    let at = load(&network, &theta, &buffers);
    let region = region_in((0.0, 1.0), &rng, Shape::Linf, 4, network.input_len(), 0.3);
    let perturbation = Perturbation::new(9, 4, 0.01);
    let (spec, request) = (Spec::Logits, BoundRequest::lower(Relaxation::CrownIbp));
    let loss = |logits: &[f64], bounds: &[f64]| logits.iter().sum::<f64>() - 2.0 * bounds.iter().sum::<f64>();
    let wanted = MemberRequest { inputs: Some(&region.center), bounds: Some((&region, &spec, request)) };
    let losses = at
        .members(perturbation, 2..4, &wanted, &|output| loss(output.logits.unwrap(), &output.bounds.unwrap().lower))
        .unwrap();
    for (pair, both) in (2..4).zip(&losses) {
        let mut delta = vec![0.0_f32; theta.len()];
        perturbation.stream(pair).gaussian(0, &mut delta);
        for (sign, &found) in [1.0_f32, -1.0].iter().zip(both) {
            let scale = sign * perturbation.sigma;
            let member: Vec<f64> = theta.iter().zip(&delta).map(|(t, d)| t + f64::from(scale * d)).collect();
            let (logits, statistics) = naive(&network, &member, &region.center, None);
            let bounds = load(&network, &member, &statistics).bound(&region, &spec, request).unwrap();
            let expected = loss(&logits, &bounds.lower);
            assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{found} instead of {expected}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let rng = Rng::new(9000);
    let (network, theta, buffers) = network(&rng, Kind::Conv);
    let message = |problem: tightrope_engine::EngineError| problem.to_string();
    assert!(message(Reference.load(&network, &theta, &buffers[1..]).err().unwrap()).contains("buffers"));
    let at = load(&network, &theta, &buffers);
    assert!(message(at.with_buffers(&[]).err().unwrap()).contains("buffers"));
    assert!(message(at.forward_batch(&[]).err().unwrap()).contains("empty batch"));
    let x = rng.normals(2 * network.input_len());
    let (logits, tape) = at.forward_taped(&x).unwrap();
    let on_statistics = Cotangents { buffers: buffers.clone(), ..Cotangents::on_lower(logits.clone()) };
    assert!(message(at.vjp(&tape, &on_statistics, BOTH).err().unwrap()).contains("logits only"));
    let pass = at.forward_batch(&x).unwrap();
    let short = Cotangents { buffers: vec![0.0; 1], ..Cotangents::on_lower(logits.clone()) };
    assert!(message(at.vjp(&pass.tape, &short, BOTH).err().unwrap()).contains("statistics"));
    let upper = Cotangents { upper: logits.clone(), ..Cotangents::on_lower(logits) };
    assert!(message(at.vjp(&pass.tape, &upper, BOTH).err().unwrap()).contains("statistics only"));
}
