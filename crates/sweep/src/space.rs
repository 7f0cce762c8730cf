//! The axes of a sweep: configuration keys with the values they take, and their syntax.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::SweepError;

/// Configuration keys with their values, in the order of the axes.
pub type Parameters = Map<String, Value>;

/// Whole numbers beyond are not exact in double precision.
const LARGEST_WHOLE: f64 = (1_u64 << 53) as f64;

/// One configuration key with the values it may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// The key, such as `train.lr`.
    pub key: String,
    /// Its values.
    pub domain: Domain,
}

/// The values of an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Domain {
    /// One of a list.
    Values(Vec<Value>),
    /// A number of an interval.
    Range {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Whether equal ratios, not equal differences, are equally likely; `low` is above 0 then.
        log: bool,
        /// Whether only whole numbers are taken.
        whole: bool,
    },
}

/// `key=value` for `--set`: text stands as it is, everything else as JSON, which is TOML for numbers, true, false and
/// lists.
pub fn setting(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    }
}

impl Axis {
    /// Parses `key=a,b,c`; commas inside brackets, braces or quotes belong to a value.
    ///
    /// # Errors
    /// If there is no key or no value, or a value stands twice.
    pub fn values(text: &str) -> Result<Self, SweepError> {
        let (key, list) = key_and_rest(text, "key=a,b,c such as train.lr=1e-3,5e-4")?;
        let mut values: Vec<Value> = Vec::new();
        for part in split(list) {
            let value = value(part.trim());
            if part.trim().is_empty() {
                return Err(SweepError::usage(text, "a value is empty; write key=a,b,c"));
            }
            if values.contains(&value) {
                return Err(SweepError::usage(text, format!("the value {value} stands twice")));
            }
            values.push(value);
        }
        Ok(Axis { key, domain: Domain::Values(values) })
    }

    /// Parses `key=lo..hi`, followed by `:log`, `:int` or both.
    ///
    /// # Errors
    /// If the ends are no finite numbers in order, whole ones for `:int` and above 0 for `:log`.
    pub fn range(text: &str) -> Result<Self, SweepError> {
        let example = "key=lo..hi, key=lo..hi:log or key=lo..hi:int such as train.lr=1e-4..1e-2:log";
        let (key, rest) = key_and_rest(text, example)?;
        let bad = |problem: &str| SweepError::usage(text, problem);
        let mut parts = rest.split(':');
        let ends = parts.next().and_then(|interval| interval.split_once(".."));
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let (low, high) = ends
            .and_then(|(low, high)| Some((number(low)?, number(high)?)))
            .ok_or_else(|| bad(&format!("a range is {example}")))?;
        if let Some(end) = [low, high].into_iter().find(|end| !end.is_finite()) {
            return Err(bad(&format!("the end {end} is no finite number; a range is {example}")));
        }
        let (mut log, mut whole) = (false, false);
        for part in parts {
            match part.trim() {
                "log" if !log => log = true,
                "int" if !whole => whole = true,
                other => {
                    return Err(bad(&format!("`:{other}` is unknown or stands twice; a range ends with :log or :int")));
                }
            }
        }
        if low >= high {
            return Err(bad("the lower end must be below the upper one"));
        }
        if log && low <= 0.0 {
            return Err(bad("a logarithmic range begins above 0"));
        }
        if whole && [low, high].iter().any(|end| end.fract() != 0.0 || end.abs() > LARGEST_WHOLE) {
            return Err(bad("the ends of a range with :int are whole numbers"));
        }
        Ok(Axis { key, domain: Domain::Range { low, high, log, whole } })
    }
}

impl Domain {
    /// The value at `place` in [0, 1] of a range; to four digits unless it is whole. None for a list.
    pub(crate) fn at(&self, place: f64) -> Option<Value> {
        let Domain::Range { low, high, log, whole } = *self else { return None };
        let (first, last) = ends(low, high, log, whole);
        let inner = first + place.clamp(0.0, 1.0) * (last - first);
        let value = if log { inner.exp() } else { inner };
        if whole {
            // −0 is no whole number of TOML.
            return Some(Value::from(value.round().clamp(low, high) as i64));
        }
        let short = format!("{value:.3e}").parse().unwrap_or(value);
        Some(Value::from(f64::clamp(short, low, high) + 0.0))
    }

    /// Where `value` is in a range, in [0, 1]. None for a list, or what is no number.
    pub(crate) fn place(&self, value: &Value) -> Option<f64> {
        let Domain::Range { low, high, log, whole } = *self else { return None };
        let (first, last) = ends(low, high, log, whole);
        let value = value.as_f64()?.clamp(low, high);
        let inner = if log { value.ln() } else { value };
        Some((inner - first) / (last - first))
    }
}

/// The interval that places are mapped to; a whole number has half of the way to either neighbour.
fn ends(low: f64, high: f64, log: bool, whole: bool) -> (f64, f64) {
    let half = if whole { 0.5 } else { 0.0 };
    let scale = |end: f64| if log { end.ln() } else { end };
    (scale(low - half), scale(high + half))
}

fn key_and_rest<'a>(text: &'a str, form: &str) -> Result<(String, &'a str), SweepError> {
    let parts = text.split_once('=').map(|(key, rest)| (key.trim(), rest.trim()));
    match parts.filter(|(key, rest)| !rest.is_empty() && key.split('.').all(|part| !part.is_empty())) {
        Some(("seed", _)) => Err(SweepError::usage(text, "seeds are no axis; give --seeds K and --seed S")),
        Some((key, rest)) => Ok((key.into(), rest)),
        None => Err(SweepError::usage(text, format!("write {form}"))),
    }
}

/// A value as `--set` would read it: JSON where it is a number, true, false, a list or quoted, else the text itself.
fn value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Null) | Err(_) => Value::String(text.into()),
        Ok(value) => value,
    }
}

/// Cuts at commas outside of brackets, braces and quotes.
fn split(list: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_i32, None);
    for (i, c) in list.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, ',') if depth <= 0 => {
                parts.push(&list[start..i]);
                start = i + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(&list[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Axis, Domain, setting};

    #[test]
    fn lists_are_cut_at_their_own_commas() {
        let axis = Axis::values("train.milestones=[5, 8],[10],ibp,8/255,1e-3,\"a,b\",true").unwrap();
        let expected =
            [json!([5, 8]), json!([10]), json!("ibp"), json!("8/255"), json!(1e-3), json!("a,b"), json!(true)];
        assert_eq!((axis.key.as_str(), axis.domain), ("train.milestones", Domain::Values(expected.to_vec())));
        let texts = expected.map(|value| setting("k", &value));
        assert_eq!(texts, ["k=[5,8]", "k=[10]", "k=ibp", "k=8/255", "k=0.001", "k=a,b", "k=true"]);
        for (bad, part) in [
            ("train.lr", "key=a,b"),
            ("=1", "key=a,b"),
            ("a=1,,2", "empty"),
            ("a=1,1.0,1", "twice"),
            ("seed=1,2", "--seeds"),
        ] {
            let message = Axis::values(bad).unwrap_err().to_string();
            assert!(message.contains(bad) && message.contains(part), "{message}");
        }
    }

    #[test]
    fn ranges_map_places_to_values_and_back() {
        let range = |text: &str| Axis::range(text).unwrap().domain;
        let log = range("train.lr=1e-4..1e-2:log");
        assert_eq!([0.0, 0.5, 1.0].map(|place| log.at(place).unwrap()), [json!(1e-4), json!(1e-3), json!(1e-2)]);
        let whole = range("train.epochs=-1..2:int");
        let values: Vec<Value> = (0..100).map(|i| whole.at(i as f64 / 99.0).unwrap()).collect();
        for n in -1..=2 {
            let count = values.iter().filter(|&value| *value == json!(n)).count();
            assert!((24..=26).contains(&count), "{n} stands {count} times");
        }
        for (domain, values) in [(&log, &[1e-4, 3.5e-3, 1e-2][..]), (&whole, &[-1.0, 0.0, 2.0])] {
            for &value in values {
                let place = domain.place(&json!(value)).unwrap();
                assert!((0.0..=1.0).contains(&place));
                assert_eq!(domain.at(place).unwrap().as_f64(), Some(value));
            }
        }
        let both = range("train.batch=1..256:int:log");
        assert_eq!([0.0, 1.0].map(|place| both.at(place).unwrap()), [json!(1), json!(256)]);
        for (bad, part) in [
            ("a=1", "lo..hi"),
            ("a=2..1", "below"),
            ("a=0..1:log", "above 0"),
            ("a=0.5..2:int", "whole"),
            ("a=1..2:cubic", "`:cubic`"),
            ("a=1..inf", "lo..hi"),
            ("a=1..2:int:int", "twice"),
        ] {
            let message = Axis::range(bad).unwrap_err().to_string();
            assert!(message.contains(part), "{bad}: {message}");
        }
    }
}
