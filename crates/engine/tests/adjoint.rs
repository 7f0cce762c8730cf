//! Hand-written adjoints against central differences in f64: every relaxation × network family × region norm.

use tightrope_engine::{BoundRequest, Cotangents, Reference, Region, Relaxation, Spec, Wants};
use tightrope_network::Network;
use tightrope_testkit::differences::{Count, directions, dot, moved, objective, random_cotangents};
use tightrope_testkit::evaluate::{Ask, is_settled};
use tightrope_testkit::random::{Family, Rng, Shape, network, region, region_in};

/// Bounds that the method keeps from IBP carry no gradient by its definition: no cotangent on them.
fn silence_kept(
    network: &Network,
    theta: &[f64],
    region: &Region<f64>,
    relaxation: Relaxation,
    cotangents: &mut Cotangents<f64>,
) {
    if relaxation != Relaxation::CrownSkipIbp {
        return;
    }
    let request = BoundRequest { layers: true, ..BoundRequest::lower(Relaxation::Ibp) };
    let ibp = Reference.bound(network, theta, region, &Spec::Logits, request).unwrap();
    for (cotangent, layer) in cotangents.layers.iter_mut().zip(&ibp.layers) {
        for i in 0..layer.lower.len() {
            if is_settled(network, layer.node, layer.lower[i], layer.upper[i]) {
                (cotangent.lower[i], cotangent.upper[i]) = (0.0, 0.0);
            }
        }
    }
}

fn check_bounds(
    count: &mut Count,
    what: &str,
    rng: &Rng,
    family: Family,
    shape: Shape,
    (relaxation, shrinkage): (Relaxation, f64),
) {
    let (network, theta) = network(rng, family);
    let batch = rng.integer(1, 2);
    // Clipping at 0 would put bounds of bias-free neurons exactly on the kink at 0.
    let region = region_in((0.05, 0.95), rng, shape, batch, network.input_len(), rng.between(0.3, 1.0));
    let classes = network.output_len();
    let spec = if rng.coin() {
        Spec::Margins { labels: (0..batch).map(|_| rng.integer(0, classes - 1)).collect() }
    } else {
        Spec::Matrix { rows: 2, matrix: rng.normals(2 * classes), offset: rng.normals(2) }
    };
    let request = BoundRequest { upper: true, layers: true, shrinkage, ..BoundRequest::lower(relaxation) };
    let (bounds, tape) = Reference.bound_taped(&network, &theta, &region, &spec, request).unwrap();
    let mut cotangents = random_cotangents(rng, &network, &bounds);
    silence_kept(&network, &theta, &region, relaxation, &mut cotangents);
    if rng.integer(0, 2) == 0 {
        cotangents.upper.clear();
    }
    let wants = Wants { theta: true, input: true, buffers: false };
    let gradients = Reference.vjp(&network, &theta, &tape, &cotangents, wants).unwrap();
    let (g_theta, g_region) = (gradients.theta.unwrap(), gradients.region.unwrap());
    assert!(gradients.input.is_none());
    let at = |theta: &[f64], region: &Region<f64>| {
        objective(&Reference.bound(&network, theta, region, &spec, request).unwrap(), &cotangents)
    };

    for direction in directions(rng, theta.len(), 4) {
        let value = |t| at(&moved(&theta, t, &direction), &region);
        count.compare(&format!("{what}, θ"), dot(&g_theta, &direction), value);
    }
    for direction in directions(rng, g_region.center.len(), 2) {
        let value = |t| {
            let mut there = region.clone();
            there.center = moved(&region.center, t, &direction);
            if let Some(ball) = &mut there.ball {
                ball.center = moved(&ball.center, t, &direction);
            }
            at(&theta, &there)
        };
        count.compare(&format!("{what}, centre"), dot(&g_region.center, &direction), value);
    }
    if region.ball.is_some() && !region.clipped {
        let d = region.dimension();
        let on_epsilon: f64 = g_region.radius.iter().step_by(d).sum();
        let elsewhere = g_region.radius.iter().enumerate().filter(|(i, _)| i % d != 0);
        assert!(elsewhere.map(|(_, &g)| g).all(|g| g == 0.0), "{what}: ε stands in element 0");
        let value = |t: f64| {
            let mut there = region.clone();
            there.radius.iter_mut().for_each(|r| *r += t);
            there.ball.as_mut().unwrap().epsilon += t;
            at(&theta, &there)
        };
        count.compare(&format!("{what}, ε"), on_epsilon, value);
    } else if region.ball.is_none() {
        for direction in directions(rng, g_region.radius.len(), 2) {
            let value = |t| {
                let mut there = region.clone();
                there.radius = moved(&region.radius, t, &direction);
                at(&theta, &there)
            };
            count.compare(&format!("{what}, radius"), dot(&g_region.radius, &direction), value);
        }
    }
}

fn check_relaxation(relaxation: Relaxation) {
    check_kind((relaxation, 1.0));
}

fn check_kind(kind: (Relaxation, f64)) {
    let mut count = Count::default();
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
        for (shape_index, shape) in Shape::ALL.into_iter().enumerate() {
            for repeat in 0..6 {
                let rng = Rng::in_turn((70_000 + family_index * 1000 + shape_index * 10 + repeat) as u64);
                let what = format!("{kind:?} {family:?} {shape:?} {repeat}");
                check_bounds(&mut count, &what, &rng, family, shape, kind);
            }
        }
    }
    count.finish(4000);
}

#[test]
fn ibp() {
    check_relaxation(Relaxation::Ibp);
}

#[test]
fn ibp_with_shrunk_relus() {
    check_kind((Relaxation::Ibp, 0.7));
}

#[test]
fn hbox() {
    check_relaxation(Relaxation::Hbox);
}

#[test]
fn zonotope() {
    check_relaxation(Relaxation::Zonotope);
}

#[test]
fn crown_ibp() {
    check_relaxation(Relaxation::CrownIbp);
}

#[test]
fn crown() {
    check_relaxation(Relaxation::Crown);
}

#[test]
fn crown_meet_ibp() {
    check_relaxation(Relaxation::CrownMeetIbp);
}

#[test]
fn crown_skip_ibp() {
    check_relaxation(Relaxation::CrownSkipIbp);
}

#[test]
fn clean_pass() {
    let mut count = Count::default();
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
        for repeat in 0..20 {
            let rng = Rng::in_turn((90_000 + family_index * 100 + repeat) as u64);
            let (network, theta) = network(&rng, family);
            // More samples than fit one internal group now and then.
            let batch = if repeat == 0 { 37 } else { rng.integer(1, 3) };
            let x = rng.normals(batch * network.input_len());
            let (logits, tape) = Reference.forward_taped(&network, &theta, &x).unwrap();
            let cotangents = Cotangents::on_lower(rng.normals(logits.len()));
            let wants = Wants { theta: true, input: true, buffers: false };
            let gradients = Reference.vjp(&network, &theta, &tape, &cotangents, wants).unwrap();
            assert!(gradients.region.is_none());
            let (g_theta, g_input) = (gradients.theta.unwrap(), gradients.input.unwrap());
            let at = |theta: &[f64], x: &[f64]| dot(&Reference.forward(&network, theta, x).unwrap(), &cotangents.lower);
            for direction in directions(&rng, theta.len(), 4) {
                let value = |t| at(&moved(&theta, t, &direction), &x);
                count.compare(&format!("{family:?} θ"), dot(&g_theta, &direction), value);
            }
            for direction in directions(&rng, x.len(), 4) {
                let value = |t| at(&theta, &moved(&x, t, &direction));
                count.compare(&format!("{family:?} input"), dot(&g_input, &direction), value);
            }
        }
    }
    count.finish(2500);
}

/// What is not wanted is not returned, and asking for less does not change the rest.
#[test]
fn wants_select() {
    let rng = Rng::new(5);
    let (network, theta) = network(&rng, Family::Residual);
    let region = region(&rng, Shape::Linf, 3, network.input_len(), 1.0);
    for relaxation in Relaxation::ALL {
        let request = BoundRequest::lower(relaxation);
        let (bounds, tape) = Reference.bound_taped(&network, &theta, &region, &Spec::Logits, request).unwrap();
        let cotangents = Cotangents::on_lower(rng.normals(bounds.lower.len()));
        let pull = |wants| Reference.vjp(&network, &theta, &tape, &cotangents, wants).unwrap();
        let both = pull(Wants { theta: true, input: true, buffers: false });
        let (theta_only, region_only) = (pull(Wants::THETA), pull(Wants::INPUT));
        assert!(theta_only.region.is_none() && region_only.theta.is_none());
        assert_eq!(both.theta, theta_only.theta, "{relaxation}");
        assert_eq!(both.region, region_only.region, "{relaxation}");
    }
}

/// A batch's region gradients are those of its samples alone, its θ gradient their sum.
#[test]
fn a_batch_is_its_samples() {
    let close = |got: &[f64], expected: &[f64], what: &str| {
        assert_eq!(got.len(), expected.len());
        let size = 1.0 + expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() <= 1e-10 * size), "{what}");
    };
    for (family_index, family) in Family::ALL.into_iter().enumerate() {
        for (shape_index, shape) in Shape::ALL.into_iter().enumerate() {
            let rng = Rng::in_turn((40_000 + family_index * 100 + shape_index) as u64);
            let (network, theta) = network(&rng, family);
            let (batch, d) = (3, network.input_len());
            let region = region_in((0.05, 0.95), &rng, shape, batch, d, 0.5);
            let rows = network.output_len();
            let g = rng.normals(batch * rows);
            let wants = Wants { theta: true, input: true, buffers: false };
            for relaxation in Relaxation::ALL {
                let pull = |region: &Region<f64>, g: &[f64]| {
                    let request = BoundRequest::lower(relaxation);
                    let (_, tape) = Reference.bound_taped(&network, &theta, region, &Spec::Logits, request).unwrap();
                    let cotangents = Cotangents::on_lower(g.to_vec());
                    let gradients = Reference.vjp(&network, &theta, &tape, &cotangents, wants).unwrap();
                    (gradients.theta.unwrap(), gradients.region.unwrap())
                };
                let what = format!("{relaxation} {family:?} {shape:?}");
                let (whole, whole_region) = pull(&region, &g);
                let mut sum = vec![0.0; theta.len()];
                for sample in 0..batch {
                    let (part, alone) = pull(&region.slice(sample, 1), &g[sample * rows..(sample + 1) * rows]);
                    sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
                    close(&whole_region.center[sample * d..(sample + 1) * d], &alone.center, &what);
                    close(&whole_region.radius[sample * d..(sample + 1) * d], &alone.radius, &what);
                }
                close(&whole, &sum, &what);
            }
        }
    }
}
