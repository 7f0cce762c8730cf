//! `tightrope data`: what data sets there are, and getting them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tightrope_data::{ALL, DataError, DatasetInfo, Fetched, Form, Origin, Split, Verified};
use tightrope_network::bytes_text;

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
    let heads = ["name", "image", "classes", "training", "test", "size", "where"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    let mut documents = Vec::new();
    for info in ALL {
        let found = place(info, folder)?;
        let number = |number: Option<usize>| number.map_or_else(|| "any".into(), |number| number.to_string());
        let shape = info.shape.map(|shape| shape.map(|side| side.to_string()).join("×"));
        let [training, test] = [Split::Train, Split::Test].map(|split| info.count(split));
        rows.push(vec![
            info.name.into(),
            shape.unwrap_or_else(|| "any".into()),
            number(info.classes),
            number(training),
            number(test),
            info.bytes().map_or_else(|| "any".into(), bytes_text),
            found.text.clone(),
        ]);
        documents.push(json!({
            "name": info.name,
            "title": info.title,
            "shape": info.shape,
            "classes": info.classes,
            "training": training,
            "test": test,
            "bytes": info.bytes(),
            "mean": info.mean,
            "std": info.std,
            "available": found.form.is_some(),
            "form": found.form.map(Form::name),
            "where": found.text,
        }));
    }
    context.print(&Value::Array(documents), &table::render(&rows))
}

/// Where a data set lies, or what to do to get it.
struct Found {
    text: String,
    form: Option<Form>,
}

fn place(info: &DatasetInfo, folder: &DataDir) -> anyhow::Result<Found> {
    let dir = folder.data_dir.as_deref();
    match info.place(Split::Train, dir).and_then(|_| info.place(Split::Test, dir)) {
        Ok(None) => Ok(Found { text: "built in".into(), form: Some(Form::Embedded) }),
        Ok(Some(place)) => {
            let remark = match place.form {
                Form::StandIn => " (image folder)",
                Form::Embedded | Form::Files | Form::Folder | Form::Arrays => "",
            };
            Ok(Found { text: format!("{}{remark}", place.folder.display()), form: Some(place.form) })
        }
        Err(DataError::Missing { .. } | DataError::NoFolder) => {
            let text = match info.get {
                Some(_) => "give its folder with --data-dir".into(),
                None => format!("missing; run `tightrope data fetch {}`", info.name),
            };
            Ok(Found { text, form: None })
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
        let (check, what) = match file.verified {
            Verified::Checksum => ("checksum", "checksum verified"),
            Verified::Size => ("size", "size checked; no checksum is published of the unpacked file"),
        };
        lines.push(format!("{} {origin}{remark}, {what}", file.path.display()));
        let path = file.path.display().to_string();
        files.push(json!({"path": path, "origin": origin, "from": source, "verified": check}));
    }
    match &fetched.folder {
        Some(folder) => lines.push(format!("`{name}` is ready in {}", folder.display())),
        None => lines.push(format!("`{name}` is built in; there is nothing to fetch")),
    }
    let folder = fetched.folder.as_ref().map(|folder| folder.display().to_string());
    context.print(&json!({"name": name, "folder": folder, "files": files}), &lines.join("\n"))
}
