//! Instances of the verification competition: verdicts as agreed there, and proofs that the independent checker accepts.

use std::time::{Duration, Instant};

use tightrope_certificate::Checker;
use tightrope_testkit::shared::{vnncomp, vnncomp_later};
use tightrope_verify::complete::{Outcome, Settings, decide};
use tightrope_verify::replay_counterexample;
use tightrope_vnnlib::Property;

/// Part, network and property; `true` where the proof goes through the checker as well, which takes it longer than the
/// search took for the others.
const INSTANCES: [(&str, &str, &str, bool); 9] = [
    ("mnistfc", "mnist-net_256x4.onnx", "prop_5_0.03.vnnlib", false),
    ("mnistfc", "mnist-net_256x4.onnx", "prop_2_0.03.vnnlib", true),
    ("mnistfc", "mnist-net_256x4.onnx", "prop_11_0.05.vnnlib", true),
    ("mnistfc", "mnist-net_256x2.onnx", "prop_4_0.03.vnnlib", true),
    ("acasxu", "ACASXU_run2a_1_1_batch_2000.onnx", "prop_3.vnnlib", true),
    ("acasxu", "ACASXU_run2a_2_1_batch_2000.onnx", "prop_2.vnnlib", true),
    ("acasxu", "ACASXU_run2a_3_1_batch_2000.onnx", "prop_4.vnnlib", true),
    ("oval21", "cifar_base_kw.onnx", "cifar_base_kw-img4549-eps0.00392156862745098.vnnlib", true),
    ("oval21", "cifar_wide_kw.onnx", "cifar_wide_kw-img4386-eps0.00026143790849673205.vnnlib", true),
];

#[test]
fn verdicts_are_those_of_the_competition() {
    let Some(folder) = vnncomp() else { return };
    let mut counts = [0; 2];
    for (part, onnx, vnnlib, check) in INSTANCES {
        let start = Instant::now();
        let folder = folder.path().join(part);
        let list = std::fs::read(folder.join("instances.json")).unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
        let instance = list.iter().find(|i| i["onnx"] == onnx && i["vnnlib"] == vnnlib);
        let instance = instance.unwrap_or_else(|| panic!("{onnx} {vnnlib} is not listed"));
        let limit = instance["timeout_s"].as_f64().unwrap();
        let model = tightrope_onnx::import(&folder.join(onnx)).unwrap();
        let property = Property::read(&folder.join(vnnlib)).unwrap();
        let settings = Settings { timeout: Duration::from_secs_f64(limit), proof: check, ..Settings::default() };
        let decision = decide(&model.network, &model.weights(), &property, &settings, &|_| {}).unwrap();
        let decided = start.elapsed().as_secs_f64();
        let expected = instance["expected"].as_str().unwrap();
        match decision.outcome {
            Outcome::Holds { proof } => {
                assert_eq!(expected, "holds", "{onnx} {vnnlib}");
                if check {
                    let weights = model.weights();
                    let checker = Checker::new(&model.network, &weights);
                    let report = checker.check(&property, &proof.expect("a proof was asked for"));
                    assert!(report.is_ok(), "{onnx} {vnnlib}: {}", report.unwrap_err());
                }
                counts[0] += 1;
            }
            Outcome::Violated { input, .. } => {
                assert_eq!(expected, "violated", "{onnx} {vnnlib}");
                let replayed = replay_counterexample(&model, &property, &input).unwrap();
                assert!(replayed.confirmed, "{onnx} {vnnlib}: the counterexample is none");
                counts[1] += 1;
            }
            other => panic!("{onnx} {vnnlib}: {other:?} where {expected} is known"),
        }
        let all = start.elapsed().as_secs_f64();
        eprintln!("{onnx} {vnnlib}: {expected} in {decided:.1} s, with the check {all:.1} s");
    }
    assert!(counts[0] >= 4 && counts[1] >= 2, "{counts:?}");
}

/// Networks that multiply and divide values that depend on the input: nothing contradicts the verdicts known.
#[test]
fn quotients_are_not_decided_wrongly() {
    const LIMIT: Duration = Duration::from_secs(20);
    let Some(folder) = vnncomp_later() else { return };
    let folder = folder.path().join("dev/nn4sys_2023");
    for (onnx, vnnlib) in
        [("mscn_128d.onnx", "cardinality_0_1_128.vnnlib"), ("pensieve_big_parallel.onnx", "pensieve_parallel_0.vnnlib")]
    {
        let start = Instant::now();
        let model = tightrope_onnx::import(&folder.join(onnx)).unwrap();
        let property = Property::read(&folder.join(vnnlib)).unwrap();
        let settings = Settings { timeout: LIMIT, ..Settings::default() };
        let decision = decide(&model.network, &model.weights(), &property, &settings, &|_| {}).unwrap();
        eprintln!("{onnx} {vnnlib}: {:?} in {:.1} s", decision.outcome, start.elapsed().as_secs_f64());
        // Both are known to hold.
        assert!(!matches!(decision.outcome, Outcome::Violated { .. }), "{onnx} {vnnlib}: {:?}", decision.outcome);
    }
}
