//! `tightrope quickstart`: a certified network on drawn digits in under a minute, without downloads.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tightrope_attack::{Attack, ThreatModel};
use tightrope_data::Split;
use tightrope_engine::Norm;
use tightrope_train::{Config, RunFolder};
use tightrope_verify::{AlphaBudget, Cascade, LOG_FILE, Stage};

use crate::commands::certify::{self, Begin, Job};
use crate::commands::train::Run;
use crate::context::Context;
use crate::dataset::{DataDir, TestSamples};
use crate::engines::EngineChoice;
use crate::interruption::{Interrupted, Interruption};
use crate::shell;

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
    /// Run folder; must be empty, not there yet, or hold an interrupted quickstart, which goes on.
    #[arg(short, long, value_name = "DIR", default_value = "runs/quickstart")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let start = Instant::now();
    let interruption = Interruption::watch()?;
    let seed = context.seed.unwrap_or(0);
    let config = Config::parse(RECIPE, "(quickstart)", &[format!("seed={seed}")])?;
    let begin = begin(&options.out, &config)?;
    let data = DataDir { data_dir: None };
    let run = Run {
        config: &config,
        folder: &options.out,
        begin,
        data: &data,
        engine: EngineChoice::Auto,
        interruption: &interruption,
    };
    let again = shell::this_command(&[], &[]);
    let advice = format!("what is done so far is in {}; go on with: {again}", options.out.display());
    let outcome = run.train(context).map_err(|error| match interruption.ended(advice) {
        Some(interrupted) if error.is::<Interrupted>() => interrupted.into(),
        _ => error.context("quickstart"),
    })?;

    let set = tightrope_data::load(&config.dataset, Split::Test, None)?;
    let cascade = Cascade {
        stages: Stage::DEFAULT.to_vec(),
        attack: Attack { steps: 20, restarts: 1, seed, ..Attack::default() },
        threat: ThreatModel::new(Norm::Inf, config.eps, Some((0.0, 1.0))),
        timeout: Some(Duration::from_secs(5)),
        alpha: AlphaBudget::default(),
    };
    context.note(&format!("certifying {} test images", set.len()));
    let log = options.out.join(LOG_FILE);
    let begin = if log.exists() { Begin::Resume } else { Begin::Create };
    let job = Job { cascade, begin, engine: EngineChoice::Auto, shard: None, log, again };
    let samples = TestSamples { all: set.len(), title: format!("{} test", set.name), set };
    let summary = certify::certify(&job, &outcome.model, &samples, context, &interruption)?;
    let document = json!({
        "folder": options.out.display().to_string(),
        "certification": certify::document(&summary, &job, &samples),
        "seconds": start.elapsed().as_secs_f64(),
    });
    let place = shell::path(&options.out);
    let text = format!(
        "{}\ndone in {:.0} s; everything is in {place}\n\nWhat to do next:\n  \
         tightrope data fetch mnist\n  \
         tightrope train --dataset mnist --model cnn3 --eps 0.1 --method ibp --epochs 20 --out runs/mnist\n  \
         tightrope certify runs/mnist\n  \
         tightrope attack {place} --eps 0.2\n  \
         tightrope export {place} --to onnx -o digits.onnx\n",
        certify::text(&summary, &job, &samples),
        start.elapsed().as_secs_f64()
    );
    context.print(&document, &text)
}

/// Whether a quickstart begins in `out` or goes on there.
fn begin(out: &Path, config: &Config) -> anyhow::Result<Begin> {
    if RunFolder::is_free(out) {
        return Ok(Begin::Create);
    }
    let mine = || -> anyhow::Result<bool> {
        RunFolder::check_begun(out)?;
        let Some((text, origin)) = RunFolder::stored_config(out)? else { return Ok(false) };
        Ok(Config::parse(&text, &origin.display().to_string(), &[])? == *config)
    };
    if mine().unwrap_or(false) {
        return Ok(Begin::Resume);
    }
    bail!(
        "{}: the folder is not empty, and what it holds is no quickstart with this seed; choose another with --out",
        out.display()
    )
}
