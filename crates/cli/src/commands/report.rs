//! `tightrope report`: run folders as one HTML page.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tightrope_engine::Relaxation;
use tightrope_network::{MODEL_FILE, bytes_text, write_atomically};
use tightrope_report::{Report, Run, Sample, Samples, read_runs};
use tightrope_verify::LOG_FILE;

use crate::context::Context;
use crate::dataset::{DataDir, SampleOptions};
use crate::origin::Origin;
use crate::progress::Bar;
use crate::values::counted;
use crate::values::{self, Perturbation};

/// Folders above a run's that may be those of its sweep or study: `STUDY/BLOCK/trials/0000`.
const ABOVE: usize = 3;
/// Steps of the bisection of each radius.
const STEPS: usize = 8;
/// What certifies the radii: pure back-substitution, which knows all norms and costs milliseconds.
const RELAXATION: Relaxation = Relaxation::Crown;

/// Name of the page unless another is asked for.
const PAGE: &str = "report.html";

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope report runs/mnist\n  \
                        tightrope report runs/mnist -o mnist.html\n  \
                        tightrope report runs -o runs.html --samples 24\n\n\
                        Exit codes: 0 the page is written, whatever it could not tell; 4 error.")]
pub struct Options {
    /// Run folders, and folders that hold some, up to three folders deeper.
    #[arg(value_name = "RUN|DIR", required = true)]
    runs: Vec<PathBuf>,
    /// Where to write the page, which needs no other file [default: report.html, in the run's folder if one is given].
    #[arg(short, long, value_name = "REPORT.html")]
    output: Option<PathBuf>,
    /// Test images of each run to show with their largest certified radius; 0 for none.
    #[arg(long, value_name = "N", value_parser = values::count, default_value = "12")]
    samples: usize,
    #[command(flatten)]
    data: DataDir,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let mut report = Report { runs: read_runs(&options.runs)?, ..Report::default() };
    let logs: Vec<PathBuf> = report.runs.iter().map(|run| run.folder.join(LOG_FILE)).collect();
    // A run's folder, and those above it, which a sweep or a study may have.
    let folders = report.runs.iter().flat_map(|run| run.folder.ancestors().take(ABOVE + 1));
    let inputs = folders.filter(|folder| !folder.as_os_str().is_empty()).chain(logs.iter().map(PathBuf::as_path));
    // One run has its page beside its other files.
    let output = match (&options.output, &report.runs[..], &options.runs[..]) {
        (Some(output), ..) => output.clone(),
        (None, [run], [given]) if run.folder == *given => given.join(PAGE),
        _ => PathBuf::from(PAGE),
    };
    tightrope::check_outputs(&[("-o", &output)], &inputs.collect::<Vec<&Path>>())?;
    report.runs.iter_mut().for_each(compare_model);
    if options.samples > 0 {
        let bar = Bar::new(context, "certified radii", report.runs.len());
        for (place, run) in report.runs.iter().enumerate() {
            // A run whose data are gone still has everything else to tell.
            let samples = radii(run, options, context)
                .unwrap_or_else(|problem| Samples { remark: Some(format!("{problem:#}")), ..Samples::default() });
            report.samples.push(Samples { run: place, ..samples });
            bar.advance(1);
        }
        bar.finish();
    }
    let remarks = report.all_remarks();
    remarks.iter().for_each(|remark| context.note(remark));
    let page = report.html();
    write_atomically(&output, page.as_bytes())
        .with_context(|| format!("cannot write {}; choose another place with -o", output.display()))?;
    let fronts = report.fronts();
    let file = output.display().to_string();
    let document = json!({"file": file, "runs": report.runs.len(), "fronts": fronts, "remarks": remarks});
    let mut text = String::new();
    for front in &fronts {
        text.push_str(&format!(
            "{}: hypervolume {:.1} %² of natural and certified accuracy, {} of {} runs on the front\n",
            front.problem,
            front.hypervolume,
            front.front.len(),
            front.outcomes.len()
        ));
    }
    let count = report.runs.len();
    text.push_str(&format!("written: {file} ({}, {})", counted(count, "run", "runs"), bytes_text(page.len())));
    context.print(&document, &text)
}

/// Tells which results in the run's folder are of an earlier model than the one that lies there.
fn compare_model(run: &mut Run) {
    let results = run.certification.is_some() || run.landscape.is_some();
    // The folder of a certification alone has no model.
    if !results || !run.folder.join(MODEL_FILE).is_file() {
        return;
    }
    match checksums(&run.folder) {
        Ok(present) => run.compare_model(&present),
        Err(problem) => run.remarks.push(format!(
            "{MODEL_FILE}: cannot be read, so that certifications and landscapes may be of another model: {problem:#}"
        )),
    }
}

/// Those of the model in `folder` as it is stored, of which landscapes are drawn, and as it is certified.
fn checksums(folder: &Path) -> anyhow::Result<[String; 2]> {
    let stored = tightrope::load_trainable(folder)?;
    let certified = stored.frozen()?;
    Ok([tightrope::checksum(&stored), tightrope::checksum(&certified)])
}

/// The first test samples of a run with their largest certified radii.
fn radii(run: &Run, options: &Options, context: &Context) -> anyhow::Result<Samples> {
    if run.config.is_empty() {
        bail!("without config.toml it is not known which data set they would be of");
    }
    let given = |key: &str| run.setting(key).is_some_and(|value| !value.is_empty());
    if given("inputs") && !given("test_inputs") {
        bail!("the run was trained on arrays and has no test arrays (test_inputs)");
    }
    let mut origin = Origin::of(&run.folder)?;
    let own = Perturbation { eps: None, norm: None, clip: None, no_clip: false };
    let mut threat = origin.threat(&own)?;
    if threat.epsilon.largest() == 0.0 {
        // Somewhere the search must begin.
        threat.epsilon = 0.01.into();
    }
    let model = tightrope::load(&run.folder)?;
    let set =
        SampleOptions::of_run(options.samples, options.data.clone()).load(&mut origin, &model.network, context)?.set;
    let found = tightrope::certified_radii(&model, &set.images(), &set.labels, &threat, RELAXATION, STEPS)?;
    let samples = found.iter().enumerate().map(|(index, found)| Sample {
        index: index as u64,
        shape: set.shape,
        pixels: set.image(index).to_vec(),
        label: set.labels[index],
        prediction: found.prediction,
        radius: found.radius,
    });
    let method = format!(
        "{} {}, {}, {}; found by {} in {STEPS} steps of bisection",
        set.name,
        set.split,
        values::norm_title(threat.norm),
        values::clip_text(threat.clip),
        RELAXATION.listed()
    );
    Ok(Samples { method, samples: samples.collect(), ..Samples::default() })
}
