//! `tightrope config`: every configuration key, for people or as JSON.

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use tightrope_train::methods::METHODS;
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
    let chosen = |key: &Key| match &options.key {
        Some(wanted) => {
            key.path == wanted || key.path.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('.'))
        }
        None => true,
    };
    // Those of all runs, then those of single methods.
    let mut keys: Vec<(Option<&str>, Key)> = Config::keys().iter().map(|key| (None, key.clone())).collect();
    for info in METHODS {
        keys.extend(info.keys()?.into_iter().map(|key| (Some(info.name), key)));
    }
    keys.retain(|(_, key)| chosen(key));
    if keys.is_empty() {
        let wanted = options.key.as_deref().unwrap_or_default();
        let nearest = match Config::parse("", "(command line)", &[format!("{wanted}=0")]) {
            Err(TrainError::UnknownKey { nearest: Some(nearest), .. }) => format!("; did you mean `{nearest}`?"),
            _ => "; `tightrope config` lists all".into(),
        };
        bail!("`{wanted}` is no configuration key and no section{nearest}");
    }
    let document = keys.iter().map(|(method, key)| {
        json!({
            "key": key.path,
            "method": method,
            "type": key.kind,
            "range": key.range,
            "default": key.default,
            "meaning": key.about,
            "example": key.example,
        })
    });
    let text: Vec<String> = keys
        .iter()
        .map(|(method, key)| {
            let owner = method.map_or_else(String::new, |method| format!(", of method {method}"));
            let (path, values, example) = (key.path, key.values(), key.example);
            format!(
                "{path}  ({values}, default {}{owner})\n    {}\n    for example {path} = {example}\n",
                key.default, key.about
            )
        })
        .collect();
    context.print(&Value::Array(document.collect()), &text.concat())
}
