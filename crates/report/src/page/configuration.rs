//! Settings, versions, machines and data of the runs, differences first.

use std::fmt::Write as _;

use super::Report;
use super::html::{Cell, TableRow, columns, note, table};
use crate::text::escape;

/// The section about settings.
pub fn section(report: &Report) -> String {
    let of_training: Vec<&[(String, String)]> = report.runs.iter().map(|run| &run.config[..]).collect();
    let of_certification: Vec<Vec<(String, String)>> = report
        .runs
        .iter()
        .map(|run| {
            let settings = run.certification.iter().flat_map(|found| found.settings.iter());
            settings.map(|(key, value)| (key.clone(), value.to_string())).collect()
        })
        .collect();
    let of_certification: Vec<&[(String, String)]> = of_certification.iter().map(|entries| &entries[..]).collect();
    format!(
        "<h3>Training</h3>\n{}<h3>Certification</h3>\n{}",
        comparison(report, "training settings", &of_training, false),
        comparison(report, "certification settings", &of_certification, false)
    )
}

/// The section about where the runs come from.
pub fn origin(report: &Report) -> String {
    let fields: Vec<&[(String, String)]> =
        report.runs.iter().map(|run| run.manifest.as_ref().map_or(&[][..], |manifest| &manifest.fields)).collect();
    comparison(report, "fields of manifest.json: versions, machine, checksums (SHA-256) of data", &fields, true)
        + "<h3>Sessions</h3>\n"
        + &sessions(report)
}

/// Tables of what differs between runs and what is the same, which is folded up unless `open` or nothing differs. Keys come
/// in the order in which they are met.
fn comparison(report: &Report, kind: &str, runs: &[&[(String, String)]], open: bool) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in runs.iter().flat_map(|entries| entries.iter()) {
        if !keys.contains(&&**key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return note(&format!("No run tells any {kind}."));
    }
    let value = |run: usize, key: &str| runs[run].iter().find(|(name, _)| name == key).map(|(_, value)| &**value);
    // A run without such a file does not make everything else a difference.
    let told: Vec<usize> = (0..runs.len()).filter(|&run| !runs[run].is_empty()).collect();
    let same = |key: &&str| told.iter().all(|&run| value(run, key) == value(told[0], key));
    let (alike, different): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| same(key));
    let cell = |run: usize, key: &str| Cell::text(value(run, key).unwrap_or("–"));
    let mut html = String::new();
    if !different.is_empty() {
        let heads: Vec<String> =
            ["key".into()].into_iter().chain(told.iter().map(|&run| report.runs[run].name.clone())).collect();
        let rows: Vec<TableRow> = different
            .iter()
            .map(|key| TableRow {
                head: format!("<code>{}</code>", escape(key)),
                run: None,
                cells: told.iter().map(|&run| cell(run, key)).collect(),
            })
            .collect();
        html.push_str(&table("differs", &format!("What differs between the runs: {kind}"), &heads, &rows));
    }
    if !alike.is_empty() {
        let words = match told.len() {
            1 => "Values".to_string(),
            count => format!("The same in {count} runs"),
        };
        let rows: Vec<TableRow> = alike
            .iter()
            .map(|key| TableRow {
                head: format!("<code>{}</code>", escape(key)),
                run: None,
                cells: vec![cell(told[0], key)],
            })
            .collect();
        let open = if open || different.is_empty() { " open=\"open\"" } else { "" };
        let _ = write!(
            html,
            "<details{open}><summary>{words}: {} {}</summary>\n{}</details>\n",
            rows.len(),
            escape(kind),
            table("", kind, &columns(&["key", "value"]), &rows)
        );
    }
    html
}

/// The processes that worked on the runs.
fn sessions(report: &Report) -> String {
    let mut rows = Vec::new();
    for (place, run) in report.runs.iter().enumerate() {
        for session in run.manifest.iter().flat_map(|manifest| &manifest.sessions) {
            rows.push(TableRow {
                head: report.run_head(place),
                run: Some(place),
                cells: vec![
                    Cell::text(&session.started),
                    Cell::text(session.finished.as_deref().unwrap_or("not finished")),
                    Cell::number(&session.first_step.to_string()),
                    Cell::text(&session.version),
                    Cell::Text(format!("<code>{}</code>", escape(&session.command.join(" ")))),
                ],
            });
        }
    }
    if rows.is_empty() {
        return note("No run tells of its sessions.");
    }
    let heads = columns(&["run", "begun", "ended", "first step", "version", "command"]);
    table("", "Processes that trained", &heads, &rows)
}
