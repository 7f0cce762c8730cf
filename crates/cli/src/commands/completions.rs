//! `tightrope completions`: what a shell needs to complete commands and options.

use std::io::{ErrorKind, Write};

use anyhow::Context as _;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::options::Cli;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tightrope completions bash > ~/.local/share/bash-completion/completions/tightrope\n  \
                        tightrope completions zsh > ~/.zfunc/_tightrope\n  \
                        tightrope completions fish > ~/.config/fish/completions/tightrope.fish"
)]
pub struct Options {
    /// Shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "tightrope", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}
