//! Decides the published verdicts of complete verification in the folder GOLDEN and compares:
//! `cargo run --release -p tightrope-verify --example verdicts -- GOLDEN [FILTER] [SECONDS]`.

#[path = "../tests/common/verdicts.rs"]
mod verdicts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tightrope_verify::complete::{Outcome, Settings, decide};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let golden = PathBuf::from(arguments.next().ok_or("give the folder")?);
    let filter = arguments.next().unwrap_or_default();
    let seconds: f64 = arguments.next().map_or(Ok(60.0), |s| s.parse())?;
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for instance in verdicts::instances(&golden).into_iter().filter(|instance| instance.name.contains(&filter)) {
        let settings = Settings { timeout: Duration::from_secs_f64(seconds), ..Settings::default() };
        let model = &instance.model;
        let start = Instant::now();
        let decision = decide(&model.network, &model.weights(), &instance.property, &settings, &|_| ())?;
        let verdict = match decision.outcome {
            Outcome::Holds { .. } => "verified".to_string(),
            Outcome::Violated { .. } => "falsified".to_string(),
            Outcome::Unknown { lower_bound } => format!("unknown({lower_bound:.4})"),
            Outcome::Timeout { lower_bound } => format!("timeout({lower_bound:.4})"),
        };
        let decided = verdict == "verified" || verdict == "falsified";
        let mark = match instance.truth.as_str() {
            "unknown" => {
                if decided {
                    "new"
                } else {
                    "open there too"
                }
            }
            _ if !decided => "OPEN",
            truth if truth == verdict => "agrees",
            _ => "CONTRADICTION",
        };
        let group = instance.name.rsplit_once(' ').map_or(String::new(), |(group, _)| group.into());
        *counts.entry((mark, group)).or_default() += 1;
        let s = decision.statistics;
        println!(
            "{mark} {}: {verdict} ({}) {:.2}s = attack {:.2} + root {:.2} + branch {:.2}; {} subproblems",
            instance.name,
            instance.truth,
            start.elapsed().as_secs_f64(),
            s.attack_seconds,
            s.root_seconds,
            s.branch_seconds,
            s.subproblems
        );
    }
    for ((mark, group), count) in counts {
        println!("{mark}, {group}: {count}");
    }
    Ok(())
}
