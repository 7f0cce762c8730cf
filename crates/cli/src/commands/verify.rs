//! `tightrope verify`: decides VNN-LIB properties, one or a whole list.

mod batch;
mod results;

pub use results::merge_results;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tightrope::{Counterexample, Verified};
use tightrope_network::{rounded_text, write_atomically};
use tightrope_sweep::Shard;
use tightrope_verify::complete::{Branching, Progress, Settings};
use tightrope_vnnlib::{Property, Verdict, VnnlibError, witness};

use crate::context::{Context, complain};
use crate::progress::Bar;
use crate::values::{self, counted};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tightrope verify network.onnx property.vnnlib --timeout 60 --witness counterexample.txt\n  \
                        tightrope verify network.onnx property.vnnlib --certificate proof.cert\n  \
                        tightrope verify instances.csv --results-file results.csv --resume\n  \
                        tightrope verify instances.csv --results-file part1.csv --shard 1/2\n\n\
                        What is read: VNN-LIB 1.0 and 2.0 (one network, one input and one output tensor), plain or packed by \
                        gzip; linear constraints on inputs, on outputs and on both, under and, or, not and =>. A list may name \
                        the plain file where only the packed one is there, and the other way round.\n\n\
                        What is proved: the network is read as a function of real numbers with exactly the numbers of \
                        its file (f64 ones, products and quotients included), numbers of the property as the nearest f64; \
                        < and > are strict, and a property whose input bounds leave no point holds, with a warning. A \
                        counterexample is a point inside the box whose output is unsafe in exact arithmetic; how f64 and \
                        f32 programs see it is told beside it.\n\n\
                        Exit codes: 0 the property holds, 1 it is violated, 2 unknown, 3 timeout, 4 error. Of a list: 0 every \
                        instance was worked on, 4 one of them ended in an error, which its row tells."
)]
pub struct Options {
    /// Network: .onnx, run folder, or .safetensors with its description; or an instances.csv of lines
    /// network,property,seconds with paths relative to it.
    #[arg(value_name = "MODEL|INSTANCES.csv")]
    model: PathBuf,
    /// VNN-LIB property (.vnnlib or .vnnlib.gz): what a counterexample satisfies.
    #[arg(value_name = "PROPERTY.vnnlib")]
    property: Option<PathBuf>,
    /// Time limit in seconds [default: 300], for reading, search, certificate and its check together; of a list, an
    /// upper limit of each instance's own.
    #[arg(long, value_name = "S", value_parser = values::seconds)]
    timeout: Option<Duration>,
    /// Write a counterexample, if there is one, as VNN-COMP does: ((X_0 …) … (Y_0 …)).
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
    /// Write sat, unsat, unknown or timeout, and below sat the counterexample; of a list, one line per instance:
    /// category,network,property,preparation seconds,result,seconds.
    #[arg(long, value_name = "FILE")]
    results_file: Option<PathBuf>,
    /// Continue the results file of a list where it ends.
    #[arg(long)]
    resume: bool,
    /// Work only on part i of n of a list's instances; `tightrope merge` puts the parts' results together.
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// With --resume: first work anew on the instances whose row says so.
    #[arg(long, value_enum, requires = "resume", value_name = "WHAT")]
    retry: Option<Retry>,
    /// Write the proof of a property that holds; `tightrope check` checks it.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Say `holds` only if the bounds stay positive after a rigorous margin for rounding errors (the default).
    #[arg(long, overrides_with = "no_sound")]
    sound: bool,
    /// Trust f64 arithmetic without such a margin.
    #[arg(long)]
    no_sound: bool,
    #[command(flatten)]
    search: SearchOptions,
}

/// How the search goes about it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Search")]
pub struct SearchOptions {
    /// What is split first; where that takes long and few inputs vary, the other kind of splits has its turns.
    #[arg(long, value_enum, default_value = "auto")]
    branching: BranchingChoice,
    /// Subproblems bounded at a time.
    #[arg(long, value_name = "N", value_parser = values::count, default_value_t = Settings::default().batch)]
    batch: usize,
    /// Random starts of the attack before the search; 0 for no attack.
    #[arg(long, value_name = "N", value_parser = values::count, default_value_t = Settings::default().attack_restarts)]
    restarts: usize,
}

/// `--retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Retry {
    /// Those that ended in an error.
    Errors,
    /// Those that ended in an error, a timeout or unknown.
    Undecided,
}

impl Retry {
    fn takes(self, verdict: Verdict) -> bool {
        match self {
            Retry::Errors => verdict == Verdict::Error,
            Retry::Undecided => matches!(verdict, Verdict::Error | Verdict::Timeout | Verdict::Unknown),
        }
    }
}

/// `--branching`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BranchingChoice {
    /// Inputs if there are few, for which the network is not too large, else neurons.
    Auto,
    /// Inputs.
    Input,
    /// Neurons by the BaBSR score.
    Babsr,
    /// Neurons by filtered smart branching.
    Fsb,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<ExitCode> {
    let list = options.model.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    match (&options.property, list) {
        (Some(property), false) => single(options, property, context),
        (None, true) => batch::run(options, context),
        (Some(_), true) => bail!("{}: is a list, which names its properties itself", options.model.display()),
        (None, false) => bail!("give MODEL PROPERTY.vnnlib, or an INSTANCES.csv"),
    }
}

fn single(options: &Options, property_path: &Path, context: &Context) -> anyhow::Result<ExitCode> {
    ensure!(!options.resume, "--resume continues the results file of a list; leave it out for one property");
    ensure!(options.shard.is_none(), "--shard divides a list; leave it out for one property");
    let outputs = [
        ("--witness", &options.witness),
        ("--results-file", &options.results_file),
        ("--certificate", &options.certificate),
    ];
    let written: Vec<(&str, &Path)> =
        outputs.iter().filter_map(|(option, path)| path.as_deref().map(|path| (*option, path))).collect();
    tightrope::check_outputs(&written, &[&options.model, property_path])?;
    let job = Job::new(options, context, options.timeout.unwrap_or(DEFAULT_TIMEOUT), true)?;
    let answer = job.verify(&options.model, property_path)?;
    // The verdict first: whatever becomes of the files, it is not lost.
    context.print(&document(options, property_path, &answer), &text(&answer))?;
    // And each file, whatever becomes of the others.
    let witness = answer.found.counterexample.as_ref().map(|c| witness(&c.input, &c.output));
    let witness_written = options.witness.as_ref().map(|path| match &witness {
        Some(witness) => write(path, witness),
        None => remove_stale(path, "witness", context),
    });
    let results_written = options.results_file.as_ref().map(|path| {
        write(path, &format!("{}\n{}", answer.found.verdict.result(), witness.as_deref().unwrap_or_default()))
    });
    let certificate_written = options.certificate.as_ref().map(|path| match &answer.found.certificate {
        Some(certificate) => Ok(certificate.write(path)?),
        None => remove_stale(path, "certificate", context),
    });
    let written = [witness_written, results_written, certificate_written].into_iter().flatten();
    let failed: Vec<String> = written.filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\nerror: "));
    Ok(exit_code(answer.found.verdict))
}

/// Takes away what an earlier run left where this one has nothing to write: it does not belong to this verdict.
fn remove_stale(path: &Path, what: &str, context: &Context) -> anyhow::Result<()> {
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("cannot remove the old {what} {}", path.display()))?;
        context.note(&format!("{}: the {what} of an earlier run, removed", path.display()));
    }
    Ok(())
}

/// Time limit when none is given.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// The exit code that tells a verdict.
fn exit_code(verdict: Verdict) -> ExitCode {
    ExitCode::from(match verdict {
        Verdict::Holds => 0,
        Verdict::Violated => 1,
        Verdict::Unknown => 2,
        Verdict::Timeout => 3,
        Verdict::Error => crate::FAILURE,
    })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    write_atomically(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// How programs see a counterexample.
fn remarks(counterexample: &Counterexample) -> String {
    let (replay, mut text) = (&counterexample.replay, String::new());
    if counterexample.fractions.is_some() {
        text.push_str("no f64 point is a counterexample, the real one beside the witness is (see --json)\n");
    }
    let seen = |seen: bool| if seen { "unsafe" } else { "not unsafe" };
    text.push_str(&format!("replayed: unsafe in exact arithmetic, {} in f64", seen(replay.in_double)));
    match replay.in_single {
        None => text.push_str(", weights beyond f32\n"),
        Some(single) => {
            text.push_str(&format!(", {} in f32 at the nearest point", seen(single)));
            text.push_str(&match replay.outside {
                outside if outside > 0.0 => format!(" (up to {outside:.1e} outside the box)\n"),
                _ => " (inside the box)\n".into(),
            });
        }
    }
    text
}

/// What a verification found, and how long it took.
struct Answer {
    found: Verified,
    /// Seconds to read the files.
    preparation: f64,
    /// Seconds after that.
    seconds: f64,
}

/// One verification.
struct Job<'a> {
    context: &'a Context,
    settings: Settings,
    /// Whether a line on the terminal tells how the search goes.
    live: bool,
}

impl<'a> Job<'a> {
    fn new(options: &Options, context: &'a Context, timeout: Duration, live: bool) -> anyhow::Result<Self> {
        let search = &options.search;
        ensure!(search.batch > 0, "--batch 0: at least one subproblem must be bounded at a time");
        let settings = Settings {
            timeout,
            branching: match search.branching {
                BranchingChoice::Auto => Branching::Auto,
                BranchingChoice::Input => Branching::Input,
                BranchingChoice::Babsr => Branching::Babsr,
                BranchingChoice::Fsb => Branching::Fsb,
            },
            batch: search.batch,
            attack_restarts: search.restarts,
            sound: !options.no_sound,
            proof: options.certificate.is_some(),
            seed: context.seed.unwrap_or(0),
            ..Settings::default()
        };
        Ok(Job { context, settings, live })
    }

    /// Reads the files and decides, all within the time limit.
    fn verify(&self, model_path: &Path, property_path: &Path) -> anyhow::Result<Answer> {
        let start = Instant::now();
        let deadline = start.checked_add(self.settings.timeout);
        let property = match Property::read_until(property_path, deadline) {
            Err(VnnlibError::Late { .. }) => {
                let preparation = start.elapsed().as_secs_f64();
                return Ok(Answer { found: Verified::late(), preparation, seconds: 0.0 });
            }
            property => property?,
        };
        let model = tightrope::load_exact(model_path)?;
        let preparation = start.elapsed();
        if let Some(contradiction) = &property.contradiction {
            self.context.note(&format!(
                "warning: no input satisfies the bounds of {} ({contradiction}), so the property holds trivially",
                property_path.display()
            ));
        }
        self.context.detail(&format!(
            "{}: {}, {}",
            property_path.display(),
            counted(property.cases.len(), "case", "cases"),
            counted(property.cases.iter().map(|case| case.unsafe_outputs.len()).sum(), "conjunction", "conjunctions")
        ));
        let settings = Settings { timeout: self.settings.timeout.saturating_sub(preparation), ..self.settings.clone() };
        let line = if self.live { Bar::line(self.context, "verify") } else { Bar::hidden() };
        let found = tightrope::verify_watched(&model, &property, &settings, &|progress| self.tell(&line, &progress))
            .with_context(|| format!("{} with {}", model_path.display(), property_path.display()))?;
        line.finish();
        if let Some(remark) = &found.remark {
            // Who asked for a proof and gets none is told why, however quiet it is to be.
            match self.settings.proof && found.verdict == Verdict::Holds && found.certificate.is_none() {
                true => complain(&format!("warning: {remark}")),
                false => self.context.note(remark),
            }
        }
        let seconds = (start.elapsed() - preparation).as_secs_f64();
        Ok(Answer { found, preparation: preparation.as_secs_f64(), seconds })
    }

    /// Shows how the search goes.
    fn tell(&self, line: &Bar, progress: &Progress) {
        let bound = match progress.lower_bound.is_finite() {
            true => bound_text(progress.lower_bound),
            false => "unknown".into(),
        };
        let state = format!(
            "case {}/{}: {}, {} open, lower bound {bound}",
            progress.case + 1,
            progress.cases,
            counted(progress.subproblems, "subproblem", "subproblems"),
            progress.open,
        );
        line.message(state.clone());
        self.context.detail(&format!("{state}, {:.1} s", progress.seconds));
    }
}

fn document(options: &Options, property: &Path, answer: &Answer) -> Value {
    let path = |path: &Option<PathBuf>, written: bool| {
        path.as_ref().filter(|_| written).map(|path| path.display().to_string())
    };
    let found = &answer.found;
    let mut document = json!({
        "model": options.model.display().to_string(),
        "property": property.display().to_string(),
    });
    let files = json!({
        "witness": path(&options.witness, found.counterexample.is_some()),
        "results_file": path(&options.results_file, true),
        "certificate": path(&options.certificate, found.certificate.is_some()),
        "preparation_seconds": answer.preparation,
        "seconds": answer.seconds,
    });
    for part in [found.document(), files] {
        if let (Value::Object(document), Value::Object(part)) = (&mut document, part) {
            document.extend(part);
        }
    }
    document
}

/// Six decimals, as far as there are that many digits to tell.
fn bound_text(bound: f64) -> String {
    if bound.abs() < 1e6 { format!("{bound:.6}") } else { rounded_text(bound) }
}

fn text(answer: &Answer) -> String {
    let found = &answer.found;
    let mut text = format!("{}\n", found.verdict);
    match found.lower_bound {
        Some(bound) if bound.is_finite() => {
            text.push_str(&format!("lower bound {}; above 0 the property would hold\n", bound_text(bound)));
        }
        Some(_) => text.push_str("no lower bound was found\n"),
        None => {}
    }
    if let Some(counterexample) = &found.counterexample {
        text.push_str(&remarks(counterexample));
    }
    let count = counted(found.statistics.subproblems, "subproblem", "subproblems");
    text.push_str(&format!("{count}, {:.2} s\n", answer.seconds));
    text
}
