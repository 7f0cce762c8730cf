//! One row for each run: what was trained, and how it fares.

use super::html::{Cell, TableRow, columns, note, table};
use super::{Report, of_model};
use crate::problem::{data_name, norm_title};
use crate::text::{escape, number, percent, seconds};
use tightrope_statistics::Proportion;

use crate::run::TEST;
use crate::{Evaluation, Run};

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
    let rows = |cells: fn(&Run) -> Option<Vec<Cell>>| -> Vec<TableRow> {
        let runs = report.runs.iter().enumerate();
        runs.filter_map(|(place, run)| {
            Some(TableRow { head: report.run_head(place), run: Some(place), cells: cells(run)? })
        })
        .collect()
    };
    let heads = [
        "run",
        "data",
        "network",
        "method",
        "smoothing",
        "norm",
        "ε",
        "epochs",
        "time",
        "evaluated on",
        "natural accuracy",
        "certified accuracy",
        "certified by",
    ];
    let mut html = table(
        "short",
        "Training, and the run's own last evaluation by one relaxation",
        &columns(&heads),
        &rows(|run| Some(training(run))),
    );
    let mut certified = rows(certification);
    for row in &mut certified {
        let found = row.run.and_then(|place| report.runs[place].certification.as_ref());
        row.head.push_str(of_model(found.is_some_and(|found| found.earlier_model)));
    }
    if !certified.is_empty() {
        let heads =
            ["run", "split", "samples", "natural accuracy", "adversarial accuracy", "certified accuracy", "undecided"];
        html.push_str(&table("short", "Certification by the cascade", &columns(&heads), &certified));
        html.push_str(&note(
            "Adversarial accuracy is the share not falsified, an upper bound of the robust accuracy; certified accuracy is \
             the share that is proved. In brackets: Wilson 95 % intervals in per cent, as if the samples were drawn at random.",
        ));
    }
    html
}

fn training(run: &Run) -> Vec<Cell> {
    let setting = |key: &str| Cell::text(run.setting(key).unwrap_or("–"));
    let test = run.last_evaluation();
    let eps = run.setting("eps").and_then(|text| text.parse().ok());
    vec![
        Cell::text(&data_name(run, test.map_or(TEST, Evaluation::split))),
        setting("model"),
        setting("method.name"),
        setting("smoothing.kind"),
        Cell::text(&run.setting("norm").map_or_else(|| "–".into(), norm_title)),
        Cell::number(&number(eps)),
        Cell::number(&run.epochs.last().map_or_else(|| "0".into(), |epoch| epoch.epoch.to_string())),
        Cell::number(&seconds(run.training_seconds())),
        Cell::text(test.map_or("–", Evaluation::split)),
        Cell::number(&percent(test.and_then(|test| test.natural_accuracy))),
        Cell::number(&percent(test.and_then(|test| test.certified_accuracy))),
        Cell::text(test.and_then(|test| test.relaxation.as_deref()).unwrap_or("–")),
    ]
}

fn certification(run: &Run) -> Option<Vec<Cell>> {
    let found = run.certification.as_ref().filter(|found| !found.records.is_empty())?;
    Some(vec![
        Cell::text(found.split()),
        Cell::number(&found.records.len().to_string()),
        Cell::Number(share_with_interval(&found.natural())),
        Cell::Number(share_with_interval(&found.adversarial())),
        Cell::Number(share_with_interval(&found.certified())),
        Cell::number(&found.undecided().len().to_string()),
    ])
}
