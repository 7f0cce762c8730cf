//! Configurations from and to TOML, with overrides and comparison.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use tightrope_network::{number_text, parse_toml};
use toml::{Table, Value};

use super::{Config, MethodSection, NormName, Values, keys};
use crate::TrainError;
use crate::methods::{self, METHODS};

/// One key whose value differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path.
    pub key: String,
    /// Value in the first, as TOML.
    pub first: String,
    /// Value in the second, as TOML.
    pub second: String,
}

impl Config {
    /// Parses TOML, applies `key=value` overrides in order, checks everything and fills in what depends on other keys.
    ///
    /// `origin` names the text in errors. A value of an override is read as TOML and, if it is
    /// none, as a string: `train.lr=1e-3`, `train.milestones=[5, 8]`, `model=cnn5`.
    ///
    /// # Errors
    /// If the text is not TOML, a key is unknown or a value has a wrong type or is out of range.
    pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Self, TrainError> {
        Config::parse_unresolved(text, origin, overrides)?.resolved()
    }

    /// As [`Config::parse`], without what [`Config::resolved`] fills in and checks: what the keys say before one more
    /// override is chosen by them.
    ///
    /// # Errors
    /// If the text is not TOML, a key is unknown or a value has a wrong type.
    pub fn parse_unresolved(text: &str, origin: &str, overrides: &[String]) -> Result<Self, TrainError> {
        let fail = |origin: &str, problem: String| TrainError::ConfigText { origin: origin.into(), problem };
        let mut table: Table = parse_toml(text).map_err(|e| fail(origin, e.to_string()))?;
        check_keys(&table, origin)?;
        let mut blamed = read(&table).err().map(|problem| (origin.to_string(), problem));
        for text in overrides {
            let origin = format!("--set {text}");
            let Some((path, value)) = text.split_once('=') else {
                return Err(fail(&origin, "an override has the form key=value".into()));
            };
            let (path, value) = (path.trim(), value.trim());
            if path.split('.').any(str::is_empty) {
                return Err(fail(&origin, "the key is empty; write key=value, such as train.lr=1e-3".into()));
            }
            let mut single = Table::new();
            insert(&mut single, path, parsed(value));
            check_keys(&single, &origin)?;
            if value.parse::<i64>().is_err() && value.parse::<i128>().is_ok() {
                return Err(fail(&origin, format!("whole numbers go from {} to {} (2^63-1)", i64::MIN, i64::MAX)));
            }
            merge(&mut table, single);
            // What is wrong from here on is wrong by this override, unless it was before.
            if let Err(error) = read(&table)
                && blamed.is_none()
            {
                blamed = Some((origin, error));
            }
        }
        read(&table).map_err(|problem| {
            let (origin, problem) = blamed.unwrap_or_else(|| (origin.into(), problem));
            fail(&origin, problem)
        })
    }

    /// Refuses a literal for the key `key` that no configuration can have, such as a value that is out of range; what
    /// depends on other keys is not looked at.
    ///
    /// # Errors
    /// If there is no such key, or the value has a wrong type, is out of range or no name there is.
    pub fn check_value(key: &str, literal: &str) -> Result<(), TrainError> {
        let Some(setting) = keys::setting(key) else { return Err(unknown(key, literal)) };
        let value = parsed(literal);
        setting.values.accept(setting.path, &value)?;
        let Values::Name(_) = setting.values else { return Ok(()) };
        let fail = |problem: String| TrainError::ConfigText { origin: format!("{key}={literal}"), problem };
        let owner = METHODS.iter().find(|info| info.own().any(|own| own.path == key));
        if let (Some(owner), Some((_, leaf))) = (owner, key.split_once('.')) {
            let settings = Table::from_iter([(leaf.to_string(), value)]);
            let section = MethodSection { name: owner.name.into(), settings, ..MethodSection::default() };
            return methods::method(&section).map(drop);
        }
        let mut single = Table::new();
        insert(&mut single, key, value);
        let config = read(&single).map_err(fail)?;
        methods::method(&config.method)?;
        config.eval_relaxation().map(drop)
    }

    /// As [`Config::parse`], from a file.
    ///
    /// # Errors
    /// If the file cannot be read, and as [`Config::parse`].
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, TrainError> {
        Config::parse(&Config::recipe(path)?, &path.display().to_string(), overrides)
    }

    /// The text of a recipe's file.
    ///
    /// # Errors
    /// If it cannot be read, or is empty.
    pub fn recipe(path: &Path) -> Result<String, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|e| TrainError::file(path, unreadable(path, &e)))?;
        if text.trim().is_empty() {
            // What a failed `recipe show > FILE` leaves; all defaults would be something else than what was asked for.
            let problem =
                "the file is empty; a configuration has at least one line (`tightrope recipe show NAME` writes one)";
            return Err(TrainError::file(path, problem));
        }
        Ok(text)
    }

    /// The configuration as TOML, every key with its value.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        write_table(&mut text, "", &self.table());
        text
    }

    /// Keys whose values differ, in alphabetical order within each section.
    pub fn differences(&self, other: &Config) -> Vec<Difference> {
        let (first, second) = (flatten(&self.table()), flatten(&other.table()));
        let find =
            |list: &[(String, Value)], key: &str| list.iter().find(|(k, _)| k == key).map(|(_, v)| value_text(v));
        let mut keys: Vec<&String> = first.iter().chain(&second).map(|(key, _)| key).collect();
        keys.dedup();
        let mut differences: Vec<Difference> = Vec::new();
        for key in keys {
            let values = (find(&first, key), find(&second, key));
            if values.0 != values.1 && differences.iter().all(|d| d.key != *key) {
                let text = |value: Option<String>| value.unwrap_or_else(|| "not set".into());
                differences.push(Difference { key: key.clone(), first: text(values.0), second: text(values.1) });
            }
        }
        differences
    }

    pub(super) fn table(&self) -> Table {
        // Every field is a string, number, boolean, list or table: the conversion has nothing to refuse but a seed
        // beyond 2⁶³, which `resolved` refuses with its range.
        Table::try_from(self).unwrap_or_default()
    }
}

/// A literal as TOML or, if it is none, as text.
fn parsed(literal: &str) -> Value {
    let value = parse_toml::<Table>(&format!("v = {literal}")).ok().and_then(|mut table| table.remove("v"));
    value.unwrap_or_else(|| Value::String(literal.into()))
}

/// The configuration that `table` is, or what is wrong with a type.
fn read(table: &Table) -> Result<Config, String> {
    let typed = |e: toml::de::Error| plain_types(e.to_string().trim());
    Value::Table(table.clone()).try_into().map_err(typed)
}

/// Why a recipe cannot be read, and what to do.
fn unreadable(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such recipe; correct the path, or leave it out and describe the run by flags".into(),
        ErrorKind::InvalidData => "is no UTF-8 text; give a recipe in TOML, saved as UTF-8".into(),
        _ if path.is_dir() => {
            "is a folder, not a recipe; give a .toml file, or go on with a run by --out FOLDER --resume".into()
        }
        _ => format!("cannot be read ({error}); check its permissions or give another recipe"),
    }
}

/// A parser's message with types named for readers who know no Rust.
pub(crate) fn plain_types(message: &str) -> String {
    let types = [
        ("usize", "a whole number ≥ 0"),
        ("u64", "a whole number ≥ 0"),
        ("f64", "a number"),
        ("a string", "text"),
        ("a boolean", "true or false"),
        ("a sequence", "a list such as [5, 8]"),
        ("string or table", "text"),
    ];
    let replace = |text: String, (name, words)| text.replace(&format!("expected {name}"), &format!("expected {words}"));
    types.into_iter().fold(message.into(), replace)
}

/// Appends the values of `table`, then its sections under `path`.
fn write_table(text: &mut String, path: &str, table: &Table) {
    let (sections, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    values.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {}\n", value_text(value))));
    for (key, section) in sections.iter().filter_map(|(key, value)| Some((key, value.as_table()?))) {
        let path = if path.is_empty() { (*key).clone() } else { format!("{path}.{key}") };
        text.push_str(&format!("\n[{path}]\n"));
        write_table(text, &path, section);
    }
}

/// A value as TOML, numbers in the shortest form that reads back.
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::Float(number) if number.is_finite() => {
            let text = number_text(*number);
            // A number without point or exponent would be an integer.
            if text.contains(['.', 'e']) { text } else { text + ".0" }
        }
        Value::Array(list) => format!("[{}]", list.iter().map(value_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// All values, and sections without any, with their dotted paths.
pub(crate) fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut list = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                list.extend(flatten(inner).into_iter().map(|(path, value)| (format!("{key}.{path}"), value)));
            }
            _ => list.push((key.clone(), value.clone())),
        }
    }
    list
}

fn check_keys(table: &Table, origin: &str) -> Result<(), TrainError> {
    for (path, value) in flatten(table) {
        if let Some(setting) = keys::setting(&path) {
            // Others are told by those that read them.
            if let Values::Name(_) = setting.values {
                setting.values.accept(setting.path, &value)?;
            }
            continue;
        }
        if let Some(example) = keys::inside_section(&path) {
            if value.is_table() {
                continue;
            }
            let problem = format!("`{path}` is a section, not a value; set a key inside it, such as `{example}`");
            return Err(TrainError::ConfigText { origin: origin.into(), problem });
        }
        return Err(unknown(&path, origin));
    }
    Ok(())
}

fn unknown(path: &str, origin: &str) -> TrainError {
    TrainError::UnknownKey { origin: origin.into(), key: path.into(), nearest: keys::nearest_key(path).map(Into::into) }
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.into(), value);
        }
        Some((section, rest)) => {
            let mut inner = Table::new();
            insert(&mut inner, rest, value);
            table.insert(section.into(), Value::Table(inner));
        }
    }
}

fn merge(table: &mut Table, from: Table) {
    for (key, value) in from {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// A number, or text such as "2/255".
#[derive(Deserialize)]
#[serde(untagged, expecting = "a radius must be a number or a fraction such as \"2/255\"")]
enum RadiusText {
    Number(f64),
    Fraction(String),
}

impl RadiusText {
    fn value(self) -> Result<f64, String> {
        match self {
            RadiusText::Number(value) => Ok(value),
            RadiusText::Fraction(text) => {
                let problem = || format!("`{text}` is no radius; write a number or a fraction such as \"2/255\"");
                radius_of(&text).ok_or_else(problem)
            }
        }
    }
}

/// A number, or the quotient of two.
pub(super) fn radius_of(text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match text.split_once('/') {
        Some((above, below)) => number(above).zip(number(below)).map(|(above, below)| above / below),
        None => number(text),
    }
}

/// A norm as text or, since 2 without quotes is a number in TOML (and inf, too), as a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "the norm must be \"inf\", \"2\" or \"1\"")]
pub(super) enum NormText {
    Number(f64),
    Name(String),
}

impl TryFrom<NormText> for NormName {
    type Error = String;

    fn try_from(text: NormText) -> Result<Self, String> {
        let name = match text {
            NormText::Number(value) => value.to_string(),
            NormText::Name(name) => name,
        };
        match name.as_str() {
            "inf" => Ok(NormName::Inf),
            "2" => Ok(NormName::L2),
            "1" => Ok(NormName::L1),
            _ => Err(format!("`{name}` is no norm; use inf, 2 or 1")),
        }
    }
}

pub(super) fn radius<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    RadiusText::deserialize(deserializer)?.value().map_err(de::Error::custom)
}

pub(super) fn optional_radius<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    radius(deserializer).map(Some)
}
