//! Population losses against the plain loop over members of the engine trait, and independence of threads.

mod common;

use common::{engines, members, networks};
use tightrope_engine::{
    BoundRequest, Cotangents, Engine, Norm, Perturbation, Reference, Region, Relaxation, Spec, Wants,
};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::random::{draws, uniform};

#[test]
fn members_match_the_plain_loop() {
    for (name, network) in networks() {
        let theta = uniform(&network, 1, 0.0);
        let d = network.input_len();
        let x = draws(3, 0, 5 * d, 0.0, 1.0);
        let region = Region::ball(&x, d, 0.02, Norm::Inf, Some((0.0, 1.0))).unwrap();
        let labels: Vec<usize> = (0..5).map(|i| i % network.output_len()).collect();
        for relaxation in [Relaxation::Ibp, Relaxation::CrownIbp, Relaxation::Crown] {
            for robust_weight in [0.0, 0.6, 1.0] {
                let perturbation = Perturbation::new(4, 9, 0.01);
                let about = (&x[..], &region, &labels[..]);
                let losses = |engine: &dyn Engine<f32>| {
                    let at = engine.load(&network, &theta, &[]).unwrap();
                    members(&*at, perturbation, 3..6, about, relaxation, robust_weight).unwrap()
                };
                let expected = losses(&Reference);
                for engine in engines() {
                    let got = losses(&engine);
                    assert_eq!(got.len(), 3);
                    for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                        let isa = engine.isa().name();
                        assert!((got - expected).abs() <= 1e-4 * (1.0 + expected), "{name} {relaxation} {isa}");
                    }
                }
            }
        }
    }
}

/// Bounds, gradients and losses are the same bits on one thread and on several.
#[test]
fn threads_do_not_matter() {
    // Convolutions only, and dense stages that a batch's chunks pass together.
    let networks = networks().into_iter().filter(|(name, _)| ["deep", "dense"].contains(name));
    for ((name, network), batch) in networks.flat_map(|network| [1, 2, 40].map(|batch| (network.clone(), batch))) {
        let theta = uniform(&network, 2, 0.0);
        let d = network.input_len();
        let x = draws(3, 1, batch * d, 0.0, 1.0);
        let labels: Vec<usize> = (0..batch).map(|i| i % 5).collect();
        let region = Region::ball(&x, d, 0.05, Norm::Inf, None).unwrap();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut values: Vec<u64> = Vec::new();
                let engine = engines().swap_remove(0);
                // Margins from below alone have images in lanes.
                for (relaxation, upper) in Relaxation::ALL.into_iter().flat_map(|it| [(it, true), (it, false)]) {
                    let spec = Spec::Margins { labels: labels.clone() };
                    let request = BoundRequest { upper, layers: true, ..BoundRequest::lower(relaxation) };
                    let (bounds, tape) = engine.bound_taped(&network, &theta, &region, &spec, request).unwrap();
                    let g = Cotangents::on_lower(bounds.lower.clone());
                    let wants = Wants { theta: true, input: true, buffers: false };
                    let gradients = engine.vjp(&network, &theta, &tape, &g, wants).unwrap();
                    let region = gradients.region.unwrap();
                    for part in [bounds.lower, gradients.theta.unwrap(), region.center, region.radius] {
                        values.extend(part.into_iter().map(|v| u64::from(v.to_bits())));
                    }
                }
                let (logits, tape) = engine.forward_taped(&network, &theta, &x).unwrap();
                let g = Cotangents::on_lower(logits);
                let gradients = engine.vjp(&network, &theta, &tape, &g, Wants::THETA).unwrap();
                values.extend(gradients.theta.unwrap().into_iter().map(|v| u64::from(v.to_bits())));
                let relaxation = Relaxation::CrownIbp;
                let perturbation = Perturbation::new(4, 9, 0.01);
                let at = engine.load(&network, &theta, &[]).unwrap();
                let about = (&x[..], &region, &labels[..]);
                let losses = members(&*at, perturbation, 0..5, about, relaxation, 0.5).unwrap();
                values.extend(losses.into_iter().flatten().map(f64::to_bits));
                values
            })
        };
        let alone = run(1);
        assert!(alone == run(2) && alone == run(5), "{name}, batch of {batch}");
    }
}
