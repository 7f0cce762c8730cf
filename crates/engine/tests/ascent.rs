//! Optimised slopes: never looser than the relaxation's own, never above a value, refused where there is no choice.

use tightrope_engine::{BoundRequest, Engine, Norm, Reference, Region, Relaxation, SlopeAscent, Spec};
use tightrope_network::{Initialisation, Preset};
use tightrope_testkit::evaluate::{Ask, evaluate};
use tightrope_testkit::random::{Family, Rng, Shape, network, region};
use tightrope_testkit::sampling::points;

fn climbing(relaxation: Relaxation, steps: usize) -> BoundRequest {
    BoundRequest { upper: true, ascent: Some(SlopeAscent { steps, rate: 0.25 }), ..BoundRequest::lower(relaxation) }
}

/// Random networks of every layer kind and activation, from both sides.
#[test]
fn slopes_tighten_and_stay_sound() {
    let (mut tighter, mut rows) = (0, 0);
    for (index, family) in Family::ALL.into_iter().enumerate() {
        for repeat in 0..3 {
            let rng = Rng::new((7000 + index * 10 + repeat) as u64);
            let (network, theta) = network(&rng, family);
            let region = region(&rng, Shape::Linf, 2, network.input_len(), 0.6);
            let k = network.output_len();
            for relaxation in [Relaxation::Crown, Relaxation::CrownIbp, Relaxation::CrownMeetIbp] {
                let bound = |steps: usize| {
                    let request = climbing(relaxation, steps);
                    Reference.bound(&network, &theta, &region, &Spec::Logits, request).unwrap()
                };
                let plain = BoundRequest { upper: true, ..BoundRequest::lower(relaxation) };
                let plain = Reference.bound(&network, &theta, &region, &Spec::Logits, plain).unwrap();
                assert_eq!(bound(0), plain);
                let (few, many) = (bound(2), bound(8));
                let ends = |bounds: &tightrope_engine::Bounds<f64>| {
                    let upper = bounds.upper.as_ref().unwrap().iter().map(|u| -u);
                    bounds.lower.iter().copied().chain(upper).collect::<Vec<f64>>()
                };
                let (plain, few, many_ends) = (ends(&plain), ends(&few), ends(&many));
                for ((plain, few), many) in plain.iter().zip(&few).zip(&many_ends) {
                    assert!(plain <= few && few <= many, "{family:?} {relaxation}: {plain}, {few}, {many}");
                    rows += 1;
                    tighter += usize::from(*many > plain + 1e-9 * (1.0 + plain.abs()));
                }
                for sample in 0..2 {
                    for point in points(&rng, &region, sample, 40) {
                        let values = evaluate(&network, &theta, &point);
                        for (j, z) in values[network.output()].iter().enumerate() {
                            let (l, u) = (many.lower[sample * k + j], many.upper.as_ref().unwrap()[sample * k + j]);
                            let slack = 1e-9 * (1.0 + l.abs().max(u.abs()));
                            assert!(l - slack <= *z && *z <= u + slack, "{family:?} {relaxation}: {z} in [{l}, {u}]");
                        }
                    }
                }
            }
        }
    }
    assert!(tighter * 4 > rows, "only {tighter} of {rows} bounds became tighter");
}

#[test]
fn what_has_no_slopes_is_refused() {
    let network = Preset::Mlp.build(&[1, 4, 4], 3, None).unwrap();
    let theta = Initialisation::Default.theta(&network, 1);
    let at: Box<dyn tightrope_engine::Loaded<f32>> = Reference.load(&network, &theta, &[]).unwrap();
    let of = |norm| Region::ball(&[0.5; 16], 16, 0.1, norm, None).unwrap();
    let spec = Spec::Margins { labels: vec![0] };
    let lower = |relaxation| BoundRequest { upper: false, ..climbing(relaxation, 3) };
    for relaxation in [Relaxation::Ibp, Relaxation::Zonotope, Relaxation::Hbox] {
        let problem = at.bound(&of(Norm::Inf), &spec, lower(relaxation)).unwrap_err().to_string();
        assert!(problem.contains("no slopes to optimise"), "{problem}");
    }
    let problem = at.bound(&of(Norm::L2), &spec, lower(Relaxation::Crown)).unwrap_err().to_string();
    assert!(problem.contains("over boxes alone"), "{problem}");
    let problem = at.bound_taped(&of(Norm::Inf), &spec, lower(Relaxation::Crown)).err().unwrap().to_string();
    assert!(problem.contains("no gradient"), "{problem}");
    let rate =
        BoundRequest { ascent: Some(SlopeAscent { steps: 1, rate: 0.0 }), ..BoundRequest::lower(Relaxation::Crown) };
    assert!(at.bound(&of(Norm::Inf), &spec, rate).unwrap_err().to_string().contains("rate"));
    assert!(at.bound(&of(Norm::Inf), &spec, lower(Relaxation::Crown)).is_ok());
}
