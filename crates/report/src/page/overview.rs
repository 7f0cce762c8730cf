//! One row for each run: what was trained, and how it fares.

use super::Report;
use super::html::{Cell, TableRow, columns, note, table};
use crate::problem::{data_name, norm_title};
use crate::text::{escape, number, percent, seconds};
use crate::{Proportion, Run};

/// A share with its interval, as HTML.
pub fn share_with_interval(p: &Proportion) -> String {
    if p.total == 0 {
        return "–".into();
    }
    format!(
        "{} <span class=\"interval-text\">[{}, {}]</span>",
        escape(&percent(Some(p.value))),
        crate::text::bare_percent(p.low),
        crate::text::bare_percent(p.high)
    )
}

/// The section.
pub fn section(report: &Report) -> String {
    let rows: Vec<TableRow> = report
        .runs
        .iter()
        .enumerate()
        .map(|(place, run)| TableRow { head: report.run_head(place), run: Some(place), cells: cells(run) })
        .collect();
    let names = [
        "run",
        "data",
        "network",
        "method",
        "smoothing",
        "norm",
        "ε",
        "epochs",
        "training",
        "natural, in training",
        "certified, in training",
        "samples",
        "natural",
        "adversarial",
        "certified",
        "undecided",
    ];
    table("", "Runs: settings, the last evaluation in training, and the certification", &columns(&names), &rows)
        + &note(
            "“In training” is the run's own last evaluation on test samples by one relaxation. The columns behind “samples” \
             are of the certification cascade: adversarial accuracy is the share not falsified, an upper bound of the robust \
             accuracy, certified accuracy the share that is proved. In brackets: Wilson 95 % intervals in per cent, as if \
             the samples were drawn at random.",
        )
}

fn cells(run: &Run) -> Vec<Cell> {
    let setting = |key: &str| Cell::text(run.setting(key).unwrap_or("–"));
    let test = run.last_evaluation();
    let certified = match test {
        Some(test) => {
            let by = test.relaxation.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
            format!("{}{by}", percent(test.certified_accuracy))
        }
        None => "–".into(),
    };
    let certification = run.certification.as_ref().filter(|found| !found.records.is_empty());
    let eps = certification.and_then(crate::Certification::eps);
    let eps = eps.or_else(|| run.setting("eps").and_then(|text| text.parse().ok()));
    let norm = certification.and_then(|found| found.setting("norm")).or_else(|| run.setting("norm"));
    let mut cells = vec![
        Cell::text(&data_name(run)),
        setting("model"),
        setting("method.name"),
        setting("smoothing.kind"),
        Cell::text(&norm.map_or_else(|| "–".into(), norm_title)),
        Cell::number(&number(eps)),
        Cell::number(&run.epochs.last().map_or_else(|| "0".into(), |epoch| epoch.epoch.to_string())),
        Cell::number(&seconds(run.training_seconds())),
        Cell::number(&percent(test.and_then(|test| test.natural_accuracy))),
        Cell::number(&certified),
    ];
    match certification {
        Some(found) => cells.extend([
            Cell::number(&found.records.len().to_string()),
            Cell::Number(share_with_interval(&found.natural())),
            Cell::Number(share_with_interval(&found.adversarial())),
            Cell::Number(share_with_interval(&found.certified())),
            Cell::number(&found.undecided().len().to_string()),
        ]),
        None => cells.extend((0..5).map(|_| Cell::number("–"))),
    }
    cells
}
