//! What a sweep has found, as a table and as JSON.

use std::path::Path;

use serde_json::{Value, json};
use tightrope_sweep::{ConfigurationSummary, Objective, Parameters, Summary, setting};

use crate::table;
use crate::values::percent;

/// The result as JSON.
pub fn document(summary: &Summary, folder: &Path) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(summary)?;
    document["folder"] = json!(folder.display().to_string());
    Ok(document)
}

/// In the column `front`, what lacks a seed.
const INCOMPLETE: &str = "incomplete";

/// The result as a table; configurations of a Pareto front have a star.
pub fn text(summary: &Summary, folder: &Path) -> String {
    let failed = if summary.failed > 0 { format!(", {} failed", summary.failed) } else { String::new() };
    let mut text = format!("{} of {} trials done{failed}\n", summary.done, summary.trials);
    if summary.configurations.is_empty() {
        return text;
    }
    let told = |objective: &Objective| {
        summary.configurations.iter().any(|configuration| configuration.moments(*objective).is_some())
    };
    let columns: Vec<Objective> = Objective::ALL.into_iter().filter(told).collect();
    let seeds = summary.configurations.iter().any(|configuration| configuration.seeds > 1);
    let mut rows = vec![vec!["configuration".to_string(), "front".into()]];
    rows[0].extend(seeds.then(|| "seeds".into()));
    rows[0].extend(columns.iter().map(|objective| objective.name().to_string()));
    rows.extend(summary.configurations.iter().map(|configuration| row(configuration, seeds, &columns)));
    text.push_str(&format!("\n{}", table::render(&rows)));
    if rows.iter().flatten().any(|cell| cell == INCOMPLETE) {
        text.push_str(&format!("\n{INCOMPLETE}: a seed has failed or is still out; on no front"));
    }
    if rows.iter().flatten().any(|cell| cell.contains('±')) {
        text.push_str("\nmean ± standard deviation over seeds");
    }
    let names: Vec<&str> = summary.objectives.iter().map(|objective| objective.name()).collect();
    text.push('\n');
    for front in &summary.fronts {
        let asked = parameters_text(&front.certified_for);
        text.push_str(&format!(
            "Pareto front ({}){}{asked}: {} of {} configurations, hypervolume {:.4}\n",
            names.join(", "),
            if asked.is_empty() { "" } else { " of " },
            front.configurations.len(),
            front.of,
            front.hypervolume,
        ));
    }
    text.push_str(&format!("one line per trial in {}\n", folder.join("results.csv").display()));
    text
}

fn row(configuration: &ConfigurationSummary, seeds: bool, columns: &[Objective]) -> Vec<String> {
    let name = format!("{}: {}", configuration.configuration, parameters_text(&configuration.parameters));
    let mark = match (configuration.on_front, configuration.complete) {
        (true, _) => "*",
        (false, true) => "",
        (false, false) => INCOMPLETE,
    };
    let mut row = vec![name, mark.into()];
    row.extend(seeds.then(|| format!("{}/{}", configuration.done, configuration.seeds)));
    row.extend(columns.iter().map(|&objective| match configuration.moments(objective) {
        None => "-".into(),
        Some(moments) => {
            let spread = moments.std.map_or_else(String::new, |std| format!(" ± {:.2}", 100.0 * std));
            format!("{}{spread}", percent(moments.mean))
        }
    }));
    row
}

/// The values of the axes in one line.
pub fn parameters_text(parameters: &Parameters) -> String {
    parameters.iter().map(|(key, value)| setting(key, value)).collect::<Vec<_>>().join(" ")
}
