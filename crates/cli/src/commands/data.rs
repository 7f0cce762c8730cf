//! `tightrope data`: what data sets there are, and getting them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tightrope_data::{ALL, DataError, DatasetInfo, Fetched, Origin, Source, Split};

use crate::context::Context;
use crate::dataset::DataDir;
use crate::progress::Bar;
use crate::table;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope data list\n  tightrope data fetch mnist")]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Names, shapes and where each data set was found.
    #[command(after_help = "Example:\n  tightrope data list --data-dir ~/data")]
    List {
        #[command(flatten)]
        folder: DataDir,
    },
    /// Download a data set with checksums, or take it from a folder.
    #[command(after_help = "Example:\n  tightrope data fetch mnist\n  tightrope data fetch mnist --from ~/Downloads")]
    Fetch {
        /// Name, as `tightrope data list` shows it.
        name: String,
        /// Take the files from this folder instead of the network.
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
        #[command(flatten)]
        folder: DataDir,
    },
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    match &options.action {
        Action::List { folder } => list(folder, context),
        Action::Fetch { name, from, folder } => fetch(name, from.as_ref(), folder, context),
    }
}

fn list(folder: &DataDir, context: &Context) -> anyhow::Result<()> {
    let heads = ["name", "image", "classes", "training", "test", "where"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    let mut documents = Vec::new();
    for info in ALL {
        let (place, available) = place(info, folder)?;
        let shape = info.shape.map(|side| side.to_string()).join("×");
        let counts = [info.classes, info.counts[0], info.counts[1]].map(|count| count.to_string());
        let cells = [vec![info.name.to_string(), shape], counts.to_vec(), vec![place.clone()]];
        rows.push(cells.concat());
        documents.push(json!({
            "name": info.name,
            "title": info.title,
            "shape": info.shape,
            "classes": info.classes,
            "training": info.counts[0],
            "test": info.counts[1],
            "available": available,
            "where": place,
        }));
    }
    context.print(&Value::Array(documents), &table::render(&rows))
}

/// Where the test split lies, or how to get it.
fn place(info: &DatasetInfo, folder: &DataDir) -> anyhow::Result<(String, bool)> {
    if matches!(info.source, Source::Embedded(_)) {
        return Ok(("built in".into(), true));
    }
    let dir = folder.data_dir.as_deref();
    match info.folder(Split::Train, dir).and_then(|_| info.folder(Split::Test, dir)) {
        Ok(found) => Ok((found.map_or_else(String::new, |path| path.display().to_string()), true)),
        Err(DataError::Missing { .. } | DataError::NoFolder) => {
            Ok((format!("missing; run `tightrope data fetch {}`", info.name), false))
        }
        Err(other) => Err(other.into()),
    }
}

fn fetch(name: &str, from: Option<&PathBuf>, folder: &DataDir, context: &Context) -> anyhow::Result<()> {
    let dir = folder.data_dir.as_deref();
    let fetched = match from {
        Some(source) => tightrope_data::fetch_from(name, source, dir)?,
        None => {
            let mut current: Option<(String, Bar)> = None;
            let fetched = tightrope_data::fetch(name, dir, &mut |file, done, total| {
                if current.as_ref().is_none_or(|(title, _)| title != file) {
                    context.detail(&format!("downloading {file}"));
                    current = Some((file.into(), Bar::bytes(context, file, total)));
                }
                if let Some((_, bar)) = &current {
                    bar.place(done);
                }
            });
            if let Some((_, bar)) = current {
                bar.finish();
            }
            fetched?
        }
    };
    report(name, &fetched, context)
}

fn report(name: &str, fetched: &Fetched, context: &Context) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    let mut files = Vec::new();
    for file in &fetched.files {
        let (origin, source) = match &file.origin {
            Origin::Kept => ("kept", None),
            Origin::Downloaded(url) => ("downloaded", Some(url.clone())),
            Origin::Copied(path) => ("copied", Some(path.display().to_string())),
        };
        let remark = source.as_ref().map_or_else(String::new, |source| format!(" from {source}"));
        lines.push(format!("{} {origin}{remark}, checksum verified", file.path.display()));
        files.push(json!({"path": file.path.display().to_string(), "origin": origin, "from": source}));
    }
    match &fetched.folder {
        Some(folder) => lines.push(format!("`{name}` is ready in {}", folder.display())),
        None => lines.push(format!("`{name}` is built in; there is nothing to fetch")),
    }
    let folder = fetched.folder.as_ref().map(|folder| folder.display().to_string());
    context.print(&json!({"name": name, "folder": folder, "files": files}), &lines.join("\n"))
}
