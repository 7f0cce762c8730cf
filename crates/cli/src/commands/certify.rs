//! `tightrope certify`: the cascade over a data set, with a log that survives a kill.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tightrope_data::Dataset;
use tightrope_network::{Model, output_target};
use tightrope_verify::{
    Cascade, CertifyLog, LOG_FILE, Proportion, SampleRecord, Settings, Stage, Summary, Target, Verdict,
};

use crate::commands::attack::AttackOptions;
use crate::context::Context;
use crate::dataset::{self, DataDir};
use crate::engines::{EngineChoice, Precision};
use crate::model;
use crate::progress::Bar;
use crate::table;
use crate::values::{self, Perturbation, percent, threat_text};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope certify runs/mnist --dataset mnist --eps 0.1 --limit 1000\n  \
                        tightrope certify runs/mnist --dataset mnist --eps 0.1 --timeout 60 --resume\n  \
                        tightrope certify model.onnx --dataset mnist --eps 2/255 --stages pgd,ibp,crown\n\n\
                        Exit codes: 0 every sample went through the stages, whatever the verdicts; 4 error.")]
pub struct Options {
    /// Run folder, .onnx, or .safetensors with its description beside it.
    model: PathBuf,
    /// Data set whose test split is certified [default: a run folder's own].
    #[arg(long, value_name = "D")]
    dataset: Option<String>,
    #[command(flatten)]
    perturbation: Perturbation,
    /// Only the first N samples.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Stages in order: pgd, ibp, crown-ibp, crown, crown-meet-ibp, crown-skip-ibp, alpha-crown, bab
    /// [default: pgd,ibp,crown-ibp,crown,alpha-crown,bab; the last two for ℓ∞ only].
    #[arg(long, value_delimiter = ',', value_parser = values::stage)]
    stages: Option<Vec<Stage>>,
    #[command(flatten)]
    attack: AttackOptions,
    /// Time limit of each sample in seconds; one that is undecided then counts as unknown.
    #[arg(long, value_name = "S", value_parser = values::seconds, allow_negative_numbers = true, default_value = "20")]
    timeout: Duration,
    /// Continue certify.jsonl where it ends.
    #[arg(long)]
    resume: bool,
    /// Folder of certify.jsonl [default: the run folder; NAME.certify.jsonl of another model in the current folder].
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    folder: DataDir,
    /// Engine.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let threat = options.perturbation.threat(&options.model)?;
    let cascade = Cascade {
        stages: options.stages.clone().unwrap_or_else(|| Stage::default_for(threat.norm)),
        attack: options.attack.attack(context.seed.unwrap_or(0))?,
        threat,
        timeout: Some(options.timeout),
    };
    cascade.check_stages().context("--stages")?;
    let log = log_path(&options.model, options.out.as_deref());
    let job = Job { cascade, resume: options.resume, engine: options.engine, log };
    if job.log.exists() {
        output_target(&job.log).with_context(|| format!("--out: {}", job.log.display()))?;
    }
    let model = model::load(&options.model)?;
    let name = dataset::name(options.dataset.as_deref(), &options.model)?;
    let (set, all) = dataset::test_split(&name, &options.folder, options.limit, &model.network)?;
    if let Some(folder) = &options.out {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot make this folder; choose another with --out", folder.display()))?;
    }
    let summary = certify(&job, &model, &set, context)?;
    context.print(&document(&summary, &job, &set, all), &text(&summary, &job, &set, all))
}

/// What to certify and where to keep the log.
pub struct Job {
    /// Stages and perturbations.
    pub cascade: Cascade,
    /// Continue the log.
    pub resume: bool,
    /// Engine.
    pub engine: EngineChoice,
    /// The log.
    pub log: PathBuf,
}

/// Certifies `set` and keeps the log.
pub fn certify(job: &Job, model: &Model, set: &Dataset, context: &Context) -> anyhow::Result<Summary> {
    let cascade = &job.cascade;
    let (engine, exact) = (f32::engine(job.engine)?, f64::engine(EngineChoice::Auto)?);
    let settings = settings(cascade, model, set, engine.name())?;
    let (mut log, done) = open_log(job, &settings, context)?;
    let target = Target::new(model, &*engine, &*exact);
    let bar = Bar::new(context, "certify", set.len());
    let mut seen = Tally::default();
    done.iter().filter(|record| record.index < set.len() as u64).for_each(|record| seen.add(record));
    bar.place(seen.samples as u64);
    let records = cascade.run(&target, &set.images, &set.labels, &mut log, &done, |new| {
        new.iter().for_each(|record| seen.add(record));
        bar.place(seen.samples as u64);
        bar.message(seen.text());
        if !context.bars {
            context.detail(&format!("certify {}/{} {}", seen.samples, set.len(), seen.text()));
        }
    })?;
    bar.finish();
    Ok(Summary::new(&records, &cascade.stages))
}

/// Everything that must agree for a log to be continued.
fn settings(cascade: &Cascade, model: &Model, set: &Dataset, engine: &str) -> anyhow::Result<Settings> {
    let mut settings = Settings::from(
        [
            ("model", json!(model::checksum(model)?)),
            ("dataset", json!(set.name)),
            ("split", json!(set.split.name())),
            ("data", json!(set.checksum)),
            ("eps", json!(cascade.threat.epsilon)),
            ("norm", json!(values::norm_name(cascade.threat.norm))),
            ("clip", json!(cascade.threat.clip.map(|(low, high)| [low, high]))),
            ("stages", json!(cascade.stages.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(","))),
            ("timeout", json!(cascade.timeout.map(|limit| limit.as_secs_f64()))),
            ("engine", json!(engine)),
        ]
        .map(|(name, value)| (name.to_string(), value)),
    );
    if cascade.stages.contains(&Stage::Pgd) {
        let attack = &cascade.attack;
        settings.insert("steps".into(), json!(attack.steps));
        settings.insert("restarts".into(), json!(attack.restarts));
        settings.insert("first_step".into(), json!(attack.first_step));
        settings.insert("last_step".into(), json!(attack.last_step));
    }
    if cascade.stages.iter().any(|stage| matches!(stage, Stage::Pgd | Stage::Bab)) {
        settings.insert("seed".into(), json!(cascade.attack.seed));
    }
    Ok(settings)
}

/// The log to write and the records it holds already; a log that is not continued is kept under another name.
fn open_log(job: &Job, settings: &Settings, context: &Context) -> anyhow::Result<(CertifyLog, Vec<SampleRecord>)> {
    let path = &job.log;
    if path.exists() {
        if job.resume {
            let (log, done) = CertifyLog::resume(path, settings)?;
            context.note(&format!("{}: {} samples are done already", path.display(), done.len()));
            return Ok((log, done));
        }
        let previous = path.with_extension("previous.jsonl");
        std::fs::rename(path, &previous).with_context(|| {
            format!("{}: cannot keep the earlier log; choose another place with --out", path.display())
        })?;
        context.note(&format!("the earlier log is now {}", previous.display()));
    } else if job.resume {
        context.note(&format!("{}: no log yet, beginning one", path.display()));
    }
    let log = CertifyLog::create(path, settings).context("cannot write the log; choose another place with --out")?;
    Ok((log, Vec::new()))
}

fn log_path(model: &Path, out: Option<&Path>) -> PathBuf {
    match out {
        Some(folder) => folder.join(LOG_FILE),
        None if model.is_dir() => model.join(LOG_FILE),
        // Beside the model may be no place to write.
        None => Path::new(model.file_stem().unwrap_or(model.as_os_str())).with_extension(LOG_FILE),
    }
}

/// Running counts for the bar.
#[derive(Default)]
struct Tally {
    samples: usize,
    correct: usize,
    verified: usize,
    falsified: usize,
}

impl Tally {
    fn add(&mut self, record: &SampleRecord) {
        self.samples += 1;
        self.correct += usize::from(record.natural_correct);
        self.verified += usize::from(record.verdict == Verdict::Verified);
        self.falsified += usize::from(record.verdict == Verdict::Falsified);
    }

    fn text(&self) -> String {
        format!(
            "natural {} verified {} falsified {} unknown {}",
            percent(self.correct as f64 / self.samples.max(1) as f64),
            self.verified,
            self.falsified,
            self.samples - self.verified - self.falsified
        )
    }
}

/// The result as JSON; `all` is the size of the split.
pub fn document(summary: &Summary, job: &Job, set: &Dataset, all: usize) -> Value {
    json!({
        "data": set.name,
        "split": set.split.name(),
        "samples_in_split": all,
        "eps": job.cascade.threat.epsilon,
        "perturbation": threat_text(&job.cascade.threat),
        "result": summary,
        "log": job.log.display().to_string(),
    })
}

/// The result as a table; with intervals if only a part of the split was certified.
pub fn text(summary: &Summary, job: &Job, set: &Dataset, all: usize) -> String {
    let part = summary.samples < all;
    let mut text = format!("{} {}, ", set.name, set.split);
    text.push_str(&if part { format!("first {} of {all}", summary.samples) } else { format!("all {all}") });
    text.push_str(&format!(" samples, {}\n\n", threat_text(&job.cascade.threat)));

    let mut rows = Vec::new();
    for (title, p) in
        [("natural", summary.natural), ("adversarial", summary.adversarial), ("certified", summary.certified)]
    {
        let mut row: Vec<String> =
            vec![format!("{title} accuracy"), percent(p.value), format!("{}/{}", p.count, p.total)];
        row.extend(part.then(|| interval(p)));
        rows.push(row);
    }
    text.push_str(&table::render(&rows));

    let misclassified = summary.natural.total - summary.natural.count;
    let mut rows = vec![["stage", "entered", "verified", "falsified", "seconds"].map(String::from).to_vec()];
    let row = |name: &str, counts: [usize; 3], seconds: f64| {
        let mut row = vec![name.to_string()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(format!("{seconds:.2}"));
        row
    };
    rows.push(row("natural", [summary.samples, 0, misclassified], 0.0));
    rows.extend(summary.stages.iter().map(|s| row(&s.stage, [s.entered, s.verified, s.falsified], s.seconds)));
    text.push_str(&format!("\n{}", table::render(&rows)));
    text.push_str(&format!("\n{} undecided; one line per sample in {}\n", summary.unknown, job.log.display()));
    text
}

fn interval(p: Proportion) -> String {
    format!("95 % interval {:.2} – {:.2} %", 100.0 * p.low, 100.0 * p.high)
}
