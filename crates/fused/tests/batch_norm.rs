//! Networks with batch norms on the fused engine: against the reference engine in double precision, at given statistics and
//! at those of the batch, gradients through them included.

mod common;

use common::{close, engines, members};
use rayon::ThreadPoolBuilder;
use tightrope_engine::{
    BoundRequest, Cotangents, Engine, Gradients, LayerCotangent, Loaded, Norm, Perturbation, Reference, Region,
    Relaxation, SlopeAscent, Spec, Support, Wants,
};
use tightrope_fused::Fused;
use tightrope_network::{Architecture, Conv2d, Layer, Model, Network, ParameterId};
use tightrope_testkit::networks::Chain;
use tightrope_testkit::random::{Rng, draws, statistics, uniform};

const TOLERANCE: f64 = 1e-4;
const ALL: Wants = Wants { theta: true, input: true, buffers: true };

fn preset(name: &str, input: &[usize]) -> Network {
    Architecture::from_name(name).unwrap().build(input, 10, None).unwrap()
}

/// Layers without a bias, without a batch norm, and a normalised input.
fn mixed() -> Chain {
    let padded = |channels| Conv2d { padding: [1; 4], ..Conv2d::new([2, channels], [3, 3]) };
    Chain::new(&[2, 6, 5])
        .affine(vec![1.5, 1.1], vec![-0.3, 0.1], [false; 2])
        .conv2d(padded(17), false)
        .batch_norm()
        .relu()
        .conv2d(Conv2d { stride: [2; 2], ..padded(5) }, true)
        .relu()
        .conv2d(padded(9), true)
        .batch_norm()
        .relu()
        .flatten()
        .linear_with(20, false)
        .batch_norm()
        .relu()
        .linear(3)
}

/// A dense stage that the chunks of a batch pass together, with a batch norm behind it, and one without.
fn dense() -> Network {
    let chain = Chain::new(&[1, 8, 8]).conv(32, [3, 3], [2, 2], [1; 4]).batch_norm().relu().flatten();
    chain.linear(160).batch_norm().relu().linear(416).relu().linear(5).build()
}

fn networks() -> Vec<(&'static str, Network)> {
    vec![
        ("cnn3-bn", preset("cnn3-bn:4", &[1, 12, 12])),
        ("cnn5-bn", preset("cnn5-bn:4", &[1, 12, 12])),
        ("cnn7-bn", preset("cnn7-bn:3", &[3, 8, 8])),
        ("mixed", mixed().build()),
        ("dense", dense()),
    ]
}

/// With a batch norm on the logits, too; into it margins are merged as into the last layer, which the reference engine does not
/// do.
fn with_normed_logits() -> Vec<(&'static str, Network)> {
    networks().into_iter().chain([("logits", mixed().batch_norm().build())]).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn wider(cotangents: &Cotangents<f32>) -> Cotangents<f64> {
    let layer = |l: &LayerCotangent<f32>| LayerCotangent { node: l.node, lower: wide(&l.lower), upper: wide(&l.upper) };
    Cotangents {
        lower: wide(&cotangents.lower),
        upper: wide(&cotangents.upper),
        layers: cotangents.layers.iter().map(layer).collect(),
        buffers: wide(&cotangents.buffers),
    }
}

/// θ with factors near 1, and statistics.
fn numbers(network: &Network, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut theta = uniform(network, seed, 0.0);
    for (_, norm) in network.batch_norms() {
        network.parameters().slice_mut(&mut theta, norm.weight).iter_mut().for_each(|w| *w += 0.9);
    }
    let buffers = statistics(&Rng::new(seed), network).into_iter().map(|v| v as f32).collect();
    (theta, buffers)
}

fn reference(network: &Network, theta: &[f32], buffers: &[f32]) -> Box<dyn Loaded<f64>> {
    Reference.load(network, &wide(theta), &wide(buffers)).unwrap()
}

/// Gradients tensor by tensor.
fn same(what: &str, network: &Network, got: &Gradients<f32>, expected: &Gradients<f64>) {
    if let (Some(got), Some(expected)) = (&got.theta, &expected.theta) {
        for info in network.parameters().iter() {
            close(&format!("{what}: {}", info.name), &got[info.range()], &expected[info.range()], TOLERANCE);
        }
    }
    if let (Some(got), Some(expected)) = (&got.buffers, &expected.buffers) {
        for info in network.buffers().iter() {
            close(&format!("{what}: {}", info.name), &got[info.range()], &expected[info.range()], TOLERANCE);
        }
    }
    if let (Some(got), Some(expected)) = (&got.input, &expected.input) {
        close(&format!("{what}: input"), got, expected, TOLERANCE);
    }
    if let (Some(got), Some(expected)) = (&got.region, &expected.region) {
        close(&format!("{what}: centre"), &got.center, &expected.center, TOLERANCE);
        close(&format!("{what}: radius"), &got.radius, &expected.radius, TOLERANCE);
    }
    let present = |g: &Gradients<f32>| [g.theta.is_some(), g.buffers.is_some(), g.input.is_some(), g.region.is_some()];
    let here = [expected.theta.is_some(), expected.buffers.is_some(), expected.input.is_some()];
    assert_eq!(present(got)[..3], here, "{what}");
}

#[test]
fn all_of_them_have_kernels() {
    for (name, network) in networks() {
        let request = BoundRequest::lower(Relaxation::Crown);
        assert_eq!(Fused::new().unwrap().supports(&network, &request), Support::Own, "{name}");
    }
}

/// Passes on the batch's own statistics, with whole chunks and with a rest, and their adjoint.
#[test]
fn batches() {
    for (name, network) in with_normed_logits() {
        let (theta, buffers) = numbers(&network, 1);
        // Of two or three values on a side of a ReLU, batch norms leave little but rounding.
        for batch in [6, 17, 32, 70] {
            let x = draws(3, batch as u64, batch * network.input_len(), 0.0, 1.0);
            let oracle = reference(&network, &theta, &buffers);
            let expected = oracle.forward_batch(&wide(&x)).unwrap();
            let lower = draws(4, 0, expected.logits.len(), -1.0, 1.0);
            let on_statistics = draws(4, 1, buffers.len(), -1.0, 1.0);
            let adjoints = [Vec::new(), on_statistics].map(|buffers| {
                let cotangents = Cotangents { buffers, ..Cotangents::on_lower(lower.clone()) };
                let gradients = oracle.vjp(&expected.tape, &wider(&cotangents), ALL).unwrap();
                (cotangents, gradients)
            });
            for engine in engines() {
                let what = format!("{name}, batch {batch}, {}", engine.isa().name());
                let at = engine.load(&network, &theta, &buffers).unwrap();
                let pass = at.forward_batch(&x).unwrap();
                close(&what, &pass.statistics, &expected.statistics, 1e-6);
                close(&what, &pass.logits, &expected.logits, TOLERANCE);
                for (cotangents, gradients) in &adjoints {
                    let got = at.vjp(&pass.tape, cotangents, ALL).unwrap();
                    same(&what, &network, &got, gradients);
                    let input = at.vjp(&pass.tape, cotangents, Wants::INPUT).unwrap();
                    assert!(input.theta.is_none() && input.input == got.input, "{what}");
                }
                // A handle with these statistics gives the same logits.
                let there = at.with_buffers(&pass.statistics).unwrap();
                close(&what, &there.forward(&x).unwrap(), &wide(&pass.logits), TOLERANCE);
            }
        }
    }
}

/// The statistics of maps far from 0 have no rounding errors of that distance.
#[test]
fn statistics_far_from_zero() {
    let (_, network) = networks().swap_remove(0);
    let (mut theta, buffers) = numbers(&network, 2);
    for info in network.parameters().iter().filter(|info| info.name.ends_with("bias")) {
        theta[info.range()].iter_mut().for_each(|b| *b += 50.0);
    }
    let x = draws(3, 0, 37 * network.input_len(), 0.0, 1.0);
    let expected = reference(&network, &theta, &buffers).forward_batch(&wide(&x)).unwrap();
    for engine in engines() {
        let pass = engine.load(&network, &theta, &buffers).unwrap().forward_batch(&x).unwrap();
        for (_, norm) in network.batch_norms() {
            let layout = network.buffers();
            let variance = layout.slice(&expected.statistics, norm.variance);
            for (found, expected) in layout.slice(&pass.statistics, norm.variance).iter().zip(variance) {
                assert!((f64::from(*found) - expected).abs() < 3e-4 * expected, "{found} instead of {expected}");
            }
        }
    }
}

/// Clean passes and their gradients at given statistics, those with respect to the statistics included.
#[test]
fn clean_passes_at_given_statistics() {
    for (name, network) in with_normed_logits() {
        let (theta, buffers) = numbers(&network, 4);
        for batch in [1, 17, 40] {
            let x = draws(3, batch as u64, batch * network.input_len(), 0.0, 1.0);
            let oracle = reference(&network, &theta, &buffers);
            let (expected, expected_tape) = oracle.forward_taped(&wide(&x)).unwrap();
            let g = Cotangents::on_lower(draws(4, 0, expected.len(), -1.0, 1.0));
            let gradients = [ALL, Wants::THETA, Wants::INPUT, Wants { buffers: true, ..Wants::INPUT }]
                .map(|wants| (wants, oracle.vjp(&expected_tape, &wider(&g), wants).unwrap()));
            for engine in engines() {
                let what = format!("{name}, batch {batch}, {}", engine.isa().name());
                let at = engine.load(&network, &theta, &buffers).unwrap();
                close(&what, &at.forward(&x).unwrap(), &expected, TOLERANCE);
                let (logits, tape) = at.forward_taped(&x).unwrap();
                close(&what, &logits, &expected, TOLERANCE);
                for (wants, expected) in &gradients {
                    same(&what, &network, &at.vjp(&tape, &g, *wants).unwrap(), expected);
                }
            }
        }
    }
}

/// Every relaxation at given statistics: bounds, bounds of layers, and gradients.
#[test]
fn bounds_at_given_statistics() {
    for (name, network) in with_normed_logits() {
        let (theta, buffers) = numbers(&network, 5);
        let (d, batch) = (network.input_len(), 3);
        let x = draws(6, 0, batch * d, 0.0, 1.0);
        let oracle = reference(&network, &theta, &buffers);
        for (norm, clip) in [(Norm::Inf, None), (Norm::Inf, Some((0.0, 1.0))), (Norm::L2, None)] {
            let region = Region::ball(&x, d, 0.03, norm, clip).unwrap();
            let wide_clip = clip.map(|(low, high)| (f64::from(low), f64::from(high)));
            let wide_region = Region::ball(&wide(&x), d, f64::from(0.03_f32), norm, wide_clip).unwrap();
            for relaxation in Relaxation::ALL {
                let request = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation) };
                let (expected, expected_tape) = oracle.bound_taped(&wide_region, &Spec::Logits, request).unwrap();
                let layer = |(index, l): (usize, &tightrope_engine::LayerBounds<f64>)| LayerCotangent {
                    node: l.node,
                    lower: draws(7, index as u64, l.lower.len(), -1.0, 1.0),
                    upper: draws(8, index as u64, l.upper.len(), -1.0, 1.0),
                };
                let cotangents = Cotangents {
                    upper: draws(9, 1, expected.lower.len(), -1.0, 1.0),
                    layers: expected.layers.iter().enumerate().map(layer).collect(),
                    ..Cotangents::on_lower(draws(9, 0, expected.lower.len(), -1.0, 1.0))
                };
                let gradients = oracle.vjp(&expected_tape, &wider(&cotangents), ALL).unwrap();
                for engine in engines() {
                    let what = format!("{name}, {norm:?}, {clip:?}, {relaxation}, {}", engine.isa().name());
                    let at = engine.load(&network, &theta, &buffers).unwrap();
                    let (got, tape) = at.bound_taped(&region, &Spec::Logits, request).unwrap();
                    assert_eq!(got, at.bound(&region, &Spec::Logits, request).unwrap());
                    close(&what, &got.lower, &expected.lower, TOLERANCE);
                    close(&what, &got.upper.unwrap(), expected.upper.as_ref().unwrap(), TOLERANCE);
                    for (got, expected) in got.layers.iter().zip(&expected.layers) {
                        assert_eq!(got.node, expected.node);
                        close(&what, &got.lower, &expected.lower, TOLERANCE);
                        close(&what, &got.upper, &expected.upper, TOLERANCE);
                    }
                    assert_eq!(got.layers.len(), expected.layers.len());
                    same(&what, &network, &at.vjp(&tape, &cotangents, ALL).unwrap(), &gradients);
                }
            }
        }
    }
}

/// The pass, bounds by its statistics and their gradient through them, as a training step asks for it.
fn training<T: tightrope_engine::Real>(
    at: &dyn Loaded<T>,
    region: &Region<T>,
    relaxation: Relaxation,
    [on_logits, on_bounds]: [Vec<T>; 2],
) -> (Vec<T>, Vec<T>) {
    let labels = (0..region.batch()).map(|i| (i * 7 + 1) % at.network().output_len()).collect();
    let pass = at.forward_batch(&region.center).unwrap();
    let there = at.with_buffers(&pass.statistics).unwrap();
    let request = BoundRequest::lower(relaxation);
    let (bounds, tape) = there.bound_taped(region, &Spec::Margins { labels }, request).unwrap();
    let wants = Wants { buffers: true, ..Wants::THETA };
    let robust = there.vjp(&tape, &Cotangents::on_lower(on_bounds), wants).unwrap();
    let on_pass = Cotangents { buffers: robust.buffers.unwrap(), ..Cotangents::on_lower(on_logits) };
    let clean = at.vjp(&pass.tape, &on_pass, Wants::THETA).unwrap().theta.unwrap();
    let sum = clean.iter().zip(robust.theta.unwrap()).map(|(&a, b)| a + b).collect();
    (bounds.lower, sum)
}

#[test]
fn gradients_flow_through_the_statistics() {
    for (name, network) in networks() {
        let (theta, buffers) = numbers(&network, 10);
        for batch in [6, 36] {
            let d = network.input_len();
            let x = draws(6, 0, batch * d, 0.0, 1.0);
            let region = Region::ball(&x, d, 0.02, Norm::Inf, None).unwrap();
            let wide_region = Region::ball(&wide(&x), d, f64::from(0.02_f32), Norm::Inf, None).unwrap();
            let count = batch * network.output_len();
            let on = [12, 13].map(|seed| draws(seed, 0, count, -1.0, 1.0));
            for relaxation in [Relaxation::Ibp, Relaxation::CrownIbp, Relaxation::Crown] {
                let oracle = reference(&network, &theta, &buffers);
                let wide_on = [&on[0], &on[1]].map(|on| wide(on));
                let (expected, gradient) = training(&*oracle, &wide_region, relaxation, wide_on);
                for engine in engines() {
                    let what = format!("{name}, batch {batch}, {relaxation}, {}", engine.isa().name());
                    let at = engine.load(&network, &theta, &buffers).unwrap();
                    let (bounds, got) = training(&*at, &region, relaxation, on.clone());
                    close(&what, &bounds, &expected, TOLERANCE);
                    for info in network.parameters().iter() {
                        let what = format!("{what}: {}", info.name);
                        close(&what, &got[info.range()], &gradient[info.range()], TOLERANCE);
                    }
                }
            }
        }
    }
}

/// A batch norm takes back what the layer before it adds to a channel.
#[test]
fn biases_before_batch_norms_have_no_gradient() {
    let network = preset("cnn5-bn:4", &[1, 12, 12]);
    let (theta, buffers) = numbers(&network, 11);
    let d = network.input_len();
    let region = Region::ball(&draws(6, 0, 20 * d, 0.0, 1.0), d, 0.02, Norm::Inf, None).unwrap();
    for engine in engines() {
        let at = engine.load(&network, &theta, &buffers).unwrap();
        let on = [12, 13].map(|seed| draws(seed, 0, 200, -1.0, 1.0));
        let (_, gradient) = training(&*at, &region, Relaxation::CrownIbp, on);
        let zeros = |name: &str| gradient[network.parameters().find(name).unwrap().range()].iter().all(|&g| g == 0.0);
        assert!(zeros("0.bias") && !zeros("1.bias") && !zeros("0.weight"));
    }
}

/// What a file for other tools holds, with the batch norms folded by the model, computes the same, and has the same gradients:
/// those of the inputs' box, of a norm's shift (the folded bias), and of the layer before it times the norm's factor.
#[test]
fn folded_models_are_the_same() {
    for (name, network) in networks() {
        let (theta, buffers) = numbers(&network, 14);
        let model = Model { buffers: buffers.clone(), ..Model::new(network.clone(), theta.clone()) };
        let folded = model.folded().unwrap();
        assert!(folded.buffers.is_empty(), "{name}");
        let d = network.input_len();
        let x = draws(6, 0, 5 * d, 0.0, 1.0);
        let region = Region::ball(&x, d, 0.03, Norm::Inf, None).unwrap();
        for engine in engines() {
            let at = engine.load(&network, &theta, &buffers).unwrap();
            let plain = engine.load(&folded.network, &folded.theta, &[]).unwrap();
            close(name, &at.forward(&x).unwrap(), &wide(&plain.forward(&x).unwrap()), 1e-6);
            for relaxation in Relaxation::ALL {
                let [a, b] = [&at, &plain]
                    .map(|at| at.bound(&region, &Spec::Logits, BoundRequest::lower(relaxation)).unwrap().lower);
                close(name, &a, &wide(&b), 1e-5);
                let [whole, apart] = [&at, &plain].map(|at| {
                    let (bounds, tape) =
                        at.bound_taped(&region, &Spec::Logits, BoundRequest::lower(relaxation)).unwrap();
                    let cotangents = Cotangents::on_lower(draws(9, 0, bounds.lower.len(), -1.0, 1.0));
                    at.vjp(&tape, &cotangents, ALL).unwrap()
                });
                let [box_whole, box_apart] = [&whole, &apart].map(|gradients| gradients.region.as_ref().unwrap());
                close(name, &box_whole.center, &wide(&box_apart.center), TOLERANCE);
                close(name, &box_whole.radius, &wide(&box_apart.radius), TOLERANCE);
                let (whole, apart) = (whole.theta.unwrap(), apart.theta.unwrap());
                let of = |gradient: &[f32], network: &Network, name: &str| {
                    gradient[network.parameters().find(name).unwrap().range()].to_vec()
                };
                for (id, norm) in network.batch_norms() {
                    let (weight, bias) = match &network.node(network.node(id).inputs[0]).layer {
                        Layer::Conv2d(conv) => (conv.weight, conv.bias),
                        Layer::Linear(linear) => (linear.weight, linear.bias),
                        other => panic!("{name}: a batch norm behind {}", other.kind()),
                    };
                    let named = |id: ParameterId| network.parameters().get(id).name.as_str();
                    let factors: Vec<f64> = network
                        .parameters()
                        .slice(&theta, norm.weight)
                        .iter()
                        .zip(network.buffers().slice(&buffers, norm.variance))
                        .map(|(&w, &variance)| f64::from(w) / (f64::from(variance) + norm.epsilon).sqrt())
                        .collect();
                    let on_folded = wide(&of(&apart, &folded.network, named(weight)));
                    let row = on_folded.len() / factors.len();
                    let expected: Vec<f64> = on_folded.iter().enumerate().map(|(i, g)| g * factors[i / row]).collect();
                    close(&format!("{name}, {relaxation}"), &of(&whole, &network, named(weight)), &expected, TOLERANCE);
                    if let Some(bias) = bias {
                        let shift = of(&whole, &network, named(norm.bias));
                        close(name, &shift, &wide(&of(&apart, &folded.network, named(bias))), TOLERANCE);
                    }
                }
            }
        }
    }
}

/// Members take the statistics of the clean inputs at their own θ.
#[test]
fn members_match_the_reference() {
    for (name, network) in networks() {
        let (theta, buffers) = numbers(&network, 15);
        let d = network.input_len();
        let x = draws(3, 0, 6 * d, 0.0, 1.0);
        let region = Region::ball(&x, d, 0.02, Norm::Inf, Some((0.0, 1.0))).unwrap();
        let labels: Vec<usize> = (0..6).map(|i| i % network.output_len()).collect();
        for (relaxation, weight) in [(Relaxation::Ibp, 0.6), (Relaxation::CrownIbp, 1.0), (Relaxation::Ibp, 0.0)] {
            let perturbation = Perturbation::new(4, 9, 0.01);
            let losses = |engine: &dyn Engine<f32>| {
                let at = engine.load(&network, &theta, &buffers).unwrap();
                members(&*at, perturbation, 3..5, (&x, &region, &labels), relaxation, weight).unwrap()
            };
            let expected = losses(&Reference);
            for engine in engines() {
                for (got, expected) in losses(&engine).iter().flatten().zip(expected.iter().flatten()) {
                    assert!((got - expected).abs() <= 1e-4 * (1.0 + expected), "{name} {relaxation}");
                }
            }
        }
    }
}

/// All that a training step computes, as bits.
fn everything(engine: &Fused, network: &Network, at: &dyn Loaded<f32>, batch: usize) -> Vec<u32> {
    let d = network.input_len();
    let x = draws(21, 0, batch * d, 0.0, 1.0);
    let region = Region::ball(&x, d, 0.05, Norm::Inf, None).unwrap();
    let count = batch * network.output_len();
    let mut values = at.forward(&x).unwrap();
    for relaxation in [Relaxation::Ibp, Relaxation::CrownIbp, Relaxation::Crown] {
        let on = [12, 13].map(|seed| draws(seed, 0, count, -1.0, 1.0));
        let (bounds, gradient) = training(at, &region, relaxation, on);
        values.extend(bounds.into_iter().chain(gradient));
    }
    let pass = at.forward_batch(&x).unwrap();
    values
        .extend(at.vjp(&pass.tape, &Cotangents::on_lower(draws(5, 0, count, -1.0, 1.0)), ALL).unwrap().input.unwrap());
    assert!(engine.supports(network, &BoundRequest::lower(Relaxation::Ibp)) == Support::Own);
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn threads_do_not_matter() {
    for (name, network) in networks() {
        let (theta, buffers) = numbers(&network, 16);
        for batch in [3, 150] {
            let run = |threads: usize| {
                let engine = Fused::new().unwrap();
                let at = engine.load(&network, &theta, &buffers).unwrap();
                let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| everything(&engine, &network, &*at, batch))
            };
            let alone = run(1);
            assert!(alone == run(2) && alone == run(5), "{name}, batch of {batch}");
        }
    }
}

/// Memory that has served other networks does not show, and a handle with another θ is a fresh one; others stay.
#[test]
fn used_memory_and_old_parameters_do_not_show() {
    let used = Fused::new().unwrap();
    for batch in [40, 3, 17] {
        for (name, network) in networks().into_iter().chain(networks().into_iter().rev()) {
            let [(first, buffers), (second, _)] = [17, 18].map(|seed| numbers(&network, seed));
            let fresh = |theta: &[f32]| {
                let engine = Fused::new().unwrap();
                everything(&engine, &network, &*engine.load(&network, theta, &buffers).unwrap(), batch)
            };
            let mut at = used.load(&network, &first, &buffers).unwrap();
            let before = everything(&used, &network, &*at, batch);
            assert!(before == fresh(&first), "{name}, batch {batch}");
            let other = at.with_buffers(&buffers).unwrap();
            assert!(at.update(&second[1..]).is_err());
            at.update(&second).unwrap();
            assert_eq!((&at.theta()[..], &other.theta()[..]), (&second[..], &first[..]));
            assert!(everything(&used, &network, &*at, batch) == fresh(&second), "{name}, batch {batch}");
            assert!(everything(&used, &network, &*other, batch) == before, "{name}, batch {batch}");
            drop(other);
            at.update(&first).unwrap();
            assert!(everything(&used, &network, &*at, batch) == before, "{name}, batch {batch}");
        }
    }
}

/// What the plan does not allow goes to the reference engine, which is told why.
#[test]
fn other_batch_norms_are_left_to_the_reference() {
    let before = Chain::new(&[1, 6, 6]).batch_norm().conv(2, [3, 3], [1, 1], [0; 4]).relu().flatten().linear(3).build();
    let behind = Chain::new(&[1, 6, 6]).conv(2, [3, 3], [1, 1], [0; 4]).relu().batch_norm().flatten();
    let behind = behind.linear(3).build();
    let flat = Chain::new(&[1, 6, 6]).conv(2, [3, 3], [1, 1], [0; 4]).flatten().batch_norm().relu().linear(3).build();
    let twice = Chain::new(&[5]).linear(4).batch_norm().batch_norm().relu().linear(3).build();
    let scaled = Chain::new(&[5]).linear(4).batch_norm().affine(vec![2.0; 4], vec![0.0; 4], [false; 2]).relu();
    let scaled = scaled.linear(3).build();
    let residual = preset("resnet-2b-bn:2", &[3, 8, 8]);
    for (network, part) in [
        (before, "before the first convolution"),
        (behind, "cannot be folded"),
        (flat, "cannot be folded"),
        (twice, "follows another normalisation"),
        (scaled, "follows a batch norm"),
        (residual, "does not read the layer before it alone"),
    ] {
        let engine = Fused::new().unwrap();
        match engine.supports(&network, &BoundRequest::lower(Relaxation::Ibp)) {
            Support::Reference { reason } => assert!(reason.contains(part), "{reason}"),
            Support::Own => panic!("{part}"),
        }
        let (theta, buffers) = numbers(&network, 19);
        let d = network.input_len();
        let region = Region::ball(&draws(3, 0, 4 * d, 0.0, 1.0), d, 0.02, Norm::Inf, None).unwrap();
        let engines: [&dyn Engine<f32>; 2] = [&engine, &Reference];
        let [got, expected] = engines.map(|engine| {
            let at = engine.load(&network, &theta, &buffers).unwrap();
            let on = [12, 13].map(|seed| draws(seed, 0, 4 * network.output_len(), -1.0, 1.0));
            training(&*at, &region, Relaxation::CrownIbp, on)
        });
        assert_eq!(got, expected);
    }
}

#[test]
fn misuse_is_refused() {
    let engine = Fused::new().unwrap();
    let (_, network) = networks().swap_remove(0);
    let (theta, buffers) = numbers(&network, 20);
    let at = engine.load(&network, &theta, &buffers).unwrap();
    let message = |problem: Option<tightrope_engine::EngineError>| problem.expect("this must be refused").to_string();
    assert!(message(engine.load(&network, &theta, &buffers[1..]).err()).contains("buffers"));
    assert!(message(at.with_buffers(&[]).err()).contains("buffers"));
    assert!(message(at.forward_batch(&[]).err()).contains("no statistics"));
    assert!(message(at.forward_batch(&[0.0]).err()).contains("multiple"));
    let x = draws(1, 0, 2 * network.input_len(), 0.0, 1.0);
    let pass = at.forward_batch(&x).unwrap();
    let good = Cotangents::on_lower(vec![0.0; 20]);
    let short = Cotangents::on_lower(vec![0.0; 19]);
    assert!(message(at.vjp(&pass.tape, &short, ALL).err()).contains("logit cotangent"));
    let few = Cotangents { buffers: vec![0.0], ..good.clone() };
    assert!(message(at.vjp(&pass.tape, &few, ALL).err()).contains("statistics"));
    let upper = Cotangents { upper: vec![0.0; 20], ..good.clone() };
    assert!(message(at.vjp(&pass.tape, &upper, ALL).err()).contains("logits and statistics only"));
    let (_, tape) = at.forward_taped(&x).unwrap();
    let on_statistics = Cotangents { buffers: vec![0.0; buffers.len()], ..good };
    assert!(message(at.vjp(&tape, &on_statistics, ALL).err()).contains("statistics"));
}

/// What folded weights do not do, the reference engine does at the same statistics: slopes that climb for other rows than
/// margins, and gradients to a specification. What neither does is refused alike.
#[test]
fn climbing_slopes_and_gradients_to_a_specification() {
    for (name, network) in networks() {
        let (theta, buffers) = numbers(&network, 2);
        let batch = 3;
        let x = draws(7, 0, batch * network.input_len(), 0.0, 1.0);
        let classes = network.output_len();
        let matrix = Spec::Matrix { rows: 2, matrix: draws(7, 1, 2 * classes, -1.0, 1.0), offset: Vec::new() };
        let margins = Spec::Margins { labels: (0..batch).map(|i| i % classes).collect() };
        for norm in [Norm::Inf, Norm::L2] {
            let region = Region::ball(&x, network.input_len(), 0.02, norm, None).unwrap();
            for spec in [&matrix, &margins] {
                let request = BoundRequest {
                    ascent: Some(SlopeAscent { steps: 2, rate: 0.25 }),
                    ..BoundRequest::lower(Relaxation::CrownIbp)
                };
                let oracle = Reference.load(&network, &theta, &buffers).unwrap();
                let at = Fused::new().unwrap().load(&network, &theta, &buffers).unwrap();
                let what = format!("{name} {norm:?}");
                match (oracle.bound(&region, spec, request), at.bound(&region, spec, request)) {
                    (Ok(expected), Ok(got)) => close(&what, &got.lower, &wide(&expected.lower), 2e-4),
                    // Slopes climb over boxes alone.
                    (expected, got) => {
                        assert!(norm == Norm::L2, "{what}");
                        assert_eq!(expected.unwrap_err().to_string(), got.unwrap_err().to_string());
                    }
                }
                let plain = BoundRequest::lower(Relaxation::CrownIbp);
                let (bounds, tape) = at.bound_taped(&region, spec, plain).unwrap();
                let g = draws(7, 2, bounds.lower.len(), -1.0, 1.0);
                let (_, expected) = oracle.bound_taped(&region, spec, plain).unwrap();
                let expected = oracle.vjp_spec(&expected, &g).unwrap();
                close(&what, &at.vjp_spec(&tape, &g).unwrap(), &wide(&expected), TOLERANCE);
            }
        }
    }
}
