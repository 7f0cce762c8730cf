//! Natural against certified accuracy, with the Pareto front and its hypervolume.

use std::fmt::Write as _;

use super::Report;
use super::html::{Cell, TableRow, columns, figure, note, table};
use super::overview::share_with_interval;
use crate::svg::{Point, ScatterChart};
use crate::text::{escape, percent};
use tightrope_network::counted_text as counted;
use tightrope_statistics::Proportion;

use crate::{Front, Outcome};

/// The section.
pub fn section(report: &Report, fronts: &[Front]) -> String {
    if fronts.is_empty() {
        return note("No run tells natural and certified accuracy together.");
    }
    let mut html = note(
        "Runs are compared only on the same samples, norm, ε and data range; where nothing else is said, samples are those of \
         the test split and perturbed inputs are clipped to [0, 1]. Filled marks are accuracies of the certification \
         cascade, hollow ones of the last evaluation in training, which one relaxation certifies. Crosses are Wilson 95 % \
         intervals. The dashed stairs are the Pareto front; hypervolume is the grey area below it, from 0 % and 0 % (beyond \
         the chart's edges), in %²: 10,000 %² would be perfect.",
    );
    for (place, front) in fronts.iter().enumerate() {
        let _ = write!(html, "<h3>{}</h3>\n<div class=\"charts\">\n", escape(&front.problem));
        let on_front: Vec<&str> = front.front.iter().map(|&at| &*report.runs[front.outcomes[at].run].name).collect();
        let description = format!(
            "{}; hypervolume {:.1} %². On the front, by rising natural accuracy: {}.",
            counted(front.outcomes.len(), "run", "runs"),
            front.hypervolume,
            on_front.join(", ")
        );
        let chart = ScatterChart {
            id: &format!("front-{place}"),
            title: &format!("Natural against certified accuracy, {}", front.problem),
            description: &description,
            axes: ("natural accuracy (%)", "certified accuracy (%)"),
            points: front.outcomes.iter().map(|outcome| point(report, outcome)).collect(),
            front: &front.front,
        };
        html.push_str(&figure("Pareto front", &chart.draw(), &description));
        html.push_str(&figures(report, front));
        html.push_str("</div>\n");
    }
    html
}

fn point(report: &Report, outcome: &Outcome) -> Point {
    let in_percent = |p: &Proportion| (100.0 * p.value, 100.0 * p.low, 100.0 * p.high);
    Point {
        run: outcome.run,
        x: in_percent(&outcome.natural),
        y: in_percent(&outcome.certified),
        hollow: !outcome.cascade,
        tip: format!(
            "{}: natural {}, certified {}",
            report.runs[outcome.run].name,
            percent(Some(outcome.natural.value)),
            percent(Some(outcome.certified.value))
        ),
    }
}

fn figures(report: &Report, front: &Front) -> String {
    let rows: Vec<TableRow> = front
        .outcomes
        .iter()
        .enumerate()
        .map(|(at, outcome)| TableRow {
            head: report.run_head(outcome.run),
            run: Some(outcome.run),
            cells: vec![
                Cell::Number(share_with_interval(&outcome.natural)),
                Cell::Number(share_with_interval(&outcome.certified)),
                Cell::number(&outcome.natural.total.to_string()),
                Cell::text(if outcome.cascade { "cascade" } else { "training" }),
                Cell::text(if front.front.contains(&at) { "yes" } else { "no" }),
            ],
        })
        .collect();
    let heads = columns(&["run", "natural", "certified", "samples", "found by", "on the front"]);
    table("short", &format!("Hypervolume {:.1} %², reference point (0 %, 0 %)", front.hypervolume), &heads, &rows)
}
