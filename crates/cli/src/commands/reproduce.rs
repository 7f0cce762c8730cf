//! `tightrope reproduce`: studies of certified training, cell by cell, and what they say of claims.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tightrope_study::{Block, Cell, CellResults, Results, Study, builtins};
use tightrope_sweep::{Commands, Event, Outcome, Run, Shard, Sweep, setting};
use tightrope_train::Config;
use tightrope_verify::Stage;

use crate::context::Context;
use crate::dataset::DataDir;
use crate::interruption::Interruption;
use crate::values::{self, percent};
use crate::{shell, table};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope reproduce --list\n  \
                        tightrope reproduce paradox --profile smoke -o studies/smoke\n  \
                        tightrope reproduce paradox --profile laptop -o studies/paradox --jobs 2\n  \
                        tightrope reproduce paradox --profile laptop -o studies/paradox --jobs 2 --resume\n  \
                        tightrope reproduce paradox --profile paper -o part1 --shard 1/2\n  \
                        tightrope reproduce paradox --profile paper -o whole --merge part1 part2\n  \
                        tightrope reproduce --print sigma > mine.toml; tightrope reproduce mine.toml -o mine\n\n\
                        A study trains and certifies each cell of its tables with several seeds, and writes results.md, \
                        .csv, .tex and .json with a verdict on each claim. It may be killed at any moment.\n\n\
                        Exit codes: 0 every trial has ended, also if some failed; 4 error; 130 or 143 ended by Ctrl-C or SIGTERM.")]
pub struct Options {
    /// Study by name, or a file NAME.toml that defines one.
    #[arg(value_name = "STUDY", required_unless_present = "list")]
    study: Option<String>,
    /// List the studies.
    #[arg(long)]
    list: bool,
    /// Print the study's definition.
    #[arg(long, conflicts_with_all = ["list", "out", "shard", "merge", "resume"])]
    print: bool,
    /// How much of it is carried out.
    #[arg(long, value_enum, default_value = "laptop")]
    profile: ProfileChoice,
    /// Only these blocks.
    #[arg(long, value_name = "BLOCK,…", value_delimiter = ',')]
    blocks: Vec<String>,
    /// Run only part i of n of the trials, beside other parts in the same folder or for one that is put together by --merge.
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// Put together the folders of all parts in the folder, and tell their results; nothing is run.
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["shard", "resume"])]
    merge: Vec<PathBuf>,
    /// Tell the results of what has run; nothing is run.
    #[arg(long, conflicts_with_all = ["shard", "resume", "merge"])]
    show: bool,
    /// Trials at once; they share the threads.
    #[arg(long, value_name = "J", value_parser = values::count, default_value = "1")]
    jobs: usize,
    /// Folder of the study.
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["list", "print"])]
    out: Option<PathBuf>,
    /// Go on with the study in the folder.
    #[arg(long)]
    resume: bool,
    /// With --resume: run trials that failed again.
    #[arg(long, requires = "resume")]
    retry: bool,
    #[command(flatten)]
    folder: DataDir,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileChoice {
    /// Minutes: does it run?
    Smoke,
    /// Hours on two cores.
    Laptop,
    /// Full schedules.
    Paper,
}

impl ProfileChoice {
    fn name(self) -> &'static str {
        match self {
            ProfileChoice::Smoke => "smoke",
            ProfileChoice::Laptop => "laptop",
            ProfileChoice::Paper => "paper",
        }
    }
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    if let Some(seed) = context.seed {
        bail!(
            "--seed {seed}: a study has seeds of its own, 1, 2, … for each cell; leave it out, or print the definition by \
             --print, change its `seeds` and run that file"
        );
    }
    let Some(name) = &options.study else { return list(context) };
    if options.print {
        let text = match Path::new(name).extension() {
            Some(extension) if extension == "toml" => std::fs::read_to_string(name).with_context(|| name.clone())?,
            _ => tightrope_study::builtin(name)?.into(),
        };
        return context.print(&json!({ "study": name, "definition": text }), &text);
    }
    let Some(folder) = &options.out else { bail!("--out: name the folder of the study, such as -o studies/{name}") };
    tightrope::check_threads("--jobs", options.jobs)?;
    let interruption = Interruption::watch()?;
    let mut study = Study::load(name, options.profile.name())?;
    choose_blocks(&mut study, &options.blocks)?;
    study.blocks.iter().try_for_each(check)?;
    let finished = if !options.merge.is_empty() {
        tightrope_study::merge(&study, &options.merge, folder)?;
        true
    } else if options.show {
        if !study.is_in(folder)? {
            bail!("{}: holds no study; name the folder of one by -o", folder.display());
        }
        true
    } else {
        if !study.enter(folder)? && !options.resume && options.shard.is_none() {
            bail!(
                "{}: holds this study already; go on with it by --resume, or choose another folder by -o",
                folder.display()
            );
        }
        work(&study, folder, options, context, &interruption)?
    };
    let results = tell(&study, folder, options)?;
    let (ended, all) = results.progress();
    if !finished {
        let again = shell::this_command(&[], &["--resume"]);
        let advice = format!("{ended} of {all} trials are in {}; go on with: {again}", folder.display());
        if let Some(interrupted) = interruption.ended(advice) {
            return Err(interrupted.into());
        }
    }
    context.print(&document(&results, folder)?, &text(&results, folder))
}

fn list(context: &Context) -> anyhow::Result<()> {
    let mut rows = vec![vec!["study".to_string(), "trials (smoke, laptop, paper)".into(), "title".into()]];
    let mut studies = Vec::new();
    for (name, title) in builtins() {
        let trials = |profile: ProfileChoice| Study::load(name, profile.name()).map(|study| study.trials());
        let counts = [ProfileChoice::Smoke, ProfileChoice::Laptop, ProfileChoice::Paper].map(trials);
        let counts = counts.into_iter().collect::<Result<Vec<u64>, _>>()?;
        let told: Vec<String> = counts.iter().map(u64::to_string).collect();
        rows.push(vec![name.into(), told.join(", "), title.clone()]);
        studies.push(json!({ "study": name, "title": title, "trials": { "smoke": counts[0], "laptop": counts[1], "paper": counts[2] } }));
    }
    context.print(&json!({ "studies": studies }), &table::render(&rows))
}

fn choose_blocks(study: &mut Study, chosen: &[String]) -> anyhow::Result<()> {
    for name in chosen {
        if !study.blocks.iter().any(|block| block.name == *name) {
            let names: Vec<&str> = study.blocks.iter().map(|block| block.name.as_str()).collect();
            bail!("--blocks {name}: the study has {} in the profile {}", names.join(", "), study.profile);
        }
    }
    if !chosen.is_empty() {
        study.blocks.retain(|block| chosen.contains(&block.name));
    }
    Ok(())
}

/// Fails for settings that no trial can have, before anything is run.
fn check(block: &Block) -> anyhow::Result<()> {
    for cell in &block.cells {
        Config::parse("", &format!("block {}, cell {}", block.name, cell.name), &sets(cell))
            .with_context(|| format!("block {}, cell {}", block.name, cell.name))?;
    }
    for stage in block.certify.stages.iter().flatten() {
        if let Err(problem) = stage.parse::<Stage>() {
            bail!("block {}: {problem}", block.name);
        }
    }
    if !["test", "validation"].contains(&block.certify.split.as_str()) {
        bail!("block {}: certify.split is test or validation, not {}", block.name, block.certify.split);
    }
    Ok(())
}

fn sets(cell: &Cell) -> Vec<String> {
    cell.settings.iter().map(|(key, value)| setting(key, value)).collect()
}

/// Runs the trials of all blocks; false if it was interrupted.
fn work(
    study: &Study,
    folder: &Path,
    options: &Options,
    context: &Context,
    interruption: &Interruption,
) -> anyhow::Result<bool> {
    for block in &study.blocks {
        let inner = folder.join(&block.name);
        let begun = inner.is_dir();
        let mut sweep = Sweep::begin(&inner, block.plan(), options.shard, options.resume || !begun)?;
        sweep.take_remarks().iter().for_each(|remark| context.note(remark));
        let commands = commands(block, options)?;
        let finished = sweep.run(Run {
            commands: &commands,
            jobs: options.jobs,
            retry: options.retry,
            stop: &|| interruption.came(),
            tell: &mut |event| tell_event(block, &event, context),
        })?;
        drop(sweep);
        // What has ended is told even if the rest never runs.
        tell(study, folder, options)?;
        if !finished {
            return Ok(false);
        }
    }
    Ok(true)
}

fn commands(block: &Block, options: &Options) -> anyhow::Result<Commands> {
    let certify = &block.certify;
    let mut words: Vec<String> =
        vec!["--timeout".into(), certify.timeout.to_string(), "--split".into(), certify.split.clone()];
    if let Some(limit) = certify.limit {
        words.extend(["--limit".into(), limit.to_string()]);
    }
    if let Some(stages) = &certify.stages {
        words.extend(["--stages".into(), stages.join(",")]);
    }
    let mut train: Vec<String> = vec!["train".into()];
    if let Some(folder) = &options.folder.data_dir {
        let folder = ["--data-dir".to_string(), folder.display().to_string()];
        train.extend(folder.clone());
        words.extend(folder);
    }
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let threads = (rayon::current_num_threads() / options.jobs).max(1);
    Ok(Commands { program, train, certify: words, threads })
}

fn tell_event(block: &Block, event: &Event<'_>, context: &Context) {
    let cell = |configuration: u64| block.cells.get(configuration as usize).map_or("", |cell| cell.name.as_str());
    match event {
        Event::Begun(trial) => {
            context.note(&format!("{}: {}, seed {}", block.name, cell(trial.configuration), trial.seed))
        }
        Event::Waiting(trial) => context.note(&format!(
            "{}: {}, seed {}: a process that an earlier run has started still works on it; waiting for its end",
            block.name,
            cell(trial.configuration),
            trial.seed
        )),
        Event::Trained(trial) => {
            context.detail(&format!(
                "{}: {}, seed {}: trained, certifying",
                block.name,
                cell(trial.configuration),
                trial.seed
            ));
        }
        Event::Ended { record, ended, all } => {
            let outcome = match &record.outcome {
                Outcome::Done(measured) => {
                    format!("natural {}, certified {}", percent(measured.natural), percent(measured.certified))
                }
                failed => format!("failed: {}", failed.error().unwrap_or_default()),
            };
            let name = cell(record.configuration);
            context.note(&format!("{}: {name}, seed {}: {outcome} ({ended} of {all})", block.name, record.seed));
        }
    }
}

fn tell(study: &Study, folder: &Path, options: &Options) -> anyhow::Result<Results> {
    let results = Results::read(study, folder)?;
    let data = if options.folder.data_dir.is_some() { " --data-dir DATA" } else { "" };
    let blocks =
        if options.blocks.is_empty() { String::new() } else { format!(" --blocks {}", options.blocks.join(",")) };
    let command = format!("tightrope reproduce {} --profile {}{blocks}{data} -o DIR", study.name, study.profile);
    tightrope_study::write(&results, folder, &command)?;
    Ok(results)
}

fn document(results: &Results, folder: &Path) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(results)?;
    document["folder"] = json!(folder.display().to_string());
    Ok(document)
}

fn text(results: &Results, folder: &Path) -> String {
    let mut text = format!("{}: {}\n", results.title, results.progress_text());
    for block in &results.blocks {
        let mut rows = vec![vec![block.title.clone(), "seeds".into(), "natural".into(), "certified".into()]];
        let ended = |cell: &&CellResults| !(cell.trials.is_empty() && cell.failures.is_empty());
        for cell in block.cells.iter().filter(ended) {
            let figure =
                |figure: fn(&tightrope_study::TrialResults) -> f64| match cell.moments(|trial| Some(figure(trial))) {
                    Some(moments) => {
                        let spread = moments.std.map_or_else(String::new, |std| format!(" ± {:.2}", 100.0 * std));
                        format!("{}{spread}", percent(moments.mean))
                    }
                    None => "-".into(),
                };
            let seeds = format!("{}/{}", cell.trials.len(), cell.seeds);
            rows.push(vec![cell.name.clone(), seeds, figure(|trial| trial.natural), figure(|trial| trial.certified)]);
        }
        text.push_str(&format!("\n{}", table::render(&rows)));
        for cell in &block.cells {
            let told = cell.failures.iter().map(|failure| format!("failed: {}, {failure}\n", cell.name));
            text.extend(told);
        }
    }
    if !results.verdicts.is_empty() {
        text.push('\n');
    }
    for verdict in &results.verdicts {
        text.push_str(&format!("{} [{}]: {}\n", verdict.claim, verdict.blocks(), verdict.verdict.name()));
    }
    text.push_str(&format!("\nresults.md, .csv, .tex and .json are in {}\n", folder.display()));
    text
}
