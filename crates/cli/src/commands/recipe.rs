//! `tightrope recipe`: configurations of published settings, from one table.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tightrope_train::Config;
use tightrope_train::recipe::{Profile, recipe, recipes};

use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tightrope recipe list mnist-0.1/cnn3\n  \
                        tightrope recipe show cifar10-2_255/cnn5/deeppoly-rgs > my.toml\n  \
                        tightrope recipe show mnist-0.3/cnn3/sabr --profile short > short.toml\n  \
                        tightrope train my.toml --out runs/mine")]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists recipes: SETTING/NETWORK/METHOD-SMOOTHING.
    #[command(after_help = "Example:\n  tightrope recipe list mnist-0.1/cnn3")]
    List {
        /// Only those whose names contain this.
        part: Option<String>,
    },
    /// Writes a recipe as a configuration file to the standard output.
    #[command(after_help = "Example:\n  tightrope recipe show cifar10-2_255/cnn5/deeppoly-rgs > my.toml")]
    Show {
        /// Its name; without a smoothing that of plain gradients.
        name: String,
        /// How much of it: smoke, short or paper.
        #[arg(long, default_value_t = Profile::Paper)]
        profile: Profile,
    },
}

/// Runs the command.
pub fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    match &options.action {
        Action::List { part } => {
            let part = part.as_deref().unwrap_or_default();
            let chosen: Vec<_> = recipes().into_iter().filter(|recipe| recipe.name().contains(part)).collect();
            if chosen.is_empty() {
                // The error names the nearest.
                recipe(part)?;
            }
            let document = chosen.iter().map(|recipe| json!({"name": recipe.name(), "summary": recipe.summary()}));
            let text: String =
                chosen.iter().map(|recipe| format!("{}: {}\n", recipe.name(), recipe.summary())).collect();
            context.print(&Value::Array(document.collect()), &text)
        }
        Action::Show { name, profile } => {
            let text = recipe(name)?.toml(*profile);
            let config = Config::parse(&text, name, &[]).context("this recipe does not fit this program")?;
            context.print(
                &json!({"name": name, "profile": profile.name(), "toml": text, "resolved": config.to_toml()}),
                &text,
            )
        }
    }
}
