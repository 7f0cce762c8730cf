//! Attacks break what is known to break, stay in the region, and depend on neither batches nor threads.

mod common;

use common::{VERIFICATION, small, verdicts, verification};
use tightrope_attack::{Attack, AttackError, AttackKind, AttackOutcome, AttackPlan, Samples, Target, ThreatModel};
use tightrope_engine::{Norm, Reference};
use tightrope_network::{Layer, Model, NetworkBuilder};

fn plan(kinds: &[AttackKind], steps: usize, restarts: usize) -> AttackPlan {
    AttackPlan { kinds: kinds.to_vec(), attack: Attack { steps, restarts, ..Attack::default() }, targets: 9 }
}

/// `plan` on samples `range` of `(model, inputs, labels)`.
fn run(
    plan: &AttackPlan,
    threat: &ThreatModel,
    (model, inputs, labels): &(Model, Vec<f32>, Vec<usize>),
    range: std::ops::Range<usize>,
) -> AttackOutcome {
    let indices: Vec<u64> = range.clone().map(|i| i as u64).collect();
    let d = model.network.input_len();
    let inputs = &inputs[range.start * d..range.end * d];
    let samples = Samples { indices: &indices, inputs, labels: &labels[range] };
    plan.run(&Target::new(model, &Reference, &Reference).unwrap(), threat, &samples).unwrap()
}

fn count(outcome: &AttackOutcome) -> usize {
    outcome.broken.iter().filter(|&&broken| broken).count()
}

#[test]
fn every_attack_breaks_networks_in_every_norm_and_stays_inside() {
    let data = small();
    let target = Target::new(&data.0, &Reference, &Reference).unwrap();
    for (norm, epsilon) in [(Norm::Inf, 0.08), (Norm::L2, 0.5), (Norm::L1, 3.0)] {
        for clip in [Some((0.0, 1.0)), None] {
            let threat = ThreatModel::new(norm, epsilon, clip);
            let chance = count(&run(&plan(&[AttackKind::Pgd], 0, 2), &threat, &data, 0..200));
            for kind in AttackKind::ALL {
                let outcome = run(&plan(&[kind], 20, 1), &threat, &data, 0..200);
                let found = count(&outcome);
                assert!(found > chance + 10, "{kind}, {norm:?}: {chance} by chance, {found} by descent");
                for (i, point) in outcome.adversarial.chunks(64).enumerate() {
                    let x = &data.1[i * 64..(i + 1) * 64];
                    assert!(threat.contains(x, point), "{kind}, {norm:?}: sample {i} left the region");
                    let replayed = target.replay(&threat, x, point, data.2[i]).unwrap();
                    assert_eq!(replayed.is_some(), outcome.broken[i], "{kind}, {norm:?}: sample {i}");
                    let credit = (outcome.broken[i] && ![3, 40].contains(&i)).then_some(kind);
                    assert_eq!(outcome.broken_by[i], credit, "{kind}, {norm:?}: sample {i}");
                }
            }
        }
    }
}

/// Whatever the published PGD broke is broken by the sequence; Auto-PGD alone breaks as many as PGD where gradients
/// are known to be weak; and nothing is broken that a complete verifier proved.
#[test]
fn published_counterexamples_are_found_again() {
    let Some(verdicts) = verdicts() else { return };
    for name in VERIFICATION {
        let data = verification(name);
        for (epsilon, published) in verdicts[name].as_object().unwrap() {
            let threat = ThreatModel::new(Norm::Inf, epsilon.parse::<f64>().unwrap(), Some((0.0, 1.0)));
            let sequence = AttackKind::sequence(10);
            let [pgd, adaptive, all] = [&sequence[..1], &sequence[1..], &sequence[..]]
                .map(|kinds| run(&plan(kinds, 40, 3), &threat, &data, 0..30));
            for instance in published["instances"].as_array().unwrap() {
                let i = instance["i"].as_u64().unwrap() as usize;
                let place = format!("{name}, ε = {epsilon}, image {i}");
                if instance["by"] == "pgd" {
                    assert!(all.broken[i], "{place}: not broken");
                }
                let broken = all.broken[i] || adaptive.broken[i];
                assert!(!broken || instance["verdict"] != "verified", "{place}: proved robust, but broken");
            }
            eprintln!("{name}, ε = {epsilon}: PGD {}, Auto-PGD {}, all {}", count(&pgd), count(&adaptive), count(&all));
            assert!((0..30).all(|i| all.broken[i] || !pgd.broken[i]));
            assert!(name != "cnn3_tiny_ibp" || count(&adaptive) >= count(&pgd));
        }
    }
}

#[test]
fn attacks_depend_on_neither_batches_nor_threads() {
    let data = small();
    for norm in [Norm::Inf, Norm::L2, Norm::L1] {
        let epsilon = if norm == Norm::Inf { 0.02 } else { 0.2 };
        let threat = ThreatModel::new(norm, epsilon, Some((0.0, 1.0)));
        let plan = plan(&AttackKind::ALL, 6, 2);
        let whole = run(&plan, &threat, &data, 0..200);
        assert!(count(&whole) > 2 && count(&whole) < 190);
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| run(&plan, &threat, &data, 0..200)), whole, "{norm:?}, {threads} threads");
        }
        let part = run(&plan, &threat, &data, 20..77);
        assert_eq!(part.broken, whole.broken[20..77], "{norm:?}");
        assert_eq!(part.broken_by, whole.broken_by[20..77], "{norm:?}");
        assert_eq!(part.margins, whole.margins[20..77], "{norm:?}");
        assert_eq!(part.adversarial, whole.adversarial[20 * 64..77 * 64], "{norm:?}");
    }
}

/// Which end is near decides the way down: y = (0, |x| − 0.9) is flat at the sample itself and broken at both ends.
#[test]
fn random_starts_leave_flat_places() {
    let mut builder = NetworkBuilder::new(&[1]).unwrap();
    let hidden = builder.linear("hidden", 2, true, builder.input()).unwrap();
    let hidden = builder.add("relu", Layer::RELU, &[hidden]).unwrap();
    builder.linear("out", 2, true, hidden).unwrap();
    let model = Model::new(builder.build().unwrap(), vec![1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, -0.9]);
    let threat = ThreatModel::new(Norm::Inf, 1.0, None);
    let data = (model, vec![0.0], vec![0]);
    for kind in [AttackKind::Pgd, AttackKind::PgdTargeted, AttackKind::ApgdCe] {
        let outcome = run(&plan(&[kind], 20, 1), &threat, &data, 0..1);
        assert!(outcome.broken[0] && outcome.adversarial[0].abs() > 0.9, "{kind}: {outcome:?}");
    }
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let samples = Samples { indices: &[0], inputs: &inputs[..64], labels: &labels[..1] };
    let threat = ThreatModel::new(Norm::Inf, 0.1, None);
    let refused = |plan: AttackPlan, part: &str| {
        let problem = plan.run(&target, &threat, &samples).unwrap_err();
        assert!(matches!(&problem, AttackError::Usage(text) if text.contains(part)), "{problem}");
    };
    refused(plan(&[AttackKind::ApgdCe], 5, 0), "--restarts 1");
    refused(AttackPlan { targets: 0, ..plan(&[AttackKind::ApgdTargeted], 5, 1) }, "--targets 1");

    let mut builder = NetworkBuilder::new(&[1]).unwrap();
    builder.linear("out", 3, true, builder.input()).unwrap();
    let model = Model::new(builder.build().unwrap(), vec![0.0; 6]);
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let samples = Samples { indices: &[0], inputs: &[0.5], labels: &[0] };
    let problem = plan(&[AttackKind::ApgdTargeted], 5, 1).run(&target, &threat, &samples).unwrap_err().to_string();
    assert!(problem.contains("`apgd-targeted` needs at least 4 classes and the network has 3"), "{problem}");
}
