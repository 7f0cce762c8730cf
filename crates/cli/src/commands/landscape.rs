//! `tightrope landscape`: training losses along a line or over a plane through a run's parameters, original and smoothed.

mod directions;
mod output;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;
use tightrope_data::{Dataset, shuffled};
use tightrope_landscape::metrics::{JumpSearch, KinkSearch};
use tightrope_landscape::{
    Curve, LandscapeError, Line, MethodLoss, Plan, Plane, PlanePlan, Probe, Smoothing, curve_chart, plane_chart,
};
use tightrope_network::{Model, rounded_text};
use tightrope_train::methods::{METHODS, Method, Minibatch, StepThreat, method};
use tightrope_train::{Config, Flow, MethodSection};

use crate::commands::landscape::directions::{Choice, Direction};
use crate::commands::landscape::output::{Folder, Setting, curve_csv, plane_csv};
use crate::context::Context;
use crate::dataset::SampleOptions;
use crate::engines::{EngineChoice, Precision};
use crate::interruption::Interruption;
use crate::origin::Origin;
use crate::progress::Bar;
use crate::values::{self, Perturbation};
use crate::{shell, table};

/// The epoch by which the batch is drawn: one that no run comes to.
const EPOCH: u64 = u64::MAX;
/// Points of a line, and along each side of a plane, unless told.
const LINE_POINTS: usize = 101;
const PLANE_POINTS: usize = 21;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tightrope landscape runs/mnist --methods ibp,crown-ibp,deeppoly --sigma 1e-3,1e-2\n  \
                        tightrope landscape runs/a --direction runs/b --points 201 -o between\n  \
                        tightrope landscape runs/mnist --direction random --plane -o plane\n\n\
                        Exit codes: 0 the files are written; 4 error; 130 and 143 interrupted, nothing is written."
)]
pub struct Options {
    /// Run folder.
    run: PathBuf,
    /// Training methods whose losses are drawn; the run's own has the run's settings, others their defaults [default: the
    /// run's method].
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',')]
    methods: Vec<String>,
    /// Standard deviations σ of Gaussian noise on the parameters, for each of which the smoothed loss is drawn beside the
    /// original [default: none].
    #[arg(long, value_name = "S,…", value_delimiter = ',', value_parser = deviation, allow_hyphen_values = true)]
    sigma: Vec<f64>,
    /// Samples behind each value of a smoothed loss, in antithetic pairs: the same at every point and for every σ.
    #[arg(long, value_name = "N", default_value = "64", value_parser = values::count)]
    samples: usize,
    /// `gradient` of the run's method, as long as the parameters; `random`, with the norm of every filter of the weights; or
    /// a run folder, which then lies at 1.
    #[arg(long, value_name = "gradient|random|RUN", default_value = "gradient")]
    direction: String,
    /// Draw a plane instead of a line, by a second direction [default: random].
    #[arg(long, value_name = "D", num_args = 0..=1, require_equals = true, default_missing_value = "random")]
    plane: Option<String>,
    /// Ends of the line, or of both sides of the plane, as multiples of the direction [default: −0.1 0.1 along the gradient,
    /// −1 1 for random, −0.5 1.5 towards a run].
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    range: Option<Vec<f64>>,
    /// Points of the line, or along each side of the plane [default: 101, and 21 for planes].
    #[arg(long, value_name = "N", value_parser = values::count)]
    points: Option<usize>,
    /// Standard deviation of the weight noise by which sensitivity is measured.
    #[arg(long, value_name = "S", default_value = "1e-3", value_parser = deviation, allow_hyphen_values = true)]
    noise: f64,
    /// Steps of the original line that are searched for jumps, and points for kinks: those that stand out most; of smoothed
    /// lines at most 4.
    #[arg(long, value_name = "N", default_value = "24", value_parser = values::count)]
    search: usize,
    /// Images of the batch that the losses are means over, drawn by the seed.
    #[arg(long, value_name = "N", default_value = "256", value_parser = values::count)]
    images: usize,
    #[command(flatten)]
    samples_of: SampleOptions,
    #[command(flatten)]
    perturbation: Perturbation,
    /// Engine.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
    /// Folder for the files, made if it is not there [default: landscape in the run folder].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace the landscape in the folder.
    #[arg(long)]
    overwrite: bool,
}

/// Parses a standard deviation.
fn deviation(text: &str) -> Result<f64, String> {
    let value = text.trim().parse::<f64>().ok();
    let positive = value.filter(|&value| value as f32 > 0.0 && (value as f32).is_finite());
    positive.ok_or_else(|| "a standard deviation is a finite number above 0 such as 1e-3".into())
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    let interruption = Interruption::watch()?;
    ensure!(
        options.samples >= 4 && options.samples.is_multiple_of(2),
        "--samples {}: give an even number from 4 on, since samples come in pairs and errors are told from pair to pair",
        options.samples
    );
    ensure!(options.images > 0, "--images 0: a loss needs at least one image");
    let points = options.points.unwrap_or(if options.plane.is_some() { PLANE_POINTS } else { LINE_POINTS });
    ensure!(points >= 3, "--points {points}: give at least 3");
    if let Some(twice) = options.sigma.iter().enumerate().find(|(i, sigma)| options.sigma[..*i].contains(sigma)) {
        bail!("--sigma: {} stands twice", values::number(*twice.1));
    }
    let mut origin = Origin::of(&options.run)?;
    let Some(config) = origin.config().cloned() else {
        bail!(
            "{}: holds no config.toml; give a run folder as `tightrope train --out FOLDER` makes it",
            options.run.display()
        );
    };
    let methods = chosen_methods(&options.methods, &config)?;
    let model = tightrope::load_trainable(&options.run)?;
    let choices = [Some(&options.direction), options.plane.as_ref()].into_iter().flatten();
    let choices = choices.map(|text| Choice::read(text, &model)).collect::<anyhow::Result<Vec<Choice>>>()?;
    let ranges = choices.iter().map(|choice| range(options, choice)).collect::<anyhow::Result<Vec<_>>>()?;
    let output = options.output.clone().unwrap_or_else(|| options.run.join("landscape"));
    let folder = Folder::open(&output, options.overwrite)?;

    let end = config.at(config.train.epochs as f64);
    let own = || Some(end.epsilon.into());
    let asked = Perturbation { eps: options.perturbation.eps.clone().or_else(own), ..options.perturbation.clone() };
    let threat = origin.threat(&asked)?;
    let Some(epsilon) = threat.epsilon.same() else {
        bail!(
            "--eps: training losses, of which landscapes are drawn, have one radius for all channels; give one number"
        );
    };
    let samples = options.samples_of.load(&mut origin, &model.network, context)?;
    let seed = context.seed.unwrap_or(0);
    let set = draw(&samples.set, options.images, seed, &samples.title)?;
    let inputs = set.images();
    let step = StepThreat {
        epsilon: epsilon as f32,
        norm: threat.norm,
        clip: threat.clip.map(|(low, high)| (low as f32, high as f32)),
    };
    let batch = Minibatch::new(&inputs, &set.labels, step, end.robust_weight, seed, 0);
    // A batch that no loss can be bounded on is told before long work.
    batch.region()?;

    let engine = f32::engine(options.engine)?;
    let load = || engine.load(&model.network, &model.theta, &model.buffers);
    let own = method(&config.method)?;
    let mut directions: Vec<Direction> = Vec::new();
    for choice in &choices {
        let mut loss = MethodLoss::new(&*own, &batch, load()?);
        let randoms = directions.iter().filter(|direction| direction.kind == "random").count() as u64;
        directions.push(choice.direction(&model, &*own, &mut loss, seed, randoms)?);
    }
    let pairs = options.samples as u64 / 2;
    let mut smoothings: Vec<Option<Smoothing>> = vec![None];
    smoothings.extend(options.sigma.iter().map(|&sigma| Some(Smoothing { sigma, pairs, seed })));
    let noise = Smoothing { sigma: options.noise, seed, ..Plan::default().noise };
    let jumps = JumpSearch { candidates: options.search, ..JumpSearch::default() };
    let kinks = KinkSearch { candidates: options.search, ..KinkSearch::default() };
    let plan = Plan { range: ranges[0], points, noise, jumps, kinks };
    let per_method: u64 = smoothings.iter().map(|smoothing| losses(&plan, &ranges, smoothing.as_ref())).sum();

    let again = shell::this_command(&[], &[]);
    let advice = format!("nothing is written; begin again with: {again}");
    let (told, bar) = (advice.clone(), Bar::new(context, "losses", per_method as usize * methods.len()));
    interruption.end_soon(move || told.clone());
    let observer = |losses: u64| {
        bar.advance(losses as usize);
        if interruption.came() { Flow::Stop } else { Flow::Continue }
    };
    let mut results = Vec::new();
    for method in &methods {
        bar.message(method.name().into());
        let mut loss = MethodLoss::new(&**method, &batch, load()?);
        let mut probe = Probe::new(&mut loss).observed(observer);
        let found = Found::of(&mut probe, &model, &directions, &ranges, &smoothings, &plan);
        match found {
            Err(LandscapeError::Stopped) => {
                let Some(interrupted) = interruption.ended(advice) else { bail!(LandscapeError::Stopped) };
                return Err(interrupted.into());
            }
            found => results.push((method.name(), found.with_context(|| format!("method {}", method.name()))?)),
        }
    }
    bar.finish();

    let mut files = Vec::new();
    for (name, found) in &results {
        files.extend(found.drawings(name, &directions));
    }
    files.push(match &results[0].1 {
        Found::Line(_) => ("slice.csv".to_string(), curve_csv(&results)?),
        Found::Plane(_) => ("plane.csv".to_string(), plane_csv(&results)?),
    });
    let setting = Setting {
        run: &options.run,
        model: tightrope::checksum(&model),
        engine: engine.name(),
        seed,
        data: &samples.title,
        images: set.len(),
        threat: threat.clone(),
        robust_weight: end.robust_weight,
        batch_statistics: !model.buffers.is_empty(),
        directions: &directions,
        ranges: &ranges,
        points,
        sigmas: &options.sigma,
        samples: options.samples,
        noise: options.noise,
    };
    let mut document = setting.document(&results, &files);
    folder.write(&files, &document)?;
    if let Some(document) = document.as_object_mut() {
        document.insert("folder".into(), json!(output.display().to_string()));
        document.insert("seconds".into(), json!(start.elapsed().as_secs_f64()));
    }
    let text = format!(
        "{} images of {}, {}; along {}{}\n{}{}written to {}: {} files\n",
        set.len(),
        samples.title,
        values::threat_text(&threat),
        directions.iter().map(|direction| direction.title.as_str()).collect::<Vec<_>>().join(" and "),
        if model.buffers.is_empty() { "" } else { "; batch norms take the statistics of the batch, as in training" },
        summary(&results),
        origin.text(),
        output.display(),
        files.len() + 1
    );
    context.print(&document, &text)
}

/// The methods by name; the run's own keeps its settings.
fn chosen_methods(names: &[String], config: &Config) -> anyhow::Result<Vec<Box<dyn Method>>> {
    let own = method(&config.method).context("the run's method")?;
    if names.is_empty() {
        return Ok(vec![own]);
    }
    let mut chosen: Vec<Box<dyn Method>> = Vec::new();
    for name in names {
        let known = METHODS.iter().find(|info| info.name == *name || info.aliases.contains(&name.as_str()));
        let section = match known {
            Some(info) if info.name == own.name() => config.method.clone(),
            // Names that nobody knows are refused with a list of those that there are.
            _ => MethodSection { name: name.clone(), ..MethodSection::default() },
        };
        let new = method(&section).with_context(|| format!("--methods {name}"))?;
        if chosen.iter().any(|other| other.name() == new.name()) {
            bail!("--methods: {} stands twice", new.name());
        }
        chosen.push(new);
    }
    Ok(chosen)
}

/// The range of the options, or that of the kind of direction.
fn range(options: &Options, choice: &Choice) -> anyhow::Result<(f64, f64)> {
    match options.range.as_deref() {
        None => Ok(choice.default_range()),
        Some(&[from, to]) if from < to && from.is_finite() && to.is_finite() => Ok((from, to)),
        Some(_) => bail!("--range: give two finite numbers FROM TO with FROM < TO, such as --range -0.1 0.1"),
    }
}

/// `count` images of `set`, drawn by the seed.
fn draw(set: &Dataset, count: usize, seed: u64, title: &str) -> anyhow::Result<Dataset> {
    if count > set.len() {
        bail!("--images {count}: {title} has only {}; give fewer, or leave --limit out", set.len());
    }
    Ok(set.subset(&shuffled(set.len(), seed, EPOCH)[..count]))
}

/// The losses that one curve or plane takes at most.
fn losses(plan: &Plan, ranges: &[(f64, f64)], smoothing: Option<&Smoothing>) -> u64 {
    match ranges {
        [_] => plan.losses(smoothing),
        _ => (plan.points * plan.points) as u64 * smoothing.map_or(1, |smoothing| 2 * smoothing.pairs),
    }
}

/// What was found of one method.
enum Found {
    Line(Vec<Curve>),
    Plane(Vec<Plane>),
}

impl Found {
    fn of(
        probe: &mut Probe<'_>,
        model: &Model,
        directions: &[Direction],
        ranges: &[(f64, f64)],
        smoothings: &[Option<Smoothing>],
        plan: &Plan,
    ) -> Result<Self, LandscapeError> {
        match (directions, ranges) {
            ([first, second], &[x, y]) => {
                let (along, plan) =
                    ([&*first.vector, &*second.vector], PlanePlan { ranges: [x, y], points: plan.points });
                let plane =
                    |smoothing: &Option<Smoothing>| Plane::take(probe, &model.theta, along, smoothing.as_ref(), &plan);
                Ok(Found::Plane(smoothings.iter().map(plane).collect::<Result<_, _>>()?))
            }
            _ => {
                let line = Line::new(&model.theta, &directions[0].vector)?;
                let curve = |smoothing: &Option<Smoothing>| Curve::take(probe, &line, smoothing.as_ref(), plan);
                Ok(Found::Line(smoothings.iter().map(curve).collect::<Result<_, _>>()?))
            }
        }
    }

    /// The files with their drawings.
    fn drawings(&self, method: &str, directions: &[Direction]) -> Vec<(String, Vec<u8>)> {
        let title = format!("Loss of {method}");
        match self {
            Found::Line(curves) => {
                vec![(format!("{method}.svg"), curve_chart(&title, &directions[0].axis, curves).into_bytes())]
            }
            Found::Plane(planes) => {
                let axes = (&*directions[0].axis, &*directions[1].axis);
                let drawing = |plane: &Plane| {
                    let sigma = if plane.sigma == 0.0 { "original".into() } else { values::number(plane.sigma) };
                    (format!("{method}-plane-{sigma}.svg"), plane_chart(&title, axes, plane).into_bytes())
                };
                planes.iter().map(drawing).collect()
            }
        }
    }
}

/// Heads of the table of lines.
const CURVE_COLUMNS: [&str; 11] = [
    "method",
    "σ",
    "spread",
    "discontinuity",
    "jumps",
    "largest",
    "kinks",
    "largest",
    "roughness",
    "non-convexity",
    "sensitivity",
];

/// The metrics as a table.
fn summary(results: &[(&str, Found)]) -> String {
    let mut rows = Vec::new();
    for (method, found) in results {
        match found {
            Found::Line(curves) => {
                if rows.is_empty() {
                    rows.push(CURVE_COLUMNS.map(String::from).to_vec());
                }
                rows.extend(curves.iter().map(|curve| curve_row(method, curve)));
            }
            Found::Plane(planes) => {
                if rows.is_empty() {
                    rows.push(["method", "σ", "smallest", "largest"].map(String::from).to_vec());
                }
                rows.extend(planes.iter().map(|plane| {
                    let low = plane.loss.iter().copied().fold(f64::INFINITY, f64::min);
                    let high = plane.loss.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    vec![method.to_string(), sigma_text(plane.sigma), rounded_text(low), rounded_text(high)]
                }));
            }
        }
    }
    table::render(&rows)
}

fn curve_row(method: &str, curve: &Curve) -> Vec<String> {
    let metrics = &curve.metrics;
    let size = |size: Option<f64>| size.map_or_else(|| "–".into(), |size| rounded_text(size.abs()));
    let (variation, sensitivity) = (&metrics.variation, &metrics.sensitivity);
    vec![
        method.into(),
        sigma_text(curve.sigma),
        rounded_text(variation.spread),
        rounded_text(variation.discontinuity),
        metrics.jumps.len().to_string(),
        size(metrics.jumps.first().map(|jump| jump.size)),
        metrics.kinks.len().to_string(),
        size(metrics.kinks.first().map(|kink| kink.size)),
        rounded_text(variation.roughness),
        rounded_text(metrics.convexity.largest),
        format!("{} ± {}", rounded_text(sensitivity.mean_absolute), rounded_text(sensitivity.standard_error)),
    ]
}

fn sigma_text(sigma: f64) -> String {
    if sigma == 0.0 { "–".into() } else { values::number(sigma) }
}
