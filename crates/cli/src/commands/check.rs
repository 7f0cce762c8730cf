//! `tightrope check`: checks a certificate by itself.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tightrope_certificate::{Certificate, check};
use tightrope_vnnlib::Property;

use crate::context::Context;
use crate::model;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope check proof.cert network.onnx property.vnnlib\n\n\
                        Exit codes: 0 the certificate proves that the property holds, 4 it does not, or an error.")]
pub struct Options {
    /// Certificate that `tightrope verify --certificate` wrote.
    certificate: PathBuf,
    /// Network: .onnx, run folder, or .safetensors with its description.
    model: PathBuf,
    /// VNN-LIB property.
    property: PathBuf,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    let certificate = Certificate::read(&options.certificate)?;
    let property = Property::read(&options.property)?;
    let model = model::load(&options.model)?;
    let report = check(&certificate, &model.network, &model.theta, &property)
        .map_err(|error| anyhow::anyhow!("{}: proves nothing: {error}", options.certificate.display()))?;
    let seconds = start.elapsed().as_secs_f64();
    let document = json!({
        "certificate": options.certificate.display().to_string(),
        "verdict": "holds",
        "conjunctions": report.conjunctions,
        "splits": report.splits,
        "leaves": report.leaves,
        "smallest_bound": Some(report.smallest_bound).filter(|bound| bound.is_finite()),
        "seconds": seconds,
    });
    let text = format!(
        "holds\n{} conjunctions refuted by {} leaves, smallest bound {:.3e}, {seconds:.2} s\n",
        report.conjunctions, report.leaves, report.smallest_bound
    );
    context.print(&document, &text)
}
