//! `tightrope export`: a model as ONNX or safetensors.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use tightrope_network::{Description, Model, output_target, write_atomically};

use crate::context::Context;
use crate::model;

/// `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file that other tools run.
    Onnx,
    /// Parameters, with the structure beside them as JSON.
    Safetensors,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope export runs/mnist --to onnx -o mnist.onnx")]
pub struct Options {
    /// Run folder, .onnx, or .safetensors with its description beside it.
    model: PathBuf,
    /// Format.
    #[arg(long, value_enum)]
    to: Format,
    /// Where to write [default: model.onnx in a run folder, else beside the model].
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let extension = match options.to {
        Format::Onnx => "onnx",
        Format::Safetensors => "safetensors",
    };
    let output = options.output.clone().unwrap_or_else(|| match options.model.is_dir() {
        true => options.model.join(format!("model.{extension}")),
        false => options.model.with_extension(extension),
    });
    output_target(&output).with_context(|| format!("-o {}", output.display()))?;
    let model = model::load(&options.model)?;
    if model.exact.is_some() {
        context
            .note("the model's numbers are more exact than single precision; the copy holds the nearest f32 of each");
    }
    let source = if options.model.is_dir() { options.model.join("model.safetensors") } else { options.model.clone() };
    if same_file(&source, &output) {
        bail!("{}: is the model itself; name another file with -o", output.display());
    }
    let files = match options.to {
        Format::Onnx => {
            write(&output, &tightrope_onnx::export_bytes(&model)?)?;
            vec![output]
        }
        Format::Safetensors => {
            if output.extension().and_then(|e| e.to_str()) != Some("safetensors") {
                bail!("{}: name the file with the ending .safetensors, by which it is read again", output.display());
            }
            write_safetensors(&model, &output)?
        }
    };
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let document = json!({"files": names, "parameters": model.theta.len()});
    context.print(&document, &format!("written: {}", names.join(", ")))
}

/// Writes the description first, so that parameters never lie there without one.
fn write_safetensors(model: &Model, output: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let description = output.with_extension("json");
    write(&description, &serde_json::to_vec_pretty(&Description::of(&model.network))?)?;
    write(output, &model.network.theta_to_safetensors(&model.theta)?)?;
    Ok(vec![output.into(), description])
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomically(path, bytes)
        .with_context(|| format!("{}: cannot write here; choose another place with -o", path.display()))
}

fn same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().is_some_and(|a| b.canonicalize().ok() == Some(a))
}
