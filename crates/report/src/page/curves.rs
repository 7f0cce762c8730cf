//! Loss, accuracies and schedules over epochs.

use super::Report;
use super::html::{figure, note};
use crate::run::TEST;
use crate::svg::{Curve, CurveChart};
use crate::{Epoch, Evaluation, Run};

/// What is read from an epoch.
type Figure = fn(&Epoch) -> Option<f64>;

/// The ratio from which on a loss is shown by its powers of ten.
const WIDE: f64 = 100.0;

/// The section.
pub fn section(report: &Report) -> String {
    if report.runs.iter().all(|run| run.epochs.is_empty()) {
        return note("No epochs are logged: metrics.jsonl is missing or empty.");
    }
    let mut html = note(&format!(
        "Accuracies: the thick line is of {} samples, the thin one of training samples (certified at the ε of their step). \
         Schedules are those of the last step of each epoch.",
        splits(&report.runs)
    ));
    html.push_str("<div class=\"charts\">\n");
    for chart in [
        Chart {
            id: "loss",
            heading: "Training loss",
            axis: "mean training loss",
            main: |epoch| epoch.loss,
            faint: None,
            accuracy: false,
            logarithmic: None,
        },
        Chart {
            id: "natural",
            heading: "Natural accuracy",
            axis: "natural accuracy (%)",
            main: |epoch| Some(100.0 * epoch.test.as_ref()?.natural_accuracy?),
            faint: Some(|epoch| Some(100.0 * epoch.train_natural_accuracy?)),
            accuracy: true,
            logarithmic: Some(false),
        },
        Chart {
            id: "certified",
            heading: "Certified accuracy",
            axis: "certified accuracy (%)",
            main: |epoch| Some(100.0 * epoch.test.as_ref()?.certified_accuracy?),
            faint: Some(|epoch| Some(100.0 * epoch.train_certified_accuracy?)),
            accuracy: true,
            logarithmic: Some(false),
        },
        Chart {
            id: "lr",
            heading: "Learning rate",
            axis: "learning rate",
            main: |epoch| epoch.lr,
            faint: None,
            accuracy: false,
            logarithmic: Some(true),
        },
        Chart {
            id: "eps",
            heading: "Radius ε in training",
            axis: "ε",
            main: |epoch| epoch.eps,
            faint: None,
            accuracy: false,
            logarithmic: Some(false),
        },
        Chart {
            id: "sigma",
            heading: "Standard deviation σ of the smoothing",
            axis: "σ",
            main: |epoch| epoch.sigma,
            faint: None,
            accuracy: false,
            logarithmic: Some(false),
        },
    ] {
        html.push_str(&chart.html(&report.runs));
    }
    // What estimators that look at their own noise do.
    for chart in [
        Chart {
            id: "snr",
            heading: "Signal-to-noise ratio of the gradients",
            axis: "signal-to-noise ratio",
            main: |epoch| epoch.snr,
            faint: None,
            accuracy: false,
            logarithmic: None,
        },
        Chart {
            id: "population",
            heading: "Members of the smoothing",
            axis: "members of a step",
            main: |epoch| epoch.snr.and(epoch.population),
            faint: None,
            accuracy: false,
            logarithmic: None,
        },
    ] {
        if report.runs.iter().flat_map(|run| &run.epochs).any(|epoch| (chart.main)(epoch).is_some()) {
            html.push_str(&chart.html(&report.runs));
        }
    }
    html.push_str("</div>\n");
    html
}

/// What the runs are evaluated on.
fn splits(runs: &[Run]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in runs.iter().filter_map(Run::last_evaluation).map(Evaluation::split) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { TEST.into() } else { names.join(" or ") }
}

/// One chart of figures by epoch.
struct Chart {
    id: &'static str,
    heading: &'static str,
    axis: &'static str,
    main: Figure,
    /// The same of training samples.
    faint: Option<Figure>,
    accuracy: bool,
    /// Whether powers of ten have equal distances; if left open, where the values are far apart.
    logarithmic: Option<bool>,
}

impl Chart {
    fn html(&self, runs: &[Run]) -> String {
        let mut curves = Vec::new();
        for (place, run) in runs.iter().enumerate() {
            let curve = |figure: Figure, faint: bool, name: String| Curve {
                run: place,
                name,
                faint,
                points: run
                    .epochs
                    .iter()
                    .map(|epoch| (epoch.epoch as f64, figure(epoch)))
                    // Epochs that are not evaluated are no gap, those whose loss is not finite are one.
                    .filter(|(_, value)| value.is_some() || !self.accuracy)
                    .collect(),
            };
            let split = run.last_evaluation().map_or(TEST, Evaluation::split);
            let evaluated = if self.accuracy { format!(", {split}") } else { String::new() };
            if let Some(figure) = self.faint {
                curves.push(curve(figure, true, format!("{}, training", run.name)));
            }
            curves.push(curve(self.main, false, format!("{}{evaluated}", run.name)));
        }
        let values = || curves.iter().flat_map(|curve| curve.points.iter().filter_map(|(_, value)| *value));
        let least = values().fold(f64::INFINITY, f64::min);
        let most = values().fold(f64::NEG_INFINITY, f64::max);
        let chart = CurveChart {
            id: &format!("curve-{}", self.id),
            title: self.heading,
            axis: self.axis,
            logarithmic: self.logarithmic.unwrap_or(least > 0.0 && most > WIDE * least),
            limits: self.accuracy.then_some((0.0, 100.0)),
            curves,
        };
        if chart.is_empty() {
            return figure(self.heading, "", "No run tells it.");
        }
        figure(self.heading, &chart.draw(), "")
    }
}
