//! Results as Markdown.

use std::fmt::Write as _;

use tightrope_sweep::{Parameters, setting};

use crate::figures;
use crate::results::{BlockResults, CellResults, Results};
use crate::spread::percent;

/// Between a mean and its deviation.
const BETWEEN: &str = " ± ";

/// The whole document; `command` is what makes it again.
pub(crate) fn document(results: &Results, command: &str) -> String {
    let mut text = format!("# {}\n\n{}\n\n", results.title, results.about.trim());
    let _ = writeln!(text, "Profile {}, {}. Made by `{command}`.\n", results.profile, results.progress_text());
    claims(results, &mut text);
    for block in &results.blocks {
        self::block(block, &mut text);
    }
    text
}

fn claims(results: &Results, text: &mut String) {
    if results.verdicts.is_empty() {
        return;
    }
    text.push_str("## Claims\n\n");
    let (head, mut rows) = figures::claims(results, BETWEEN);
    for verdict in rows.iter_mut().filter_map(|row| row.last_mut()) {
        *verdict = format!("**{verdict}**");
    }
    table(&head, &rows, text);
    text.push_str(
        "Difference: certified accuracy of the first cell less the second's, in points, over the seeds that both have. \
         p (seeds): paired t-test, one-sided in the difference's direction. Samples: certified in the first only, in the \
         second only. p (samples): exact McNemar test. A claim is supported, or not supported, where both are below 0.05 \
         in one direction with at least three seeds, inconclusive otherwise, and failed where of each seed the trial of one \
         cell has.\n\n",
    );
    if results.verdicts.iter().any(|verdict| verdict.samples.is_none()) {
        let _ = writeln!(
            text,
            "{}: the two cells were certified on samples of different data sets or splits, which cannot be paired; such a \
             claim stays inconclusive.\n",
            figures::OTHER_SAMPLES
        );
    }
}

fn block(block: &BlockResults, text: &mut String) {
    let _ = writeln!(text, "## {}\n", block.title);
    let mut head = vec![format!("{} \\ {}", block.row, block.column)];
    head.extend(block.columns.iter().map(|column| column.name.clone()));
    let matrix = |figure: fn(&CellResults) -> String| {
        let row = |(r, variant): (usize, &crate::study::Variant)| {
            let cells = (0..block.columns.len()).map(|c| block.at(r, c).map_or_else(String::new, figure));
            std::iter::once(variant.name.clone()).chain(cells).collect::<Vec<_>>()
        };
        block.rows.iter().enumerate().map(row).collect::<Vec<_>>()
    };
    let samples = block.certify.limit.map_or_else(|| "all".into(), |limit| format!("the first {limit}"));
    let _ = writeln!(
        text,
        "Certified accuracy in percent on {samples} samples of the {} split, mean ± standard deviation over seeds:\n",
        block.certify.split
    );
    table(&head, &matrix(|cell| percent(cell.moments(|trial| Some(trial.certified)), BETWEEN)), text);
    let (head, rows) = figures::cells(block, BETWEEN);
    table(&head, &rows, text);
    undecided(block, text);
    per_seed(block, text);
    settings(block, text);
    for machine in &block.machines {
        let _ = writeln!(text, "Machine: {machine}.\n");
    }
    for (cell, failure) in block.cells.iter().flat_map(|cell| cell.failures.iter().map(move |failure| (cell, failure)))
    {
        let _ = writeln!(text, "Failed: {}, {failure}\n", cell.name);
    }
}

/// How many samples are left open, and what that depends on.
fn undecided(block: &BlockResults, text: &mut String) {
    let counts = block.cells.iter().filter_map(CellResults::undecided);
    let Some((open, all)) = counts.reduce(|sum, next| (sum.0 + next.0, sum.1 + next.1)) else { return };
    let _ = writeln!(
        text,
        "Undecided: neither certified nor falsified, {open} of {all} samples of all cells and seeds. What the stages decide \
         within {} s a sample depends on the machine and on what else runs there: to reproduce these figures to the last \
         digit takes the same kind of machine, idle.\n",
        block.certify.timeout
    );
}

/// What each seed gave, since means of few say little.
fn per_seed(block: &BlockResults, text: &mut String) {
    let seeds: std::collections::BTreeSet<u64> =
        block.cells.iter().flat_map(|cell| &cell.trials).map(|trial| trial.seed).collect();
    if seeds.len() < 2 {
        return;
    }
    text.push_str("Certified accuracy by seed:\n\n");
    let mut head = vec!["cell".to_string()];
    head.extend(seeds.iter().map(u64::to_string));
    let rows = block.cells.iter().filter(|cell| !cell.trials.is_empty()).map(|cell| {
        let of = |seed: &u64| cell.trials.iter().find(|trial| trial.seed == *seed);
        let values =
            seeds.iter().map(|seed| of(seed).map_or_else(|| "–".into(), |t| format!("{:.2}", 100.0 * t.certified)));
        std::iter::once(cell.name.clone()).chain(values).collect()
    });
    table(&head, &rows.collect::<Vec<_>>(), text);
}

/// What the cells have in common, and what each has of its own.
fn settings(block: &BlockResults, text: &mut String) {
    let Some(first) = block.cells.first() else { return };
    let common =
        |key: &str, value: &serde_json::Value| block.cells.iter().all(|cell| cell.settings.get(key) == Some(value));
    let list = |settings: &Parameters, shared: bool| {
        let chosen = settings.iter().filter(|(key, value)| common(key, value) == shared);
        chosen.map(|(key, value)| format!("`{}`", setting(key, value))).collect::<Vec<_>>().join(" ")
    };
    let certify = &block.certify;
    let stages = certify.stages.as_ref().map_or_else(|| "default".into(), |stages| stages.join(","));
    let _ = writeln!(
        text,
        "All cells: {}; certified with a time limit of {} s a sample, stages {stages}. Each cell besides:\n",
        list(&first.settings, true),
        certify.timeout
    );
    for cell in &block.cells {
        let _ = writeln!(text, "- {}: {}", cell.name, list(&cell.settings, false));
    }
    text.push('\n');
}

fn table(head: &[String], rows: &[Vec<String>], text: &mut String) {
    let line = |cells: &[String]| {
        format!("| {} |\n", cells.iter().map(|c| c.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    text.push_str(&line(head));
    text.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text.push('\n');
}
