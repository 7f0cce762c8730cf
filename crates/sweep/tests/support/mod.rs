//! Sweeps of a shell script that stands for the program.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::Cell;
use std::path::Path;

use serde_json::Value;
use tightrope_sweep::{Axis, Commands, Event, Objective, Plan, Run, Strategy, Sweep};

/// Axes `x` and `y`, both [0, 1].
pub fn ranges() -> Vec<Axis> {
    ["x=0..1", "y=0..1"].map(|text| Axis::range(text).unwrap()).to_vec()
}

/// Lists of values.
pub fn lists(texts: &[&str]) -> Vec<Axis> {
    texts.iter().map(|text| Axis::values(text).unwrap()).collect()
}

/// A plan for natural and certified accuracy.
pub fn plan(strategy: Strategy, axes: Vec<Axis>, seeds: u64) -> Plan {
    let objectives = vec![Objective::Natural, Objective::Certified];
    Plan { axes, listed: vec![], strategy, seeds, seed: 0, objectives, setting: Default::default() }
}

/// The script as the program.
pub fn commands() -> Commands {
    Commands {
        program: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake.sh"),
        train: ["train", "recipe.toml"].map(String::from).to_vec(),
        certify: ["--limit", "10"].map(String::from).to_vec(),
        threads: 1,
    }
}

/// What a run did, one word for each event.
pub fn run(sweep: &mut Sweep, jobs: usize, retry: bool, stop_after: Option<usize>) -> (bool, Vec<String>) {
    let (seen, ended) = (std::cell::RefCell::new(Vec::new()), Cell::new(0));
    let finished = sweep.run(Run {
        commands: &commands(),
        jobs,
        retry,
        stop: &|| stop_after.is_some_and(|most| ended.get() >= most),
        tell: &mut |event| {
            seen.borrow_mut().push(match event {
                Event::Begun(trial) => format!("begun {}", trial.number),
                Event::Waiting(trial) => format!("waiting {}", trial.number),
                Event::Trained(trial) => format!("trained {}", trial.number),
                Event::Ended { record, .. } => {
                    ended.set(ended.get() + 1);
                    format!("ended {}", record.trial)
                }
            })
        },
    });
    (finished.unwrap(), seen.into_inner())
}

/// The rows of results.jsonl.
pub fn rows(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("results.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lines of a file of trial `number`; none if it is not there.
pub fn lines(folder: &Path, number: u64, name: &str) -> usize {
    let path = folder.join(format!("trials/{number:04}/{name}"));
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
