//! Arguments that do not fit are refused with a message, never with a panic or a wrong number.

use tightrope_engine::{
    BoundRequest, Cotangents, Engine, EngineError, LayerCotangent, MemberRequest, Norm, Perturbation, Reference,
    Region, Relaxation, Spec, Wants,
};
use tightrope_network::{Initialisation, Network, Preset};
use tightrope_testkit::evaluate::Ask;
use tightrope_testkit::random::{Family, Rng, network};

const REQUEST: BoundRequest = BoundRequest { upper: true, layers: true, ..BoundRequest::lower(Relaxation::Crown) };

fn fixture() -> (Network, Vec<f64>, Region<f64>) {
    let (network, theta) = network(&Rng::new(1), Family::Conv);
    let x = vec![0.5; 2 * network.input_len()];
    let region = Region::ball(&x, network.input_len(), 0.1, Norm::Inf, None).unwrap();
    (network, theta, region)
}

#[track_caller]
fn refused<V>(result: Result<V, EngineError>, part: &str) {
    match result {
        Ok(_) => panic!("accepted, where a refusal about `{part}` was due"),
        Err(error) => assert!(error.to_string().contains(part), "`{error}` does not speak of `{part}`"),
    }
}

#[test]
fn regions_that_are_none() {
    let x = [0.2, 0.4, 0.6, 0.8];
    for epsilon in [-0.1, f64::NAN, f64::INFINITY] {
        refused(Region::ball(&x, 2, epsilon, Norm::L2, None), "ε");
    }
    refused(Region::ball(&[0.0, 1.0, f64::NAN, 0.0], 2, 0.1, Norm::Inf, None), "sample 1: pixel 0");
    refused(Region::ball(&x, 3, 0.1, Norm::Inf, None), "no multiple of the input size 3");
    refused(Region::ball(&x, 0, 0.1, Norm::Inf, None), "input size 0");
    refused(Region::ball(&[0.5, 1.5], 2, 0.1, Norm::Inf, Some((0.0, 1.0))), "outside the data range");
    refused(Region::boxes(&[0.0, 0.3], &[1.0, 0.2], 2), "element 1: [0.3, 0.2]");
    refused(Region::boxes(&[0.0, f64::NAN], &[1.0, 1.0], 2), "element 1");
    refused(Region::boxes(&[0.0, 0.0], &[1.0], 2), "upper bounds has 1 values, 2 needed");
}

/// Regions whose public fields were changed into something that is no region.
#[test]
fn regions_that_were_damaged() {
    let (network, theta, region) = fixture();
    type Damage = fn(&mut Region<f64>);
    let damages: [(Damage, &str); 6] = [
        (|r| r.center[3] = f64::NAN, "NaN"),
        (|r| r.radius[0] = -1.0, "-1"),
        (|r| r.radius[1] = f64::INFINITY, "inf"),
        (|r| r.center.truncate(3), "centre"),
        (|r| r.radius.push(0.0), "radii"),
        (|r| r.ball = Some(tightrope_engine::Ball { norm: Norm::L2, center: vec![0.5], epsilon: 0.1 }), "ball"),
    ];
    for (damage, part) in damages {
        let mut damaged = region.clone();
        damage(&mut damaged);
        for relaxation in Relaxation::ALL {
            let request = BoundRequest::lower(relaxation);
            refused(Reference.bound(&network, &theta, &damaged, &Spec::Logits, request), part);
            refused(Reference.bound_taped(&network, &theta, &damaged, &Spec::Logits, request), part);
        }
    }
}

#[test]
fn lengths_that_do_not_fit() {
    let (network, theta, region) = fixture();
    let x = &region.center;
    refused(Reference.forward(&network, &theta[1..], x), "θ has");
    refused(Reference.forward(&network, &theta, &x[1..]), "no multiple of the network's input size");
    refused(Reference.forward_taped(&network, &theta, &x[1..]), "no multiple of the network's input size");
    refused(Reference.bound(&network, &theta[1..], &region, &Spec::Logits, REQUEST), "θ has");
    let other = Region::boxes(&[0.0], &[1.0], 1).unwrap();
    refused(Reference.bound(&network, &theta, &other, &Spec::Logits, REQUEST), "1 values");
    let classes = network.output_len();
    let bound = |spec: Spec<f64>| Reference.bound(&network, &theta, &region, &spec, REQUEST);
    refused(bound(Spec::Margins { labels: vec![0] }), "labels has 1 values, 2 needed");
    refused(bound(Spec::Margins { labels: vec![0, classes] }), &format!("sample 1 has label {classes}"));
    refused(bound(Spec::Matrix { rows: 2, matrix: vec![1.0], offset: vec![] }), "specification matrix has 1 values");
    let matrix = vec![1.0; 2 * classes];
    refused(bound(Spec::Matrix { rows: 2, matrix, offset: vec![0.0] }), "specification offset has 1 values, 2 needed");
}

#[test]
fn tapes_and_cotangents_that_do_not_fit() {
    let (network, theta, region) = fixture();
    let classes = network.output_len();
    let (_, clean) = Reference.forward_taped(&network, &theta, &region.center).unwrap();
    let (_, bound) = Reference.bound_taped(&network, &theta, &region, &Spec::Logits, REQUEST).unwrap();
    let fitting = || Cotangents::on_lower(vec![1.0; 2 * classes]);
    let pull = |tape, cotangents: &Cotangents<f64>| Reference.vjp(&network, &theta, tape, cotangents, Wants::THETA);
    assert!(pull(&clean, &fitting()).is_ok() && pull(&bound, &fitting()).is_ok());

    let short = Cotangents::on_lower(vec![1.0]);
    refused(pull(&clean, &short), "logit cotangent has 1 values");
    refused(pull(&bound, &short), "cotangent of the lower bounds has 1 values");
    let with_upper = Cotangents { upper: vec![1.0; 3], ..fitting() };
    refused(pull(&clean, &with_upper), "logits only");
    refused(pull(&bound, &with_upper), "cotangent of the upper bounds has 3 values");
    let layer = |node, n: usize| Cotangents {
        layers: vec![LayerCotangent { node, lower: vec![0.0; n], upper: vec![0.0; n] }],
        ..fitting()
    };
    refused(pull(&bound, &layer(network.output(), 1)), "no pre-activation");
    refused(pull(&bound, &layer(network.pre_activations()[0], 1)), "layer's lower bounds has 1 values");

    let single: Vec<f32> = theta.iter().map(|&t| t as f32).collect();
    let in_single = Reference.vjp(&network, &single, &bound, &Cotangents::on_lower(vec![1.0_f32]), Wants::THETA);
    refused(in_single, "another precision");
    let (other, other_theta) = fixture_of_another_shape();
    refused(Reference.vjp(&other, &other_theta, &bound, &fitting(), Wants::THETA), "another network");
    refused(Reference.vjp(&other, &other_theta, &clean, &fitting(), Wants::THETA), "another network");
}

fn fixture_of_another_shape() -> (Network, Vec<f64>) {
    let network = Preset::Mlp.build(&[1, 4, 4], 3, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 1).into_iter().map(f64::from).collect();
    (network, theta)
}

#[test]
fn populations_pass_errors_on() {
    let (network, theta, region) = fixture();
    let perturbation = Perturbation::new(1, 0, 0.1);
    let spec = Spec::Margins { labels: vec![0, network.output_len()] };
    let bounds = Some((&region, &spec, BoundRequest::lower(Relaxation::Ibp)));
    let at = Reference.load(&network, &theta, &[]).unwrap();
    let members = |request| at.members(perturbation, 0..1, &request, &|_| 0.0);
    refused(members(MemberRequest { inputs: None, bounds }), "label");
    refused(members(MemberRequest { inputs: Some(&region.center[1..]), bounds: None }), "input");
}

/// A network that diverged must show it: NaN in, NaN out, never a finite bound or a certified sample.
#[test]
fn nan_parameters_are_not_hidden() {
    for family in Family::ALL {
        let (network, theta) = network(&Rng::new(7), family);
        let x = vec![0.5; network.input_len()];
        let region = Region::ball(&x, network.input_len(), 0.1, Norm::Inf, None).unwrap();
        for info in network.parameters().iter() {
            let mut damaged = theta.clone();
            damaged[info.range()].fill(f64::NAN);
            let logits = Reference.forward(&network, &damaged, &x).unwrap();
            assert!(logits.iter().any(|z| z.is_nan()), "{family:?} {}: {logits:?}", info.name);
            for relaxation in Relaxation::ALL {
                let spec = Spec::Margins { labels: vec![0] };
                let bounds =
                    Reference.bound(&network, &damaged, &region, &spec, BoundRequest::lower(relaxation)).unwrap();
                let certified = tightrope_train::certified_cross_entropy(&bounds.lower, &[0]);
                assert_eq!(certified.certified, 0, "{family:?} {} {relaxation}: {:?}", info.name, bounds.lower);
                assert!(certified.per_sample[0].is_nan(), "{family:?} {} {relaxation}", info.name);
            }
        }
    }
}

#[test]
fn an_empty_batch_is_empty() {
    let (network, theta, _) = fixture();
    let region = Region::ball(&[], network.input_len(), 0.1, Norm::Inf, None).unwrap();
    assert!(Reference.forward(&network, &theta, &[]).unwrap().is_empty());
    for relaxation in Relaxation::ALL {
        let request = BoundRequest { relaxation, ..REQUEST };
        let (bounds, tape) = Reference.bound_taped(&network, &theta, &region, &Spec::Logits, request).unwrap();
        assert!(bounds.lower.is_empty() && bounds.layers.iter().all(|layer| layer.lower.is_empty()));
        let gradients = Reference.vjp(&network, &theta, &tape, &Cotangents::on_lower(vec![]), Wants::THETA).unwrap();
        assert!(gradients.theta.unwrap().iter().all(|&g| g == 0.0));
    }
}
