//! The `[method]` section: keys that all methods share, and the table of those that are the method's own.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use toml::Table;

/// `[method]`: the training loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodSection {
    /// The name or an alias of one of [`crate::methods::METHODS`].
    pub name: String,
    /// Weight w of the certified part after the warm-up.
    pub robust_weight: f64,
    /// Weight at the start of the warm-up, from which it goes linearly; `robust_weight` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robust_weight_start: Option<f64>,
    /// The keys that belong to the method, as [`crate::methods::MethodInfo::settings`] declares them; keys that it does
    /// not take are refused by [`crate::Config::resolved`].
    #[serde(flatten)]
    pub settings: Table,
}

impl Default for MethodSection {
    fn default() -> Self {
        MethodSection { name: "ibp".into(), robust_weight: 1.0, robust_weight_start: None, settings: Table::new() }
    }
}

/// Written out, since a derived one reads all values before it gives them to their fields, and errors then name no key.
impl<'de> Deserialize<'de> for MethodSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Section)
    }
}

struct Section;

impl<'de> Visitor<'de> for Section {
    type Value = MethodSection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the keys of a method")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MethodSection, A::Error> {
        let mut section = MethodSection::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => section.name = map.next_value()?,
                "robust_weight" => section.robust_weight = map.next_value()?,
                "robust_weight_start" => section.robust_weight_start = Some(map.next_value()?),
                _ => {
                    section.settings.insert(key, map.next_value()?);
                }
            }
        }
        Ok(section)
    }
}
