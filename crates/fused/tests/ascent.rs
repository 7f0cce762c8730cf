//! Optimised slopes of the fused engine against the reference engine: margins in packets, members, and what is left to it.

mod common;

use common::{close, engines, networks};
use tightrope_engine::{
    BoundRequest, Engine, Loaded, MemberRequest, Norm, Perturbation, Reference, Region, Relaxation, SlopeAscent, Spec,
};
use tightrope_fused::Fused;
use tightrope_network::Network;
use tightrope_testkit::random::{draws, uniform};

const RELAXATIONS: [Relaxation; 4] =
    [Relaxation::Crown, Relaxation::CrownIbp, Relaxation::CrownMeetIbp, Relaxation::CrownSkipIbp];

fn climbing(relaxation: Relaxation, steps: usize) -> BoundRequest {
    BoundRequest { ascent: Some(SlopeAscent { steps, rate: 0.25 }), ..BoundRequest::lower(relaxation) }
}

fn case(network: &Network, batch: usize) -> (Vec<f32>, Region<f32>, Spec<f32>) {
    let theta = uniform(network, 3, 0.1);
    let d = network.input_len();
    let x = draws(5, 0, batch * d, 0.0, 1.0);
    let region = Region::ball(&x, d, 0.05, Norm::Inf, Some((0.0, 1.0))).unwrap();
    let labels = (0..batch).map(|i| i % network.output_len()).collect();
    (theta, region, Spec::Margins { labels })
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn margins_are_those_of_the_reference_engine() {
    let mut raised = 0;
    for (name, network) in networks() {
        for batch in [1, 5, 19] {
            let (theta, region, spec) = case(&network, batch);
            let oracle = Reference.load(&network, &theta, &[]).unwrap();
            for relaxation in RELAXATIONS {
                let expected = oracle.bound(&region, &spec, climbing(relaxation, 3)).unwrap();
                let plain = wide(&oracle.bound(&region, &spec, BoundRequest::lower(relaxation)).unwrap().lower);
                for engine in engines() {
                    let at = engine.load(&network, &theta, &[]).unwrap();
                    let what = format!("{name} {relaxation} {} batch {batch}", engine.isa().name());
                    let still = at.bound(&region, &spec, climbing(relaxation, 0)).unwrap();
                    assert_eq!(still, at.bound(&region, &spec, BoundRequest::lower(relaxation)).unwrap(), "{what}");
                    let got = at.bound(&region, &spec, climbing(relaxation, 3)).unwrap();
                    // Slopes whose derivative is nothing but rounding go one way here and another there.
                    close(&what, &got.lower, &wide(&expected.lower), 2e-4);
                    let scale = 1.0 + plain.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                    for (got, plain) in got.lower.iter().zip(&plain) {
                        assert!(f64::from(*got) >= plain - 1e-5 * scale, "{what}: {got} below {plain}");
                        raised += usize::from(f64::from(*got) > plain + 1e-4 * scale);
                    }
                }
            }
        }
    }
    assert!(raised > 100, "only {raised} bounds were raised");
}

/// Members are bounded as handles at their parameters are, on any number of threads, and used memory does not show.
#[test]
fn members_are_bounded_alike_on_any_number_of_threads() {
    for (name, network) in networks().into_iter().filter(|(name, _)| ["tiny", "cnn3", "odd"].contains(name)) {
        let (theta, region, spec) = case(&network, 21);
        let perturbation = Perturbation::new(4, 9, 0.01);
        let request = climbing(Relaxation::Crown, 4);
        let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
        let used = Fused::new().unwrap();
        let losses = |engine: &dyn Engine<f32>, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let asked = MemberRequest { inputs: None, bounds: Some((&region, &spec, request)) };
            let at = engine.load(&network, &theta, &[]).unwrap();
            pool.install(|| {
                at.members(perturbation, 2..5, &asked, &|output| sum(&output.bounds.unwrap().lower)).unwrap()
            })
        };
        let (alone, again) = (losses(&used, 1), losses(&used, 3));
        assert_eq!(alone, again, "{name}");
        let expected = losses(&Reference, 2);
        for (pair, losses) in alone.iter().enumerate() {
            let mut delta = vec![0.0; theta.len()];
            perturbation.stream(2 + pair as u64).gaussian(0, &mut delta);
            for (index, sign) in [1.0, -1.0].into_iter().enumerate() {
                let member: Vec<f32> =
                    theta.iter().zip(&delta).map(|(t, d)| t + sign * (d * perturbation.sigma)).collect();
                let own = used.load(&network, &member, &[]).unwrap().bound(&region, &spec, request).unwrap();
                assert_eq!(sum(&own.lower), losses[index], "{name}");
                let difference = (losses[index] - expected[pair][index]).abs();
                assert!(difference < 1e-3 * (1.0 + expected[pair][index].abs()), "{name}: {difference}");
            }
        }
    }
}

/// Upper bounds and matrices go to the reference engine; balls and tapes are refused by both.
#[test]
fn the_rest_is_left_or_refused() {
    let (_, network) = networks().swap_remove(1);
    let (theta, region, spec) = case(&network, 2);
    let engine = Fused::new().unwrap();
    let at: Box<dyn Loaded<f32>> = engine.load(&network, &theta, &[]).unwrap();
    let oracle: Box<dyn Loaded<f32>> = Reference.load(&network, &theta, &[]).unwrap();
    let both = BoundRequest { upper: true, ..climbing(Relaxation::Crown, 3) };
    assert_eq!(at.bound(&region, &spec, both).unwrap(), oracle.bound(&region, &spec, both).unwrap());
    let logits = climbing(Relaxation::Crown, 3);
    assert_eq!(
        at.bound(&region, &Spec::Logits, logits).unwrap(),
        oracle.bound(&region, &Spec::Logits, logits).unwrap()
    );
    let taped = at.bound_taped(&region, &spec, climbing(Relaxation::Crown, 3)).err().unwrap().to_string();
    assert!(taped.contains("no gradient"), "{taped}");
    let d = network.input_len();
    let ball = Region::ball(&vec![0.5; 2 * d], d, 0.1, Norm::L2, None).unwrap();
    let problem = at.bound(&ball, &spec, climbing(Relaxation::Crown, 3)).unwrap_err().to_string();
    assert!(problem.contains("over boxes alone"), "{problem}");
    assert!(at.bound(&region, &spec, climbing(Relaxation::Ibp, 3)).is_err());
}
