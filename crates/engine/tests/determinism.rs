//! Results do not depend on the number of threads, bit for bit; members are their definition.

use rayon::ThreadPoolBuilder;
use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Engine, Gradients, LayerCotangent, MemberOutput, MemberRequest, Perturbation,
    Reference, Region, Relaxation, Spec, Wants,
};
use tightrope_network::{Initialisation, Network, Preset};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::random::{Family, Rng, Shape, network, region};
use tightrope_train::{certified_cross_entropy, cross_entropy};

type Outcome = (Vec<f32>, Gradients<f32>, Vec<(Bounds<f32>, Gradients<f32>)>);

/// Everything the engine computes for one batch.
fn outcome(network: &Network, theta: &[f32], x: &[f32], region: &Region<f32>, labels: &[usize]) -> Outcome {
    let both = Wants { theta: true, input: true, buffers: false };
    let (logits, tape) = Reference.forward_taped(network, theta, x).unwrap();
    assert_eq!(logits, Reference.forward(network, theta, x).unwrap());
    let cotangents = Cotangents::on_lower(cross_entropy(&logits, labels).cotangent);
    let clean = Reference.vjp(network, theta, &tape, &cotangents, both).unwrap();
    let bounds = Relaxation::ALL.map(|relaxation| {
        let request = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(relaxation) };
        let spec = Spec::Margins { labels: labels.to_vec() };
        let (bounds, tape) = Reference.bound_taped(network, theta, region, &spec, request).unwrap();
        let mut cotangents = Cotangents::on_lower(certified_cross_entropy(&bounds.lower, labels).cotangent);
        cotangents.upper = bounds.lower.iter().map(|v| v * 0.01).collect();
        let on_layer = |layer: &tightrope_engine::LayerBounds<f32>| LayerCotangent {
            node: layer.node,
            lower: layer.upper.clone(),
            upper: layer.lower.clone(),
        };
        cotangents.layers = bounds.layers.iter().map(on_layer).collect();
        let gradients = Reference.vjp(network, theta, &tape, &cotangents, both).unwrap();
        (bounds, gradients)
    });
    (logits, clean, bounds.into())
}

#[test]
fn thread_count_changes_no_bit() {
    let network = Preset::Cnn3Tiny.build(&[1, 12, 12], 10, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 3);
    let rng = Rng::new(17);
    // More samples than gradient accumulators and than one batched group.
    let batch = 37;
    let x: Vec<f32> = (0..batch * network.input_len()).map(|_| rng.uniform() as f32).collect();
    let labels: Vec<usize> = (0..batch).map(|_| rng.integer(0, 9)).collect();
    let region = Region::ball(&x, network.input_len(), 0.05, tightrope_engine::Norm::Inf, Some((0.0, 1.0))).unwrap();
    let with = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| outcome(&network, &theta, &x, &region, &labels))
    };
    let one = with(1);
    assert!(one.2.iter().all(|(_, g)| g.theta.as_ref().unwrap().iter().any(|&v| v != 0.0)));
    for threads in [2, 5] {
        let more = with(threads);
        assert!(one.0 == more.0, "logits with {threads} threads");
        assert!(one.1 == more.1, "clean gradients with {threads} threads");
        for ((relaxation, one), more) in Relaxation::ALL.iter().zip(&one.2).zip(&more.2) {
            assert!(one.0 == more.0, "{relaxation} bounds with {threads} threads");
            assert!(one.1 == more.1, "{relaxation} gradients with {threads} threads");
        }
    }
}

#[test]
fn members_are_their_definition() {
    let rng = Rng::new(23);
    let (network, theta) = network(&rng, Family::Conv);
    let region = region(&rng, Shape::Linf, 4, network.input_len(), 1.0);
    let classes = network.output_len();
    let labels: Vec<usize> = (0..4).map(|_| rng.integer(0, classes - 1)).collect();
    let perturbation = Perturbation::new(9, 4, 0.01);
    let spec = Spec::Margins { labels: labels.clone() };
    let at = Reference.load(&network, &theta, &[]).unwrap();
    for (robust_weight, relaxation) in [(0.0, Relaxation::Ibp), (0.7, Relaxation::CrownIbp), (1.0, Relaxation::Crown)] {
        let request = BoundRequest::lower(relaxation);
        let wanted = MemberRequest {
            inputs: (robust_weight < 1.0).then_some(&region.center[..]),
            bounds: (robust_weight > 0.0).then_some((&region, &spec, request)),
        };
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let loss = |member: MemberOutput<'_, f64>| {
            assert_eq!((member.logits.is_some(), member.bounds.is_some()), (robust_weight < 1.0, robust_weight > 0.0));
            let natural = member.logits.map_or(0.0, |logits| mean(&cross_entropy(logits, &labels).per_sample));
            let certified = |bounds: &Bounds<f64>| mean(&certified_cross_entropy(&bounds.lower, &labels).per_sample);
            (1.0 - robust_weight) * natural + robust_weight * member.bounds.map_or(0.0, certified)
        };
        let losses = at.members(perturbation, 3..6, &wanted, &loss).unwrap();
        assert_eq!(losses.len(), 3);
        for (pair, both) in (3..6).zip(&losses) {
            let mut delta = vec![0.0_f32; theta.len()];
            perturbation.stream(pair).gaussian(0, &mut delta);
            for (sign, &loss) in [1.0_f32, -1.0].iter().zip(both) {
                let member: Vec<f64> =
                    theta.iter().zip(&delta).map(|(t, d)| t + f64::from(sign * perturbation.sigma * d)).collect();
                let logits = Reference.forward(&network, &member, &region.center).unwrap();
                let margins = Reference.bound(&network, &member, &region, &spec, request).unwrap().lower;
                let mut expected = 0.0;
                for (i, &y) in labels.iter().enumerate() {
                    let z = &logits[i * classes..(i + 1) * classes];
                    let m = &margins[i * classes..(i + 1) * classes];
                    let natural = z.iter().map(|v| v.exp()).sum::<f64>().ln() - z[y];
                    let certified = m.iter().map(|v| (-v).exp()).sum::<f64>().ln();
                    expected += ((1.0 - robust_weight) * natural + robust_weight * certified) / 4.0;
                }
                assert!((loss - expected).abs() <= 1e-12 * (1.0 + expected.abs()), "{loss} instead of {expected}");
            }
        }
        // Members are addressed, not sequential.
        assert_eq!(at.members(perturbation, 5..6, &wanted, &loss).unwrap()[0], losses[2]);
        assert_eq!(**at.theta(), theta, "members leave θ as it is");
    }
}
