//! Scratch memory that has served one network must not show in the results of the next, and misuse is refused.

mod common;

use common::{engines, members, networks};
use tightrope_engine::{
    BoundRequest, Cotangents, Engine, EngineError, Loaded, Norm, Perturbation, Reference, Region, Relaxation, Spec,
    Wants,
};
use tightrope_fused::{Fused, Isa};
use tightrope_network::Network;
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::random::{draws, uniform};

/// Every number that `engine` computes for `network`, as bits.
fn everything(engine: &Fused, network: &Network, theta: &[f32], batch: usize) -> Vec<u64> {
    let d = network.input_len();
    let x = draws(21, 0, batch * d, 0.0, 1.0);
    let labels: Vec<usize> = (0..batch).map(|i| i % network.output_len()).collect();
    let wants = Wants { theta: true, input: true, buffers: false };
    let mut values = Vec::new();
    let mut push = |part: &[f32]| values.extend(part.iter().map(|v| u64::from(v.to_bits())));
    for norm in [Norm::Inf, Norm::L2] {
        let region = Region::ball(&x, d, 0.05, norm, None).unwrap();
        for relaxation in Relaxation::ALL {
            // Margins from below alone have images in lanes.
            let margins = Spec::Margins { labels: labels.clone() };
            for (spec, upper) in [(&margins, true), (&margins, false), (&Spec::Logits, true)] {
                let request = BoundRequest { upper, layers: true, ..BoundRequest::lower(relaxation) };
                let (bounds, tape) = engine.bound_taped(network, theta, &region, spec, request).unwrap();
                let g = Cotangents::on_lower(bounds.lower.clone());
                let gradients = engine.vjp(network, theta, &tape, &g, wants).unwrap();
                let region = gradients.region.unwrap();
                push(&bounds.lower);
                push(&bounds.upper.unwrap_or_default());
                bounds.layers.iter().for_each(|layer| push(&layer.lower));
                push(&gradients.theta.unwrap());
                push(&region.center);
                push(&region.radius);
            }
        }
    }
    let (logits, tape) = engine.forward_taped(network, theta, &x).unwrap();
    let gradients = engine.vjp(network, theta, &tape, &Cotangents::on_lower(logits.clone()), wants).unwrap();
    push(&logits);
    push(&gradients.theta.unwrap());
    push(&gradients.input.unwrap());
    values
}

/// Networks and batches of rising and falling size through one engine, each against an engine of its own.
#[test]
fn used_memory_does_not_show() {
    let best = Fused::new().unwrap().isa();
    for used in engines() {
        // A second batch size changes the chunks; once is enough for code that all instruction sets share.
        for &batch in if used.isa() == best { &[40, 1][..] } else { &[1] } {
            for (name, network) in networks().into_iter().chain(networks().into_iter().rev()) {
                let theta = uniform(&network, 31, 0.1);
                let fresh = everything(&Fused::on(used.isa()).unwrap(), &network, &theta, batch);
                let again = everything(&used, &network, &theta, batch);
                assert!(fresh == again, "{name}, batch {batch}, {}", used.isa().name());
            }
        }
    }
}

/// The networks to try on `engine`: on all but the machine's best instruction set a third of them, as what is kept from call
/// to call is code that all sets share.
fn chosen(engine: &Fused) -> impl Iterator<Item = (&'static str, Network)> {
    let step = if engine.isa() == Fused::new().unwrap().isa() { 1 } else { 3 };
    networks().into_iter().step_by(step)
}

/// A handle whose θ was replaced gives the bits of one that was loaded with it; a θ that does not fit leaves it as it was.
#[test]
fn an_updated_handle_is_a_fresh_one() {
    for (engine, (name, network)) in engines().iter().flat_map(|engine| chosen(engine).map(move |n| (engine, n))) {
        let [first, second] = [1, 2].map(|seed| uniform(&network, seed, 0.1));
        let d = network.input_len();
        let x = draws(21, 0, 3 * d, 0.0, 1.0);
        let region = Region::ball(&x, d, 0.05, Norm::Inf, None).unwrap();
        let everything = |at: &dyn Loaded<f32>| {
            let bounds = Relaxation::ALL.map(|relaxation| {
                let request = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation) };
                at.bound(&region, &Spec::Logits, request).unwrap()
            });
            (at.forward(&x).unwrap(), bounds)
        };
        let mut at = engine.load(&network, &first, &[]).unwrap();
        let before = everything(&*at);
        assert!(at.update(&second[1..]).is_err());
        assert!(everything(&*at) == before, "{name}: a refused θ left a trace");
        at.update(&second).unwrap();
        let after = everything(&*at);
        assert!(after == everything(&*engine.load(&network, &second, &[]).unwrap()), "{name}");
        assert!(after != before, "{name}: the second θ made no difference");
    }
}

/// Parameters that are no numbers give bounds that prove nothing, never ones that look good, and leave no trace.
#[test]
fn no_number_is_never_a_proof() {
    for engine in engines() {
        for (name, network) in chosen(&engine) {
            let d = network.input_len();
            let x = draws(5, 0, 3 * d, 0.0, 1.0);
            let region = Region::ball(&x, d, 0.05, Norm::Inf, None).unwrap();
            let good = uniform(&network, 3, 0.0);
            let before = everything(&engine, &network, &good, 3);
            for bad in [f32::NAN, f32::INFINITY] {
                let mut theta = good.clone();
                theta[0] = bad;
                for relaxation in Relaxation::ALL {
                    let spec = Spec::Logits;
                    let request = BoundRequest { upper: true, ..BoundRequest::lower(relaxation) };
                    let bounds = engine.bound(&network, &theta, &region, &spec, request).unwrap();
                    for (&l, &u) in bounds.lower.iter().zip(&bounds.upper.unwrap()) {
                        let proves = l.is_finite() && u.is_finite();
                        let isa = engine.isa().name();
                        assert!(!proves, "{name}, {relaxation}, {bad}, {isa}: [{l}, {u}]");
                    }
                }
            }
            assert!(before == everything(&engine, &network, &good, 3), "{name}: the bad parameters left a trace");
        }
    }
}

fn message<T>(result: Result<T, EngineError>) -> String {
    result.err().expect("this must be refused").to_string()
}

#[test]
fn misuse_is_refused() {
    let engine = Fused::new().unwrap();
    let mut list = networks();
    let (_, other) = list.swap_remove(5);
    let (_, network) = list.swap_remove(0);
    let theta = uniform(&network, 1, 0.0);
    let d = network.input_len();
    let x = draws(2, 0, 2 * d, 0.0, 1.0);
    let region = Region::ball(&x, d, 0.1, Norm::Inf, None).unwrap();
    let spec = Spec::Margins { labels: vec![0, 1] };
    let request = BoundRequest::lower(Relaxation::Crown);
    assert!(message(engine.forward(&network, &theta[1..], &x)).contains("θ"));
    assert!(message(engine.forward(&network, &theta, &x[1..])).contains("multiple"));
    assert!(message(engine.bound(&network, &theta[1..], &region, &spec, request)).contains("θ"));
    let outside = Spec::Margins { labels: vec![0, 10] };
    assert!(message(engine.bound(&network, &theta, &region, &outside, request)).contains("10"));
    let (bounds, tape) = engine.bound_taped(&network, &theta, &region, &spec, request).unwrap();
    let g = Cotangents::on_lower(bounds.lower);
    // A tape of another network, of another engine, and cotangents of the wrong length.
    let others = uniform(&other, 1, 0.0);
    assert!(message(engine.vjp(&other, &others, &tape, &g, Wants::THETA)).contains("another network"));
    let (_, foreign) = Reference.bound_taped(&network, &theta, &region, &spec, request).unwrap();
    assert!(message(engine.vjp(&network, &theta, &foreign, &g, Wants::THETA)).contains("another engine"));
    let short = Cotangents::on_lower(vec![1.0]);
    assert!(message(engine.vjp(&network, &theta, &tape, &short, Wants::THETA)).contains("cotangent"));
    let noise = Perturbation::new(1, 1, 0.1);
    let at = engine.load(&network, &theta, &[]).unwrap();
    let outside = members(&*at, noise, 0..1, (&x[1..], &region, &[0, 1]), Relaxation::Ibp, 0.5);
    assert!(message(outside).contains("multiple"));
    assert!(message(Isa::named("sse9").map(|_| ())).contains("sse9"));
}
