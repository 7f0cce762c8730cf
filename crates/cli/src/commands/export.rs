//! `tightrope export`: a model as ONNX or safetensors.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use tightrope_network::{Description, Model, write_atomically};

use crate::context::Context;
use crate::outputs;

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
    let description = output.with_extension("json");
    let mut written = vec![("-o", &*output)];
    if options.to == Format::Safetensors {
        if output.extension().and_then(|e| e.to_str()) != Some("safetensors") {
            bail!("-o {}: name the file with the ending .safetensors, by which it is read again", output.display());
        }
        written.push(("the description of -o", &*description));
    }
    outputs::check(&written, &[&options.model])?;
    let model = tightrope::load_trainable(&options.model)?;
    if model.exact.is_some() {
        context
            .note("the model's numbers are more exact than single precision; the copy holds the nearest f32 of each");
    }
    let files = match options.to {
        Format::Onnx => {
            write(&output, &tightrope_onnx::export_bytes(&model)?)?;
            vec![output]
        }
        Format::Safetensors => write_safetensors(&model, &output)?,
    };
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let document = json!({"files": names, "parameters": model.theta.len()});
    context.print(&document, &format!("written: {}", names.join(", ")))
}

/// Writes the description first, so that parameters never lie there without one.
fn write_safetensors(model: &Model, output: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let description = output.with_extension("json");
    write(&description, &serde_json::to_vec_pretty(&Description::of(&model.network))?)?;
    write(output, &model.to_safetensors()?)?;
    Ok(vec![output.into(), description])
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomically(path, bytes)
        .with_context(|| format!("{}: cannot write here; choose another place with -o", path.display()))
}
