//! Names of classes: whether two lists of them mean the same classes in the same order.

use std::fmt;

use crate::registry::info;

/// Where the class names of samples are others than the names they should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassDifference {
    /// Names that should be there and are not.
    pub missing: Vec<String>,
    /// Names that are there and should not be; empty, as `missing` is, where only the order is another.
    pub unknown: Vec<String>,
}

impl ClassDifference {
    /// How the class names `found` of a data set differ from those `expected` of another; none if each class has the name
    /// that it should have. A data set is told by its name.
    ///
    /// Letters' case does not count, numbers go by their value, and where a data set has class names of its own, signs
    /// between letters and digits do not count, and a class may be called by its index.
    pub fn between(expected: (&str, &[String]), found: (&str, &[String])) -> Option<Self> {
        let official = |set: &str| info(set).ok().and_then(|info| info.class_names);
        let loose = official(expected.0).is_some() || official(found.0).is_some();
        let keys = |(set, names): (&str, &[String])| -> Vec<String> {
            let key = |(index, name): (usize, &String)| match number(name) {
                Some(value) => {
                    let own = official(set).and_then(|own| own.get(index)).filter(|_| value == index as u64);
                    own.map_or_else(|| value.to_string(), |own| plain(own))
                }
                None if loose => plain(name),
                None => name.to_lowercase(),
            };
            names.iter().enumerate().map(key).collect()
        };
        let (expected_keys, found_keys) = (keys(expected), keys(found));
        (expected_keys != found_keys).then(|| ClassDifference {
            missing: beyond(expected.1, &expected_keys, &found_keys),
            unknown: beyond(found.1, &found_keys, &expected_keys),
        })
    }
}

impl fmt::Display for ClassDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.missing[..], &self.unknown[..]) {
            ([], []) => write!(f, "the same names in another order"),
            (missing, []) => write!(f, "missing: {}", few(missing)),
            ([], unknown) => write!(f, "unknown: {}", few(unknown)),
            (missing, unknown) => write!(f, "missing: {}; unknown: {}", few(missing), few(unknown)),
        }
    }
}

/// The names of which there are more than in `others`, by their keys.
fn beyond(names: &[String], keys: &[String], others: &[String]) -> Vec<String> {
    let mut left: Vec<&String> = others.iter().collect();
    let is_new = |key: &String| match left.iter().position(|other| *other == key) {
        Some(place) => {
            left.swap_remove(place);
            false
        }
        None => true,
    };
    let new: Vec<bool> = keys.iter().map(is_new).collect();
    names.iter().zip(new).filter(|(_, new)| *new).map(|(name, _)| name.clone()).collect()
}

/// The name without case and signs.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

/// True if the names are 0, 1, 2 and so on: no more than the index of each class.
pub fn are_indices(names: &[String]) -> bool {
    names.iter().enumerate().all(|(index, name)| number(name) == Some(index as u64))
}

/// The value of a name that is a whole number in digits.
fn number(name: &str) -> Option<u64> {
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok()).flatten()
}

/// The first few names.
pub(crate) fn few(names: &[String]) -> String {
    let mut text = names.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 10 {
        text.push_str(&format!(" and {} more", names.len() - 10));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{ClassDifference, are_indices};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[track_caller]
    fn told(expected: (&str, &[&str]), found: (&str, &[&str]), text: &str) {
        let (theirs, ours) = (names(expected.1), names(found.1));
        let difference = ClassDifference::between((expected.0, &theirs), (found.0, &ours));
        assert_eq!(difference.map_or_else(String::new, |difference| difference.to_string()), text);
    }

    #[test]
    fn differences_are_told_by_name() {
        told(("folder", &["a", "b"]), ("folder", &["a", "b"]), "");
        told(("folder", &["a", "b", "c"]), ("folder", &["a", "d", "e"]), "missing: b, c; unknown: d, e");
        told(("folder", &["a", "b"]), ("folder", &["a"]), "missing: b");
        told(("folder", &["a"]), ("folder", &["a", "A"]), "unknown: A");
        told(("folder", &["a", "b"]), ("folder", &["b", "a"]), "the same names in another order");
    }

    #[test]
    fn case_and_leading_zeros_do_not_count_and_signs_only_where_a_set_has_names() {
        told(("folder", &["Dog", "00001"]), ("folder", &["dog", "1"]), "");
        told(("folder", &["c", "c++"]), ("folder", &["c", "c#"]), "missing: c++; unknown: c#");
        told(("folder", &["0", "1"]), ("folder", &["one", "zero"]), "missing: 0, 1; unknown: one, zero");
        told(("fashion-mnist", &["T-shirt/top", "Trouser"]), ("fashion-mnist", &["t-shirt_top", "1"]), "");
        told(("folder", &["T-shirt_top"]), ("fashion-mnist", &["T-shirt/top"]), "");
        told(("cifar10", &["1", "automobile"]), ("cifar10", &["airplane", "1"]), "missing: 1; unknown: airplane");
    }

    #[test]
    fn indices_are_no_names() {
        assert!(are_indices(&names(&["00", "01", "2"])));
        assert!(!are_indices(&names(&["1", "2"])) && !are_indices(&names(&["0", "one"])));
    }
}
