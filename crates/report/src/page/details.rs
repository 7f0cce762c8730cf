//! The samples that nobody decided, and those that the network gets wrong.

use std::fmt::Write as _;

use super::html::{Cell, TableRow, columns, note, table};
use super::{Report, of_model};
use crate::Record;
use crate::text::{escape, number, seconds};

/// Rows of a table; certify.jsonl has them all.
const MOST_ROWS: usize = 200;

/// The section.
pub fn section(report: &Report) -> String {
    let mut html = String::new();
    for (place, run) in report.runs.iter().enumerate() {
        let Some(found) = &run.certification else { continue };
        let (head, model) = (report.run_head(place), of_model(found.earlier_model));
        let _ = writeln!(html, "<div data-run=\"{place}\"><h3>{head}{model}</h3>");
        html.push_str(&list("undecided", &found.undecided(), true));
        html.push_str(&list("misclassified", &found.misclassified(), false));
        html.push_str("</div>\n");
    }
    if html.is_empty() {
        return note("No run is certified, so that nothing is known of single samples.");
    }
    note(
        "Margins are differences of logits, without a unit. The lower bound is the best that a stage proved of the smallest \
         margin, the attack's margin the smallest that it met; a dash stands where no stage told one.",
    ) + &html
}

fn list(kind: &str, records: &[&Record], open: bool) -> String {
    if records.is_empty() {
        return note(&format!("No {kind} samples."));
    }
    let rows: Vec<TableRow> = records.iter().take(MOST_ROWS).map(|record| row(record)).collect();
    let caption = match records.len() {
        count if count > MOST_ROWS => {
            format!("The first {MOST_ROWS} of {count} {kind} samples; certify.jsonl holds all of them")
        }
        count => format!("All {count} {kind} samples"),
    };
    let names = [
        "index",
        "label",
        "prediction",
        "verdict",
        "stage",
        "lower bound of the margin",
        "margin under attack",
        "time",
    ];
    let open = if open { " open=\"open\"" } else { "" };
    format!(
        "<details{open}><summary>{} {}</summary>\n{}</details>\n",
        records.len(),
        escape(kind),
        table("short", &caption, &columns(&names), &rows)
    )
}

fn row(record: &Record) -> TableRow {
    TableRow {
        head: record.index.to_string(),
        run: None,
        cells: vec![
            Cell::number(&record.label.to_string()),
            Cell::number(&record.prediction.to_string()),
            Cell::text(record.verdict.name()),
            Cell::text(record.stage.as_deref().unwrap_or("–")),
            Cell::number(&number(record.margin_lower)),
            Cell::number(&number(record.margin_attack)),
            Cell::number(&record.seconds.map_or_else(|| "–".into(), seconds)),
        ],
    }
}
