//! The fused engine against the reference engine in double precision, on every instruction set of the machine.

mod common;

use common::{Case, close, engines, networks};
use tightrope_engine::{BoundRequest, Cotangents, Engine, Norm, Reference, Region, Relaxation, Spec, Support, Wants};
use tightrope_fused::Fused;
use tightrope_network::{Activation, Layer, MaxPool2d};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::{draws, uniform};

const TOLERANCE: f64 = 1e-4;

#[test]
fn clean_passes() {
    for (name, network) in networks() {
        let theta = uniform(&network, 1, 0.0);
        let wide: Vec<f64> = theta.iter().map(|&v| f64::from(v)).collect();
        for batch in [1, 3, 16, 17, 70] {
            let x = draws(3, batch as u64, batch * network.input_len(), -1.0, 1.0);
            let wide_x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            let (expected, oracle_tape) = Reference.forward_taped(&network, &wide, &wide_x).unwrap();
            let g = draws(4, 0, expected.len(), -1.0, 1.0);
            let wide_g = g.iter().map(|&v| f64::from(v)).collect();
            let wants = Wants { theta: true, input: true, buffers: false };
            let oracle = Reference.vjp(&network, &wide, &oracle_tape, &Cotangents::on_lower(wide_g), wants).unwrap();
            for engine in engines() {
                let what = format!("{name}, batch {batch}, {}", engine.isa().name());
                close(&what, &engine.forward(&network, &theta, &x).unwrap(), &expected, TOLERANCE);
                let (logits, tape) = engine.forward_taped(&network, &theta, &x).unwrap();
                close(&what, &logits, &expected, TOLERANCE);
                let got = engine.vjp(&network, &theta, &tape, &Cotangents::on_lower(g.clone()), wants).unwrap();
                close(&what, &got.theta.unwrap(), oracle.theta.as_ref().unwrap(), TOLERANCE);
                close(&what, &got.input.unwrap(), oracle.input.as_ref().unwrap(), TOLERANCE);
            }
        }
    }
}

/// Every relaxation on every network: margins' lower bounds, both bounds of logits, layer bounds.
#[test]
fn bounds_and_gradients() {
    for (name, network) in networks() {
        for relaxation in Relaxation::ALL {
            let theta = uniform(&network, 2, 0.0);
            Case::new(name, &network, theta.clone(), 3, 0.02, relaxation).check(&engines(), TOLERANCE);
            let all = Case {
                spec: Spec::Logits,
                upper: true,
                layers: true,
                ..Case::new(name, &network, theta, 2, 0.03, relaxation)
            };
            all.check(&engines(), TOLERANCE);
        }
    }
}

/// All stable, all unstable, zero radius, huge radius, coefficients that are exactly 0.
#[test]
fn extremes() {
    for (name, network) in networks() {
        for relaxation in Relaxation::ALL {
            for (bias, epsilon) in [(30.0, 0.01), (-30.0, 0.01), (0.0, 0.0), (0.0, 50.0), (0.5, 0.05)] {
                let theta = uniform(&network, 3, bias);
                Case::new(name, &network, theta, 2, epsilon, relaxation).check(&engines(), TOLERANCE);
            }
            let mut sparse = uniform(&network, 4, 0.1);
            sparse.iter_mut().enumerate().for_each(|(i, w)| *w = if i % 3 == 0 { 0.0 } else { *w });
            Case::new(name, &network, sparse, 2, 0.05, relaxation).check(&engines(), TOLERANCE);
        }
    }
}

#[test]
fn norms_and_clipping() {
    for (name, network) in networks() {
        for relaxation in Relaxation::ALL {
            for (norm, epsilon) in [(Norm::Inf, 0.1), (Norm::L2, 0.3), (Norm::L1, 0.6)] {
                for clip in [None, Some((0.0, 1.0))] {
                    let theta = uniform(&network, 5, 0.05);
                    let base = Case::new(name, &network, theta, 2, epsilon, relaxation);
                    let name = format!("{} {norm:?} {clip:?}", base.name);
                    Case { name, norm, clip, layers: true, ..base }.check(&engines(), TOLERANCE);
                }
            }
        }
    }
}

/// General specifications, shared and per sample, with more rows than lanes.
#[test]
fn matrices() {
    for (name, network) in networks() {
        let classes = network.output_len();
        for relaxation in [Relaxation::Ibp, Relaxation::CrownIbp, Relaxation::Crown] {
            for (rows, shared) in [(1, true), (19, false)] {
                let count = rows * classes * if shared { 1 } else { 2 };
                let mut matrix = draws(8, 0, count, -1.0, 1.0);
                matrix.iter_mut().step_by(2).for_each(|c| *c = 0.0);
                let offset = draws(8, 1, rows, -1.0, 1.0);
                let theta = uniform(&network, 6, 0.0);
                let case = Case {
                    spec: Spec::Matrix { rows, matrix, offset },
                    upper: rows == 19,
                    ..Case::new(name, &network, theta, 2, 0.03, relaxation)
                };
                case.check(&engines(), TOLERANCE);
            }
        }
    }
}

/// A first stage so wide that the adjoint makes its coefficients in several bands, with few weights and with many.
#[test]
fn bands_of_a_wide_stage() {
    for (name, input, channels, kernel) in [("few weights", 1, 16, 3), ("many weights", 3, 48, 5)] {
        let network = Chain::new(&[input, 20, 26])
            .conv(channels, [kernel; 2], [1, 1], [kernel / 2; 4])
            .relu()
            .conv(4, [4, 4], [4, 4], [0; 4])
            .relu()
            .flatten()
            .linear(40)
            .relu()
            .linear(3)
            .build();
        let theta = uniform(&network, 21, 0.0);
        let case = Case::new(name, &network, theta, 2, 0.02, Relaxation::Crown);
        Case { layers: true, ..case }.check(&engines(), TOLERANCE);
    }
}

/// Chunks of images with and without a remainder.
#[test]
fn batches() {
    let (name, network) = networks().swap_remove(0);
    for relaxation in Relaxation::ALL {
        for batch in [1, 5, 16, 17, 40] {
            let theta = uniform(&network, 7, 0.0);
            Case::new(name, &network, theta, batch, 0.02, relaxation).check(&engines(), TOLERANCE);
        }
    }
}

/// Batches so large that margins are walked with images in lanes, with a rest that is not, layer cotangents included.
#[test]
fn margins_with_images_in_lanes() {
    for (index, (name, network)) in networks().into_iter().enumerate() {
        for relaxation in [Relaxation::CrownIbp, Relaxation::Crown, Relaxation::CrownMeetIbp] {
            let batch = if relaxation == Relaxation::CrownIbp { 67 } else { 131 };
            if relaxation != Relaxation::CrownIbp && index % 2 == 1 {
                // The reference takes its time, and these share all but the bounds with the cases before.
                continue;
            }
            // Undecided, mostly active and mostly dead networks.
            let cases = [(0.0, 0.03, None, true), (0.5, 0.1, Some((0.0, 1.0)), false), (-0.3, 0.02, None, true)];
            for (bias, epsilon, clip, layers) in cases {
                let theta = uniform(&network, 12, bias);
                let base = Case::new(name, &network, theta, batch, epsilon, relaxation);
                let case = Case { name: format!("{} {clip:?}", base.name), clip, layers, ..base };
                match relaxation {
                    Relaxation::CrownIbp => case.check(&engines(), TOLERANCE),
                    _ => case.check(&[Fused::new().unwrap()], TOLERANCE),
                }
            }
        }
    }
}

/// Interval arithmetic with the upper ends of unstable ReLUs shrunk, over boxes and balls.
#[test]
fn shrunk_relus() {
    for (name, network) in networks() {
        for (norm, batch) in [(Norm::Inf, 1), (Norm::Inf, 17), (Norm::Inf, 40), (Norm::L2, 5)] {
            for layers in [false, true] {
                let theta = uniform(&network, 17, 0.0);
                let base = Case::new(name, &network, theta, batch, 0.05, Relaxation::Ibp);
                Case { norm, layers, upper: layers, shrinkage: 0.6, ..base }.check(&engines(), TOLERANCE);
            }
        }
    }
}

/// Kinds that have no kernels give the reference engine's numbers, bit for bit.
#[test]
fn kinds_without_kernels_go_to_the_reference() {
    let kinds = [
        Layer::Activation(Activation::LeakyRelu { slope: 0.1 }),
        Layer::Activation(Activation::Sigmoid),
        Layer::Activation(Activation::Tanh),
        Layer::Activation(Activation::Clip { lower: -0.5, upper: 0.5 }),
        Layer::Activation(Activation::Exp),
        Layer::Activation(Activation::Softplus),
        Layer::Activation(Activation::Power { exponent: 3 }),
        Layer::Product,
        Layer::MaxPool2d(MaxPool2d { kernel: [2; 2], stride: [2; 2], padding: [0; 4] }),
    ];
    for layer in kinds {
        let chain = Chain::new(&[1, 6, 6]).conv(2, [3, 3], [1, 1], [0; 4]).layer(layer);
        let network = chain.flatten().linear(5).relu().linear(3).build();
        let (theta, x) = (uniform(&network, 5, 0.0), draws(6, 0, 2 * 36, 0.0, 1.0));
        let region = Region::ball(&x, 36, 0.1, Norm::Inf, Some((0.0, 1.0))).unwrap();
        let wants = Wants { theta: true, input: true, buffers: false };
        for engine in engines() {
            let engines: [&dyn Engine<f32>; 2] = [&engine, &Reference];
            let [got, expected] = engines.map(|engine| engine.forward(&network, &theta, &x).unwrap());
            assert_eq!(got, expected);
            for relaxation in Relaxation::ALL {
                let request = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation) };
                let [got, expected] = engines.map(|engine| {
                    let (bounds, tape) = engine.bound_taped(&network, &theta, &region, &Spec::Logits, request).unwrap();
                    let cotangents = Cotangents::on_lower(vec![1.0; bounds.lower.len()]);
                    (bounds, engine.vjp(&network, &theta, &tape, &cotangents, wants).unwrap())
                });
                assert_eq!(got, expected, "{relaxation}");
            }
        }
    }
}

#[test]
fn bounds_of_a_layer_are_left_to_the_reference_engine() {
    let network =
        Chain::new(&[1, 6, 6]).conv(2, [3, 3], [1, 1], [0; 4]).relu().flatten().linear(5).relu().linear(3).build();
    let (theta, x) = (uniform(&network, 5, 0.0), draws(6, 0, 2 * 36, 0.0, 1.0));
    let region = Region::ball(&x, 36, 0.1, Norm::Inf, Some((0.0, 1.0))).unwrap();
    let wants = Wants { input: true, ..Wants::THETA };
    for engine in engines() {
        let request = BoundRequest::until(Relaxation::Crown, 4);
        assert!(matches!(engine.supports(&network, &request), Support::Reference { .. }));
        let engines: [&dyn Engine<f32>; 2] = [&engine, &Reference];
        let [got, expected] = engines.map(|engine| {
            let at = engine.load(&network, &theta, &[]).unwrap();
            let (bounds, tape) = at.bound_taped(&region, &Spec::Logits, request).unwrap();
            assert_eq!((bounds.rows, at.bound(&region, &Spec::Logits, request).unwrap()), (5, bounds.clone()));
            let cotangents = Cotangents::on_lower(vec![1.0; bounds.lower.len()]);
            (bounds, at.vjp(&tape, &cotangents, wants).unwrap())
        });
        assert_eq!(got, expected);
    }
}

/// Margins whose coefficients are more than a batch keeps: chunks go through interval pass, walks and adjoint by themselves.
#[test]
fn margins_of_many_classes() {
    let network = Chain::new(&[64]).linear(32).relu().linear(96).relu().linear(1700).build();
    let theta = uniform(&network, 13, 0.0);
    Case::new("many", &network, theta, 18, 0.03, Relaxation::CrownIbp).check(&engines(), TOLERANCE);
}

/// A first stage of more coefficients than a batch keeps: the adjoint makes them again, a band of rows at a time.
#[test]
fn margins_behind_a_large_first_stage() {
    let network = Chain::new(&[1, 16, 16]).conv(64, [3, 3], [1, 1], [1; 4]).relu();
    let network = network.conv(4, [4, 4], [4, 4], [0; 4]).relu().flatten().linear(10).build();
    let theta = uniform(&network, 15, 0.0);
    Case::new("large first stage", &network, theta, 17, 0.03, Relaxation::CrownIbp).check(&engines(), TOLERANCE);
}

/// The gradient of given rows, whether a batch goes from stage to stage as a whole or not; that of margins is refused or right.
#[test]
fn gradients_of_a_specification() {
    let (_, network) = networks().swap_remove(1);
    let (classes, d) = (network.output_len(), network.input_len());
    let theta = uniform(&network, 9, 0.0);
    for batch in [2, 70] {
        let x = draws(9, 0, batch * d, 0.0, 1.0);
        let region = Region::ball(&x, d, 0.03, Norm::Inf, None).unwrap();
        let matrix = Spec::Matrix { rows: 4, matrix: draws(9, 1, batch * 4 * classes, -1.0, 1.0), offset: Vec::new() };
        let margins = Spec::Margins { labels: (0..batch).map(|i| i % classes).collect() };
        for relaxation in Relaxation::ALL {
            for (spec, rows) in [(&matrix, 4), (&margins, classes)] {
                let g = draws(9, 2, batch * rows, -1.0, 1.0);
                let request = BoundRequest::lower(relaxation);
                let engines: [&dyn Engine<f32>; 2] = [&Fused::new().unwrap(), &Reference];
                let [got, expected] = engines.map(|engine| {
                    let at = engine.load(&network, &theta, &[]).unwrap();
                    let (_, tape) = at.bound_taped(&region, spec, request).unwrap();
                    at.vjp_spec(&tape, &g)
                });
                match got {
                    Ok(got) => assert_eq!(got, expected.unwrap(), "{relaxation}, batch {batch}"),
                    Err(problem) => assert!(rows != 4 && problem.to_string().contains("Spec::Matrix"), "{problem}"),
                }
            }
        }
    }
}
