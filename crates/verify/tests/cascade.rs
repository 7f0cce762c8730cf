//! Attacks and the cascade on real engines: no contradiction with published verdicts, no dependence on batches, threads or kills.

mod common;

use std::ops::ControlFlow;

use common::{VERIFICATION, small, verdicts, verification};
use tightrope_attack::{Attack, AttackError, Samples, Target, ThreatModel};
use tightrope_engine::{Norm, Reference};
use tightrope_verify::{
    AlphaBudget, Cascade, CertifyLog, LogSettings, Part, SampleRecord, Stage, Verdict, VerifyError, merge_logs,
};

fn cascade(epsilon: f64) -> Cascade {
    Cascade {
        stages: Stage::DEFAULT.to_vec(),
        attack: Attack { steps: 10, restarts: 2, ..Attack::default() },
        threat: ThreatModel::new(Norm::Inf, epsilon, Some((0.0, 1.0))),
        timeout: None,
        alpha: AlphaBudget::default(),
    }
}

/// A record without its times.
fn timeless(records: &[SampleRecord]) -> Vec<SampleRecord> {
    let forget = |r: &SampleRecord| {
        let mut record = SampleRecord { seconds: 0.0, ..r.clone() };
        record.stage_seconds.values_mut().for_each(|value| *value = 0.into());
        record
    };
    records.iter().map(forget).collect()
}

#[test]
fn cascade_never_contradicts_published_verdicts_and_decides_most() {
    let Some(verdicts) = verdicts() else { return };
    for name in VERIFICATION {
        let (model, inputs, labels) = verification(name);
        let target = Target::new(&model, &Reference, &Reference).unwrap();
        let indices: Vec<u64> = (0..labels.len() as u64).collect();
        for (epsilon, published) in verdicts[name].as_object().unwrap() {
            // Without branch and bound, which another test compares.
            let stages = Stage::DEFAULT[..5].to_vec();
            let cascade = Cascade { stages, attack: Attack::default(), ..cascade(epsilon.parse().unwrap()) };
            let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
            let records = cascade.certify(&target, &samples).unwrap();
            let mut decided = 0;
            for instance in published["instances"].as_array().unwrap() {
                let record = &records[instance["i"].as_u64().unwrap() as usize];
                let truth = instance["verdict"].as_str().unwrap();
                let contradiction = matches!(
                    (record.verdict, truth),
                    (Verdict::Verified, "falsified") | (Verdict::Falsified, "verified")
                );
                assert!(!contradiction, "{name} ε = {epsilon}: {record:?} against {truth}");
                decided += usize::from(record.verdict != Verdict::Unknown);
            }
            eprintln!("{name} ε = {epsilon}: {decided} of {} decided", records.len());
            // The smallest published radii are decided without branching.
            if ["0.01", "0.05"].contains(&epsilon.as_str()) {
                assert!(decided * 10 >= records.len() * 8, "{name} ε = {epsilon}: only {decided} decided");
            }
        }
    }
}

#[test]
fn every_verdict_comes_with_its_evidence() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let cascade = cascade(0.02);
    let records = cascade.certify(&target, &samples).unwrap();
    let count = |verdict| records.iter().filter(|r| r.verdict == verdict).count();
    assert!(count(Verdict::Verified) > 5 && count(Verdict::Falsified) > 5, "{records:?}");
    let strong = Attack { steps: 100, restarts: 5, seed: 9, ..Attack::default() };
    let attacked = strong.run(&target, &cascade.threat, &samples).unwrap();
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.natural_correct, i != 3 && i != 40);
        assert_eq!(record.natural_correct, record.prediction == record.label);
        match record.verdict {
            Verdict::Verified => {
                // Branch and bound proves the sign of a margin, not its size.
                let by_branching = record.stage.as_deref() == Some("bab");
                assert!(record.margin_lower.is_some_and(|m| m > 0.0 || by_branching && m == 0.0), "{record:?}");
                assert!(!attacked.broken[i] && f64::from(attacked.margins[i]) >= record.margin_lower.unwrap());
            }
            Verdict::Falsified if record.natural_correct => {
                assert!(["pgd", "bab"].contains(&record.stage.as_deref().unwrap()));
                assert!(record.margin_attack.unwrap() <= 0.0);
            }
            Verdict::Falsified => assert_eq!(record.stage.as_deref(), Some("natural")),
            Verdict::Unknown => assert_eq!(record.stage, None),
        }
    }
    for i in (0..labels.len()).filter(|&i| attacked.broken[i]) {
        let point = &attacked.adversarial[i * 64..(i + 1) * 64];
        let x = &inputs[i * 64..(i + 1) * 64];
        assert!(target.replay(&cascade.threat, x, point, labels[i]).unwrap().is_some());
    }
}

#[test]
fn a_point_outside_the_region_or_on_the_right_side_is_no_counterexample() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let threat = cascade(0.02).threat;
    let x = &inputs[..64];
    assert_eq!(target.replay(&threat, x, x, labels[0]).unwrap(), None);
    let wrong = (labels[0] + 1) % 4;
    assert!(target.replay(&threat, x, x, wrong).unwrap().unwrap() < 0.0);
    let mut outside = x.to_vec();
    outside[7] += if outside[7] < 0.5 { 0.1 } else { -0.1 };
    assert_eq!(target.replay(&threat, x, &outside, wrong).unwrap(), None);
}

/// Branch and bound alone decides every sample as the whole cascade does, and no verdict depends on threads.
#[test]
fn branch_and_bound_decides_what_the_other_stages_leave() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let certify = |stages: &[Stage], threads| {
        let cascade = Cascade { stages: stages.to_vec(), ..cascade(0.02) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        timeless(&pool.install(|| cascade.certify(&target, &samples)).unwrap())
    };
    let whole = certify(&Stage::DEFAULT, 2);
    assert_eq!(certify(&Stage::DEFAULT, 1), whole);
    let entered = |stage: &str| whole.iter().filter(|r| r.stage_seconds.contains_key(stage)).count();
    assert!(entered("alpha-crown") > entered("bab") && entered("bab") > 0, "{whole:?}");
    assert!(whole.iter().all(|r| r.verdict != Verdict::Unknown), "{whole:?}");
    let alone = certify(&[Stage::Bab], 3);
    for (record, alone) in whole.iter().zip(&alone) {
        assert_eq!(alone.verdict, record.verdict, "{alone:?} {record:?}");
    }
    // Stages may stand in any order; those after the first individual one take samples one by one.
    let turned = certify(&[Stage::AlphaCrown, Stage::Pgd, Stage::Bab], 2);
    for (record, turned) in whole.iter().zip(&turned) {
        assert_eq!(turned.verdict, record.verdict, "{turned:?} {record:?}");
    }
}

#[test]
fn an_interrupted_certification_resumes_to_the_same_records() {
    let (model, inputs, labels) = small();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certify.jsonl");
    let cascade = cascade(0.02);
    let settings = LogSettings::from([("eps".to_string(), 0.02.into())]);
    let mut log = CertifyLog::create(&path, &settings).unwrap();
    let whole = cascade.run(&target, &samples, &mut log, &[], |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(whole.iter().map(|r| r.index).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    drop(log);
    let (log, logged) = CertifyLog::resume(&path, &settings).unwrap();
    drop(log);
    let alone = logged.iter().rev().take_while(|r| r.stage_seconds.contains_key("alpha-crown")).count();
    assert!(alone > 2, "the last samples are to come one by one");

    let bytes = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect();
    // In the first batch, in the second, among the samples taken one by one: each time inside a line.
    for lines in [30, 100, 150, 200 - alone, 199] {
        std::fs::write(&path, &bytes[..ends[lines] + 20]).unwrap();
        let (mut log, done) = CertifyLog::resume(&path, &settings).unwrap();
        assert_eq!(done.len(), lines);
        let mut heard = 0;
        let hear = |new: &[SampleRecord]| {
            heard += new.len();
            ControlFlow::Continue(())
        };
        let resumed = cascade.run(&target, &samples, &mut log, &done, hear).unwrap();
        assert_eq!(heard, 200 - lines);
        assert_eq!(timeless(&resumed), timeless(&whole), "cut after {lines}");
        drop(log);
        let (log, again) = CertifyLog::resume(&path, &settings).unwrap();
        drop(log);
        assert_eq!(timeless(&again), timeless(&logged), "cut after {lines}");
    }
}

/// A network whose layers are scaled by powers of two, or close to where numbers end, is certified as the plain one is.
#[test]
fn scaled_networks_are_certified_alike() {
    let (model, inputs, labels) = small();
    let (inputs, labels) = (&inputs[..20 * model.network.input_len()], &labels[..20]);
    let cascade = Cascade { timeout: Some(std::time::Duration::from_secs(60)), ..cascade(0.02) };
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs, labels };
    let certified = |factors: &[f32]| {
        let mut scaled = model.clone();
        let layers = scaled.network.parameters().iter().cloned().collect::<Vec<_>>();
        let (mut layer, mut whole) = (0, 1.0);
        for info in layers {
            if info.name.ends_with("weight") {
                layer += 1;
                whole *= factors[layer - 1];
            }
            let factor = if info.name.ends_with("weight") { factors[layer - 1] } else { whole };
            scaled.theta[info.range()].iter_mut().for_each(|value| *value *= factor);
        }
        let target = Target::new(&scaled, &Reference, &Reference).unwrap();
        let records = cascade.certify(&target, &samples).unwrap();
        records.iter().map(|record| (record.index, record.verdict)).collect::<Vec<_>>()
    };
    let layers = model.network.parameters().iter().filter(|info| info.name.ends_with("weight")).count();
    let ends = |first: f32, last: f32| {
        let mut factors = vec![1.0; layers];
        (factors[0], factors[layers - 1]) = (first, last);
        factors
    };
    let plain = certified(&vec![1.0; layers]);
    assert!(plain.iter().any(|(_, verdict)| *verdict == Verdict::Verified));
    let big = 60_f32.exp2();
    for (first, last) in [(big, 1.0 / big), (1.0 / big, big), (big, 1.0), (1.0, 1.0 / big)] {
        assert_eq!(certified(&ends(first, last)), plain, "{first:e}, {last:e}");
    }
}

#[test]
fn a_time_limit_leaves_later_stages_out() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let hasty = Cascade { timeout: Some(std::time::Duration::from_nanos(1)), ..cascade(0.02) };
    let records = hasty.certify(&target, &samples).unwrap();
    assert!(records.iter().all(|r| r.stage_seconds.len() <= 1 && r.verdict != Verdict::Verified));
    assert!(records.iter().any(|r| r.verdict == Verdict::Unknown));
}

#[test]
fn settings_without_sense_are_refused() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let samples = Samples { indices: &[0], inputs: &inputs[..64], labels: &labels[..1] };
    let twice = Cascade { stages: vec![Stage::Pgd, Stage::Pgd], ..cascade(0.02) };
    assert!(matches!(twice.certify(&target, &samples), Err(VerifyError::Usage(_))));
    let attack = Attack { restarts: 0, ..Attack::default() };
    assert!(matches!(attack.run(&target, &twice.threat, &samples), Err(AttackError::Usage(_))));
    let outside = Samples { labels: &[4], ..samples };
    assert!(matches!(cascade(0.02).certify(&target, &outside), Err(VerifyError::Engine(_))));
    for stages in [&Stage::DEFAULT[..1], &Stage::DEFAULT[1..], &Stage::DEFAULT[4..], &Stage::DEFAULT[5..]] {
        let negative = Cascade { stages: stages.to_vec(), ..cascade(-0.1) };
        assert!(negative.certify(&target, &samples).unwrap_err().to_string().contains("-0.1"));
        let mut shifted = inputs[64..128].to_vec();
        shifted[5] = 1.5;
        let elsewhere = Samples { indices: &[77], inputs: &shifted, labels: &labels[1..2] };
        let logits = target.logits(&shifted).unwrap();
        let label = (0..4).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        let problem = Cascade { stages: stages.to_vec(), ..cascade(0.02) }
            .certify(&target, &Samples { labels: &[label], ..elsewhere })
            .unwrap_err()
            .to_string();
        assert!(problem.contains("sample 77") && problem.contains("outside the data range"), "{problem}");
    }
}

/// An attack stops between two steps when its samples' time is out, and says nothing wrong then.
#[test]
fn a_time_limit_stops_an_attack() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let attack = Attack { steps: 1_000_000, restarts: 1000, ..Attack::default() };
    let timeout = Some(std::time::Duration::from_millis(2));
    let cascade = Cascade { stages: vec![Stage::Pgd], attack, timeout, ..cascade(0.02) };
    let start = std::time::Instant::now();
    let records = cascade.certify(&target, &samples).unwrap();
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    assert!(records.iter().any(|r| r.verdict == Verdict::Unknown && r.margin_attack.is_some()));
}

#[test]
fn parts_of_a_certification_come_to_the_log_of_the_whole() {
    let (model, inputs, labels) = small();
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (cascade, settings) = (cascade(0.02), LogSettings::from([("stages".to_string(), "pgd,ibp".into())]));
    let (dimension, samples) = (inputs.len() / labels.len(), labels.len());
    let certify = |name: &str, indices: &[u64], settings: &LogSettings, limit: usize| {
        let _ = std::fs::remove_file(path(name));
        let at = |index: &u64| *index as usize;
        let own: Vec<f32> = indices.iter().flat_map(|i| &inputs[at(i) * dimension..][..dimension]).copied().collect();
        let own_labels: Vec<usize> = indices.iter().map(|i| labels[at(i)]).collect();
        let own = Samples { indices, inputs: &own, labels: &own_labels };
        let mut log = CertifyLog::create(&path(name), settings).unwrap();
        let mut heard = 0;
        let _ = cascade.run(&target, &own, &mut log, &[], |new| {
            heard += new.len();
            if heard >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    };
    certify("whole", &(0..samples as u64).collect::<Vec<_>>(), &settings, usize::MAX);
    let part = |index: u64, of: u64, name: &str, limit: usize| {
        let (part, mut settings) = (Part { index, of }, settings.clone());
        part.mark(&mut settings, samples);
        certify(name, &part.samples(samples), &settings, limit);
    };
    part(1, 2, "one", usize::MAX);
    part(2, 2, "two", usize::MAX);
    let merged = merge_logs(&[path("two"), path("one")], &path("merged")).unwrap();
    let (log, whole) = CertifyLog::resume(&path("whole"), &settings).unwrap();
    drop(log);
    let (log, again) = CertifyLog::resume(&path("merged"), &settings).unwrap();
    drop(log);
    let sorted = |records: &[SampleRecord]| {
        let mut records = timeless(records);
        records.sort_by_key(|record| record.index);
        records
    };
    assert_eq!(timeless(&again), sorted(&whole));
    assert_eq!((merged.records, merged.settings.clone()), (again, settings.clone()));
    assert_eq!(merged.stages, ["pgd", "ibp"].map(|name| name.parse::<Stage>().unwrap()));

    let refused = |names: &[&str], words: &[&str]| {
        let parts: Vec<_> = names.iter().map(|name| path(name)).collect();
        let message = merge_logs(&parts, &path("none")).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{names:?}: {message}");
        assert!(!path("none").exists());
    };
    refused(&["one"], &["one of 2 parts", "2 are missing"]);
    refused(&["one", "one"], &["part 1 of 2 once more"]);
    refused(&["one", "whole"], &["whole", "no part", "--shard"]);
    part(2, 2, "short", 40);
    refused(&["one", "short"], &["short", "not finished", "--resume"]);
    part(2, 3, "third", usize::MAX);
    refused(&["one", "third"], &["one of 3 parts"]);
    let mut text = std::fs::read(path("two")).unwrap();
    text.truncate(text.len() - 9);
    std::fs::write(path("torn"), &text).unwrap();
    refused(&["one", "torn"], &["torn", "not finished"]);
    let mut other = settings.clone();
    other.insert("stages".into(), "pgd".into());
    Part { index: 2, of: 2 }.mark(&mut other, samples);
    certify("other", &Part { index: 2, of: 2 }.samples(samples), &other, usize::MAX);
    refused(&["one", "other"], &["another certification", "stages differ"]);
}

#[test]
fn an_observer_stops_the_cascade_and_the_log_goes_on() {
    let (model, inputs, labels) = small();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certify.jsonl");
    let cascade = cascade(0.02);
    let settings = LogSettings::new();
    let mut log = CertifyLog::create(&path, &settings).unwrap();
    let stopped = cascade.run(&target, &samples, &mut log, &[], |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(VerifyError::Interrupted)));
    drop(log);
    let (mut log, done) = CertifyLog::resume(&path, &settings).unwrap();
    assert!(!done.is_empty() && done.len() < labels.len());
    cascade.run(&target, &samples, &mut log, &done, |_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn records_of_other_data_are_refused() {
    let (model, inputs, labels) = small();
    let indices: Vec<u64> = (0..labels.len() as u64).collect();
    let samples = Samples { indices: &indices, inputs: &inputs, labels: &labels };
    let target = Target::new(&model, &Reference, &Reference).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certify.jsonl");
    let cascade = Cascade { stages: vec![], ..cascade(0.02) };
    let mut log = CertifyLog::create(&path, &LogSettings::new()).unwrap();
    let whole = cascade.run(&target, &samples, &mut log, &[], |_| ControlFlow::Continue(())).unwrap();
    let mut refused = |change: fn(&mut SampleRecord), part: &str| {
        let mut done = whole.clone();
        change(&mut done[7]);
        let result = cascade.run(&target, &samples, &mut log, &done, |_| ControlFlow::Continue(()));
        let message = result.unwrap_err().to_string();
        assert!(message.contains("sample 7") && message.contains(part) && message.contains("--overwrite"), "{message}");
    };
    refused(|record| record.label = (record.label + 1) % 4, "label");
    refused(|record| record.prediction = (record.prediction + 1) % 4, "prediction");
    refused(|record| record.prediction = 1000, "prediction 1000");
    refused(
        |record| {
            record.natural_correct = false;
            record.verdict = Verdict::Verified;
        },
        "wrong",
    );
}
