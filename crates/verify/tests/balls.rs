//! α-CROWN and branch and bound over ℓ2 and ℓ1 balls, cut by the data range or not, against the truth on two inputs and
//! against sampled points on more.

use std::time::Duration;

use tightrope_attack::{Attack, Samples, Target, ThreatModel};
use tightrope_engine::{Ball, BoundRequest, Norm, Reference, Region, Relaxation, Spec};
use tightrope_network::Model;
use tightrope_testkit::evaluate::{Ask, logits};
use tightrope_testkit::networks::dense;
use tightrope_testkit::random::Rng;
use tightrope_testkit::sampling::points;
use tightrope_verify::complete::{AlphaCrown, AlphaSettings};
use tightrope_verify::{AlphaBudget, Cascade, Stage, Verdict};

/// A fully connected ReLU network with random weights.
fn random(rng: &Rng, widths: &[usize]) -> Model {
    let network = dense(widths);
    let theta = rng.normals(network.parameters().total()).iter().map(|v| *v as f32).collect();
    Model::new(network, theta)
}

fn norms() -> [(Norm, Option<(f64, f64)>); 4] {
    [(Norm::L2, None), (Norm::L2, Some((0.0, 1.0))), (Norm::L1, None), (Norm::L1, Some((0.0, 1.0)))]
}

/// Points of the ball around two inputs: rings of directions, cut to the range.
fn disc(threat: &ThreatModel, x: [f32; 2]) -> Vec<f64> {
    let mut points = Vec::new();
    for ring in 0..=40 {
        for direction in 0..240 {
            let angle = f64::from(direction) * std::f64::consts::TAU / 240.0;
            let (c, s) = (angle.cos(), angle.sin());
            let length = if threat.norm == Norm::L1 { c.abs() + s.abs() } else { 1.0 };
            let radius = threat.epsilon.largest() * f64::from(ring) / 40.0 / length;
            for (x, d) in x.iter().zip([c, s]) {
                let moved = f64::from(*x) + radius * d;
                points.push(threat.clip.map_or(moved, |(low, high)| moved.clamp(low, high)));
            }
        }
    }
    points
}

#[test]
fn verdicts_over_balls_of_two_inputs_are_the_truth() {
    let (mut verified, mut falsified) = (0, 0);
    for seed in 0..40 {
        let rng = Rng::new(seed);
        let model = random(&rng, &[2, 8, 8, 3]);
        let target = Target::new(&model, &Reference, &Reference).unwrap();
        let x = [rng.between(0.1, 0.9) as f32, rng.between(0.1, 0.9) as f32];
        let clean = logits(&model, &x.map(f64::from));
        let label = (0..3).max_by(|&a, &b| clean[a].total_cmp(&clean[b])).unwrap();
        for (norm, clip) in norms() {
            let threat = ThreatModel::new(norm, rng.between(0.02, 0.5), clip);
            let least = disc(&threat, x)
                .chunks_exact(2)
                .flat_map(|point| {
                    let y = logits(&model, point);
                    (0..3).filter(|&k| k != label).map(|k| y[label] - y[k]).collect::<Vec<_>>()
                })
                .fold(f64::INFINITY, f64::min);
            // Branch and bound alone finds what an attack before it would have found.
            let stages = match seed % 2 {
                0 => vec![Stage::Pgd, Stage::AlphaCrown, Stage::Bab],
                _ => vec![Stage::Bab],
            };
            let cascade = Cascade {
                stages,
                attack: Attack { steps: 40, restarts: 4, ..Attack::default() },
                threat: threat.clone(),
                timeout: None,
                alpha: AlphaBudget::default(),
            };
            let samples = Samples { indices: &[0], inputs: &x, labels: &[label] };
            let record = &cascade.certify(&target, &samples).unwrap()[0];
            match record.verdict {
                Verdict::Verified => {
                    assert!(least > 0.0, "seed {seed} {threat:?}: a point of the ball has the margin {least}");
                    verified += 1;
                }
                Verdict::Falsified => falsified += 1,
                // A margin of less than the rings miss may be either, or too close for splits and multipliers.
                _ => assert!(least.abs() < 0.05, "seed {seed} {threat:?}: undecided at a margin of {least}"),
            }
            if least <= 0.0 {
                assert_ne!(record.verdict, Verdict::Verified);
            }
        }
    }
    assert!(verified > 40 && falsified > 20, "{verified} verified, {falsified} falsified");
}

/// Branch and bound finds by itself what an attack finds, whatever rounding to single precision does to its points.
#[test]
fn branch_and_bound_falsifies_what_an_attack_falsifies() {
    let mut falsified = 0;
    for seed in 0..16 {
        let rng = Rng::new(seed);
        let model = random(&rng, &[64, 12, 3]);
        let target = Target::new(&model, &Reference, &Reference).unwrap();
        let x: Vec<f32> = (0..64).map(|_| rng.between(0.0, 1.0) as f32).collect();
        let clean = logits(&model, &x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>());
        let label = (0..3).max_by(|&a, &b| clean[a].total_cmp(&clean[b])).unwrap();
        for (norm, clip) in norms() {
            let epsilon = if norm == Norm::L2 { rng.between(0.1, 0.8) } else { rng.between(0.2, 3.0) };
            let verdict = |stages: Vec<Stage>| {
                let cascade = Cascade {
                    stages,
                    attack: Attack { steps: 40, restarts: 3, ..Attack::default() },
                    threat: ThreatModel::new(norm, epsilon, clip),
                    timeout: Some(Duration::from_secs(20)),
                    alpha: AlphaBudget::default(),
                };
                let samples = Samples { indices: &[0], inputs: &x, labels: &[label] };
                cascade.certify(&target, &samples).unwrap()[0].verdict
            };
            if verdict(vec![Stage::Pgd]) == Verdict::Falsified {
                assert_eq!(verdict(vec![Stage::Bab]), Verdict::Falsified, "seed {seed}, {norm:?} {epsilon} {clip:?}");
                falsified += 1;
            }
        }
    }
    assert!(falsified > 15, "{falsified} falsified");
}

#[test]
fn no_point_of_a_ball_leaves_optimised_bounds_which_are_tighter_than_those_of_the_box() {
    for (number, (norm, clip)) in norms().into_iter().enumerate() {
        let rng = Rng::new(100 + number as u64);
        let (d, k) = (12, 3);
        let model = random(&rng, &[d, 16, 12, k]);
        let weights = model.weights();
        let alpha = AlphaCrown::new(&model.network, &weights).unwrap();
        let epsilon = if norm == Norm::L2 { 0.4 } else { 0.8 };
        let center: Vec<f64> = (0..d).map(|_| f64::from(rng.between(0.0, 1.0) as f32)).collect();
        let [low, high] = clip.map_or([f64::NEG_INFINITY, f64::INFINITY], |(low, high)| [low, high]);
        let lower: Vec<f64> = center.iter().map(|c| (c - epsilon).max(low)).collect();
        let upper: Vec<f64> = center.iter().map(|c| (c + epsilon).min(high)).collect();
        let rows = [1.0, -1.0, 0.0, 0.0, 1.0, -1.0, -1.0, 0.0, 0.5];
        let ball = Ball { norm, center: center.clone(), epsilon };
        let bound =
            |ball: Option<&Ball<f64>>| alpha.bound((&lower, &upper), ball, &rows, &AlphaSettings::default()).unwrap();
        let (cut, boxed) = (bound(Some(&ball)), bound(None));
        for (cut, boxed) in cut.rows.iter().zip(&boxed.rows) {
            assert!(cut > boxed, "{norm:?} {clip:?}: {cut} over the ball, {boxed} over the box");
        }
        // Never looser than CROWN, which takes the better of box and ball.
        let region = Region::ball(&center, d, epsilon, norm, clip).unwrap();
        let theta: Vec<f64> = model.theta.iter().map(|&v| v.into()).collect();
        let matrix = rows.iter().map(|&c| f64::from(c)).collect();
        let spec = Spec::Matrix { rows: 3, matrix, offset: Vec::new() };
        let crown =
            Reference.bound(&model.network, &theta, &region, &spec, BoundRequest::lower(Relaxation::Crown)).unwrap();
        for (cut, crown) in cut.rows.iter().zip(&crown.lower) {
            assert!(*cut >= crown - 1e-8 * (1.0 + crown.abs()), "{norm:?} {clip:?}: {cut} below CROWN's {crown}");
        }
        for x in points(&rng, &region, 0, 4000) {
            let y = logits(&model, &x);
            for (row, bound) in rows.chunks(k).zip(&cut.rows) {
                let value: f64 = row.iter().zip(&y).map(|(&c, y)| f64::from(c) * y).sum();
                assert!(value >= *bound, "{norm:?} {clip:?}: {value} below {bound}");
            }
        }
    }
}
