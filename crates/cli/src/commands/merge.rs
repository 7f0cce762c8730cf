//! `tightrope merge`: the logs of a certification's parts, or the results of a list's parts, as one file.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;
use tightrope_verify::{Summary, merge_logs};

use crate::commands::certify::tables;
use crate::commands::verify::merge_results;
use crate::context::Context;
use crate::values::counted;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope certify runs/mnist --shard 1/2\n  \
                        tightrope certify runs/mnist --shard 2/2\n  \
                        tightrope merge -o runs/mnist/certify.jsonl runs/mnist/certify.shard-1-of-2.jsonl \
                        runs/mnist/certify.shard-2-of-2.jsonl\n  \
                        tightrope merge -o results.csv part1.csv part2.csv\n\n\
                        Logs of a certification tell which part they are; results of a list are given in the order of \
                        the parts. Parts of a sweep run in one folder, those of a study are put together by \
                        `tightrope reproduce STUDY --merge`.\n\n\
                        Exit codes: 0 the file is written; 4 error, nothing is written.")]
pub struct Options {
    /// File to write: certify.jsonl, or the results of the list.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file.
    #[arg(long)]
    overwrite: bool,
    /// What the parts wrote: all of them, finished.
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let output = &options.output;
    let parts: Vec<&Path> = options.parts.iter().map(|part| &**part).collect();
    tightrope::check_records(&[("-o", output)], &parts)?;
    ensure!(
        options.overwrite || !output.exists(),
        "{}: exists already; replace it by --overwrite, or name another file",
        output.display()
    );
    let logs = parts.iter().map(|part| is_log(part)).collect::<anyhow::Result<Vec<bool>>>()?;
    if let Some(other) = logs.iter().position(|&log| log != logs[0]) {
        let kind = |log: bool| if log { "the log of a certification" } else { "no such log" };
        bail!("{} is {}, {} is {}", parts[0].display(), kind(logs[0]), parts[other].display(), kind(logs[other]));
    }
    let count = counted(parts.len(), "part", "parts");
    if logs[0] {
        let merged = merge_logs(&options.parts, output)?;
        let summary = Summary::new(&merged.records, &merged.stages);
        let document = json!({
            "output": output.display().to_string(),
            "kind": "certification",
            "parts": parts.len(),
            "settings": merged.settings,
            "result": summary,
        });
        let samples = counted(summary.samples, "sample", "samples");
        let text = format!(
            "{samples} of {count}\n\n{}\n{} undecided; one line per sample in {}\n",
            tables(&summary, true),
            summary.unknown,
            output.display()
        );
        return context.print(&document, &text);
    }
    let rows = merge_results(&options.parts, output)?;
    let document = json!({
        "output": output.display().to_string(),
        "kind": "results",
        "parts": parts.len(),
        "instances": rows,
    });
    context
        .print(&document, &format!("{} of {count} in {}\n", counted(rows, "instance", "instances"), output.display()))
}

/// Whether a part is the log of a certification; else it is taken for results.
fn is_log(part: &Path) -> anyhow::Result<bool> {
    ensure!(
        !part.is_dir(),
        "{}: is a folder; give the files that the parts wrote (parts of a study: tightrope reproduce STUDY --merge)",
        part.display()
    );
    let mut first = [0];
    let mut file = std::fs::File::open(part).with_context(|| part.display().to_string())?;
    let read = file.read(&mut first).with_context(|| part.display().to_string())?;
    // A part of a list of few instances may have none.
    Ok(read == 1 && first[0] == b'{')
}
