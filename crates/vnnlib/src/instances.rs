//! VNN-COMP instance lists: lines `network,property,seconds`.

use std::path::Path;

use crate::error::VnnlibError;
use crate::read::read_limited;
use crate::variables::shorten;

/// Longest list that is read, in bytes.
const MAX_BYTES: u64 = 1 << 26;

/// One line of an instance list.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The network's file, relative to the list's folder.
    pub network: String,
    /// The property's file, relative to the list's folder.
    pub property: String,
    /// Time limit in seconds.
    pub timeout: f64,
}

impl Instance {
    /// Reads a list.
    ///
    /// # Errors
    /// With line and column if a line does not hold two names and a number of seconds > 0.
    pub fn read_list(path: &Path) -> Result<Vec<Instance>, VnnlibError> {
        let text = read_limited(path, MAX_BYTES, "an instance list (lines network,property,seconds)")?;
        Instance::parse_list(&text, &path.display().to_string())
    }

    /// Parses a list; `origin` names it in messages. Blank lines are skipped, spaces around fields dropped.
    ///
    /// ```
    /// let list = tightrope_vnnlib::Instance::parse_list(b"net.onnx,p.vnnlib,116\n", "(inline)").unwrap();
    /// assert_eq!((list[0].property.as_str(), list[0].timeout), ("p.vnnlib", 116.0));
    /// ```
    ///
    /// # Errors
    /// A row that is no instance, with its line.
    pub fn parse_list(text: &[u8], origin: &str) -> Result<Vec<Instance>, VnnlibError> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text);
        let fault = |offset: u64, problem: String| VnnlibError::at(origin, text, offset as usize, problem);
        let mut instances = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| {
                let offset = error.position().map_or(0, |position| position.byte());
                fault(offset, "is no line of UTF-8 text; write network,property,seconds".into())
            })?;
            let offset = record.position().map_or(0, |position| position.byte());
            // The reader counts the line break before a record as its beginning.
            let blank = text[offset as usize..].iter().take_while(|byte| byte.is_ascii_whitespace()).count() as u64;
            let offset = offset + blank;
            if record.len() == 1 && record[0].is_empty() {
                continue;
            }
            // A quote that is not closed on its line takes the next lines with it.
            if record.iter().any(|field| field.contains(['\n', '\r'])) {
                return Err(fault(offset, "has a field with a line break in it; close every quote".into()));
            }
            let (Some(network), Some(property), Some(seconds), 3) =
                (record.get(0), record.get(1), record.get(2), record.len())
            else {
                let fields = match record.len() {
                    1 => "one field".into(),
                    many => format!("{many} fields"),
                };
                return Err(fault(offset, format!("has {fields}; write network,property,seconds")));
            };
            if network.is_empty() || property.is_empty() {
                return Err(fault(offset, "names no network or no property; write network,property,seconds".into()));
            }
            let timeout = seconds.parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0);
            let Some(timeout) = timeout else {
                return Err(fault(
                    offset,
                    format!("the time limit `{}` is no number of seconds > 0", shorten(seconds)),
                ));
            };
            instances.push(Instance { network: network.into(), property: property.into(), timeout });
        }
        Ok(instances)
    }
}
