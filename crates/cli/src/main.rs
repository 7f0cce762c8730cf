//! The `tightrope` command: trains certifiably robust networks, certifies them, and verifies properties.

mod allocator;
mod classes;
mod commands;
mod context;
mod dataset;
mod engines;
mod interruption;
mod memory;
mod options;
mod origin;
mod progress;
mod shell;
mod table;
mod tensors;
mod values;

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::context::{Context, complain};
use crate::interruption::Interrupted;
use crate::options::Cli;

#[global_allocator]
static ALLOCATOR: allocator::Telling = allocator::Telling;

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
    write_errors_are_errors();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    // A closed pipe is no reason to fail a help text.
                    let _ = error.print();
                    ExitCode::SUCCESS
                }
                _ => {
                    complain(error.to_string().trim_end());
                    ExitCode::from(FAILURE)
                }
            };
        }
    };
    match Context::new(&cli.global).and_then(|context| cli.command.run(&context)) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(interrupted) => {
                complain(&interrupted.to_string());
                interrupted.exit_code()
            }
            None => {
                complain(&format!("error: {error:#}"));
                ExitCode::from(FAILURE)
            }
        },
    }
}

/// Beyond the limit of file sizes (`ulimit -f`) a write is to fail, and be told, instead of ending the process.
fn write_errors_are_errors() {
    #[cfg(unix)]
    {
        // A handler that does nothing; without one, the write ends the process, with one it fails.
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, flag);
    }
}
