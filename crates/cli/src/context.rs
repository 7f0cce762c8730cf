//! What every command gets: where output goes, how much of it, the seed.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use tightrope_network::screen_text;

use crate::options::Global;

/// The variable that says how many threads there are where no option does.
const THREADS: &str = "RAYON_NUM_THREADS";

/// The common options, checked and in force.
#[derive(Debug)]
pub struct Context {
    /// The seed, if given.
    pub seed: Option<u64>,
    /// True if progress bars make sense.
    pub bars: bool,
    json: bool,
    quiet: bool,
    /// True for `-v`.
    pub verbose: bool,
}

impl Context {
    /// Checks the options and starts the worker threads.
    pub fn new(global: &Global) -> anyhow::Result<Self> {
        if global.device != "cpu" {
            bail!("--device {}: this version computes on the processor only; use --device cpu", global.device);
        }
        let variable =
            || std::env::var(THREADS).ok().and_then(|value| value.parse().ok()).filter(|&threads| threads > 0);
        if let Some(threads) = global.threads {
            tightrope::check_threads("--threads", threads)?;
        } else if let Some(threads) = variable() {
            tightrope::check_threads(THREADS, threads)?;
        }
        // Also without the option, so that a machine that has no more threads is an error and no crash.
        rayon::ThreadPoolBuilder::new().num_threads(global.threads.unwrap_or(0)).build_global().map_err(|e| {
            anyhow!(
                "cannot start the worker threads ({e}); free memory or raise its limit, or use fewer by --threads 1"
            )
        })?;
        Ok(Context {
            seed: global.seed,
            bars: !global.quiet && std::io::stderr().is_terminal(),
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
        })
    }

    /// A line about what is going on, on standard error.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            complain(line);
        }
    }

    /// A line that only `-v` shows.
    pub fn detail(&self, line: &str) {
        if self.verbose {
            complain(line);
        }
    }

    /// The result on standard output: `document` with `--json`, else `text`.
    pub fn print(&self, document: &Value, text: &str) -> anyhow::Result<()> {
        let rendered = if self.json { serde_json::to_string_pretty(document)? } else { text.trim_end().to_string() };
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{rendered}").and_then(|()| stdout.flush()) {
            // The reader has gone (`| head`); it has seen what it wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.context("cannot write to standard output"),
        }
    }
}

/// A line on standard error, cut to a screen; if that is closed there is nobody to tell.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", screen_text(line));
}
