//! Verdicts and counterexamples in the words of the verification competition (VNN-COMP).

use std::fmt;
use std::fmt::Write;

/// What is known about a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No counterexample exists.
    Holds,
    /// A counterexample exists.
    Violated,
    /// Neither could be shown.
    Unknown,
    /// Neither was shown in time.
    Timeout,
    /// The instance could not be verified at all.
    Error,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Verdict; 5] =
        [Verdict::Holds, Verdict::Violated, Verdict::Unknown, Verdict::Timeout, Verdict::Error];

    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Violated => "violated",
            Verdict::Unknown => "unknown",
            Verdict::Timeout => "timeout",
            Verdict::Error => "error",
        }
    }

    /// The word in the competition's results files: whether the unsafe set is satisfiable.
    pub fn result(self) -> &'static str {
        match self {
            Verdict::Holds => "unsat",
            Verdict::Violated => "sat",
            other => other.name(),
        }
    }

    /// The verdict that a results file means by `word`.
    pub fn from_result(word: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.result() == word)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A counterexample as the competition writes it: `((X_0 0.5)` and so on to the last output; every number is exact.
///
/// ```
/// assert_eq!(tightrope_vnnlib::witness(&[0.5, -1.0], &[0.25]), "((X_0 0.5)\n (X_1 -1.0)\n (Y_0 0.25))\n");
/// ```
pub fn witness(input: &[f64], output: &[f64]) -> String {
    let mut text = String::from("(");
    let variables = input.iter().enumerate().map(|(i, v)| ('X', i, v));
    for (letter, index, value) in variables.chain(output.iter().enumerate().map(|(i, v)| ('Y', i, v))) {
        let space = if text.len() > 1 { "\n " } else { "" };
        // Debug, unlike Display, writes very large and small numbers with an exponent.
        let _ = write!(text, "{space}({letter}_{index} {value:?})");
    }
    text.push_str(")\n");
    text
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn words_round_trip() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::from_result(verdict.result()), Some(verdict));
        }
        assert_eq!(Verdict::from_result("holds"), None);
    }
}
