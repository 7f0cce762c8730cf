//! `tightrope sweep`: many configurations trained and certified, and their Pareto front; `ask`, `tell` and `show`.

mod options;
mod report;

use std::io::{BufRead, ErrorKind, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tightrope_sweep::{Axis, Commands, Domain, Event, Outcome, Plan, Run, Summary, Sweep, setting};
use tightrope_train::methods::METHODS;
use tightrope_train::{Config, TrainError};

pub use self::options::Options;
use self::options::{Action, SplitChoice};
use crate::context::Context;
use crate::interruption::Interruption;
use crate::shell;
use crate::values::{self, percent};

/// The key that keeps a part of the training images for tuning.
const VALIDATION: &str = "train.validation";

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    match &options.action {
        None => sweep(options, context),
        Some(Action::Ask { folder, open }) => ask(folder, *open),
        Some(Action::Tell { folder }) => tell(folder),
        Some(Action::Show { folder }) => show(folder, context),
    }
}

fn sweep(options: &Options, context: &Context) -> anyhow::Result<()> {
    let interruption = Interruption::watch()?;
    let Some(folder) = &options.out else { bail!("--out: name the folder of the sweep, such as --out sweeps/first") };
    tightrope::check_threads("--jobs", options.jobs)?;
    let plan = plan(options, context)?;
    if options.prepare {
        drop(Sweep::begin(folder, plan, None, false)?);
        return show(folder, context);
    }
    let commands = commands(options)?;
    let mut sweep = Sweep::begin(folder, plan, options.shard, options.resume)?;
    sweep.take_remarks().iter().for_each(|remark| context.note(remark));
    let finished = sweep.run(Run {
        commands: &commands,
        jobs: options.jobs,
        retry: options.retry,
        stop: &|| interruption.came(),
        tell: &mut |event| tell_event(&event, context),
    })?;
    let summary = sweep.summary()?;
    if !finished {
        let ended = summary.done + summary.failed;
        let (all, again) = (summary.trials, shell::this_command(&[], &["--resume"]));
        let advice = format!("{ended} of {all} trials are in {}; go on with: {again}", folder.display());
        if let Some(interrupted) = interruption.ended(advice) {
            return Err(interrupted.into());
        }
    }
    context.print(&report::document(&summary, folder)?, &report::text(&summary, folder))
}

/// What the options describe, checked as far as that can be done without a trial.
fn plan(options: &Options, context: &Context) -> anyhow::Result<Plan> {
    let axes = options.axes()?;
    for axis in &axes {
        check_key(&axis.key)?;
        check_values(axis)?;
        if options.set.iter().any(|text| text.split_once('=').is_some_and(|(key, _)| key.trim() == axis.key)) {
            bail!("--set {}: is an axis of the sweep, too; give its values once", axis.key);
        }
    }
    let mut setting = std::collections::BTreeMap::new();
    let sets = options.settings(options.split()?);
    if let Some(recipe) = &options.recipe {
        Config::read(recipe, &sets)?;
        let bytes = std::fs::read(recipe).with_context(|| recipe.display().to_string())?;
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        setting.insert("recipe".to_string(), json!(digest));
        setting.insert("set".into(), json!(sets));
        setting.insert("split".into(), json!(options.split()?.name()));
        setting.insert("limit".into(), json!(options.limit));
        setting.insert("timeout".into(), json!(options.timeout.as_secs_f64()));
        setting.insert("stages".into(), json!(options.stage_names()));
        if options.split()? == SplitChoice::Test {
            context.note(
                "warning: trials are compared on test data; what is chosen by it looks better than it is. Tune on \
                 --split validation, and certify only what you have chosen on the test split",
            );
        }
    }
    Ok(Plan {
        axes,
        listed: Vec::new(),
        strategy: options.strategy(),
        seeds: options.seeds,
        seed: context.seed.unwrap_or(0),
        objectives: options.objectives.iter().map(|&choice| choice.into()).collect(),
        setting,
    })
}

/// Fails for what is the key of no method's configuration.
fn check_key(key: &str) -> anyhow::Result<()> {
    let common = Config::keys().iter().any(|known| known.path == key);
    let mut own = false;
    for info in METHODS {
        own |= info.keys()?.iter().any(|known| known.path == key);
    }
    if common || own {
        return Ok(());
    }
    let nearest = match Config::parse("", "(command line)", &[format!("{key}=0")]) {
        Err(TrainError::UnknownKey { nearest: Some(nearest), .. }) => format!("; did you mean `{nearest}`?"),
        _ => "; `tightrope config` lists all".into(),
    };
    bail!("`{key}` is no configuration key{nearest}")
}

/// Fails for values that no configuration can have, so that no trial is begun for them.
fn check_values(axis: &Axis) -> anyhow::Result<()> {
    let key = &axis.key;
    let check = |literal: &str| Config::check_value(key, literal);
    match &axis.domain {
        Domain::Values(values) => {
            for value in values {
                let text = setting(key, value);
                check(text.split_once('=').map_or("", |(_, literal)| literal))
                    .with_context(|| format!("the value {value} of the axis {key}"))?;
            }
        }
        Domain::Range { low, high, whole, .. } => {
            for end in [low, high] {
                let as_whole = format!("{end:.0}");
                // With a point, since what is drawn is no whole number.
                let literal = if *whole { as_whole.clone() } else { format!("{end:?}") };
                let Err(problem) = check(&literal) else { continue };
                if !whole && check(&as_whole).is_ok() {
                    bail!("--range {key}: takes whole numbers; add :int");
                }
                return Err(problem).with_context(|| format!("the end {} of the range of {key}", values::number(*end)));
            }
        }
    }
    Ok(())
}

/// The commands of a trial: this program with what the options say.
fn commands(options: &Options) -> anyhow::Result<Commands> {
    let Some(recipe) = &options.recipe else { bail!("RECIPE: name the configuration that trials begin with") };
    let recipe = recipe.to_str().with_context(|| format!("{}: the path is no text; rename it", recipe.display()))?;
    let split = options.split()?;
    let mut train: Vec<String> = vec!["train".into(), recipe.into()];
    train.extend(options.settings(split).into_iter().flat_map(|text| ["--set".into(), text]));
    let mut certify: Vec<String> = vec!["--timeout".into(), options.timeout.as_secs_f64().to_string()];
    if split == SplitChoice::Validation {
        certify.extend(["--split".into(), split.name().into()]);
    }
    if let Some(limit) = options.limit {
        certify.extend(["--limit".into(), limit.to_string()]);
    }
    if let Some(stages) = options.stage_names() {
        certify.extend(["--stages".into(), stages]);
    }
    if let Some(folder) = &options.folder.data_dir {
        let folder = ["--data-dir".to_string(), folder.display().to_string()];
        train.extend(folder.clone());
        certify.extend(folder);
    }
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let threads = (rayon::current_num_threads() / options.jobs).max(1);
    Ok(Commands { program, train, certify, threads })
}

fn tell_event(event: &Event<'_>, context: &Context) {
    match event {
        Event::Begun(trial) => {
            let parameters = report::parameters_text(&trial.parameters);
            context.note(&format!("trial {}: {parameters}, seed {}", trial.number, trial.seed));
        }
        Event::Waiting(trial) => context.note(&format!(
            "trial {}: a process that an earlier sweep has started still works on it; waiting for its end",
            trial.number
        )),
        Event::Trained(trial) => context.detail(&format!("trial {}: trained, certifying", trial.number)),
        Event::Ended { record, ended, all } => {
            let outcome = match &record.outcome {
                Outcome::Done(measured) => {
                    format!("natural {}, certified {}", percent(measured.natural), percent(measured.certified))
                }
                failed => format!("failed: {}", failed.error().unwrap_or_default()),
            };
            context.note(&format!("trial {}: {outcome} ({ended} of {all})", record.trial));
        }
    }
}

fn ask(folder: &Path, open: bool) -> anyhow::Result<()> {
    print_line(&match Sweep::open(folder)?.ask(open)? {
        Some(trial) => json!({
            "trial": trial.number,
            "configuration": trial.configuration,
            "parameters": trial.parameters,
            "seed": trial.seed,
        }),
        None => json!({ "trial": null }),
    })
}

fn tell(folder: &Path) -> anyhow::Result<()> {
    // Not held between lines, so that others may ask meanwhile.
    let open = || Sweep::open(folder);
    open()?;
    for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
        let line = line.context("cannot read standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        let mut sweep = open()?;
        let record = sweep.tell(&line).with_context(|| format!("line {number}"))?;
        sweep.write_results()?;
        let status = if record.measured().is_some() { "done" } else { "failed" };
        print_line(&json!({ "trial": record.trial, "configuration": record.configuration, "status": status }))?;
    }
    Ok(())
}

fn show(folder: &Path, context: &Context) -> anyhow::Result<()> {
    let summary = Summary::read(folder)?;
    context.print(&report::document(&summary, folder)?, &report::text(&summary, folder))
}

/// One document a line, with or without --json.
fn print_line(document: &Value) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{document}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}
