//! The `tightrope` command: trains certifiably robust networks, certifies them, and verifies properties.

mod commands;
mod context;
mod dataset;
mod engines;
mod model;
mod options;
mod progress;
mod table;
mod tensors;
mod values;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::context::{Context, complain};
use crate::options::Cli;

/// Usage, input and runtime errors.
const FAILURE: u8 = 4;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!(
            "internal error: {panic}\nThis is a defect of tightrope, not of your input: please report it with the command line."
        ));
    }));
    std::panic::catch_unwind(start).unwrap_or(ExitCode::from(FAILURE))
}

fn start() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to fail a help text.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(FAILURE),
            };
        }
    };
    match Context::new(&cli.global).and_then(|context| cli.command.run(&context)) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::from(FAILURE)
        }
    }
}
