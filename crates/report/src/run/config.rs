//! `config.toml` as a list of dotted keys and values.

use tightrope_network::parse_toml;
use toml::{Table, Value};

/// The keys of the file with their values; tables inside tables become dotted keys.
pub(super) fn parse(bytes: &[u8], _remarks: &mut Vec<String>) -> Result<Vec<(String, String)>, String> {
    let text =
        str::from_utf8(bytes).map_err(|problem| format!("is no text ({problem}); the configuration is left out"))?;
    let table: Table =
        parse_toml(text).map_err(|problem| format!("is no configuration ({}); it is left out", problem.message()))?;
    let mut entries = Vec::new();
    flatten("", &table, &mut entries);
    Ok(entries)
}

fn flatten(prefix: &str, table: &Table, entries: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, entries),
            value => entries.push((path, value.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tables_become_dotted_keys() {
        let text = "eps = 0.1\n[train]\nlr = 2e-3\nmilestones = [1.0, 2.0]\n[method]\nname = \"ibp\"\n";
        let entries = super::parse(text.as_bytes(), &mut Vec::new()).unwrap();
        let value = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!([value("eps"), value("method.name")], [Some("0.1"), Some("\"ibp\"")]);
        assert_eq!([value("train.lr"), value("train.milestones")], [Some("0.002"), Some("[1.0, 2.0]")]);
        assert!(super::parse(b"eps = = 1", &mut Vec::new()).unwrap_err().contains("is no configuration"));
        assert!(super::parse(b"\xff", &mut Vec::new()).unwrap_err().contains("is no text"));
    }
}
