//! The data behind the page as one JSON document.

use serde_json::{Value, json};

use super::Report;
use crate::{Certification, Record, Run};

/// Everything the page shows: runs with epochs, configuration and certification, fronts, radii.
pub fn document(report: &Report) -> Value {
    let samples: Vec<Value> = report
        .samples
        .iter()
        .map(|samples| {
            let list: Vec<Value> = samples
                .samples
                .iter()
                .map(|sample| {
                    json!({
                        "index": sample.index,
                        "label": sample.label,
                        "prediction": sample.prediction,
                        "certified_radius": sample.radius,
                    })
                })
                .collect();
            json!({"run": samples.run, "method": samples.method, "samples": list, "remark": samples.remark})
        })
        .collect();
    json!({
        "program": "tightrope",
        "version": env!("CARGO_PKG_VERSION"),
        "runs": report.runs.iter().map(run).collect::<Vec<_>>(),
        "fronts": report.fronts(),
        "samples": samples,
        "remarks": report.all_remarks(),
    })
}

fn run(run: &Run) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "name": run.name,
        "folder": run.folder.display().to_string(),
        "config": pairs(&run.config),
        "epochs": run.epochs,
        "landscape": run.landscape,
        "certification": run.certification.as_ref().map(certification),
        "manifest": run.manifest.as_ref().map(|manifest| pairs(&manifest.fields)),
        "sessions": run.manifest.as_ref().map(|manifest| &manifest.sessions),
    })
}

fn certification(found: &Certification) -> Value {
    let undecided: Vec<&Record> = found.undecided();
    json!({
        "settings": found.settings,
        "earlier_model": found.earlier_model,
        "natural": found.natural(),
        "adversarial": found.adversarial(),
        "certified": found.certified(),
        "stages": found.stages(),
        "undecided": undecided,
        "misclassified": found.misclassified(),
    })
}
