//! Complete verification against published verdicts: none is contradicted, and those known to be quick are reached.

#[path = "common/verdicts.rs"]
mod verdicts;

use std::time::Duration;

use tightrope_testkit::shared::shared;
use tightrope_verify::complete::{Outcome, Settings, decide};

#[test]
fn published_verdicts_are_reached_and_never_contradicted() {
    let Some(golden) = shared("golden") else { return };
    let mut decided = 0;
    for instance in verdicts::instances(&golden) {
        // Seconds each, or not known at all: left to the example of the same name.
        if instance.name.starts_with("cnn3_ibp 0.15 ") && instance.truth != "falsified" {
            continue;
        }
        // Far more than any of them takes.
        let settings = Settings { timeout: Duration::from_secs(300), ..Settings::default() };
        let model = &instance.model;
        let decision = decide(&model.network, &model.weights(), &instance.property, &settings, &|_| ()).unwrap();
        let verdict = match decision.outcome {
            Outcome::Holds { .. } => "verified",
            Outcome::Violated { .. } => "falsified",
            Outcome::Unknown { .. } | Outcome::Timeout { .. } => "open",
        };
        assert_eq!(verdict, instance.truth, "{}", instance.name);
        decided += 1;
    }
    assert_eq!(decided, 198);
}
