//! `tightrope quickstart`: a certified network on drawn digits in under a minute, without downloads.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tightrope_data::Split;
use tightrope_engine::Norm;
use tightrope_train::Config;
use tightrope_verify::{Attack, Cascade, LOG_FILE, Stage, ThreatModel};

use crate::commands::certify::{self, Job};
use crate::commands::train::Run;
use crate::context::Context;
use crate::dataset::DataDir;
use crate::engines::EngineChoice;

/// What is trained: small enough for a minute on two cores, large enough to be worth certifying.
const RECIPE: &str = r#"
dataset = "digits"
model = "cnn3"
eps = 0.1

[train]
epochs = 12
batch = 128
lr = 2e-3
eval_limit = 500

[method]
name = "ibp"
"#;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope quickstart --out quickstart")]
pub struct Options {
    /// Run folder; must be empty or not there yet.
    #[arg(short, long, value_name = "DIR", default_value = "runs/quickstart")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    if options.out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{}: the folder is not empty; choose another with --out", options.out.display());
    }
    let seed = context.seed.unwrap_or(0);
    let config = Config::parse(RECIPE, "(quickstart)", &[format!("seed={seed}")])?;
    let data = DataDir { data_dir: None };
    let run = Run { config: &config, folder: &options.out, resume: false, data: &data, engine: EngineChoice::Auto };
    let outcome = run.train(context).context("quickstart")?;

    let set = tightrope_data::load(&config.dataset, Split::Test, None)?;
    let cascade = Cascade {
        stages: Stage::DEFAULT.to_vec(),
        attack: Attack { steps: 20, restarts: 1, seed, ..Attack::default() },
        threat: ThreatModel { norm: Norm::Inf, epsilon: config.eps, clip: Some((0.0, 1.0)) },
        timeout: Some(Duration::from_secs(5)),
    };
    context.note(&format!("certifying {} test images", set.len()));
    let job = Job { cascade, resume: false, engine: EngineChoice::Auto, log: options.out.join(LOG_FILE) };
    let summary = certify::certify(&job, &outcome.model, &set, context)?;
    let document = json!({
        "folder": options.out.display().to_string(),
        "certification": certify::document(&summary, &job, &set, set.len()),
        "seconds": start.elapsed().as_secs_f64(),
    });
    let place = options.out.display();
    let text = format!(
        "{}\ndone in {:.0} s; everything is in {place}\n\nWhat to do next:\n  \
         tightrope data fetch mnist\n  \
         tightrope train --dataset mnist --model cnn3 --eps 0.1 --method ibp --epochs 20 --out runs/mnist\n  \
         tightrope certify runs/mnist --dataset mnist --eps 0.1\n  \
         tightrope attack {place} --dataset digits --eps 0.2\n  \
         tightrope export {place} --to onnx -o digits.onnx\n",
        certify::text(&summary, &job, &set, set.len()),
        start.elapsed().as_secs_f64()
    );
    context.print(&document, &text)
}
