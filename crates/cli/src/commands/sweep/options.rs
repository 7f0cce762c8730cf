//! The options of `tightrope sweep`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use tightrope_sweep::{Axis, Objective, Shard, Strategy};
use tightrope_train::Config;
use tightrope_verify::Stage;

use super::VALIDATION;
use crate::dataset::DataDir;
use crate::values;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  tightrope sweep recipe.toml --grid train.lr=1e-3,5e-4 --grid eps=0.1,0.2 --seeds 3 --out sweeps/grid\n  \
                  tightrope sweep recipe.toml --random 20 --range train.lr=1e-4..1e-2:log --choice method.name=ibp,crown-ibp --out sweeps/random\n  \
                  tightrope sweep recipe.toml --tpe 50 --range train.epochs=5..40:int:log --jobs 4 --limit 500 --out sweeps/tpe\n  \
                  tightrope sweep recipe.toml --grid train.lr=1e-3,5e-4 --out sweeps/grid --resume\n  \
                  tightrope sweep --prepare --tpe 50 --range train.lr=1e-4..1e-2:log --out sweeps/asked\n\n\
                  A trial is `train` and `certify` in processes of their own, in DIR/trials/NUMBER. A sweep may be killed \
                  at any moment; --resume goes on with the trials at hand.\n\n\
                  Exit codes: 0 every trial has ended, also if some failed; 4 error; 130 or 143 ended by Ctrl-C or SIGTERM."
)]
pub struct Options {
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    /// Configuration that trials begin with.
    #[arg(value_name = "RECIPE.toml")]
    pub(super) recipe: Option<PathBuf>,
    /// Try all combinations of such values; may be repeated.
    #[arg(long, value_name = "key=a,b,…", conflicts_with_all = ["random", "tpe"])]
    grid: Vec<String>,
    /// Draw N configurations at random.
    #[arg(long, value_name = "N", value_parser = whole, conflicts_with = "tpe")]
    random: Option<u64>,
    /// Propose N configurations by tree-structured Parzen estimators, which learn from the trials before.
    #[arg(long, value_name = "N", value_parser = whole)]
    tpe: Option<u64>,
    /// Numbers to draw from, LO to HI: evenly, by :log evenly in the logarithm, by :int whole ones; may be repeated.
    #[arg(long, value_name = "key=LO..HI[:log][:int]", conflicts_with = "grid")]
    range: Vec<String>,
    /// Values to draw from; may be repeated.
    #[arg(long, value_name = "key=a,b,…", conflicts_with = "grid")]
    choice: Vec<String>,
    /// With --tpe: a proposal knows all configurations but the last L − 1 before it, so that it does not depend on timing
    /// [default: 2·jobs − 1].
    #[arg(long, value_name = "L", value_parser = whole, requires = "tpe")]
    lag: Option<u64>,
    /// Train each configuration with K seeds, from --seed on.
    #[arg(long, value_name = "K", value_parser = whole, default_value = "1")]
    pub(super) seeds: u64,
    /// What is to be large.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "natural,certified")]
    pub(super) objectives: Vec<ObjectiveChoice>,
    /// Any configuration key for all trials, such as train.epochs=10; may be repeated.
    #[arg(long, value_name = "key=value")]
    pub(super) set: Vec<String>,
    /// Samples to certify [default: validation, a part of the training images].
    #[arg(long, value_enum)]
    split: Option<SplitChoice>,
    /// Part of the training images kept for --split validation, in place of the recipe's.
    #[arg(long, value_name = "SHARE", default_value = "0.1")]
    validation: f64,
    /// Certify only the first N samples [default: all].
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub(super) limit: Option<usize>,
    /// Time limit of each sample in seconds.
    #[arg(long, value_name = "S", value_parser = values::seconds, default_value = "20")]
    pub(super) timeout: Duration,
    #[arg(long, value_delimiter = ',', value_parser = values::stage, help = values::stage_help())]
    stages: Option<Vec<Stage>>,
    /// Trials at once; they share the threads.
    #[arg(long, value_name = "J", value_parser = values::count, default_value = "1")]
    pub(super) jobs: usize,
    /// Run only part i of n, beside other parts in the same folder or for one that is put together later; not with --tpe.
    #[arg(long, value_name = "i/n")]
    pub(super) shard: Option<Shard>,
    /// Folder of the sweep.
    #[arg(short, long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Go on with the sweep in the folder; the number of configurations may be another.
    #[arg(long)]
    pub(super) resume: bool,
    /// With --resume: run trials that failed again.
    #[arg(long, requires = "resume")]
    pub(super) retry: bool,
    /// Only begin the sweep; others `ask` for its trials and `tell` what came out. Without axes they propose, too.
    #[arg(long, conflicts_with_all = ["resume", "shard"])]
    pub(super) prepare: bool,
    #[command(flatten)]
    pub(super) folder: DataDir,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Give a trial away: one JSON document {"trial", "configuration", "parameters", "seed"}; "trial" is null at the end.
    #[command(after_help = "Example:\n  tightrope sweep ask sweeps/asked\n  tightrope sweep ask sweeps/asked --open")]
    Ask {
        /// Folder of the sweep.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The first trial that was given away and has not been told, for when its worker is gone.
        #[arg(long)]
        open: bool,
    },
    /// Take note of trials, one JSON document on each line of standard input.
    #[command(after_help = "Example:\n  tightrope sweep tell sweeps/asked < results.jsonl\n\nLines:\n  \
                            {\"trial\": 3, \"natural\": 0.95, \"certified\": 0.9}\n  \
                            {\"trial\": 4, \"failed\": \"out of memory\"}\n  \
                            {\"parameters\": {\"train.lr\": 1e-3}, \"seed\": 0, \"natural\": 0.95, \"certified\": 0.9}   (a sweep prepared without axes)")]
    Tell {
        /// Folder of the sweep.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Show what came out so far, in all shards.
    #[command(after_help = "Example:\n  tightrope sweep show sweeps/grid --json")]
    Show {
        /// Folder of the sweep.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// `--objectives`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ObjectiveChoice {
    Natural,
    Adversarial,
    Certified,
}

impl From<ObjectiveChoice> for Objective {
    fn from(choice: ObjectiveChoice) -> Self {
        match choice {
            ObjectiveChoice::Natural => Objective::Natural,
            ObjectiveChoice::Adversarial => Objective::Adversarial,
            ObjectiveChoice::Certified => Objective::Certified,
        }
    }
}

/// `--split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SplitChoice {
    Validation,
    Test,
}

impl SplitChoice {
    pub(super) fn name(self) -> &'static str {
        match self {
            SplitChoice::Validation => "validation",
            SplitChoice::Test => "test",
        }
    }
}

impl Options {
    pub(super) fn axes(&self) -> anyhow::Result<Vec<Axis>> {
        if self.random.is_none() && self.tpe.is_none() && !(self.range.is_empty() && self.choice.is_empty()) {
            bail!("--range, --choice: values to draw from need --random N or --tpe N; --grid tries all of its own");
        }
        let lists = self.grid.iter().chain(&self.choice).map(|text| Axis::values(text));
        Ok(lists.chain(self.range.iter().map(|text| Axis::range(text))).collect::<Result<_, _>>()?)
    }

    pub(super) fn strategy(&self) -> Strategy {
        let usual = 2 * self.jobs as u64 - 1;
        match (self.random, self.tpe) {
            (Some(configurations), _) => Strategy::Random { configurations },
            (None, Some(configurations)) => Strategy::Tpe { configurations, lag: self.lag.unwrap_or(usual) },
            (None, None) if self.prepare && self.grid.is_empty() => Strategy::Told,
            (None, None) => Strategy::Grid,
        }
    }

    /// The split to certify: validation where this version has one.
    pub(super) fn split(&self) -> anyhow::Result<SplitChoice> {
        let known = Config::keys().iter().any(|key| key.path == VALIDATION);
        match self.split {
            Some(SplitChoice::Validation) if !known => {
                bail!("--split validation: this version keeps no validation split; use --split test")
            }
            Some(split) => Ok(split),
            None if known => Ok(SplitChoice::Validation),
            None => Ok(SplitChoice::Test),
        }
    }

    /// What is set for all trials; the user's own go before the part that is kept for validation.
    pub(super) fn settings(&self, split: SplitChoice) -> Vec<String> {
        let kept = (split == SplitChoice::Validation).then(|| format!("{VALIDATION}={}", self.validation));
        kept.into_iter().chain(self.set.iter().cloned()).collect()
    }

    pub(super) fn stage_names(&self) -> Option<String> {
        let stages = self.stages.as_ref()?;
        Some(stages.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(","))
    }
}

/// Parses a whole number.
fn whole(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no whole number ≥ 0"))
}
