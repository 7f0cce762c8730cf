//! `tightrope certify`: the cascade over a data set, with a log that survives a kill.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use tightrope_attack::{Samples, Target};
use tightrope_engine::BoundRequest;
use tightrope_network::Model;
use tightrope_sweep::Shard;
use tightrope_verify::{
    AlphaBudget, Cascade, CertifyLog, LOG_FILE, LogSettings, Part, SampleRecord, Stage, Summary, Verdict, VerifyError,
};

use crate::commands::attack::AttackOptions;
use crate::context::Context;
use crate::dataset::{SampleOptions, TestSamples};
use crate::engines::{self, EngineChoice, Precision};
use crate::interruption::Interruption;
use crate::origin::Origin;
use crate::progress::Bar;
use crate::values::{self, Perturbation, counted, percent, threat_text};
use crate::{memory, shell, table};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope certify runs/mnist\n  \
                        tightrope certify runs/mnist --limit 1000 --timeout 60 --resume\n  \
                        tightrope certify runs/mnist --split validation --out validation\n  \
                        tightrope certify model.onnx --dataset mnist --eps 2/255 --stages pgd,ibp,crown\n  \
                        tightrope certify model.onnx --inputs x.safetensors --eps 0.1 --norm 2\n  \
                        tightrope certify runs/cifar10 --eps 0.03,0.02,0.03 --out channels\n  \
                        tightrope certify runs/mnist --shard 1/2\n\n\
                        Exit codes: 0 every sample went through the stages, whatever the verdicts; 4 error; \
                        130 or 143 ended by Ctrl-C or SIGTERM.")]
pub struct Options {
    /// Run folder, .onnx, or .safetensors with its description beside it.
    model: PathBuf,
    #[command(flatten)]
    samples: SampleOptions,
    #[command(flatten)]
    perturbation: Perturbation,
    #[arg(long, value_delimiter = ',', value_parser = values::stage, help = values::stage_help())]
    stages: Option<Vec<Stage>>,
    #[command(flatten)]
    attack: AttackOptions,
    /// Time limit of each sample in seconds; one that is undecided then counts as unknown.
    #[arg(long, value_name = "S", value_parser = values::seconds, default_value = "20")]
    timeout: Duration,
    /// Most seconds that alpha-crown takes of a sample's time [default: all that is left, a third if bab follows].
    #[arg(long, value_name = "S", value_parser = values::seconds)]
    alpha_seconds: Option<Duration>,
    /// Steps in which alpha-crown optimises each bound [default: 20].
    #[arg(long, value_name = "N", value_parser = values::count)]
    alpha_steps: Option<usize>,
    /// Certify only part i of n of the samples, into certify.shard-i-of-n.jsonl; `tightrope merge` puts the parts together.
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// Continue certify.jsonl where it ends.
    #[arg(long)]
    resume: bool,
    /// Replace certify.jsonl.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Folder of certify.jsonl [default: the run folder; NAME.certify.jsonl of another model in the current folder].
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Engine.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let interruption = Interruption::watch()?;
    let mut origin = Origin::of(&options.model)?;
    let threat = origin.threat(&options.perturbation)?;
    let usual = AlphaBudget::default();
    let cascade = Cascade {
        stages: options.stages.clone().unwrap_or_else(|| Stage::DEFAULT.to_vec()),
        attack: options.attack.attack(context.seed.unwrap_or(0))?,
        threat,
        timeout: Some(options.timeout),
        alpha: AlphaBudget { iterations: options.alpha_steps.unwrap_or(usual.iterations), time: options.alpha_seconds },
    };
    cascade.check_stages().context("--stages")?;
    options.samples.check()?;
    let begin = match (options.resume, options.overwrite) {
        (true, _) => Begin::Resume,
        (_, true) => Begin::Overwrite,
        _ => Begin::Create,
    };
    let log = log_path(&options.model, options.out.as_deref(), options.shard);
    let again = shell::this_command(&["--overwrite"], &["--resume"]);
    let job = Job { cascade, begin, engine: options.engine, shard: options.shard, log, again };
    if job.log.exists() {
        let inputs: Vec<&Path> =
            [Some(&*options.model), options.samples.inputs.as_deref()].into_iter().flatten().collect();
        tightrope::check_records(&[("--out:", &job.log)], &inputs)?;
        if begin == Begin::Create {
            bail!(
                "{}: holds a certification already; go on with it by --resume, replace it by --overwrite, or write \
                 elsewhere by --out FOLDER",
                job.log.display()
            );
        }
    }
    let model = tightrope::load(&options.model)?;
    values::check_radius(&job.cascade.threat, &model.network)?;
    let samples = options.samples.load(&mut origin, &model.network, context)?;
    if let Some(folder) = &options.out {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot make this folder; choose another with --out", folder.display()))?;
    }
    let summary = certify(&job, &model, &samples, context, &interruption)?;
    let mut document = document(&summary, &job, &samples);
    document["from_run"] = origin.document();
    memory::tell_peak(context);
    context.print(&document, &format!("{}{}", text(&summary, &job, &samples), origin.text()))
}

/// How the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Where there is none.
    Create,
    /// Where it ends.
    Resume,
    /// In place of the one that is there.
    Overwrite,
}

/// What to certify and where to keep the log.
pub struct Job {
    /// Stages and perturbations.
    pub cascade: Cascade,
    /// How the log begins.
    pub begin: Begin,
    /// Engine.
    pub engine: EngineChoice,
    /// Which part of the samples, if not all.
    pub shard: Option<Shard>,
    /// The log.
    pub log: PathBuf,
    /// The command that goes on after an interruption.
    pub again: String,
}

/// Certifies `samples` and keeps the log.
pub fn certify(
    job: &Job,
    model: &Model,
    samples: &TestSamples,
    context: &Context,
    interruption: &Interruption,
) -> anyhow::Result<Summary> {
    let (cascade, set) = (&job.cascade, &samples.set);
    let (engine, exact) = (f32::engine(job.engine)?, f64::engine(EngineChoice::Auto)?);
    memory::tell(context, &memory::certification(&model.network, &*engine, set, &cascade.stages))?;
    let mut settings = tightrope::log_settings(cascade, model, set, engine.name());
    let indices: Vec<u64> = match job.shard {
        None => (0..set.len() as u64).collect(),
        Some(Shard { index, of }) => {
            let part = Part { index, of };
            part.mark(&mut settings, set.len());
            part.samples(set.len())
        }
    };
    let labels: Vec<usize> = indices.iter().map(|&index| set.labels[index as usize]).collect();
    let images = match job.shard {
        None => set.images(),
        Some(_) => indices.iter().flat_map(|&index| set.image(index as usize).to_vec()).collect::<Vec<f32>>().into(),
    };
    let own = Samples { indices: &indices, inputs: &images, labels: &labels };
    let (mut log, done) = open_log(job, &settings, context)?;
    if let Some(record) = done.iter().find(|record| record.index >= samples.all as u64) {
        bail!(
            "{}: has a record of sample {}, but there are only {}; move it away, or certify anew with --overwrite",
            job.log.display(),
            record.index,
            samples.all
        );
    }
    let target = Target::new(model, &*engine, &*exact)?;
    let bounded = cascade.stages.iter().find_map(|stage| match stage {
        Stage::Bound(relaxation) => Some(*relaxation),
        _ => None,
    });
    if let Some(relaxation) = bounded {
        engines::tell(context, &*engine, &model.network, &BoundRequest::lower(relaxation));
    }
    let bar = Bar::new(context, "certify", own.labels.len());
    let mut seen = Tally::default();
    done.iter().filter(|record| record.index < set.len() as u64).for_each(|record| seen.add(record));
    bar.place(seen.samples as u64);
    let decided = Arc::new(AtomicUsize::new(seen.samples));
    let advice = {
        let (log, all, decided) = (job.log.display().to_string(), own.labels.len(), Arc::clone(&decided));
        let again = job.again.clone();
        move || {
            let done = decided.load(Ordering::Relaxed);
            format!("{done} of {all} samples are in {log}; go on with: {again}")
        }
    };
    interruption.end_soon(advice.clone());
    let outcome = cascade.run(&target, &own, &mut log, &done, |new| {
        new.iter().for_each(|record| seen.add(record));
        decided.store(seen.samples, Ordering::Relaxed);
        bar.place(seen.samples as u64);
        bar.message(seen.text());
        if !context.bars {
            context.detail(&format!("certify {}/{} {}", seen.samples, own.labels.len(), seen.text()));
        }
        if interruption.came() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish();
    match outcome {
        Err(VerifyError::Interrupted) => match interruption.ended(advice()) {
            Some(interrupted) => Err(interrupted.into()),
            None => Err(VerifyError::Interrupted.into()),
        },
        outcome => Ok(Summary::new(&outcome?, &cascade.stages)),
    }
}

/// The log to write and the records it holds already.
fn open_log(job: &Job, settings: &LogSettings, context: &Context) -> anyhow::Result<(CertifyLog, Vec<SampleRecord>)> {
    let path = &job.log;
    if job.begin == Begin::Resume {
        if path.exists() {
            let (log, done) = CertifyLog::resume(path, settings)?;
            let count = counted(done.len(), "sample is", "samples are");
            context.note(&format!("{}: {count} done already", path.display()));
            return Ok((log, done));
        }
        context.note(&format!("{}: no log yet, beginning one", path.display()));
    }
    let log = match job.begin {
        Begin::Overwrite => CertifyLog::overwrite(path, settings),
        Begin::Create | Begin::Resume => CertifyLog::create(path, settings),
    };
    Ok((log.context("cannot write the log; choose another place with --out")?, Vec::new()))
}

fn log_path(model: &Path, out: Option<&Path>, shard: Option<Shard>) -> PathBuf {
    let name = match shard {
        Some(Shard { index, of }) => format!("certify.shard-{index}-of-{of}.jsonl"),
        None => LOG_FILE.to_string(),
    };
    match out {
        Some(folder) => folder.join(name),
        None if model.is_dir() => model.join(name),
        // Beside the model may be no place to write.
        None => Path::new(model.file_stem().unwrap_or(model.as_os_str())).with_extension(name),
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

/// The result as JSON.
pub fn document(summary: &Summary, job: &Job, samples: &TestSamples) -> Value {
    let set = &samples.set;
    let mut document = json!({
        "data": set.name,
        "split": set.split.name(),
        "samples_in_split": samples.all,
        "eps": tightrope::radius_value(&job.cascade.threat.epsilon),
        "norm": values::norm_name(job.cascade.threat.norm),
        "clip": job.cascade.threat.clip.map(|(low, high)| [low, high]),
        "perturbation": threat_text(&job.cascade.threat),
        "result": summary,
        "log": job.log.display().to_string(),
    });
    if let Some(shard) = job.shard {
        document["shard"] = json!(shard.to_string());
    }
    document
}

/// The result as a table; with intervals if only a part of the split was certified.
pub fn text(summary: &Summary, job: &Job, samples: &TestSamples) -> String {
    let part = summary.samples < samples.all;
    let portion = match job.shard {
        Some(Shard { index, of }) => format!("part {index} of {of} of {}", samples.portion(samples.set.len())),
        None => samples.portion(summary.samples),
    };
    let perturbations = threat_text(&job.cascade.threat);
    format!(
        "{}, {portion}, {perturbations}\n\n{}\n{} undecided; one line per sample in {}\n",
        samples.title,
        tables(summary, part),
        summary.unknown,
        job.log.display()
    )
}

/// Accuracies, and what each stage decided; with intervals if only a `part` of the samples was certified.
pub fn tables(summary: &Summary, part: bool) -> String {
    let accuracies =
        [("natural", summary.natural), ("adversarial", summary.adversarial), ("certified", summary.certified)];
    let mut text = table::render(&accuracies.map(|(title, p)| values::accuracy_row(title, p, part)));

    let misclassified = summary.natural.total - summary.natural.count;
    let mut rows = vec![["stage", "entered", "verified", "falsified", "seconds"].map(String::from).to_vec()];
    let row = |name: &str, counts: [usize; 3], seconds: f64| {
        let mut row = vec![name.to_string()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(format!("{seconds:.2}"));
        row
    };
    rows.push(row("natural", [summary.samples, 0, misclassified], 0.0));
    rows.extend(
        summary
            .stages
            .iter()
            .map(|s| row(&values::relaxation_title(&s.stage), [s.entered, s.verified, s.falsified], s.seconds)),
    );
    text.push_str(&format!("\n{}", table::render(&rows)));
    text
}
