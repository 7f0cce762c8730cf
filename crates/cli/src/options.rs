//! The command line: the options every command has, and the commands.

use std::process::ExitCode;

use clap::error::Error;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    attack, bounds, certify, check, completions, config, data, export, landscape, man, merge, quickstart, recipe,
    report, reproduce, sweep, train, verify,
};
use crate::context::Context;
use crate::values;

/// Trains neural networks that are certifiably robust, and certifies them.
#[derive(Debug, Parser)]
#[command(name = "tightrope", version, subcommand_required = true, arg_required_else_help = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// What is to be told instead of running a command: what is wrong with it, or the help that it asks for.
    pub fn read() -> Result<Self, Error> {
        Cli::from_arg_matches(&negative_numbers_are_values(Cli::command()).try_get_matches()?)
    }
}

/// Lets a negative number after an option be its value, so that the error is about the number.
fn negative_numbers_are_values(command: clap::Command) -> clap::Command {
    let command =
        command.mut_args(|argument| match argument.get_action().takes_values() && !argument.is_positional() {
            true if !argument.is_allow_hyphen_values_set() => argument.allow_negative_numbers(true),
            _ => argument,
        });
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_string()).collect();
    names.iter().fold(command, |command, name| command.mut_subcommand(name, negative_numbers_are_values))
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Global {
    /// Seed of everything random [default: 0, or the recipe's].
    #[arg(long, global = true, value_name = "S", value_parser = values::seed)]
    pub seed: Option<u64>,
    /// Worker threads [default: one per core]; results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = values::count)]
    pub threads: Option<usize>,
    /// Where to compute; this version knows `cpu`.
    #[arg(long, global = true, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
    /// Print the result as one JSON document on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on standard error, only errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More detail on standard error.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train and certify a small network on drawn digits, without downloads, in under a minute.
    Quickstart(quickstart::Options),
    /// Train a network.
    Train(train::Options),
    /// Train and certify many configurations, and show their Pareto front.
    Sweep(Box<sweep::Options>),
    /// Run a study of certified training, such as the paradox, and hold the paper's claims against it.
    Reproduce(Box<reproduce::Options>),
    /// Certify a network on a data set by a cascade of attack and bounds.
    Certify(certify::Options),
    /// Attack a network by gradient descent: PGD, Auto-PGD, targeted or not.
    Attack(attack::Options),
    /// Bound the margins, layers and loss gradients of a network over input regions.
    Bounds(bounds::Options),
    /// Decide whether a network has a VNN-LIB property.
    Verify(verify::Options),
    /// Put together what the parts of a certification or of a list of properties wrote.
    Merge(merge::Options),
    /// Check the certificate of a property that holds.
    Check(check::Options),
    /// Convert a network to ONNX or safetensors.
    Export(export::Options),
    /// Make one HTML page of runs: curves, accuracy by stage, Pareto front, samples, configuration.
    Report(report::Options),
    /// Draw training losses along a line or over a plane through a run's parameters, original and smoothed.
    Landscape(Box<landscape::Options>),
    /// List and fetch data sets.
    Data(data::Options),
    /// Show every configuration key with its type, default, meaning and an example.
    Config(config::Options),
    /// List published settings as recipes, or write one as a configuration file.
    Recipe(recipe::Options),
    /// Write the completions of a shell to standard output.
    Completions(completions::Options),
    /// Write the manual pages of all commands into a folder.
    Man(man::Options),
}

impl Command {
    /// Runs the command; the exit code tells a verdict where there is one.
    pub fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        match self {
            Command::Quickstart(options) => quickstart::run(options, context).map(done),
            Command::Train(options) => train::run(options, context).map(done),
            Command::Sweep(options) => sweep::run(options, context).map(done),
            Command::Reproduce(options) => reproduce::run(options, context).map(done),
            Command::Certify(options) => certify::run(options, context).map(done),
            Command::Attack(options) => attack::run(options, context).map(done),
            Command::Bounds(options) => bounds::run(options, context).map(done),
            Command::Verify(options) => verify::run(options, context),
            Command::Merge(options) => merge::run(options, context).map(done),
            Command::Check(options) => check::run(options, context).map(done),
            Command::Export(options) => export::run(options, context).map(done),
            Command::Report(options) => report::run(options, context).map(done),
            Command::Landscape(options) => landscape::run(options, context).map(done),
            Command::Data(options) => data::run(options, context).map(done),
            Command::Config(options) => config::run(options, context).map(done),
            Command::Recipe(options) => recipe::run(options, context).map(done),
            Command::Completions(options) => completions::run(options).map(done),
            Command::Man(options) => man::run(options, context).map(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::collections::BTreeSet;

    use clap::{Arg, Command, CommandFactory};

    use super::{Cli, negative_numbers_are_values};

    #[test]
    fn the_command_line_is_consistent() {
        negative_numbers_are_values(Cli::command()).debug_assert();
    }

    /// The options of `command` and of those below it that `which` chooses, with the commands that lead to them.
    fn options(
        command: &Command,
        which: &dyn Fn(&Arg) -> bool,
        path: &[String],
        found: &mut Vec<(Vec<String>, String)>,
    ) {
        for argument in command.get_arguments().filter(|argument| which(argument)) {
            if let Some(name) = argument.get_long() {
                found.push((path.to_vec(), format!("--{name}")));
            }
        }
        for below in command.get_subcommands() {
            options(below, which, &[path, &[below.get_name().to_string()]].concat(), found);
        }
    }

    #[test]
    fn help_tells_what_an_option_is_without_being_given() {
        // Those that nothing stands in for: without them there is no such file, limit, part or change.
        const NOTHING: [&str; 34] = [
            "attack --inputs",
            "attack --output",
            "bounds --alpha-seconds",
            "certify --inputs",
            "certify --shard",
            "data fetch --from",
            "export --classes",
            "export --dataset",
            "export --ignore",
            "export --map",
            "export --network",
            "export --shape",
            "landscape --inputs",
            "reproduce --blocks",
            "reproduce --merge",
            "reproduce --out",
            "reproduce --shard",
            "sweep --choice",
            "sweep --grid",
            "sweep --out",
            "sweep --random",
            "sweep --range",
            "sweep --set",
            "sweep --shard",
            "sweep --tpe",
            "train --init-from",
            "train --inputs",
            "train --set",
            "train --test-inputs",
            "verify --certificate",
            "verify --results-file",
            "verify --retry",
            "verify --shard",
            "verify --witness",
        ];
        let told = |argument: &Arg| {
            let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
            !argument.get_default_values().is_empty() || help.contains("[default: ") || help.contains("(the default)")
        };
        let silent =
            |argument: &Arg| argument.get_action().takes_values() && !argument.is_required_set() && !told(argument);
        let mut found = Vec::new();
        let mut command = Cli::command();
        command.build();
        options(&command, &silent, &["tightrope".to_string()], &mut found);
        let names: BTreeSet<String> =
            found.into_iter().map(|(path, option)| format!("{} {option}", path[1..].join(" "))).collect();
        assert_eq!(names, NOTHING.map(String::from).into());
    }

    #[test]
    fn a_negative_number_is_refused_by_its_option_everywhere() {
        let whole = [TypeId::of::<usize>(), TypeId::of::<u64>()];
        let counts = |argument: &Arg| whole.iter().any(|whole| argument.get_value_parser().type_id() == *whole);
        let mut found = Vec::new();
        options(&Cli::command(), &counts, &["tightrope".to_string()], &mut found);
        assert!(found.len() > 30, "{found:?}");
        for (path, option) in found {
            let command = negative_numbers_are_values(Cli::command());
            let error = command.try_get_matches_from([&path[..], &[option.clone(), "-1".into()]].concat()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("'-1'") && text.contains(&option) && text.contains("whole number"),
                "{path:?}: {text}"
            );
        }
    }
}
