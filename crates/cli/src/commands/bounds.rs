//! `tightrope bounds`: margins, layer bounds and loss gradients over input regions, as safetensors.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;
use tightrope::Optimised;
use tightrope_attack::ThreatModel;
use tightrope_engine::{BoundRequest, Cotangents, Loaded, Norm, Region, Spec, Wants};
use tightrope_network::{Network, NodeId, number_text};
use tightrope_train::{certified_cross_entropy, cross_entropy};
use tightrope_verify::complete::{AlphaCrown, AlphaSettings};

use crate::context::Context;
use crate::engines::{self, EngineChoice, Precision, PrecisionChoice};
use crate::memory::{self, Wanted};
use crate::progress::Bar;
use crate::tensors::{Inputs, TensorShape, TensorWriter};
use crate::values::{self, Method, NormChoice, clip_range, counted};

/// Samples per engine call, which bounds the memory.
const CHUNK: usize = 64;
/// The same for α-CROWN, which takes seconds for some samples: the bar moves more often.
const OPTIMISED_CHUNK: usize = 8;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tightrope bounds runs/mnist --inputs x.safetensors --eps 0.1 --clip 0 1 --method crown \
                        --layers -o bounds.safetensors\n  \
                        tightrope bounds model.onnx --inputs x.safetensors --eps 0.01 --method alpha-crown -o bounds.safetensors\n\n\
                        Exit codes: 0 the file is written; 4 error."
)]
pub struct Options {
    /// Run folder, .onnx, or .safetensors with its description beside it.
    model: PathBuf,
    /// Safetensors file with `x` f32 [N, …input shape] and `y` i64 [N].
    #[arg(long, value_name = "X.safetensors")]
    inputs: PathBuf,
    /// Radius ε, a number or a fraction such as 8/255.
    #[arg(long, value_name = "E", value_parser = values::radius, allow_hyphen_values = true)]
    eps: f64,
    /// Norm of the ball.
    #[arg(long, value_enum, default_value = "inf")]
    norm: NormChoice,
    /// Intersect the ball with the data range [default: the bare ball].
    #[arg(long, num_args = 2, value_names = ["LO", "HI"], conflicts_with = "no_clip", value_parser = values::range_end)]
    clip: Option<Vec<f64>>,
    /// The bare ball (the default).
    #[arg(long)]
    no_clip: bool,
    #[arg(long, value_parser = values::method, help = values::method_help())]
    method: Method,
    /// Also write the mean certified cross-entropy and its gradient for every parameter; not for alpha-crown.
    #[arg(long)]
    gradients: bool,
    /// Also write the bounds of every pre-activation layer and of the logits.
    #[arg(long)]
    layers: bool,
    /// Time limit of alpha-crown for each sample in seconds; what is not optimised by then keeps the bounds of crown.
    #[arg(long, value_name = "S", value_parser = values::seconds)]
    alpha_seconds: Option<Duration>,
    /// Optimisation steps of alpha-crown on each bound.
    #[arg(long, value_name = "N", value_parser = values::count, default_value_t = AlphaSettings::default().iterations)]
    alpha_steps: usize,
    /// Engine.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
    /// Precision of the computation and of the output.
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionChoice,
    /// Where to write the bounds.
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    match options.precision {
        PrecisionChoice::F32 => run_in::<f32>(options, context),
        PrecisionChoice::F64 => run_in::<f64>(options, context),
    }
}

fn run_in<T: Precision>(options: &Options, context: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    tightrope::check_outputs(&[("-o", &options.output)], &[&options.model, &options.inputs])?;
    if options.method == Method::AlphaCrown {
        ensure!(
            !options.gradients,
            "--gradients: optimised bounds have no gradient here; leave it out, or use --method crown"
        );
    }
    let engine = T::engine(options.engine)?;
    let clip = options.clip.as_deref().map(clip_range).transpose()?;
    let model = match options.precision {
        PrecisionChoice::F32 => tightrope::load(&options.model)?,
        PrecisionChoice::F64 => tightrope::load_exact(&options.model)?,
    };
    let network = &model.network;
    let weights = model.weights();
    let inputs = Inputs::<T>::read(&options.inputs, network)?;
    let size = if options.method == Method::AlphaCrown { OPTIMISED_CHUNK } else { CHUNK };
    let wanted = Wanted {
        layers: options.layers,
        gradients: options.gradients,
        optimised: options.method == Method::AlphaCrown,
    };
    let single = f32::engine(match options.engine {
        EngineChoice::Reference => EngineChoice::Reference,
        EngineChoice::Auto | EngineChoice::Fused => EngineChoice::Auto,
    })?;
    memory::tell(
        context,
        &memory::bounding(network, &*single, options.method.relaxation(), [inputs.len(), size], size_of::<T>(), wanted),
    )?;
    let region = Region::ball(
        &inputs.x,
        network.input_len(),
        T::from_f64(options.eps),
        Norm::from(options.norm),
        clip.map(|(low, high)| (T::from_f64(low), T::from_f64(high))),
    )?;
    let theta: Vec<T> = weights.theta().iter().map(|&v| T::from_f64(v)).collect();
    let alpha = (options.method == Method::AlphaCrown).then(|| AlphaCrown::new(network, &weights)).transpose()?;
    let at = engine.load(network, &theta, &[])?;
    engines::tell(context, &*engine, network, &BoundRequest::lower(options.method.relaxation()));
    let run = Run { network, at: &*at, alpha: alpha.as_ref(), options };
    let metadata = [
        ("method", options.method.name().to_string()),
        ("norm", values::norm_name(options.norm.into()).to_string()),
        ("eps", number_text(options.eps)),
        ("clip", clip.map_or("none".into(), |(low, high)| format!("{} {}", number_text(low), number_text(high)))),
        ("engine", engine.name().to_string()),
    ];
    let mut writer = TensorWriter::create(&options.output, &run.tensors(inputs.len()), &metadata)?;

    let bar = Bar::new(context, "bounds", inputs.len());
    let mut totals = Totals { loss: 0.0, certified: 0, correct: 0, gradient: vec![T::ZERO; theta.len()] };
    for first in (0..inputs.len()).step_by(size) {
        let count = size.min(inputs.len() - first);
        let chunk = Chunk {
            first,
            x: &inputs.x[first * network.input_len()..(first + count) * network.input_len()],
            labels: &inputs.y[first..first + count],
            region: region.slice(first, count),
            share: T::from_f64(count as f64 / inputs.len() as f64),
        };
        run.chunk(&chunk, &mut writer, &mut totals)?;
        bar.advance(count);
    }
    bar.finish();
    let loss = totals.loss / inputs.len() as f64;
    if options.gradients {
        writer.write("loss", 0, &[T::from_f64(loss)])?;
        for info in network.parameters().iter() {
            writer.write(&format!("grad.{}", info.name), 0, &totals.gradient[info.range()])?;
        }
    }
    writer.finish()?;
    memory::tell_peak(context);
    let document = json!({
        "output": options.output.display().to_string(),
        "samples": inputs.len(),
        "method": options.method.name(),
        "norm": values::norm_name(options.norm.into()),
        "eps": options.eps,
        "clip": clip.map(|(low, high)| [low, high]),
        "engine": engine.name(),
        "precision": T::DTYPE.to_lowercase(),
        "correct": totals.correct,
        "certified": totals.certified,
        "loss": loss,
        "seconds": start.elapsed().as_secs_f64(),
    });
    let text = format!(
        "{}: {} correct, {} certified by {}; {}; mean certified loss {loss:.6}\nwritten to {}",
        counted(inputs.len(), "sample", "samples"),
        totals.correct,
        totals.certified,
        values::relaxation_title(options.method.name()),
        values::threat_text(&ThreatModel::new(options.norm.into(), options.eps, clip)),
        options.output.display()
    );
    context.print(&document, &text)
}

/// What stays the same over all chunks.
struct Run<'a, T> {
    network: &'a Network,
    at: &'a dyn Loaded<T>,
    /// For optimised bounds.
    alpha: Option<&'a AlphaCrown<'a>>,
    options: &'a Options,
}

/// Some consecutive samples.
struct Chunk<'a, T> {
    first: usize,
    x: &'a [T],
    labels: &'a [usize],
    region: Region<T>,
    /// Samples of the chunk over samples in all.
    share: T,
}

impl<T: Precision> Chunk<'_, T> {
    /// Fails, naming the sample, if one of its `values` is not as it should be.
    fn check(&self, what: &str, values: &[T], is_fine: impl Fn(&T) -> bool) -> anyhow::Result<()> {
        let Some(position) = values.iter().position(|value| !is_fine(value)) else { return Ok(()) };
        bail!(
            "the {what} of sample {} overflow {}; use a smaller ε{}",
            self.first + position / (values.len() / self.labels.len()),
            T::DTYPE.to_lowercase(),
            if T::DTYPE == "F32" { " or --precision f64" } else { "" }
        );
    }
}

/// Sums over the chunks.
struct Totals<T> {
    loss: f64,
    certified: usize,
    correct: usize,
    gradient: Vec<T>,
}

impl<T: Precision> Run<'_, T> {
    /// The tensors of the output file for `samples` samples.
    fn tensors(&self, samples: usize) -> Vec<TensorShape> {
        let classes = self.network.output_len();
        let shape = |name: String, shape: &[usize]| TensorShape::new::<T>(name, shape);
        let mut tensors =
            vec![shape("logits".into(), &[samples, classes]), shape("margins_lower".into(), &[samples, classes])];
        if self.options.layers {
            for (i, node) in self.layer_nodes().into_iter().enumerate() {
                let full = [&[samples], self.network.node(node).shape.as_slice()].concat();
                tensors.extend(["lower", "upper"].map(|side| shape(format!("layer{i}.{side}"), &full)));
            }
        }
        if self.options.gradients {
            tensors.push(shape("loss".into(), &[1]));
            let parameters = self.network.parameters();
            tensors.extend(parameters.iter().map(|info| shape(format!("grad.{}", info.name), &info.shape)));
        }
        tensors
    }

    /// The pre-activations in network order, then the logits.
    fn layer_nodes(&self) -> Vec<NodeId> {
        let mut nodes = self.network.pre_activations();
        nodes.push(self.network.output());
        nodes
    }

    fn chunk(&self, chunk: &Chunk<'_, T>, writer: &mut TensorWriter, totals: &mut Totals<T>) -> anyhow::Result<()> {
        let logits = self.at.forward(chunk.x)?;
        totals.correct += cross_entropy(&logits, chunk.labels).correct;
        writer.write("logits", chunk.first, &logits)?;
        let options = self.options;
        let budget = AlphaSettings {
            timeout: options.alpha_seconds,
            iterations: options.alpha_steps,
            ..AlphaSettings::default()
        };
        let rows = |sample: usize| rows(chunk.labels[sample], self.network.output_len(), options.layers);
        let alpha = self.alpha.map(|alpha| Optimised::new(alpha, &chunk.region, &rows, &budget));
        let alpha = alpha.transpose()?;
        let margins = self.margins(chunk, alpha.as_ref(), totals)?;
        writer.write("margins_lower", chunk.first, &margins)?;
        if self.options.layers { self.layers(chunk, alpha.as_ref(), writer) } else { Ok(()) }
    }

    /// Lower margins; also adds up loss and gradient.
    fn margins(
        &self,
        chunk: &Chunk<'_, T>,
        alpha: Option<&Optimised>,
        totals: &mut Totals<T>,
    ) -> anyhow::Result<Vec<T>> {
        let spec = Spec::Margins { labels: chunk.labels.to_vec() };
        let request = BoundRequest::lower(self.options.method.relaxation());
        let (bounds, tape) = if self.options.gradients {
            let (bounds, tape) = self.at.bound_taped(&chunk.region, &spec, request)?;
            (bounds, Some(tape))
        } else {
            (self.at.bound(&chunk.region, &spec, request)?, None)
        };
        let mut margins = bounds.lower;
        if let Some(alpha) = alpha {
            for (i, (row, &label)) in margins.chunks_exact_mut(bounds.rows).zip(chunk.labels).enumerate() {
                // The label has no row.
                let mut optimised = alpha.rows(i)[..bounds.rows - 1].to_vec();
                optimised.insert(label, f64::NEG_INFINITY);
                tightrope::raise_to(row, &optimised);
            }
        }
        chunk.labels.iter().enumerate().for_each(|(i, &label)| margins[i * bounds.rows + label] = T::ZERO);
        chunk.check("margins", &margins, |m| m.is_finite())?;
        let loss = certified_cross_entropy(&margins, chunk.labels);
        totals.loss += loss.per_sample.iter().map(|l| l.to_f64()).sum::<f64>();
        totals.certified += loss.certified;
        if let Some(tape) = tape {
            // The cotangent belongs to the chunk's mean; the file holds that of all samples.
            let cotangents = Cotangents::on_lower(loss.cotangent.iter().map(|&c| c * chunk.share).collect());
            let gradients = self.at.vjp(&tape, &cotangents, Wants::THETA)?;
            let gradient = gradients.theta.context("the engine returned no parameter gradient")?;
            totals.gradient.iter_mut().zip(gradient).for_each(|(total, g)| *total += g);
        }
        Ok(margins)
    }

    fn layers(&self, chunk: &Chunk<'_, T>, alpha: Option<&Optimised>, writer: &mut TensorWriter) -> anyhow::Result<()> {
        let request =
            BoundRequest { upper: true, layers: true, ..BoundRequest::lower(self.options.method.relaxation()) };
        let mut bounds = self.at.bound(&chunk.region, &Spec::Logits, request)?;
        if let Some(alpha) = alpha {
            alpha.tighten_layers(&mut bounds.layers);
            let n = bounds.rows;
            for i in 0..chunk.labels.len() {
                let (logits, negated) = alpha.rows(i)[n - 1..].split_at(n);
                tightrope::raise_to(&mut bounds.lower[i * n..(i + 1) * n], logits);
                if let Some(upper) = &mut bounds.upper {
                    // The upper bounds are minus the lower bounds of the negated values.
                    let logits: Vec<f64> = negated.iter().map(|bound| -bound).collect();
                    tightrope::lower_to(&mut upper[i * n..(i + 1) * n], &logits);
                }
            }
        }
        let nodes = self.layer_nodes();
        // Infinite bounds say little, NaN says nothing.
        let is_number = |bound: &T| bound.partial_cmp(bound).is_some();
        let ends = bounds.layers.iter().flat_map(|layer| [&layer.lower, &layer.upper]);
        for values in ends.chain([&bounds.lower]).chain(&bounds.upper) {
            chunk.check("bounds of layers", values, is_number)?;
        }
        for (i, layer) in bounds.layers.iter().enumerate() {
            ensure!(nodes[..nodes.len() - 1].get(i) == Some(&layer.node), "the engine returned layers out of order");
            writer.write(&format!("layer{i}.lower"), chunk.first, &layer.lower)?;
            writer.write(&format!("layer{i}.upper"), chunk.first, &layer.upper)?;
        }
        ensure!(bounds.layers.len() + 1 == nodes.len(), "the engine left out layers");
        let upper = bounds.upper.context("the engine returned no upper bounds")?;
        writer.write(&format!("layer{}.lower", nodes.len() - 1), chunk.first, &bounds.lower)?;
        writer.write(&format!("layer{}.upper", nodes.len() - 1), chunk.first, &upper)
    }
}

/// z_label − z_j for every other j; with `logits` then z_j and −z_j for every j.
fn rows(label: usize, classes: usize, logits: bool) -> Vec<f32> {
    let unit = |class: usize, sign: f32| (0..classes).map(move |j| if j == class { sign } else { 0.0 });
    let margin = |rival: usize| unit(label, 1.0).zip(unit(rival, 1.0)).map(|(a, b)| a - b);
    let mut rows: Vec<f32> = (0..classes).filter(|&rival| rival != label).flat_map(margin).collect();
    if logits {
        rows.extend((0..classes).flat_map(|class| unit(class, 1.0)));
        rows.extend((0..classes).flat_map(|class| unit(class, -1.0)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn rows_are_margins_then_logits() {
        assert_eq!(rows(1, 3, false), [-1.0, 1.0, 0.0, 0.0, 1.0, -1.0]);
        assert_eq!(rows(0, 2, true), [1.0, -1.0, 1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0]);
    }
}
