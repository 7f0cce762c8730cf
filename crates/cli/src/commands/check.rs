//! `tightrope check`: checks a certificate by itself.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tightrope_certificate::{Certificate, check};
use tightrope_network::rounded_text;
use tightrope_vnnlib::Property;

use crate::context::Context;
use crate::values::counted;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope check proof.cert network.onnx property.vnnlib\n\n\
                        What is checked: that the certificate was made for exactly these numbers of the network and the \
                        property (by SHA-256), and that its proof holds for the network as a function of real numbers, \
                        in f64 arithmetic with every rounding against the proof, or in exact arithmetic where the proof \
                        asks for it.\n\n\
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
    let model = tightrope::load_exact(&options.model)?;
    let report = check(&certificate, &model.network, &model.weights(), &property, None)
        .map_err(|error| anyhow::anyhow!("{}: proves nothing: {error}", options.certificate.display()))?;
    let seconds = start.elapsed().as_secs_f64();
    let (network, statement) = (hexadecimal(&certificate.network), hexadecimal(&certificate.property));
    let arithmetic = match report.exact_leaves {
        0 => "f64, every rounding against the proof".to_string(),
        exact => format!("f64, every rounding against the proof; exact in {exact} of {} leaves", report.leaves),
    };
    let document = json!({
        "certificate": options.certificate.display().to_string(),
        "verdict": "holds",
        "network_sha256": network,
        "property_sha256": statement,
        "arithmetic": arithmetic,
        "conjunctions": report.conjunctions,
        "splits": report.splits,
        "leaves": report.leaves,
        "exact_leaves": report.exact_leaves,
        "smallest_bound": Some(report.smallest_bound).filter(|bound| bound.is_finite()),
        "seconds": seconds,
    });
    let bound = match report.smallest_bound.is_finite() {
        true => format!(", smallest bound {}", rounded_text(report.smallest_bound)),
        false => String::new(),
    };
    let text = format!(
        "holds\n{} refuted by {}{bound}, {seconds:.2} s\nnetwork     {network}\nproperty    {statement}\n\
         arithmetic  {arithmetic}\n",
        counted(report.conjunctions, "conjunction", "conjunctions"),
        counted(report.leaves, "leaf", "leaves"),
    );
    context.print(&document, &text)
}

/// Lower-case hexadecimal.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
