//! What the stages of the cascade decided, and the time they took.

use std::fmt::Write as _;

use super::html::{Cell, TableRow, columns, figure, note, table};
use super::overview::share_with_interval;
use super::{Report, of_model};
use crate::svg::{Mark, Row, RowChart};
use crate::text::{bare_percent, escape, percent, seconds};
use tightrope_network::counted_text as counted;
use tightrope_statistics::Proportion;

use crate::{Certification, StageTotals};

/// With more runs than that, each is folded together.
const MOST_OPEN: usize = 4;

/// The section.
pub fn section(report: &Report) -> String {
    let certified: Vec<(usize, &Certification)> =
        report.runs.iter().enumerate().filter_map(|(place, run)| Some((place, run.certification.as_ref()?))).collect();
    if certified.is_empty() {
        return note("No run is certified; `tightrope certify RUN` does it.");
    }
    let mut html = note(
        "Each row tells what is known after a stage, of all samples: the filled circle is the share proved so far (certified \
         accuracy), the hollow diamond the share not falsified so far (adversarial accuracy), the bar between them what is \
         open. Lines through the marks are Wilson 95 % intervals. Times of samples that are worked on side by side add up.",
    );
    for (place, found) in &certified {
        let open = if certified.len() <= MOST_OPEN { " open=\"open\"" } else { "" };
        let _ = write!(
            html,
            "<details{open} data-run=\"{place}\"><summary>{}: {}</summary>\n{}</details>\n",
            report.run_head(*place),
            escape(&perturbations(found)),
            of_run(*place, &report.runs[*place].name, found)
        );
    }
    html
}

fn perturbations(found: &Certification) -> String {
    let eps = found.eps().unwrap_or_else(|| "–".into());
    let norm = found.setting("norm").map_or_else(|| "unknown norm".into(), crate::problem::norm_title);
    let count = counted(found.records.len(), "sample", "samples");
    format!("{count}, {norm}, ε = {eps}{}", of_model(found.earlier_model))
}

fn of_run(place: usize, name: &str, found: &Certification) -> String {
    let stages = found.stages();
    let tip = |words: &str, p: &Proportion| {
        let (low, high) = (bare_percent(p.low), bare_percent(p.high));
        format!("{words}: {} [{low}, {high}], {} of {}", percent(Some(p.value)), p.count, p.total)
    };
    let mark = |p: &Proportion, hollow: bool, words: &str| Mark {
        value: 100.0 * p.value,
        interval: (100.0 * p.low, 100.0 * p.high),
        hollow,
        tip: tip(words, p),
    };
    let accuracy = |stage: &StageTotals| Row {
        label: stage.stage.clone(),
        bar: (100.0 * stage.certified.value, 100.0 * stage.unbroken.value),
        tip: format!("open after {}: {}", stage.stage, stage.unbroken.count.saturating_sub(stage.certified.count)),
        marks: vec![
            mark(&stage.unbroken, true, &format!("not falsified after {}", stage.stage)),
            mark(&stage.certified, false, &format!("certified after {}", stage.stage)),
        ],
        text: String::new(),
    };
    let time = |stage: &StageTotals| Row {
        label: stage.stage.clone(),
        bar: (0.0, stage.seconds),
        tip: format!("{}: {} for {} samples", stage.stage, seconds(stage.seconds), stage.entered),
        marks: Vec::new(),
        text: seconds(stage.seconds),
    };
    let last = stages.last().map_or_else(String::new, |stage| {
        format!(
            "After the last stage {} are certified and {} are not falsified.",
            percent(Some(stage.certified.value)),
            percent(Some(stage.unbroken.value))
        )
    });
    let total = stages.iter().fold(0.0, |total, stage| total + stage.seconds);
    let accuracies = RowChart {
        id: &format!("stages-{place}"),
        title: &format!("Accuracy by certification stage of {name}"),
        description: &last,
        axis: "share of all samples (%)",
        run: place,
        rows: stages.iter().map(accuracy).collect(),
        limits: Some((0.0, 100.0)),
    };
    let times = RowChart {
        id: &format!("times-{place}"),
        title: &format!("Time by certification stage of {name}"),
        description: &format!("{} in all.", seconds(total)),
        axis: "time of all samples (s)",
        run: place,
        rows: stages.iter().filter(|stage| stage.stage != crate::certification::NATURAL).map(time).collect(),
        limits: None,
    };
    let mut html = String::from("<div class=\"charts\">\n");
    html.push_str(&figure("Accuracy after each stage", &accuracies.draw(), ""));
    html.push_str(&figure("Time of each stage", &times.draw(), ""));
    html.push_str("</div>\n");
    let rows: Vec<TableRow> = stages
        .iter()
        .map(|stage| TableRow {
            head: escape(&stage.stage),
            run: None,
            cells: vec![
                Cell::number(&stage.entered.to_string()),
                Cell::number(&stage.verified.to_string()),
                Cell::number(&stage.falsified.to_string()),
                Cell::Number(share_with_interval(&stage.certified)),
                Cell::Number(share_with_interval(&stage.unbroken)),
                Cell::number(&seconds(stage.seconds)),
            ],
        })
        .collect();
    let heads =
        columns(&["stage", "entered", "verified", "falsified", "certified so far", "not falsified so far", "time"]);
    html + &table("", &format!("Stages of {name}; in brackets Wilson 95 % intervals in per cent"), &heads, &rows)
}
