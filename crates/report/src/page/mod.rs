//! The page: its head, legend and sections, and the data in it.

mod configuration;
mod curves;
mod details;
mod document;
mod front;
mod html;
mod landscapes;
mod overview;
mod pictures;
mod stages;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::svg::Svg;
use crate::text::{escape, script_safe};
use crate::{Front, Run, Samples, fronts, svg};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Runs and what else a report tells.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The runs, in the order in which they stand on the page.
    pub runs: Vec<Run>,
    /// Sample images, for some of the runs.
    pub samples: Vec<Samples>,
    /// What else could not be done.
    pub remarks: Vec<String>,
}

/// What stands behind a heading of results that are of an earlier model than the run has now.
fn of_model(earlier: bool) -> &'static str {
    if earlier { ", of an earlier model" } else { "" }
}

impl Report {
    /// Natural and certified accuracies by problem.
    pub fn fronts(&self) -> Vec<Front> {
        fronts(&self.runs)
    }

    /// All remarks, those about a run behind its name.
    pub fn all_remarks(&self) -> Vec<String> {
        let of_runs =
            self.runs.iter().flat_map(|run| run.remarks.iter().map(|remark| format!("{}, {remark}", run.name)));
        let of_samples = self.samples.iter().filter_map(|samples| {
            let name = self.runs.get(samples.run).map_or("", |run| &run.name);
            Some(format!("{name}, sample images: {}", samples.remark.as_ref()?))
        });
        of_runs.chain(of_samples).chain(self.remarks.iter().cloned()).collect()
    }

    /// The data of the page as one document, which is embedded in it.
    pub fn document(&self) -> Value {
        document::document(self)
    }

    /// The page. It is HTML and well-formed XML at once, loads nothing, and needs no JavaScript.
    pub fn html(&self) -> String {
        let fronts = self.fronts();
        let sections = [
            ("overview", "Overview", overview::section(self)),
            ("curves", "Training curves", curves::section(self)),
            ("stages", "Accuracy and time by certification stage", stages::section(self)),
            ("pareto", "Natural against certified accuracy", front::section(self, &fronts)),
            ("samples", "Samples and their certified radii", pictures::section(self)),
            ("landscapes", "Loss landscapes", landscapes::section(self)),
            ("details", "Undecided and misclassified samples", details::section(self)),
            ("configuration", "Configuration", configuration::section(self)),
            ("origin", "Versions, machine and data", configuration::origin(self)),
        ];
        let title = match &self.runs[..] {
            [run] => format!("Tightrope report: {}", run.name),
            runs => format!("Tightrope report: {} runs", runs.len()),
        };
        let mut page = String::new();
        // Nothing is loaded from anywhere, and no script runs but the one below.
        let script_hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
        let _ = write!(
            page,
            "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
             style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"generator\" content=\"tightrope {}\"/>\n<title>{}</title>\n<style>\n{}{}{STYLE}</style>\n</head>\n<body>\n",
            env!("CARGO_PKG_VERSION"),
            escape(&title),
            svg::COLOURS_STYLE,
            svg::MARKS_STYLE
        );
        let _ = write!(page, "<header>\n<h1>{}</h1>\n<nav aria-label=\"Sections\"><ul>", escape(&title));
        for (id, heading, _) in &sections {
            let _ = write!(page, "<li><a href=\"#{id}\">{}</a></li>", escape(heading));
        }
        page.push_str("</ul></nav>\n");
        page.push_str(&self.remarks_box());
        page.push_str("</header>\n<main>\n");
        page.push_str(&self.legend());
        for (id, heading, inner) in &sections {
            page.push_str(&html::section(id, heading, inner));
        }
        let _ = write!(
            page,
            "</main>\n<footer class=\"note\"><p>Made by tightrope {}. The data of this page lie in it as JSON, in the \
             element <code>report-data</code>.</p></footer>\n\
             <script type=\"application/json\" id=\"report-data\">{}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION"),
            script_safe(&self.document().to_string())
        );
        page
    }

    fn remarks_box(&self) -> String {
        let remarks = self.all_remarks();
        if remarks.is_empty() {
            return String::new();
        }
        let mut html = String::from(
            "<div class=\"remarks\" role=\"note\"><strong>Not everything could be read or used</strong><ul>",
        );
        for remark in remarks {
            let _ = write!(html, "<li>{}</li>", escape(&remark));
        }
        html.push_str("</ul></div>\n");
        html
    }

    /// What colour, dashes and shape each run has.
    fn legend(&self) -> String {
        let mut html = String::from("<ul class=\"legend\" aria-label=\"Runs\">\n");
        for (place, run) in self.runs.iter().enumerate() {
            let mut key = Svg::new(&format!("key{place}"), 34.0, 14.0, &run.name, "line and mark of this run");
            key.polyline("curve", svg::dashes(place), &[(0.0, 7.0), (34.0, 7.0)]);
            key.mark(place, false, (17.0, 7.0), 4.0, "");
            let _ = writeln!(
                html,
                "<li class=\"{}\" data-legend=\"{place}\">{}<span class=\"name\">{}</span></li>",
                svg::colour_class(place),
                key.finish(),
                escape(&run.name)
            );
        }
        html.push_str("</ul>\n");
        html
    }

    /// The head of a table row about run `place`.
    fn run_head(&self, place: usize) -> String {
        let run = &self.runs[place];
        format!(
            "<span class=\"{}\" title=\"{}\">{}</span>",
            svg::colour_class(place),
            escape(&run.folder.display().to_string()),
            escape(&run.name)
        )
    }
}
