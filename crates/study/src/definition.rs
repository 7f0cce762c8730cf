//! The data file of a study, as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tightrope_sweep::Parameters;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StudyFile {
    pub title: String,
    /// What is asked, and how to read the tables.
    pub about: String,
    /// Of all cells.
    #[serde(default)]
    pub set: toml::Table,
    #[serde(default)]
    pub certify: CertifyFile,
    /// How much of it is carried out, by name.
    pub profiles: BTreeMap<String, ProfileFile>,
    #[serde(rename = "block")]
    pub blocks: Vec<BlockFile>,
    #[serde(default, rename = "claim")]
    pub claims: Vec<ClaimFile>,
}

/// How trials are certified; what is absent is left to the level above.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertifyFile {
    pub split: Option<String>,
    pub limit: Option<u64>,
    pub timeout: Option<f64>,
    pub stages: Option<Vec<String>>,
}

/// A profile of the whole study or of a block.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileFile {
    /// Settings on top of the cells' own.
    #[serde(default)]
    pub set: toml::Table,
    /// Seeds of each cell in place of the block's; a block's profile goes before the study's.
    pub seeds: Option<u64>,
    #[serde(default)]
    pub certify: CertifyFile,
    /// Whether the block is left out.
    #[serde(default)]
    pub skip: bool,
}

/// A block.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockFile {
    /// Folder name.
    pub name: String,
    pub title: String,
    #[serde(default)]
    pub set: toml::Table,
    /// Seeds of each cell where the profile says nothing else.
    pub seeds: u64,
    #[serde(default)]
    pub certify: CertifyFile,
    /// Name of what the columns vary.
    pub column: String,
    pub columns: Vec<VariantFile>,
    /// Name of what the rows vary.
    pub row: String,
    pub rows: Vec<VariantFile>,
    /// Settings of single cells, by `COLUMN/ROW`.
    #[serde(default)]
    pub cells: BTreeMap<String, CellFile>,
    #[serde(default)]
    pub profiles: BTreeMap<String, ProfileFile>,
}

/// A row or a column.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VariantFile {
    pub name: String,
    #[serde(default)]
    pub set: toml::Table,
    /// Place on an axis, where the variants are numbers.
    pub at: Option<f64>,
}

/// What is special of a cell.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CellFile {
    #[serde(default)]
    pub set: toml::Table,
    /// Seeds, at most, in every profile.
    pub seeds: Option<u64>,
    /// Whether there is no such cell.
    #[serde(default)]
    pub skip: bool,
}

/// A claim: one cell has a higher accuracy than another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimFile {
    pub text: String,
    /// `COLUMN/ROW`.
    pub higher: String,
    /// `COLUMN/ROW`.
    pub lower: String,
    /// Block of `lower`, if it is another than that of `higher`.
    pub lower_block: Option<String>,
    /// Blocks it is made of; all that have both cells if there are none.
    #[serde(default)]
    pub blocks: Vec<String>,
}

impl CertifyFile {
    /// `self`, and what it lacks from `below`.
    pub(crate) fn over(&self, below: &Self) -> Self {
        CertifyFile {
            split: self.split.clone().or_else(|| below.split.clone()),
            limit: self.limit.or(below.limit),
            timeout: self.timeout.or(below.timeout),
            stages: self.stages.clone().or_else(|| below.stages.clone()),
        }
    }
}

/// Adds the leaves of `table` to `into` by their dotted keys; a key that is there gets the new value in its old place.
pub(crate) fn add(table: &toml::Table, into: &mut Parameters) -> Result<(), String> {
    fn walk(prefix: &str, table: &toml::Table, into: &mut Parameters) -> Result<(), String> {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(inner) => walk(&path, inner, into)?,
                toml::Value::Datetime(_) => return Err(format!("`{path}` is a time, which no setting is")),
                other => {
                    let value = serde_json::to_value(other).map_err(|e| format!("`{path}`: {e}"))?;
                    into.insert(path, value);
                }
            }
        }
        Ok(())
    }
    walk("", table, into)
}

/// A setting's value in few letters.
pub(crate) fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
