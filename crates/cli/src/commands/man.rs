//! `tightrope man`: manual pages of every command.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory};
use clap_mangen::Man;
use serde_json::json;
use tightrope_network::write_atomically;

use crate::context::Context;
use crate::options::Cli;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope man ~/.local/share/man/man1\n  man tightrope-certify")]
pub struct Options {
    /// Folder for the pages, one for each command; made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let folder = &options.folder;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}; name another one", folder.display()))?;
    let mut root = Cli::command();
    root.build();
    let mut files = Vec::new();
    for (name, page) in pages(&root, "tightrope")? {
        let path = folder.join(name);
        write_atomically(&path, &page).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
    }
    let text = format!("{} pages in {}\n", files.len(), folder.display());
    context.print(&json!({"files": files}), &text)
}

/// The pages of a command and of those below it, as file names and texts.
fn pages(command: &clap::Command, name: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut page = Vec::new();
    Man::new(command.clone()).title(name).render(&mut page)?;
    let mut all = vec![(format!("{name}.1"), page)];
    for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
        all.extend(pages(below, &format!("{name}-{}", below.get_name()))?);
    }
    Ok(all)
}
