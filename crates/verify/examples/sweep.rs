//! Decides the instances of an unpacked benchmark folder (`instances.json`, networks, properties) and compares the
//! verdicts with those expected there: `cargo run --release -p tightrope-verify --example sweep -- FOLDER [FILTER] [SECONDS]`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tightrope_verify::complete::{Outcome, Settings, decide};
use tightrope_vnnlib::Property;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("give the folder")?);
    let filter = arguments.next().unwrap_or_default();
    let limit: Option<f64> = arguments.next().map(|s| s.parse()).transpose()?;
    let instances: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("instances.json"))?)?;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for instance in instances.as_array().ok_or("instances.json holds no list")? {
        let text = |key: &str| instance[key].as_str().unwrap_or_default().to_string();
        let name = format!("{} {}", text("onnx"), text("vnnlib"));
        if !name.contains(&filter) {
            continue;
        }
        let model = tightrope_onnx::import(&folder.join(text("onnx")))?;
        let property = Property::read(&folder.join(text("vnnlib")))?;
        let timeout = instance["timeout_s"].as_f64().unwrap_or(60.0);
        let settings = Settings { timeout: Duration::from_secs_f64(limit.unwrap_or(timeout)), ..Settings::default() };
        let start = Instant::now();
        let verbose = std::env::var_os("VERBOSE").is_some();
        let decision = decide(&model.network, &model.weights(), &property, &settings, &|p| {
            if verbose {
                eprintln!("  {:.1}s {} bounded, {} open, {:.4}", p.seconds, p.subproblems, p.open, p.lower_bound);
            }
        })?;
        let verdict = match decision.outcome {
            Outcome::Holds { .. } => "holds".to_string(),
            Outcome::Violated { .. } => "violated".to_string(),
            Outcome::Unknown { lower_bound } => format!("unknown({lower_bound:.4})"),
            Outcome::Timeout { lower_bound } => format!("timeout({lower_bound:.4})"),
        };
        let expected = text("expected");
        let decided = verdict == "holds" || verdict == "violated";
        let mark = match () {
            _ if !decided => "OPEN",
            _ if expected == "unknown" => "NEW",
            _ if verdict == expected => "ok",
            _ => "CONTRADICTION",
        };
        *counts.entry(mark.into()).or_default() += 1;
        let s = decision.statistics;
        println!(
            "{mark} {name}: {verdict} (expected {expected}) {:.2}s = attack {:.2} + root {:.2} + branch {:.2}; {} subproblems, peak {}",
            start.elapsed().as_secs_f64(),
            s.attack_seconds,
            s.root_seconds,
            s.branch_seconds,
            s.subproblems,
            s.peak_open
        );
    }
    println!("{counts:?}");
    Ok(())
}
