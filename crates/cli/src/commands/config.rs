//! `tightrope config`: every configuration key, for people or as JSON.

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use tightrope_train::{Config, Key, TrainError};

use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope config\n  tightrope config warmup\n  \
                        tightrope train --set train.milestones=[50,60] --set warmup.end=20")]
pub struct Options {
    /// Only this key, or the keys of this section.
    key: Option<String>,
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let chosen = |key: &&Key| match &options.key {
        Some(wanted) => {
            key.path == wanted || key.path.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('.'))
        }
        None => true,
    };
    let keys: Vec<&Key> = Config::keys().iter().filter(chosen).collect();
    if keys.is_empty() {
        let wanted = options.key.as_deref().unwrap_or_default();
        let nearest = match Config::parse("", "(command line)", &[format!("{wanted}=0")]) {
            Err(TrainError::UnknownKey { nearest: Some(nearest), .. }) => format!("; did you mean `{nearest}`?"),
            _ => "; `tightrope config` lists all".into(),
        };
        bail!("`{wanted}` is no configuration key and no section{nearest}");
    }
    let document = keys.iter().map(|key| {
        json!({"key": key.path, "type": key.kind, "default": key.default, "meaning": key.about, "example": key.example})
    });
    let text: Vec<String> = keys
        .iter()
        .map(|key| {
            format!(
                "{}  ({}, default {})\n    {}\n    for example {} = {}\n",
                key.path, key.kind, key.default, key.about, key.path, key.example
            )
        })
        .collect();
    context.print(&Value::Array(document.collect()), &text.concat())
}
