//! Sample images with their largest certified radii.

use std::fmt::Write as _;

use super::Report;
use super::html::note;
use crate::text::{escape, number_below};
use crate::{Sample, Samples, image};

/// The section.
pub fn section(report: &Report) -> String {
    if report.samples.iter().all(|samples| samples.samples.is_empty()) {
        return note("No sample images: they were not asked for, or could not be made.");
    }
    let mut html = note(
        "A radius is certified: no perturbation up to it changes the prediction. It is rounded down. The largest certified one \
         lies above it by less than a step of the search, and the true robust radius may be larger still. Misclassified \
         samples have none.",
    );
    for samples in report.samples.iter().filter(|samples| !samples.samples.is_empty()) {
        let _ = write!(
            html,
            "<div data-run=\"{}\"><h3>{}</h3>\n{}<div class=\"samples\">\n",
            samples.run,
            report.run_head(samples.run),
            note(&samples.method)
        );
        for sample in &samples.samples {
            html.push_str(&picture(samples, sample));
        }
        html.push_str("</div></div>\n");
    }
    html
}

fn picture(samples: &Samples, sample: &Sample) -> String {
    let (index, label, prediction) = (sample.index, sample.label, sample.prediction);
    let (class, outcome) = match sample.radius {
        Some(radius) => ("right", format!("<strong>ε ≥ {}</strong>", escape(&number_below(radius)))),
        None => ("wrong", format!("<strong>predicted {prediction}</strong>, no radius")),
    };
    let image = match image::data_uri(sample.shape, &sample.pixels) {
        Some(uri) => format!("<img src=\"{uri}\" alt=\"Sample {index} of run {}, class {label}\"/>", samples.run + 1),
        None => "<p>no picture</p>".into(),
    };
    format!(
        "<figure class=\"{class}\">{image}<figcaption>no. {index}, class {label}<br/>{outcome}</figcaption></figure>\n"
    )
}
