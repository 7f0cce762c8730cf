//! What the values of a configuration key may be, in words and as a check.

use tightrope_network::{choice_text, number_text};
use toml::Value;

use super::parse::{flatten, radius_of, value_text};
use crate::TrainError;

/// What the values of a key may be.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Any text.
    Text,
    /// One of some names, which readers of the configuration check.
    Name(fn() -> Vec<String>),
    /// True or false.
    Switch,
    /// A number in this range.
    Number(Range),
    /// A radius ≥ 0, also as a fraction.
    Radius,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// Epochs ≥ 0 in ascending order.
    Epochs,
    /// The ends of a data range, or a switch.
    DataRange,
    /// Height and width in pixels, or an empty list.
    Size,
}

/// Ranges of finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// (0, ∞).
    Positive,
    /// [0, ∞).
    NotNegative,
    /// (0, 1].
    Factor,
    /// [0, 1].
    Weight,
    /// [0, 1).
    Part,
}

impl Range {
    fn text(self) -> &'static str {
        match self {
            Range::Positive => "> 0",
            Range::NotNegative => ">= 0",
            Range::Factor => "in (0, 1]",
            Range::Weight => "in [0, 1]",
            Range::Part => "in [0, 1)",
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Range::Positive => "must be a number > 0",
            Range::NotNegative => "must be a number >= 0",
            Range::Factor => "must be in (0, 1]",
            Range::Weight => "must be in [0, 1]",
            Range::Part => "must be in [0, 1), so less than 1",
        }
    }

    fn contains(self, value: f64) -> bool {
        match self {
            Range::Positive => value > 0.0 && value.is_finite(),
            Range::NotNegative => value >= 0.0 && value.is_finite(),
            Range::Factor => value > 0.0 && value <= 1.0,
            Range::Weight => (0.0..=1.0).contains(&value),
            Range::Part => (0.0..1.0).contains(&value),
        }
    }
}

impl Values {
    /// Any whole number ≥ 0.
    pub const COUNT: Values = Values::Whole(0, i64::MAX as u64);
    /// A number > 0.
    pub const POSITIVE: Values = Values::Number(Range::Positive);
    /// A number ≥ 0.
    pub const NOT_NEGATIVE: Values = Values::Number(Range::NotNegative);
    /// A factor in (0, 1].
    pub const FACTOR: Values = Values::Number(Range::Factor);
    /// A weight in [0, 1].
    pub const WEIGHT: Values = Values::Number(Range::Weight);
    /// A part of a whole in [0, 1).
    pub const PART: Values = Values::Number(Range::Part);

    /// What a value looks like, in words.
    pub fn kind(self) -> &'static str {
        match self {
            Values::Text | Values::Name(_) => "text",
            Values::Switch => "true or false",
            Values::Number(_) => "number",
            Values::Radius => "number or fraction",
            Values::Whole(..) => "whole number",
            Values::Epochs => "list of numbers",
            Values::DataRange => "range or false",
            Values::Size => "two whole numbers or none",
        }
    }

    /// The range of numbers in words; "" where there is none to tell.
    pub fn range(self) -> String {
        match self {
            Values::Text | Values::Name(_) | Values::Switch | Values::DataRange | Values::Size => String::new(),
            Values::Number(range) => range.text().into(),
            Values::Radius => ">= 0".into(),
            Values::Whole(0, most) if most == i64::MAX as u64 => ">= 0".into(),
            Values::Whole(least, most) => format!("from {least} to {most}"),
            Values::Epochs => ">= 0, ascending".into(),
        }
    }

    /// The names to choose from: "a, b or c".
    pub fn names(self) -> Option<String> {
        match self {
            Values::Name(names) => Some(choice_text(names())),
            Values::Text
            | Values::Switch
            | Values::Number(_)
            | Values::Radius
            | Values::Whole(..)
            | Values::Epochs
            | Values::DataRange
            | Values::Size => None,
        }
    }

    /// Refuses a `value` of the key `path` that is of another type or out of range. Names are not looked up.
    pub(super) fn accept(self, path: &'static str, value: &Value) -> Result<(), TrainError> {
        if !self.is_kind(value) {
            return Err(TrainError::value(path, value_text(value), self.wanted()));
        }
        self.check(path, value)
    }

    /// True if it is of the right type.
    fn is_kind(self, value: &Value) -> bool {
        let is_number = |value: &Value| value.is_float() || value.is_integer();
        let all = |is: &dyn Fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(is));
        match self {
            Values::Text => value.is_str(),
            // Names that are numbers may be written without quotes.
            Values::Name(names) => {
                let numbers = || names().iter().any(|name| name.trim_matches('"').parse::<f64>().is_ok());
                value.is_str() || is_number(value) && numbers()
            }
            Values::Switch => value.is_bool(),
            Values::Number(_) => is_number(value),
            Values::Radius => is_number(value) || value.as_str().is_some_and(|text| radius_of(text).is_some()),
            Values::Whole(..) => value.is_integer(),
            Values::Epochs => all(&is_number),
            Values::DataRange => value.is_bool() || all(&is_number),
            Values::Size => all(&Value::is_integer),
        }
    }

    /// What values there are, as the end of a sentence about a wrong one.
    fn wanted(self) -> String {
        match self {
            Values::Name(names) => format!("must be one of {}", choice_text(names())),
            Values::Number(range) => range.allowed().into(),
            Values::Text => "must be text".into(),
            Values::Switch => "must be true or false".into(),
            Values::Radius => "must be a number >= 0 or a fraction such as \"2/255\"".into(),
            Values::Whole(..) => format!("must be a whole number {}", self.range()),
            Values::Epochs => "must be a list of epochs such as [5, 8]".into(),
            Values::DataRange => "must be true (for [0, 1]), false or [low, high]".into(),
            Values::Size => "must be [height, width], or []".into(),
        }
    }

    /// Refuses a `value` of the key `path` that is out of range; its type is right.
    pub(super) fn check(self, path: &'static str, value: &Value) -> Result<(), TrainError> {
        let number = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|value| value as f64));
        match self {
            // Read as what they are, or checked where they are used.
            Values::Text | Values::Name(_) | Values::Switch | Values::DataRange => Ok(()),
            Values::Number(range) => match number(value) {
                Some(value) if !range.contains(value) => {
                    Err(TrainError::value(path, number_text(value), range.allowed()))
                }
                _ => Ok(()),
            },
            Values::Radius => match number(value) {
                Some(value) if !(value >= 0.0 && (value as f32).is_finite()) => Err(TrainError::value(
                    path,
                    number_text(value),
                    "must be a number >= 0 that single precision can hold, such as 0.1",
                )),
                _ => Ok(()),
            },
            Values::Whole(least, most) => match value.as_integer() {
                Some(value) if !(least..=most).contains(&(value.max(0) as u64)) || value < 0 => {
                    Err(TrainError::value(path, value, format!("must be a whole number from {least} to {most}")))
                }
                _ => Ok(()),
            },
            Values::Epochs => {
                let list: Vec<f64> = value.as_array().into_iter().flatten().filter_map(number).collect();
                let good = list.iter().all(|m| m.is_finite() && *m >= 0.0) && list.windows(2).all(|p| p[0] < p[1]);
                if good {
                    return Ok(());
                }
                Err(TrainError::value(path, format!("{list:?}"), "must be epochs >= 0 in ascending order"))
            }
            Values::Size => {
                let sides: Vec<i64> = value.as_array().into_iter().flatten().filter_map(Value::as_integer).collect();
                let good = sides.iter().all(|side| (1..=LONGEST_SIDE).contains(side));
                if good && matches!(sides.len(), 0 | 2) {
                    return Ok(());
                }
                let allowed = format!("must be [height, width], whole numbers from 1 to {LONGEST_SIDE}, or []");
                Err(TrainError::value(path, format!("{sides:?}"), allowed))
            }
        }
    }
}

/// Longest side that images are brought to, in pixels.
const LONGEST_SIDE: i64 = 4096;

/// The value at the dotted `path` of a configuration, if it is set.
pub(super) fn at(table: &toml::Table, path: &str) -> Option<Value> {
    flatten(table).into_iter().find(|(found, _)| found == path).map(|(_, value)| value)
}
