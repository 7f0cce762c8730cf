//! Published settings by name.

use pyo3::prelude::*;
use tightrope::training::recipe::{Profile, recipe as named_recipe, recipes};

use crate::errors::{named, raise};

/// Name and summary of every recipe.
#[pyfunction]
pub fn recipe_names() -> Vec<(String, String)> {
    recipes().iter().map(|recipe| (recipe.name().to_string(), recipe.summary())).collect()
}

/// The recipe called `name` as TOML, at the size that `profile` names.
#[pyfunction]
pub fn recipe(py: Python<'_>, name: &str, profile: &str) -> PyResult<String> {
    let profile: Profile = profile.parse().map_err(|problem: String| named(py, "ConfigError", problem))?;
    Ok(named_recipe(name).map_err(|error| raise(py, error))?.toml(profile))
}
