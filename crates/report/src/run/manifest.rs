//! `manifest.json`: versions, machine, data and sessions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a manifest tells, name by name, and the processes that worked on the run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Manifest {
    /// Dotted names with their values; those of data sets begin with `data.SPLIT`.
    pub fields: Vec<(String, String)>,
    /// One entry for each process.
    pub sessions: Vec<Session>,
}

/// One process that worked on a run; empty where the manifest does not tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its command line.
    pub command: Vec<String>,
    /// Version of the program.
    pub version: String,
    /// Optimiser steps done when it began.
    pub first_step: u64,
    /// When it began.
    pub started: String,
    /// When it ended; none where it was killed or failed.
    pub finished: Option<String>,
}

impl Manifest {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Classes of the data, where their names are told.
    pub(super) fn classes(&self) -> Option<usize> {
        let told = self.fields.iter().filter(|(name, _)| name.starts_with("data.") && name.ends_with(".classes"));
        told.filter_map(|(_, value)| Some(serde_json::from_str::<Vec<Value>>(value).ok()?.len())).max()
    }
}

pub(super) fn parse(bytes: &[u8], remarks: &mut Vec<String>) -> Result<Manifest, String> {
    let document: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|problem| format!("is no manifest ({problem}); it is left out"))?;
    let mut manifest = Manifest::default();
    for (name, value) in document {
        match (name.as_str(), value) {
            ("sessions", Value::Array(sessions)) => {
                let read = sessions.into_iter().map(serde_json::from_value::<Session>);
                let (whole, damaged): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
                manifest.sessions = whole.into_iter().flatten().collect();
                if !damaged.is_empty() {
                    remarks.push(format!("{} of its sessions are damaged and left out", damaged.len()));
                }
            }
            ("data", Value::Array(sets)) => {
                for (place, set) in sets.iter().enumerate() {
                    let split = set["split"].as_str().map_or_else(|| place.to_string(), Into::into);
                    flatten(&format!("data.{split}"), set, &mut manifest.fields);
                }
            }
            (name, value) => flatten(name, &value, &mut manifest.fields),
        }
    }
    Ok(manifest)
}

fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) => {
            entries.iter().for_each(|(key, value)| flatten(&format!("{path}.{key}"), value, fields));
        }
        Value::String(text) => fields.push((path.into(), text.clone())),
        Value::Null => fields.push((path.into(), "–".into())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => fields.push((path.into(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn nested_fields_data_sets_and_sessions() {
        let text = r#"{"version":"1","machine":{"cpu":"X","instructions":null},
            "data":[{"name":"digits","split":"test","sha256":"ab"}],
            "sessions":[{"command":["a","b"],"started":"now","finished":null},7]}"#;
        let mut remarks = Vec::new();
        let manifest = parse(text.as_bytes(), &mut remarks).unwrap();
        let field = |key: &str| manifest.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!(
            [field("version"), field("machine.cpu"), field("machine.instructions")],
            [Some("1"), Some("X"), Some("–")]
        );
        assert_eq!(field("data.test.sha256"), Some("ab"));
        assert_eq!((manifest.sessions.len(), manifest.sessions[0].command.len()), (1, 2));
        assert_eq!(remarks, ["1 of its sessions are damaged and left out"]);
        assert!(parse(b"[]", &mut remarks).unwrap_err().contains("is no manifest"));
    }
}
