//! What a method says about itself, and how one is made from the `[method]` section of a configuration.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tightrope_network::nearest_name;
use toml::{Table, Value};

use super::{METHODS, Method};
use crate::TrainError;
use crate::config::{Key, MethodSection, Setting, flatten, nearest, plain_types};

/// A method as configurations name it: the one declaration that help texts, documents and errors are made from.
pub struct MethodInfo {
    /// The name in configurations.
    pub name: &'static str,
    /// The name in texts.
    pub title: &'static str,
    /// Other names that configurations may use.
    pub aliases: &'static [&'static str],
    /// What it trains with, in a phrase.
    pub summary: &'static str,
    /// The loss as a formula, and what is to be known about it, in Markdown.
    pub description: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// The keys of `[method]` that it takes besides those which all methods share, in groups which methods may have in
    /// common; their paths begin with `method.`.
    pub settings: &'static [&'static [Setting]],
    /// Makes the method from its own keys, of which all are optional.
    pub build: fn(&Table) -> Result<Box<dyn Method>, TrainError>,
}

impl fmt::Debug for MethodInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodInfo").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MethodInfo {
    /// The name with its aliases, as lists show it: "deeppoly (= crown)".
    pub fn listed(&self) -> String {
        match self.aliases {
            [] => self.name.into(),
            aliases => format!("{} (= {})", self.name, aliases.join(", ")),
        }
    }

    /// The keys that it takes besides those which all methods share, with their defaults.
    ///
    /// # Errors
    /// If the method cannot be made from its defaults.
    pub fn keys(&self) -> Result<Vec<Key>, TrainError> {
        let defaults = section((self.build)(&Table::new())?.settings());
        Ok(self.own().map(|setting| setting.key(&defaults)).collect())
    }

    /// The settings of all groups.
    pub(crate) fn own(&self) -> impl Iterator<Item = &'static Setting> {
        self.settings.iter().copied().flatten()
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    fn takes(&self, path: &str) -> bool {
        self.own().any(|setting| setting.path == path)
    }
}

/// The method that `section` describes, with its settings.
///
/// # Errors
/// If there is no method of this name, or it does not take one of the keys, or a value has a wrong type or is out of
/// range.
pub fn method(section: &MethodSection) -> Result<Box<dyn Method>, TrainError> {
    from_list(&METHODS, section)
}

/// As [`method`], of the methods in `list`.
fn from_list(list: &[&'static MethodInfo], given: &MethodSection) -> Result<Box<dyn Method>, TrainError> {
    let info = find(list, &given.name)?;
    for (key, _) in flatten(&given.settings) {
        let path = format!("method.{key}");
        if !info.takes(&path) {
            return Err(not_taken(list, info, path));
        }
    }
    let method = (info.build)(&given.settings)?;
    let resolved = section(method.settings());
    info.own().try_for_each(|setting| setting.check(&resolved))?;
    Ok(method)
}

/// The method of `list` that is called `name`.
fn find(list: &[&'static MethodInfo], name: &str) -> Result<&'static MethodInfo, TrainError> {
    list.iter().copied().find(|info| info.is_called(name)).ok_or_else(|| {
        let known: Vec<String> = list.iter().map(|info| info.listed()).collect();
        let names = list.iter().flat_map(|info| [info.name].into_iter().chain(info.aliases.iter().copied()));
        let nearest = nearest_name(name, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let problem = format!("no such method; use one of {}{nearest}", known.join(", "));
        TrainError::value("method.name", format!("\"{name}\""), problem)
    })
}

/// Why `info` does not take the key `path`: it is another method's, or nobody's.
fn not_taken(list: &[&'static MethodInfo], info: &'static MethodInfo, path: String) -> TrainError {
    let own = info.own().chain(MethodSection::COMMON).map(|setting| setting.path);
    let nearest = nearest(own, &path).map(Into::into);
    let owners: Vec<&str> = list.iter().filter(|other| other.takes(&path)).map(|other| other.name).collect();
    if owners.is_empty() {
        return TrainError::UnknownKey { origin: "[method]".into(), key: path, nearest };
    }
    TrainError::ForeignKey { key: path, method: info.name, owners: owners.join(", "), nearest }
}

/// `settings` under the name of their section, as in a configuration.
fn section(settings: Table) -> Table {
    Table::from_iter([("method".to_string(), Value::Table(settings))])
}

/// A method's settings from its table; keys that are left out get the defaults of `S`.
///
/// # Errors
/// If a value has a wrong type.
pub fn read_settings<S: DeserializeOwned>(table: &Table) -> Result<S, TrainError> {
    table.clone().try_into().map_err(|e: toml::de::Error| TrainError::ConfigText {
        origin: "[method]".into(),
        problem: plain_types(e.to_string().trim()),
    })
}

/// A method's settings as a table, every key with its value.
pub fn write_settings<S: Serialize>(settings: &S) -> Table {
    // Settings are numbers, texts, booleans and lists of them: the conversion has nothing to refuse.
    Table::try_from(settings).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use serde::{Deserialize, Serialize};
    use tightrope_engine::{Loaded, Perturbation, Relaxation};
    use tightrope_network::Initialisation;
    use toml::Table;

    use super::super::relaxed::IBP;
    use super::{MethodInfo, from_list, method, read_settings, write_settings};
    use crate::config::{MethodSection, Setting, Values};
    use crate::methods::{Evaluated, METHODS, Method, Minibatch};
    use crate::{Config, TrainError};

    /// A method that does nothing but have settings.
    #[derive(Clone, Copy, Debug)]
    struct Probe {
        settings: ProbeSettings,
    }

    #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct ProbeSettings {
        mixture: f64,
        steps: u64,
    }

    impl Default for ProbeSettings {
        fn default() -> Self {
            ProbeSettings { mixture: 0.5, steps: 7 }
        }
    }

    static PROBE: MethodInfo = MethodInfo {
        name: "probe",
        title: "Probe",
        aliases: &["prob"],
        summary: "nothing",
        description: "L = 0.",
        source: "none",
        settings: &[&[
            Setting::new("method.mixture", Values::WEIGHT, "weight of one part", "0.25"),
            Setting::new("method.steps", Values::Whole(1, 100), "steps", "3"),
        ]],
        build: |table| Ok(Box::new(Probe { settings: read_settings(table)? })),
    };

    impl Method for Probe {
        fn info(&self) -> &'static MethodInfo {
            &PROBE
        }

        fn settings(&self) -> Table {
            write_settings(&self.settings)
        }

        fn evaluation(&self) -> Relaxation {
            Relaxation::Ibp
        }

        fn initialisation(&self) -> Initialisation {
            Initialisation::Default
        }

        fn loss(&self, _: &Minibatch<'_>, _: &dyn Loaded<f32>) -> Result<Evaluated, TrainError> {
            Ok(Evaluated::default())
        }

        fn gradient(&self, _: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<(Evaluated, Vec<f32>), TrainError> {
            Ok((Evaluated::default(), vec![0.0; at.theta().len()]))
        }

        fn population_loss(
            &self,
            _: &Minibatch<'_>,
            _: &dyn Loaded<f32>,
            _: Perturbation<'_>,
            pairs: Range<u64>,
        ) -> Result<Vec<[f64; 2]>, TrainError> {
            Ok(pairs.map(|_| [0.0; 2]).collect())
        }
    }

    fn made(text: &str) -> Result<Table, String> {
        let section: MethodSection = toml::from_str(text).map_err(|e| e.to_string())?;
        from_list(&[&IBP, &PROBE], &section).map(|method| method.settings()).map_err(|e| e.to_string())
    }

    #[test]
    fn settings_are_read_from_the_section_and_resolved() {
        let settings = made("name = \"prob\"\nmixture = 1\nrobust_weight = 0.5").unwrap();
        assert_eq!(settings.to_string(), "mixture = 1.0\nsteps = 7\n");
        // Written back and read again, they are the same.
        assert_eq!(made(&format!("name = \"probe\"\n{settings}")).unwrap(), settings);
        assert_eq!(made("name = \"ibp\"").unwrap()["regulariser"].as_float(), Some(0.0));
    }

    #[test]
    fn keys_tell_the_defaults_of_the_settings() {
        let keys = PROBE.keys().unwrap();
        let told: Vec<_> = keys.iter().map(|key| (key.path, key.values().to_string(), key.default.as_str())).collect();
        assert_eq!(
            told,
            [
                ("method.mixture", "number in [0, 1]".to_string(), "0.5"),
                ("method.steps", "whole number from 1 to 100".to_string(), "7")
            ]
        );
    }

    #[test]
    fn bad_keys_and_values_are_refused_by_name() {
        for (text, parts) in [
            ("name = \"probe\"\nmixtur = 1", vec!["`method.mixtur`", "did you mean `method.mixture`"]),
            ("name = \"probe\"\nrobust_wieght = 1", vec!["`method.robust_wieght`", "`method.robust_weight`"]),
            ("name = \"ibp\"\nmixture = 1", vec!["`method.mixture`", "ibp", "a key of probe"]),
            ("name = \"ibp\"\n[inner]", vec!["`method.inner`", "unknown key"]),
            ("name = \"probe\"\nmixture = 2", vec!["`method.mixture` = 2", "[0, 1]"]),
            ("name = \"probe\"\nsteps = 0", vec!["`method.steps` = 0", "from 1 to 100"]),
            ("name = \"probe\"\nsteps = \"x\"", vec!["[method]", "expected a whole number ≥ 0", "`steps`"]),
            ("name = \"robe\"", vec!["method.name", "ibp, probe (= prob)", "did you mean `probe`"]),
        ] {
            let message = made(text).expect_err(text);
            for part in parts {
                assert!(message.contains(part), "{text}: {message}");
            }
        }
    }

    /// What the section does not share with all methods it keeps, and writes.
    #[test]
    fn a_section_keeps_the_keys_of_its_method() {
        let text = "name = \"probe\"\nrobust_weight = 1.0\nmixture = 0.25\n";
        let section: MethodSection = toml::from_str(text).unwrap();
        assert_eq!(section.settings["mixture"].as_float(), Some(0.25));
        let config = Config { method: section.clone(), ..Config::default() };
        assert!(config.to_toml().contains("\n[method]\nmixture = 0.25\nname = \"probe\"\nrobust_weight = 1.0\n"));
        let other = MethodSection { settings: Table::new(), ..section };
        let differences = config.differences(&Config { method: other, ..Config::default() });
        assert_eq!(differences.iter().map(|d| d.key.as_str()).collect::<Vec<_>>(), ["method.mixture"]);
    }

    #[test]
    fn the_list_is_consistent() {
        let mut names: Vec<&str> = Vec::new();
        for info in METHODS {
            let made = (info.build)(&Table::new()).unwrap();
            assert!(std::ptr::eq(made.info(), info), "{}", info.name);
            names.push(info.name);
            names.extend(info.aliases);
            for key in info.keys().unwrap() {
                assert!(key.path.starts_with("method.") && !key.default.is_empty(), "{}", key.path);
                assert!(MethodSection::COMMON.iter().all(|common| common.path != key.path), "{}", key.path);
                let (_, leaf) = key.path.split_once('.').unwrap();
                let section = format!("name = \"{}\"\n{leaf} = {}", info.name, key.example);
                method(&toml::from_str(&section).unwrap()).unwrap();
            }
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "a name is taken twice");
    }
}
