//! Loss landscapes of the runs that have one.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::html::{Cell, TableRow, columns, figure, note, table};
use super::{Report, of_model};
use crate::run::{Landscape, LandscapeCurve};
use crate::text::{escape, number};

/// The section.
pub fn section(report: &Report) -> String {
    let mut html = String::new();
    for (place, run) in report.runs.iter().enumerate() {
        let Some(landscape) = &run.landscape else { continue };
        let (head, model) = (report.run_head(place), of_model(landscape.earlier_model));
        let _ = writeln!(html, "<div data-run=\"{place}\"><h3>{head}{model}</h3>");
        html.push_str(&note(&landscape.title));
        html.push_str(&drawings(landscape, &run.name));
        if !landscape.curves.is_empty() {
            html.push_str(&metrics(landscape));
        }
        html.push_str("</div>\n");
    }
    if html.is_empty() {
        return note("No run has a landscape; `tightrope landscape RUN` makes one.");
    }
    note(
        "Training losses through the run's parameters, original and smoothed by Gaussian noise on them; bands are two standard \
         errors. Discontinuity is the root of the sum of squared jumps, roughness the total change of slope, non-convexity the \
         largest height of a midpoint above its chord, sensitivity the mean absolute change under weight noise.",
    ) + &html
}

/// The drawings as pictures: nothing in them can run or load anything.
fn drawings(landscape: &Landscape, run: &str) -> String {
    let mut html = String::from("<div class=\"charts\">\n");
    for (name, bytes) in &landscape.drawings {
        let heading = name.trim_end_matches(".svg");
        let image = format!(
            "<img class=\"drawing\" src=\"data:image/svg+xml;base64,{}\" alt=\"{}\"/>\n",
            STANDARD.encode(bytes),
            escape(&format!("Landscape {heading} of run {run}"))
        );
        html.push_str(&figure(heading, &image, ""));
    }
    html.push_str("</div>\n");
    html
}

fn metrics(landscape: &Landscape) -> String {
    let row = |curve: &LandscapeCurve| {
        let figures = [
            curve.sigma,
            curve.spread,
            curve.discontinuity,
            curve.largest_jump,
            curve.largest_kink,
            curve.roughness,
            curve.convexity,
            curve.sensitivity,
        ];
        let cells = figures.iter().map(|&figure| Cell::number(&number(figure))).collect();
        TableRow { head: escape(&curve.method), run: None, cells }
    };
    let heads = [
        "method",
        "σ",
        "spread",
        "discontinuity",
        "largest jump",
        "largest kink",
        "roughness",
        "non-convexity",
        "sensitivity",
    ];
    table("short", "Metrics of the lines", &columns(&heads), &landscape.curves.iter().map(row).collect::<Vec<_>>())
}
