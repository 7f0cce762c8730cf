//! `tightrope export`: a model as ONNX or safetensors.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use tightrope_network::{Description, Model, write_atomically};
use tightrope_train::Config;
use tightrope_weights::Mapping;

use crate::context::Context;
use crate::values;

/// `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file that other tools run.
    Onnx,
    /// Parameters, with the structure beside them as JSON.
    Safetensors,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope export runs/mnist --to onnx -o mnist.onnx\n  \
                        tightrope export cnn3.pt --network cnn3 --dataset mnist --to safetensors -o cnn3.safetensors\n  \
                        tightrope export net.pt --network net.toml --map features.0.=0. --map fc.=5. --to onnx --fold-bn")]
pub struct Options {
    /// Run folder, .onnx, .safetensors with its description beside it, or with --network the weights of another program:
    /// a PyTorch state dict (.pt, .pth) or .safetensors.
    model: PathBuf,
    #[command(flatten)]
    foreign: Foreign,
    /// Format.
    #[arg(long, value_enum)]
    to: Format,
    /// Fold batch norms into the convolutions and linear layers before them: the same function up to rounding, in fewer
    /// layers, as in the model.onnx of a run. Otherwise they are written with their statistics.
    #[arg(long)]
    fold_bn: bool,
    /// Where to write [default: model.onnx in a run folder, else beside the model].
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// The network that foreign weights belong to.
#[derive(Debug, Args)]
struct Foreign {
    /// Network of the weights: a preset, or a .toml/.json description.
    #[arg(long, value_name = "NAME|FILE")]
    network: Option<String>,
    /// Data set that a preset is built for.
    #[arg(long, value_name = "NAME", requires = "network", conflicts_with = "shape")]
    dataset: Option<String>,
    /// Shape of the inputs that a preset is built for.
    #[arg(long, value_name = "C,H,W", requires = "network", requires = "classes", value_delimiter = ',', value_parser = values::count)]
    shape: Vec<usize>,
    /// Logits of a preset.
    #[arg(long, value_name = "K", requires = "shape", value_parser = values::count)]
    classes: Option<usize>,
    /// Put the input normalisation of --dataset before a preset's first layer.
    #[arg(long, requires = "dataset")]
    normalise: bool,
    /// Tensor of the file and its place in the network; names that end with a point stand for all that begin so. What no
    /// name assigns is taken in order, and told; names that are sorted, as in safetensors, have one where layers are numbered.
    #[arg(long, value_name = "FILE_NAME=NAME", requires = "network", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Tensor of the file that is left out.
    #[arg(long, value_name = "FILE_NAME", requires = "network")]
    ignore: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    // What is put for a beginning may be nothing.
    let parts = text.split_once('=').filter(|(from, to)| !from.is_empty() && (!to.is_empty() || from.ends_with('.')));
    let (from, to) = parts.ok_or("give FILE_NAME=NAME, such as features.0.weight=0.weight")?;
    Ok((from.into(), to.into()))
}

impl Foreign {
    /// The model, if a network is named for foreign weights.
    fn load(&self, weights: &Path, context: &Context) -> anyhow::Result<Option<Model>> {
        let Some(network) = &self.network else { return Ok(None) };
        let path = Path::new(network);
        let described = path.extension().is_some_and(|extension| extension == "toml" || extension == "json");
        let network = if described {
            Description::read(path)?.build()?
        } else {
            let config = Config {
                model: network.clone(),
                normalise: self.normalise,
                dataset: self.dataset.clone().unwrap_or_default(),
                ..Config::default()
            };
            match (&self.dataset, self.classes) {
                (Some(name), _) => {
                    let info = tightrope_data::info(name)?;
                    let (Some(shape), Some(classes)) = (info.shape, info.classes) else {
                        bail!("--dataset {name}: has no shape of its own; give --shape C,H,W --classes K");
                    };
                    config.network(&shape, classes)?
                }
                (None, Some(classes)) => config.network(&self.shape, classes)?,
                (None, None) => {
                    bail!(
                        "--network {network}: a preset is built for a data set; give --dataset NAME, or --shape C,H,W --classes K"
                    )
                }
            }
        };
        let mapping = Mapping { names: self.map.clone(), ignored: self.ignore.clone() };
        let tensors = tightrope_weights::read(weights)?;
        let fitted = mapping.model(network, &tensors).with_context(|| weights.display().to_string())?;
        if !fitted.by_order.is_empty() {
            let pairs: Vec<String> = fitted.by_order.iter().map(|(from, to)| format!("{from} as {to}")).collect();
            context.note(&format!("taken by their order: {}", pairs.join(", ")));
        }
        Ok(Some(fitted.model))
    }
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
    let network = options.foreign.network.as_deref().map(Path::new);
    let read: Vec<&Path> = [Some(&*options.model), network].into_iter().flatten().collect();
    tightrope::check_outputs(&written, &read)?;
    let model = match options.foreign.load(&options.model, context)? {
        Some(model) => model,
        None if is_state_dict(&options.model) => bail!(
            "{}: a state dict holds numbers without a network; name it with --network cnn3 --dataset mnist, or --network FILE.toml",
            options.model.display()
        ),
        None => tightrope::load_trainable(&options.model)?,
    };
    let model = if options.fold_bn { without_norms(&model)?.into_owned() } else { model };
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

/// `model` without the batch norms that the layers before them can take up.
pub fn without_norms(model: &Model) -> anyhow::Result<Cow<'_, Model>> {
    Ok(match model.network.buffers().total() {
        0 => Cow::Borrowed(model),
        _ => Cow::Owned(model.folded()?),
    })
}

fn is_state_dict(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|e| ["pt", "pth", "bin"].contains(&e))
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
